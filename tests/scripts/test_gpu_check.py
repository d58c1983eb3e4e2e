"""The prepared measurements for GPUs run on a CPU, and say what fails."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import gpu_check
import several_gpus


def test_the_check_of_a_gpu_runs_on_a_cpu(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path / "cache"))

    def broken(check):
        yield "first", {"inside": True}
        raise ValueError("planted")

    monkeypatch.setitem(gpu_check.PARTS, "pgd", broken)
    out = tmp_path / "found.json"
    assert gpu_check.main(["--device", "cpu", "--tiny", "--out", str(out)]) == 1
    found = json.loads(out.read_text())
    assert list(found) == list(gpu_check.PARTS)
    assert found["pgd"] == {"first": {"inside": True}, "failed": "ValueError: planted"}
    assert all(found["attacks"][name]["inside"] for name in ("pgd", "square", "fab"))
    assert found["steps"]["r3d_tiny"]["floor / ours (at most 1.15)"] > 0
    assert set(found["defenses"]) == {"none", "at"}
    said = capsys.readouterr().out
    assert "pgd failed: ValueError: planted" in said
    assert "missed: pgd: ValueError: planted\n" in said
    assert "not judged here" in said


def test_what_is_missed_on_a_gpu_is_told():
    found = {
        "steps": {
            "r3d_18": {"ours / plain (at least 3)": 3.2, "floor / ours (at most 1.15)": 1.3, "waits of a step": 0}
        },
        "attacks": {
            "pgd": {"inside": True, "waits": 4, "allowed": 4},
            "fab": {"inside": False, "waits": 9, "allowed": 4},
        },
        "feeding": "no time was left",
    }
    assert gpu_check.missed(found, True) == [
        "steps r3d_18: floor / ours (at most 1.15) is 1.3",
        "attacks fab: clips outside the budget",
        "attacks fab: 9 waits, 4 are allowed",
    ]
    assert gpu_check.missed(found, False) == ["attacks fab: clips outside the budget"]


def test_what_there_is_no_time_for_is_named(tmp_path):
    out = tmp_path / "found.json"
    assert gpu_check.main(["--device", "cpu", "--tiny", "--minutes", "-1", "--out", str(out)]) == 0
    assert not out.exists()  # nothing was measured


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_several_processes_come_to_the_table_of_one(tmp_path, capsys):
    settings = ["defense=none", "dataset.limit_train=60", "dataset.limit_val=10", "dataset.limit_test=20"]
    small = ["schedule.epochs=2", "suite=own", "model.width=0.25", "runtime.device=cpu", "runtime.threads=1"]
    file = tmp_path / "found.json"
    several_gpus.main(["--processes", "2", "--batch", "12", "--out", str(file), "--", *settings, *small])
    found = json.loads(file.read_text())
    assert set(found) == {"one", "ddp", "fsdp"}
    columns = {name: {c: acc for c, (acc, _) in result["acc"].items()} for name, result in found.items()}
    assert columns["ddp"] == columns["fsdp"]  # the same sums, placed otherwise
    assert capsys.readouterr().out.count("times as fast") == 3
