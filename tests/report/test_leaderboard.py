"""The leaderboard orders claims, groups those on the same clips, and takes nothing that a claim says for more than text."""

import json
import re
from html.parser import HTMLParser

import pytest

from advvid.evaluation.robustness import RobustnessTable
from advvid.evaluation.scores import ColumnScore, Score
from advvid.report.__main__ import main
from advvid.report.leaderboard import boards
from advvid.sharing.claim import ALL, Claim, sha256

EVIL = "<script>alert(1)</script>"


def write(folder, name, union, border=None, clips="c" * 32, dataset="lights"):
    """Write a claim with its union over all attacks, and those within two threats."""
    attacks = {
        "pgd": ColumnScore(union, (0, 1), budget="l-inf 8/255"),
        "border": ColumnScore(1.0, (0, 1), budget="framing of 10%"),
    }
    table = RobustnessTable(n=4, clean=Score(1.0, (0.5, 1)), attacks=attacks, union=Score(union, (0, 1)), seed=0)
    scores = {ALL: union, "l-inf 8/255": union, "framing of 10%": union if border is None else border}
    unions = {kind: {"acc": acc, "ci95": [0, 1]} for kind, acc in scores.items()}
    claim = Claim(
        name, {"dataset": dataset, "defense": "at"}, "0" * 64, clips, table, unions, "advvid verify x", "", {}
    )
    path = folder / f"{len(list(folder.iterdir()))}.claim.json"
    path.write_text(json.dumps(claim.plain()))
    return path


def verified(path, same, attacked):
    told = {"claim": sha256(path), "same": same, "attacked": attacked}
    path.with_name(f"{path.name}.verification.json").write_text(json.dumps(told))


@pytest.fixture
def claims(tmp_path):
    folder = tmp_path / "claims"
    folder.mkdir()
    return folder


def test_claims_are_ordered_by_union_within_each_threat(claims):
    write(claims, "low", 0.25, border=1.0)
    first = write(claims, "high", 0.75, border=0.75)
    verified(first, True, 4)
    write(claims, "elsewhere", 0.5, clips="d" * 32)
    found, problems = boards([claims])
    assert not problems
    assert [[entry.claim.name for entry in board.threats[ALL]] for board in found] == [["high", "low"], ["elsewhere"]]
    assert [entry.claim.name for entry in found[0].threats["framing of 10%"]] == ["low", "high"]
    assert [entry.verdict for entry in found[0].threats[ALL]] == ["yes, 4 of 4 clips", "no"]


def test_one_verification_that_differs_counts_more_than_another(claims):
    path = write(claims, "a", 0.5)
    verified(path, True, 4)
    path.with_name("second.verification.json").write_text(
        json.dumps({"claim": sha256(path), "same": False, "attacked": 2})
    )
    assert boards([claims])[0][0].threats[ALL][0].verdict == "differs"


def test_the_page_holds_what_claims_say_as_text_alone(claims, tmp_path, capsys):
    write(claims, f"evil {EVIL} {{{{ 7 * 7 }}}}", 0.5, dataset=f'"><img src=x onerror=alert(1)>{EVIL}')
    (claims / "broken.claim.json").write_text(f'{{"advvid_claim": 1, "name": "{EVIL}"}}')
    (claims / "far.claim.json").symlink_to("/etc/passwd")
    out = tmp_path / "page.html"
    assert main(["--leaderboard", str(claims), "--out", str(out)]) == 0, capsys.readouterr().err
    html = out.read_text()
    seen = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            seen.append((tag, {name for name, _ in attrs}))

    Parser().feed(html)
    assert not {tag for tag, _ in seen} & {"script", "img", "iframe", "object", "form"}
    assert not {name for _, names in seen for name in names if name.startswith("on")}
    assert "{{ 7 * 7 }}" in html
    assert not re.search(r"https?://|url\(", html)
    assert "broken.claim.json: " in html
    assert "passwd" not in html


@pytest.mark.parametrize("folder", ["nowhere", "empty"])
def test_without_a_claim_the_command_says_so(folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert main(["--leaderboard", str(tmp_path / folder), "--out", str(tmp_path / "page.html")]) == 1
    assert "error: " in capsys.readouterr().err


def test_one_claim_has_a_page_of_its_own(claims, tmp_path, capsys):
    path = write(claims, EVIL, 0.25)
    out = tmp_path / "claim.html"
    assert main(["--claim", str(claims), "--out", str(out)]) == 0
    assert "No result of advvid verify names this claim" in out.read_text()
    verified(path, True, 4)
    assert main(["--claim", str(claims), "--out", str(out)]) == 0
    page = out.read_text()
    for text in ("yes, 4 of 4 clips", "25.0 [0.0, 100.0], pgd", "4 clips", "0" * 64, "advvid verify x", "l-inf 8/255"):
        assert text in page
    assert EVIL not in page
    write(claims, "second", 0.5)
    assert main(["--claim", str(claims), "--out", str(out)]) == 1
    assert "--claim shows one claim, but there are 2" in capsys.readouterr().err
