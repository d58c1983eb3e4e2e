"""``dataset.decoder=torchcodec_gpu``, with a stand-in for torchcodec and its hardware."""

import sys
from fractions import Fraction
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from advvid.cli import doctor
from advvid.core.errors import AdvvidError
from advvid.data import decoders
from advvid.data.content import of_videos, with_version
from advvid.data.decoders import FrameVideo, candidates, check_decoder
from advvid.data.encode import write_video
from advvid.data.pyav_reader import PyAVReader
from advvid.data.reading import Reading


@pytest.fixture
def hardware(monkeypatch):
    """Return the devices that videos were decoded on."""
    used = []

    class VideoDecoder:
        def __init__(self, path, dimension_order, num_ffmpeg_threads, device):
            assert dimension_order == "NHWC"
            self._frames = PyAVReader(path)
            self.metadata = SimpleNamespace(average_fps=25.0)
            used.append(device)

        def __len__(self):
            return self._frames.frames

        def get_frames_at(self, indices):
            if max(indices) >= len(self):
                raise IndexError("no such frame")
            return SimpleNamespace(data=self._frames.get(indices))

    package, inside = ModuleType("torchcodec"), ModuleType("torchcodec.decoders")
    inside.VideoDecoder = VideoDecoder
    monkeypatch.setitem(sys.modules, "torchcodec", package)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", inside)
    monkeypatch.setattr(decoders, "_has_torchcodec", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return used


@pytest.fixture
def video(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3)).astype(np.uint8)
    write_video(tmp_path / "a.mp4", frames, Fraction(25))
    return tmp_path / "a.mp4"


def test_frames_are_decoded_on_the_gpu_and_come_to_the_host(hardware, video):
    wanted = [0, 5, 11, 13]  # one beyond the end, where the video starts again
    found = FrameVideo(video, "torchcodec_gpu").fetch(wanted)
    assert hardware == ["cuda"]
    assert found.device.type == "cpu"
    assert torch.equal(found, FrameVideo(video, "pyav").fetch(wanted))


def test_a_table_names_it_and_its_clips_are_others(hardware, video):
    assert with_version("torchcodec_gpu").startswith("torchcodec_gpu (")
    assert of_videos([video], "torchcodec_gpu", 4) != of_videos([video], "torchcodec", 4)
    assert "torchcodec_gpu" not in candidates("auto")
    assert "torchcodec" in candidates("auto")


def test_it_goes_without_loader_processes_alone(hardware):
    assert Reading(decoder="torchcodec_gpu", workers=0).cut.decoder == "torchcodec_gpu"
    with pytest.raises(AdvvidError, match=r"add dataset\.workers=0"):
        Reading(decoder="torchcodec_gpu")


def test_without_a_gpu_or_torchcodec_another_decoder_is_named(hardware, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(AdvvidError, match="PyTorch sees none"):
        check_decoder("torchcodec_gpu")
    monkeypatch.setattr(decoders, "_has_torchcodec", lambda: False)
    with pytest.raises(AdvvidError, match="needs the package torchcodec"):
        check_decoder("torchcodec_gpu")


def test_doctor_names_it(hardware, monkeypatch):
    monkeypatch.setattr(doctor, "decoding_speed", lambda seconds: 10.0)
    monkeypatch.setattr(doctor, "attack_speed", lambda device, seconds: 10.0)
    said = dict(doctor.lines(torch.device("cpu"), 0.01))["decoders"]
    assert "dataset.decoder=torchcodec_gpu dataset.workers=0" in said
