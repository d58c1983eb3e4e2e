"""Contact sheets of attacked clips: clean, adversarial and the difference, with the model's answers beside them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.evaluation.columns import Column
from advvid.tasks.base import Task
from advvid.tasks.next_frame import as_pixels
from advvid.visuals.pictures import (
    MOST_CLIPS,
    QUIET,
    RIGHT,
    WRONG,
    Strip,
    changed,
    draw_sheet,
    magnification,
    shown_frames,
    strips,
)
from advvid.visuals.videos import write_comparison

# Frames per second of a GIF: slow enough to see what changes from frame to frame.
FILM_RATE = Fraction(8)
# A clip's class, None where nobody told it, and the predictions before and after the attack.
Answers = tuple[int | None, int, int]


class Sheets:
    """Draws one PNG per column from the first batch and remembers where it lies.

    Every column shows the same clips, whatever it did to them, so that attacks can be compared.

    Args:
        run_dir: pictures go to its ``pictures/`` folder.
        classes: names of the classes.
        clips: on each sheet; those that were right before the attack come first.
        task: what the model's outputs mean.
        films: whether the first clip of each sheet is a short GIF as well.
    """

    def __init__(self, run_dir: Path, classes: Sequence[str], clips: int, task: Task, films: bool = False) -> None:
        self.folder, self.classes, self.clips, self.task = run_dir / "pictures", list(classes), clips, task
        self.paths: dict[str, Path] = {p.stem: p for p in sorted(self.folder.glob("*.png"))}
        self.films: dict[str, Path] | None = {p.stem: p for p in sorted(self.folder.glob("*.gif"))} if films else None

    def add(self, column: Column, batch: Batch, x_adv: Tensor, clean: Tensor, attacked: Tensor) -> None:
        """Draw the sheet of a column; features have no picture and give none.

        Shape:
            x_adv: like ``batch.inputs``; clean, attacked: the model's outputs, ``[B, ...]``.
        """
        if batch.inputs.dim() != 5:
            return
        path, budget = self.folder / f"{column.name}.png", column.attack.threat.budget
        if clean.shape == batch.inputs.shape:  # frames are predicted
            first = slice(self.clips)
            frames = batch.target[first], clean[first], attacked[first]
            prediction_sheet(path, batch.inputs[first], x_adv[first], frames, self.task, column.name, budget)
        else:
            before, after = self.task.predict(clean), self.task.predict(attacked)
            order = torch.argsort((before != batch.target).int(), stable=True)[: self.clips]
            rows = zip(*(each[order].tolist() for each in (batch.target, before, after)), strict=True)
            clips, clips_adv = batch.inputs[order].cpu(), x_adv[order].cpu()
            answers = list(rows)
            contact_sheet(path, clips, clips_adv, answers, self.classes, column.name, budget)
            if self.films is not None:
                label, *seen = answers[0]
                names = (_name(seen[0], self.classes), _name(seen[1], self.classes))
                film = self.films[column.name] = path.with_suffix(".gif")
                write_comparison(film, clips[0], clips_adv[0], names, seen[1] != label, FILM_RATE)
        self.paths[column.name] = path


def contact_sheet(
    path: Path,
    clean: Tensor,
    adversarial: Tensor,
    answers: Sequence[Answers],
    class_names: Sequence[str],
    attack: str,
    budget: str = "",
) -> None:
    """Write a PNG that shows what an attack does to clips: clean, adversarial and the difference, frames in a row.

    The difference is drawn around mid-grey and magnified by a factor that is written beside it, the same for all
    clips of the sheet. Pixels are shown as squares, not smoothed.

    Shape:
        clean, adversarial: float ``[N, 3, T, H, W]`` in [0, 1], on any device. The first 4 clips and at most 8
            evenly spaced frames are shown.
        answers: N of them, in the order of the clips.

    Raises:
        AdvvidError: if there is no clip, or the arguments do not belong together.

    Example:
        >>> import tempfile
        >>> clip = torch.rand(1, 3, 2, 8, 8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     contact_sheet(Path(folder, "pgd.png"), clip, clip, [(0, 0, 0)], ["jump"], "pgd", "l-inf 8/255")
    """
    if clean.shape != adversarial.shape or clean.ndim != 5 or clean.shape[0] == 0:
        raise AdvvidError(
            f"a contact sheet needs clips [N, 3, T, H, W] and their attacked form, but got {tuple(clean.shape)} and "
            f"{tuple(adversarial.shape)}: pass both from the same batch"
        )
    if len(answers) != len(clean):
        raise AdvvidError("a contact sheet needs one label and two predictions per clip: pass them from the same batch")
    clips = min(MOST_CLIPS, len(clean))
    frames = shown_frames(clean.shape[2])
    before, after = (strips(part[:clips], frames) for part in (clean, adversarial))
    change = after - before
    largest = float(np.abs(change).max())
    factor = magnification(largest)

    said = [f"budget {budget}"] * bool(budget) + [f"largest change {255 * largest:.3g}/255"]
    said += [f"{len(frames)} of {clean.shape[2]} frames"] * (len(frames) < clean.shape[2])
    blocks, described = [], []
    shown = f", difference × {factor}" if largest else ", no change"
    for i, (told, first, second) in enumerate(answers[:clips]):
        words, _ = _prediction(second, told, first, class_names)
        true = "" if told in (None, second) else f" (true: {_name(told, class_names)})"
        described.append((f"{words}{true}{shown}", _described(told, first, second, class_names, attack)))
        rows = (
            Strip(before[i], "clean", *_prediction(first, told, None, class_names)),
            Strip(after[i], "adversarial", *_prediction(second, told, first, class_names)),
            changed(change[i], factor, bool(largest)),
        )
        blocks.append(("true: not told" if told is None else f"true: {_name(told, class_names)}", rows))
    draw_sheet(path, attack, ", ".join(said), blocks, described)


def prediction_sheet(
    path: Path,
    clean: Tensor,
    adversarial: Tensor,
    answers: tuple[Tensor, Tensor, Tensor],
    task: Task,
    attack: str,
    budget: str,
) -> None:
    """Write a PNG with six rows per clip: clean, adversarial, difference, true next frames, and both predictions.

    Beside each prediction stands its loss, the mean squared error; the adversarial one is coloured by whether it is the
    larger of the two.

    Shape:
        clean, adversarial, answers: ``[N, C, T, H, W]``, on any device. The answers are the true next frames, in [0, 1] or
        in bytes, and those predicted from the clean and from the adversarial clip. The first 4 clips and at most 8 evenly
        spaced frames are shown.
    """
    target, before, after = answers
    count = min(MOST_CLIPS, len(clean))
    frames = shown_frames(clean.shape[2])
    parts = (clean, adversarial, as_pixels(target), before, after)
    given, attacked, truth, expected, misled = (strips(part[:count], frames) for part in parts)
    change = attacked - given
    largest = float(abs(change).max())
    errors = [task.loss(out[:count], target[:count]).tolist() for out in (before, after)]
    blocks = []
    for i, (good, bad) in enumerate(zip(*errors, strict=True)):
        rows = (
            Strip(given[i], "clean"),
            Strip(attacked[i], "adversarial"),
            changed(change[i], magnification(largest), bool(largest)),
            Strip(truth[i], "true next frames"),
            Strip(expected[i], "predicted from clean", f"error {good:.3g}", RIGHT),
            Strip(misled[i], "predicted from adversarial", f"error {bad:.3g}", WRONG if bad > good else QUIET),
        )
        blocks.append(("", rows))
    said = f"budget {budget}, largest change {255 * largest:.3g}/255"
    draw_sheet(
        path, attack, said + f", {len(frames)} of {clean.shape[2]} frames" * (len(frames) < clean.shape[2]), blocks
    )


def _name(index: int, class_names: Sequence[str]) -> str:
    name = class_names[index] if 0 <= index < len(class_names) else f"class {index}"
    return name if len(name) <= 20 else name[:19] + "…"


def _described(label: int | None, before: int, after: int, class_names: Sequence[str], attack: str) -> str:
    """Say what a model read in a clip before and after an attack."""
    names = [_name(index, class_names) for index in (before, after)]
    what = "A clip" if label is None else f"A clip of {_name(label, class_names)}"
    return f"{what}, read as {names[0]} before {attack} and as {names[1]} after it."


def _prediction(index: int, label: int | None, before: int | None, class_names: Sequence[str]) -> tuple[str, str]:
    """Return the words for a prediction and their colour; without a label, it is held against the one before."""
    if label is None and before is None:
        return f"answer: {_name(index, class_names)}", QUIET
    same = index == (before if label is None else label)
    words = ("same", "changed") if label is None else ("right", "wrong")
    return f"{words[0] if same else words[1]}: {_name(index, class_names)}", RIGHT if same else WRONG
