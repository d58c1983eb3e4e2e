"""The site is built strictly, and nothing in it is loaded from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]


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
