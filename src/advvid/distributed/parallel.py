"""Several processes that train one model and score one split: what they tell each other, and when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Processes:
    """The processes of a run, this one among them. A single process talks to nobody.

    Attacks take gradients of the input from the bare model, many times a step; only the weights' gradients, once per
    update, cross processes. So every defense works on several devices without knowing it.

    Args:
        rank: number of this process.
        world_size: number of processes.
        device: where messages live; the process group's backend decides which kind it takes.
        sharded: whether each of them keeps a part of a trained model's weights, see ``advvid.distributed.sharding``.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    sharded: bool = False

    @property
    def main(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    @property
    def share(self) -> tuple[int, int]:
        """The number of this process and of all, by which they divide a list among themselves."""
        return self.rank, self.world_size

    def barrier(self) -> None:
        """Wait until every process is here."""
        if self.world_size > 1:
            self.sum([0.0])

    def sum(self, numbers: Sequence[float]) -> list[float]:
        """Return the sums over all processes, the same in each."""
        if self.world_size == 1:
            return list(numbers)
        values = torch.tensor(list(numbers), dtype=torch.float64, device=self.device)
        dist.all_reduce(values)
        return values.tolist()

    def least(self, number: float) -> float:
        """Return the least over all processes."""
        if self.world_size == 1:
            return number
        value = torch.tensor(number, dtype=torch.float64, device=self.device)
        dist.all_reduce(value, op=dist.ReduceOp.MIN)
        return float(value)

    def average_gradients(
        self, parameters: Iterable[nn.Parameter], *numbers: float | Tensor
    ) -> Sequence[float | Tensor]:
        """Put the mean over processes in place of every gradient, in one message, and return the sums of ``numbers``.

        A parameter without a gradient in every process keeps none, so that weight decay leaves it alone as it would in
        one process; where only some have one, the others count as zero.
        """
        if self.world_size == 1:
            return numbers  # a sum on the device stays there
        weights = [p for p in parameters if p.requires_grad]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in weights]
        present = [float(p.grad is not None) for p in weights]
        extra = torch.tensor([*present, *map(float, numbers)], dtype=torch.float32, device=self.device)
        flat = torch.cat([*(part.detach().float().flatten() for part in parts), extra])
        dist.all_reduce(flat)
        *sums, tail = flat.split([*(part.numel() for part in parts), len(extra)])
        told = tail.tolist()
        for weight, total, count in zip(weights, sums, told[: len(weights)], strict=True):
            weight.grad = (total / self.world_size).view_as(weight).to(weight.dtype) if count else None
        return told[len(weights) :]

    def average_buffers(self, model: nn.Module) -> None:
        """Put the mean over processes in place of every floating-point buffer (BatchNorm's running statistics)."""
        if self.world_size == 1:
            return
        buffers = [b for b in model.buffers() if b.is_floating_point()]
        if not buffers:
            return
        flat = torch.cat([b.detach().float().flatten() for b in buffers])
        dist.all_reduce(flat)
        with torch.no_grad():
            for buffer, total in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
                buffer.copy_((total / self.world_size).view_as(buffer))

    def first(self, value: str) -> str:
        """Return the first process's word in every process."""
        if self.world_size == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0, device=self.device)
        return held[0]
