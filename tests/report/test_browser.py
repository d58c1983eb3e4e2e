"""The page in a real browser without a screen: narrow and wide, still and moving, on paper."""

import json
import re
import shutil
import subprocess

import pytest
from PIL import Image
from report_folders import everything

from advvid.report.joined import read_tables
from advvid.report.page import build_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine: apt-get install chromium"),
]
# The page itself may run no script, so that what it looks like is asked in a copy without its policy.
ASK = """<script>addEventListener("load", () => {
  const shown = (e) => getComputedStyle(e).display !== "none";
  const all = (q) => [...document.querySelectorAll(q)];
  const past = (e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll");
  const answer = {
    width: innerWidth, page: document.documentElement.scrollWidth,
    past: all("body *").filter(past).map((e) => e.outerHTML.slice(0, 80)),
    moving: all(".films img.moving").filter(shown).length, still: all(".films img.still").filter(shown).length,
    broken: all("img").filter((e) => shown(e) && !(e.complete && e.naturalWidth > 0)).length,
    scrolls: all(".scroll").filter((e) => e.scrollWidth > e.clientWidth).length,
    reached: all("a[href], summary, input, [tabindex]").every((e) => e.tabIndex >= 0),
  };
  const holds = document.getElementById("hold");
  holds.click();
  answer.held = all(".films img.moving").filter(shown).length;
  const out = document.createElement("output");
  out.id = "answer";
  out.textContent = JSON.stringify(answer);
  document.body.append(out);
  parent.postMessage(out.textContent, "*");
});</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = everything(tmp_path_factory.mktemp("browser") / "runs")
    path = folder / "report.html"
    path.write_text(build_page([folder], read_tables([folder / "tables.json"])).html())
    return path


def browse(page, *arguments):
    fixed = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={page.parent}/profile",
    )
    command = [str(BROWSER), *fixed, *arguments, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)


def asked(page):
    """A copy of the page that answers ``ASK`` in itself, and to the page around it."""
    copy = page.with_name("asked.html")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    copy.write_text(text.replace("</body>", ASK + "</body>"))
    return copy


def answer_in(said):
    return json.loads(re.search(r'\{"width".*\}', said).group().replace("&lt;", "<").replace("&gt;", ">"))


def ask(page, *arguments):
    return answer_in(browse(asked(page), "--dump-dom", *arguments).stdout.split('<output id="answer">')[1])


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_never_scrolls_sideways(page, width):
    # Some browsers refuse narrow windows, so that a frame of the width holds the page.
    inside = f'<iframe src="{asked(page).name}" style="border:0;width:{width}px;height:900px"></iframe>'
    heard = '<script>addEventListener("message", (m) => document.body.append(m.data))</script>'
    frame = page.with_name("frame.html")
    frame.write_text(f'<body style="margin:0">{heard}{inside}')
    answer = answer_in(browse(frame, "--dump-dom", "--virtual-time-budget=5000").stdout)
    assert answer["width"] == width
    assert answer["page"] <= width
    assert answer["past"] == []
    assert answer["scrolls"] == 0  # on narrow screens a row is a block
    assert answer["broken"] == 0
    assert answer["reached"]


def test_films_move_unless_somebody_wants_them_still(page):
    free = ask(page)
    assert (free["moving"], free["still"], free["held"]) == (1, 0, 0)
    calm = ask(page, "--force-prefers-reduced-motion")
    assert (calm["moving"], calm["still"]) == (0, 1)


def test_the_page_is_painted(page, tmp_path):
    shot = tmp_path / "shot.png"
    browse(page, f"--screenshot={shot}", "--window-size=800,1200")
    with Image.open(shot) as image:
        assert image.size == (800, 1200)
        grey = image.convert("L").histogram()
    assert sum(grey[:80]) > 2000  # words
    assert sum(grey[250:]) > 0.7 * 800 * 1200  # on white


def test_it_prints_on_a_few_pages(page, tmp_path):
    target = tmp_path / "page.pdf"
    browse(page, f"--print-to-pdf={target}", "--no-pdf-header-footer")
    pages = len(re.findall(rb"/Type\s*/Page\b", target.read_bytes()))
    assert 2 <= pages <= 8
