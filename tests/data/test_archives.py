"""Preparing UCF101 and HMDB51: archives unpack inside their folder, counts are checked, copies resume."""

import os
import sys
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest

from advvid.core.errors import AdvvidError
from advvid.data.archives import compare, hmdb_names, ucf_names, unpack
from advvid.data.encode import write_video
from advvid.data.prepare import HMDB51, UCF101, main
from advvid.data.reencode import shrink, shrink_all

# Stands in for the program that unpacks .rar: it takes bsdtar's arguments and reads a zip under that name.
BSDTAR = """#!{python} -S
import sys, zipfile
assert sys.argv[1:3] == ["-x", "-C"] and sys.argv[4] == "-f"
try:
    zipfile.ZipFile(sys.argv[5]).extractall(sys.argv[3])
except zipfile.BadZipFile:
    sys.exit("Unrecognized archive format")
"""


@pytest.fixture
def bsdtar(tmp_path, monkeypatch):
    """The only program on the path."""
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "bsdtar"
    program.write_text(BSDTAR.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    return program


def picture(height=64, width=96, count=6):
    """Frames of large blocks that move, so that no codec loses much."""
    rows, columns = np.mgrid[0:height, 0:width]
    blocks = [((rows // 16 + (columns + 4 * t) // 16) % 2) * 120 + 60 for t in range(count)]
    return np.stack([np.stack([b, b, 240 - b], axis=-1) for b in blocks]).astype(np.uint8)


def decoded(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def zipped(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "original.avi"
    write_video(path, picture(), 25)
    return path.read_bytes()


@pytest.fixture
def ucf(tmp_path, video, bsdtar):
    """The archives of a tiny UCF101, from which one listed video is missing."""
    folder = tmp_path / "archives"
    names = [f"A/v_A_g0{g}_c01.avi" for g in (1, 2, 3)] + ["B/v_B_g01_c01.avi"]
    zipped(folder / UCF101.videos_archive, {f"UCF-101/{name}": video for name in names[:3]})
    lists = {"trainlist01.txt": f"{names[0]} 1\r\n{names[1]} 1\r\n", "testlist01.txt": f"{names[2]}\r\n{names[3]}"}
    zipped(folder / UCF101.lists_archive, {f"ucfTrainTestlist/{name}": text for name, text in lists.items()})
    return folder


@pytest.mark.parametrize("name", ["../escaped.avi", "/tmp/escaped.avi", "a/../../escaped.avi", "..\\escaped.avi"])
def test_a_path_outside_the_target_is_refused(tmp_path, name):
    archive = zipped(tmp_path / "bad.zip", {"good.avi": b"1", name: b"2"})
    with pytest.raises(AdvvidError, match="outside the target"):
        unpack(archive, tmp_path / "out")
    assert not [path for path in tmp_path.rglob("*.avi")]


def test_a_damaged_archive_leaves_the_folder_as_it_was(tmp_path, bsdtar):
    out = tmp_path / "out"
    out.mkdir()
    (out / "kept.txt").write_text("kept")
    for name in ("bad.zip", "bad.rar"):
        (tmp_path / name).write_bytes(b"not an archive")
        with pytest.raises(AdvvidError, match=f"{name} cannot be unpacked"):
            unpack(tmp_path / name, out)
    assert os.listdir(out) == ["kept.txt"]


def test_links_in_an_archive_are_refused(tmp_path, bsdtar):
    bsdtar.write_text(f"#!{sys.executable} -S\nimport os, sys\nos.symlink('/etc', sys.argv[3] + '/link')\n")
    (tmp_path / "linked.rar").touch()
    with pytest.raises(AdvvidError, match="holds the link 'link'"):
        unpack(tmp_path / "linked.rar", tmp_path / "out")


def test_without_a_program_for_rar_the_user_is_told_which_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "a.rar").touch()
    with pytest.raises(AdvvidError, match="install unrar, unar, bsdtar"):
        unpack(tmp_path / "a.rar", tmp_path / "out")


def test_what_is_missing_is_named_by_count_and_first_names(tmp_path):
    (tmp_path / "A").mkdir()
    for i in range(3):
        (tmp_path / "A" / f"{i}.avi").write_bytes(b"x" if i else b"")  # an empty file is no video
    found = compare(tmp_path, [f"A/{i}.avi" for i in range(2)] + [f"B/{i}.avi" for i in range(9)])
    assert (found.videos, found.wanted_videos, found.classes, found.wanted_classes) == (1, 11, 1, 2)
    assert found.missing[:2] == ("A/0.avi", "B/0.avi")
    assert found.extra == ("A/2.avi",)
    assert not found.complete
    assert "10 missing: A/0.avi, B/0.avi, B/1.avi, B/2.avi, B/3.avi, ..." in str(found)


@pytest.mark.skipif("ADVVID_REALDATA" not in os.environ, reason="needs the official lists in $ADVVID_REALDATA")
def test_the_official_lists_name_what_their_owners_say():
    real = Path(os.environ["ADVVID_REALDATA"])
    ucf, hmdb = ucf_names(real / "ucf101_splits"), hmdb_names(real / "hmdb51_splits")
    assert (len(ucf), len({name.split("/")[0] for name in ucf})) == (13320, 101)
    assert (len(hmdb), len({name.split("/")[0] for name in hmdb})) == (6766, 51)
    found = compare(real / "ucf101", ucf)
    assert (found.videos, found.classes, len(found.missing)) == (6, 5, 13314)


def test_ucf101_is_unpacked_checked_and_shrunk(ucf, tmp_path, capsys):
    out = tmp_path / "data"
    assert main(UCF101, [str(ucf), "--out", str(out), "--short-side", "32", "--workers", "1"]) == 1
    said = capsys.readouterr().out
    assert "3 of 4 videos in 1 of 2 classes; 1 missing: B/v_B_g01_c01.avi" in said
    assert f"dataset.root={out}/UCF-101_32px_q3 dataset.splits={out}/ucfTrainTestlist" in said
    assert "research" in said
    copy = out / "UCF-101_32px_q3" / "A" / "v_A_g01_c01.avi"
    assert decoded(copy).shape == (6, 32, 48, 3)
    assert decoded(out / "UCF-101" / "A" / "v_A_g01_c01.avi").shape == (6, 64, 96, 3)


def test_what_is_done_is_kept_and_a_half_unpacked_folder_is_not_trusted(ucf, tmp_path, video, capsys):
    options = [str(ucf), "--short-side", "32", "--workers", "1"]
    main(UCF101, options)
    first, last = (ucf / "UCF-101_32px_q3" / "A" / f"v_A_g0{g}_c01.avi" for g in (1, 3))
    time = first.stat().st_mtime_ns
    last.unlink()
    (ucf / "UCF-101" / "B").mkdir()
    (ucf / "UCF-101" / "B" / "v_B_g01_c01.avi").write_bytes(video)
    assert main(UCF101, options) == 0
    assert first.stat().st_mtime_ns == time
    assert last.is_file()
    # A run that was killed while it unpacked leaves its mark: everything is unpacked again.
    (ucf / ".UCF-101.unpacking").touch()
    (ucf / "UCF-101" / "A" / "v_A_g02_c01.avi").unlink()
    assert main(UCF101, [str(ucf)]) == 0
    assert (ucf / "UCF-101" / "A" / "v_A_g02_c01.avi").is_file()


def test_hmdb51_holds_an_archive_per_class(tmp_path, video, bsdtar):
    names = {"wave": ["a b_wave_0.avi", "x#[1]_wave_1.avi"], "hit": ["c_hit_0.avi"]}
    parts = {}
    for name, files in names.items():
        parts[f"{name}.rar"] = zipped(
            tmp_path / f"{name}.rar", {f"{name}/{file}": video for file in files}
        ).read_bytes()
    names["wave"][0] = "a_wave_0.avi"  # the list names another file
    folder = tmp_path / "archives"
    zipped(folder / HMDB51.videos_archive, parts)
    lists = {f"{name}_test_split1.txt": "".join(f"{f} {i} \n" for i, f in enumerate(fs)) for name, fs in names.items()}
    zipped(folder / HMDB51.lists_archive, {f"testTrainMulti_7030_splits/{n}": text for n, text in lists.items()})
    assert main(HMDB51, [str(folder)]) == 1
    found = compare(folder / "hmdb51_org", hmdb_names(folder / "testTrainMulti_7030_splits"))
    assert found.missing == ("wave/a_wave_0.avi",)
    assert found.extra == ("wave/a b_wave_0.avi",)
    assert not list(folder.rglob("wave.rar")), "the archives of the classes are cleared away"


def test_missing_archives_are_answered_with_where_to_get_them(tmp_path, capsys):
    assert main(UCF101, [str(tmp_path)]) == 1
    assert "crcv.ucf.edu" in capsys.readouterr().err
    assert main(HMDB51, [str(tmp_path)]) == 1
    assert "Brown University" in capsys.readouterr().err


def test_a_smaller_copy_shows_the_same(tmp_path, video):
    (tmp_path / "big.avi").write_bytes(video)
    shrink(tmp_path / "big.avi", tmp_path / "small.avi", 32)
    wanted = picture().astype(float).reshape(6, 32, 2, 48, 2, 3).mean(axis=(2, 4))
    # Colours are kept at half the resolution: brightness is what has to agree.
    brightness = np.array([0.3, 0.59, 0.11])
    assert np.abs((decoded(tmp_path / "small.avi") - wanted) @ brightness).mean() < 4
    shrink(tmp_path / "big.avi", tmp_path / "same.avi", 64)  # nothing to gain
    assert (tmp_path / "same.avi").read_bytes() == video


def test_an_undecodable_video_is_named_and_the_others_are_made(tmp_path, video):
    source, goal = tmp_path / "source", tmp_path / "goal"
    source.mkdir()
    (source / "good.avi").write_bytes(video)
    (source / "bad.avi").write_bytes(b"RIFF no video")
    failures = shrink_all(source, goal, ["bad.avi", "good.avi"], 32, workers=1)
    assert len(failures) == 1
    assert "bad.avi cannot be decoded" in failures[0]
    assert os.listdir(goal) == ["good.avi"]
    for side, quality, name in ((33, 3, "short-side"), (32, 0, "quality")):
        with pytest.raises(AdvvidError, match=name):
            shrink_all(source, goal, ["good.avi"], side, quality)


@pytest.mark.parametrize(("codec", "ending", "loss"), [("mpeg4", "avi", 4), ("libx264", "mp4", 4), ("ffv1", "mkv", 0)])
def test_written_videos_read_back(tmp_path, codec, ending, loss):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec}")
    path = tmp_path / f"clip.{ending}"
    frames = picture()
    write_video(path, iter(frames), 25, codec)
    read = decoded(path)
    assert read.shape == frames.shape
    assert np.abs(read.astype(int) - frames).mean() <= loss
    again = tmp_path / f"again.{ending}"
    write_video(again, frames, 25, codec)
    # x264's own threads make its stream depend on timing; the embedded data is made with the other two kinds of codec.
    assert codec == "libx264" or again.read_bytes() == path.read_bytes()


def test_what_cannot_be_written_is_said_and_leaves_nothing(tmp_path):
    def failing():
        yield picture()[0]
        raise KeyboardInterrupt

    path, frames = tmp_path / "clip.avi", picture()
    with pytest.raises(KeyboardInterrupt):
        write_video(path, failing(), 25)
    wrong = [
        (dict(codec="h266"), frames, "no codec"),
        (dict(quality=40), frames, "quality=40"),
        ({}, frames[:, :63], "even sides"),
        ({}, frames[:0], "no frames"),
        ({}, frames.astype(float), "uint8"),
        ({}, [frames[0], frames[0, 2:]], "differ in size"),
    ]
    for options, clip, words in wrong:
        with pytest.raises(AdvvidError, match=words):
            write_video(path, clip, 25, **options)
    with pytest.raises(AdvvidError, match="ends in"):
        write_video(tmp_path / "clip.gif", frames, 25)
    assert os.listdir(tmp_path) == []
