"""A stranger's exported folder, claim or run folder: verify, leaderboard and export end in a result or in one sentence, and soon.

Nothing of it is executed, and nothing is written but where the command was told to write.
"""

import json
import os
import random
import shutil
import time
from contextlib import suppress
from html.parser import HTMLParser

import pytest
from tests.odd_values import changed, damaged
from tests.sharing import small_export

from advvid.core.errors import AdvvidError
from advvid.report.leaderboard import leaderboard
from advvid.sharing.export import export
from advvid.sharing.verify import verify

SECONDS = 5.0
QUICK, MANY = 40, 400
FILES = (
    "README.md",
    "SHA256SUMS",
    "claim.json",
    "config.json",
    "model.safetensors",
    "robustness.json",
    "samples.jsonl",
)
PLAIN = ("claim.json", "config.json", "robustness.json")
ACTING = {"script", "img", "iframe", "object", "embed", "form", "svg", "base"}


def everything(folder):
    """Return what lies below a folder: each path with its target, or its size and time of change."""
    found = {}
    for place, inside, names in os.walk(folder):
        for name in (*inside, *names):
            path = os.path.join(place, name)
            told = os.lstat(path)
            found[path] = os.readlink(path) if os.path.islink(path) else (told.st_mode, told.st_size, told.st_mtime_ns)
    return found


def acting(html):
    """Return the tags of a page that could act, and whatever would be done at an event."""
    seen = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attributes):
            seen.extend([tag] if tag in ACTING else [])
            seen.extend(name for name, _ in attributes if name.startswith("on"))
            links = [value or "" for name, value in attributes if name in ("href", "src", "action")]
            seen.extend(value for value in links if not (value == "data:," or value.startswith(("#", "data:image/"))))

    Parser().feed(html)
    return seen


def soon(command, seconds=SECONDS):
    """Carry out a command; return the sentence that it ends with, None where it gives a result."""
    began, said = time.process_time(), None
    try:
        command()
    except AdvvidError as error:
        said = str(error)
    assert time.process_time() - began < seconds
    assert said is None or (said and len(said) < 3000 and "Traceback" not in said)
    return said


def met(folder, out):
    """Let verify and the leaderboard meet a folder; return what each said, None where it gave a result."""
    pages = []
    before = everything(folder)
    said = [
        soon(lambda: verify(folder, out / "verified", attack=False)),
        soon(lambda: pages.append(leaderboard([folder], "all")[0])),
    ]
    assert not any(map(acting, pages))
    assert everything(folder) == before
    assert {path.name for path in out.iterdir()} <= {"verified"}
    return said


def with_odd_file(shared, place, seed):
    """Make a copy of a folder in which one file was changed, or damaged, or both with sums that fit."""
    draw = random.Random(seed)
    shutil.rmtree(place, ignore_errors=True)
    folder = shutil.copytree(shared, place / "stranger")
    (place / "out").mkdir()
    name = draw.choice(FILES)
    path = folder / name
    if name in PLAIN and draw.random() < 0.7:
        path.write_text(json.dumps(changed(json.loads(path.read_text()), seed)))
    elif name == "samples.jsonl" and draw.random() < 0.7:
        lines = changed([json.loads(line) for line in path.read_text().splitlines()], seed)
        path.write_text("\n".join(map(json.dumps, lines)))
    else:
        path.write_bytes(damaged(path.read_bytes(), seed))
    if draw.random() < 0.3:
        with suppress(AdvvidError, KeyError, ValueError, OSError):
            small_export.settle(folder)
    return folder, place / "out"


@pytest.mark.parametrize("count", [QUICK, pytest.param(MANY, marks=pytest.mark.slow)])
def test_whatever_stands_in_a_folder_it_is_a_result_or_a_sentence(shared, tmp_path, count):
    for seed in range(count):
        met(*with_odd_file(shared, tmp_path / "fuzz", seed))


@pytest.mark.parametrize("count", [QUICK, pytest.param(MANY, marks=pytest.mark.slow)])
def test_whatever_stands_in_a_run_its_export_is_a_folder_or_a_sentence(run, tmp_path, count, monkeypatch):
    monkeypatch.chdir(tmp_path)

    for seed in range(count):
        place = tmp_path / "fuzz"
        shutil.rmtree(place, ignore_errors=True)
        folder = shutil.copytree(run, place / "stranger", ignore=shutil.ignore_patterns("cells"))
        path = folder / ("robustness.json" if seed % 3 else "samples.jsonl")
        if seed % 3 == 1:
            path.write_text(json.dumps(changed(json.loads(path.read_text()), seed)))
        else:
            path.write_bytes(damaged(path.read_bytes(), seed))
        before = everything(folder)
        said = soon(lambda folder=folder, place=place: export(folder, place / "to"))
        assert said is None or not (place / "to").exists()
        assert everything(folder) == before
        assert {entry.name for entry in place.iterdir()} <= {"stranger", "to"}


@pytest.mark.slow
def test_a_configuration_of_any_kind_that_fits_its_sums_runs_nothing(shared, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    for seed in range(60):
        place = tmp_path / "fuzz"
        shutil.rmtree(place, ignore_errors=True)
        folder = shutil.copytree(shared, place / "stranger")
        odd = changed(json.loads((folder / "config.json").read_text())["config"], seed)
        for name in ("config.json", "robustness.json"):
            small_export.edit(folder / name, "config", value=odd)
        small_export.settle(folder)
        before = everything(folder)
        soon(lambda f=folder, p=place: verify(f, p / "out", [f"dataset.root={data}", "runtime=cpu"]), 60)
        assert everything(folder) == before
        assert {entry.name for entry in tmp_path.iterdir()} <= {"fuzz", "outputs"}


def swapped(name, make):
    """Return a change that puts something else in a file's place."""

    def change(folder):
        (folder / name).unlink()
        make(folder / name)

    return change


def nested(name, *place):
    """Return a change that puts a list 2,000 deep at a place of a JSON file."""

    def change(folder):
        text = json.dumps(json.loads((folder / name).read_text()) | {place[0]: "here"})
        (folder / name).write_text(text.replace('"here"', "[" * 2000 + "]" * 2000))

    return change


def holes(path):
    """Write a file of 2 GB that takes no room."""
    with path.open("wb") as file:
        file.truncate(2 * 10**9)


CHANGES = {
    "a link out of the folder": swapped("claim.json", lambda path: path.symlink_to("/etc/passwd")),
    "a link to itself": swapped("claim.json", lambda path: path.symlink_to(path.name)),
    "a pipe": swapped("samples.jsonl", os.mkfifo),
    "a folder in place of a file": swapped("README.md", lambda path: path.mkdir()),
    "a file that never ends": swapped("robustness.json", lambda path: path.symlink_to("/dev/zero")),
    "2 GB of claim": swapped("claim.json", holes),
    "2 GB of table": swapped("robustness.json", holes),
    "2 GB of sums": swapped("SHA256SUMS", holes),
    "2 GB of card": swapped("README.md", holes),
    "deep nesting in the claim": nested("claim.json", "unions"),
    "deep nesting in the table": nested("robustness.json", "config"),
    "a path among the sums": lambda f: (f / "SHA256SUMS").write_text(f"{'0' * 64}  ../../claim.json\n"),
    "a path among the claim's files": lambda f: small_export.edit(f / "claim.json", "files", "../../x", value="0" * 64),
    "no number for an accuracy": lambda f: small_export.edit(f / "claim.json", "table", "clean", "acc", value=float("nan")),
    "an endless accuracy": lambda f: small_export.edit(f / "claim.json", "unions", "all threats", "acc", value=float("inf")),
    "an endless distance": lambda f: small_export.edit(
        f / "robustness.json", "attacks", "pgd", "max_distance", value=float("-inf")
    ),
    "a number of clips of 5,000 digits": lambda f: (f / "claim.json").write_text(
        (f / "claim.json").read_text().replace('"n": 6', f'"n": {"9" * 5000}')
    ),
    "HTML for a name": lambda f: small_export.edit(
        f / "claim.json", "name", value="<script>alert(1)</script><img src=x onerror=alert(1)>"
    ),
    "HTML for a data set": lambda f: small_export.edit(
        f / "claim.json", "parts", value={"dataset": "</td><a href='javascript:alert(1)'>x</a>"}
    ),
    "HTML for a threat": lambda f: small_export.edit(
        f / "claim.json", "unions", "</style><svg onload=alert(1)>", value={"acc": 0.5, "ci95": [0, 1]}
    ),
    "a command that acts": lambda f: small_export.edit(f / "claim.json", "command", value="$(touch canary); `touch canary`"),
    "a terminal's own codes": lambda f: small_export.edit(f / "claim.json", "name", value="\x1b[2J\u202e"),
    "a list for the claim": lambda f: (f / "claim.json").write_text("[]"),
    "no text": lambda f: (f / "claim.json").write_bytes(b"\xff\xfe{}"),
    "folders without end": lambda f: (f / "loop").symlink_to(f),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_hostile_folder_is_met(copy, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    CHANGES[name](copy)
    said = met(copy, out)
    assert not (tmp_path / "canary").exists()
    for text in said:
        assert text is None or "\x1b" not in text
    # What differs is told by verify in one of its two ways, except where only what is not claimed was added.
    if name != "folders without end" and said[0] is None:
        told = json.loads((out / "verified" / "verification.json").read_text())
        assert not told["same"]
