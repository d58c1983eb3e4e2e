"""A classifier with BatchNorm in branches, and the module that chooses among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn import functional as F

from advvid.core.errors import AdvvidError
from advvid.models.branches import Choice, add_branches


class MultiBranch(nn.Module):
    """A classifier with BatchNorm in branches, and what chooses among them: a name, or a selection module.

    Args:
        net: maps clips to logits; its BatchNorm layers are replaced.
        names: of the branches; the first is for clean clips.
        families: the branch of each attack, by the attack's name; an attack that is a branch's name needs no entry.
        branch: takes all clips where there is no selector.
        selector: maps clips to a score for each branch; None for a choice by hand.
        gumbel: training draws the weights by Gumbel-softmax (Jang et al. 2017); testing is always by softmax, so that a
            clip's answer is one and the same.
        temperature: of either softmax.

    Raises:
        AdvvidError: if the network has no BatchNorm, or ``branch`` is not among the names.

    Shape:
        clips ``[B, 3, T, H, W]`` in [0, 1]; logits ``[B, C]``.

    Example:
        >>> model = MultiBranch(classifier, ["clean", "pgd"], {}, branch="pgd")     # doctest: +SKIP
        >>> model.answer(clips, model.branch_of("pgd"))                            # doctest: +SKIP
    """

    def __init__(
        self,
        net: nn.Module,
        names: Sequence[str],
        families: Mapping[str, str],
        branch: str = "clean",
        selector: nn.Module | None = None,
        gumbel: bool = False,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.names, self.families = tuple(names), dict(families)
        self.gumbel, self.temperature = gumbel, temperature
        if branch not in self.names:
            raise AdvvidError(f"defense.branch={branch} is not known: choose among {', '.join(self.names)}")
        self.default, self.choice = self.names.index(branch), Choice()
        if not add_branches(net, len(self.names), self.choice):
            raise AdvvidError(
                "the model has no BatchNorm to give branches to: choose one that has, such as r3d_18, or defense=avg"
            )
        self.net, self.selector = net, selector

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits by the selector's weights or, without one, by the default branch."""
        return self.answer(clips)

    def branch_of(self, attack: str) -> int:
        """Return the number of an attack's branch.

        Raises:
            AdvvidError: if the attack belongs to none.
        """
        name = self.families.get(attack, attack)
        if name not in self.names:
            raise AdvvidError(
                f"{attack} belongs to none of the branches {', '.join(self.names)}: name its branch, as in "
                f"+defense.families.{attack}={self.names[-1]}"
            )
        return self.names.index(name)

    def answer(self, clips: Tensor, branch: int | None = None, alone: bool = False) -> Tensor:
        """Return logits for clips of a family.

        Args:
            clips: ``[B, 3, T, H, W]``.
            branch: the clips' own; None for unknown.
            alone: go through ``branch`` and nothing else, past the selector.
        """
        if alone or self.selector is None:
            return self.weighted(clips, None, self.default if branch is None else branch)
        return self.weighted(clips, self.weigh(self.scores(clips)), branch)

    def scores(self, clips: Tensor) -> Tensor:
        """Return the selector's score of each branch, ``[B, K]``."""
        if self.selector is None:
            raise AdvvidError(
                "this model has no selector, its branch is chosen by hand: train one with defense=multibn"
            )
        scores: Tensor = self.selector(clips).float()
        return scores

    def weigh(self, scores: Tensor) -> Tensor:
        """Return how much of each branch every clip takes, ``[B, K]``: at least 0, with sum 1."""
        if self.gumbel and self.training:
            return F.gumbel_softmax(scores, tau=self.temperature, dim=1)
        return F.softmax(scores / self.temperature, dim=1)

    def weighted(self, clips: Tensor, weights: Tensor | None, branch: int | None) -> Tensor:
        """Return logits with these weights; see ``Choice``."""
        with self._choosing(branch, weights):
            logits: Tensor = self.net(clips)
        return logits

    @contextmanager
    def _choosing(self, branch: int | None, weights: Tensor | None) -> Iterator[None]:
        before = self.choice.branch, self.choice.weights
        self.choice.branch, self.choice.weights = branch, weights
        try:
            yield
        finally:
            self.choice.branch, self.choice.weights = before


class Through(nn.Module):
    """A model with branches as it answers clips of one family; see ``MultiBranch.answer``."""

    def __init__(self, model: MultiBranch, branch: int, alone: bool = False) -> None:
        super().__init__()
        self.model, self.branch, self.alone = model, branch, alone

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits ``[B, C]``."""
        return self.model.answer(clips, self.branch, self.alone)


class Selector(nn.Module):
    """The BN selection module: a video classifier of the families, on clips in [0, 1].

    Args:
        net: maps normalised clips to a score for each branch.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, clips: Tensor) -> Tensor:
        """Return scores ``[B, K]``."""
        scores: Tensor = self.net((clips - 0.45) / 0.225)
        return scores
