"""Writes tables to files, and gathers those that are published: ``papers.json``, and ``studies.json`` for our own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from advvid.core.files import write_bytes, write_text
from advvid.core.plain import read_json
from advvid.studies.catalogue import all_targets, find_target
from advvid.studies.table import Figure, StudyTable
from advvid.studies.tables import markdown

FILES = {False: "papers.json", True: "studies.json"}


def read_list(path: Path) -> list[StudyTable]:
    """Return the tables of a file such as ``papers.json``; none where there is no file."""
    return [StudyTable.from_json(node, path) for node in read_json(path)] if path.is_file() else []


def kept(folder: Path) -> dict[str, StudyTable]:
    """Return the tables made so far that lie in a folder, by name."""
    return {path.stem: StudyTable.from_json(read_json(path), path) for path in sorted(folder.glob("*.json"))}


def write(table: StudyTable, folder: Path) -> list[Path]:
    """Write a table's JSON and Markdown and return the files."""
    files = [folder / f"{table.id}.json", folder / f"{table.id}.md"]
    write_text(files[0], json.dumps(table.to_json(), indent=1) + "\n")
    write_text(files[1], markdown(table, folder))
    return files


def publish(table: StudyTable, target: Path) -> Path:
    """Put a table, in place of the one of the same name and scale, into the file of its kind, and its pictures beside that.

    A table of our own also goes into the Markdown of its study, which the documentation shows.
    """
    study, _ = find_target(table.id)
    path, drawn = target / FILES[study.own], Path("figures") / f"{table.id}-{table.scale}"
    others = [other for other in read_list(path) if (other.id, other.scale) != (table.id, table.scale)]
    shutil.rmtree(target / drawn, ignore_errors=True)
    figures = []
    for figure in table.figures:
        write_bytes(target / drawn / figure.name, figure.path.read_bytes())
        figures.append(Figure(drawn / figure.name, figure.alt, figure.name))
    tables = _in_order([*others, replace(table, figures=tuple(figures))])
    write_text(path, json.dumps([other.to_json() for other in tables], indent=1) + "\n")
    if study.own:
        shown = [markdown(other) for other in tables if other.id in study.targets]
        write_text(target / f"{study.name}.md", "\n".join(shown))
    return path


def _in_order(tables: Iterable[StudyTable]) -> list[StudyTable]:
    """Sort tables as the studies list them."""
    order = {name: place for place, name in enumerate(all_targets())}
    return sorted(tables, key=lambda table: (order.get(table.id, len(order)), table.scale))
