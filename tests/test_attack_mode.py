"""mode=attack: what is written is what was found, what was found is what an evaluation finds, and nothing leaves its budget."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from advvid.attacks.gradient import GradientAttack
from advvid.attacks.transfer import load_surrogate
from advvid.config.composed import composed_with_choices
from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.data.given import GivenFiles
from advvid.data.motion import Motion
from advvid.experiment import attack_mode
from advvid.experiment.attack_table import table
from advvid.experiment.run import run
from advvid.experiment.saved import adopt, with_saved_choices

REAL = Path(os.environ.get("ADVVID_REALDATA", "/nowhere"))
SMALL = ["tracker=none", "runtime=cpu", "name=test"]
EPS = 8


def go(folder, *overrides):
    """Carry out a run in this process, as the command line does."""
    arguments = with_saved_choices([*SMALL, *overrides])
    cfg, choices = composed_with_choices(arguments)
    cfg, choices = adopt(cfg, choices, arguments)
    folder.mkdir(parents=True, exist_ok=True)  # as Hydra does
    return run(cfg, folder, choices)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network that tells the classes of the embedded data apart hardly better than chance, but is ours."""
    folder = tmp_path_factory.mktemp("trained")
    go(
        folder,
        "mode=train",
        "dataset.limit_train=20",
        "dataset.limit_val=10",
        "schedule.epochs=1",
        "schedule.batch_size=10",
        "attack.steps=4",
        f"attack.eps={EPS}/255",
    )
    return folder


@pytest.fixture(scope="module")
def slice_(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("slice")
    go(folder, "mode=attack", f"checkpoint={trained}", "dataset.limit_test=20", "evaluation.batch_size=8")
    return folder


@pytest.fixture(scope="module")
def videos():
    data = Motion()
    data.prepare()
    return sorted(data.root.glob("videos/*/*_g01_c01.avi"))


def result(folder):
    return json.loads((folder / "attack.json").read_text())


def film(folder, place):
    with av.open(str(folder / place)) as file:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])
    return torch.from_numpy(frames).permute(3, 0, 1, 2)


def test_the_films_hold_what_the_json_says(trained, slice_):
    data = Motion(limit_test=20)
    data.prepare()
    split, found = data.split("test"), result(slice_)
    assert [line["id"] for line in found["clips"]] == split.ids
    assert (found["n"], found["attack"], found["settings"]["steps"]) == (20, "pgd", 4)  # the run's own attack
    model = load_surrogate(str(checkpoint.find(trained)), data.clip_shape)
    assert any(line["attacked"] for line in found["clips"]), "nothing was attacked: the test means nothing"
    for i, line in enumerate(found["clips"]):
        clean, label, _ = split[i]
        kept = film(slice_, line["lossless"])
        moved = (kept.int() - clean.int()).abs().max().item()
        assert moved == round(255 * line["distance"]) == round(255 * line["rounded_distance"])
        assert moved == (EPS if line["attacked"] else 0)
        both = torch.stack([clean, kept]).float() / 255
        with torch.no_grad():
            answers = model(both).argmax(dim=1).tolist()
        assert [line["clean"], line["rounded"]] == answers
        assert (line["label"], line["label_name"]) == (label, data.classes[label])
        assert line["attacked"] == (line["clean"] == label)
        assert line["fooled"] == (line["attacked"] and line["adversarial"] != label)
        assert line["fooled_rounded"] == (line["attacked"] and line["rounded"] != label)
        assert line["steps"] > 0 if line["attacked"] else line["steps"] == 0
        assert film(slice_, line["viewable"]).shape == (3, 8, 256, 256)
    for key in ("attacked", "fooled", "fooled_rounded"):
        assert found[key] == sum(line[key] for line in found["clips"])


def test_an_evaluation_finds_the_same(trained, slice_, tmp_path):
    """The same clips, whatever the batches: random numbers belong to (seed, attack, clip)."""
    go(
        tmp_path,
        "mode=eval",
        f"checkpoint={trained}",
        "dataset.limit_test=20",
        "evaluation.batch_size=20",
        "evaluation.pictures=0",
        "~suite.masked_pgd_10",
        "~suite.frame_border_10",
    )
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    for line, ours in zip(lines, result(slice_)["clips"], strict=True):
        theirs = line["attacks"]["pgd"]
        assert (line["id"], line["clean"]) == (ours["id"], ours["clean"])
        keys = ("pred", "steps", "gradient_calls")
        assert [theirs[k] for k in keys] == [ours[k] for k in ("adversarial", "steps", "gradient_calls")]
        assert theirs["distance"] == pytest.approx(ours["distance"], abs=1e-6)


def test_killed_at_any_moment_it_goes_on_and_attacks_no_finished_clip_again(trained, videos, tmp_path, monkeypatch):
    """Killed in an attack, between two films, and before the result; bits of films and table as without."""
    files = ",".join(map(str, videos[:6]))
    words = ["mode=attack", f"checkpoint={trained}", f"files=[{files}]", "evaluation.batch_size=2", "attack.steps=1"]
    slice_, tmp_path = tmp_path / "whole", tmp_path / "killed"
    go(slice_, *words)
    honest, attacked = attack_mode.craft, []

    def craft(column, model, clips, labels, ids, seed, task):
        attacked.extend(ids)
        return honest(column, model, clips, labels, ids, seed, task)

    def dies_after(calls, real):
        left = iter(range(calls))

        def once(*args, **kwargs):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        return once

    def killed(place, name, calls):
        with monkeypatch.context() as patch:
            patch.setattr(attack_mode, "craft", craft)
            patch.setattr(place, name, dies_after(calls, getattr(place, name)))
            with pytest.raises(KeyboardInterrupt):
                go(tmp_path, *words, "resume=true")
        assert not (tmp_path / "attack.json").exists()

    killed(attack_mode, "craft", 1)  # in the second batch
    killed(attack_mode, "write_viewable", 3)  # the second batch is attacked, a few of its films are there
    killed(attack_mode.files, "write_json", 1)  # all is done but the result
    first, again = len(set(attacked)), len(attacked)
    assert again - first <= 4, "more than the batch that was cut off was attacked again"
    attacked.clear()
    with monkeypatch.context() as patch:
        patch.setattr(attack_mode, "craft", craft)
        go(tmp_path, *words)
    assert not attacked
    mine, whole = (
        {k: v for k, v in result(folder).items() if k not in ("commit", "versions")} for folder in (tmp_path, slice_)
    )
    assert mine == {**whole, "config": mine["config"]}
    for line in whole["clips"]:
        for kind in ("lossless", "viewable", "gif"):
            assert (tmp_path / line[kind]).read_bytes() == (slice_ / line[kind]).read_bytes()
    # A film that somebody changed is made again with those that were finished together; other settings begin anew.
    (tmp_path / whole["clips"][0]["lossless"]).write_bytes(b"")
    with monkeypatch.context() as patch:
        patch.setattr(attack_mode, "craft", craft)
        go(tmp_path, *words)
        assert 0 < len(attacked) <= 2
        attacked.clear()
        go(tmp_path, *words, "attack.eps=4/255")
        assert len(attacked) == whole["attacked"]


def test_of_a_longer_list_only_the_new_files_are_attacked_and_none_waits_in_memory(
    trained, videos, tmp_path, monkeypatch
):
    words = ["mode=attack", f"checkpoint={trained}", "evaluation.batch_size=1", "attack.steps=1"]
    go(tmp_path, *words, f"files=[{videos[1]}]")
    decoded = []
    cut = GivenFiles.__getitem__
    monkeypatch.setattr(GivenFiles, "__getitem__", lambda self, key: (decoded.append(key), cut(self, key))[1])
    honest, seen = attack_mode.craft, []

    def craft(*args):
        seen.append((args[4][0], len(decoded)))
        return honest(*args)

    monkeypatch.setattr(attack_mode, "craft", craft)
    found = go(tmp_path, *words, f"files=[{videos[0]},{videos[1]},{videos[2]}]")
    assert [line["file"] for line in found["clips"]] == [str(path) for path in videos[:3]]
    assert seen == [(videos[0].stem, 1), (videos[2].stem, 2)]


def test_a_slice_leaves_whole_files_only(slice_):
    found = result(slice_)
    sheets = sorted(str(p.relative_to(slice_)) for p in (slice_ / "pictures").iterdir())
    assert sheets == sorted(found["pictures"])
    assert len(sheets) == 3 + 3 + 2  # batches of 8, 8 and 4 clips, three to a sheet
    films = {line[kind] for line in found["clips"] for kind in ("lossless", "viewable")}
    written = {str(p.relative_to(slice_)) for p in (slice_ / "adversarial").rglob("*.m*") if p.is_file()}
    assert written == films


def test_given_files_with_and_without_labels(trained, videos, tmp_path):
    files = f"files=[{videos[0]},{videos[1]},{videos[2]}]"
    clean = [line["clean_name"] for line in go(tmp_path / "a", "mode=attack", f"checkpoint={trained}", files)["clips"]]
    classes = result(tmp_path / "a")["classes"]
    wrong = next(name for name in classes if name != clean[0])
    labels = f"labels=[{wrong},{clean[1]},null]"
    go(tmp_path / "b", "mode=attack", f"checkpoint={trained}", files, labels, "attack=fgsm")
    left, told, own = result(tmp_path / "b")["clips"]
    assert result(tmp_path / "b")["attack"] == "fgsm"
    # What the model gets wrong already is left as it is.
    assert (left["attacked"], left["fooled"], left["distance"], left["steps"]) == (False, False, 0.0, 0)
    assert [told["label_name"], own["label_name"]] == clean[1:]
    assert [told["label_from"], own["label_from"]] == ["labels", "the model's clean prediction"]
    assert told["attacked"]
    assert own["attacked"]
    for line, path in zip((left, told, own), videos, strict=False):
        assert (line["id"], line["file"]) == (path.stem, str(path))
        gif = Image.open(tmp_path / "b" / line["gif"])
        assert gif.size[0] == 3 * 224 + 12
        with av.open(str(tmp_path / "b" / line["lossless"])) as file:
            assert float(file.streams.video[0].average_rate) == pytest.approx(
                25 / 4
            )  # every fourth frame of 25 a second


def test_the_folder_of_the_training_data_need_not_be_there(videos, tmp_path):
    """A checkpoint of a data set in UCF101's layout goes to another machine, where one video is."""
    link = tmp_path / "data"
    link.symlink_to(Motion().root)
    here = ["dataset=ucf101", f"dataset.root={link}", "dataset.size=32", "dataset.frames=8", "dataset.workers=0"]
    go(
        tmp_path / "run",
        "mode=train",
        *here,
        "dataset.limit_train=10",
        "dataset.limit_val=10",
        "schedule.epochs=1",
        "schedule.batch_size=10",
    )
    link.unlink()
    found = go(
        tmp_path / "out", "mode=attack", f"checkpoint={tmp_path / 'run'}", f"files={videos[3]}", "attack.steps=2"
    )
    assert found["clips"][0]["id"] == videos[3].stem
    assert film(tmp_path / "out", found["clips"][0]["lossless"]).shape == (3, 8, 32, 32)
    with pytest.raises(AdvvidError, match="is not a folder"):
        go(tmp_path / "split", "mode=attack", f"checkpoint={tmp_path / 'run'}")


@pytest.mark.parametrize("fault", ["budget", "nan", "range"])
def test_a_clip_that_leaves_its_budget_stops_the_run(trained, videos, tmp_path, monkeypatch, fault):
    honest = GradientAttack._search

    def planted(self, problem):
        found, clips = honest(self, problem), problem.clips
        x_adv = found.x_adv.clone()
        if fault == "budget":
            x_adv[0, 0, 0, 0, 0] = (clips[0, 0, 0, 0, 0] + 9 / 255) % 1
        elif fault == "nan":
            x_adv[0, 0, 0, 0, 0] = float("nan")
        else:
            x_adv[0, :, 0, 0, 0] = -1e-3
        return dataclasses.replace(found, x_adv=x_adv)

    go(tmp_path, "mode=attack", f"checkpoint={trained}", f"files={videos[0]}")
    monkeypatch.setattr(GradientAttack, "_search", planted)
    with pytest.raises(AdvvidError, match=f"left its threat model on clip {videos[0].stem}"):
        go(
            tmp_path, "mode=attack", f"checkpoint={trained}", f"files={videos[0]}", "seed=1"
        )  # what is finished is not made again
    # The result of an earlier run in this folder does not stand for this one.
    assert not (tmp_path / "attack.json").exists()


def test_an_attack_that_learns_does_so_on_a_file_or_on_validation_clips(trained, videos, tmp_path):
    learns = ["mode=attack", f"checkpoint={trained}", "attack=flickering_universal", "attack.steps=2"]
    go(tmp_path / "file", *learns, f"files={videos[0]}")
    assert not (tmp_path / "file" / "attacks").exists()
    go(tmp_path / "slice", *learns, "dataset.limit_test=3", "dataset.limit_val=5")
    assert (tmp_path / "slice" / "attacks" / "flickering_universal.pt").is_file()
    assert result(tmp_path / "slice")["n"] == 3


def test_a_run_of_an_older_version_gets_the_defaults_of_later_options(trained, videos, tmp_path):
    state = checkpoint.load(checkpoint.find(trained))
    del state["config"]["evaluation"]["codec"], state["format"]
    checkpoint.save(tmp_path / "old.pt", state)
    assert go(tmp_path, "mode=attack", f"checkpoint={tmp_path / 'old.pt'}", f"files={videos[0]}")["n"] == 1


def test_the_table_is_short_and_fits(slice_):
    def text(clips):
        found = result(slice_)
        line = found["clips"][0] | {
            "id": "[bold]a/name",
            "attacked": True,
            "adversarial_name": "X",
            "rounded_name": "Y",
        }
        console = Console(record=True, width=80, file=open(os.devnull, "w"))  # noqa: SIM115
        console.print(table(found | {"clips": [line] * clips, "n": clips}))
        return console.export_text()

    assert "X (in 8 bits: Y)" in text(1)
    assert "more clips" not in text(20)
    assert "1 more clips in attack.json" in text(21)
    assert max(map(len, text(30).splitlines())) <= 80


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["mode=attack"], r"mode=attack needs a finished run's model: give checkpoint="),
        (["mode=attack", "CHECKPOINT", "labels=[MoveUp]"], r"labels=\.\.\. belong to files="),
        (["mode=eval", "CHECKPOINT", "files=[a.avi]"], r"are for mode=attack, not for mode=eval"),
        (["mode=attack", "CHECKPOINT", "postprocess=codec"], r"postprocess=\.\.\. is for evaluations"),
        (["mode=attack", "CHECKPOINT", "files=[nothere.avi]"], r"files=nothere\.avi does not exist"),
        (["mode=attack", "CHECKPOINT", "FILE", "labels=[MoveUpp]"], r"no class 'MoveUpp': did you mean MoveUp\?"),
        (["mode=attack", "CHECKPOINT", "FILE", "labels=[MoveUp,MoveUp]"], r"labels has 2 names for 1 files"),
    ],
)
def test_a_mistake_is_told_before_any_work(trained, videos, tmp_path, overrides, words):
    placed = {"CHECKPOINT": f"checkpoint={trained}", "FILE": f"files=[{videos[0]}]"}
    with pytest.raises(AdvvidError, match=words):
        go(tmp_path, *(placed.get(o, o) for o in overrides))
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_another_task_is_told(trained, videos, tmp_path):
    state = checkpoint.load(checkpoint.find(trained))
    state["config"]["dataset"] = {"_target_": "advvid.data.memory_clips.MemoryClips"}
    state.pop("format")
    checkpoint.save(tmp_path / "other.pt", state)
    with pytest.raises(AdvvidError, match="needs a checkpoint that was trained on videos"):
        go(tmp_path / "out", "mode=attack", f"checkpoint={tmp_path / 'other.pt'}", f"files={videos[0]}")


def test_ids_do_not_lead_out_of_the_folder(trained, tmp_path, monkeypatch):
    split = Motion.split

    def renamed(self, name):
        clips = split(self, name)
        clips.ids = [f"../../{n}/../x{i}" for i, n in enumerate(clips.ids)]
        return clips

    monkeypatch.setattr(Motion, "split", renamed)
    found = go(tmp_path / "a" / "b", "mode=attack", f"checkpoint={trained}", "dataset.limit_test=2")
    for line in found["clips"]:
        assert ".." not in line["lossless"]
        assert (tmp_path / "a" / "b" / line["lossless"]).is_file()


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not here: set ADVVID_REALDATA")
def test_the_command_line_attacks_a_real_video(tmp_path):
    """One .avi against a checkpoint of real videos whose folder is named, as a user would type it."""
    here = [f"dataset.root={REAL / 'weizmann'}", f"dataset.splits={REAL / 'weizmann_splits'}"]
    go(
        tmp_path / "run",
        "mode=train",
        "dataset=ucf101",
        *here,
        "dataset.size=64",
        "dataset.limit_train=8",
        "dataset.limit_val=4",
        "schedule.epochs=1",
        "schedule.batch_size=4",
        "dataset.workers=0",
    )
    video = REAL / "ucf101/Basketball/v_Basketball_g01_c01.avi"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "advvid.train",
            "mode=attack",
            f"checkpoint={tmp_path / 'run'}",
            f"files=[{video}]",
            "attack.steps=3",
            "tracker=none",
            f"hydra.run.dir={tmp_path / 'out'}",
        ],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert "v_Basketball_g01_c01" in done.stdout
    (line,) = result(tmp_path / "out")["clips"]
    assert film(tmp_path / "out", line["lossless"]).shape == (3, 16, 64, 64)
    broken = subprocess.run(
        [
            sys.executable,
            "-m",
            "advvid.train",
            "mode=attack",
            f"checkpoint={tmp_path / 'run'}",
            f"files=[{REAL / 'bad' / 'synthetic_text.avi'}]",
            "tracker=none",
            f"hydra.run.dir={tmp_path / 'bad'}",
        ],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert broken.returncode == 1
    assert "synthetic_text.avi (undecodable" in broken.stderr
    assert "Traceback" not in broken.stderr
