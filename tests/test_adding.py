"""An attack, a defense, a model and a data set, added as the documents show, need their two files and no more."""

import copy
import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from advvid.config.instantiate import safe_instantiate
from advvid.experiment.run import run

ROOT = Path(__file__).resolve().parent.parent
ADDED = {"attack": "brightness", "defense": "noisy", "model": "frame_mean", "dataset": "stripes"}
CHOSEN = [f"{group}={option}" for group, option in ADDED.items()]


def examples():
    """The files of the two guides: path to text. A file's path is the first that the paragraph before its text names."""
    tutorials = ROOT / "docs" / "tutorials"
    guides = [
        tutorials / "write-an-attack.md",
        tutorials / "write-a-defense.md",
        ROOT / "docs" / "how-to" / "extend.md",
    ]
    guide, found = "\n\n".join(path.read_text() for path in guides), {}
    for block in re.finditer(r"```(?:python|yaml)\n(.*?)```", guide, re.DOTALL):
        paragraph = guide[: block.start()].rstrip().rsplit("\n\n", 1)[-1]
        found[re.search(r"`((?:src|conf)/[\w/]+\.(?:py|yaml))`", paragraph)[1]] = block[1]
    assert sorted(Path(path).stem for path in found) == sorted([*ADDED.values(), *ADDED.values()])
    return found


def write(folder):
    for path, text in examples().items():
        assert not (ROOT / path).exists(), f"{path} is an example and not part of the project"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


@pytest.fixture
def added(tmp_path, monkeypatch):
    """Compose with the examples in place, whose classes this process finds as if they lay in the packages."""
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    write(tmp_path)
    for name in ("attacks", "defenses", "models", "data"):
        package = importlib.import_module(f"advvid.{name}")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path / "src" / "advvid" / name)])

    def composed(*overrides):
        with initialize_config_dir(str(tmp_path / "conf"), version_base="1.3"):
            return compose("train", [*overrides])

    yield composed
    for path in examples():
        module = path.removeprefix("src/").removesuffix(".py").replace("/", ".")
        if sys.modules.pop(module, None):
            package, _, name = module.rpartition(".")
            delattr(sys.modules[package], name)


def test_the_four_examples_work_together(added, tmp_path):
    small = [
        "dataset.count=40",
        "schedule.epochs=2",
        "suite=own",
        "evaluation.pictures=0",
        "tracker=none",
        "runtime=cpu",
    ]
    cfg = added(*CHOSEN, *small)
    OmegaConf.set_struct(cfg, False)
    cfg.name = "adding"
    table = run(cfg, tmp_path / "run", ADDED)
    assert table["n"] == 20
    assert set(table["attacks"]) == {"brightness"}
    assert table["attacks"]["brightness"]["max_distance"] == pytest.approx(8 / 255, abs=1e-6)
    assert (tmp_path / "run" / "robustness.md").is_file()


def test_the_example_keeps_what_every_attack_owes(added, small, clips, labels, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "contracts"))
    import test_attacks

    attack = safe_instantiate(added("attack=brightness").attack)
    found = attack.run(small, clips, labels, test_attacks.generators())
    owed = {name: test for name, test in vars(test_attacks).items() if name.startswith("test_")}
    ran = 0
    for test in owed.values():
        given = {"attack": attack, "small": copy.deepcopy(small), "clips": clips.clone(), "labels": labels.clone()}
        given["found"] = found
        wanted = set(inspect.signature(test).parameters)
        if "attack" in wanted:
            for training in (False, True) if "training" in wanted else (None,):
                test(**{name: {**given, "training": training}[name] for name in wanted})
            ran += 1
    assert ran >= 9


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A copy of the project with the examples in it, and what runs a command there."""
    folder = tmp_path_factory.mktemp("scratch")
    ignored = shutil.ignore_patterns("__pycache__")
    for part in ("src", "conf", "tests", "docs", "scripts"):
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    shutil.copytree(ROOT / "outputs" / "published", folder / "outputs" / "published")
    documents = [*ROOT.glob("*.md"), ROOT / "CITATION.cff", ROOT / "mkdocs.yml", ROOT / "Makefile"]
    for file in (ROOT / "pyproject.toml", *documents):
        shutil.copy(file, folder / file.name)
    write(folder)

    def command(*words):
        env = {**os.environ, "PYTHONPATH": str(folder / "src")}
        return subprocess.run([sys.executable, "-m", *words], cwd=folder, env=env, capture_output=True, text=True)

    return command


@pytest.mark.slow
def test_they_are_listed_and_part_of_suite_all(scratch):
    listed = scratch("advvid.cli.listing", *ADDED)
    assert not listed.stderr
    for name in ADDED.values():
        assert re.search(rf"^  {name} +\w+", listed.stdout, re.MULTILINE), listed.stdout
    assert re.search(
        r"2-D network on the mean of all frames *\n +[\d.]+ k multiply-adds, [\d.]+ k weights, 8 x 32 x 32",
        listed.stdout,
    )
    shown = scratch("advvid.train", "suite=all", *CHOSEN, "--cfg", "job", "--package", "suite")
    assert re.search(r"^brightness:\n  _target_: advvid.attacks.brightness.Brightness", shown.stdout, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_projects_tests_hold_for_them(scratch):
    """Style, all contract tests, and what tests of defenses, models and exports say of the new ones."""
    added = [path for path in examples() if path.endswith(".py")]
    for words in (("check",), ("format", "--check")):
        done = scratch("ruff", *words, *added)
        assert done.returncode == 0, done.stdout
    done = scratch("pytest", "-q", "tests/contracts")
    assert done.returncode == 0, done.stdout[-4000:]
    places = ["defenses/test_every_defense.py", "models", "test_exports.py", "test_listing.py", "docs/test_pages.py"]
    names = " or ".join([*ADDED.values(), "Brightness", "Noisy", "FrameMean", "Stripes", "readme"])
    # Two processes train all defenses at once, which takes minutes and says nothing more of this one.
    one = f"({names}) and not two_processes"
    done = scratch("pytest", "-q", "-m", "", "-k", one, *(f"tests/{place}" for place in places))
    assert done.returncode == 0, done.stdout[-4000:]
