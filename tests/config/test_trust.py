"""Code of a user's own is used where the user of this command says so, and never because a run or a file does."""

import sys

import pytest
import torch
from omegaconf import OmegaConf

from advvid.config import trust as trust_module
from advvid.config.instantiate import safe_instantiate
from advvid.config.trust import VARIABLE, plugins, trust, trust_as_typed, trusted
from advvid.core import own_code
from advvid.core.digests import of_module
from advvid.core.errors import AdvvidError
from advvid.core.identity import Identity, of_attack

NETS = """\
import os, subprocess
import torch
from torch.nn import Linear
class MyNet(torch.nn.Module):
    def __init__(self, num_classes: int = 2):
        super().__init__()
        self.fc = Linear(3, num_classes)
def build(num_classes=2):
    open("ran", "w")
"""
ATTACKS = """\
from dataclasses import dataclass
from advvid.attacks.base import Attack
@dataclass(frozen=True, kw_only=True)
class Mine(Attack):
    eps: float = 0.1
    def _search(self, *a): ...
    @property
    def threat(self): ...
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that can be imported, under a name of its own for each test; nothing of it is trusted."""
    name = f"lab_{tmp_path.name.replace('-', '_')}"
    for inner in (name, f"{name}_evil"):
        (tmp_path / inner).mkdir()
        (tmp_path / inner / "nets.py").write_text(NETS)
    (tmp_path / name / "attacks.py").write_text(ATTACKS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, "")
    own_code.source.cache_clear()
    yield name
    for loaded in [module for module in sys.modules if module.startswith(name)]:
        del sys.modules[loaded]


def test_a_class_is_refused_until_its_package_is_trusted(package, monkeypatch):
    node = {"_target_": f"{package}.nets.MyNet", "num_classes": 3}
    with pytest.raises(AdvvidError, match=rf"refused: .* add trust=\[{package}\] .* or set ADVVID_TRUST={package}"):
        safe_instantiate(node)
    assert f"{package}.nets" not in sys.modules  # it was not even imported
    monkeypatch.setenv(VARIABLE, f"other, {package}")
    assert safe_instantiate(node).fc.out_features == 3
    # A class of a library that it imports is that library's.
    assert isinstance(
        safe_instantiate({"_target_": f"{package}.nets.Linear", "in_features": 1, "out_features": 1}), torch.nn.Linear
    )


@pytest.mark.parametrize(
    "target",
    [
        ".nets.os.system",
        ".nets.subprocess.Popen",
        ".nets.build",
        ".nets",
        ".nets.MyNet.forward.__globals__",
        ".nets.torch.load",
        "_evil.nets.MyNet",
        ".nets.MyNet.forward",
    ],
)
def test_trust_reaches_classes_that_are_defined_in_the_package_and_no_further(package, monkeypatch, target):
    monkeypatch.setenv(VARIABLE, package)
    with pytest.raises(AdvvidError, match="refused"):
        safe_instantiate({"_target_": f"{package}{target}"})


@pytest.mark.parametrize(
    "name", ["os", "builtins", "torch", "torch.hub", "advvid", "hydra.utils", "__main__", "a b", "a/b", "a..b", "numpy"]
)
def test_what_is_no_package_of_the_users_own_is_not_trusted(name, monkeypatch):
    with pytest.raises(AdvvidError, match="no package of your own"):
        trust([name])
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(AdvvidError, match="ADVVID_TRUST names"):
        trusted()


def test_only_the_command_line_and_the_environment_trust(monkeypatch):
    monkeypatch.setenv(VARIABLE, "")
    for value, words in (
        (["evil"], []),
        ("evil", ["seed=1"]),
        (["evil", "mine"], ["trust=[mine]"]),
        ([], ["trust=[mine]"]),
    ):
        with pytest.raises(AdvvidError, match="said on the command line alone"):
            trust_as_typed(OmegaConf.create({"trust": value}).trust, words)
    assert trusted() == ()
    trust_as_typed("mine", ["seed=1", "trust=mine"])
    trust_as_typed(["yours"], ["trust=[yours]"])
    assert trusted() == ("mine", "yours")


def test_an_installed_entry_point_trusts_and_brings_its_options(package, tmp_path, monkeypatch):
    info = tmp_path / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{trust_module.PLUGINS}]\nx = {package}\n")
    (tmp_path / package / "conf" / "model").mkdir(parents=True)
    plugins.cache_clear()
    try:
        assert plugins() == {package: tmp_path / package / "conf"}
        assert safe_instantiate({"_target_": f"{package}.nets.MyNet"}).fc.out_features == 2
    finally:
        plugins.cache_clear()
        monkeypatch.undo()


def digests_of(package, monkeypatch):
    monkeypatch.setenv(VARIABLE, package)
    own_code.source.cache_clear()
    torch.manual_seed(0)
    net, attack = (safe_instantiate({"_target_": f"{package}.{name}"}) for name in ("nets.MyNet", "attacks.Mine"))
    config = Identity.of({"model": {"net": {"_target_": f"{package}.nets.MyNet"}}})
    return of_module(net), of_attack(attack), config.digest("model")


def test_the_code_of_a_package_counts_wherever_its_classes_are_used(package, tmp_path, monkeypatch):
    before = digests_of(package, monkeypatch)
    assert digests_of(package, monkeypatch) == before
    (tmp_path / package / "helper.py").write_text("x = 1\n")  # any class may use any file
    after = digests_of(package, monkeypatch)
    assert all(old != new for old, new in zip(before, after, strict=True))
    changed = Identity.of({"attack": {"_target_": f"{package}.attacks.Mine"}}, read_files=True)
    assert "(source " in changed.parts["attack"]["attack._target_"]
    assert own_code.with_source("torch.nn.Linear") == "torch.nn.Linear"
