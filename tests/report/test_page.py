"""The page is whole, says everything, can be reached by keyboard and read aloud, and loads nothing."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image
from report_folders import everything, make_run, paper

from advvid.report.__main__ import main
from advvid.report.embed import figure
from advvid.report.joined import read_tables
from advvid.report.page import build_page

VOID = {"meta", "link", "img", "input", "path", "wbr", "br"}


class Elements(HTMLParser):
    """Every element with its attributes, and whether all are closed in order."""

    def __init__(self, html):
        super().__init__()
        self.found, self.open = [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, *tags):
        return [attributes for tag, attributes in self.found if tag in tags]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return everything(tmp_path_factory.mktemp("report") / "runs")


@pytest.fixture(scope="module")
def page(folder):
    return build_page([folder], read_tables([folder / "tables.json"]), "A <title>")


@pytest.fixture(scope="module")
def html(page):
    return page.html()


@pytest.fixture(scope="module")
def elements(html):
    return Elements(html)


def test_the_page_is_well_formed_and_names_are_escaped(html, elements):
    assert elements.open == []
    assert "<title>A &lt;title&gt;</title>" in html
    assert "cat &lt;b&gt;" in html
    assert not elements.all("b", "script")


def test_the_page_loads_nothing(html, elements):
    places = [a[key] for _, a in elements.found for key in ("src", "href", "srcset", "data", "action") if key in a]
    assert places
    assert all(place.startswith(("#", "data:")) for place in places)
    assert "url(" not in html
    assert "@import" not in html
    (policy,) = (a["content"] for a in elements.all("meta") if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_every_link_leads_somewhere_and_every_anchor_is_there_once(elements):
    anchors = [a["id"] for _, a in elements.found if "id" in a]
    assert len(anchors) == len(set(anchors))
    assert {a["href"][1:] for a in elements.all("a")} <= set(anchors)
    for _, attributes in elements.found:
        assert attributes.get("aria-labelledby", "main") in anchors


def test_pictures_have_words_and_table_headings_a_scope(elements):
    pictures = elements.all("img")
    assert len(pictures) == 1 + 1 + 2  # the paper's figure, the analysis, and a film with its still
    assert all(len(a["alt"]) > 20 for a in pictures)
    assert all(a.get("scope") in ("col", "row", "rowgroup") for a in elements.all("th"))
    assert all(
        a["role"] == "region" and a["tabindex"] == "0" and a["aria-label"]
        for a in elements.all("div")
        if "scroll" in a["class"]
    )
    assert all(a["aria-hidden"] == "true" for a in elements.all("svg"))


def test_headings_descend_one_level_at_a_time(elements):
    levels = [int(tag[1]) for tag, _ in elements.found if re.fullmatch(r"h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))


def test_colours_of_words_stand_out(html):
    """WCAG 2.2 asks for a contrast of 4.5 between text and ground; 7 is its stricter level."""
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6})\b", html))

    def light(colour):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for ground in (colours["paper"], colours["tint"], "#fff3c4"):
        for text in ("ink", "soft", "blue", "good", "bad"):
            assert (light(ground) + 0.05) / (light(colours[text]) + 0.05) > 5.5


def test_everything_of_a_run_is_said(html):
    for text in (
        "python -m advvid.train defense=at",
        "0123abcd",
        "torch 2.6",
        "l-inf 15/255",
        "40.4 to 59.6",
        "2 made, 1 raised",
        "Check raised for motion, r3d_tiny, at, seed 0: doubling the steps",
        "_target_: a.at",
        "No table: no robustness.json; attack.eps=9",
        "make kinfu-table2 SCALE=demo",
        "the budget is not printed",
        "38 s of attacks, 6,000 gradients of a clip",
    ):
        assert text in html


def test_the_same_folders_give_the_same_bytes(folder, html):
    assert build_page([folder], read_tables([folder / "tables.json"]), "A <title>").html() == html


def test_the_command_line_writes_page_and_markdown(folder, tmp_path, capsys):
    assert main([str(folder), "--tables", str(folder / "tables.json"), "--out", str(tmp_path / "new" / "r.html")]) == 0
    assert "3 runs, 1 raised checks" in capsys.readouterr().out
    text = (tmp_path / "new" / "r.md").read_text()
    assert "| pgd_eps8 | 23.3 | [56.5](#run-at-pgd) [46.7 to 65.7]" in text
    assert "cat \\<b>" in text
    anchors = set(re.findall(r'<a id="([^"]+)">', text))
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors
    notes = set(re.findall(r"\[\^(\d+)\]:", text))
    assert notes
    assert set(re.findall(r"\[\^(\d+)\]", text)) == notes
    for place in re.findall(r"!\[[^\]]*\]\(<([^>]+)>\)", text):
        assert (tmp_path / "new" / place).is_file()
    assert "![" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none"], "there is no folder none"),
        ([], "there is no run below no folder"),
        (["x", "--out", "report.pdf"], "let its name end in .html"),
        (["--tables", "none.json"], "--tables none.json cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_runs_behind_tables_are_not_compared_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = make_run(tmp_path / "at")
    table = tmp_path / "tables.json"
    table.write_text(json.dumps([paper(run=run)]))
    alone = build_page([], read_tables([table]))
    assert [len(alone.comparisons), len(alone.parts)] == [0, 1]
    other = make_run(tmp_path / "cat", defense="cat")
    assert len(build_page([run, other], read_tables([table])).comparisons) == 1


def test_a_picture_is_packed_without_loss(tmp_path):
    path = tmp_path / "curve.png"
    pixels = (np.indices((300, 400)).sum(axis=0) % 251).astype(np.uint8)
    Image.fromarray(np.stack([pixels, pixels // 2, pixels], axis=2)).save(path)
    found = figure(path)
    assert len(found.address) * 3 / 4 < path.stat().st_size
    kind, _, content = found.address.partition(";base64,")
    assert kind == "data:image/webp"
    with Image.open(io.BytesIO(base64.b64decode(content))) as image, Image.open(path) as original:
        assert np.array_equal(np.array(image.convert("RGB")), np.array(original))
