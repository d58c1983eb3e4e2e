"""A training goes on with what it was begun with, or not at all: every change is named, whatever the option."""

import dataclasses
import json
import shutil

import pytest
import torch
from tests import small_training

from advvid.attacks.pgd import PGD
from advvid.config.composed import composed
from advvid.config.instantiate import safe_instantiate
from advvid.core import checkpoint, digests
from advvid.core.errors import AdvvidError
from advvid.core.identity import described
from advvid.core.resuming import may_lengthen, of_parts
from advvid.core.schedules import Schedule
from advvid.data.motion import Motion
from advvid.defenses.aat import AAT
from advvid.defenses.at import AT
from advvid.defenses.cat import CAT
from advvid.experiment.run import run
from advvid.models.r3d_tiny import R3DTiny
from advvid.training.trainer import Trainer

SMALL = (*small_training.SMALL, "schedule.epochs=2", "schedule.checkpoint_minutes=0")
# What a training rests on, an option of each kind, with what is said of the change.
CHANGES = {
    "seed=1": "seed was 0 and is now 1",
    "attack=mi_fgsm": "attack was pgd and is now mi_fgsm",
    "attack.eps=4/255": "attack.eps was 8/255 and is now 4/255",
    "attack.steps=3": "attack.steps was 2 and is now 3",
    "dataset=motion_look": "dataset.frames was 8 and is now 16",
    "dataset.seed=1": "dataset.seed was 0 and is now 1",
    "dataset.stride=2": "dataset.stride was 4 and is now 2",
    "dataset.size=16": "dataset.size was 32 and is now 16",
    "dataset.limit_train=30": "dataset.limit_train was 20 and is now 30",
    "defense=trades": "defense was at and is now trades",
    "defense=free_at": "defense was at and is now free_at",
    "defense.inner_steps=2": "defense.inner_steps was 1 and is now 2",
    "schedule.optimizer.lr=1e-3": "schedule.optimizer.lr was 0.003 and is now 0.001",
    "schedule.batch_size=5": "schedule.batch_size was 10 and is now 5",
    "schedule.optimizer._target_=torch.optim.NAdam": "schedule.optimizer._target_ was torch.optim.AdamW and is now torch.optim.NAdam",
    "schedule=kinfu": "schedule.kind was one_cycle and is now step",
    "schedule.epochs=3": "schedule.epochs was 2 and is now 3",
    "model.mean=0.5": "model.mean was 0.45 and is now 0.5",
    "model.width=0.5": "model.width was 0.25 and is now 0.5",
    "model=swin3d_tiny": "model.net._target_ was advvid.models.R3DTiny and is now",
    "runtime.precision=bf16": "runtime.precision was fp32 and is now bf16",
    "runtime=ddp": "the number of processes was 1 and is now 2",
}
# What may change: how a model is scored, watched and stored.
FREE = (
    "suite=quick",
    "evaluation.batch_size=3",
    "purifier=[jpeg]",
    "postprocess=uint8",
    "dataset.workers=1",
    "dataset.limit_test=8",
    "name=other",
    "schedule.checkpoint_minutes=5",
)


def go(folder, *overrides, **choices):
    cfg = composed([*SMALL, *overrides])
    chosen = {"defense": "at", "attack": "pgd", "dataset": "motion"}
    chosen |= dict(o.split("=", 1) for o in overrides if o.split("=")[0] in chosen)
    folder.mkdir(exist_ok=True)
    return run(cfg, folder, chosen | choices)


def weights(folder, name="last"):
    return digests.of_tensors(checkpoint.load(folder / "checkpoints" / f"{name}.pt")["model"])


def die(folder, *overrides, after=3):
    """Begin a run that is killed in training after so many updates."""
    update, left = Trainer._update, iter(range(after))

    def dies(self, *args, **kwargs):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return update(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_update", dies)
        with pytest.raises(KeyboardInterrupt):
            go(folder, *overrides)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    go(folder)
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "killed"
    die(folder)
    assert checkpoint.load(folder / "checkpoints" / "last.pt")["batch"] == 1
    return folder


@pytest.mark.parametrize("change", CHANGES)
def test_a_killed_training_does_not_go_on_with_another(killed, change):
    before = (killed / "checkpoints" / "last.pt").read_bytes(), (killed / "metrics.jsonl").read_bytes()
    with pytest.raises(AdvvidError, match="cannot go on with other settings") as refusal:
        go(killed, "resume=true", change)
    assert CHANGES[change] in str(refusal.value)
    assert str(killed) in str(refusal.value)
    assert "give the old values again, choose another hydra.run.dir, or begin anew" in str(refusal.value)
    assert ((killed / "checkpoints" / "last.pt").read_bytes(), (killed / "metrics.jsonl").read_bytes()) == before


def test_a_finished_training_is_not_scored_under_another_name(finished):
    table = (finished / "robustness.json").read_bytes()
    for mode in ("train_eval", "train"):
        with pytest.raises(AdvvidError, match="defense was at and is now trades"):
            go(finished, "resume=true", "defense=trades", f"mode={mode}")
    assert (finished / "robustness.json").read_bytes() == table


def test_all_changes_are_told_at_once(finished):
    with pytest.raises(AdvvidError) as refusal:
        go(finished, "resume=true", "defense=trades", "attack.eps=4/255", "seed=3")
    assert (
        "attack.eps was 8/255 and is now 4/255; defense was at and is now trades; seed was 0 and is now 3; give"
        in str(refusal.value)
    )


def test_a_killed_training_goes_on_with_another_evaluation(finished, killed, tmp_path):
    shutil.copytree(killed, tmp_path / "run")
    go(tmp_path / "run", "resume=true", *FREE)
    assert weights(tmp_path / "run") == weights(finished)


def test_videos_that_changed_are_noticed_wherever_they_lie(tmp_path):
    embedded = Motion()
    embedded.prepare()
    shutil.copytree(embedded.root, tmp_path / "first")
    real = ("dataset=ucf101", "dataset.frames=8", "dataset.size=32", "dataset.workers=0", "mode=train")
    die(tmp_path / "run", *real, f"dataset.root={tmp_path / 'first'}")
    (tmp_path / "first").rename(tmp_path / "second")
    moved = (*real, f"dataset.root={tmp_path / 'second'}", "resume=true")
    data = safe_instantiate(composed([*SMALL, *moved]).dataset)
    video, other = (data.split("train").root / data.split("train").entries[i].path for i in (0, 1))
    whole = video.read_bytes()
    video.write_bytes(other.read_bytes())
    with pytest.raises(AdvvidError, match=r"the content of the training clips .* is another"):
        go(tmp_path / "run", *moved)
    video.write_bytes(whole)
    go(tmp_path / "run", *moved)


def test_the_file_that_training_starts_from_counts_by_its_content(tmp_path):
    start = tmp_path / "start.pt"
    torch.manual_seed(1)
    torch.save(R3DTiny(10, width=0.25).state_dict(), start)
    die(tmp_path / "run", f"model.checkpoint={start}")
    moved = start.rename(tmp_path / "moved.pt")
    torch.save({k: v + 1 for k, v in torch.load(moved).items()}, start)
    with pytest.raises(AdvvidError, match=r"the content of the file of model\.checkpoint is another"):
        go(tmp_path / "run", f"model.checkpoint={start}", "resume=true")
    go(tmp_path / "run", f"model.checkpoint={moved}", "resume=true", "mode=train")


def test_a_checkpoint_of_an_older_version_says_so(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "last.pt"
    state = checkpoint.load(path)
    del state["identity"]
    checkpoint.save(path, state)
    with pytest.raises(
        AdvvidError, match=r"begun by an older version, .*train in another folder, or score it as it is"
    ):
        go(tmp_path / "run", "resume=true")
    assert go(tmp_path / "scored", "mode=eval", f"checkpoint={tmp_path / 'run'}")["n"] == 10


def test_other_packages_are_told_and_go_into_what_the_run_writes(killed, tmp_path, caplog):
    shutil.copytree(killed, tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "last.pt"
    state = checkpoint.load(path)
    state["identity"]["rounding"]["torch"] = "2.0.0"
    checkpoint.save(path, state)
    table = go(tmp_path / "run", "resume=true")
    said = f"torch was 2.0.0 and is now {torch.__version__}"
    assert said in caplog.text
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line.get("resumed_with") for line in lines] == [None, [said]]
    assert any(check["raised"] and said in check["message"] for check in table["checks"])
    again = go(tmp_path / "scored", "mode=eval", f"checkpoint={tmp_path / 'run'}")
    assert any(check["raised"] and said in check["message"] for check in again["checks"])


@pytest.mark.slow
def test_a_steady_training_goes_on_for_longer_but_never_below_what_is_done(tmp_path):
    steady = ("schedule.kind=constant", "schedule.warmup=0", "mode=train")
    go(tmp_path / "a", *steady)
    go(tmp_path / "a", *steady, "schedule.epochs=3", "resume=true")
    go(tmp_path / "b", *steady, "schedule.epochs=3")
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    with pytest.raises(AdvvidError, match=r"schedule\.epochs was 3 and is now 1"):
        go(tmp_path / "a", *steady, "schedule.epochs=1", "resume=true")
    go(tmp_path / "c", *steady, "defense=cat")  # whose budget depends on the number of epochs
    with pytest.raises(AdvvidError, match=r"schedule\.epochs was 2 and is now 3"):
        go(tmp_path / "c", *steady, "defense=cat", "schedule.epochs=3", "resume=true")


def test_what_an_object_says_of_itself():
    steady = Schedule(kind="constant", warmup=0.0)
    assert may_lengthen(steady, AT())
    assert not may_lengthen(steady, CAT())
    assert not may_lengthen(dataclasses.replace(steady, kind="cosine"), AT())
    defense = AAT(budgets=[0, "4/255"])
    before = described(defense)
    defense.probabilities = {"0": 1.0}  # state, not a setting
    assert described(defense) == before
    one, other = (of_parts(defense, Schedule(), {"pgd": PGD(eps=eps)}, 0) for eps in ("8/255", "4/255"))
    assert [str(d) for d in other.differences(one)] == ["attack pgd.eps was 8/255 and is now 4/255"]
    assert one.parts["training"]["schedule.optimizer.lr"] == 3e-3
    assert "schedule.checkpoint_minutes" not in one.parts["training"]
