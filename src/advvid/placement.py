"""Where the weights lie in training: whole in every process, or a part in each."""

from __future__ import annotations

from advvid.holding import Replicated
from advvid.parallel import Peers


def placement(peers: Peers) -> Replicated:
    """Return how the processes of a run hold the weights."""
    if not peers.sharded:
        return Replicated(peers)
    from advvid.sharding import Sharded  # takes a while to import, and few runs want it

    return Sharded(peers)
