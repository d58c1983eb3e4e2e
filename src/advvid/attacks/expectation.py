"""Gradients through random models: the mean over several draws of the model's own randomness (EOT)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from advvid.core.batch import derive_seed


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Let torch's global generators start from ``seed`` inside the block and be as before after it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def draw_seeds(generators: Sequence[torch.Generator]) -> Tensor:
    """Draw one seed per clip, int64 ``[B]`` on the CPU."""
    return torch.stack([torch.randint(2**62, (), generator=generator) for generator in generators])


def expected_loss(
    model: nn.Module,
    x: Tensor,
    loss: Callable[[Tensor], Tensor],
    samples: int = 1,
    seed: int = 0,
    gradient: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Average output, loss and gradient over draws of the model's randomness (Athalye et al. 2018, sec. 4.2).

    The draws are computed one after the other, so that memory does not grow with their number. A single draw is left
    to torch's global generator; several are seeded, so that a search over the same clips repeats itself.

    Args:
        model: maps clips to its output.
        x: clips ``[B, 3, T, H, W]``.
        loss: maps the output to ``[B]``.
        samples: number of draws.
        seed: of the draws.
        gradient: False to skip the backward passes; the gradient is then zero.

    Shape:
        returns the output's mean ``[B, ...]``, the loss's mean ``[B]`` and its gradient like ``x``, detached.
    """
    outs, losses, grads = [], [], torch.zeros_like(x)
    for sample in range(samples):
        with seeded(derive_seed(seed, sample), x.device) if samples > 1 else _as_it_is():
            point = x.detach().requires_grad_(gradient)
            with torch.set_grad_enabled(gradient):
                out = model(point)
                values = loss(out)
                if gradient:
                    (grad,) = torch.autograd.grad(values.sum(), point)
                    grads += grad
        outs.append(out.detach())
        losses.append(values.detach())
    if samples == 1:
        return outs[0], losses[0], grads
    return torch.stack(outs).mean(dim=0), torch.stack(losses).mean(dim=0), grads / samples


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield
