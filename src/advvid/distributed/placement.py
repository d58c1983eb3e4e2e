"""Where the weights lie in training: whole in every process, or a part in each."""

from __future__ import annotations

from advvid.distributed.parallel import Processes
from advvid.distributed.replicated import Replicated


def placement(processes: Processes) -> Replicated:
    """Return how the processes of a run hold the weights."""
    if not processes.sharded:
        return Replicated(processes)
    from advvid.distributed.sharding import Sharded  # takes a while to import, and few runs want it

    return Sharded(processes)
