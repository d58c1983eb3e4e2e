"""Checks the built documentation: links, pictures' words, and in a browser overflow, contrast and the search.

make docs && python scripts/check_site.py site
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
WIDTHS = (400, 1200)
PATIENCE = 600  # seconds for all pages
# Pages that are no page of the site: the report has tests of its own.
APART = ("results/report.html", "404.html")
CHECK = Path(__file__).with_name("check_site.js")


class Page(HTMLParser):
    """The anchors, links and pictures of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.silent: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag says."""
        told = dict(attrs)
        self.anchors |= {value for key in ("id", "name") if (value := told.get(key))}
        self.links += [value for key in ("href", "src") if (value := told.get(key))]
        if tag == "img" and not told.get("alt"):
            self.silent.append(str(told.get("src"))[:80])


def broken(site: Path) -> Iterator[str]:
    """Yield a sentence per link that leads nowhere, and per picture without words."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        name = path.relative_to(site.resolve()).as_posix()
        yield from (f"{name}: a picture without words, {source}" for source in page.silent)
        for link in page.links if name != "404.html" else ():
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                yield f"{name}: {link} leads nowhere"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{name}: {link} names no place of that page"


class Handler(http.server.SimpleHTTPRequestHandler):
    """The site, a page that looks at all others, and where its answer goes."""

    names: tuple[str, ...] = ()
    answer: list[Any] = []  # noqa: RUF012 (one server at a time)
    done = threading.Event()

    def do_GET(self) -> None:
        """Serve a file of the site, or the page that checks."""
        if self.path != "/__check.html":
            return super().do_GET()
        script = f"const NAMES = {json.dumps(self.names)}, WIDTHS = {json.dumps(WIDTHS)};\n{CHECK.read_text()}"
        content = f"<!doctype html><body><script>{script}</script>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(content)
        return None

    def do_POST(self) -> None:
        """Take the answer."""
        self.answer[:] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.done.set()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def seen(site: Path, browser: str) -> list[str]:
    """Return a sentence per fault that a browser sees."""
    Handler.names = tuple(
        name for path in sorted(site.rglob("*.html")) if (name := path.relative_to(site).as_posix()) not in APART
    )
    Handler.done.clear()
    serve = functools.partial(Handler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server, tempfile.TemporaryDirectory() as profile:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_address[1]}/__check.html"
        words = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        with subprocess.Popen([*words, "--window-size=1300,1000", place], stderr=subprocess.DEVNULL) as process:
            told = Handler.done.wait(PATIENCE)
            process.terminate()
        server.shutdown()
    return [str(fault) for fault in Handler.answer] if told else [f"the browser did not answer within {PATIENCE} s"]


def main() -> int:
    """Check a site and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("site", type=Path, nargs="?", default=Path("site"), help="folder that make docs wrote (site)")
    site = parser.parse_args().site
    if not (site / "index.html").is_file():
        sys.stderr.write(f"error: {site} holds no site: run make docs first\n")
        return 2
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    faults = [*broken(site), *(seen(site, browser) if browser else [])]
    sys.stdout.write("".join(f"{fault}\n" for fault in faults))
    how = f"at {' and '.join(map(str, WIDTHS))} pixels" if browser else "without a browser (apt-get install chromium)"
    sys.stdout.write(f"{len(list(site.rglob('*.html')))} pages checked {how}: {len(faults)} faults\n")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
