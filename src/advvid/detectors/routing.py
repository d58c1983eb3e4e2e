"""Detect, then purify by the verdict: no, the temporal or the spatial defense for each clip (Jia et al., fig. 1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from advvid.core import checkpoint
from advvid.core.kinds import FilePath
from advvid.detectors.temporal_consistency import DENSE, SPARSE, TemporalConsistency
from advvid.purifiers.base import Generators, Purifier
from advvid.purifiers.levels import Jpeg
from advvid.purifiers.temporal_defense import TemporalDefense


@dataclass(frozen=True, kw_only=True)
class Routing(TemporalConsistency):
    """The detector of Jia et al. with what is done about its verdict: ``detector=temporal_consistency``.

    Args:
        sparse: the purifier of clips that it calls sparsely attacked; the paper's is the temporal defense.
        dense: the purifier of clips that it calls densely attacked; the paper's is ComDefend.
        network: run folder or file of the network whose answers to single frames are compared; None for the model behind.
            Other arguments: see ``TemporalConsistency``.

    Example:
        >>> Routing(gamma_1=0.2, network=None).route(model)(clips)     # doctest: +SKIP
    """

    sparse: Purifier = field(default_factory=TemporalDefense)
    dense: Purifier = field(default_factory=Jpeg)
    network: FilePath | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network is not None:
            checkpoint.find(self.network)

    @property
    def source(self) -> Path | None:
        """The file of the detector's own network."""
        return None if self.network is None else checkpoint.find(self.network)

    @property
    def rule(self) -> str:
        """The thresholds, by which results are kept apart."""
        return f"gamma_1={self.gamma_1!r}, gamma_2={self.gamma_2!r}"

    def route(self, model: nn.Module, network: nn.Module | None = None) -> Route:
        """Return the route as a purifier in front of a model.

        Args:
            model: that is behind, and whose answers are compared unless ``network`` is given.
            network: the detector's own.
        """
        return Route(self, model, network)


class Route(Purifier):
    """Each clip passes the purifier of its verdict alone, or none.

    The verdict is the detector's on the clip as it comes in. Gradients flow through the purifier that was chosen, by its
    stand-in where it has none; that another one would be chosen nearby is nothing a gradient can tell.

    Args:
        routing: thresholds and purifiers.
        model: whose answers to single frames are compared.
        network: these, if not the model's own.

    Shape:
        clips ``[B, 3, T, H, W]``.
    """

    def __init__(self, routing: Routing, model: nn.Module, network: nn.Module | None = None) -> None:
        super().__init__()
        self.sparse, self.dense, self.network = routing.sparse, routing.dense, network
        self.random = routing.sparse.random or routing.dense.random
        # Not a part of this module where it is the model behind, which is hashed and moved by itself.
        self._routing, self._model = routing, (model,)

    def verdict(self, clips: Tensor) -> Tensor:
        """Return what the detector calls each clip, int64 ``[B]``."""
        return self._routing.verdict(self._routing.index(self.network or self._model[0], clips.detach()))

    def purify(self, clips: Tensor, generators: Generators | None) -> Tensor:
        """Return each clip after the purifier of its verdict."""
        verdict, found = self.verdict(clips), clips
        for kind, purifier in ((SPARSE, self.sparse), (DENSE, self.dense)):
            chosen = (verdict == kind).nonzero().squeeze(1)
            if len(chosen):
                own = None if generators is None else [generators[i] for i in chosen.tolist()]
                found = found.index_copy(0, chosen, purifier(clips[chosen], own))
        return found

    def extra_repr(self) -> str:
        """Return thresholds and purifiers."""
        return f"{self._routing.rule}, sparse={self.sparse.settings}, dense={self.dense.settings}"
