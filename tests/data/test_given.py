"""Given files become the very clips that the data set's own test split holds, and mistakes are told in one sentence."""

import os
import shutil
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from advvid.config.composed import composed
from advvid.config.instantiate import safe_instantiate
from advvid.core.errors import AdvvidError
from advvid.data.given import UNKNOWN, GivenFiles
from advvid.data.motion import Motion
from advvid.data.video_folder import VideoFolder

REAL = Path(os.environ.get("ADVVID_REALDATA", "/nowhere"))
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real clips are not here: set ADVVID_REALDATA")
CLASSES = ["Archery", "Basketball", "brush_hair"]


def node(*overrides):
    return composed(list(overrides)).dataset


@pytest.fixture(scope="module")
def motion():
    data = Motion()
    data.prepare()
    return data


@pytest.fixture(scope="module")
def videos(motion):
    return sorted(motion.root.glob("videos/*/*_g0[1-7]_*.avi"))


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["dataset.frames=6", "dataset.stride=3", "dataset.size=64", "dataset.test_clips=3"],
        ["dataset=ucf101", "dataset.frames=8", "dataset.stride=2", "dataset.size=40", "dataset.short_side=48"],
        ["dataset=ucf101", "dataset.frames=20", "dataset.stride=2", "dataset.size=32", "dataset.test_clips=2"],
    ],
)
def test_a_file_of_the_data_set_gives_the_data_sets_own_clip(motion, settings):
    root = [f"dataset.root={motion.root}"] if "dataset=ucf101" in settings else []
    data = safe_instantiate(node(*settings, *root, "dataset.limit_test=10"))
    data.prepare()
    split = data.split("test")
    paths = [str(motion.root / "videos" / f"{name}.avi") for name in split.ids]
    # The folder that the checkpoint was trained on may be gone.
    gone = ["dataset.root=/gone", "dataset.splits=/gone"] if root else []
    given = GivenFiles(node(*settings, *gone), paths, None, data.classes)
    given.prepare()
    assert (given.clip_shape, given.views) == (data.clip_shape, data.views)
    for i in range(10):
        clip, label, name = given.split("test")[i]
        assert torch.equal(clip, split[i][0])
        assert (label, name) == (UNKNOWN, Path(paths[i]).stem)
        assert given.rate(i) == Fraction(25) / given.view.step(32)


@real
@pytest.mark.parametrize("layout", ["ucf101", "hmdb51"])
def test_real_files_of_any_kind_give_clips_of_the_checkpoints_shape(layout):
    files = [
        REAL / "ucf101/Basketball/v_Basketball_g01_c01.avi",
        REAL / "hmdb51/wave/TrumanShow_wave_f_nm_np1_fr_med_26.avi",
        REAL / "kinetics/abseiling/abseiling_k400.mp4",
        REAL / "weizmann/jack/jack_p09_o.avi",
    ]
    given = GivenFiles(node(f"dataset={layout}", "dataset.stride=2"), [str(f) for f in files], None, CLASSES)
    given.prepare()
    for i in range(len(files)):
        clip, _, _ = given[i]
        assert (clip.shape, clip.dtype) == ((3, 16, 112, 112), torch.uint8)
        assert clip.float().std() > 10  # a picture, not a grey sheet
    assert [float(given.rate(i)) for i in range(4)] == pytest.approx([29.97 / 2, 25 / 2, 25 / 2, 25 / 2], rel=0.21)


@real
def test_a_real_file_is_cut_as_its_data_set_cuts_it():
    folder = VideoFolder(
        "ucf101", str(REAL / "weizmann"), str(REAL / "weizmann_splits"), frames=16, stride=2, size=112, limit_test=3
    )
    folder.prepare()
    split = folder.split("test")
    paths = [str(REAL / "weizmann" / f"{name}.avi") for name in split.ids]
    given = GivenFiles(node("dataset=ucf101", "dataset.stride=2"), paths, None, folder.classes)
    given.prepare()
    assert all(torch.equal(given[i][0], split[i][0]) for i in range(3))


def test_other_videos_than_its_own_fit_a_checkpoint_of_the_embedded_data(tmp_path):
    from advvid.data.encode import write_video

    frames = torch.randint(0, 256, (5, 90, 120, 3), dtype=torch.uint8).numpy()
    write_video(tmp_path / "short.mkv", frames, 10, codec="ffv1")
    given = GivenFiles(node(), str(tmp_path / "short.mkv"), None, CLASSES)
    given.prepare()
    clip, _, name = given[0]
    assert (clip.shape, name) == ((3, 8, 32, 32), "short")
    assert not torch.equal(clip[:, 0], clip[:, 1])
    assert torch.equal(clip[:, 0], clip[:, 5])  # every fourth frame of 0 1 2 3 4 0 1 2 3 4 ...: 0 4 3 2 1 0


def test_labels_are_found_by_name_and_may_be_unknown(videos):
    paths = [str(path) for path in videos[:3]]
    given = GivenFiles(node(), paths, ["basketball", None, "brush_hair"], CLASSES)
    assert given.targets == [1, UNKNOWN, 2]
    assert GivenFiles(node(), paths[:1], "Archery", CLASSES).targets == [0]
    assert GivenFiles(node(), paths[:1], ["a"], ["A", "a"]).targets == [1]
    assert GivenFiles(node(), paths[:1], [7], ["0", "7"]).targets == [1]  # the command line makes it a number


def test_files_of_one_name_get_names_of_their_own(videos, tmp_path):
    paths = []
    for folder, name in (("a", "x.avi"), ("b", "x.avi"), ("b", "x_2.avi"), ("b", "x.mp4")):
        (tmp_path / folder).mkdir(exist_ok=True)
        paths.append(shutil.copy(videos[0], tmp_path / folder / name))
    ids = GivenFiles(node(), [str(path) for path in paths], None, CLASSES).ids
    assert ids[0] == "x"
    assert len(set(ids)) == 4


def test_mistakes_are_one_sentence(videos, tmp_path):
    good = str(videos[0])
    for labels, words in (
        (["Archery", "Archery"], "labels has 2 names for 1 files"),
        (["basketbal"], "no class 'basketbal': did you mean Basketball?"),
        (["zzz"], r"no class 'zzz': choose from its 3 \(Archery, Basketball, brush_hair\)"),
    ):
        with pytest.raises(AdvvidError, match=words):
            GivenFiles(node(), good, labels, CLASSES)
    with pytest.raises(AdvvidError, match=r"nothere.avi does not exist"):
        GivenFiles(node(), [good, str(tmp_path / "nothere.avi")], None, CLASSES)
    with pytest.raises(AdvvidError, match="is no file"):
        GivenFiles(node(), str(tmp_path), None, CLASSES)
    with pytest.raises(AdvvidError, match="names no file"):
        GivenFiles(node(), [], None, CLASSES)
    link = tmp_path / "again.avi"
    link.symlink_to(good)
    with pytest.raises(AdvvidError, match=r"again.avi stands twice"):
        GivenFiles(node(), [good, str(link)], None, CLASSES)
    with pytest.raises(AdvvidError, match=r"dataset.stride=0 is not possible"):
        GivenFiles(node("dataset=ucf101", "dataset.stride=0"), good, None, CLASSES)
    with pytest.raises(AdvvidError, match=r"dataset.short_side=50 is smaller"):
        GivenFiles(node("dataset=ucf101", "dataset.short_side=50"), good, None, CLASSES)
    other = node()
    other._target_ = "advvid.data.memory_clips.MemoryClips"
    with pytest.raises(
        AdvvidError, match=r"trained on videos, but its data set is advvid.data.memory_clips.MemoryClips"
    ):
        GivenFiles(other, good, None, CLASSES)


def test_every_broken_file_is_named(videos, tmp_path):
    (tmp_path / "text.avi").write_text("no video")
    (tmp_path / "empty.avi").write_bytes(b"")
    (tmp_path / "half.avi").write_bytes(videos[0].read_bytes()[: videos[0].stat().st_size // 2])
    given = GivenFiles(node(), [str(videos[0]), *map(str, sorted(tmp_path.glob("*.avi")))], None, CLASSES)
    with pytest.raises(AdvvidError) as caught:
        given.prepare()
    for words in ("empty.avi (empty)", "half.avi (", "text.avi (undecodable"):
        assert words in str(caught.value)
    assert str(videos[0]) not in str(caught.value)


@real
@pytest.mark.parametrize("name", ["synthetic_truncated_half.avi", "synthetic_text.avi", "synthetic_empty.avi"])
def test_real_broken_files_are_named(name):
    given = GivenFiles(node("dataset=ucf101"), str(REAL / "bad" / name), None, CLASSES)
    with pytest.raises(AdvvidError, match=rf"{name} \(.+\) cannot be used"):
        given.prepare()
