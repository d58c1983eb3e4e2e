"""The site is built strictly, loads nothing from elsewhere, and shows no fault in a browser where there is one."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "scripts"))
import check_site  # noqa: E402

BROWSER = next(filter(None, map(shutil.which, check_site.BROWSERS)), None)


@pytest.mark.slow
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("material", reason="needs pip install -e '.[docs]'")
    pytest.importorskip("mkdocstrings", reason="needs pip install -e '.[docs]'")
    words = ["-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run([sys.executable, *words], cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    pages = [path for path in tmp_path.rglob("*.html") if path.name != "report.html"]
    assert len(pages) > 40
    loaded = r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?(?:https?:)?//|<link\b[^>]*\bhref=\"?(?:https?:)?//"
    assert not [path for path in pages if re.search(loaded, path.read_text())]
    assert not list(check_site.broken(tmp_path))
    assert BROWSER is None or not check_site.seen(tmp_path, BROWSER)


def planted(folder):
    """Write a site of one page with a fault of every kind."""
    faults = (
        '<p style="color:#bbb">weak</p><div style="width:900px">wide</div><img src="none.png"><a href="#none">x</a>'
    )
    (folder / "index.html").write_text(f'<!doctype html><body><a href="gone.html">y</a>{faults}')
    return folder


def test_links_that_lead_nowhere_and_pictures_without_words_are_found(tmp_path):
    found = list(check_site.broken(planted(tmp_path)))
    assert found == [
        "index.html: a picture without words, none.png",
        "index.html: gone.html leads nowhere",
        "index.html: none.png leads nowhere",
        "index.html: #none names no place of that page",
    ]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine: apt-get install chromium")
def test_a_browser_sees_overflow_weak_contrast_and_lost_pictures(tmp_path):
    found = check_site.seen(planted(tmp_path), BROWSER)
    for said in ("at 400: it is 9", "at 400: it is cut off", "a picture does not load", "at 1200: contrast of"):
        assert any(said in fault for fault in found), said
