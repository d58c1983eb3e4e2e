"""Statements of the papers have one judge: no two published files say different things of one, and none but its files judge."""

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from advvid.studies.claims import FAILS, HOLDS, NOT, OPEN, claims

TOP = Path(__file__).resolve().parents[2]
PUBLISHED = TOP / "outputs" / "published"
JUDGED = json.loads((PUBLISHED / "claims.json").read_text())
ID = re.compile(r"\b(?:kinfu|lo|jia|deepsava|aart)_c\d+\w*")
SAID = re.compile(r"\b(holds|does[ _]not[ _]hold|undecided|not[ _]testable)\b")
# What python -m advvid.papers writes, and the report that it hands its tables to.
JUDGES = {"claims.json", "claims.md", "papers.json", "report.html", "report.md"}


def in_json(node, name=None):
    """Yield (statement, verdict) of everything that has a verdict; None for what names no statement."""
    if isinstance(node, dict):
        own = node.get("id", node.get("claim", name))
        if "verdict" in node:
            yield (own if isinstance(own, str) and ID.fullmatch(own) else None), node["verdict"]
        for key, inner in node.items():
            yield from in_json(inner, key)
    elif isinstance(node, list):
        for inner in node:
            yield from in_json(inner)


def in_text(text):
    """Yield (statement, verdict) of each line or table row that names a statement and says one of the three."""
    text = re.sub(r"<wbr>|data:[^\"]*", "", text)
    for row in re.split(r"</tr>|\n(?!\s*<t[dh])", text):
        names = ID.findall(row)
        # The verdict stands in a cell of its own, behind the words of the statement.
        cells = [
            SAID.match(cell.strip().lstrip("*"))
            for cell in re.split(r"\||<t[dh][^>]*>|:", re.sub(r"</?(?!t[dh])[a-z][^>]*>", "", row))
        ]
        found = [cell[1].replace(" ", "_") for cell in cells if cell]
        if names and found:
            yield names[0], found[-1]


def verdicts(path):
    """Return every (statement, verdict) of a published file, and whether it has any verdict at all."""
    text = path.read_text()
    return list(in_json(json.loads(text)) if path.suffix == ".json" else in_text(text))


FILES = [*sorted(p for p in PUBLISHED.iterdir() if p.suffix in (".json", ".md", ".html")), TOP / "README.md"]


def test_no_two_files_say_different_things_of_a_statement():
    said = defaultdict(dict)
    for path in FILES:
        for name, verdict in verdicts(path):
            if name is not None:
                said[name].setdefault(verdict, []).append(path.name)
    assert {name: found for name, found in said.items() if len(found) > 1} == {}
    assert set(said) <= set(claims())
    assert {name: found["verdict"] for name, found in JUDGED.items()} == {
        name: next(iter(found)) for name, found in said.items()
    }


@pytest.mark.parametrize("path", [p for p in FILES if p.name not in JUDGES], ids=lambda p: p.name)
def test_nobody_else_judges(path):
    found = verdicts(path)
    assert [pair for pair in found if pair[0] is not None] == []
    assert {verdict for _, verdict in found} & {HOLDS, FAILS, NOT, OPEN} == set()


@pytest.mark.parametrize("name", ["claims.json", "claims.md", "papers.json", "report.html", "report.md"])
def test_the_files_of_the_judge_are_read_here(name):
    """So that the test above cannot pass by reading nothing."""
    shown = set(JUDGED) if name.startswith("claims") else {statement for statement, v in JUDGED.items() if v["tables"]}
    assert dict(verdicts(PUBLISHED / name)).keys() >= shown


def test_the_counts_agree():
    def counted(judged):
        return {word: sum(found["verdict"] == word for found in judged) for word in (HOLDS, FAILS, OPEN, NOT)}

    shown = counted([found for found in JUDGED.values() if found["tables"]])  # others stand at no table of the report
    report = (
        f"Claims at demo scale: holds {shown[HOLDS]}, does not hold {shown[FAILS]}, undecided {shown[OPEN]}, "
        f"not testable {shown[NOT]}."
    )
    assert report in (PUBLISHED / "report.md").read_text()
    assert report in (PUBLISHED / "report.html").read_text()
    counts = counted(JUDGED.values())
    head = f"{counts[HOLDS]} hold, {counts[FAILS]} do not hold, {counts[OPEN]} are undecided. {counts[NOT]} are not testable"
    assert head in (PUBLISHED / "claims.md").read_text()


def test_scripts_judge_no_statement():
    scripts = list((TOP / "scripts").rglob("*.py"))
    assert scripts
    for path in scripts:
        assert not ID.search(path.read_text()), path
