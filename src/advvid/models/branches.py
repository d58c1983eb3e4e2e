"""BatchNorm in parallel branches, one for each family of inputs, in any network that has it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from advvid.core.errors import AdvvidError


@dataclass
class Choice:
    """What all layers of a network do now. They share one object, so that no network has to hand it through.

    Args:
        branch: the family that all rows belong to; None where nobody knows.
        weights: how much of each branch every clip takes, ``[B, K]``; None for all of ``branch``.
    """

    branch: int | None = 0
    weights: Tensor | None = None


class BranchNorm(nn.Module):
    """A BatchNorm layer in parallel copies, each with statistics and weights of its own.

    Given one branch it is that copy. Given weights it is ``z = sum_k rho_k z_k`` (Lo & Patel, BN selection module). In
    training only the rows' own branch computes and moves statistics; the others contribute by their running ones, as they
    will in testing, so that they never see a family that is not theirs.

    Args:
        norm: the layer to be replaced; every branch starts as a copy of it, pretrained statistics included.
        count: number of branches, K.
        choice: shared by all layers of the network.

    Shape:
        ``[N, C, ...]`` as the replaced layer; with weights ``[B, K]``, N is B or, for networks that take frames or views
        apart, a multiple of it with a clip's rows together.
    """

    def __init__(self, norm: _BatchNorm, count: int, choice: Choice) -> None:
        super().__init__()
        self.branches = nn.ModuleList(copy.deepcopy(norm) for _ in range(count))
        self.choice = choice

    def forward(self, x: Tensor) -> Tensor:
        """Return the features, normalised."""
        norms, branch, weights = self._norms(), self.choice.branch, self.choice.weights
        if len(norms) == 1:
            return norms[0](x)
        if weights is None:
            assert branch is not None, "without weights a branch is chosen"
            return norms[branch](x)
        if len(x) % len(weights):
            raise AdvvidError(
                f"{len(x)} rows of features cannot be told apart by {len(weights)} clips: this network mixes clips, so choose "
                "defense=multibn_manual, which gives all of a batch one branch"
            )
        weights = weights.repeat_interleave(len(x) // len(weights), dim=0)
        if any(norm.running_mean is None for norm in norms):  # always the batch's own statistics
            parts = [_rows(weights[:, k], x) * norm(x) for k, norm in enumerate(norms)]
            return torch.stack(parts).sum(dim=0)
        if branch is None or not norms[branch].training:
            return self._at_rest(x, weights)
        others = weights.clone()
        others[:, branch] = 0
        own = _rows(weights[:, branch], x) * norms[branch](x)
        return (own + self._at_rest(x, others)).to(x.dtype)

    def _at_rest(self, x: Tensor, weights: Tensor) -> Tensor:
        """Mix the branches on their running statistics: affine maps, whose mixture is one as well."""
        maps = [_affine(norm) for norm in self._norms()]
        # Sums rather than products of matrices, which autocast would compute in low precision.
        scale, shift = ((weights[:, :, None] * torch.stack(part)).sum(dim=1) for part in zip(*maps, strict=True))
        return (x * _rows(scale, x) + _rows(shift, x)).to(x.dtype)

    def _norms(self) -> list[_BatchNorm]:
        return [norm for norm in self.branches if isinstance(norm, _BatchNorm)]


def _rows(values: Tensor, x: Tensor) -> Tensor:
    """Shape ``[N]`` or ``[N, C]`` so that it broadcasts over ``x``."""
    return values.reshape(*values.shape, *(1,) * (x.dim() - values.dim()))


def _affine(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return scale and shift, ``[C]``, of a layer on its running statistics."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    # A copy: the forward pass of another family may move the statistics before this one's backward pass.
    shift = -norm.running_mean.clone() * scale
    return scale, shift if norm.bias is None else shift + norm.bias


def add_branches(net: nn.Module, count: int, choice: Choice) -> int:
    """Replace, in place, every BatchNorm of a network (1-D, 2-D, 3-D, synchronised) by branches of it.

    Returns:
        how many layers were replaced; a layer that is used at several places counts once.
    """
    made: dict[int, BranchNorm] = {}
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                made.setdefault(id(child), BranchNorm(child, count, choice))
                setattr(parent, name, made[id(child)])
    return len(made)
