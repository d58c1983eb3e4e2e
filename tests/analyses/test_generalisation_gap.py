import json

import pytest

from advvid.analyses.generalisation_gap import GeneralisationGap, line
from advvid.core.errors import AdvvidError


def test_gaps_by_epoch_and_at_both_ends(tmp_path):
    epochs = [
        {"epoch": e, "train_objective_acc": 0.1 * e, "val_robust_acc": 0.05 * e, "train_acc": 0.5, "val_acc": 0.5}
        for e in range(1, 11)
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, epochs)))
    found = line("cat", tmp_path)
    assert [epoch["attacked"] for epoch in found["epochs"]] == pytest.approx([0.05 * e for e in range(1, 11)])
    assert found["ends"]["attacked"] == pytest.approx({"first": 0.075, "last": 0.475})
    assert found["ends"]["clean"] == {"first": 0, "last": 0}
    assert found["trend"]["attacked"]["slope"] == pytest.approx(0.05)
    assert found["trend"]["attacked"]["ci95"] == pytest.approx([0.05, 0.05])
    assert found["trend"]["clean"]["slope"] == 0
    analysis, result = GeneralisationGap(), {"runs": [found, line("lost", tmp_path / "x")]}
    assert [path.name for path in analysis.draw(result, tmp_path, "gap")] == ["gap.png"]
    assert analysis.table(result) is not None
    assert "metrics.jsonl is not there" in result["runs"][1]["problem"]


def test_a_budget_that_moves_is_held_against_validation_at_that_budget(tmp_path):
    epoch = {"epoch": 1, "train_objective_acc": 0.9, "val_robust_acc": 0.1, "val_trained_acc": 0.8}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(epoch))
    (found,) = line("cat", tmp_path)["epochs"]
    assert found["attacked"] == pytest.approx(0.1)
    assert found["clean"] is None


def test_as_many_labels_as_runs():
    with pytest.raises(AdvvidError, match="2 names for 1 runs"):
        GeneralisationGap(labels=["a", "b"])
