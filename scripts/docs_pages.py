"""Pages of the documentation that are made of the project itself; a hook of mkdocs, see mkdocs.yml.

Made anew at every build: a page for each group of options from ``conf/``, a page for each published table of
``outputs/published/``, and the table of checks. A new option or table needs nothing here.

In mkdocs.yml ``reference/options/*`` and ``results/*`` stand for all pages of these folders that are named nowhere else.
In a page, ``<!-- made: checks -->``, ``<!-- published: NAME -->`` and ``<!-- study: TABLE -->``, a table of
``papers.json`` with its verdicts, are replaced by what they name.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from advvid.cli.help import Key, defaults, keys
from advvid.config.catalogue import groups, notes, option_files, settings
from advvid.core.errors import AdvvidError
from advvid.core.paths import conf_dir
from advvid.core.plain import read_json
from advvid.evaluation.check_rules import RULES
from advvid.report.paper_grid import WORDS
from advvid.studies.table import StudyTable
from advvid.studies.tables import markdown

sys.path.insert(0, str(Path(__file__).resolve().parent))  # mkdocs loads this file by its path
import docs_fidelity

TOP = Path(__file__).resolve().parent.parent
DOCS = TOP / "docs"
PUBLISHED = TOP / "outputs" / "published"
OPTIONS, RESULTS = "reference/options", "results"
# Too long for a page of the site, which links to its HTML.
REPORT = "report"
# A line of the block of evaluation in train.yaml: key, default and comment.
INNER = re.compile(r"^  (\w+):[ \t]+([^#\s]\S*)(?:[ \t]+#\s*(.*))?$", re.MULTILINE)
MARK = re.compile(r"^<!-- (made|published|study): ([\w-]+) -->$", re.MULTILINE)


@cache
def option_pages() -> dict[str, str]:
    """Return the pages of all groups of options, by their place below ``docs/``.

    Example:
        >>> "## pgd" in option_pages()["reference/options/attack.md"]
        True
    """
    chosen = _chosen()
    pages = {f"{OPTIONS}/index.md": _run_page()}
    for group, options in groups().items():
        files = option_files(group)
        lines = [f"# {group}", "", f"Choose one with `{group}=NAME`. The default is `{chosen.get(group, 'null')}`.", ""]
        lines += ["| option | what it is |", "| --- | --- |"]
        lines += [f"| [`{name}`](#{_anchor(name)}) | {_prose(text)} |" for name, text in options.items()]
        for name, text in options.items():
            lines += ["", f"## {name} {{ #{_anchor(name)} }}", "", f"{_prose(text)}.", ""]
            lines += [f"- {key}: {_prose(note)}" for key, note in notes(files[name]).items()]
            held = settings(files[name])
            lines += [f"- class: `{held['_target_']}`"] if "_target_" in held else []
            lines += _table(group, {**_nested(held), **keys(files[name])})
        pages[f"{OPTIONS}/{group}.md"] = "\n".join(lines) + "\n"
    return pages


@cache
def result_pages() -> dict[str, str]:
    """Return a page for each published table that has none of its own in ``docs/results/``, by its place below ``docs/``."""
    names = [path.stem for path in sorted(PUBLISHED.glob("*.md")) if path.stem != REPORT]
    return {
        f"{RESULTS}/{name}.md": _titled(name, published(name))
        for name in names
        if not (DOCS / RESULTS / f"{name}.md").is_file()
    }


def published(name: str) -> str:
    """Return a published table as Markdown.

    Raises:
        AdvvidError: if it was not published.
    """
    source = PUBLISHED / f"{name}.md"
    if not source.is_file():
        raise AdvvidError(f"a page of docs/ shows the published table {name}, but there is no {source}: publish it")
    return source.read_text(encoding="utf-8")


def checks() -> str:
    """Return the table of all checks: name, when it is raised, what that means, what to do."""
    rows = [f"| `{name}` | " + " | ".join(map(_prose, rule)) + " |" for name, rule in RULES.items()]
    return "\n".join(["| check | raised if | what it means | what to do |", "| --- | --- | --- | --- |", *rows])


def study(name: str) -> str:
    """Return a table of a paper as it was published, with the verdicts on its statements.

    Raises:
        AdvvidError: if ``papers.json`` holds no such table.
    """
    found = [node for node in read_json(PUBLISHED / "papers.json") if node["id"] == name]
    if not found:
        raise AdvvidError(
            f"a page of docs/ shows the table {name}, but outputs/published/papers.json holds none: publish it"
        )
    table = StudyTable.from_json(found[0])
    _, _, text = markdown(table).partition("\n")  # without its heading: the page has its own
    verdicts = [f"- {claim.text}: **{WORDS[claim.verdict][0]}**." for claim in table.claims]
    return "\n".join([text.strip(), *(["", "What the paper states:", "", *verdicts] if verdicts else [])])


MADE = {"checks": checks, "systems": docs_fidelity.systems, "differences": docs_fidelity.differences}


def filled(text: str) -> str:
    """Return a page with its marks replaced.

    Raises:
        AdvvidError: for a mark that names nothing.
    """

    def part(mark: re.Match[str]) -> str:
        if mark[1] == "published":
            return published(mark[2]).strip()
        if mark[1] == "study":
            return study(mark[2])
        if mark[2] not in MADE:
            raise AdvvidError(f"a page of docs/ asks for {mark[2]}, which nothing makes: choose from {', '.join(MADE)}")
        return MADE[mark[2]]()

    return MARK.sub(part, text)


def whole_nav(nav: Any) -> Any:
    """Return the navigation of mkdocs.yml with every ``FOLDER/*`` replaced by the pages that are made for it."""
    if isinstance(nav, dict):
        return {title: whole_nav(entry) for title, entry in nav.items()}
    if not isinstance(nav, list):
        return nav
    found: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and entry.endswith("/*"):
            made = [*option_pages(), *result_pages()]
            found += [page for page in made if page.startswith(entry[:-1]) and not page.endswith("/index.md")]
        else:
            found.append(whole_nav(entry))
    return found


def on_config(config: Any) -> Any:
    """Complete the navigation."""
    config["nav"] = whole_nav(config["nav"])
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the made pages, the pictures and the report."""
    from mkdocs.structure.files import File

    for place, text in {**option_pages(), **result_pages()}.items():
        files.append(File.generated(config, place, content=text))
    for path in [PUBLISHED / f"{REPORT}.html", *sorted((PUBLISHED / "figures").rglob("*.png"))]:
        place = f"{RESULTS}/{path.relative_to(PUBLISHED).as_posix()}"
        files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(text: str, **_: Any) -> str:
    """Replace the marks of a page."""
    return filled(text)


def _run_page() -> str:
    lines = ["# Options of every run", "", "`python -m advvid.train GROUP=OPTION KEY=VALUE ...`", ""]
    lines += ["| group | default | options |", "| --- | --- | ---: |"]
    lines += [
        f"| [`{group}`]({group}.md) | `{_chosen().get(group, 'null')}` | {len(options)} |"
        for group, options in groups().items()
    ]
    lines += ["", "These keys are outside all groups:"]
    main = conf_dir() / "train.yaml"
    said = {match[1]: Key(match[2], match[3] or "") for match in INNER.finditer(main.read_text(encoding="utf-8"))}
    inner = {f"evaluation.{key}": said[key] for key in OmegaConf.load(main).evaluation}
    return "\n".join([*lines, *_table("", {**keys(main), **inner})]) + "\n"


def _chosen() -> dict[str, str]:
    return {group: "null" if option == "None" else option for group, option in defaults(conf_dir()).items()}


def _nested(held: Any, above: str = "") -> dict[str, Key]:
    """Return the plain values of an option by their dotted names; classes are left out."""
    found: dict[str, Key] = {}
    for key, value in OmegaConf.to_container(held).items() if above == "" else held.items():
        if isinstance(value, dict) and value:
            found.update(_nested(value, f"{above}{key}."))
        elif not key.startswith("_"):
            found[f"{above}{key}"] = Key("null" if value is None else str(value), "")
    return found


def _table(group: str, found: dict[str, Key]) -> list[str]:
    if not found:
        return []
    above = f"{group}." if group else ""
    rows = [f"| `{above}{key}` | {_code(value.default)} | {_prose(value.comment)} |" for key, value in found.items()]
    return ["", "| key | default | |", "| --- | --- | --- |", *rows]


def _titled(name: str, text: str) -> str:
    return text if text.startswith("# ") else f"# {name.replace('_', ' ').capitalize()}\n\n{text}"


def _anchor(name: str) -> str:
    return name.replace("/", "-")


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _prose(text: str) -> str:
    """Return a plain text as Markdown that shows it as it is; what stands between backticks is left alone."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([\\*_\[\]|])", r"\\\1", part).replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)
