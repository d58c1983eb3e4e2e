"""Every decoder gives the frames that a player shows: of strange files, of real ones, and of files made here with one property each."""

import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from test_decoders import ALL

from advvid.core.errors import AdvvidError
from advvid.data.class_folders import ClassFolders
from advvid.data.decoders import FrameVideo, candidates
from advvid.data.encode import write_video
from advvid.data.reencode import shrink
from advvid.data.scan import look, problem

REAL = Path(os.environ.get("ADVVID_REALDATA", "/nowhere"))
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not here: set ADVVID_REALDATA")
# Frames and size of each strange file, as players show it.
ODD = {
    "anim.gif": (40, 96, 128),
    "audio_first.mp4": (40, 96, 128),
    "av1.mp4": (40, 96, 128),
    "full444.mp4": (40, 95, 127),
    "gray.avi": (40, 96, 128),
    "odd.avi": (40, 95, 127),
    "one.mp4": (1, 96, 128),
    "rgba.mkv": (40, 96, 128),
    "rot90.mp4": (40, 128, 96),
    "ten_bit.mp4": (40, 96, 128),
    "three.mp4": (3, 96, 128),
    "tiny.avi": (40, 16, 16),
    "two_streams.mkv": (40, 96, 128),
    "vfr.mp4": (40, 96, 128),
    "vp9.webm": (40, 96, 128),
}


def frames(path, decoder):
    video = FrameVideo(path, decoder)
    return video.fetch(range(video.frames))


@real
@pytest.mark.parametrize("decoder", ALL)
@pytest.mark.parametrize("file", ODD)
def test_strange_files_are_read_to_the_last_pixel(file, decoder):
    found = frames(REAL / "odd" / file, decoder)
    assert tuple(found.shape[1:]) == ODD[file]
    # torchcodec brings a converter of its own for the shared colours of odd-sized and 10-bit frames.
    far = 0 if decoder != "torchcodec" else 64
    assert int((found.int() - frames(REAL / "odd" / file, "pyav").int()).abs().max()) <= far
    assert problem(REAL / "odd" / file, decoder) is None


@real
def test_real_files_are_read_alike():
    """One file of each kind; all of ``ADVVID_REALDATA`` were compared in the same way."""
    for folder in ("hmdb51", "kinetics", "ucf101", "ut_interaction", "weizmann"):
        for kind in sorted((REAL / folder).iterdir())[:2]:
            path = sorted(kind.iterdir())[0]
            a, b = FrameVideo(path, "pyav"), FrameVideo(path, "decord")
            assert (a.frames, a.rate) == (b.frames, b.rate)
            some = [*range(0, a.frames, 7), a.frames - 1]
            assert torch.equal(a.fetch(some), b.fetch(some)), path


@real
@pytest.mark.slow
def test_all_real_files_are_read_alike_and_bad_ones_refused_alike():
    """Every file of ``ADVVID_REALDATA`` by every decoder: the same frames, or the same word for what is wrong with it."""
    folders = ("bed_fall", "hmdb51", "hmdb51_extra", "kinetics", "ucf101", "ut_interaction", "weizmann", "bad")
    videos = [
        p
        for f in folders
        for p in sorted((REAL / f).rglob("*"))
        if p.suffix in (".avi", ".mp4", ".mov", ".webm", ".mkv")
    ]
    assert len(videos) > 300
    for path in videos:
        wrong = {decoder: problem(path, decoder) for decoder in candidates("auto")}
        kinds = {str(text).split(" ")[0].split(":")[0] for text in wrong.values()}
        assert len(kinds) == 1, (path, wrong)
        if wrong["pyav"] is not None:
            continue
        reference = FrameVideo(path, "pyav")
        some = [*range(0, reference.frames, 7), reference.frames - 1]
        expected = reference.fetch(some)
        for decoder in set(wrong) - {"pyav"}:
            video = FrameVideo(path, decoder)
            assert (video.frames, video.rate) == (reference.frames, reference.rate), (path, decoder)
            far = int((video.fetch(some).int() - expected.int()).abs().max())
            # torchcodec converts colours by itself: by a few levels otherwise.
            assert far <= (0 if decoder != "torchcodec" else 64), (path, decoder, far)


@pytest.fixture(scope="module")
def gradient():
    """Eight frames without sharp edges, which every way of sharing colours renders alike."""
    y, x = np.mgrid[0:96, 0:128]
    still = np.stack([2 * x, 2 * y + 20, 255 - x - y], axis=-1)
    return np.stack([np.clip(still + 4 * i, 0, 255) for i in range(8)]).astype(np.uint8)


@pytest.mark.parametrize(("full", "matrix"), [(False, 5), (True, 5), (False, 1), (True, 1)])
def test_range_and_matrix_of_colours_are_those_of_the_file(tmp_path, gradient, full, matrix):
    """The file says whether black is 0 or 16 and which standard mixed its colours (BT.601 or BT.709)."""
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        stream.codec_context.color_range, stream.codec_context.colorspace = (2 if full else 1), matrix
        for frame in gradient:
            made = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
                format="yuv420p", dst_color_range=2 if full else 1, dst_colorspace=matrix
            )
            out.mux(stream.encode(made))
        out.mux(stream.encode(None))
    for decoder in ("pyav", "decord"):
        found = frames(path, decoder).permute(1, 2, 3, 0).int()
        assert (found - torch.from_numpy(gradient).int()).abs().float().mean() < 1.5, decoder


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_frames_stand_upright(tmp_path, gradient, decoder, matrix, turns):
    """A phone writes what its sensor sees, and beside it how that has to be turned."""
    path = tmp_path / "a.mp4"
    write_video(path, gradient, 25, codec="libx264", quality=0)
    plain = frames(path, decoder)
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # the matrix of a version 0 track header
    a, b, c, d = (value << 16 for value in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    assert torch.equal(frames(path, decoder), plain.rot90(turns, dims=(2, 3)))


@real
@pytest.mark.parametrize("file", ["rot90.mp4", "two_streams.mkv"])
def test_a_smaller_copy_shows_what_the_file_shows(tmp_path, file):
    shrink(REAL / "odd" / file, tmp_path / "small.avi", 48, quality=1)
    small, whole = frames(tmp_path / "small.avi", "pyav"), frames(REAL / "odd" / file, "pyav")
    assert small.shape[1:] == (whole.shape[1], whole.shape[2] // 2, whole.shape[3] // 2)
    halved = torch.nn.functional.avg_pool2d(whole.float(), 2)
    assert (halved - small.float()).abs().mean() < 8


@real
def test_who_has_sound_alone_is_told():
    for decoder in ("pyav", "decord", "auto"):
        assert "it has no pictures" in problem(REAL / "odd" / "audio_only.mp4", decoder)


def test_a_failing_decoder_names_one_that_reads_the_file_and_auto_takes_it(tmp_path, gradient, monkeypatch):
    class Blind:
        def __init__(self, path):
            raise ValueError("it cannot see")

    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(__import__("advvid.data.decoders").data.decoders.READERS, "decord", Blind)
    for name in ("a/1.avi", "a/2.avi", "b/1.avi", "b/2.avi"):
        (tmp_path / "v" / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / "v" / name, gradient, 25)
    path = tmp_path / "v" / "a" / "1.avi"
    assert problem(path, "decord") == "undecodable by decord: it cannot see; dataset.decoder=pyav reads it"
    assert look(path, "auto")[1] == "pyav"
    how = {"root": str(tmp_path / "v"), "frames": 4, "size": 32, "workers": 0, "test_fraction": 0.5}
    with pytest.raises(AdvvidError, match=r"4 of the 4 listed .* dataset\.decoder=pyav reads it"):
        ClassFolders(**how).prepare()
    data = ClassFolders(**how, decoder="auto")
    data.prepare()
    assert data.split("test").read_by() == {f"pyav (av {av.__version__})": 2}
    assert data.split("test")[0][0].shape == (3, 4, 32, 32)
    again = ClassFolders(**how, decoder="auto")  # which remembers
    assert list(again.split("test").read_by()) == [f"pyav (av {av.__version__})"]


@real
def test_a_file_that_no_decoder_reads_names_none():
    found = problem(REAL / "bad" / "synthetic_text.avi", "decord")
    assert found.startswith("undecodable: ")
    assert "reads it" not in found
