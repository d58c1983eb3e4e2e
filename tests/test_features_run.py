"""A whole run on features: the same commands as for clips, with several labels and nothing but the data set told apart."""

import json
import subprocess
import sys

import pytest

from advvid.data.youtube8m_mini import YouTube8MMini
from advvid.evaluation.tally import summarise

RUN = [
    "dataset=youtube8m_mini",
    "dataset.videos=60",
    "dataset.val_videos=8",
    "dataset.limit_train=24",
    "model=feature_transformer",
    "model.width=0.0625",
    "attack=pgd_l2",
    "attack.norm=l2",
    "attack.eps=0.5",
    "attack.step_size=0.25",
    "attack.steps=3",
    "suite=features",
    "schedule.epochs=2",
    "schedule.batch_size=8",
    "evaluation.batch_size=6",
    "defense.inner_steps=2",
    "runtime=cpu",
    "tracker=none",
]


def run(*overrides):
    return subprocess.run(
        [sys.executable, "-m", "advvid.train", *overrides], capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("features")
        patch.setenv("ADVVID_CACHE", str(folder / "cache"))
        done = run(*RUN, "defense=at", f"hydra.run.dir={folder / 'run'}")
        assert done.returncode == 0, done.stderr
        yield folder / "run"


@pytest.mark.slow
def test_the_table_has_verdicts_measures_and_metrics(finished):
    table = json.loads((finished / "robustness.json").read_text())
    samples = [json.loads(line) for line in (finished / "samples.jsonl").read_text().splitlines()]
    assert table["n"] == 16
    assert list(table["attacks"]) == ["fgm_05", "pgd_l2_05", "pgd_l2_1", "deep_fool_05", "pgd_l2"]
    assert list(table["controls"]) == ["random_noise_05"]
    assert all(1 <= len(line["label"]) <= 3 for line in samples)
    assert summarise(samples, list(table["attacks"]))["union"] == table["union"]
    for entry in (table["clean"], *table["attacks"].values()):
        assert {"gap", "perr", "hit1", "gap_std"} <= entry["metrics"].keys()
        assert entry["metrics"]["hit1"] == pytest.approx(entry["acc"])
    fgm = table["attacks"]["fgm_05"]
    assert {"fooling_rate", "average_success_perturbation"} <= fgm["measures"].keys()
    assert fgm["budget"] == "l2 0.5 over the clip, in each modality"
    assert fgm["settings"]["space"] == {"low": -2.0, "high": 2.0, "sizes": [1024, 128]}
    assert not (finished / "pictures").exists()


@pytest.mark.slow
def test_the_verdicts_are_those_of_the_labels_in_the_files(finished):
    data = YouTube8MMini(videos=60, val_videos=8)
    data.prepare()
    split = data.split("test")
    samples = [json.loads(line) for line in (finished / "samples.jsonl").read_text().splitlines()]
    assert [line["id"] for line in samples] == split.ids
    assert [line["label"] for line in samples] == [row.nonzero().flatten().tolist() for row in split.targets]
    hits = [bool(row[line["clean"]]) for line, row in zip(samples, split.targets, strict=True)]
    table = json.loads((finished / "robustness.json").read_text())
    assert table["clean"]["acc"] == pytest.approx(sum(hits) / len(hits))


@pytest.mark.slow
def test_a_finished_run_is_scored_again_from_its_checkpoint(finished, tmp_path):
    done = run(
        "mode=eval", f"checkpoint={finished}", "dataset.partition=0", "tracker=none", f"hydra.run.dir={tmp_path}"
    )
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "robustness.json").read_text())
    whole = [json.loads(line) for line in (finished / "samples.jsonl").read_text().splitlines()]
    part = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert table["n"] == len(part) == 4
    assert [line["clean"] for line in part] == [line["clean"] for line in whole[0::5]]
    assert "gap_mean" not in table["clean"]["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["suite=quick"], "MaskedPGD changes pixels of frames"),
        (["attack=frame_border"], "FrameBorder changes pixels of frames"),
        (["postprocess=codec"], "leave postprocess=null"),
        (["model=r3d_tiny", "model.width=1"], "choose model=feature_transformer"),
    ],
)
def test_what_cannot_run_on_features_is_told_in_one_sentence(finished, overrides, said, tmp_path):
    done = run(*RUN, *overrides, f"hydra.run.dir={tmp_path}")
    assert done.returncode != 0
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
