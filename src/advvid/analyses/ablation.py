"""Certificates by ablation against changed frames or a patch, beside what an attack leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import MinLen
from rich.console import Group, RenderableType
from rich.text import Text
from torch import Tensor

from advvid.analyses.base import Analysis, Context
from advvid.analyses.batches import by_batch, no_answers
from advvid.analyses.bounds import below_certificate, bound_curves, bound_table, bounds, held, summary
from advvid.analyses.tries import changed_places, tries_in_places
from advvid.attacks.base import Attack
from advvid.attacks.roa import ROA
from advvid.attacks.sparse import Sparse
from advvid.core import digests
from advvid.core.batch import Batch, clip_generators
from advvid.core.errors import AdvvidError
from advvid.core.kinds import Count, Share, Whole
from advvid.evaluation.columns import Column, craft
from advvid.evaluation.tally import proportion
from advvid.models.ablated import Blocks, Keep, Voted, margins, winner
from advvid.tasks.classification import Classification


@dataclass(frozen=True, kw_only=True)
class Ablation(Analysis):
    """Structured ablation (Levine & Feizi 2020): the share of clips whose right answer no change of a size can turn.

    The voted model answers what the run's model answers most often when it is shown one block of frames, or of columns of
    pixels, and grey elsewhere, for every place of the block; ties go to the lowest class. A change that reaches D blocks
    moves D votes at most, so that an answer that leads by more than 2 D is proved. The certificate is exact: there is no
    chance in it. The accuracy that is left by the attack is an upper bound of the same, and a check is raised where it
    changes a proved answer. Train with ``defense=frame_ablation`` or ``column_ablation`` of the same block.

    Args:
        keep: ``frames`` proves answers against changed frames, ``columns`` against a square patch at one place.
        block: how many frames or columns are kept.
        fill: value of all that is not kept.
        changed: numbers of changed frames, or sides of the patch in pixels.
        places: whether changed frames lie ``anywhere`` or are ``consecutive``, which proves more; a patch is one piece.
        attack: ``sparse`` for frames, on those that reach most blocks; ``roa`` with ``per_frame=false`` for a patch.
            Its size is set to each of ``changed``. It sees the vote and the mean probability over all blocks.
        tries: changed clips for each answer besides, of the largest change that is proved for it, half of them random
            values at random places, half points of ascents against the proved answer.

    Example:
        >>> Ablation(block=2, changed=[1]).largest(8)
        2
    """

    keep: Keep = "frames"
    block: Count = 2
    fill: Share = 0.5
    changed: Annotated[Sequence[Count], MinLen(1)] = (1, 2)
    places: Literal["anywhere", "consecutive"] = "anywhere"
    attack: Attack = field(default_factory=lambda: Sparse(weight=0.0, step_size=0.1, steps=20))
    tries: Whole = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "changed", tuple(sorted(set(self.changed))))
        if self.keep == "frames" and type(self.attack) is not Sparse:
            raise AdvvidError(
                "analysis=ablation proves answers against changed frames: choose attack@analysis.attack=sparse"
            )
        if self.keep == "columns" and not (isinstance(self.attack, ROA) and not self.attack.per_frame):
            raise AdvvidError(
                "analysis=ablation_patches proves answers against a square at one place: choose attack@analysis.attack=roa "
                "with analysis.attack.per_frame=false"
            )

    @property
    def over(self) -> str:
        """What the bounds are over: ``frames`` or ``side``."""
        return "frames" if self.keep == "frames" else "side"

    @property
    def blocks(self) -> Blocks:
        """What the model is shown."""
        return Blocks(self.keep, self.block, self.fill)

    def reached(self, changed: int, length: int) -> int:
        """Return how many of ``length`` blocks a change can reach."""
        return self.blocks.touched(changed, length, self.keep == "frames" and self.places == "anywhere")

    def largest(self, length: int) -> int:
        """Return the largest change that can be proved at all, where every one of ``length`` blocks votes for one class."""
        return max(changed for changed in range(length + 1) if 2 * self.reached(changed, length) <= length)

    def at(self, changed: int, shape: Sequence[int]) -> Attack:
        """Return the attack of a size on clips of shape ``(3, T, H, W)``."""
        if self.keep == "columns":
            return self.attack.adjusted(side=changed * 112 / min(shape[-2:]))
        apart = shape[1] / changed if self.places == "anywhere" else 1
        return self.attack.adjusted(frames=changed, key_frame="given", given=[int(i * apart) for i in range(changed)])

    def run(self, context: Context) -> dict[str, Any]:
        """Certify every clip and attack it at every size.

        Raises:
            AdvvidError: for a task other than the choice of one class, and for sizes that the clips do not have.
        """
        if not isinstance(context.task, Classification):
            raise no_answers(context)
        channels, frames, height, width = context.clip_shape
        shape = (channels, context.views * frames, height, width)
        length = self.blocks.length((1, *shape))
        most = length if self.keep == "frames" else min(height, width)
        if self.changed[-1] > most:
            raise AdvvidError(
                f"analysis.changed has {self.changed[-1]}, and there are {most} {self.keep}: choose at most {most}"
            )
        attacks = [self.at(changed, shape) for changed in self.changed]
        voted = Voted(context.model, self.blocks).eval()
        made = (repr(self), digests.of_module(context.model))
        parts = by_batch(
            context, context.split, "clips", made, context.name, lambda b: self._batch(context, voted, attacks, b)
        )
        clips = [clip for part in parts for clip in part["clips"]]
        reached = [self.reached(changed, length) for changed in self.changed]
        needs = [2 * blocks for blocks in reached]  # a block that is reached takes two votes off a lead
        tried = list(held(clips, "margin", needs))
        check = below_certificate(
            tried,
            "the certificate is wrong: it has no chance in it",
            "look for a model that answers otherwise in other batches",
        )
        return {
            "keep": self.keep,
            "block": self.block,
            "places": self.places,
            "over": self.over,
            "n": len(clips),
            "blocks": length,
            "largest": self.largest(length),
            "right": proportion([clip["answer"] == clip["label"] for clip in clips]),
            "bounds": [
                {self.over: self.changed[i], "reached": reached[i], "budget": attacks[i].threat.budget} | found
                for i, found in enumerate(bounds(clips, "margin", needs))
            ],
            **summary(tried),
            "checks": [dataclasses.asdict(check)],
            "clips": clips,
            "settings": [dataclasses.asdict(attack) for attack in attacks],
        }

    def draw(self, result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
        """Draw both bounds over the size of the change."""
        return [bound_curves(_title(result), result["over"], result["n"], {"": result}, folder / f"{name}.png")]

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return a row per size: the proved lower bound beside the attack's upper bound."""
        what = f"changed frames, {result['places']}," if result["over"] == "frames" else "pixels of a patch's side"
        note = f"At most {result['largest']} {what} can be proved; a proof holds for any values there."
        notes = [note, *(check["message"] for check in result["checks"])]
        layout = bound_table(f"{_title(result)}, n = {result['n']}", result["over"], result)
        return Group(layout, *(Text(line) for line in notes))

    def _batch(self, context: Context, voted: Voted, attacks: Sequence[Attack], batch: Batch) -> dict[str, Any]:
        votes = voted.votes(batch.inputs)
        attacked = [self._attacked(context, voted, attack, batch) for attack in attacks]
        answers, leads = winner(votes).tolist(), margins(votes).tolist()
        generators = clip_generators(context.seed, "tries", batch.ids)
        inside = [self._tried(voted, *one) for one in zip(batch.inputs, answers, leads, generators, strict=True)]
        rows = zip(batch.target.tolist(), answers, leads, inside, *attacked, strict=True)
        return {
            "clips": [
                {"id": name, "label": label, "answer": answer, "margin": margin, "attacked": after, "tried": tried}
                for name, (label, answer, margin, tried, *after) in zip(batch.ids, rows, strict=True)
            ]
        }

    def _tried(self, voted: Voted, clip: Tensor, answer: int, lead: int, generator: torch.Generator) -> list[int]:
        """Return the answers to the tries inside of what is proved of one clip; none where nothing is."""
        shape, length = tuple(clip.shape), self.blocks.length((1, *clip.shape))
        most = length if self.keep == "frames" else min(shape[-2:])
        changed = max(size for size in range(most + 1) if 2 * self.reached(size, length) <= lead)
        if not self.tries or not changed:
            return []

        def places(number: int) -> Tensor:
            return changed_places(self.keep, changed, self.places == "anywhere", shape, number, generator)

        return tries_in_places(voted, clip, answer, places, self.tries, generator)

    @staticmethod
    def _attacked(context: Context, voted: Voted, attack: Attack, batch: Batch) -> list[int]:
        """Attack the voted model and return its answers."""
        column = Column(attack.threat.budget, attack)
        result, _ = craft(column, voted, batch.inputs, batch.target, batch.ids, context.seed, context.task)
        answers: list[int] = winner(voted.votes(result.x_adv)).tolist()
        return answers


def _title(result: Mapping[str, Any]) -> str:
    return f"Vote over blocks of {result['block']} of {result['blocks']} {result['keep']}"
