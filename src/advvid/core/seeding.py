"""Seeding the global generators, from which layers such as dropout draw, at every step of a training."""

from __future__ import annotations

import torch


def seed_global(seed: int, device: torch.device) -> None:
    """Seed the CPU's generator and, for work on a GPU, the GPU's, with the numbers of ``torch.manual_seed``.

    That one also notes the stack of calls for every kind of accelerator that is not in use: a millisecond at each call, and
    memory that is never freed.

    Args:
        seed: any whole number of 64 bits.
        device: on which layers draw.

    Example:
        >>> seed_global(0, torch.device("cpu"))
        >>> float(torch.rand(()).mul(1000).round())
        496.0
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)
