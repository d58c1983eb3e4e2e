"""What an evaluation takes over from its run, and what the command line says instead."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from advvid import checkpoint
from advvid.paths import conf_dir
from advvid.saved import adopt, with_saved_choices


def composed(arguments):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        choices = dict(compose("train", arguments, return_hydra_config=True).hydra.runtime.choices)
        return compose("train", arguments), choices


@pytest.fixture
def evaluated(tmp_path):
    """Return the configuration of an evaluation of a run that was trained with some words."""

    def of(trained, *words):
        cfg, choices = composed(trained)
        config = {**OmegaConf.to_container(cfg), "choices": {k: v for k, v in choices.items() if v}}
        torch.save({"format": checkpoint.FORMAT, "model": {}, "config": config}, tmp_path / "last.pt")
        arguments = with_saved_choices(["mode=eval", f"checkpoint={tmp_path / 'last.pt'}", *words])
        return adopt(*composed(arguments), arguments)

    return of


TRAINED = ["suite=lo", "suite.roa_30.side=40", "dataset.seed=1", "attack=pgd", "attack.eps=4/255"]


def test_without_a_word_everything_is_the_runs_own(evaluated):
    cfg, choices = evaluated(TRAINED)
    assert (choices["suite"], cfg.suite.roa_30.side, cfg.attack.eps, cfg.dataset.seed) == ("lo", 40, "4/255", 1)


def test_another_suite_wins_over_the_runs_own(evaluated):
    cfg, choices = evaluated(TRAINED, "suite=kinfu")
    assert choices["suite"] == "kinfu"
    assert "pgd_15" in cfg.suite
    assert "roa_30" not in cfg.suite
    assert cfg.dataset.seed == 1


def test_the_suite_of_the_same_name_is_the_one_that_the_command_line_names(evaluated):
    cfg, _ = evaluated(TRAINED, "suite=lo")
    assert cfg.suite.roa_30.side == 30
    cfg, _ = evaluated(TRAINED, "suite=lo", "suite.roa_30.side=50", "~suite.framing_10")
    assert cfg.suite.roa_30.side == 50
    assert cfg.suite.get("framing_10") is None


def test_the_attack_of_the_same_name_is_the_one_that_the_command_line_names(evaluated):
    cfg, _ = evaluated(TRAINED, "attack=pgd")
    assert cfg.attack.eps == "8/255"


def test_keys_change_the_runs_own_suite(evaluated):
    cfg, _ = evaluated(TRAINED, "suite.pgd_4.steps=7")
    assert (cfg.suite.pgd_4.steps, cfg.suite.roa_30.side) == (7, 40)


def test_a_data_set_of_the_same_name_keeps_the_settings_that_the_weights_need(evaluated):
    cfg, _ = evaluated([*TRAINED, "dataset.frames=4"], "dataset=motion", "dataset.limit_test=9")
    assert (cfg.dataset.frames, cfg.dataset.seed, cfg.dataset.limit_test) == (4, 1, 9)
