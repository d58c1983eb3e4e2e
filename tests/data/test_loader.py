"""Batches: the order is a function of seed and epoch, and nothing is seen twice or lost."""

import multiprocessing
import os

import pytest
import torch

from advvid.core.errors import AdvvidError
from advvid.data import loader
from advvid.data.limits import round_robin
from advvid.data.loader import Feed, eval_batches, train_batches, train_length, worker_count
from advvid.data.memory_clips import MemoryClips


def clips(count=10):
    """Videos that differ in every pixel and frame, so that any wrong cut or mix-up shows."""
    videos = torch.randint(256, (count, 3, 8, 6, 6), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return MemoryClips(videos, [i % 3 for i in range(count)], [f"v{i}" for i in range(count)], 4, 2, shift=1)


def seen(batches):
    return [clip for batch in batches for clip in batch.ids]


def same(first, second):
    first, second = list(first), list(second)
    return len(first) == len(second) and all(
        a.ids == b.ids and torch.equal(a.inputs, b.inputs) and torch.equal(a.target, b.target)
        for a, b in zip(first, second, strict=True)
    )


def test_the_order_and_the_clips_are_a_function_of_seed_and_epoch():
    epoch = list(train_batches(clips(), 3, seed=1, epoch=0))
    torch.manual_seed(7)  # the global generator plays no part
    assert same(epoch, train_batches(clips(), 3, seed=1, epoch=0))
    assert seen(epoch) != seen(train_batches(clips(), 3, seed=1, epoch=1))
    assert seen(epoch) != seen(train_batches(clips(), 3, seed=2, epoch=0))


def test_every_epoch_draws_other_clips_of_a_video():
    drawn = set()
    for epoch in range(8):
        for batch in train_batches(clips(1), 1, seed=0, epoch=epoch):
            drawn.add(batch.inputs.numpy().tobytes())
    assert len(drawn) > 3


@pytest.mark.parametrize("start", [1, 2])
def test_a_late_start_gives_the_tail_of_the_epoch(start):
    whole = list(train_batches(clips(), 3, seed=1, epoch=4))
    assert len(whole) == train_length(clips(), 3) == 3
    assert same(whole[start:], train_batches(clips(), 3, seed=1, epoch=4, start=start))
    whole = list(eval_batches(clips(), 3))
    assert same(whole[start:], eval_batches(clips(), 3, numbers=range(start, len(whole))))
    assert same(whole[:1] + whole[2:], eval_batches(clips(), 3, numbers=[0, *range(2, len(whole))]))


def test_loader_processes_change_nothing():
    assert same(train_batches(clips(), 4, 1, 0, workers=2), train_batches(clips(), 4, 1, 0))
    assert same(eval_batches(clips(), 4, workers=2), eval_batches(clips(), 4))


def test_the_processes_of_a_feed_stay_and_change_nothing():
    train, val = clips(), clips(7)
    with Feed([train, val], workers=2) as feed:
        given = set()
        for epoch in range(3):
            assert same(train_batches(train, 4, 1, epoch, workers=feed), train_batches(train, 4, 1, epoch))
            next(iter(train_batches(train, 2, 1, epoch, workers=feed)))  # a walk that is left
            assert same(eval_batches(val, 4, workers=feed), eval_batches(val, 4))
            given.add(tuple(child.pid for child in multiprocessing.active_children()))
    assert len(given) == 1
    assert len(next(iter(given))) == 2
    assert not multiprocessing.active_children()


def test_two_walks_at_once_are_refused():
    train, val = clips(), clips(7)
    with Feed([train, val], workers=1) as feed:
        first = train_batches(train, 4, 1, 0, workers=feed)
        next(first)
        next(eval_batches(val, 4, workers=feed))
        with pytest.raises(RuntimeError, match="one at a time"):
            list(first)


@pytest.mark.parametrize("size", [1, 3, 4, 10, 64])
def test_testing_covers_each_video_once_in_order(size):
    assert seen(eval_batches(clips(), size)) == clips().ids


def test_only_an_incomplete_batch_beside_complete_ones_is_left_out():
    assert [len(batch) for batch in train_batches(clips(), 4, 0, 0)] == [4, 4]
    small = list(train_batches(clips(3), 8, 0, 0))
    assert sorted(seen(small)) == ["v0", "v1", "v2"]


def test_processes_share_the_videos_evenly():
    ranks = [seen(train_batches(clips(11), 1, seed=0, epoch=0, share=(r, 3))) for r in range(3)]
    assert [len(rank) for rank in ranks] == [3, 3, 3]
    assert len({name for rank in ranks for name in rank}) == 9
    lengths = {train_length(clips(11), 2, (r, 3)) for r in range(3)}
    assert len(lengths) == 1


def test_batches_carry_labels_and_bytes():
    batch = next(train_batches(clips(), 4, 0, 0))
    assert batch.inputs.shape == (4, 3, 4, 6, 6)
    assert batch.inputs.dtype == torch.uint8
    assert batch.target.tolist() == [int(name[1:]) % 3 for name in batch.ids]


def test_round_robin_takes_one_of_each_class_in_turn():
    labels = [2, 0, 0, 0, 1, 2]
    assert round_robin(labels, 3) == [0, 1, 4]
    assert round_robin(labels, 5) == [0, 1, 2, 4, 5]
    assert round_robin(labels, None) == round_robin(labels, 99) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("cores", "processes", "count"), [(1, 1, 1), (2, 1, 2), (6, 1, 6), (64, 1, 8), (16, 8, 2), (4, 8, 1)]
)
def test_workers_are_chosen_from_the_cores(monkeypatch, cores, processes, count):
    monkeypatch.setattr(loader, "cores", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert worker_count("auto") == count


def test_a_container_bounds_the_cores(monkeypatch):
    free = loader.cores()
    assert 1 <= free <= os.cpu_count()
    monkeypatch.setattr(loader.Path, "read_text", lambda _: "100000 100000\n")
    assert loader.cores() == 1
    monkeypatch.setattr(loader.Path, "read_text", lambda _: "max 100000\n")
    assert loader.cores() == free


@pytest.mark.parametrize("workers", [-1, 1.5, "many", True, None])
def test_a_wrong_number_of_workers_is_answered_in_one_sentence(workers):
    with pytest.raises(AdvvidError, match=r"dataset\.workers=.*choose a whole number of at least 0, or auto"):
        next(eval_batches(clips(), 4, workers=workers))


def test_automatic_workers_change_nothing():
    assert same(train_batches(clips(), 4, 1, 0, workers="auto"), train_batches(clips(), 4, 1, 0))
