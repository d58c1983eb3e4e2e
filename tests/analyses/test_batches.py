"""Numbers by batch are computed once, and anew for what they depend on."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from small_run import N, context, network

from advvid.analyses.batches import by_batch


@pytest.fixture
def counted():
    calls = []

    def compute(batch):
        calls.append(len(batch))
        return {"ids": list(batch.ids)}

    return calls, compute


def test_only_what_is_missing_is_computed(tmp_path, counted):
    calls, compute = counted
    ctx = context(tmp_path, network(1), batch_size=5)

    def ids(context, made="a"):
        found = by_batch(context, context.split, "x", made, "", compute)
        return [clip for batch in found for clip in batch["ids"]]

    assert ids(ctx) == list(ctx.split.ids)
    assert calls == [5, 5, 2]
    (next(tmp_path.rglob("x-*")) / f"{ctx.clips.batches(5)[1]}.json").unlink()  # as a kill leaves it
    assert ids(ctx) == list(ctx.split.ids)
    assert calls[3:] == [5]
    for changed, made in ((ctx, "b"), (replace(ctx, seed=1), "a"), (replace(ctx, batch_size=12), "a")):
        before = sum(calls)
        assert ids(changed, made) == list(ctx.split.ids)
        assert sum(calls) == before + N
