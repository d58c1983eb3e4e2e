"""Whatever stands in a shared run folder, a list or a record file: it ends in a result or in one sentence, and soon."""

import json
import random
import shutil
import time
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from tests.odd_values import changed, damaged

from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.core.paths import conf_dir
from advvid.data import tfrecord
from advvid.data.feature_index import index
from advvid.data.groups import cut_split
from advvid.data.lists import read_hmdb51, read_ucf101
from advvid.evaluation.table_file import read_table
from advvid.evaluation.tally import read_samples, verdicts
from advvid.experiment.saved import adopt, with_saved_choices
from advvid.models.r3d_tiny import R3DTiny
from advvid.models.rebuild import rebuild
from advvid.report.markdown import markdown
from advvid.report.page import build_page
from advvid.runs.gather import gather
from advvid.tracking.trackers import NoTracker
from advvid.training.journal import Journal

# Of the processor: every input has to be done with by then.
SECONDS = 5.0
# Inputs of each kind: those that make a model or a page take the time.
QUICK, MANY = (
    {"saved_run": 8, "run_folder": 8, "saved_bytes": 15},
    {"saved_run": 400, "run_folder": 400, "saved_bytes": 800},
)
QUICK_REST, MANY_REST = 60, 4000

STRENGTH = {
    "schema": 1,
    "n": 4,
    "field": "eps",
    "values": [0.0],
    "written": ["0"],
    "config": {"analysis": {"_target_": "advvid.analyses.strength.Strength", "field": "eps", "values": ["0"]}},
    "models": [{"label": "m", "points": [{"acc": 0.5, "ci95": [0.4, 0.6]}]}],
}


class SoundFiles:
    """A folder with one sound file of each kind."""

    def __init__(self, folder):
        self.folder = folder
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            whole = compose("train", ["model.width=0.25"], return_hydra_config=True)
            self.choices = {k: v for k, v in whole.hydra.runtime.choices.items() if v and not k.startswith("hydra")}
            self.cfg = compose("train", ["mode=eval", f"checkpoint={folder / 'last.pt'}", "tracker=none"])
            config = OmegaConf.to_container(compose("train", ["model.width=0.25"]))
        config["choices"] = {k: str(v) for k, v in self.choices.items()}
        weights = {f"net.{name}": value for name, value in R3DTiny(10, 0.25).state_dict().items()}
        self.state = {
            "format": 1,
            "model": weights,
            "classes": [f"c{i}" for i in range(10)],
            "defense": {},
            "config": config,
            "epoch": 3,
            "average": None,
        }
        score = {
            "acc": 0.5,
            "ci95": [0.4, 0.6],
            "budget": "l-inf 8/255",
            "access": "white_box",
            "metrics": {"top5": 1.0},
            "settings": {"class": "PGD", "eps": 0.1},
            "notes": ["n"],
            "measures": {"fooling_rate": 0.5},
            "seconds": 1.0,
        }
        self.table = {
            "schema": 1,
            "n": 4,
            "seed": 0,
            "clean": score,
            "attacks": {"pgd": score},
            "mean": score,
            "union": score,
            "mean_attacks": score,
            "extra": {"pgd@gray_box": score},
            "controls": {"noise": score},
            "types": {"t": score},
            "checks": [{"name": "c", "raised": True, "message": "m", "means": "w", "remedy": "r"}, "words"],
            "missing": ["a/b"],
            "commit": "abc",
            "versions": {"torch": "2"},
            "config": config,
        }
        row = {"pred": 1, "distance": 0.1, "steps": 2, "seconds": 0.1, "gradient_calls": 2}
        self.samples = [{"id": f"A/{i}", "label": i % 2, "clean": 1, "attacks": {"pgd": row}} for i in range(4)]

    def fresh(self, name):
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        return place


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return SoundFiles(tmp_path_factory.mktemp("fuzz"))


def saved_run(sound, seed):
    """A checkpoint of which the plain values were changed: loaded, adopted, composed again, its model built."""
    path = sound.folder / "last.pt"
    plain = {key: value for key, value in sound.state.items() if key != "model"}
    torch.save({"model": sound.state["model"], **changed(plain, seed)}, path)
    state = checkpoint.load_run(path)
    with_saved_choices(["mode=eval", f"checkpoint={path}"])
    adopt(sound.cfg.copy(), sound.choices, [])
    rebuild(state, path, (3, 8, 32, 32), 1)


def saved_bytes(sound, seed):
    """A checkpoint file with damaged bytes."""
    path = sound.folder / "last.pt"
    torch.save(sound.state, path)
    path.write_bytes(damaged(path.read_bytes(), seed))
    rebuild(checkpoint.load_run(path), path, (3, 8, 32, 32), 1)


def run_folder(sound, seed):
    """A run folder in which one file was changed: gathered and reported beside a sound one."""
    place = sound.fresh("runs")
    draw = random.Random(seed)
    for name in ("good", "odd"):
        files = {
            "robustness.json": json.dumps(changed(sound.table, seed) if name == "odd" and seed % 2 else sound.table),
            "samples.jsonl": "\n".join(map(json.dumps, sound.samples)),
            "metrics.jsonl": '{"epoch": 1, "total_passes": 5}\n{"epoch": 2, "total_passes": 9}\n',
            ".hydra/overrides.yaml": "- attack.eps=4/255\n- model=r3d_tiny\n",
            ".hydra/hydra.yaml": "hydra:\n  overrides:\n    hydra:\n    - hydra.run.dir=/x\n",
            "train.log": "epoch 1\nlast words\n",
            "analysis/strength.json": json.dumps(STRENGTH),
        }
        damage = draw.choice(list(files)) if name == "odd" and not seed % 2 else None
        if damage == "robustness.json" and draw.random() < 0.2:
            del files[damage]
        for file, text in files.items():
            target = place / name / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(damaged(text.encode(), seed) if file == damage else text.encode())
    table, _, found = gather([place], place / "out")
    assert next(run for run in found if run.label == "good").result is not None
    assert "good" in table.markdown()
    page = build_page([place])
    page.html()
    markdown(page, place)


def table_file(sound, seed):
    """A robustness.json: plain values changed, or bytes damaged."""
    path = sound.folder / "robustness.json"
    text = json.dumps(changed(sound.table, seed) if seed % 3 else sound.table)
    path.write_bytes(text.encode() if seed % 3 else damaged(text.encode(), seed))
    read_table(path)


def samples_file(sound, seed):
    """A samples.jsonl."""
    path = sound.folder / "samples.jsonl"
    lines = "\n".join(map(json.dumps, changed(sound.samples, seed) if seed % 2 else sound.samples))
    path.write_bytes(lines.encode() if seed % 2 else damaged(lines.encode(), seed))
    verdicts(read_samples(path), ["pgd"])


def journal_file(sound, seed):
    """A metrics.jsonl of a run that goes on."""
    place = sound.fresh("journal")
    (place / "metrics.jsonl").write_bytes(damaged(b'{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": NaN}\n', seed))
    Journal(place, NoTracker()).rewind(1)


UCF = {
    "classInd.txt": "1 A\r\n2 B\n",
    "trainlist01.txt": "A/v_A_g01_c01.avi 1\nB/v_B_g02_c01.avi 2\nB/v_B_g03_c01.avi 2",
    "testlist01.txt": "A/v_A_g04_c01.avi\n",
}
HMDB = {"A_test_split1.txt": "x_A_1.avi 1\ny_A_2.avi 2\nz.avi 0\n", "B_test_split1.txt": "x_B_1.avi 1\nv.avi 1\n"}


def split_lists(sound, seed):
    """The lists of UCF101 and HMDB51, one of them damaged."""
    place = sound.fresh("lists")
    for files, read in ((UCF, read_ucf101), (HMDB, read_hmdb51)):
        odd = random.Random(seed).choice(list(files))
        for name, text in files.items():
            (place / name).write_bytes(damaged(text.encode(), seed) if name == odd else text.encode())
        try:
            found = read(place, 1)
        except AdvvidError as error:
            said(error)
            continue
        for entries in found.splits.values():
            for entry in entries:
                assert Path(place / "videos" / entry.path).resolve().is_relative_to((place / "videos").resolve())
        cut_split(found.splits["train"], found.classes, 0.3, 0, None)


def records(sound, seed):
    """A TFRecord file: damaged, or its records damaged and its checksums made anew."""
    place = sound.fresh("records")
    videos = [tfrecord.sequence_example({"id": b"v%d" % i, "labels": [i]}, {"rgb": [b"\x01" * 600]}) for i in range(3)]
    if seed % 2:
        videos[1] = damaged(videos[1], seed)
    tfrecord.write(place / "train00.tfrecord", videos)
    if not seed % 2:
        (place / "train00.tfrecord").write_bytes(damaged((place / "train00.tfrecord").read_bytes(), seed))
    found = index([place / "train00.tfrecord"], place / "index")
    for i in range(len(found)):
        path, where = found.place(i)
        tfrecord.parse(tfrecord.read(path, where), f"record {i}")


TARGETS = (saved_run, saved_bytes, run_folder, table_file, samples_file, journal_file, split_lists, records)


def said(error):
    """One sentence, which a terminal may show."""
    text = str(error)
    assert text
    assert "Traceback" not in text
    assert len(text) < 3000


def fuzz(target, sound, count):
    @settings(
        max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(st.integers(0, 2**32))
    def tried(seed):
        begun = time.process_time()
        try:
            target(sound, seed)
        except AdvvidError as error:
            said(error)
        assert time.process_time() - begun < SECONDS

    tried()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_what_is_sound_passes(target, sound, monkeypatch):
    """So that the tests below do not refuse everything for another reason."""
    monkeypatch.setattr("test_fuzz.changed", lambda tree, seed: tree)
    monkeypatch.setattr("test_fuzz.damaged", lambda content, seed: content)
    for seed in range(2):
        target(sound, seed)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_every_input_ends_in_a_result_or_one_sentence(target, sound, monkeypatch):
    monkeypatch.setenv("ADVVID_CACHE", str(sound.folder / "cache"))
    fuzz(target, sound, QUICK.get(target.__name__, QUICK_REST))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)
def test_many_inputs_end_in_a_result_or_one_sentence(target, sound, monkeypatch):
    monkeypatch.setenv("ADVVID_CACHE", str(sound.folder / "cache"))
    fuzz(target, sound, MANY.get(target.__name__, MANY_REST))
