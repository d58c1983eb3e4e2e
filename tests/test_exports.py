"""Each package names its public classes, so that ``from advvid.attacks import PGD`` works and a file may move."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from advvid.config.instantiate import find_target
from advvid.core.paths import conf_dir

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


def test_packages_are_there_after_import_advvid_alone():
    code = "import advvid; advvid.attacks.PGD; advvid.data.ClassFolders"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_new_file_needs_no_line_in_the_list(tmp_path, monkeypatch):
    package = tmp_path / "growing"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from advvid.core.exports import attach\n__getattr__, __dir__, __all__ = attach(__name__, __file__)\n"
    )
    (package / "__init__.pyi").write_text("from .old import Old as Old\n")
    (package / "old.py").write_text("class Old:\n    pass\n")
    (package / "new.py").write_text("class New:\n    pass\n\n\nclass Newer(New):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    growing = importlib.import_module("growing")
    assert growing.__all__ == ["Old"]
    assert (growing.Old.__name__, growing.Newer.__module__) == ("Old", "growing.new")
    for name in ("Ne", "Absent", "absent"):
        with pytest.raises(AttributeError, match=name):
            getattr(growing, name)
