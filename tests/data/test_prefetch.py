"""Prefetching changes when a batch travels, and nothing else."""

import pytest
import torch

from advvid.core.batch import Batch
from advvid.data.loader import eval_batches, train_batches
from advvid.data.memory_clips import MemoryClips
from advvid.data.prefetch import prefetch

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def clips(count=10):
    videos = torch.randint(256, (count, 3, 8, 6, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return MemoryClips(videos, [i % 3 for i in range(count)], [f"v{i}" for i in range(count)], 4, 2, shift=1)


def same(first, second):
    return first.ids == second.ids and all(
        torch.equal(a.cpu(), b.cpu()) for a, b in ((first.inputs, second.inputs), (first.target, second.target))
    )


def test_on_a_cpu_the_batches_pass_as_they_are_and_none_is_taken_ahead():
    taken = []

    def loader():
        for i, batch in enumerate(train_batches(clips(), 3, 1, 0)):
            taken.append(i)
            yield batch

    plain = list(train_batches(clips(), 3, 1, 0))
    for i, batch in enumerate(prefetch(loader(), "cpu")):
        assert taken == list(range(i + 1))
        assert same(batch, plain[i])
        assert same(batch.to("cpu"), plain[i].to("cpu"))
    assert len(taken) == len(plain) == 3


def test_no_batches_are_no_batches():
    assert list(prefetch([], "cpu")) == []


@gpu
@pytest.mark.parametrize("workers", [0, 2])
def test_on_a_gpu_the_batches_are_the_same_and_still_bytes(workers):
    plain = list(eval_batches(clips(), 3))
    moved = []
    for batch in prefetch(eval_batches(clips(), 3, workers=workers), "cuda"):
        assert batch.inputs.is_cuda
        assert batch.inputs.dtype == torch.uint8
        # Work of the current stream that would overwrite memory freed too early.
        _ = torch.randn(64, 64, device="cuda") @ torch.randn(64, 64, device="cuda")
        moved.append(Batch(batch.inputs.clone(), batch.target.clone(), batch.ids))
    assert len(moved) == len(plain)
    assert all(same(a, b) for a, b in zip(moved, plain, strict=True))
    assert all(torch.equal(a.to("cuda").inputs.cpu(), b.to("cpu").inputs) for a, b in zip(moved, plain, strict=True))


@gpu
def test_what_loader_processes_made_lies_in_pinned_memory():
    assert next(iter(eval_batches(clips(), 3, workers=2))).inputs.is_pinned()
