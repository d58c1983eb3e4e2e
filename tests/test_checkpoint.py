"""Checkpoints: whole or not at all, never code, never another model's."""

import pickle

import pytest
import torch

from advvid.core import checkpoint
from advvid.core.errors import AdvvidError


class Payload:
    def __reduce__(self):
        import os

        return os.system, ("touch /tmp/advvid_was_here",)


def test_round_trip_and_no_scratch_left(tmp_path, small):
    path = tmp_path / "checkpoints" / "last.pt"
    checkpoint.save(path, {"model": small.state_dict(), "epoch": 3})
    state = checkpoint.load(path)
    assert state["epoch"] == 3
    checkpoint.load_model(small, state["model"], path)
    assert [p.name for p in path.parent.iterdir()] == ["last.pt"]
    assert checkpoint.find(tmp_path) == path
    assert checkpoint.find(path) == path


def test_a_failed_write_keeps_the_old_file(tmp_path, small):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"model": small.state_dict(), "epoch": 1})
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        checkpoint.save(path, {"model": small.state_dict(), "epoch": lambda: None})
    assert checkpoint.load(path)["epoch"] == 1


def test_code_is_refused(tmp_path):
    path = tmp_path / "evil.pt"
    torch.save({"format": 1, "model": Payload()}, path)
    with pytest.raises(AdvvidError, match="could run code"):
        checkpoint.load(path)
    with path.open("wb") as file:
        pickle.dump(Payload(), file)
    with pytest.raises(AdvvidError, match=r"refused|damaged"):
        checkpoint.load(path)


def test_damage_is_named(tmp_path, small):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"model": small.state_dict()})
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(AdvvidError, match="damaged"):
        checkpoint.load(path)
    path.write_bytes(b"")
    with pytest.raises(AdvvidError, match="damaged"):
        checkpoint.load(path)


@pytest.mark.parametrize("content", [b"junk", b"a line of text\n", b"\x00" * 100, b"PK\x03\x04 no archive"])
def test_files_of_something_else_are_named(tmp_path, content):
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    with pytest.raises(AdvvidError, match="damaged"):
        checkpoint.load(path)


@pytest.mark.parametrize("where", ["nothing.pt", "", "empty"])
def test_a_missing_checkpoint_is_named(tmp_path, where):
    (tmp_path / "empty").mkdir()
    with pytest.raises(AdvvidError, match=r"does not exist|has no checkpoints"):
        checkpoint.find(tmp_path / where)


def test_another_models_weights_are_refused(tmp_path, small):
    from small_models import Small3D

    with pytest.raises(AdvvidError, match=r"of another model .*head.bias: \(7,\) in the file, \(5,\)"):
        checkpoint.load_model(small, Small3D(7).state_dict(), tmp_path)


def test_plain_weights_are_pointed_to_model_checkpoint(tmp_path, small):
    torch.save(small.state_dict(), tmp_path / "w.pt")
    with pytest.raises(AdvvidError, match=r"model\.checkpoint="):
        checkpoint.load(tmp_path / "w.pt")
