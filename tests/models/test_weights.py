"""Weights of local files: matched under whatever wrapping, reported, and refused when they cannot be right."""

import logging
import pickle

import pytest
import torch

from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.models.classifier import VideoClassifier
from advvid.models.r3d_tiny import R3DTiny
from advvid.models.slowfast import SlowFast
from advvid.models.weights import load_local_weights


@pytest.fixture
def source():
    torch.manual_seed(1)
    return R3DTiny(5)


@pytest.fixture
def net():
    torch.manual_seed(2)
    return R3DTiny(5)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


WRAPPINGS = {
    "plain": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3, "arch": "r3d"},
    "model_state": lambda s: {"model_state": s, "cfg": "text"},
    "model": lambda s: {"model": s},
    "module.": lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}},
    "module.net.": lambda s: {f"module.net.{k}": v for k, v in s.items()},
    "backbone.": lambda s: {**{f"backbone.{k}": v for k, v in s.items()}, "other.weight": torch.zeros(3)},
    "a run": lambda s: {"format": checkpoint.FORMAT, "model": {f"net.{k}": v for k, v in s.items()}, "average": None},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_every_wrapping_is_seen_through(wrapping, source, net, tmp_path):
    torch.save(WRAPPINGS[wrapping](source.state_dict()), tmp_path / "w.pth")
    report = load_local_weights(net, tmp_path / "w.pth")
    assert same(source, net)
    assert report.share == 1
    assert not report.missing
    assert not report.mismatched
    assert report.unexpected == (["other.weight"] if wrapping == "backbone." else [])


def test_a_runs_averaged_weights_come_first_as_they_are_scored(source, net, tmp_path):
    average = {"n_averaged": torch.tensor(3), **{f"module.net.{k}": v for k, v in source.state_dict().items()}}
    other = {f"net.{k}": torch.zeros_like(v) for k, v in source.state_dict().items()}
    torch.save({"format": checkpoint.FORMAT, "model": other, "average": average}, tmp_path / "last.pt")
    load_local_weights(net, tmp_path / "last.pt")
    assert same(source, net)


def test_wrappers_of_the_network_itself_are_bridged(source, net, tmp_path):
    torch.save(source.state_dict(), tmp_path / "w.pth")
    model = VideoClassifier(SlowFast(net), 5, 0.45, 0.225)
    assert load_local_weights(model, tmp_path / "w.pth").share == 1
    assert same(source, net)


def test_another_number_of_classes_leaves_the_head_alone(source, tmp_path, caplog):
    torch.save(source.state_dict(), tmp_path / "w.pth")
    net = R3DTiny(9)
    head = net.fc.weight.clone()
    with caplog.at_level(logging.INFO):
        report = load_local_weights(net, tmp_path / "w.pth")
    assert report.head == ["fc.weight", "fc.bias"]
    assert report.share == 1
    assert torch.equal(net.fc.weight, head)
    assert torch.equal(net.stem[0].conv.weight, source.stem[0].conv.weight)
    assert "2 left new because the number of classes differs: fc.weight, fc.bias" in caplog.text


def test_differences_are_reported_by_name(source, net, tmp_path, caplog):
    state = source.state_dict()
    del state["stem.0.conv.weight"]
    state["extra.weight"] = torch.zeros(2)
    state["block1.shortcut.0.weight"] = torch.zeros(1, 2, 3)
    torch.save(state, tmp_path / "w.pth")
    report = load_local_weights(net, tmp_path / "w.pth")
    assert (report.missing, report.unexpected) == (["stem.0.conv.weight"], ["extra.weight"])
    assert report.mismatched == ["block1.shortcut.0.weight"]
    weights = sum(p.numel() for n, p in net.named_parameters() if not n.startswith("fc."))
    assert report.share == pytest.approx(1 - (16 * 48 * 12 + 16 * 32) / weights)
    assert caplog.records[-1].levelno == logging.WARNING
    assert "stem.0.conv.weight" in caplog.text


def test_another_networks_weights_are_refused_and_change_nothing(net, tmp_path):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    for other in (R3DTiny(5, width=2.0).state_dict(), torch.nn.Linear(3, 2).state_dict()):
        torch.save(other, tmp_path / "w.pth")
        with pytest.raises(AdvvidError, match="fit only 0% of the network"):
            load_local_weights(net, tmp_path / "w.pth")
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


class Planted:
    def __reduce__(self):
        return (pytest.fail, ("a planted pickle ran",))


def test_a_pickle_with_code_is_refused_without_running_it(net, tmp_path):
    torch.save({"state_dict": net.state_dict(), "extra": Planted()}, tmp_path / "zip.pth")
    torch.save({"extra": Planted()}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "bare.pkl").write_bytes(pickle.dumps(Planted()))
    for name in ("zip.pth", "old.pth", "bare.pkl"):
        with pytest.raises(AdvvidError, match="refused because"):
            load_local_weights(net, tmp_path / name)


def test_a_network_saved_whole_is_told_how_to_be_saved(net, tmp_path):
    torch.save(net, tmp_path / "whole.pt")
    with pytest.raises(AdvvidError, match=r"holds [\w.]+, which could run code: save its state dict alone") as caught:
        load_local_weights(net, tmp_path / "whole.pt")
    assert "\x1b" not in str(caught.value)


def test_unreadable_files_are_named_in_one_sentence(net, tmp_path):
    torch.save(net.state_dict(), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    old = tmp_path / "old.pth"
    torch.save(net.state_dict(), old, _use_new_zipfile_serialization=False)
    cases = {"cut": whole[: len(whole) // 2], "start": whole[:100], "empty": b"", "text": b"not weights\n" * 20}
    cases |= {f"old{n}": old.read_bytes()[:n] for n in (50, 700, 3000, 100_000)}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AdvvidError, match=name) as caught:
            load_local_weights(net, tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(AdvvidError, match="does not exist"):
        load_local_weights(net, tmp_path / "absent.pth")
    with pytest.raises(AdvvidError, match="is a folder"):
        load_local_weights(net, tmp_path)
    for content in ([1, 2], {"epoch": 3}, torch.zeros(3)):
        torch.save(content, tmp_path / "odd.pth")
        with pytest.raises(AdvvidError, match=r"holds (a list|no weights|a Tensor)"):
            load_local_weights(net, tmp_path / "odd.pth")
