"""``mode=attack``: make adversarial videos that a person can keep and watch, from files or from a split."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor, nn

from advvid.core import checkpoint, digests, files
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.finite import require_finite
from advvid.core.kept import Kept
from advvid.core.progress import bar
from advvid.data.content import Contents, clip_digests
from advvid.data.given import GivenFiles
from advvid.data.loader import eval_batches, given_batches
from advvid.evaluation.behaviour import require_evaluation_mode
from advvid.evaluation.columns import Column, craft, fingerprint
from advvid.evaluation.fitting import fit_columns
from advvid.evaluation.results import commit, versions
from advvid.experiment.attack_table import RESULT, table
from advvid.experiment.whole_videos import WholeVideo, check_whole
from advvid.tasks.base import Task
from advvid.tasks.classification import Classification
from advvid.visuals.pictures import MOST_CLIPS
from advvid.visuals.sheets import contact_sheet
from advvid.visuals.videos import eight_bits, write_comparison, write_lossless, write_viewable

if TYPE_CHECKING:
    from advvid.experiment.parts import Parts

log = logging.getLogger(__name__)

SCHEMA = 1
FOLDER = "adversarial"
OWN = "the model's clean prediction"  # what stands in for a label that nobody told
FILMS = ("lossless", "viewable", "gif")  # the files of a clip
FRONT = ("purifier", "detector")  # what stands before the model
RATE = 25  # frames per second of a split's videos, which are not asked for theirs


def check_options(cfg: DictConfig) -> None:
    """Refuse options of ``mode=attack`` in other modes, and such as do not go together.

    Raises:
        AdvvidError: naming the option.
    """
    if cfg.mode != "attack" and (cfg.files is not None or cfg.labels is not None):
        raise AdvvidError(f"files=... and labels=... are for mode=attack, not for mode={cfg.mode}: leave them out")
    if cfg.whole and (cfg.mode != "attack" or cfg.files is None):
        raise AdvvidError("whole=true is for mode=attack files=[...]: it attacks all of each video; leave it out")
    if cfg.labels is not None and cfg.files is None:
        raise AdvvidError("labels=... belong to files=...: the clips of the data set have labels of their own")
    if cfg.mode == "attack" and cfg.postprocess is not None:
        raise AdvvidError(
            "postprocess=... is for evaluations: mode=attack always scores its lossless films, which hold 8 bits; leave it out"
        )


def given_files(cfg: DictConfig, which: checkpoint.Which) -> GivenFiles:
    """Return the files of the command line as a data set, with the classes of the checkpoint.

    Args:
        cfg: of the run.
        which: ``last`` or ``best`` checkpoint of a run folder.
    """
    classes = checkpoint.load_run(checkpoint.find(cfg.checkpoint, which))["classes"]
    return GivenFiles(cfg.dataset, cfg.files, cfg.labels, classes)


def check_parts(task: Task, clip_shape: Sequence[int]) -> None:
    """Refuse what has no videos or no classes.

    Raises:
        AdvvidError: naming what the checkpoint does instead.
    """
    if not isinstance(task, Classification) or len(clip_shape) != 4 or clip_shape[0] != 3:
        raise AdvvidError(
            f"mode=attack shows how a classifier of videos is fooled, but the checkpoint's task is {type(task).__name__} on "
            f"inputs of {' x '.join(map(str, clip_shape))}: use mode=eval for it"
        )


def attack_clips(
    cfg: DictConfig, parts: Parts, model: nn.Module, device: torch.device, run_dir: Path, config: dict[str, Any]
) -> dict[str, Any]:
    """Attack every clip, write films, pictures and ``attack.json``, show a table, and return what the JSON holds.

    An adversarial clip that leaves its threat set stops the run, as in an evaluation. Clips that are wrong already are
    left as they are. What is finished is kept batch by batch: after a kill, or with more files, the same command attacks
    what is missing.

    Args:
        cfg: of the run.
        parts: of which data set, task, tracker and the one column are used.
        model: to be attacked.
        device: where to compute.
        run_dir: where everything goes; ``attack.json`` comes last, so that it exists only beside whole results.
        config: to be written down.
    """
    (run_dir / RESULT).unlink(missing_ok=True)
    require_evaluation_mode(model.to(device).eval())
    workers = 0 if cfg.files is not None else parts.workers
    column = parts.columns[0]
    if cfg.files is None:  # alone, a file is what the attack learns on, if it learns
        learning = parts.dataset.split("val")
        (column,) = fit_columns(
            [column], model, lambda: eval_batches(learning, cfg.evaluation.batch_size, workers=workers), lambda: Contents.of(learning),
            parts.defense.task, cfg.seed, run_dir,
        )  # fmt: skip
    split = parts.dataset.split(cfg.evaluation.split)
    weights = fingerprint(model)
    attacked = _AttackedClips(cfg, parts, column, run_dir)
    clips = clip_digests(split)
    kept = Kept(run_dir, run_dir / FOLDER, attacked.rests_on(weights, cfg))
    missing = [number for number, clip in enumerate(clips) if clip not in kept.known]
    if len(missing) < len(split):
        log.info("%d of %d clips are finished: going on with the others", len(split) - len(missing), len(split))
    attacked.sheets = [run_dir / name for found in kept.others for name in found["sheets"]]
    if cfg.whole:
        check_whole(column.attack)
    own, size = dict(zip(split.ids, clips, strict=True)), 1 if cfg.whole else cfg.evaluation.batch_size
    batches = [missing[first : first + size] for first in range(0, len(missing), size)]
    with bar(column.name, len(split), len(split) - len(missing)) as progress:
        for batch in given_batches(split, batches, workers):
            lines, sheets = (attacked.whole if cfg.whole else attacked.batch)(model, batch.to(device))
            made = [line[kind] for line in lines for kind in FILMS if kind in line]
            kept.add({own[line["id"]]: line for line in lines}, [*made, *sheets], {"sheets": sheets})
            progress.advance(len(batch))
    attacked.lines = [kept.known[clip] for clip in clips]
    if fingerprint(model) != weights:
        kept.drop()
        raise AdvvidError(
            "the attack changed the model's weights or buffers; clips discarded: this is a bug in the attack, please report it"
        )
    result = {
        "schema": SCHEMA, "n": len(attacked.lines),
        **{key: sum(line[key] for line in attacked.lines) for key in ("attacked", "fooled", "fooled_rounded")},
        "attack": column.name, "settings": column.settings, "threat": type(column.attack.threat).__name__,
        "budget": column.attack.threat.budget, "checkpoint": str(cfg.checkpoint), "classes": attacked.classes,
        "clips": attacked.lines, "pictures": [str(path.relative_to(run_dir)) for path in attacked.sheets], "config": config,
        "seed": cfg.seed, "commit": commit(), "versions": versions(),
    }  # fmt: skip
    files.write_json(run_dir / RESULT, result)
    Console().print(table(result))
    for path in attacked.sheets:
        parts.tracker.image(path.stem, path)
    for line in attacked.lines[: attacked.rows]:
        parts.tracker.video(f"adversarial/{line['id']}", run_dir / line.get("gif", line["viewable"]))
    parts.tracker.summary({f"attack/{key}": result[key] for key in ("n", "attacked", "fooled", "fooled_rounded")})
    return result


class _AttackedClips:
    """Attacks batches and keeps what came of each clip."""

    def __init__(self, cfg: DictConfig, parts: Parts, column: Column, run_dir: Path) -> None:
        self.task, self.column, self.seed, self.run_dir = parts.defense.task, column, int(cfg.seed), run_dir
        self.classes = list(parts.dataset.classes)
        self.data, self.stride = parts.dataset, cfg.dataset.get("stride", 1)
        self.rows = min(MOST_CLIPS, int(cfg.evaluation.pictures))
        self.numbers = {name: number for number, name in enumerate(getattr(parts.dataset, "ids", []))}
        self.windows = int(cfg.evaluation.batch_size)
        self.lines: list[dict[str, Any]] = []
        self.sheets: list[Path] = []

    def rests_on(self, weights: str, cfg: DictConfig) -> str:
        """Return a digest of what every clip's result rests on besides the clip."""
        front = {name: value for name in FRONT if (value := cfg.get(name)) is not None}
        return digests.of_values(
            "mode=attack", self.column.rests_on, weights, self.seed, self.classes, self.stride, self.rows,
            cfg.runtime.precision, front, versions(), *(["whole"] if cfg.whole else []),
        )  # fmt: skip

    def batch(self, model: nn.Module, batch: Batch) -> tuple[list[dict[str, Any]], list[str]]:
        """Attack a batch, write its films and pictures, and return a line for each clip and the names of the sheets."""
        out = _predict(model, batch.inputs)
        require_finite(out, batch.ids, "the clean clips")
        before = self.task.predict(out)
        target = torch.where(batch.target < 0, before, batch.target)
        right = self.task.correct(out, target)
        assert right is not None  # a classifier has right answers
        todo = right.nonzero().squeeze(1)
        x_adv, after = batch.inputs.clone(), before.clone()
        steps = torch.zeros_like(target)
        calls, distance = steps.clone(), torch.zeros(len(batch), device=target.device)
        if len(todo):
            ids = [batch.ids[i] for i in todo.tolist()]
            found, far = craft(self.column, model, batch.inputs[todo], target[todo], ids, self.seed, self.task)
            x_adv[todo], steps[todo], calls[todo], distance[todo] = found.x_adv, found.steps, found.gradient_calls, far
            fooled = _predict(model, x_adv[todo])
            require_finite(fooled, ids, "the adversarial clips")
            after[todo] = self.task.predict(fooled)
        wanted = eight_bits(x_adv)
        files = [self._films(clip, name) for clip, name in zip(wanted, batch.ids, strict=True)]
        # What stands on the disk is what is scored, not what should stand there.
        kept = torch.stack([back for back, *_ in files]).to(batch.inputs.device).float().div_(255)
        seen = _predict(model, kept)
        require_finite(seen, batch.ids, "the clips of the films")
        rounded = self.task.predict(seen)
        moved = self.column.attack.threat.distance(kept, batch.inputs)
        lines: list[dict[str, Any]] = []
        for i, name in enumerate(batch.ids):
            numbers = {"label": target[i], "clean": before[i], "adversarial": after[i], "rounded": rounded[i]}
            classes = {key: int(number) for key, number in numbers.items()}
            attacked, label = bool(right[i]), classes["label"]
            line = {
                "id": name, "file": None, **classes, **{f"{k}_name": self.classes[v] for k, v in classes.items()},
                "label_from": "data set", "attacked": attacked,
                "fooled": attacked and classes["adversarial"] != label,
                "fooled_rounded": attacked and classes["rounded"] != label,
                "distance": float(distance[i]), "rounded_distance": float(moved[i]),
                "budget": self.column.attack.threat.budget, "steps": int(steps[i]), "gradient_calls": int(calls[i]),
                "lossless": files[i][1], "viewable": files[i][2],
            }  # fmt: skip
            if isinstance(self.data, GivenFiles):
                number = self.numbers[name]
                line |= {
                    "file": str(self.data.paths[number]),
                    "label_from": OWN if self.data.targets[number] < 0 else "labels",
                    "gif": self._gif(batch.inputs[i], x_adv[i], line),
                }
            lines.append(line)
        return lines, self._sheets(batch.inputs, x_adv, lines)

    def whole(self, model: nn.Module, batch: Batch) -> tuple[list[dict[str, Any]], list[str]]:
        """Attack all of a file, of which the batch holds the clip in the middle; the film of the whole is what is scored."""
        assert isinstance(self.data, GivenFiles)
        name, number = batch.ids[0], self.numbers[batch.ids[0]]
        video = WholeVideo(
            model=model, column=self.column, task=self.task, view=self.data.view, path=self.data.paths[number], name=name,
            seed=self.seed, batch=self.windows, device=batch.inputs.device,
        )  # fmt: skip
        line = video.attacked(self._place(name), self.run_dir, int(batch.target[0]), self.classes)
        line["label_from"] = OWN if self.data.targets[number] < 0 else "labels"
        return [line], []

    def _films(self, clip: Tensor, name: str) -> tuple[Tensor, str, str]:
        """Write both films of a clip; return what the lossless one holds, and their places."""
        place, rate = self._place(name), self._rate(name)
        lossless, viewable = place.with_name(f"{place.name}.mkv"), place.with_name(f"{place.name}.mp4")
        back = write_lossless(lossless, clip, rate)
        write_viewable(viewable, clip, rate)
        return back, str(lossless.relative_to(self.run_dir)), str(viewable.relative_to(self.run_dir))

    def _gif(self, clean: Tensor, x_adv: Tensor, line: dict[str, Any]) -> str:
        """Write clean, adversarial and magnified difference side by side; of several views, the first."""
        first, answers = slice(self.data.clip_shape[1]), (line["clean_name"], line["adversarial_name"])
        place = self._place(line["id"])
        path = place.with_name(f"{place.name}.gif")
        write_comparison(path, clean[:, first], x_adv[:, first], answers, line["fooled"], self._rate(line["id"]))
        return str(path.relative_to(self.run_dir))

    def _sheets(self, clean: Tensor, x_adv: Tensor, lines: Sequence[dict[str, Any]]) -> list[str]:
        first = len(self.sheets)
        for start in range(0, len(lines) if self.rows else 0, max(1, self.rows)):
            part = slice(start, start + self.rows)
            path = self.run_dir / "pictures" / f"{self.column.name}_{len(self.sheets) + 1}.png"
            answers = [
                (None if line["label_from"] == OWN else line["label"], line["clean"], line["adversarial"])
                for line in lines[part]
            ]
            column = self.column
            contact_sheet(
                path, clean[part], x_adv[part], answers, self.classes, column.name, column.attack.threat.budget
            )
            self.sheets.append(path)
        return [str(path.relative_to(self.run_dir)) for path in self.sheets[first:]]

    def _place(self, name: str) -> Path:
        """Return where a clip's films go, without an ending; an id such as ``Class/video`` makes a folder per class."""
        return self.run_dir / FOLDER / PurePosixPath(*(p for p in PurePosixPath(name).parts if p not in ("/", "..")))

    def _rate(self, name: str) -> Fraction:
        if isinstance(self.data, GivenFiles):
            return self.data.rate(self.numbers[name])
        # Frames that are spread over each video have no rate in common: their films are quick.
        return Fraction(RATE, self.stride) if isinstance(self.stride, int) else Fraction(RATE)


def _predict(model: nn.Module, clips: Tensor) -> Tensor:
    with torch.no_grad(), torch.autocast(clips.device.type, enabled=False):
        return model(clips.float()).float()
