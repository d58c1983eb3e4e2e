"""Our plans at full scale have the settings of the papers, or name the difference."""

import pytest

import advvid.studies.recorded as recorded
from advvid.core.errors import AdvvidError
from advvid.studies.recorded import Setting, compare, unstated


@pytest.mark.parametrize(
    "paper", ["kinfu", *(pytest.param(name, marks=pytest.mark.slow) for name in ("aart", "deepsava", "jia", "lo"))]
)
def test_no_plan_differs_without_a_reason_and_what_decides_a_training_is_recorded(paper):
    settings = compare((paper,))
    assert len(settings) > 30
    assert [setting.problem for setting in settings if setting.problem] == []
    assert list(unstated((paper,))) == []


@pytest.mark.parametrize(
    ("plan", "wanted", "because", "said"),
    [
        (0.001, 0.001, "", ""),
        ("1/1000", 0.001, "", ""),
        (0.01, 0.001, "", "schedule.lr is 0.01 in the plan; recorded is 0.001 (the code)"),
        (0.01, 0.01, "memory", ""),
        (
            0.02,
            0.01,
            "memory",
            "schedule.lr is 0.02 in the plan; recorded is 0.001 (the code) and the named difference is 0.01",
        ),
        (0.001, 0.001, "memory", "schedule.lr is listed as a difference and is none: 0.001"),
    ],
)
def test_a_difference_has_to_be_named_and_to_be_one(plan, wanted, because, said):
    setting = Setting("lo", "none", "schedule.lr", 0.001, plan, wanted, because, "the code")
    assert setting.problem == (f"lo, none: {said}" if said else "")


def test_a_training_that_does_not_exist_is_told(monkeypatch, tmp_path):
    (tmp_path / "aart.yaml").write_text("- {runs: [nobody], source: here, settings: {seed: 0}}")
    monkeypatch.setattr(recorded, "HERE", tmp_path)
    with pytest.raises(AdvvidError, match="no runs of this paper are called nobody"):
        compare(("aart",))
