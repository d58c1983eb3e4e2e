"""The studies: those of the papers (``targets/<paper>.yaml``), our own (``own/<study>.yaml``), and the user's.

A study is a file with ``runs`` (trainings), ``scores`` (evaluations of them) and ``targets`` (tables and figures). Tables of one
study share trainings and evaluations by name. A training may have ``seeds``: its cells are then means over them, and what it
starts from or names is the training of the same seed. ``more_seeds`` adds such at one scale: the training itself keeps its
name and seed, and stands where only one is used. ``for`` makes one training or evaluation of each entry, whose name
stands for ``{each}``, or is the name where that has no ``{each}``; an entry is a list of overrides, or such by scale. Rows and
columns are those of the published table of the target's name, or those that it lists. ``scales`` names those at which the
tables are made, where it is not both.

Example::

    scales: [demo]
    runs:
      none: {seeds: [0, 1, 2], demo: [dataset=motion, defense=none]}
      at: {seeds: [0, 1, 2], demo: [dataset=motion, defense=at], start: none}
    scores:
      quick: {overrides: [suite=quick]}
    targets:
      mine-table:
        title: "AT beside no defense"
        cell: {score: quick}
        rows: {no defense: none, AT: at}
        columns: [clean, pgd_8]
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from advvid.config.folders import folders
from advvid.core.errors import AdvvidError
from advvid.studies.plan import FULL, SCALES, TRAIN, CellPlan, Study, Target, Work, same_seed, seeded
from advvid.studies.published import published_tables, read_yaml

HERE = Path(__file__).resolve().parent
PAPERS, OWN = HERE / "targets", HERE / "own"
Members = dict[str, dict[str, list[str]]]  # trainings that differ by seed alone, by their common name and scale


@cache
def studies() -> Mapping[str, Study]:
    """Return every study: the papers', advvid's own, and ``study/*.yaml`` of the user's folders of options.

    Raises:
        AdvvidError: if a cell names a training or an evaluation that does not exist, or a study or table has the name of another.
    """
    places = [PAPERS, OWN, *(folder / "study" for folder in folders()[1:])]
    found: dict[str, Study] = {}
    for path in (path for place in places for path in sorted(place.glob("*.yaml"))):
        study = read(path)
        named = {name for other in found.values() for name in other.targets}
        taken = {path.stem} & found.keys() or named & study.targets.keys()
        if taken:
            raise AdvvidError(f"{path}: there is a study or table {min(taken)} already: choose another name")
        found[path.stem] = study
    return found


def papers(names: Collection[str] = ()) -> dict[str, Study]:
    """Return the studies of some papers; without names those of all."""
    return {name: study for name, study in studies().items() if not study.own and (not names or name in names)}


def all_targets(own: bool = True) -> dict[str, Target]:
    """Return every target by its id, or those of the papers alone."""
    return {
        name: target for study in studies().values() if own or not study.own for name, target in study.targets.items()
    }


def find_targets(name: str) -> list[tuple[Study, Target]]:
    """Return a target with its study; those of a whole study, or with ``all`` those of all papers.

    Raises:
        AdvvidError: if there is none of this name.
    """
    if name == "all":
        return [(study, target) for study in papers().values() for target in study.targets.values()]
    if name in studies():
        return [(studies()[name], target) for target in studies()[name].targets.values()]
    found = [(study, study.targets[name]) for study in studies().values() if name in study.targets]
    if not found:
        raise AdvvidError(f"there is no study, table or figure {name!r}: advvid papers list shows all")
    return found


def find_target(name: str) -> tuple[Study, Target]:
    """Return a target with its study.

    Raises:
        AdvvidError: if there is none of this name.
    """
    return find_targets(name)[0]


def read(path: Path) -> Study:
    """Read one study.

    Raises:
        AdvvidError: if it names a training or an evaluation that it has not.
    """
    content = read_yaml(path)
    members: Members = {}
    runs: dict[str, Work] = {}
    for name, node in content["runs"].items():
        for family, work, scales in _works(name, node or {}):
            for scale in scales:
                members.setdefault(family, {scale: [] for scale in SCALES})[scale].append(work.name)
            runs[work.name] = work
    runs = {name: _of_seed(work, runs) for name, work in runs.items()}
    scores = {work.name: work for name, node in content["scores"].items() for _, work, _ in _works(name, node or {})}
    common = _by_scale(content.get("note", {}))
    targets = {name: _target(name, path.stem, node, common, members) for name, node in content["targets"].items()}
    study = Study(
        name=path.stem,
        runs=runs,
        scores=scores,
        targets=targets,
        fill=_texts(content.get("fill", {})),
        own=path.parent != PAPERS,
        scales=tuple(content.get("scales", SCALES)),
        pretrained=_texts(content.get("pretrained", {})),
    )
    for work in (*runs.values(), *scores.values()):
        there = runs.keys() | (members.keys() if work.name in scores else ())
        lacking = [name for scale in SCALES for name in work.needs(scale) if name not in there]
        if lacking:
            raise AdvvidError(f"{path.name}: {work.name} names the training {lacking[0]}, which is not there")
    for target in targets.values():
        for scale in SCALES:
            for run, score in target.wanted(scale):
                if run not in runs or score not in scores:
                    raise AdvvidError(f"{path.name}: {target.id} wants {score} of {run}, and one of them is not there")
    return study


def _works(name: str, node: Mapping[str, Any]) -> Iterator[tuple[str, Work, tuple[str, ...]]]:
    """Yield a training or an evaluation, or one for each entry of ``for`` and each seed: its name without seed, itself, its scales."""
    entries, more = node.get("for", {"": []}), node.get("more_seeds", {})
    seeds = {seed: SCALES for seed in node.get("seeds", [None])}
    seeds |= {seed: tuple(s for s in SCALES if seed in more.get(s, ())) for every in more.values() for seed in every}
    for each, own in (entries if isinstance(entries, Mapping) else dict.fromkeys(entries, ())).items():
        family = name if "for" not in node else name.format(each=each) if "{each}" in name else str(each)
        added = own if isinstance(own, Mapping) else {"overrides": own}
        told = {**node, **{key: [*node.get(key, []), *given] for key, given in added.items()}}
        for seed, scales in seeds.items():
            yield family, _work(family, told, str(each), seed), scales


def _work(name: str, node: Mapping[str, Any], each: str, seed: int | None) -> Work:
    first = [f"experiment={node['experiment']}"] if "experiment" in node else []
    last = [] if seed is None else [f"seed={seed}"]
    start = {scale: run.replace("{each}", each) for scale, run in _by_scale(node.get("start", {})).items()}
    overrides = {}
    for scale in SCALES:
        begun = [f"model.checkpoint={{run:{start[scale]}}}/checkpoints/last.pt"] if scale in start else []
        told = (*first, *_flat(node.get("overrides", [])), *_flat(node.get(scale, [])), *last, *begun)
        overrides[scale] = tuple(text.replace("{each}", each).replace("{seed}", str(seed)) for text in told)
    data, fill, program = tuple(_flat(node.get("data", []))), _texts(node.get("fill", {})), node.get("program", TRAIN)
    return Work(seeded(name, seed), overrides, data, start, fill, seed, program)


def _of_seed(work: Work, runs: Mapping[str, Work]) -> Work:
    """Let a training of a seed begin with, and name, trainings of the same seed."""
    told = {scale: tuple(same_seed(given, work.seed, runs) for given in work.overrides[scale]) for scale in SCALES}
    first = {
        scale: seeded(run, work.seed) if seeded(run, work.seed) in runs else run for scale, run in work.start.items()
    }
    return Work(work.name, told, work.data, first, work.fill, work.seed, work.program)


def _target(name: str, study: str, node: Mapping[str, Any], shared: Mapping[str, str], members: Members) -> Target:
    printed = published_tables().get(node.get("published", name))
    rows, columns = _named(node.get("rows", {})), _named(node.get("columns", {}))
    common, own = {"why": node["why"]} if "why" in node else None, node.get("cells", {})
    # Rows of ours below the paper's; others name rows of the paper, or of another table that shares the list.
    added = [row for row, settings in rows.items() if isinstance(settings, Mapping) and settings.get("added")]
    cells = {
        row: {
            column: _cell(
                row,
                column,
                [node.get("cell"), columns.get(column), rows.get(row), own.get(f"{row}/{column}"), common],
                members,
            )
            for column in (printed.columns if printed else columns)
        }
        for row in ([*printed.rows, *added] if printed else rows)
    }
    figures = tuple((_members(members, str(run))[FULL][0], str(score)) for run, score in node.get("figures", []))
    said = _by_scale(node.get("note", {}))
    notes = {scale: " ".join(n[scale] for n in (shared, said) if scale in n) for scale in {**shared, **said}}
    title = node.get("title") or (printed.title if printed else name)
    return Target(name, study, title, cells, figures, str(node.get("only", "*")), notes)


def _members(members: Members, run: str) -> Mapping[str, Sequence[str]]:
    return members.get(run, {scale: [run] for scale in SCALES})


def _cell(row: str, column: str, settings: Sequence[Any], members: Members) -> CellPlan:
    """Lay a table's settings, then those of column, row and cell over each other; a bare string names the training."""
    merged: dict[str, Any] = {"row": row, "run": row, "column": column}
    for found in settings:
        merged |= {"run": found} if isinstance(found, str) else (found or {})
    names = {key: value for key, value in merged.items() if isinstance(value, str)}
    filled = {key: _filled(value, names) for key, value in merged.items()}
    known = ("row", "run", "score", "column", "show", "measure", "why", "seeds", "added")
    options = {key: value for key, value in filled.items() if key not in known}
    run = str(filled["run"])
    used = {scale: tuple(names[: filled.get("seeds")]) for scale, names in _members(members, run).items()}
    return CellPlan(
        run=used[FULL][0],
        score=str(filled.get("score", "")),
        column=str(filled.get("show", filled["column"])),
        measure=str(filled.get("measure", "acc")),
        options=options,
        why=_by_scale(filled.get("why", {})),
        others={scale: names[1:] for scale, names in used.items()},
    )


def _filled(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return value.format(**names)
    return [_filled(item, names) for item in value] if isinstance(value, list) else value


def _named(node: Any) -> dict[str, Any]:
    """Return rows or columns by name; a list names them alone."""
    return {
        str(name): own for name, own in (node.items() if isinstance(node, Mapping) else dict.fromkeys(node).items())
    }


def _by_scale(value: str | Mapping[str, str]) -> dict[str, str]:
    return dict.fromkeys(SCALES, value) if isinstance(value, str) else _texts(value)


def _texts(node: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in node.items()}


def _flat(value: Any) -> list[str]:
    """Flatten lists of lists, which is what YAML's anchors make of shared overrides."""
    return [given for item in value for given in _flat(item)] if isinstance(value, list) else [str(value)]
