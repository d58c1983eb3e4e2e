"""Pictures of clips without an attack, attacked, and behind a purifier, with what the model says of each."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import RenderableType
from rich.table import Table
from torch import Tensor

from advvid.analyses.base import Analysis, Context
from advvid.analyses.batches import right_clips
from advvid.analyses.detection import fitted
from advvid.attacks.base import Attack, in_space
from advvid.attacks.sparse import Sparse
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count
from advvid.core.progress import bar
from advvid.evaluation.columns import craft
from advvid.purifiers.base import Purifier
from advvid.purifiers.purified import PurifiedModel
from advvid.purifiers.temporal_defense import TemporalDefense
from advvid.visuals.pictures import RIGHT, WRONG, Strip, draw_sheet, shown_frames

CLEAN, ATTACKED, DEFENDED = "clean", "attacked", "behind the defense"
STATES = (CLEAN, ATTACKED, DEFENDED)


@dataclass(frozen=True, kw_only=True)
class DefendedClips(Analysis):
    """The first clips that an attack fools: clean, attacked, and what a purifier makes of them (Jia et al., figure 7).

    The attack does not know of the purifier, as in the paper. Beside each row of frames stands its signal-to-noise ratio against
    the clean clip (PSNR, in decibels, of values in [0, 1]).

    Args:
        attack: such as one on few frames.
        purifier: what the attacked clips pass.
        pictures: how many clips.

    Example:
        >>> DefendedClips(pictures=1).pictures
        1
    """

    attack: Attack = field(default_factory=Sparse)
    purifier: Purifier = field(default_factory=TemporalDefense)
    pictures: Count = 4

    def run(self, context: Context) -> dict[str, Any]:
        """Attack clips that are right until enough of them are fooled.

        Raises:
            AdvvidError: if the attack leaves its threat set or fools no clip, or the task has no right answers.
        """
        column = fitted(context, {"attack": in_space(self.attack, context.attack.space)})["attack"]
        defended = PurifiedModel([self.purifier], context.model, context.seed, context.clip_shape[1])
        defended = defended.to(context.device).eval()
        shown: list[dict[str, Any]] = []
        with bar("clips that the attack fools", self.pictures) as progress:
            for batch in context.batches():
                clips, labels, ids = batch.inputs, batch.target, list(batch.ids)
                todo = right_clips(context, context.model, clips, labels).nonzero().squeeze(1)
                if len(todo):
                    clips, labels, ids = clips[todo], labels[todo], [ids[i] for i in todo.tolist()]
                    x_adv = craft(column, context.model, clips, labels, ids, context.seed, context.task)[0].x_adv
                    fooled = ~right_clips(context, context.model, x_adv, labels)
                    chosen = fooled.nonzero().squeeze(1)[: self.pictures - len(shown)]
                    shown += _told(
                        context, defended, clips[chosen], x_adv[chosen], labels[chosen], [ids[i] for i in chosen]
                    )
                    progress.advance(len(chosen))
                if len(shown) == self.pictures:
                    break
        if not shown:
            raise AdvvidError(
                "the attack fools no clip that is right without it: choose a stronger one with analysis.attack"
            )
        return {
            "n": len(shown),
            "clips": shown,
            "attack": f"{type(self.attack).__name__}, {column.attack.threat.budget}",
            "purifier": type(self.purifier).__name__,
            "settings": [column.settings, self.purifier.settings],
        }

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw a row of frames per state of every clip."""
        blocks = [
            (f"true: {clip['label']}", [_strip(clip["states"][state], state) for state in STATES])
            for clip in result["clips"]
        ]
        path = folder / f"{name}.png"
        draw_sheet(path, f"{result['purifier']} behind {result['attack']}", "the attack does not know of it", blocks)
        return [path]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return a row per clip."""
        layout = Table(title=f"{result['attack']}, then {result['purifier']}", title_justify="left")
        for heading in ("clip", "true", *(f"{state}: answer, PSNR" for state in STATES)):
            layout.add_column(heading, overflow="fold")
        for clip in result["clips"]:
            said = [f"{state['answer']}, {_decibels(state)}" for state in (clip["states"][name] for name in STATES)]
            layout.add_row(clip["id"], clip["label"], *said)
        return layout


def psnr(clips: Tensor, base: Tensor) -> Tensor:
    """Return each clip's peak signal-to-noise ratio in decibels, infinite where nothing differs.

    Shape:
        both ``[B, ...]`` in [0, 1]; result ``[B]``.

    Example:
        >>> psnr(torch.full((1, 2), 0.1), torch.zeros(1, 2)).round().tolist()
        [20.0]
    """
    return -10 * (clips - base).double().square().flatten(1).mean(dim=1).log10()


def _told(
    context: Context, defended: PurifiedModel, clips: Tensor, x_adv: Tensor, labels: Tensor, ids: Sequence[str]
) -> list[dict[str, Any]]:
    """Return what the model says of clips in all states, with the frames that are drawn, as bytes."""
    if not len(clips):
        return []
    with torch.no_grad():
        states = {CLEAN: clips, ATTACKED: x_adv, DEFENDED: defended.purify(x_adv)}
        answers = {CLEAN: context.model(clips), ATTACKED: context.model(x_adv), DEFENDED: defended(x_adv)}
    places = shown_frames(clips.shape[2]).to(clips.device)
    noise = {name: psnr(state, clips).tolist() for name, state in states.items()}
    drawn = {
        name: (255 * state[:, :, places]).round().byte().permute(0, 2, 3, 4, 1).cpu() for name, state in states.items()
    }
    found = []
    for i, (clip, label) in enumerate(zip(ids, labels.tolist(), strict=True)):
        rows = {}
        for name in STATES:
            answer = int(answers[name][i].argmax())
            decibels = noise[name][i]
            rows[name] = {
                "answer": context.classes[answer],
                "right": answer == label,
                "psnr": None if decibels == float("inf") else round(decibels, 2),
                "frames": _packed(drawn[name][i]),
            }
        found.append({"id": clip, "label": context.classes[label], "states": rows})
    return found


def _packed(frames: Tensor) -> dict[str, Any]:
    """Return bytes ``[T, H, W, 3]`` as JSON can hold them."""
    return {"shape": list(frames.shape), "base64": base64.b64encode(frames.numpy().tobytes()).decode()}


def _strip(state: Mapping[str, Any], name: str) -> Strip:
    packed = np.frombuffer(base64.b64decode(state["frames"]["base64"]), dtype=np.uint8)
    frames = packed.reshape(state["frames"]["shape"]).astype(np.float32) / 255
    said = f"{'right' if state['right'] else 'wrong'}: {state['answer']}"
    return Strip(
        frames,
        name if state["psnr"] is None else f"{name}, {_decibels(state)}",
        said,
        RIGHT if state["right"] else WRONG,
    )


def _decibels(state: Mapping[str, Any]) -> str:
    return "no change" if state["psnr"] is None else f"{state['psnr']:.1f} dB"
