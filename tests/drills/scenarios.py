"""The command lines that are struck: every mode, and every defense that carries something from step to step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SMALL = (
    "tracker=none",
    "runtime=cpu",
    "dataset.limit_train=16",
    "dataset.limit_val=6",
    "dataset.limit_test=6",
    "schedule.epochs=2",
    "schedule.batch_size=8",
    "attack.steps=2",
    "evaluation.pictures=0",
    "evaluation.batch_size=2",
    "suite=own",
)
TINY = ("dataset.size=16", "dataset.frames=4", "dataset.stride=8")
# The least of a defense's own work. A checkpoint after every step, so that most kills fall between two.
OFTEN = "schedule.checkpoint_minutes=0"
PREREQUISITE = (
    "defense.classifier_schedule.epochs=1",
    "defense.classifier_schedule.batch_size=8",
    "defense.classifier_schedule.checkpoint_minutes=0",
)
GENERATOR = tuple(word.replace("classifier_schedule", "generator_schedule") for word in PREREQUISITE)
DEFENSES: dict[str, tuple[str, ...]] = {
    "none": (),
    "at": (),
    "aat": ("defense.xi=1",),
    "aat_types": ("defense.xi=1",),
    "cat": (),
    "cat_down": (),
    "trades": (),
    "mart": (),
    "awp": (),
    "free_at": (),
    "fgsm_rs": (),
    "n_fgsm": (),
    "vfat_ws": (),
    "avg": (),
    "max": (),
    "msd": (),
    "combined_at": (),
    "multibn": (),
    "multibn_manual": (),
    "oudefend": ("model.width=0.5",),
    "feature_denoising_3d": (),
    "gat": (),
    "ape_gan": PREREQUISITE,
    "frozen_gan_at": GENERATOR,
    "injection": (*PREREQUISITE, "defense.ratio=0.5"),
    "art": (),
    "a_art": ("dataset.size=32", "dataset.frames=8", "dataset.stride=4"),
}
ONE_STEP = ("defense.inner_steps=1",)
RESUMED = ("resume=true", "hydra.run.dir={folder}")


@dataclass(frozen=True)
class Scenario:
    """A command line that the same command finishes after a kill.

    Args:
        mode: the row of the table that it counts in.
        name: of its own.
        words: with ``{folder}`` for its run folder and ``{base}`` for a trained run.
        program: ``train`` or ``papers``.
        own_cache: whether it makes its data itself.
    """

    mode: str
    name: str
    words: tuple[str, ...]
    program: str = "train"
    own_cache: bool = False

    def main(self) -> Callable[[], Any]:
        """Return what carries out the command line."""
        if self.program == "papers":
            from advvid.studies.__main__ import main
        else:
            from advvid.train import main
        return main


def scenarios() -> list[Scenario]:
    """Return all of them."""
    found = []
    for name, words in DEFENSES.items():
        inner = () if name in ("none", "fgsm_rs", "n_fgsm", "vfat_ws", "art", "a_art") else ONE_STEP
        own = (f"defense={name}", *SMALL, *TINY, OFTEN, *inner, *words, *RESUMED)
        found.append(Scenario("train", name, ("mode=train", *own)))
    extra = {
        "ema": ("defense=at", "schedule.ema=0.9"),
        "accumulate": ("defense=none", "schedule.accumulate=2", "schedule.epochs=3"),
        "plateau": ("defense=none", "schedule.kind=plateau", "schedule.patience=0"),
        "workers": ("defense=at", "dataset.workers=2"),
        "best": ("defense=at", "schedule.select=best"),
    }
    for name, words in extra.items():
        found.append(Scenario("train", name, ("mode=train", *SMALL, *TINY, OFTEN, *words, *RESUMED)))
    for name, words in {"at": (), "workers": ("dataset.workers=2",)}.items():
        found.append(
            Scenario("train and evaluation", name, ("defense=at", *ONE_STEP, *SMALL, *TINY, OFTEN, *words, *RESUMED))
        )
    scored = ("checkpoint={base}", "tracker=none", "runtime=cpu", "hydra.run.dir={folder}")
    more = ("suite=quick", "suite.masked_pgd_10.steps=2", "suite.frame_border_10.steps=2", "evaluation.batch_size=1")
    found += [
        Scenario("evaluation", "quick", ("mode=eval", *scored, *more, "evaluation.pictures=1")),
        Scenario("evaluation", "postprocess", ("mode=eval", *scored, "postprocess=[uint8,codec]", "dataset.workers=2")),
        Scenario("evaluation", "learned", ("mode=eval", *scored, "attack=flickering_universal", "attack.steps=3")),
        Scenario("evaluation", "purified", ("mode=eval", *scored, "purifier=[jpeg]")),
        Scenario("attack", "split", ("mode=attack", *scored, "evaluation.pictures=2", "resume=true")),
        Scenario("attack", "files", ("mode=attack", *scored, "files={files}", "evaluation.pictures=2")),
        Scenario("analysis", "strength", ("mode=eval", *scored, "analysis=strength", "analysis.values=[1/255,8/255]")),
        Scenario("analysis", "transfer", ("mode=eval", *scored, "analysis=transfer_matrix")),
        Scenario("analysis", "loss_surface", ("mode=eval", *scored, "analysis=loss_surface")),
    ]
    swept = ("tracker=none", "resume=true", "hydra.sweep.dir={folder}", OFTEN)
    found.append(
        Scenario(
            "sweep",
            "eps",
            ("-m", "mode=train_eval", "defense=at", "attack.eps=4/255,8/255", *ONE_STEP, *SMALL, *TINY, *swept),
        )
    )
    data = ("mode=train", *SMALL, "schedule.epochs=1", *RESUMED)
    frames = (
        "dataset=moving_digits",
        "dataset.sequences=40",
        "dataset.size=16",
        "dataset.frames=3",
        "model=next_frame",
        "model.width=0.125",
        "attack.eps=32/255",
    )
    features = (
        "dataset=youtube8m_mini",
        "dataset.videos=60",
        "dataset.val_videos=10",
        "model=feature_transformer",
        "attack=fgm",
        "attack.eps=0.5",
    )
    found += [
        Scenario("data generation", "motion", (*data, *TINY), own_cache=True),
        Scenario(
            "data generation", "motion_look", (*data, *TINY, "dataset=motion_look", "dataset.workers=2"), own_cache=True
        ),
        Scenario("data generation", "moving_digits", (*data, *frames), own_cache=True),
        Scenario(
            "data generation",
            "youtube8m_mini",
            tuple(w for w in (*data, *features) if w != "attack.steps=2"),
            own_cache=True,
        ),
    ]
    words = [f"--override={word}" for word in (*SMALL[2:7], "dataset.size=16", OFTEN)]
    papers = ("run", "lo-multav", "--scale=demo", "--root={folder}", *words)
    found.append(Scenario("papers", "one by one", papers, "papers"))
    found.append(Scenario("papers", "side by side", (*papers, "--jobs=2"), "papers"))
    return found
