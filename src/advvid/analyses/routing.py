"""What single defenses save of attacked clips, and what a detector saves that chooses between them (Jia et al.)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from torch import Tensor, nn

from advvid.analyses.base import Analysis, Context
from advvid.analyses.batches import by_batch, right_clips
from advvid.analyses.detection import CLEAN, DENSE, SPARSE, fitted
from advvid.analyses.scored import rebuilt
from advvid.attacks.base import Attack
from advvid.attacks.pgd import PGD
from advvid.attacks.sparse import Sparse
from advvid.core import digests
from advvid.core.batch import Batch
from advvid.core.kinds import FilePath, Share
from advvid.detectors.routing import Routing
from advvid.evaluation.columns import Column, craft
from advvid.evaluation.table import Block
from advvid.metrics.statistics import wilson
from advvid.purifiers.base import Purifier
from advvid.purifiers.levels import Jpeg
from advvid.purifiers.purified import PurifiedModel
from advvid.purifiers.temporal_defense import TemporalDefense

NONE, TEMPORAL, SPATIAL, ROUTED, ORACLE = "none", "temporal", "spatial", "routed", "oracle"
TITLES = {
    NONE: "no defense",
    SPATIAL: "spatial defense only",
    TEMPORAL: "temporal defense only",
    ROUTED: "detection, then temporal or spatial",
    ORACLE: "the kind of attack told, then temporal or spatial",
}
KINDS = (CLEAN, SPARSE, DENSE)
# Resamples of the mixed set behind an interval.
DRAWS = 5000


@dataclass(frozen=True, kw_only=True)
class RoutingTable(Analysis):
    """Tables 3 and 4 of Jia et al.: accuracy on clean and attacked clips behind each defense and behind the route.

    As in the paper, the attacks know of no defense. Table 3 counts every clip, one that is wrong before the attack as
    wrong. The mixed set of table 4 is clean clips, and in equal weight the sparse and the dense ones that fool the bare model.

    Args:
        sparse: attack on few frames.
        dense: attack on all frames.
        temporal: purifier against the first; the paper's is the temporal defense.
        spatial: purifier against the second; the paper's is ComDefend.
        gamma_1: threshold of the exception index between clean and attacked clips, from analysis=detection.
        gamma_2: between sparse and dense ones.
        network: run of the network whose answers to single frames are compared; None for the run's own.
    """

    sparse: Attack = field(default_factory=Sparse)
    dense: Attack = field(default_factory=PGD)
    temporal: Purifier = field(default_factory=TemporalDefense)
    spatial: Purifier = field(default_factory=Jpeg)
    gamma_1: Share = 0.175
    gamma_2: Share = 0.3
    network: FilePath | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.routing  # refuses impossible thresholds and purifiers now

    @property
    def routing(self) -> Routing:
        """The detector with its purifiers."""
        return Routing(
            gamma_1=self.gamma_1, gamma_2=self.gamma_2, sparse=self.temporal, dense=self.spatial, network=self.network
        )

    def run(self, context: Context) -> dict[str, Any]:
        """Attack every clip that is right, and score clean and attacked clips behind every defense.

        Raises:
            AdvvidError: if an attack leaves its threat set, or the task has no right answers.
        """
        columns = fitted(context, {SPARSE: _late(self.sparse), DENSE: _late(self.dense)})
        frames = context.clip_shape[1]
        systems = {
            name: PurifiedModel([purifier], context.model, context.seed, frames).to(context.device).eval()
            for name, purifier in ((TEMPORAL, self.temporal), (SPATIAL, self.spatial))
        }
        watched = self._network(context)
        models = [context.model, watched, *systems.values()]
        made = ([digests.of_module(model) for model in models], [column.rests_on for column in columns.values()])
        clips: dict[str, dict[str, list[Any]]] = {}
        for batch in by_batch(
            context,
            context.split,
            context.name,
            made,
            "attacks and defenses",
            lambda batch: self._batch(context, batch, columns, systems, watched),
        ):
            for kind, found in batch.items():
                for name, values in found.items():
                    clips.setdefault(kind, {}).setdefault(name, []).extend(values)
        return {
            "clips": clips,
            "gamma_1": self.gamma_1,
            "gamma_2": self.gamma_2,
            **tables(clips, self.routing),
            "attacks": {kind: f"{type(c.attack).__name__}, {c.attack.threat.budget}" for kind, c in columns.items()},
            "defenses": {TEMPORAL: self.temporal.settings, SPATIAL: self.spatial.settings},
        }

    def _network(self, context: Context) -> nn.Module:
        source = self.routing.source
        if source is None:
            return context.model
        found, _ = rebuilt(source, context.classes, context.clip_shape, context.views, context.config)
        return found.to(context.device)

    def _batch(
        self,
        context: Context,
        batch: Batch,
        columns: Mapping[str, Column],
        systems: Mapping[str, nn.Module],
        watched: nn.Module,
    ) -> dict[str, dict[str, list[Any]]]:
        """Return per kind of clip its index, and whether each defense gets it right."""
        task, labels = context.task, batch.target

        def right(model: nn.Module, clips: Tensor, index: Tensor) -> Tensor:
            return right_clips(context, model, clips, labels[index])

        def told(clips: Tensor, index: Tensor) -> dict[str, list[Any]]:
            return {
                "id": [batch.ids[i] for i in index.tolist()],
                "index": self.routing.index(watched, clips).tolist() if len(index) else [],
                NONE: right(context.model, clips, index).tolist() if len(index) else [],
                **{name: right(model, clips, index).tolist() if len(index) else [] for name, model in systems.items()},
            }

        everyone = torch.arange(len(batch), device=batch.inputs.device)
        todo = everyone[right(context.model, batch.inputs, everyone)]
        found = {CLEAN: told(batch.inputs, everyone)}
        for kind, column in columns.items():
            x_adv = batch.inputs[todo]
            if len(todo):
                ids = [batch.ids[i] for i in todo.tolist()]
                x_adv = craft(column, context.model, x_adv, labels[todo], ids, context.seed, task)[0].x_adv
            found[kind] = told(x_adv, todo)
        return found

    def table(self, result: Mapping[str, Any]) -> RenderableType:
        """Return both tables."""
        return Group(*(block.rich() for block in blocks(result)))


def tables(clips: Mapping[str, Mapping[str, Sequence[Any]]], routing: Routing) -> dict[str, Any]:
    """Return the accuracies of both tables from the records of the clips.

    Shape:
        clips: per kind ``index`` and, per defense, whether it is right: ``[n]`` for clean clips, and for attacked ones those
        that were right before.
    """
    total = len(clips[CLEAN]["index"])
    scored = {kind: outcomes(kind, clips[kind], routing) for kind in KINDS}
    accuracy = {kind: {name: _share(int(right.sum()), total) for name, right in scored[kind].items()} for kind in KINDS}
    # The mixed set: of the attacked clips only those that fool the bare model.
    mixed = {
        kind: {name: right if kind == CLEAN else right[~scored[kind][NONE]] for name, right in scored[kind].items()}
        for kind in KINDS
    }
    sizes = {kind: len(mixed[kind][NONE]) for kind in KINDS}
    if not all(sizes.values()):
        return {"n": total, "accuracy": accuracy, "mixed": {"n": sizes, "accuracy": None, "routed_less": None}}
    every = {name: float(np.mean([mixed[kind][name].mean() for kind in KINDS])) for name in TITLES}
    less = {
        name: _difference(mixed, ROUTED, name, np.random.default_rng(0)) for name in (NONE, SPATIAL, TEMPORAL, ORACLE)
    }
    return {"n": total, "accuracy": accuracy, "mixed": {"n": sizes, "accuracy": every, "routed_less": less}}


def outcomes(kind: str, clips: Mapping[str, Sequence[Any]], routing: Routing) -> dict[str, NDArray[np.bool_]]:
    """Return which clips of a kind each defense gets right, the route and the oracle included."""
    right = {name: np.asarray(clips[name], dtype=bool) for name in (NONE, SPATIAL, TEMPORAL)}
    verdict = routing.verdict(torch.tensor(clips["index"], dtype=torch.float64)).numpy()
    chosen = (NONE, TEMPORAL, SPATIAL)
    right[ROUTED] = np.choose(verdict, [right[name] for name in chosen])
    right[ORACLE] = right[chosen[KINDS.index(kind)]]
    return right


def _late(attack: Attack) -> Attack:
    """Return the attack going on after the bare model is fooled: it cannot tell when a defense that it does not know is."""
    return attack.adjusted(early_exit=False)


def _share(count: int, total: int) -> dict[str, Any]:
    return {"acc": count / total if total else None, "ci95": list(wilson(count, total))}


def _difference(
    mixed: Mapping[str, Mapping[str, NDArray[np.bool_]]], first: str, second: str, generator: np.random.Generator
) -> dict[str, Any]:
    """Return how much better one defense is on the mixed set, its clips drawn again kind by kind, both defenses on the same."""
    apart = [mixed[kind][first].astype(float) - mixed[kind][second] for kind in KINDS]
    draws = [part[generator.integers(0, len(part), (DRAWS, len(part)))].mean(axis=1) for part in apart]
    low, high = np.quantile(np.mean(draws, axis=0), [0.025, 0.975])
    return {"difference": float(np.mean([part.mean() for part in apart])), "ci95": [float(low), float(high)]}


def blocks(result: Mapping[str, Any]) -> Iterator[Block]:
    """Yield the tables of a result."""
    names = (NONE, SPATIAL, TEMPORAL, ROUTED)
    rows = [(kind, *(_percent(result["accuracy"][kind][name]) for name in names)) for kind in KINDS]
    yield Block(f"Accuracy on all {result['n']} clips", ("clips", *(TITLES[name] for name in names)), tuple(rows))
    mixed = result["mixed"]
    counts = ", ".join(f"{count} {kind}" for kind, count in mixed["n"].items())
    if mixed["accuracy"] is not None:
        lines = tuple((TITLES[name], f"{100 * share:.1f}") for name, share in mixed["accuracy"].items())
        yield Block(f"Mixed set in equal parts ({counts})", ("defense", "accuracy"), lines)


def _percent(share: Mapping[str, Any]) -> str:
    low, high = (100 * end for end in share["ci95"])
    return f"{100 * share['acc']:.1f} [{low:.1f}, {high:.1f}]" if share["acc"] is not None else "–"
