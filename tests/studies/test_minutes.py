import pytest
from omegaconf import OmegaConf

from advvid.studies.catalogue import all_targets, studies
from advvid.studies.minutes import ACCESSES, count, known, scoring_passes, training_passes

DATA = {"_target_": "advvid.data.motion.Motion", "frames": 8, "size": 32, "limit_val": 50, "limit_test": 100}
PGD = {"_target_": "advvid.attacks.pgd.PGD", "steps": 20}


def config(defense, **more):
    node = {"_target_": f"advvid.defenses.x.{defense}", "inner_steps": 5, "attacks": more.pop("attacks", {})}
    return OmegaConf.create({"dataset": DATA, "defense": node, "schedule": {"epochs": 10}, "model": {}, **more})


def test_a_training_costs_its_inner_steps_and_its_validation():
    assert training_passes(config("NoDefense")) == 10 * (384 + 50 * 6)
    assert training_passes(config("AT")) == 10 * (384 * 6 + 50 * 6)
    two = {"pgd": PGD, "roa": PGD, "framing": None}
    assert training_passes(config("AVG", attacks=two)) == 10 * (384 * 12 + 50 * 6)


def test_validation_costs_as_often_as_it_is_asked_for():
    seldom = config("AT", schedule={"epochs": 10, "validate_every": 4})
    assert training_passes(seldom) == 10 * 384 * 6 + 3 * 50 * 6


def test_an_evaluation_costs_its_columns_twice_where_some_know_less():
    suite = {"pgd": PGD, "fgsm": {"_target_": "x"}, "include_attack": False}
    plain = scoring_passes(config("AT", suite=suite))
    assert plain == 100 * (1 + 21)
    assert scoring_passes(config("AT", suite=suite, purifier=["jpeg"])) == 100 * (1 + 42)
    assert "GAT" in ACCESSES


def test_a_searched_frame_costs_its_trials_and_every_frame_all():
    suite = {"bo": {**PGD, "key_frame": "bayesian", "trials": 12, "trial_steps": 10}}
    assert scoring_passes(config("AT", suite=suite)) == 100 * (1 + 20 + 120)
    suite = {"all": {**PGD, "key_frame": "brute_force"}}
    assert scoring_passes(config("AT", suite=suite)) == 100 * (1 + 20 * 8)


def test_the_whole_demo_takes_about_three_hours_on_two_cores_and_every_target_is_counted():
    """Counted as if no attack stopped early; where all of it was run, it took 0.8 of what was counted."""
    found = known()
    assert set(found["minutes"]) == set(all_targets())
    assert 0.8 * found["all"] <= 185


@pytest.mark.slow
@pytest.mark.parametrize("paper", studies())
def test_the_shipped_minutes_are_those_of_the_settings(paper):
    """Whoever changes the demo counts again: python -m advvid.studies.minutes."""
    counted = count((paper,), known()["seconds_of_a_pass"])
    assert counted["minutes"] == {name: known()["minutes"][name] for name in studies()[paper].targets}
