"""From a wheel in an empty folder, without a network: 15 lines of Python and the command line give the same table, clip by clip."""

import json
import os
import subprocess
import sys

import pytest

DATA = """\
import torch
from advvid.core.batch import Space
from advvid.tasks import Classification


class Split(torch.utils.data.Dataset):
    def __init__(self, name, count):
        self.ids = [f"{name}/{number}" for number in range(count)]
        self.targets = [number % 4 for number in range(count)]

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, key):
        index = key[0] if isinstance(key, tuple) else key
        draw = torch.Generator().manual_seed(len(self) * 1000 + index)
        clip = torch.randint(0, 30, (3, 2, 16, 16), generator=draw, dtype=torch.uint8)
        clip += 70 * self.targets[index]  # how bright it is
        return clip, self.targets[index], self.ids[index]


class Films:
    classes, clip_shape, task, space, views, missing = ["a", "b", "c", "d"], (3, 2, 16, 16), Classification(), Space(), 1, {}

    def prepare(self):
        pass

    def split(self, name):
        return Split(name, {"train": 16, "val": 4, "test": 2}[name])
"""
MODEL = """\
# torchvision's R3D-18, as my lab uses it
defaults: [_classifier]
net: {_target_: torchvision.models.video.r3d_18, num_classes: '${..num_classes}'}
"""
SCRIPT = """\
import torch
from my_lab.data import Films
from torch.utils.data import DataLoader
from torchvision.models.video import r3d_18

import advvid

state = torch.load("run/checkpoints/last.pt", weights_only=True)["model"]
network = r3d_18(num_classes=4)
network.load_state_dict({name.removeprefix("net."): value for name, value in state.items() if name.startswith("net.")})
model = advvid.Normalised(network, mean=[0.45] * 3, std=[0.225] * 3)
loader = DataLoader(Films().split("test"), batch_size=2)
table = advvid.evaluate(model, loader, suite="autoattack_small", device="cpu", run_dir="python")
print(table, table["union"].ci95)
"""
# Loaded by every Python that is started there.
OFFLINE = """\
import socket

connect = socket.socket.connect

def refuse(self, address):
    if self.family != socket.AF_UNIX:
        raise OSError("there is no network here")
    return connect(self, address)

socket.socket.connect = refuse
"""


def samples(folder):
    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    return [(x["id"], x["label"], x["clean"], {name: row["pred"] for name, row in x["attacks"].items()}) for x in lines]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_python_and_the_command_line_give_the_same_numbers_clip_by_clip(wheel, tmp_path):
    assert len([line for line in SCRIPT.splitlines() if line]) <= 15
    for name, text in {
        "my_lab/__init__.py": "", "my_lab/data.py": DATA, "my_conf/model/mine.yaml": MODEL, "sitecustomize.py": OFFLINE,
        "my_conf/dataset/films.yaml": "# Films of my lab\n_target_: my_lab.data.Films\n", "measure.py": SCRIPT,
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(wheel)]), "HOME": str(tmp_path / "home"),
        "ADVVID_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip

    def carried_out(*words):
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    own = ("--config-dir", "my_conf", "trust=[my_lab]", "runtime=cpu", "tracker=none", "evaluation.pictures=0")
    train = (
        "model=mine",
        "dataset=films",
        "schedule.epochs=3",
        "schedule.batch_size=8",
        "schedule.optimizer.lr=0.001",
        "attack.steps=1",
    )
    carried_out("-m", "advvid", "train", *own, *train, "suite=autoattack_small", "hydra.run.dir=run")
    said = carried_out("measure.py")
    table = json.loads((tmp_path / "run" / "robustness.json").read_text())
    assert table["commit"] is None  # of the wheel, not of the source beside it
    assert table["clean"]["acc"] > 0  # there is something to attack
    assert samples(tmp_path / "python") == samples(tmp_path / "run")
    assert "auto_attack_small_8" in said
