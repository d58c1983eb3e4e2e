"""Gradients through random models: the mean over several draws of the model's own randomness (EOT)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from advvid.core.batch import derive_seed
from advvid.core.seeding import seed_global


def draw_seeds(generators: Sequence[torch.Generator]) -> Tensor:
    """Draw one seed per clip, int64 ``[B]`` on the CPU."""
    return torch.stack([torch.randint(2**62, (), generator=generator) for generator in generators])


def expected_loss(
    model: nn.Module,
    x: Tensor,
    loss: Callable[[Tensor], Tensor],
    seeds: Sequence[int] = (),
    samples: int = 1,
    gradient: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Average output, loss and gradient over draws of the model's randomness (Athalye et al. 2018, sec. 4.2).

    The draws are computed one after the other, so that memory does not grow with their number. A single draw is left
    to torch's global generator. Several are seeded clip by clip, each clip in a pass of its own: a model draws its numbers
    for a batch as a whole, and a clip's must not depend on its neighbours.

    Args:
        model: maps clips to its output.
        x: clips ``[B, 3, T, H, W]``.
        loss: maps the output to ``[B]``.
        seeds: one per clip, of its draws; needed for several.
        samples: number of draws.
        gradient: False to skip the backward passes; the gradient is then zero.

    Shape:
        returns the output's mean ``[B, ...]``, the loss's mean ``[B]`` and its gradient like ``x``, detached.
    """
    outs, losses, grads = [], [], torch.zeros_like(x)
    for sample in range(samples):
        point = x.detach().requires_grad_(gradient)
        with torch.set_grad_enabled(gradient):
            own = [derive_seed(seed, sample) for seed in seeds]
            out = model(point) if samples == 1 else _drawn(model, point, own)
            values = loss(out)
            if gradient:
                (grad,) = torch.autograd.grad(values.sum(), point)
                grads += grad
        outs.append(out.detach())
        losses.append(values.detach())
    if samples == 1:
        return outs[0], losses[0], grads
    return torch.stack(outs).mean(dim=0), torch.stack(losses).mean(dim=0), grads / samples


def _drawn(model: nn.Module, x: Tensor, seeds: Sequence[int]) -> Tensor:
    """Return the output for each clip, whose draws start from its own seed; torch's global generators are left as they were."""
    outs = []
    with torch.random.fork_rng(devices=[x.device] if x.device.type == "cuda" else []):
        for clip, seed in zip(x.split(1), seeds, strict=True):
            seed_global(seed, x.device)
            outs.append(model(clip))
    return torch.cat(outs)
