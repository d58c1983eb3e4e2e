import pytest
from omegaconf import OmegaConf

from advvid.studies.catalogue import all_targets, studies
from advvid.studies.estimate import FLOPS, count, forward, known, scoring_hours, training_hours

DATA = OmegaConf.create({"frames": 16, "size": 112, "limit_test": None})


def test_a_clip_costs_what_the_card_says_in_proportion_to_its_size():
    assert forward("resnext3d_101", DATA) == pytest.approx(9.57e9)
    assert forward("resnext3d_101", {"frames": 40, "size": 224}) == pytest.approx(9.57e9 * 2.5 * 4)
    assert forward("inception_v3", {"frames": 16, "size": 224}) == pytest.approx(45.7e9 * 2)


def test_at_costs_a_pass_more_than_its_inner_steps():
    plain = {
        "defense": {"_target_": "advvid.defenses.none.NoDefense", "inner_steps": 5},
        "schedule": {"epochs": 10},
        "dataset": DATA,
    }
    at = {**plain, "defense": {"_target_": "advvid.defenses.at.AT", "inner_steps": 5}}
    one, six = (training_hours(OmegaConf.create(cfg), "resnext3d_101", "ucf101") for cfg in (plain, at))
    assert one == pytest.approx(10 * 8583 * 9.57e9 * 6 / FLOPS / 3600)
    assert six == pytest.approx(6 * one)


def test_an_evaluation_costs_the_steps_of_its_columns():
    suite = {"pgd": {"_target_": "x", "steps": 20}, "fgsm": {"_target_": "x", "eps": 0.1}, "include_attack": False}
    cfg = OmegaConf.create({"suite": suite, "dataset": DATA})
    assert scoring_hours(cfg, "resnext3d_101", "ucf101") == pytest.approx(3783 * 22 * 9.57e9 * 6 / FLOPS / 3600)


def test_every_target_that_needs_computing_has_its_hours():
    hours = known()
    assert set(hours) == set(all_targets(own=False))
    for name, target in all_targets(own=False).items():
        assert (hours[name] > 0) == bool(list(target.wanted("full")))


@pytest.mark.parametrize(
    "paper", ["jia", *(pytest.param(name, marks=pytest.mark.slow) for name in ("aart", "deepsava", "kinfu", "lo"))]
)
def test_the_shipped_hours_are_those_of_the_settings(paper):
    """Whoever changes an experiment or a target counts again: python -m advvid.studies.estimate."""
    counted = count((paper,))
    assert counted == {name: hours for name, hours in known().items() if name in counted}
    assert set(counted) == set(studies()[paper].targets)
