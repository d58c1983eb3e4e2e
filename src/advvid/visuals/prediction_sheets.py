"""Contact sheets of predicted frames: what an attack changed, and what the model then expects to come next."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

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


def prediction_sheet(
    path: Path, clean: Tensor, adversarial: Tensor, target: Tensor, before: Tensor, after: Tensor, task: Task,
    attack: str, budget: str,
) -> None:  # fmt: skip
    """Write a PNG with six rows per clip: clean, adversarial, difference, true next frames, and both predictions.

    Beside each prediction stands its loss, the mean squared error; the adversarial one is coloured by whether it is the
    larger of the two.

    Shape:
        clean, adversarial, target, before, after: ``[N, C, T, H, W]``, on any device; the target in [0, 1] or in bytes.
        The first 4 clips and at most 8 evenly spaced frames are shown.
    """
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
