"""Pictures as clips of one frame: whole, balanced, never in two splits, and CIFAR-10 read from a local copy only."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
import torchvision

from advvid.core.errors import AdvvidError
from advvid.data.image_clips import ImageClips, cut, resize_pictures
from advvid.data.images import CIFAR10, Digits
from advvid.data.loader import eval_batches, train_batches

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def test_digits_are_the_pictures_of_scikit_learn():
    from sklearn.datasets import load_digits

    data = Digits()
    data.prepare()
    splits = {name: data.split(name) for name in ("train", "val", "test")}
    assert {name: len(split) for name, split in splits.items()} == {"train": 1259, "val": 179, "test": 359}
    ids = [clip for split in splits.values() for clip in split.ids]
    assert len(set(ids)) == 1797
    found = load_digits()
    for split in splits.values():
        assert min(split.targets.count(label) for label in range(10)) >= len(split) // 12
        for index in (0, len(split) - 1):
            clip, label, name = split[index]
            number = int(name.rsplit("_", 1)[1])
            assert label == found.target[number] == int(data.classes[label])
            assert clip.shape == (3, 1, 32, 32) == data.clip_shape
            assert torch.equal(clip[0], clip[2])
            small = resize_pictures(clip[:, 0][None], 8)[0, 0].double() * 16 / 255
            assert np.corrcoef(small.flatten(), found.images[number].ravel())[0, 1] > 0.9


def test_splits_are_a_function_of_the_seed_and_limits_are_balanced():
    assert Digits(limit_test=30).split("test").ids == Digits(limit_test=30).split("test").ids
    assert Digits(seed=1).split("test").ids != Digits().split("test").ids
    few = Digits(limit_train=20).split("train")
    assert sorted(few.targets) == sorted([*range(10)] * 2)


def test_parts_hold_every_item_once_with_equal_shares():
    labels = [i % 3 for i in range(90)]
    parts = cut(labels, [0.2, 0.1], seed=3, name="x")
    assert [len(part) for part in parts] == [18, 9, 63]
    assert sorted(position for part in parts for position in part) == list(range(90))
    assert all([labels[i] for i in part].count(c) == len(part) // 3 for part in parts for c in range(3))


def test_training_pictures_are_moved_and_mirrored_and_test_pictures_are_not():
    picture = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3).expand(1, 3, 3, 3)
    clips = ImageClips(picture, [4], ["one"], shift=1, flip=0.5)
    assert torch.equal(clips[0][0], picture[0].unsqueeze(1))
    seen = {clips[0, draw][0].numpy().tobytes() for draw in range(400)}
    assert len(seen) == 18, "nine shifts, each mirrored or not"
    assert torch.equal(clips[0, 7][0], clips[0, 7][0])
    right = {clips[0, draw][0][0, 0, 1, 1].item() for draw in range(100)}
    assert right == set(range(1, 10))
    still = ImageClips(picture, [4], ["one"])
    assert all(torch.equal(still[0, draw][0], picture[0].unsqueeze(1)) for draw in range(20))


def test_batches_are_made_of_them():
    data = Digits(limit_train=40)
    split = data.split("train")
    batch = next(train_batches(split, 8, seed=0, epoch=0))
    assert batch.inputs.shape == (8, 3, 1, 32, 32)
    assert batch.inputs.dtype == torch.uint8
    assert [clip for b in eval_batches(split, 16) for clip in b.ids] == split.ids


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """A folder in CIFAR-10's layout, 20 + 10 random pictures, whose sums torchvision is told to expect."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    reader = torchvision.datasets.CIFAR10
    train = []
    for i in range(1, 6):
        pictures = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        train.append(write(f"data_batch_{i}", {"data": pictures, "labels": [j % 10 for j in range(20)]}))
    test = write("test_batch", {"data": rng.integers(0, 256, (10, 3072), dtype=np.uint8), "labels": list(range(10))})
    meta = write("batches.meta", {"label_names": NAMES})
    monkeypatch.setattr(reader, "train_list", train)
    monkeypatch.setattr(reader, "test_list", [test])
    monkeypatch.setattr(reader, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
    return tmp_path


@pytest.mark.parametrize("inner", [False, True])
def test_cifar10_is_read_from_its_local_copy(cifar, inner):
    data = CIFAR10(root=str(cifar / "cifar-10-batches-py" if inner else cifar), shift=4, flip=0.5)
    data.prepare()
    assert data.classes == NAMES
    splits = {name: data.split(name) for name in ("train", "val", "test")}
    assert {name: len(split) for name, split in splits.items()} == {"train": 90, "val": 10, "test": 10}
    assert not set(splits["train"].ids) & set(splits["val"].ids)
    assert sorted(splits["val"].targets) == list(range(10))
    raw = pickle.loads((cifar / "cifar-10-batches-py" / "test_batch").read_bytes())
    clip, label, name = splits["test"][3]
    assert (label, name) == (3, "cat/test_00003")
    assert np.array_equal(clip[:, 0].numpy(), raw["data"][3].reshape(3, 32, 32))


def test_cifar10_missing_or_damaged_is_refused_in_one_sentence(cifar, tmp_path):
    with pytest.raises(AdvvidError, match=r"dataset\.root=<folder with cifar-10-batches-py"):
        CIFAR10().prepare()
    with pytest.raises(AdvvidError, match="does not hold CIFAR-10 whole"):
        CIFAR10(root=str(tmp_path / "absent")).prepare()
    with (cifar / "cifar-10-batches-py" / "test_batch").open("ab") as file:
        file.write(b"x")
    with pytest.raises(AdvvidError, match="does not hold CIFAR-10 whole"):
        CIFAR10(root=str(cifar)).prepare()


@pytest.mark.parametrize(
    "options", [{"size": 4}, {"shift": -1}, {"flip": 2.0}, {"val_fraction": 0.0}, {"limit_test": 0}, {"splits": "x"}]
)
def test_impossible_settings_are_refused(options):
    with pytest.raises(AdvvidError, match=r"\w+\.\w+="):
        Digits(**options)
