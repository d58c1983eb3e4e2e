"""Where the weights lie in training: whole in every process, or a part in each."""

from __future__ import annotations

from advvid.distributed.parallel import Peers
from advvid.distributed.replicated import Replicated


def placement(peers: Peers) -> Replicated:
    """Return how the processes of a run hold the weights."""
    if not peers.sharded:
        return Replicated(peers)
    from advvid.distributed.sharding import Sharded  # takes a while to import, and few runs want it

    return Sharded(peers)
