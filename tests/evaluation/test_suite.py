"""Suites with a column for every value of a setting."""

import pytest
from omegaconf import OmegaConf

from advvid.attacks.pgd import PGD
from advvid.config.composed import composed
from advvid.core.errors import AdvvidError
from advvid.evaluation.suite import suite_columns, suite_types


def test_corruptions_are_controls_at_five_severities_each_and_no_attack():
    suite = composed(["suite=corruptions"]).suite
    columns = suite_columns(suite, "pgd", PGD())
    assert len(columns) == 19 * 5
    assert all(column.attack.control for column in columns)
    assert columns[0].name == "gaussian_noise_1"
    types = suite_types(suite, [column.name for column in columns])
    assert [name for members in types.values() for name in members] == [column.name for column in columns]
    severities = {column.name: column.attack.severity for column in columns}
    assert all([severities[name] for name in members] == [1, 2, 3, 4, 5] for members in types.values())


@pytest.mark.parametrize(
    ("each", "said"),
    [
        ({"eps": [0.1]}, "suite.each.eps makes no column"),
        ({"severity": []}, "suite.each.severity makes no column"),
        ({"severity": [1], "eps": [0.1]}, "suite.each.eps makes no column"),
        ({"severity": [6]}, "severity"),
        ("all", "suite.each"),
    ],
)
def test_values_that_make_no_column_are_refused(each, said):
    node = {"_target_": "advvid.attacks.TimeCorruption"}
    with pytest.raises(AdvvidError, match=said):
        suite_columns(OmegaConf.create({"jumbling": node, "each": each}), "pgd", PGD())


def test_two_columns_of_one_name_are_refused():
    nodes = {
        "jumbling": {"_target_": "advvid.attacks.TimeCorruption"},
        "jumbling_1": {"_target_": "advvid.attacks.PGD"},
    }
    with pytest.raises(AdvvidError, match="two columns 'jumbling_1'"):
        suite_columns(OmegaConf.create({**nodes, "each": {"severity": [1]}}), "pgd", PGD())
