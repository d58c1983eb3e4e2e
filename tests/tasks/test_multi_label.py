"""Multi-label classification as a task: loss, verdicts and YouTube-8M's measures, worked out by hand."""

import math

import pytest
import torch

from advvid.core.errors import AdvvidError
from advvid.evaluation.tally import summarise
from advvid.tasks.multi_label import MultiLabel, gap, hit_at_one, perr

# Three videos, four classes.
OUTS = torch.tensor([[0.9, 0.8, 0.1, 0.0], [0.3, 0.7, 0.6, 0.2], [0.5, 0.4, 0.05, 0.45]])
LABELS = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1]]).bool()


def test_the_loss_is_the_sum_of_a_binary_cross_entropy_per_class():
    out = torch.tensor([[0.0, math.log(3.0)], [-math.log(3.0), 0.0]])
    target = torch.tensor([[True, True], [True, False]])
    # sigmoid(log 3) = 3/4
    expected = [math.log(2) - math.log(0.75), -math.log(0.25) + math.log(2)]
    torch.testing.assert_close(MultiLabel().loss(out, target), torch.tensor(expected))
    assert MultiLabel().loss(out.bfloat16(), target).dtype == torch.float32


def test_a_verdict_is_hit_at_one():
    task = MultiLabel()
    assert task.predict(OUTS).tolist() == [0, 1, 0]
    assert task.correct(OUTS, LABELS).tolist() == [True, False, True]
    assert task.label(LABELS) == [[0, 1], [2], [0, 3]]
    torch.testing.assert_close(task.margin(OUTS, LABELS), torch.tensor([0.8, -0.1, 0.1]))
    assert ((task.margin(OUTS, LABELS) > 0) == task.correct(OUTS, LABELS)).all()
    broken = OUTS.clone()
    broken[0, 3] = torch.nan
    assert task.correct(broken, LABELS).tolist() == [False, False, True]


def test_the_table_takes_the_labels_as_they_are_written():
    task = MultiLabel()
    names = [f"v{i}" for i in range(3)]
    rows = [
        {"id": name, "label": label, "clean": int(answer), "attacks": {}}
        for name, label, answer in zip(names, task.label(LABELS), task.predict(OUTS), strict=True)
    ]
    assert summarise(rows, [])["clean"]["acc"] == pytest.approx(2 / 3)


def test_gap_by_hand():
    # Sorted: .9 hit, .8 hit, .7 miss, .6 hit, .5 hit, .45 hit, then nothing right. Five labels in all.
    expected = (1 + 1 + 3 / 4 + 4 / 5 + 5 / 6) / 5
    assert gap(OUTS, LABELS) == pytest.approx(expected)
    # With one prediction per video: .9 hit, .7 miss, .5 hit; the other three labels are missed.
    assert gap(OUTS, LABELS, top=1) == pytest.approx((1 + 2 / 3) / 5)
    assert gap(LABELS.float(), LABELS) == 1


def test_gap_sees_twenty_predictions_of_a_video():
    outs = -torch.arange(25.0)[None]
    for place, expected in ((19, 1 / 20), (20, 0)):
        target = torch.zeros(1, 25, dtype=torch.bool)
        target[0, place] = True
        assert gap(outs, target) == pytest.approx(expected)


def test_gap_is_the_average_precision_of_all_pairs_where_there_are_few_classes():
    from sklearn.metrics import average_precision_score

    generator = torch.Generator().manual_seed(0)
    outs, targets = torch.randn(40, 6, generator=generator), torch.rand(40, 6, generator=generator) < 0.3
    theirs = average_precision_score(targets.flatten().numpy(), outs.flatten().numpy())
    assert gap(outs, targets) == pytest.approx(theirs)


def test_perr_and_hit_by_hand():
    # Two labels, both in the top two; one label, not the top one; two labels, both in the top two.
    assert perr(OUTS, LABELS) == pytest.approx(2 / 3)
    half = torch.tensor([[1, 0, 1, 0], [0, 1, 1, 0], [1, 1, 0, 1]]).bool()
    assert perr(OUTS, half) == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert hit_at_one(OUTS, LABELS) == pytest.approx(2 / 3)
    none = LABELS.clone()
    none[1] = False
    assert perr(OUTS, none) == 1, "a video without labels has no precision"


def test_metrics_give_mean_and_deviation_over_partitions():
    found = MultiLabel(partitions=3).metrics(OUTS, LABELS)
    assert found["hit1"] == found["hit1_mean"] == pytest.approx(2 / 3)
    assert found["hit1_std"] == pytest.approx(math.sqrt((2 * (1 / 3) ** 2 + (2 / 3) ** 2) / 2))
    assert found["gap_mean"] == pytest.approx(sum(gap(OUTS[i : i + 1], LABELS[i : i + 1]) for i in range(3)) / 3)
    assert MultiLabel(partitions=1).metrics(OUTS, LABELS).keys() == {"gap", "perr", "hit1"}
    assert MultiLabel().metrics(OUTS, LABELS).keys() == {"gap", "perr", "hit1"}, "three clips are no five parts"
    assert MultiLabel().metrics(OUTS[:0], LABELS[:0]) == {}
    with pytest.raises(AdvvidError, match="partitions=0"):
        MultiLabel(partitions=0)
