"""A project outside advvid, ``examples/outside``, lists, trains, resumes and evaluates from a folder of its own."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.drills.process import carry_out
from tests.test_adding import examples

from advvid.core import checkpoint

ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    "tracker=none",
    "runtime=cpu",
    "schedule.epochs=1",
    "dataset.limit_train=20",
    "dataset.limit_val=10",
    "dataset.limit_test=10",
    "schedule.batch_size=10",
    "suite=own",
    "evaluation.pictures=0",
    "defense=at",
    "defense.inner_steps=1",
)
OWN = ("--config-dir", "my_conf", "model=my_net", "attack=brightness")


def advvid(folder, *words, trust=""):
    """Carry out ``python -m advvid`` in a folder whose packages it finds, in a process that has everything imported."""
    importlib.import_module("advvid.experiment.run")
    main = importlib.import_module("advvid.cli.main").main

    def there():
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")  # pytest puts something else in their place
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        return main(sys.argv[1:])

    return carry_out(there, words, {"ADVVID_TRUST": trust, "COLUMNS": "160"}, folder.parent / f"{folder.name}.said")


def anew(folder, *words, **environment):
    """Carry out ``python -m advvid`` in a process of its own, which has to find plugins, say."""
    command = [sys.executable, "-m", "advvid", *words]
    given = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=folder, env=given)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project, with a finished run."""
    folder = tmp_path_factory.mktemp("outside") / "project"
    shutil.copytree(ROOT / "examples" / "outside", folder, ignore=shutil.ignore_patterns("__pycache__"))
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md"]
    assert len(files) == 4
    done = advvid(folder, "train", *OWN, "trust=[my_lab]", *SMALL, "hydra.run.dir=run")
    assert done.status == 0, done.said
    return folder


def table(folder):
    return json.loads((folder / "robustness.json").read_text())


def test_it_is_trained_and_scored(project):
    made = table(project / "run")
    assert made["n"] == 10
    assert list(made["attacks"]) == ["brightness"]
    assert made["config"]["model"]["net"]["_target_"] == "my_lab.nets.MyNet"


def test_its_options_are_listed_with_their_origin(project):
    shown = advvid(project, "list", "--config-dir", "my_conf", "attack").said
    assert "brightness" in shown
    assert "from my_conf" in shown
    assert "from my_conf" in advvid(project, "train", "--config-dir=my_conf", "--help").said
    assert "brightness" not in advvid(project, "list", "attack").said


def test_a_saved_run_says_which_package_to_trust_and_is_scored_again_with_it(project):
    words = ("eval", "checkpoint=run", *SMALL[:2], *SMALL[7:9], "hydra.run.dir=again")
    done = advvid(project, *words)
    assert done.status != 0
    assert "add trust=[my_lab] to the command, or set ADVVID_TRUST=my_lab" in done.said
    assert done.said.strip().count("\n") == 0
    done = advvid(project, *words, trust="my_lab")
    assert done.status == 0, done.said
    lines = [(project / name / "samples.jsonl").read_text().splitlines() for name in ("run", "again")]
    first, again = ([{k: json.loads(x)[k] for k in ("id", "clean")} for x in found] for found in lines)
    assert first == again


def test_a_run_that_trusts_by_itself_is_refused(project, tmp_path):
    state = torch.load(project / "run" / "checkpoints" / "last.pt", weights_only=True)
    state["config"]["trust"] = ["my_lab", "evil"]
    state["config"]["model"]["net"] = {"_target_": "evil.Net", "num_classes": 10}
    (tmp_path / "evil.py").write_text("open('ran', 'w')\n")
    torch.save(state, tmp_path / "last.pt")
    assert checkpoint.load_run(tmp_path / "last.pt")["config"]["trust"]
    done = advvid(tmp_path, "eval", "checkpoint=last.pt", *SMALL[:2], "hydra.run.dir=out")
    assert done.status != 0
    assert "evil.Net was refused" in done.said
    assert not (tmp_path / "ran").exists()


def test_a_strangers_folder_of_options_trusts_nobody(project, tmp_path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "nice.yaml").write_text(
        "# @package _global_\ntrust: [evil]\nmodel: {net: {_target_: evil.Net}}\n"
    )
    (tmp_path / "evil.py").write_text("open('ran', 'w')\n")
    done = advvid(tmp_path, "train", "--config-dir", "conf", "experiment=nice", *SMALL, "hydra.run.dir=out")
    assert done.status != 0
    assert "said on the command line alone" in done.said
    assert not (tmp_path / "ran").exists()


def test_a_resumed_training_holds_the_code_of_its_package_to_what_it_was(project):
    words = ("train", *OWN, "trust=[my_lab]", *SMALL, "resume=true", "hydra.run.dir=run")
    done = advvid(project, *words, "mode=train")
    assert done.status == 0, done.said
    nets = project / "my_lab" / "nets.py"
    text = nets.read_text()
    try:
        nets.write_text(text.replace("nn.ReLU", "nn.Tanh"))
        done = advvid(project, *words)
        assert done.status != 0
        assert "my_lab.nets.MyNet (source " in done.said
    finally:
        nets.write_text(text)


PURIFIER = """\
from torch import Tensor
from advvid.purifiers.base import Purifier
class Half(Purifier):
    def purify(self, clips: Tensor, generators) -> Tensor:
        return clips / 2
"""


def test_every_other_kind_of_part_comes_from_outside_too(tmp_path):
    """The guide's examples under another package's name, a purifier and a suite of one's own, all in one run."""
    for path, text in examples().items():
        kind, name = Path(path).parts[-2:]
        place = tmp_path / ("conf" if name.endswith(".yaml") else "their_lab") / kind / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(
            re.sub(r"(_target_: )advvid\.(\w+\.(?:brightness|noisy|frame_mean|stripes)\.)", r"\1their_lab.\2", text)
        )
    (tmp_path / "their_lab" / "half.py").write_text(PURIFIER)
    for name, text in {
        "purifier/half": "# @package purifier.half\n# Half as bright\n_target_: their_lab.half.Half\n",
        "suite/ours": "# Ours\ndefaults: [own, {/attack@bright: brightness}]\n",
    }.items():
        (tmp_path / "conf" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "conf" / f"{name}.yaml").write_text(text)
    words = (
        "model=frame_mean",
        "attack=brightness",
        "defense=noisy",
        "dataset=stripes",
        "purifier=[half]",
        "suite=ours",
    )
    done = advvid(
        tmp_path,
        "train",
        "--config-dir=conf",
        *words,
        "trust=[their_lab]",
        "tracker=none",
        "runtime=cpu",
        "schedule.epochs=1",
        "dataset.count=8",
        "evaluation.pictures=0",
        "hydra.run.dir=run",
    )
    assert done.status == 0, done.said
    assert "bright" in table(tmp_path / "run")["attacks"]
    targets = re.findall(r"_target_: (their_lab\S+)", (tmp_path / "run" / ".hydra" / "config.yaml").read_text())
    assert {target.split(".")[1] for target in targets} == {"models", "attacks", "defenses", "data", "half"}


def test_an_installed_plugin_needs_no_flag(project, tmp_path):
    shutil.copytree(project / "my_lab", tmp_path / "my_lab")
    shutil.copytree(project / "my_conf", tmp_path / "my_lab" / "conf")
    (tmp_path / "my_lab-1.0.dist-info").mkdir()
    (tmp_path / "my_lab-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: my_lab\nVersion: 1.0\n")
    (tmp_path / "my_lab-1.0.dist-info" / "entry_points.txt").write_text("[advvid.plugins]\nmine = my_lab\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    assert "of the package my_lab" in anew(ROOT, "list", "attack", PYTHONPATH=path).stdout
    assert "my_lab.nets.MyNet" in anew(ROOT, "train", "model=my_net", "--cfg", "job", PYTHONPATH=path).stdout


def test_suite_all_has_the_attacks_of_a_folder(project):
    code = "from hydra_plugins.advvid_suite_all import COLUMNS; import sys; sys.stdout.write(str(COLUMNS))"
    told = {**os.environ, "ADVVID_CONFIG_DIR": str(project / "my_conf")}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=told, check=True).stdout
    assert "{'/attack@brightness': 'brightness'}" in shown


@pytest.mark.slow
def test_it_works_with_an_installed_wheel(project, wheel):
    done = anew(project, "train", *OWN, "trust=[my_lab]", *SMALL, "hydra.run.dir=wheel", PYTHONPATH=str(wheel))
    assert done.returncode == 0, done.stderr
    assert table(project / "wheel")["commit"] is None  # it was the wheel, and no checkout
    cells = [{k: v["acc"] for k, v in table(project / run)["attacks"].items()} for run in ("run", "wheel")]
    assert cells[0] == cells[1]
