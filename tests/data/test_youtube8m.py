"""YouTube-8M's features: the published schema, padding that no byte can be taken for, verticals, splits, damage."""

import csv

import numpy as np
import pytest
import torch

from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.core.features import valid_frames
from advvid.data import feature_recipe as recipe
from advvid.data import tfrecord
from advvid.data.loader import eval_batches
from advvid.data.youtube8m import YouTube8M, dequantise
from advvid.data.youtube8m_mini import YouTube8MMini


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("yt")
        patch.setenv("ADVVID_CACHE", str(root / "cache"))
        YouTube8MMini(root=str(root / "mini"), videos=100).prepare()
    return root / "mini"


def record(name, labels, frames, **options):
    """One video by hand, frame t full of the byte 10 t + 7 in pictures and of 200 in sound."""
    rows = {"rgb": [bytes([10 * t + 7]) * 1024 for t in range(frames)], "audio": [bytes([200]) * 128] * frames}
    return tfrecord.sequence_example({options.get("key", "id"): name, "labels": labels}, rows | options.get("rows", {}))


def folder(tmp_path, train, validate):
    for name, records in (("train00", train), ("sub/validate00", validate)):
        path = tmp_path / f"{name}.tfrecord"
        path.parent.mkdir(exist_ok=True)
        tfrecord.write(path, records)
    return str(tmp_path)


def opened(root, **options):
    data = YouTube8M(root=root, **{"val_videos": 1, **options})
    data.prepare()
    return data


def test_no_byte_becomes_zero_or_leaves_the_range():
    values = dequantise(torch.arange(256, dtype=torch.uint8))
    assert values.dtype == torch.float32
    assert (values != 0).all(), "zeros stand for padding"
    assert Space(-2, 2).contains(values[None]).all()
    q = np.arange(255)
    np.testing.assert_allclose(values[:255].numpy(), q * 4 / 255 + 4 / 512 - 2, atol=1e-6)
    assert recipe.quantise(values.numpy().astype(float)).tolist() == list(range(256))


def test_a_video_is_dequantised_padded_and_has_all_its_labels(tmp_path):
    root = folder(tmp_path, [record(b"aa", [3, 1], 4)], [record(b"bb", [0], 6, key="video_id"), record(b"cc", [4], 2)])
    data = opened(root, labels=5, frames=5)
    assert data.classes == list("01234")
    features, target, name = data.split("train")[0]
    assert (name, target.tolist()) == ("aa", [False, True, False, True, False])
    assert features.shape == data.clip_shape == (5, 1152)
    assert valid_frames(features[None]).tolist() == [[True, True, True, True, False]]
    assert features[:4, 0].tolist() == pytest.approx([q * 4 / 255 + 4 / 512 - 2 for q in (7, 17, 27, 37)])
    assert features[1, :1024].unique().numel() == 1
    assert features[0, 1024:].unique().tolist() == pytest.approx([200 * 4 / 255 + 4 / 512 - 2])
    both = {name: x for split in ("val", "test") for x, _, name in data.split(split)}
    assert both.keys() == {"bb", "cc"}
    assert valid_frames(both["bb"][None]).all(), "a longer video is cut"
    assert data.split("train")[0, 12345][0].equal(features)


def test_batches_arrive_as_they_are(made):
    split = YouTube8M(root=str(made), val_videos=10, limit_test=6)
    split.prepare()
    (batch,) = [b.to("cpu") for b in eval_batches(split.split("test"), 50)]
    assert batch.inputs.dtype == torch.float32
    assert batch.inputs.min() < -1
    assert batch.target.dtype == torch.bool
    assert torch.equal(batch.target, split.split("test").targets)
    assert split.space.contains(batch.inputs).all()


def test_splits_share_no_video_and_partitions_make_up_the_test_split(made):
    def ids(name, **options):
        data = opened(str(made), **{"val_videos": 10, **options})
        return data.split(name).ids

    assert [len(ids(name)) for name in ("train", "val", "test")] == [60, 10, 30]
    assert len({*ids("train"), *ids("val"), *ids("test")}) == 100
    assert ids("val") == ids("val")
    assert ids("val") != ids("val", seed=1)
    parts = [ids("test", partition=p) for p in range(5)]
    assert sorted(name for part in parts for name in part) == sorted(ids("test"))
    # The same parts as those of the measures' mean and deviation.
    assert parts[2] == ids("test")[2::5]
    assert opened(str(made), partition=1).task.partitions == 1
    assert opened(str(made)).task.partitions == 5


def test_verticals_are_label_subsets(made):
    whole = opened(str(made), val_videos=10)
    data = opened(str(made), val_videos=10, verticals=["Finance", "Sports"])
    assert data.classes == ["Football", "Boxing", "Cycling", "Swimming", "Stock market", "Bank"]
    wanted = [whole.classes.index(name) for name in data.classes]
    full, part = whole.split("train"), data.split("train")
    rows = {name: target[wanted] for name, target in zip(full.ids, full.targets, strict=True)}
    assert set(part.ids) == {name for name, row in rows.items() if row.any()}
    assert 0 < len(part) < len(full)
    assert all(torch.equal(rows[name], target) for name, target in zip(part.ids, part.targets, strict=True))
    with pytest.raises(AdvvidError, match=r"'Fiance'.*choose from Arts & Entertainment, Finance, Sports"):
        opened(str(made), verticals=["Fiance"])


def test_a_vocabulary_with_some_rows_makes_them_the_classes(made, tmp_path):
    rows = list(csv.reader((made / "vocabulary.csv").open()))
    with (tmp_path / "some.csv").open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], rows[9], rows[3], ["5", "Dance", "", "", ""]])
    data = opened(str(made), vocabulary=str(tmp_path / "some.csv"), val_videos=10)
    assert data.classes == ["Dance (2)", "Dance (5)", "Cycling"], "by label, and no name twice"
    (tmp_path / "bad.csv").write_text("no,columns\n1,2\n")
    for name in ("bad.csv", "absent.csv"):
        with pytest.raises(AdvvidError, match=f"{name} cannot be read as YouTube-8M's vocabulary"):
            opened(str(made), vocabulary=str(tmp_path / name))


def test_the_index_is_kept_until_a_file_changes(made, tmp_path, monkeypatch):
    root = folder(tmp_path / "", [record(b"aa", [1], 2)], [record(b"bb", [0], 2), record(b"cc", [0], 2)])
    assert opened(root, labels=2).split("train").ids == ["aa"]
    monkeypatch.setattr(tfrecord, "places", lambda path: pytest.fail(f"{path} was read again"))
    assert opened(root, labels=2).split("train").ids == ["aa"]
    monkeypatch.undo()
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path / "cache"))
    tfrecord.write(tmp_path / "train00.tfrecord", [record(b"dd", [1], 2), record(b"ee", [0], 2)])
    for kept in (tmp_path / "cache" / "feature_index").glob("*.npz"):
        kept.write_bytes(kept.read_bytes()[:50])  # as a killed process or a full disk leaves it
    assert opened(root, labels=2).split("train").ids == ["dd", "ee"]


def test_a_long_context_is_read_whole(tmp_path):
    many = list(range(0, 3000, 2))
    root = folder(tmp_path, [record(b"aa", many, 1)], [record(b"b", [1], 1), record(b"c", [1], 1)])
    assert opened(root).split("train").targets.nonzero()[:, 1].tolist() == many


def test_missing_and_damaged_files_are_told_in_one_sentence(tmp_path):
    with pytest.raises(AdvvidError, match=r"needs dataset\.root=<folder with .* dataset=youtube8m_mini"):
        YouTube8M().prepare()
    tfrecord.write(tmp_path / "train0.tfrecord", [record(b"aa", [1], 2)])
    with pytest.raises(AdvvidError, match=r"holds no validate\*\.tfrecord"):
        opened(str(tmp_path))
    path = tmp_path / "validate0.tfrecord"
    tfrecord.write(path, [record(b"bb", [1], 2), record(b"cc", [1], 2)])
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-100])
    with pytest.raises(AdvvidError, match=r"validate0\.tfrecord is cut off inside record 1"):
        opened(str(tmp_path))
    data[-500] ^= 4  # in the frames of the second video
    path.write_bytes(data)
    bad = opened(str(tmp_path))
    with pytest.raises(AdvvidError, match=r"validate0\.tfrecord is damaged \(its checksum"):
        [x[0] for x in (bad.split("val"), bad.split("test"))]


@pytest.mark.parametrize(
    ("made_of", "said"),
    [
        (record(b"aa", [1], 0), "0 frames of rgb and 0 frames of audio"),
        (record(b"aa", [1], 2, rows={"audio": [bytes(128)]}), "2 frames of rgb and 1 frames of audio"),
        (record(b"aa", [1], 2, rows={"rgb": [bytes(1000)] * 2}), "frames of rgb that are not 1024 bytes"),
        (tfrecord.sequence_example({"labels": [1]}, {}), "record 0 of .* has no id or no labels"),
        (tfrecord.sequence_example({"id": b"a"}, {}), "record 0 of .* has no id or no labels"),
        (b"\xff\xff", "record 0 of .* is no SequenceExample"),
    ],
)
def test_records_of_another_kind_are_refused(tmp_path, made_of, said):
    root = folder(tmp_path, [made_of], [record(b"b", [1], 1), record(b"c", [1], 1)])
    with pytest.raises(AdvvidError, match=said):
        opened(root).split("train")[0]


@pytest.mark.parametrize(
    "options",
    [
        {"frames": 0},
        {"frames": 301},
        {"labels": 1},
        {"partition": 5},
        {"partition": -1},
        {"limit_test": 0},
        {"splits": "x"},
    ],
)
def test_impossible_settings_are_refused(options):
    with pytest.raises(AdvvidError, match=r"\w+\.\w+="):
        YouTube8M(**options)


def test_choices_that_leave_no_video_are_refused(made):
    with pytest.raises(AdvvidError, match=r"no video is left for test: lower dataset\.val_videos=40"):
        opened(str(made), val_videos=40).split("test")


def test_the_stand_in_is_a_function_of_its_seed_and_made_once(made, tmp_path):
    for seed, same in ((0, True), (1, False)):
        YouTube8MMini(root=str(tmp_path / str(seed)), videos=100, data_seed=seed).prepare()
        for name in ("train03", "validate01"):
            other = (tmp_path / str(seed) / f"{name}.tfrecord").read_bytes()
            assert (other == (made / f"{name}.tfrecord").read_bytes()) == same
    stamp = (tmp_path / "0" / "train00.tfrecord").stat().st_mtime_ns
    YouTube8MMini(root=str(tmp_path / "0"), videos=100).prepare()
    assert (tmp_path / "0" / "train00.tfrecord").stat().st_mtime_ns == stamp
    assert not list(tmp_path.glob(".*tmp"))
    with pytest.raises(AdvvidError, match=r"videos=10 is not possible"):
        YouTube8MMini(videos=10)


def test_neighbouring_classes_of_the_stand_in_differ_by_order_alone():
    directions = recipe.scenes(0)
    found = {}
    for number in range(400):
        labels, streams = recipe.video(directions, np.random.default_rng([0, 2, number]))
        if len(labels) == 1:
            rgb = streams["rgb"].astype(float) * 4 / 255 + 4 / 512 - 2
            halves = [rgb[:4].mean(axis=0), rgb[-4:].mean(axis=0)]
            shown = [directions["rgb"][labels[0] // 2] @ half for half in halves]  # [two scenes] of each half
            found.setdefault(labels[0] % 2, []).append((shown[0][0] - shown[0][1], shown[1][0] - shown[1][1]))
    even, odd = (np.mean(found[k], axis=0) for k in (0, 1))
    assert even[0] > 0.5 > -0.5 > even[1], "the even class begins with the first scene"
    assert odd[1] > 0.5 > -0.5 > odd[0], "the odd class ends with it"
