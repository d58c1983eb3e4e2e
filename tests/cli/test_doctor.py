"""``advvid doctor`` says in ten lines what there is, and recommends options that a run takes."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "contracts"))
from test_configs import composed

from advvid.cli import doctor, main
from advvid.config.instantiate import safe_instantiate
from simulated_gpu import CUDA, SimulatedGpu


def test_ten_lines_end_with_options_that_a_run_takes(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["advvid"])
    assert main.main(["doctor", "--seconds", "0.05"]) == 0
    said = capsys.readouterr().out.splitlines()
    names = ["GPU", "precision", "decoders", "FFmpeg", "disk", "W&B", "SLURM", "decoding", "attack", "choose"]
    assert [line.split()[0] for line in said] == names
    cfg = composed("dataset=csv", *said[-1].split()[1:])
    assert safe_instantiate(cfg.runtime).device in ("cpu", "gpu")
    assert cfg.dataset.workers >= 1


def test_the_speeds_are_of_this_machine():
    cpu = torch.device("cpu")
    assert doctor.decoding_speed(0.05) > 1, "advvid brings videos that can be decoded"
    assert doctor.attack_speed(cpu, 0.05) > 0.1


def test_what_is_recommended_follows_what_was_measured(monkeypatch):
    cpu, room = torch.device("cpu"), 10 * doctor.ROOM_FOR_CACHE
    monkeypatch.setattr(doctor, "cores", lambda: 16)
    assert "dataset.workers=5 " in doctor.recommended(cpu, decoded=10, attacked=45, room=room)
    assert "dataset.workers=8 " in doctor.recommended(cpu, decoded=1, attacked=1000, room=room)
    assert doctor.recommended(cpu, decoded=10, attacked=45, room=0).endswith("dataset.cache=null")
    assert not doctor.recommended(cpu, decoded=10, attacked=45, room=room).endswith("dataset.cache=null")


def test_with_a_gpu_the_options_are_those_of_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    with SimulatedGpu():
        said = dict(doctor.lines(CUDA, 0.05))
    assert said["GPU"].startswith("simulated")
    assert "TF32" in said["precision"]
    assert said["choose"].startswith("runtime=gpu ")
    assert "runtime.precision=bf16" in said["choose"]
