"""The embedded data: deterministic, balanced, with disjoint scenes, mended when damaged."""

import hashlib
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch

from advvid.core.errors import AdvvidError
from advvid.data import motion
from advvid.data import motion_recipe as recipe
from advvid.data.memory_clips import MemoryClips
from advvid.data.motion import Motion

SMALL = {"train": (1, range(8, 9)), "val": (1, range(26, 27)), "test": (1, range(1, 2))}


@pytest.fixture
def few(monkeypatch):
    """Thirty clips instead of seven hundred."""
    monkeypatch.setattr(motion, "SPLITS", SMALL)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of the few, to be copied where a test changes it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(motion, "SPLITS", SMALL)
        root = tmp_path_factory.mktemp("motion") / "data"
        Motion(root=str(root)).prepare()
    return root


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def frame(label=0, group=8, number=1, member=0, seed=0, looks=False):
    return recipe.clip(label, group, number, member, seed, looks)


def test_a_clip_is_a_function_of_its_seed():
    assert frame().shape == (32, 64, 64, 3)
    assert np.array_equal(frame(), frame())
    for other in (frame(seed=1), frame(group=9), frame(member=1), frame(label=1), frame(looks=True)):
        assert not np.array_equal(frame(), other)


def test_counts_labels_and_groups():
    entries = Motion(root="unused")._entries()
    groups = {}
    for split, count in {"train": 400, "val": 100, "test": 200}.items():
        own = [e for e in entries if e["split"] == split]
        assert len(own) == count
        assert [sum(e["label"] == label for e in own) for label in range(10)] == [count // 10] * 10
        groups[split] = {e["group"] for e in own}
    assert not groups["train"] & groups["test"]
    assert not groups["val"] & (groups["train"] | groups["test"])
    assert len({motion._path(e) for e in entries}) == 700
    assert len({(e["label"], e["member"]) for e in entries}) == 700, "no figure is drawn twice"


def test_the_same_seed_gives_the_same_files_and_another_seed_others(few, made, tmp_path):
    Motion(root=str(tmp_path / "again")).prepare()
    assert contents(tmp_path / "again") == contents(made)
    root = tmp_path / "other"
    shutil.copytree(made, root)
    Motion(root=str(root), seed=1).prepare()  # files of another draw are no answer to this one
    before, after = contents(made), contents(root)
    assert before.keys() == after.keys()
    assert all(before[path] != after[path] for path in before if path.endswith(".avi"))


AVI = "videos/MoveLeft/v_MoveLeft_g08_c01.avi"


@pytest.mark.parametrize(
    ("victim", "how"),
    [
        (AVI, "cut"),
        (AVI, "gone"),
        ("ucfTrainTestlist/vallist01.txt", "cut"),
        ("manifest.json", "cut"),
        ("manifest.json", "gone"),
    ],
)
def test_a_damaged_file_is_made_again(few, made, tmp_path, victim, how, monkeypatch):
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path))
    root = Motion().root
    shutil.copytree(made, root)
    if how == "cut":
        (root / victim).write_bytes((root / victim).read_bytes()[:-1])
    else:
        (root / victim).unlink()
    whole = contents(made)
    assert contents(root) != whole
    Motion().prepare()
    assert contents(root) == whole


def test_intact_files_are_kept(few, made):
    times = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    Motion(root=str(made)).prepare()
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == times


@pytest.mark.parametrize("name", ["holiday.mp4", "videos/Beach/holiday.avi", "manifest.json"])
def test_a_folder_of_other_files_is_refused_and_kept(few, tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    if name != "manifest.json":
        (tmp_path / "manifest.json").write_text("{}")
    else:
        (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(AdvvidError, match="holds other files"):
        Motion(root=str(tmp_path)).prepare()
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"frames": 16, "stride": 4}, "frames=16"),
        ({"frames": 0}, "frames=0"),
        ({"size": 48}, "size=48"),
        ({"scene": "striped"}, "scene='striped'"),
        ({"size": 128}, "size=128"),
        ({"test_clips": 0}, "test_clips=0"),
        ({"shift": -1}, "shift=-1"),
        ({"split": 2}, "split"),
        ({"splits": "lists"}, "splits"),
        ({"limit_test": 0}, "limit_test=0"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_sentence(settings, names):
    with pytest.raises(AdvvidError, match=names) as caught:
        Motion(root="unused", **settings)
    assert "\n" not in str(caught.value)


def test_the_files_have_the_layout_of_ucf101(made):
    lists = made / "ucfTrainTestlist"
    assert (lists / "classInd.txt").read_text().splitlines()[0] == "1 BounceVertical"
    train = [line.split() for line in (lists / "trainlist01.txt").read_text().splitlines()]
    test = (lists / "testlist01.txt").read_text().splitlines()
    assert len(train) == 10
    assert train[0] == ["BounceVertical/v_BounceVertical_g08_c01.avi", "1"]
    assert train[-1][1] == "10"
    assert test[0] == "BounceVertical/v_BounceVertical_g01_c01.avi"
    assert all((made / "videos" / path).is_file() for path in [*(path for path, _ in train), *test])


def test_splits_hold_the_listed_clips_at_the_chosen_size(few, made):
    data = Motion(root=str(made), size=16, frames=4, stride=8, limit_test=5, shift=0)
    test = data.split("test")
    assert test.ids == [f"{name}/v_{name}_g01_c01" for name in recipe.CLASSES[:5]]
    clip, label, _ = test[3]
    assert clip.shape == data.clip_shape == (3, 4, 16, 16)
    assert label == 3
    # The file shows what was rendered, up to the codec's loss, averaged over blocks of 4 x 4.
    entry = next(e for e in data._entries() if e["split"] == "test" and e["label"] == 3)
    wanted = torch.from_numpy(recipe.clip(3, entry["group"], entry["number"], entry["member"], 0)).float()
    wanted = wanted[3:28:8].unflatten(1, (16, 4)).unflatten(3, (16, 4)).mean(dim=(2, 4)).permute(3, 0, 1, 2)
    assert (clip.float() - wanted).abs().mean() < 3


def counting():
    """A video whose frames hold their own number."""
    videos = torch.arange(32).to(torch.uint8).view(1, 1, 32, 1, 1).expand(1, 3, 32, 5, 5)
    return lambda **options: MemoryClips(videos, [0], ["v"], frames=4, stride=4, **options)


def test_testing_takes_the_middle_or_evenly_spread_clips():
    one, two = counting()(views=1), counting()(views=2)
    assert one[0][0][0, :, 0, 0].tolist() == [9, 13, 17, 21]
    assert two[0][0][0, :, 0, 0].tolist() == [0, 4, 8, 12, 19, 23, 27, 31]


def test_a_training_clip_is_a_function_of_its_draw():
    clips = counting()(shift=1)
    assert torch.equal(clips[0, 5][0], clips[0, 5][0])
    starts = [int(clips[0, draw][0][0, 0, 0, 0]) for draw in range(200)]
    assert set(starts) == set(range(20)), "every start that fits is drawn"
    frames = clips[0, 5][0][0, :, 0, 0].tolist()
    assert [b - a for a, b in pairwise(frames)] == [4, 4, 4]


def test_all_frames_of_a_training_clip_shift_together():
    picture = torch.arange(25).to(torch.uint8).view(1, 1, 1, 5, 5).expand(1, 3, 32, 5, 5)
    clips = MemoryClips(picture, [0], ["v"], frames=4, stride=4, shift=1)
    centres = set()
    for draw in range(60):
        clip = clips[0, draw][0]
        assert (clip == clip[:1, :1]).all()
        centres.add(int(clip[0, 0, 2, 2]))
    assert centres == {6, 7, 8, 11, 12, 13, 16, 17, 18}


def figure_path(label, group=8, number=1, member=0):
    """Where the figure is in each frame: the centre of what differs from the same scene without it."""
    shown = recipe.clip(label, group, number, member, 0).astype(float)
    background = np.median(shown, axis=0)
    weight = np.abs(shown - background).sum(axis=-1)
    weight = np.where(weight > 60, weight, 0)
    rows, columns = np.mgrid[0:64, 0:64]
    return [(columns * w).sum() / w.sum() for w in weight], [(rows * w).sum() / w.sum() for w in weight]


@pytest.mark.parametrize(
    ("name", "axis", "sign"), [("MoveLeft", 0, -1), ("MoveRight", 0, 1), ("MoveUp", 1, -1), ("MoveDown", 1, 1)]
)
def test_figures_move_as_their_class_says_and_backwards_as_its_opposite(name, axis, sign):
    for member in range(6):
        path = figure_path(recipe.CLASSES.index(name), number=member + 1, member=member)[axis]
        assert sign * (path[-1] - path[0]) > 10
    assert recipe.REVERSED[recipe.REVERSED[name]] == name != recipe.REVERSED[name]


def test_zooming_figures_grow_or_shrink():
    for name, sign in (("ZoomIn", 1), ("ZoomOut", -1)):
        shown = frame(recipe.CLASSES.index(name)).astype(float)
        first, last = (np.abs(f - np.median(f, axis=(0, 1))).sum(axis=-1) > 80 for f in (shown[0], shown[-1]))
        assert sign * (int(last.sum()) - int(first.sum())) > 50


def test_a_scene_does_not_know_its_class():
    """Without the figure, two classes' clips of one scene are the same up to noise."""
    corner = [frame(label)[:, :10, :10].astype(float).mean(axis=0) for label in (1, 4, 8)]
    for other in corner[1:]:
        gain = other.mean() / corner[0].mean()  # drawn with the figure
        assert np.abs(other / gain - corner[0]).mean() < 2.5


@pytest.mark.slow
def test_the_background_does_not_tell_the_class():
    """A linear classifier on the corners of the mean frame is near chance."""

    def corners(groups, numbers):
        features, labels = [], []
        for label in range(10):
            for k, (group, number) in enumerate((g, n) for g in groups for n in numbers):
                mean = recipe.clip(label, group, number, 100 * group + k, 0)[::8].astype(np.float32).mean(axis=0)
                patches = [
                    mean[rows, columns]
                    for rows in (slice(0, 8), slice(56, 64))
                    for columns in (slice(0, 8), slice(56, 64))
                ]
                features.append(np.concatenate([p.reshape(4, 2, 4, 2, 3).mean(axis=(1, 3)).ravel() for p in patches]))
                labels.append(label)
        return np.stack(features), np.array(labels)

    (x, y), (x_test, y_test) = corners(range(8, 26), (1, 2)), corners(range(1, 8), (1, 2))
    mean, scale = x.mean(axis=0), x.std(axis=0)
    x, x_test = (x - mean) / scale, (x_test - mean) / scale
    # Ridge regression onto one-hot labels: the simplest classifier that could find such a leak.
    weights = np.linalg.solve(x.T @ x + 10 * np.eye(x.shape[1]), x.T @ np.eye(10)[y])
    accuracy = float(((x_test @ weights).argmax(axis=1) == y_test).mean())
    assert accuracy < 0.2


@pytest.mark.slow
def test_motion_look_is_known_from_single_frames(tmp_path, monkeypatch):
    """A small 2-D network on single frames: motion_look gives per-frame models something to lose."""
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path))
    data = Motion(looks=True, frames=16, stride=2)
    data.prepare()
    (x, y), (x_test, y_test) = frames_of(data.split("train")), frames_of(data.split("test"))
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = []
    for channels, width in ((3, 16), (16, 32), (32, 64)):
        layers += [torch.nn.Conv2d(channels, width, 3, 2, 1), torch.nn.BatchNorm2d(width), torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(64, 10))
    epochs = 5
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=epochs * (len(x) // 64))
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64)[: len(x) // 64]:
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        accuracy = (net.eval()(x_test).argmax(dim=1) == y_test).float().mean()
    assert accuracy >= 0.8


def frames_of(split):
    """Every fourth frame by itself, float [n, 3, H, W]."""
    frames = split.videos[:, :, ::4].transpose(1, 2)
    return frames.flatten(0, 1).float() / 255 - 0.5, torch.tensor(split.targets).repeat_interleave(frames.shape[1])


def test_plain_scenes_keep_the_bits_that_published_numbers_rest_on():
    digest = hashlib.sha256()
    for label, group, number, member, seed, looks in (
        (0, 8, 1, 0, 0, False),
        (6, 2, 3, 7, 1, True),
        (8, 1, 1, 50, 0, False),
    ):
        digest.update(recipe.clip(label, group, number, member, seed, looks).tobytes())
    assert digest.hexdigest()[:16] == "6dd15335d3ba330d"


def test_textured_scenes_have_small_figures_edges_and_more_test_clips():
    data = Motion(root="unused", scene="textured", size=48)
    assert data.clip_shape == (3, 8, 48, 48)
    assert [sum(e["split"] == split for e in data._entries()) for split in ("train", "val", "test")] == [400, 100, 400]
    assert len({motion._path(e) for e in data._entries()}) == 900

    def edges(scene):
        """How much frames change when they are moved by a pixel, in grey levels."""
        frames = [recipe.clip(i % 10, 8 + i, 1, 0, 0, False, recipe.SCENES[scene])[0].astype(float) for i in range(12)]
        return np.mean([np.abs(np.diff(one, axis=1)).mean() for one in frames])

    assert edges("textured") > 1.4 * edges("plain")
    scene = recipe.SCENES["textured"]
    assert 2 * scene.radius[0] / scene.side == pytest.approx(1 / 6)


def test_textured_clips_come_back_from_their_files(few, tmp_path):
    data = Motion(root=str(tmp_path / "new"), scene="textured", size=48)
    data.prepare()
    clip, label = data.split("test")[0][:2]
    assert clip.shape == (3, 8, 48, 48)
    drawn = recipe.clip(label, 1, 1, 2, 0, False, recipe.SCENES["textured"])
    start = [int(np.abs(clip[:, 0].permute(1, 2, 0).numpy().astype(float) - frame).mean() < 12) for frame in drawn]
    assert sum(start) >= 1
    with pytest.raises(AdvvidError, match="choose 8, 12, 16, 24, 48"):
        Motion(root="unused", scene="textured", size=32)
