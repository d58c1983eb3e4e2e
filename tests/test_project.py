"""The project's documents and commands are what they say."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import advvid

ROOT = Path(__file__).resolve().parent.parent


def test_make_lists_every_target_with_a_sentence():
    said = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = set(re.findall(r"^  make ([a-z-]+) +[A-Z]\w+ \S+", said, re.MULTILINE))
    targets = set(re.search(r"\.PHONY: (.*)", (ROOT / "Makefile").read_text())[1].split())
    assert listed == targets


def test_versions_and_licence_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == advvid.__version__
    assert citation["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")


@pytest.mark.parametrize("module", ["advvid.runs.gather", "advvid.cli.listing"])
def test_commands_start(module):
    arguments = ["--help"] if module == "advvid.runs.gather" else ["tracker"]
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 2


def test_only_the_agreed_things_lie_at_the_top():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode != 0:
        pytest.skip("no git checkout")
    top = {Path(name).parts[0] for name in tracked.stdout.splitlines() if not name.startswith(".")}
    assert top <= {
        "conf",
        "src",
        "scripts",
        "tests",
        "examples",
        "outputs",
        "docs",
        "mkdocs.yml",
        "pyproject.toml",
        "Makefile",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "CITATION.cff",
        "Containerfile",
    }


def test_the_public_ci_does_what_ours_does_on_every_python_that_is_supported():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())["jobs"]["tests"]
    assert {"run": ".ci/run"} in jobs["steps"]
    lowest, below = re.search(
        r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (ROOT / "pyproject.toml").read_text()
    ).groups()
    assert jobs["strategy"]["matrix"]["python"] == [f"3.{minor}" for minor in range(int(lowest), int(below))]


def test_no_entry_of_the_changelog_stands_twice():
    entries = re.split(r"\n(?=- |#)", (ROOT / "CHANGELOG.md").read_text())
    beginnings = [entry[:60] for entry in entries if entry.startswith("- ")]
    assert len(beginnings) > 50
    assert sorted(beginnings) == sorted(set(beginnings))


def test_what_the_container_copies_is_there_and_is_all_that_a_wheel_needs():
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Containerfile").read_text(), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert all((ROOT / name).exists() for name in names)
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = build["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = [
        *wheel["packages"],
        *wheel["force-include"],
        *build["project"]["license-files"],
        build["project"]["readme"],
    ]
    assert {Path(place).parts[0] for place in needed} <= names
    ignored = (ROOT / ".containerignore").read_text().splitlines()
    assert not names & set(ignored)
    assert 'ENTRYPOINT ["advvid"]' in (ROOT / "Containerfile").read_text()
    assert "advvid" in build["project"]["scripts"]
