"""The papers' suites hold the settings that the papers' tables were made with."""

import math

import numpy as np
import pytest
from omegaconf import DictConfig
from test_configs import composed

from advvid.config.catalogue import notes, option_files
from advvid.config.instantiate import safe_instantiate
from advvid.evaluation.check_rules import RULES
from advvid.evaluation.checks import table_checks
from advvid.evaluation.columns import Column
from advvid.experiment.parts import build


def columns(suite):
    nodes = composed(f"suite={suite}").suite
    assert nodes.include_attack is False
    return {
        name: safe_instantiate(node) for name, node in nodes.items() if isinstance(node, DictConfig) and name != "types"
    }


def test_kinfu_types_has_five_types_at_three_budgets():
    attacks = columns("kinfu_types")
    assert len(attacks) == 15
    assert [attacks[f"one_shot_{b}"].radius for b in ("004", "008", "015")] == [0.004, 0.008, 0.015]
    assert [attacks[f"saliency_{b}"].radius for b in ("004", "008", "015")] == [0.004, 0.008, 0.015]
    for kind in ("masked_pgd", "frame_border"):
        assert [attacks[f"{kind}_{r}"].ratio for r in (10, 15, 20)] == [0.1, 0.15, 0.2]
        assert (attacks[f"{kind}_10"].steps, attacks[f"{kind}_10"].step) == (100, 0.02)
    assert [attacks[f"flickering_{b}"].beta_0 for b in (4, 2, 1)] == [4, 2, 1]
    flicker = attacks["flickering_1"]
    assert (flicker.beta_1, flicker.beta_2, flicker.step_size, flicker.steps) == (0.1, 0.9, 0.02, 100)
    assert (attacks["one_shot_015"].steps, attacks["saliency_015"].step) == (100, 0.001)
    types = composed("suite=kinfu_types").suite.types
    assert [name for members in types.values() for name in members] == list(attacks)
    assert [len(members) for members in types.values()] == [3] * 5


@pytest.mark.parametrize("name", ["ape_gan", "gat", "ape_gan_types", "gat_types"])
def test_kinfu_trains_generators_as_the_papers_code_does(name):
    """The recorded Adam for both networks of the game, whatever moves the classifier, against the whole system (eq. 10)."""
    cfg = composed(f"experiment=kinfu/{name}")
    adam = {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 2e-4, "betas": [0.5, 0.999]}
    assert cfg.defense.generator_optimizer == cfg.defense.discriminator_optimizer == adam
    assert (cfg.schedule.optimizer._target_, cfg.schedule.optimizer.lr) == ("torch.optim.SGD", 5e-4)
    assert (cfg.defense.gamma_mse, cfg.defense.gamma_gan, cfg.defense.crafted_on) == (0.7, 0.3, "system")


@pytest.mark.parametrize("name", ["aat_types", "ape_gan_types", "gat_types"])
def test_kinfu_trains_on_types_with_the_recorded_steps(name):
    cfg = composed(
        f"experiment=kinfu/{name}", "dataset=motion", "dataset.frames=8", "dataset.size=32", "~dataset.scale"
    )
    assert (cfg.defense.inner_steps, cfg.defense.inner_step_size) == ("own", "own")
    parts = build(cfg, "pgd")
    chosen = getattr(parts.defense, "adversary", parts.defense)
    inner = chosen.choices(parts.attacks)
    found = {key: (attack.radius, attack.steps, attack.step) for key, attack in inner.items()}
    assert found == {
        "one_shot": (0.015, 100, 0.003),
        "saliency": (0.015, 100, 0.0004),
        "masked_pgd": (1.0, 300, 0.005),
        "frame_border": (1.0, 300, 0.005),
    }
    assert inner["masked_pgd"].ratio == inner["frame_border"].ratio == 0.15


def test_lo_has_four_attacks_of_five_steps_and_three_controls():
    attacks = columns("lo")
    searched = {name: attack for name, attack in attacks.items() if not attack.control}
    assert list(searched) == ["pgd_4", "roa_30", "framing_10", "salt_and_pepper_100"]
    assert all(attack.steps == 5 for attack in searched.values())
    assert searched["pgd_4"].step == pytest.approx(1 / 255)
    assert all(searched[name].step == pytest.approx(70 / 255) for name in list(searched)[1:])
    assert sum(attack.control for attack in attacks.values()) == 3


def test_multav_has_five_forms():
    attacks = columns("multav")
    assert [attack.form for attack in attacks.values()] == ["linf", "rms", "roa", "af", "spa"]
    assert (attacks["mult_av"].ratio, attacks["mult_av"].step_ratio, attacks["mult_av"].steps) == (1.04, 1.01, 5)


def test_no_budget_on_pixels_changes_with_the_size_of_the_clips():
    """A number in l2 over the clip would be a third of it at 112 x 112, and eight times as much on one picture."""
    suites = [name for name, path in option_files("suite").items() if name != "features" and "l2" in path.read_text()]
    nodes = {name: composed(f"suite={name}").suite for name in ("all", *suites)}
    found = []
    for option, group in nodes.items():
        for name, node in group.items():
            if isinstance(node, DictConfig) and "_target_" in node and node.get("norm", node.get("form")) == "l2":
                threat = safe_instantiate(node).threat
                if getattr(threat, "eps", getattr(threat, "ratio", math.inf)) < math.inf:
                    found.append(f"{option}: {name}")
    assert not found


def test_pgd_l2_of_oudefend_is_the_recorded_one():
    """L2 160 with 5 steps of 1, at 40 x 112 x 112."""
    attack, spread = columns("oudefend")["pgd_l2"], (3 * 40 * 112 * 112) ** 0.5
    assert attack.radius * spread == pytest.approx(160, rel=1e-3)
    assert attack.step * spread == pytest.approx(1, rel=1e-3)
    assert (attack.steps, attack.random_start) == (5, False)


def test_all_has_every_attack_there_is():
    """Those that say in their own file why they are left out apart."""
    files = option_files("attack")
    left_out = {name for name, path in files.items() if notes(path).get("not in suite=all")}
    assert left_out >= {"auto_attack", "frame_saliency_one_shot_art"}
    assert list(columns("all")) == [name for name in files if name not in left_out]


def test_sanity_has_what_every_comparison_needs():
    names = list(columns("sanity"))
    verdicts = {name: np.arange(100) < 50 for name in ["clean", *names]}
    made = table_checks([Column(n, a) for n, a in columns("sanity").items()], verdicts, 10, verdicts)
    # The others look at the model, the splits, the training or one column by itself.
    others = {
        "probabilities",
        "varying_outputs",
        "zero_gradients",
        "more_access",
        "batch_dependent",
        "chance",
        "idle",
        "loss_not_raised",
        "resumed_elsewhere",
        "small_validation",
        "overlap",
        "untrained_class",
        "below_certificate",
    }
    assert {check.name for check in made} == set(RULES) - others
