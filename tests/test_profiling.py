"""The page says which part of a loop took the time."""

import time

import torch

from advvid.attacks.pgd import PGD
from advvid.core.batch import Batch
from advvid.core.profiling import Profile


def shares(page):
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| ") and line.count("|") == 4]
    return {cells[1].strip(): cells[3].strip() for cells in rows}


def test_waiting_and_attacking_are_told_apart(small, clips, labels, tmp_path):
    def slow():
        for _ in range(4):
            time.sleep(0.2)
            yield Batch(clips[:1], labels[:1], ["a"])  # few: on a busy machine they take far longer than they need

    for batch in Profile(tmp_path, "training", active=True, skip=1, record=2).over(slow()):
        PGD(steps=2, early_exit=False)(small, batch.inputs, batch.target)
    page = (tmp_path / "training.md").read_text()
    found = shares(page)
    assert float(found["data wait"]) > 50
    assert float(found["attack forward"]) > 0
    assert float(found["attack backward"]) > 0
    assert page.startswith("# Where the time of training goes\n\n2 batches")
    assert (tmp_path / "training_trace.json").stat().st_size > 1000


def test_without_profiling_batches_pass_untouched(tmp_path):
    batches = [Batch(torch.zeros(1), torch.zeros(1), ["a"])]
    assert list(Profile(tmp_path, "training").over(batches)) == batches
    assert not list(tmp_path.iterdir())
