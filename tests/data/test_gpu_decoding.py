"""``dataset.decoder=torchcodec_gpu``, and ``auto`` where it works, with a stand-in for torchcodec and its hardware."""

import sys
from fractions import Fraction
from functools import partial
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from advvid.cli import doctor
from advvid.core.errors import AdvvidError
from advvid.data import decoders
from advvid.data.class_folders import ClassFolders
from advvid.data.content import of_videos, with_version
from advvid.data.decoders import FrameVideo, TorchcodecReader, check_decoder
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


@pytest.fixture
def data(hardware, tmp_path, monkeypatch):
    """Return a function that gives the test split of a folder of videos read with ``decoder=auto``."""
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for place in ("train/a", "train/b", "test/a", "test/b"):
        for nth in range(2):
            frames = rng.integers(0, 255, (8, 32, 32, 3)).astype(np.uint8)
            write_video(tmp_path / "videos" / place / f"{place[:2]}{nth}.mp4", frames, Fraction(25))

    def read(workers):
        found = ClassFolders(
            root=str(tmp_path / "videos"), decoder="auto", workers=workers, frames=4, size=16, cache=None
        )
        found.prepare()
        return found.split("test")

    return read


def test_auto_takes_it_in_the_process_that_has_the_gpu(data, hardware):
    split = data(0)
    assert "cuda" in hardware
    assert {name.split(" ")[0] for name in split.read_by()} == {"torchcodec_gpu"}
    hardware.clear()
    split[0]
    assert hardware == ["cuda"]


def test_auto_says_why_loader_processes_do_without_it(data, hardware, caplog):
    with caplog.at_level("INFO"):
        split = data(2)
    assert "loader processes cannot use it: a CPU does, unless dataset.workers=0" in caplog.text
    assert "cuda" not in hardware
    assert {name.split(" ")[0] for name in split.read_by()} == {"torchcodec"}
    assert set(split.digests()).isdisjoint(data(0).digests())  # its colours are others, so are its results


def test_auto_leaves_a_file_that_the_hardware_cannot_read_to_the_next_decoder(data, hardware, monkeypatch):
    class Unsupported(TorchcodecReader):
        def __init__(self, path, device):
            raise ValueError("codec not supported by the hardware")

    monkeypatch.setitem(decoders.READERS, "torchcodec_gpu", partial(Unsupported, device="cuda"))
    assert {name.split(" ")[0] for name in data(0).read_by()} == {"torchcodec"}


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
    assert "with dataset.workers=0 this GPU's own, torchcodec_gpu" in said
