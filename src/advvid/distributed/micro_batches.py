"""How many clips fit at once: activation memory measured on one clip, and what to do when there was too little."""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from advvid.attacks.base import frozen
from advvid.models.modes import mode

T = TypeVar("T")

log = logging.getLogger(__name__)

# Of the free memory, what activations may take; weights' gradients, copies of the clips and libraries want the rest.
SHARE = 0.6
MEMINFO = Path("/proc/meminfo")
STATUS = Path("/proc/self/status")
CGROUP = Path("/sys/fs/cgroup")


def activation_bytes(model: nn.Module, clips: Tensor) -> int:
    """Return the bytes that a forward pass of clips ``[B, ...]`` keeps for the gradient of its input.

    Counted by the storages that autograd saves, each once, with the weights frozen, as an attack runs.
    """
    held: dict[int, int] = {}
    weights = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage.nbytes()
        return tensor

    watching = torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t)
    with mode(model, False), torch.enable_grad(), frozen(model), watching:
        out = model(clips.detach().clone().requires_grad_())
        total = sum(held.values())
        del out
    return total


def free_bytes(device: torch.device) -> int | None:
    """Return the memory that this process may still take of a device; None where the machine does not tell.

    On a CPU the least of what the machine has, what the container (such as a SLURM job) may still take, and what
    ``ulimit -v`` leaves: to run over either of the last two is to be killed while the machine has room.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    rooms = [_field(MEMINFO, "MemAvailable:"), _container_room(), _address_room()]
    return min((room for room in rooms if room is not None), default=None)


def _container_room() -> int | None:
    """Return what a control group with a bound has left, files that it may drop included."""
    try:
        bound, used = ((CGROUP / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        files = next(
            line for line in (CGROUP / "memory.stat").read_text().splitlines() if line.startswith("inactive_file")
        )
        return max(0, int(bound) - int(used) + int(files.split()[1]))
    except (OSError, ValueError, StopIteration):
        return None  # none here, or one without a bound ("max")


def _address_room() -> int | None:
    bound, used = resource.getrlimit(resource.RLIMIT_AS)[0], _field(STATUS, "VmSize:")
    return None if bound == resource.RLIM_INFINITY or used is None else max(0, bound - used)


def _field(file: Path, name: str) -> int | None:
    """Return a figure that a file of /proc states in KiB, in bytes."""
    if file.is_file():
        for line in file.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return None


def micro_batch(
    model: nn.Module, clip: Tensor, batch_size: int, given: int | None, what: str, processes: int = 1
) -> int:
    """Return how many clips of a batch to take at once.

    Args:
        model: on its device.
        clip: one clip ``[1, ...]`` there.
        batch_size: clips of a batch.
        given: the user's own number, or None to measure.
        what: is done with the clips, for the log.
        processes: that share the memory of this machine's CPU.
    """
    if given is not None:
        return min(given, batch_size)
    free = free_bytes(clip.device)
    if free is None:
        return batch_size
    each = max(1, activation_bytes(model, clip))
    room = free // (1 if clip.device.type == "cuda" else processes)
    fits = max(1, int(SHARE * room / each))
    size = min(batch_size, fits)
    report = f"activations take {each / 2**20:.0f} MiB a clip"
    if size < batch_size:
        log.info("%s, %.1f GiB are free: %s takes %d of %d clips at once", report, room / 2**30, what, size, batch_size)
    else:
        log.debug("%s: %s takes whole batches", report, what)
    return size


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that a device had too little memory."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def in_parts(work: Callable[[Tensor], T], size: int, total: int, what: str) -> tuple[list[T], int]:
    """Do some work on clips 0 to ``total - 1`` in parts; where memory runs out, in parts half as large from there on.

    Args:
        work: takes the indices of a part and can be called again for it.
        size: clips of a part at the start.
        total: number of clips.
        what: is done, for the log.

    Returns:
        the results in order, and the size that memory allowed in the end.

    Raises:
        torch.OutOfMemoryError: if a single clip is too much.

    Example:
        >>> in_parts(lambda index: index.tolist(), 2, 3, "counting")
        ([[0, 1], [2]], 2)
    """
    results: list[T] = []
    done = 0
    while done < total:
        index = torch.arange(done, min(done + size, total))
        try:
            results.append(work(index))
        except RuntimeError as error:
            if not out_of_memory(error) or size == 1:
                raise
            size = max(1, len(index) // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            log.warning("memory ran out: %s goes on with %d clips at once", what, size)
            continue
        done += len(index)
    return results, size
