"""Each package names its public classes, so that ``from advvid.attacks import PGD`` works and a file may move."""

import importlib
import re
from pathlib import Path

import pytest

from advvid.instantiate import find_target
from advvid.paths import conf_dir

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(path.parent.name for path in (ROOT / "src" / "advvid").glob("*/__init__.pyi"))
TARGETS = sorted(
    {t for file in conf_dir().rglob("*.yaml") for t in re.findall(r"_target_: (advvid\.\w+[\w.]*)", file.read_text())}
)


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_names_is_there(package):
    found = importlib.import_module(f"advvid.{package}")
    assert found.__all__
    for name in found.__all__:
        assert getattr(found, name).__name__ == name


@pytest.mark.parametrize("target", TARGETS)
def test_every_class_that_a_configuration_names_is_public(target):
    found = find_target(target, "conf")
    package, name = target.split(".")[1], found.__name__
    if package in PACKAGES:
        assert find_target(f"advvid.{package}.{name}", "conf") is found
