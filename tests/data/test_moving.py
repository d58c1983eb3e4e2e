"""Moving-MNIST and its stand-in: the published layout, targets one frame later, and splits that share no digit."""

import numpy as np
import pytest
import torch

from advvid.core.errors import AdvvidError
from advvid.data import moving_digits as recipe
from advvid.data.moving import FILE, MovingDigits, MovingMNIST


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("moving") / FILE
    MovingDigits(root=str(root), sequences=40).prepare()
    return root


def test_the_file_has_the_published_layout_and_is_a_function_of_its_seed(made, tmp_path):
    videos = np.load(made)
    assert videos.shape == (20, 40, 64, 64)
    assert videos.dtype == np.uint8
    assert videos.max() == 255
    for seed, same in ((0, True), (1, False)):
        MovingDigits(root=str(tmp_path / f"{seed}.npy"), sequences=40, seed=seed).prepare()
        assert np.array_equal(np.load(tmp_path / f"{seed}.npy"), videos) == same


def test_the_cache_is_made_once(monkeypatch, tmp_path):
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path))
    data = MovingDigits(sequences=20)
    data.prepare()
    stamp = data.file.stat().st_mtime_ns
    data.prepare()
    assert data.file.stat().st_mtime_ns == stamp
    assert MovingDigits(sequences=20, seed=1).file != data.file
    assert not list(tmp_path.glob(".*.tmp"))


def test_digits_move_at_constant_speed_and_stay_inside():
    picture = np.zeros((1, 28, 28), dtype=np.uint8)
    picture[0, 13:15, 13:15] = 255
    bounced = 0
    for seed in range(20):
        frames = recipe.sequence(picture, np.random.default_rng(seed))
        assert all(np.count_nonzero(frame) in range(4, 9) for frame in frames), "a digit left the frame"
        rows, columns = np.nonzero(frames.any(axis=0))
        assert rows.min() >= 13 <= columns.min()
        assert max(rows.max(), columns.max()) <= 50
        bounced += int(rows.min() == 13 or columns.min() == 13)
    assert bounced
    # One digit alone: its way per frame is a tenth of the 36 free pixels.
    rng = np.random.default_rng(3)
    recipe_digits, recipe.DIGITS = recipe.DIGITS, 1
    try:
        frames = recipe.sequence(picture, rng)
    finally:
        recipe.DIGITS = recipe_digits
    place = np.array([np.argwhere(frame)[0] for frame in frames], dtype=float)
    ways = np.hypot(*np.diff(place, axis=0).T)
    assert np.median(ways) == pytest.approx(3.6, abs=1.0)


def test_no_two_splits_share_a_digit():
    parts = {name: {picture.tobytes() for picture in recipe.pictures(name)} for name in ("train", "val", "test")}
    assert sum(map(len, parts.values())) > 1700
    assert not parts["train"] & parts["test"]
    assert not parts["val"] & (parts["train"] | parts["test"])


def test_targets_are_the_same_frames_one_later(made):
    data = MovingMNIST(root=str(made.parent), frames=8)
    data.prepare()
    assert [len(data.split(name)) for name in ("train", "val", "test")] == [32, 4, 4]
    videos = np.load(made)
    split = data.split("test")
    clip, target, name = split[1]
    assert name == "sequence_00037"
    assert clip.shape == target.shape == data.clip_shape == (1, 8, 64, 64)
    assert np.array_equal(clip[0].numpy(), videos[:8, 37])
    assert np.array_equal(target[0].numpy(), videos[1:9, 37])
    assert torch.equal(split.targets[1], target)
    starts = set()
    for draw in range(60):
        clip, target, _ = data.split("train")[5, draw]
        (start,) = [t for t in range(12) if np.array_equal(videos[t : t + 8, 5], clip[0].numpy())]
        assert np.array_equal(target[0].numpy(), videos[start + 1 : start + 9, 5])
        starts.add(start)
    assert starts == set(range(12))


def test_size_and_channels(made):
    data = MovingMNIST(root=str(made), size=32, channels=3, limit_test=2)
    clip, target, _ = data.split("test")[0]
    assert clip.shape == (3, 10, 32, 32) == data.clip_shape
    assert torch.equal(clip[0], clip[2])
    assert len(data.split("test")) == 2
    mean = np.load(made)[0, 36].reshape(32, 2, 32, 2).mean(axis=(1, 3))
    assert np.abs(clip[0, 0].numpy() - mean).max() <= 0.5
    assert torch.equal(clip[:, 1:], target[:, :-1])


def test_a_missing_damaged_or_foreign_file_is_refused(made, tmp_path):
    with pytest.raises(AdvvidError, match=r"needs dataset\.root=<folder of mnist_test_seq\.npy"):
        MovingMNIST().prepare()
    with pytest.raises(AdvvidError, match=r"holds no mnist_test_seq\.npy"):
        MovingMNIST(root=str(tmp_path)).prepare()
    (tmp_path / "cut.npy").write_bytes(made.read_bytes()[:100_000])
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "other.npy", np.zeros((10, 20, 64, 64), dtype=np.uint8))
    for name in ("cut", "text", "objects", "other"):
        with pytest.raises(AdvvidError, match=f"{name}.npy"):
            MovingMNIST(root=str(tmp_path / f"{name}.npy")).prepare()


@pytest.mark.parametrize(
    "options",
    [{"frames": 20}, {"frames": 0}, {"size": 48}, {"channels": 2}, {"limit_val": 0}, {"splits": "x"}, {"sequences": 3}],
)
def test_impossible_settings_are_refused(options):
    with pytest.raises(AdvvidError, match=r"\w+\.\w+="):
        MovingDigits(**options)
