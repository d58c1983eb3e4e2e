"""The documents say what is there: pages, links, options, commands, Python names."""

import re
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml
from pages import DOCS, PAGES, TOP, blocks, commands

import advvid
from advvid.config.catalogue import groups
from advvid.config.command_line import as_typed, several_trackers
from advvid.config.composed import composed
from advvid.core.errors import AdvvidError
from advvid.evaluation.check_rules import RULES

sys.path.insert(0, str(TOP / "scripts"))
import docs_pages

NAMES = [page.relative_to(TOP).as_posix() for page in PAGES]
MADE = {**docs_pages.option_pages(), **docs_pages.result_pages()}
every_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def overrides(words):
    """What a command tells a run; None for commands that make none, or whose options are a user's own."""
    place = next((i for i, word in enumerate(words) if word in ("advvid.train", "advvid")), None)
    if words[0] not in ("python", "torchrun", "advvid") or place is None or "--config-dir" in words:
        return None
    given = words[place + 1 :]
    if words[place] == "advvid":
        if not given or given[0] not in ("train", "eval", "attack"):
            return None
        given = given[1:]
    sweep = bool({"-m", "--multirun"} & set(given))
    given = [word for word in given if not word.startswith(("-", "hydra")) and "=" in word]
    return [word if not sweep or "[" in word else word.split(",")[0] for word in given]


@cache
def compose_once(*given):
    composed(several_trackers(as_typed(given)))


def test_the_navigation_names_every_page_once():
    def leaves(entry):
        if isinstance(entry, str):
            return [entry]
        return [leaf for inner in (entry.values() if isinstance(entry, dict) else entry) for leaf in leaves(inner)]

    nav = leaves(docs_pages.whole_nav(yaml.safe_load((TOP / "mkdocs.yml").read_text())["nav"]))
    written = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    assert sorted(nav) == sorted([*written, *MADE])


@every_page
def test_every_relative_link_leads_somewhere(page):
    known = {(DOCS / name).resolve() for name in MADE}
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", link) or link.startswith("#"):
            continue
        place = (page.parent / link.split("#")[0]).resolve()
        results = DOCS / "results"
        if not place.exists() and place.is_relative_to(results):  # shown by the site from where it was published
            published = docs_pages.PUBLISHED / place.relative_to(results)
            place = published if published.suffix != ".md" else place
        assert place.exists() or place in known, f"{page.name} links to {link}"


@every_page
def test_every_option_that_it_chooses_exists(page):
    known = groups()
    chosen = re.findall(rf"(?<![\w.@])({'|'.join(known)})=(\w+)", page.read_text())
    own = {"attack=brightness", "defense=noisy", "model=frame_mean", "dataset=stripes", "model=my_net"}  # of examples
    odd = {f"{group}={option}" for group, option in chosen if option not in known[group] and option != "null"}
    assert odd <= own


@every_page
def test_every_run_that_it_shows_can_be_composed(page):
    for words in commands(page.read_text()):
        given = overrides(words)
        if given is not None and not any("brightness" in word for word in given):
            compose_once(*given)


@every_page
def test_every_other_command_that_it_shows_exists(page):
    makefile = (TOP / "Makefile").read_text()
    targets = re.findall(r"^([a-z][\w%-]*(?: [a-z][\w%-]*)*):", makefile, re.MULTILINE)
    known = [re.escape(name).replace("%", r"[\w-]+") for line in targets for name in line.split()]
    for words in commands(page.read_text()):
        if words[0] == "make" and len(words) > 1:
            assert re.fullmatch("|".join(known), words[1]), words
        for word in words:
            if word.startswith("scripts/"):
                assert (TOP / word).is_file(), word
    assert all((TOP / script).is_file() for script in re.findall(r"python (scripts/\w+\.py)", page.read_text()))


@every_page
def test_its_python_is_python_and_names_what_advvid_has(page):
    for block in blocks(page.read_text(), "python"):
        compile(block, str(page), "exec")
        for name in re.findall(r"(?<![\w.])advvid\.(\w+)\(", block):
            assert hasattr(advvid, name), name


def test_the_readme_is_short():
    assert len((TOP / "README.md").read_text().splitlines()) <= 150


def test_every_defense_of_the_overview_exists():
    table = (DOCS / "reference" / "defenses.md").read_text().split("| | `defense=` |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) <= set(groups()["defense"])


def test_a_made_page_has_every_option_and_check():
    for group, options in groups().items():
        page = MADE[f"reference/options/{group}.md"]
        assert all(f"## {option} {{" in page for option in options)
    assert "| `attack.eps` | `8/255` |" in MADE["reference/options/attack.md"]
    assert "| `schedule.optimizer.lr` |" in MADE["reference/options/schedule.md"]
    assert "| `evaluation.codec` | `libx264` | postprocess=codec" in MADE["reference/options/index.md"]
    table = docs_pages.checks().splitlines()
    assert [line.split("`")[1] for line in table[2:]] == list(RULES)
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 5 for line in table)


def test_every_published_table_has_a_page():
    published = {f"results/{path.name}" for path in docs_pages.PUBLISHED.glob("*.md")} - {"results/report.md"}
    written = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert published <= written | set(MADE)
    for name in published & written:  # a page of our own shows the table that it is named after
        assert f"<!-- published: {Path(name).stem} -->" in (DOCS / name).read_text()


@pytest.mark.parametrize("mark", ["published: nothing_such", "made: nothing_such"])
def test_a_mark_that_names_nothing_is_refused(mark):
    with pytest.raises(AdvvidError, match="nothing_such"):
        docs_pages.filled(f"text\n\n<!-- {mark} -->\n")


def test_text_of_options_is_shown_as_it_is():
    assert docs_pages._prose("a_b [c] <d> `e_f`") == r"a\_b \[c\] &lt;d> `e_f`"
