"""What every data set in conf/dataset owes a run."""

import pytest
import torch
from test_configs import composed

from advvid.config.catalogue import option_files
from advvid.config.instantiate import safe_instantiate
from advvid.core.errors import AdvvidError
from advvid.data.checked import check_split
from advvid.data.loader import collate, train_batches
from advvid.data.protocol import require_dataset

NAMES = list(option_files("dataset"))
LIMITS = {"limit_train": 6, "limit_val": 4, "limit_test": 4}


@pytest.fixture(params=NAMES)
def data(request):
    """The data set, prepared; skipped where its files are the user's own."""
    node = composed(f"dataset={request.param}").dataset
    node.update({key: value for key, value in LIMITS.items() if key in node})
    try:
        data = require_dataset(safe_instantiate(node))
        data.prepare()
    except AdvvidError as refusal:
        if "dataset.root" not in str(refusal):  # who has no files is told which option says where they are
            raise
        pytest.skip("needs files of the user's own")
    return data


def test_splits_hold_what_they_owe_and_share_no_clip(data):
    seen = set()
    for name in ("train", "val", "test"):
        split = data.split(name)
        check_split(split, name, data.classes, data.task)
        assert not seen & set(split.ids), f"{name} shares clips with another split"
        seen |= set(split.ids)
        batch = collate([split[0], split[len(split) - 1]]).to("cpu")
        frames, *rest = data.clip_shape[-3:] if len(data.clip_shape) == 4 else data.clip_shape
        lead = data.clip_shape[:1] if len(data.clip_shape) == 4 else ()
        assert batch.inputs.shape[1:] == (*lead, frames * (data.views if name != "train" else 1), *rest)
        assert data.space.contains(batch.inputs).all()


def test_a_clip_of_training_is_a_function_of_its_seed_and_one_of_testing_of_nothing(data):
    train, test = data.split("train"), data.split("test")
    first, second = (next(train_batches(train, 2, 0, 0)) for _ in range(2))
    assert torch.equal(first.inputs, second.inputs)
    assert list(first.ids) == list(second.ids)
    assert torch.equal(test[0][0], data.split("test")[0][0])
