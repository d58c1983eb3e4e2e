"""Differences of metrics over a whole split, in pairs of videos."""

import json

import numpy as np
import pytest
import torch

from advvid.evaluation.cells import Cells
from advvid.studies.plan import CellPlan
from advvid.studies.resampled import difference
from advvid.tasks.multi_label import gap

LABELS = [[i % 5, 5 + i % 3] for i in range(60)]


def kept(folder, outs, names=None):
    """Write what an evaluation leaves of two batches, clean and under one attack, beside another one's."""
    names, answers = names or [f"v{i}" for i in range(60)], outs.argmax(axis=1)
    for key in (7, 8):
        # Files are named by what is in their clips, which is no order.
        cells = Cells(folder, {column: f"{key:016x}" for column in ("clean", "fgm")}, ["f" * 32, "0" * 32])
        for number, part in enumerate((slice(0, 32), slice(32, 60))):
            pred = answers[part] if key == 8 else 7 - answers[part]
            cell = {"out": outs[part] if key == 8 else -outs[part], "pred": pred}
            cells.write("clean", number, {"id": np.array(names[part]), **cell})
            cells.write("fgm", number, cell)
    rows = zip(names, LABELS, answers.tolist(), strict=True)
    lines = [{"id": n, "label": label, "clean": a, "attacks": {"fgm": {"pred": a}}} for n, label, a in rows]
    (folder / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def cell(metric):
    return CellPlan("none", "features", "fgm", "metric", {"metric": metric})


def outputs(right, noise):
    """Return scores in which the labels stand out by ``right`` from noise that is the same for all models."""
    outs = torch.from_numpy(np.random.default_rng(0).normal(size=(60, 8))) * noise
    for row, label in zip(outs, LABELS, strict=True):
        row[label] += right
    return outs.numpy()


def test_the_same_model_is_no_better_than_itself(tmp_path):
    folders = [kept(tmp_path / name, outputs(1, 1)) for name in "ab"]
    found = difference(folders, [cell("gap"), cell("gap")])
    assert (found.value, found.ci95, found.p) == (0.0, (0.0, 0.0), pytest.approx(1))


@pytest.mark.parametrize("metric", ["gap", "perr", "hit1"])
def test_pairs_decide_what_two_intervals_would_not(tmp_path, metric):
    better, worse = outputs(1.5, 1), outputs(1, 1)
    found = difference([kept(tmp_path / "a", better), kept(tmp_path / "b", worse)], [cell(metric)] * 2)
    points, (low, high) = found.value, found.ci95
    assert 0 < low < points < high
    if metric == "gap":
        targets = torch.zeros(60, 8, dtype=torch.bool)
        for row, label in zip(targets, LABELS, strict=True):
            row[label] = True
        by_hand = 100 * (gap(torch.from_numpy(better), targets) - gap(torch.from_numpy(worse), targets))
        assert points == pytest.approx(by_hand)


def test_shares_of_videos_say_where_nothing_can_be_told(tmp_path):
    folders = [kept(tmp_path / "a", outputs(9, 1)), kept(tmp_path / "b", outputs(8, 1))]
    assert difference(folders, [cell("hit1")] * 2).shares == (100.0, 100.0)
    assert difference(folders, [cell("gap")] * 2).shares == ()


def test_other_videos_or_measures_are_left_to_others(tmp_path):
    one = kept(tmp_path / "a", outputs(1, 1))
    two = kept(tmp_path / "b", outputs(1, 1), [f"w{i}" for i in range(60)])
    assert difference([one, two], [cell("gap")] * 2) is None
    assert difference([one, one], [cell("mse")] * 2) is None
    assert difference([one, one], [CellPlan("none", "features", "fgm", "acc", {})] * 2) is None
    assert difference([one, tmp_path], [cell("gap")] * 2) is None


def test_other_measures_are_left_to_others(tmp_path):
    folders = [kept(tmp_path / name, outputs(1.0, 1.0)) for name in "ab"]
    union = CellPlan("multibn", "lo", "union")
    by_hand = CellPlan("multibn_manual", "branches", "union", "json", {"path": "branch_matrix/union/acc"})
    assert difference(folders, [by_hand, union]) is None
