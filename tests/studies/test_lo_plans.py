"""What Lo & Patel's tables rest on: frames, attacks that are trained against, layouts, purifiers, budgets."""

import pytest
import torch

from advvid.config.composed import composed
from advvid.config.instantiate import safe_instantiate
from advvid.core.numbers import parse_number
from advvid.core.paths import conf_dir
from advvid.models.build import build_model
from advvid.studies.catalogue import find_target, studies
from advvid.studies.plan import DEMO, FULL, RUN, SCALES
from advvid.studies.published import published_tables

EXPERIMENTS = sorted((conf_dir() / "experiment" / "lo").glob("*.yaml"))
FOUR = ["pgd", "roa", "framing", "salt_and_pepper"]


def plan(run, scale, *more):
    told = [word for word in studies()["lo"].runs[run].overrides[scale] if not RUN.search(word)]
    return composed([*told, *more])


def test_forty_frames_are_spread_over_the_video():
    data = composed(["experiment=lo/multibn"]).dataset
    assert (data.frames, data.stride, data.size, data.test_clips) == (40, "spread", 112, 1)
    others = [path for path in EXPERIMENTS if "dataset" in path.read_text()]
    assert [path.stem for path in others] == ["none"]  # from which all take their data


@pytest.mark.parametrize("name", ["avg", "max"])
def test_clean_clips_and_all_four_attacks_by_default_and_those_of_the_code_as_an_option(name):
    slide = composed([f"experiment=lo/{name}"]).defense
    assert slide.clean
    assert [key for key, attack in slide.attacks.items() if attack] == FOUR
    code = composed(
        [f"experiment=lo/{name}", *(f"~attack@defense.attacks.{key}" for key in ("framing", "salt_and_pepper"))]
    ).defense
    assert code.clean
    assert [key for key, attack in code.attacks.items() if attack] == ["pgd", "roa"]


@pytest.mark.parametrize(
    ("row", "experiment"),
    [
        ("none", "resnet18"),
        ("at", "resnet18_at"),
        ("feature_denoising_3d", "feature_denoising_3d"),
        ("feature_denoising_2d", "feature_denoising_2d"),
        ("oudefend", "oudefend"),
    ],
)
def test_networks_have_as_many_weights_as_the_published_ones(row, experiment):
    cfg = composed([f"experiment=lo/{experiment}"])
    with torch.device("meta"):
        network = build_model(cfg.model, 101, (3, 40, 112, 112), load_weights=False)
        network = safe_instantiate(cfg.defense).wrap(network)
    millions = sum(weight.numel() for weight in network.parameters()) / 1e6
    assert millions == pytest.approx(published_tables()["lo-oudefend"].rows[row]["params_m"].value, abs=0.1)


@pytest.mark.parametrize("scale", SCALES)
def test_halftones_table_trains_behind_the_purifier_that_it_scores(scale):
    _, target = find_target("lo-halftone")
    for row, cells in target.cells.items():
        purifier = row.partition("_")[2].replace("nonlocal", "non_local")
        told = studies()["lo"].runs[cells["pgd_8"].run].overrides[scale]
        wanted = set() if purifier == "vanilla" else {f"purifier=[{purifier}]", "purify_training=true"}
        assert {word for word in told if word.startswith("purif")} == wanted, row
        assert {cell.score for cell in cells.values()} == {"halftone"}
    cfg = plan("cifar10_at_halftone", scale, "suite=halftone")
    assert (list(cfg.purifier), cfg.purify_training) == (["halftone"], True)
    assert parse_number(cfg.attack.eps) == parse_number(cfg.suite.pgd_8.eps)


def test_the_rate_falls_on_cifar10():
    runs = {name: work for name, work in studies()["lo"].runs.items() if name.startswith("cifar10_")}
    assert all("schedule.kind=cosine" in work.overrides[FULL] for work in runs.values())
    found = plan("cifar10_at_halftone", FULL).schedule
    assert (found.kind, found.epochs, found.optimizer.lr, found.batch_size) == ("cosine", 50, 0.1, 128)


def test_steps_and_budgets_vary_for_all_four_attacks():
    study, target = find_target("lo-strength")
    found = {True: [], False: []}
    for _, score in target.figures:
        told = study.scores[score].overrides[DEMO]
        found["analysis.field=steps" in told] += [word for word in told if word.startswith("attack=")]
    attacks = ["attack=pgd", "attack=roa", "attack=frame_border_w10", "attack=salt_and_pepper"]
    assert found == {True: attacks, False: attacks}
