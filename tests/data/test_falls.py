"""The data set of files that comes with the package is whole, balanced, apart by group, and can be learned."""

from collections import Counter

import pytest
import torch

from advvid.core.errors import AdvvidError
from advvid.data.falls import FOLDER, BedFall
from advvid.data.loader import train_batches
from small_models import Small3D


def test_it_is_whole_balanced_and_apart_by_group(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path))
    data = BedFall(frames=8, stride=12, size=64, val_fraction=0.16, workers=0)
    data.prepare()
    splits = {name: data.split(name) for name in ("train", "val", "test")}
    assert {name: sorted(Counter(split.targets).items()) for name, split in splits.items()} == {
        "train": [(0, 50), (1, 50)],
        "val": [(0, 10), (1, 10)],
        "test": [(0, 25), (1, 25)],
    }
    groups = [{name.rsplit("_c", 1)[0] for name in split.ids} for split in splits.values()]
    assert len(set.union(*groups)) == sum(map(len, groups)) == 34
    assert not any(data.missing.values())


def test_it_is_small_and_says_whose_it_is():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*.mp4")) < 2_000_000
    said = (FOLDER / "ATTRIBUTION.md").read_text()
    assert all(word in said for word in ("K.-T. Wu", "CC BY 4.0", "Changes: re-encoded"))


def test_one_step_lowers_the_loss_of_its_batch():
    data = BedFall(frames=4, stride=24, size=32, limit_train=8, limit_val=2, limit_test=2, workers=0)
    torch.manual_seed(0)
    model = Small3D(2).train()
    batch = next(train_batches(data.split("train"), 8, seed=0, epoch=0)).to("cpu")
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4)
    losses = []
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(model(batch.inputs), batch.target)
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[1] < losses[0]


def test_it_has_one_place():
    with pytest.raises(AdvvidError, match="comes with the package"):
        BedFall(root="/data")
