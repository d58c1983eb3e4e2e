"""Equal content, equal digest; anything that computes otherwise, another one."""

import os
import time
from functools import partial

import pytest
import torch
from torch import nn

from advvid.core import digests
from advvid.models.classifier import VideoClassifier
from advvid.models.r3d_tiny import R3DTiny


def classifier(**settings):
    torch.manual_seed(0)
    return VideoClassifier(R3DTiny(10), 10, **{"mean": 0.45, "std": 0.225, **settings})


def test_numbers_count_by_value_not_by_spelling():
    assert digests.of_values({"eps": "8/255", "steps": 10}) == digests.of_values({"steps": 10.0, "eps": 8 / 255})
    assert digests.of_values("8/255") != digests.of_values("9/255")
    assert digests.of_values(True) != digests.of_values(1)
    assert digests.of_values(None) != digests.of_values("None")


@pytest.mark.parametrize("setting", [{"mean": 0.5}, {"std": 0.25}, {"size": 24}, {"frames": 4}, {"views": 2}])
def test_settings_of_a_wrapper_count_although_no_state_dict_holds_them(setting):
    plain, other = classifier(), classifier(**setting)
    assert {k: v.tolist() for k, v in plain.state_dict().items()} == {
        k: v.tolist() for k, v in other.state_dict().items()
    }
    assert digests.of_module(plain) != digests.of_module(other)
    assert digests.of_module(plain) == digests.of_module(classifier())


def test_one_bit_of_one_weight_counts_and_the_mode_does_not():
    model = classifier()
    before = digests.of_module(model)
    model.train(not model.training)
    assert digests.of_module(model) == before
    with torch.no_grad():
        next(model.parameters()).view(-1).view(torch.int32)[0] ^= 1
    assert digests.of_module(model) != before


def test_settings_of_foreign_modules_count():
    class Scale(nn.Module):
        def __init__(self, factor, options=None):
            super().__init__()
            self.factor, self.options = factor, options or {}

    assert digests.of_module(Scale(1.0)) == digests.of_module(Scale(1.0))
    assert digests.of_module(Scale(1.0)) != digests.of_module(Scale(2.0))
    assert digests.of_module(Scale(1.0, {"a": [1]})) != digests.of_module(Scale(1.0, {"a": [2]}))
    assert digests.of_module(nn.Sequential(nn.ReLU())) != digests.of_module(nn.Sequential(nn.GELU()))


class Settings:
    """What a library keeps its settings in: neither a mapping nor a dataclass."""

    def __init__(self, factor):
        self.factor = factor


class Slotted:
    __slots__ = ("factor",)

    def __init__(self, factor):
        self.factor = factor


class Holder(nn.Module):
    def __init__(self, held):
        super().__init__()
        self.held = held


def scaled(clips, factor):
    return clips * factor


@pytest.mark.parametrize(
    "made",
    [
        lambda x: [nn.LeakyReLU(x)],  # a network in a list is not registered
        lambda x: [nn.utils.parametrizations.weight_norm(nn.Linear(1, 1)), torch.full((1,), x)],
        Settings,
        Slotted,
        lambda x: {"a": [Settings(x)]},
        lambda x: partial(scaled, factor=x),
        lambda x: Settings(x).__init__,
    ],
)
def test_what_a_module_holds_without_registering_it_counts(made):
    def digest(x):
        torch.manual_seed(0)
        return digests.of_module(Holder(made(x)))

    assert digest(0.1) == digest(0.1)
    assert digest(0.1) != digest(0.2)


def test_weights_of_a_network_that_is_not_registered_count():
    model = Holder([nn.Linear(2, 2)])
    before = digests.of_module(model)
    with torch.no_grad():
        model.held[0].weight.add_(1e-3)
    assert digests.of_module(model) != before


def test_objects_that_hold_each_other_come_to_an_end():
    settings = Settings(0.1)
    model = Holder([settings])
    settings.owner = model
    assert digests.of_module(model) == digests.of_module(model)


def test_files_count_by_content_and_are_read_once(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "SETTLED_SECONDS", 0)
    file, old = tmp_path / "a", time.time() - 3600
    file.write_bytes(b"one")
    os.utime(file, (old, old))
    first = digests.of_file(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digests, "of_content", lambda path: pytest.fail("read again"))
        assert digests.of_file(file) == first
    time.sleep(0.02)  # the clock of a file system ticks slowly
    file.write_bytes(b"two")
    os.utime(file, (old, old))  # of the same size, with its time set back, as some copies do
    assert digests.of_file(file) != first


def test_a_file_that_just_changed_is_not_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "a"
    file.write_bytes(b"one")
    stat = file.stat()
    first = digests.of_file(file)
    file.write_bytes(b"two")  # of the same size, within the clock's resolution
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert digests.of_file(file) != first


def test_without_a_place_for_the_memory_files_are_read_each_time(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("ADVVID_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a").write_bytes(b"one")
    assert digests.of_file(tmp_path / "a") == digests.of_file(tmp_path / "a")
