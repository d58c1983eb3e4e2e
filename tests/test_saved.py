"""What an evaluation takes over from its run, and what the command line says instead."""

import os
from functools import cache

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from advvid.config.instantiate import safe_instantiate
from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.core.paths import conf_dir
from advvid.experiment.saved import adopt, with_saved_choices
from advvid.models.rebuild import rebuild


@cache
def _composed(arguments):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        choices = dict(compose("train", list(arguments), return_hydra_config=True).hydra.runtime.choices)
        return compose("train", list(arguments)), choices


def composed(arguments):
    cfg, choices = _composed(tuple(arguments))
    return cfg.copy(), dict(choices)


@pytest.fixture
def evaluated(tmp_path):
    """Return the configuration of an evaluation of a run that was trained with some words."""

    def of(trained, *words):
        cfg, choices = composed(trained)
        config = {**OmegaConf.to_container(cfg), "choices": {k: v for k, v in choices.items() if v}}
        state = {"format": checkpoint.FORMAT, "model": {}, "classes": [], "defense": {}, "config": config}
        torch.save(state, tmp_path / "last.pt")
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


def saved_with(path, config, **more):
    torch.save({"format": checkpoint.FORMAT, "model": {}, "classes": [], "defense": {}, "config": config} | more, path)
    return ["mode=eval", f"checkpoint={path}"]


@pytest.mark.parametrize("group", ["suite", "attack", "dataset", "hydra", "hydra/job_logging", "suite@hydra.callbacks"])
@pytest.mark.parametrize(
    "choice",
    [
        "../../../strange/evil",
        "/strange/evil",
        "lo'\nhydra.callbacks.x._target_=os.system",
        "${oc.env:HOME}",
        "no_such",
    ],
)
def test_nothing_that_a_run_says_reaches_the_command_line(tmp_path, group, choice):
    arguments = saved_with(tmp_path / "last.pt", {"choices": {group: choice, "defense": "at"}})
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "evil.yaml").write_text(
        "# @package _global_\nhydra: {callbacks: {x: {_target_: os.system}}}\n"
    )
    if choice == "no_such":  # of another version, say: it is named, but no file of that name is composed
        assert with_saved_choices(arguments) == [*arguments, "defense='at'"]
    else:
        with pytest.raises(AdvvidError, match=r"no name of an option|asks for nothing"):
            with_saved_choices(arguments)


def test_options_of_the_users_own_folder_count_and_others_do_not(tmp_path):
    arguments = saved_with(tmp_path / "last.pt", {"choices": {"suite": "mine"}})
    (tmp_path / "conf" / "suite").mkdir(parents=True)
    (tmp_path / "conf" / "suite" / "mine.yaml").write_text("{}")
    assert with_saved_choices(arguments) == arguments
    for words in (["--config-dir", str(tmp_path / "conf")], [f"--config-dir={tmp_path / 'conf'}"]):
        assert with_saved_choices([*arguments, *words])[-1] == "suite='mine'"


@pytest.mark.parametrize("dataset", ["motion", "moving_digits", "youtube8m_mini"])
def test_nothing_is_made_where_a_run_says_that_its_data_lie(tmp_path, monkeypatch, evaluated, dataset):
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "secret"
    cfg, _ = evaluated([f"dataset={dataset}", f"dataset.root={place}"])
    assert cfg.dataset.root is None
    assert not place.exists()
    # What the user names is the user's own.
    assert evaluated([f"dataset={dataset}"], f"dataset.root={place}")[0].dataset.root == str(place)


def test_data_that_lie_there_are_read_and_nothing_else_changes_there(tmp_path, evaluated):
    place = tmp_path / "data"
    made = safe_instantiate(
        composed(["dataset=moving_digits", f"dataset.root={place / 'x.npy'}", "dataset.sequences=10"])[0].dataset
    )
    made.prepare()
    for left in place.iterdir():
        if left.name.startswith("."):
            left.unlink()
    before = [(p.name, p.stat().st_mtime_ns) for p in place.iterdir()]
    cfg, _ = evaluated(["dataset=moving_digits", f"dataset.root={place / 'x.npy'}", "dataset.sequences=10"])
    assert cfg.dataset.root == str(place / "x.npy")
    safe_instantiate(cfg.dataset).prepare()
    assert [(p.name, p.stat().st_mtime_ns) for p in place.iterdir()] == before


def test_frames_are_not_cached_where_a_run_says(tmp_path, evaluated):
    trained = ["dataset=ucf101", f"dataset.root={tmp_path}", f"dataset.cache={tmp_path / 'cache'}"]
    assert evaluated(trained)[0].dataset.cache is None
    assert evaluated(trained, "dataset.cache=/mine")[0].dataset.cache == "/mine"


@pytest.mark.parametrize("part", ["dataset", "model", "suite", "attack", "seed", "evaluation"])
@pytest.mark.parametrize("value", [None, "x", [1], 3.5])
def test_parts_that_are_none_are_named(tmp_path, part, value):
    arguments = saved_with(tmp_path / "last.pt", {"choices": {}, part: value})
    cfg, choices = composed(["mode=eval"])
    cfg.checkpoint = str(tmp_path / "last.pt")
    with pytest.raises(AdvvidError, match=rf"last.pt says {part}="):
        adopt(cfg, choices, arguments)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"defense": None},
        {"defense": {"_target_": "advvid.defenses.none.NoDefense"}},
        {"defense": {"_target_": "os.system"}},
        {"model": {"_target_": "torch.nn.Linear"}, "defense": {"_target_": "torch.nn.ReLU"}},
    ],
)
def test_a_run_that_makes_no_model_is_refused(tmp_path, config):
    saved_with(tmp_path / "last.pt", config)
    with pytest.raises(AdvvidError):
        rebuild(checkpoint.load_run(tmp_path / "last.pt"), tmp_path / "last.pt", (3, 4, 16, 16), 1)


def test_no_class_that_a_configuration_may_name_touches_the_disk(tmp_path, monkeypatch):
    """Every class below advvid is made with a path for every argument that it takes; nothing may appear or vanish."""
    import importlib
    import inspect
    import pkgutil

    import advvid

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path / "cache"))
    (tmp_path / "there").mkdir()
    count = 0
    for module in pkgutil.walk_packages(advvid.__path__, "advvid."):
        if module.name.endswith("__main__"):
            continue
        for name, found in vars(importlib.import_module(module.name)).items():
            if not inspect.isclass(found) or found.__module__ != module.name or name.startswith("_"):
                continue
            try:
                names = [p for p in inspect.signature(found).parameters if p not in ("args", "kwargs")]
            except ValueError:  # an exception's, which takes anything
                continue
            numbers = {"gigabytes", "limit", "seed", "batches"}
            for place in (str(tmp_path / "there"), str(tmp_path / "not_there")):
                node = {"_target_": f"{module.name}.{name}", **{n: 1 if n in numbers else place for n in names}}
                count += 1
                try:
                    safe_instantiate(node)
                except (AdvvidError, TypeError, ValueError, AttributeError, LookupError, OSError, RuntimeError):
                    continue
    assert count > 400
    assert os.listdir(tmp_path) == ["there"]
    assert os.listdir(tmp_path / "there") == []
