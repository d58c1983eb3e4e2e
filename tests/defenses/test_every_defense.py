"""What every configuration of conf/defense owes its user: it trains, states its cost, and goes on where it was cut off."""

import json
import math

import pytest
import torch
from tiny_runs import NAMES, in_each_process, run
from training_steps import metrics

from advvid.distributed.runtime import Runtime

# Curves of a defense's own in metrics.jsonl, beyond budget and cost.
CURVES = {
    "aat": {"probabilities", "adversarial_loss"},
    "aat_types": {"probabilities", "adversarial_loss"},
    "ape_gan": {"restoration_mse", "generator_gan_loss", "discriminator_loss", "prerequisite_passes"},
    "art": {"clean_loss", "adversarial_loss"},
    "a_art": {"clean_loss", "adversarial_loss", "attention_distance"},
    "cat": {"val_trained_acc"},
    "cat_down": {"val_trained_acc"},
    "fgsm_rs": {"val_one_step_acc", "val_pgd_acc"},
    "free_at": {"val_one_step_acc", "val_pgd_acc"},
    "frozen_gan_at": {"prerequisite_passes"},
    "gat": {"restoration_mse", "generator_gan_loss", "discriminator_loss"},
    "injection": {"clean_loss", "example_loss", "examples", "examples_fooling", "prerequisite_passes"},
    "multibn": {"selector_acc"},
    "n_fgsm": {"val_one_step_acc", "val_pgd_acc"},
    "trades": {"divergence"},
    "vfat_ws": {"divergence", "val_one_step_acc", "val_pgd_acc"},
}
ALWAYS = {"loss", "train_objective_acc", "val_acc", "val_robust_acc", "passes", "total_passes"}
# Forward-backward passes per clip of those that call parts of the model by themselves, with one inner step, as their own
# words say. What the others state is counted as they train.
COST = {"multibn": 9, "multibn_manual": 9, "gat": 2 + 1.5 / 2}

# One of each kind of state: a distribution, networks of its own, files, branches, replays, none.
QUICK = {"aat", "ape_gan", "gat", "injection", "multibn", "free_at", "none"}


def finite(trainer):
    return all(
        torch.isfinite(value).all() for value in trainer.model.state_dict().values() if value.is_floating_point()
    )


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_interrupted_equals_uninterrupted_with_curves_and_cost(tmp_path, name):
    """On a CPU bit for bit, with the networks, optimisers and distributions of the defense's own."""
    whole = run(name, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(name, tmp_path / "cut", resume=True, dies_after=1)
    again = run(name, tmp_path / "cut", resume=True)
    for (key, one), other in zip(whole.model.state_dict().items(), again.model.state_dict().values(), strict=True):
        assert torch.equal(one, other), key
    lines = metrics(tmp_path / "whole")
    assert lines == metrics(tmp_path / "cut")
    assert finite(whole)
    assert len(lines) == 2
    assert set(lines[-1]) >= ALWAYS
    assert CURVES.get(name, set()) <= {key for line in lines for key in line}
    assert "budget" in lines[-1] or not whole.measured.attacked
    assert all(math.isfinite(line["loss"]) for line in lines)
    assert lines[1]["total_passes"] == pytest.approx(lines[0]["passes"] + lines[1]["passes"])
    assert all(line["passes"] >= 16 for line in lines)
    check_cost(name, lines, whole.measured.count, whole.measured.parts_called)


def check_cost(name, lines, measured, parts_called):
    """Hold the passes that a defense states against those that were counted."""
    stated = lines[-1]["total_passes"]
    assert stated == pytest.approx(measured) or (parts_called and stated > measured)
    assert name not in COST or all(line["passes"] == pytest.approx(16 * COST[name]) for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_low_precision_trains_as_full_precision_does(tmp_path, name):
    # Eight frames: with two left, oneDNN computes the weights' gradient of 3-D convolutions in bf16 wrongly.
    full, low = (run(name, tmp_path / p, "schedule.epochs=1", precision=p, frames=8) for p in ("fp32", "bf16"))
    assert finite(low)
    assert all(p.dtype == torch.float32 for p in low.model.parameters())
    assert not all(torch.equal(a, b) for a, b in zip(full.model.parameters(), low.model.parameters(), strict=True))
    one, two = (metrics(tmp_path / p)[0] for p in ("fp32", "bf16"))
    assert two["loss"] == pytest.approx(one["loss"], rel=0.2, abs=0.1)
    assert two["passes"] == pytest.approx(one["passes"])


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    Runtime(device="cpu", devices=2, threads=1).launch(in_each_process, folder, NAMES)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_train_one_model(pair, name):
    first, second = notes = [json.loads((pair / f"{name}.{rank}.json").read_text()) for rank in (0, 1)]
    assert first["digest"] == second["digest"]
    lines = first["metrics"]
    assert len(lines) == 2
    assert all(math.isfinite(line["loss"]) for line in lines)
    assert CURVES.get(name, set()) <= {key for line in lines for key in line}
    if name != "gat":  # half as many updates: its turns fall otherwise
        check_cost(name, lines, sum(note["measured"] for note in notes), first["parts_called"])
