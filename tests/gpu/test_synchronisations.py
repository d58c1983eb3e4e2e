"""No attack waits for the GPU more often than the budget allows, nor does the evaluator; test_defenses_on_gpu has the defenses."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.synchronisations import ATTACKS, budget, of_attack, of_evaluator, tiny_runs

ALLOWED = budget()


@pytest.mark.parametrize("name", ALLOWED["attack"])  # a new attack has a budget once the command has counted it
def test_an_attack_keeps_to_its_budget(name):
    waits = of_attack(name)
    assert waits.total() <= ALLOWED["attack"][name][1], waits


def test_the_evaluator_keeps_to_its_budget(tmp_path):
    waits = of_evaluator(tmp_path)
    assert waits.total() <= ALLOWED["evaluator"]["4 batches of 3 columns"][1], waits


def test_the_budget_names_what_there_is_and_was_only_lowered():
    assert set(ALLOWED["attack"]) <= set(ATTACKS)
    assert set(ALLOWED["defense"]) <= set(tiny_runs.NAMES)
    assert all(0 <= allowed <= first for group in ALLOWED.values() for first, allowed in group.values())
