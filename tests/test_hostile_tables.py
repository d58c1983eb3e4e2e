"""Tables and reports over what strangers wrote: it costs its own row, and nothing in it acts."""

import csv
import json
import time

import pytest
from rich.console import Console

from advvid.core.errors import AdvvidError
from advvid.evaluation.table_file import read_table
from advvid.report.__main__ import main as report
from advvid.runs import gather as gathering
from advvid.runs.found_runs import find_runs

SCORE = {"acc": 0.5, "ci95": [0.4, 0.6], "budget": "l-inf 8/255", "access": "white_box", "metrics": {"top5": 0.9}}


def table(**changes):
    config = {"choices": {"defense": "at", "dataset": "motion"}, "attack": {"eps": "8/255"}}
    return {
        "schema": 1,
        "n": 100,
        "seed": 0,
        "clean": SCORE,
        "attacks": {"pgd": SCORE},
        "mean": SCORE,
        "union": SCORE,
        "controls": {},
        "extra": {},
        "checks": [],
        "missing": [],
        "config": config,
        **changes,
    }


def write(folder, content):
    folder.mkdir(parents=True)
    (folder / "robustness.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / "robustness.json"


def score(**changes):
    return {"attacks": {"pgd": {**SCORE, **changes}}}


MALFORMED = {
    "text for a number": score(acc="0.5"),
    "nan": score(acc=float("nan")),
    "above one": score(acc=7),
    "a list": score(acc=[1]),
    "true": score(acc=True),
    "no interval": score(ci95=None),
    "short interval": score(ci95=[0.1]),
    "huge": score(acc=10**300),
    "interval of text": score(ci95=["a", "b"]),
    "endless": score(ci95=[0, float("inf")]),
    "metrics": score(metrics=[1]),
    "budget": score(budget={"a": 1}),
    "notes": score(notes="x"),
    "seconds": score(seconds="1"),
    "measures": score(measures=3),
    "fooling": score(measures={"fooling_rate": "x"}),
    "clean": {"clean": None},
    "clean list": {"clean": [1]},
    "attacks list": {"attacks": ["pgd"]},
    "entry": {"attacks": {"pgd": 3}},
    "n": {"n": "many"},
    "n negative": {"n": -1},
    "n none": {"n": None},
    "seed": {"seed": [1]},
    "checks": {"checks": {"a": 1}},
    "check": {"checks": [3]},
    "check without words": {"checks": [{"name": "x", "raised": True}]},
    "raised": {"checks": [{"message": "x", "raised": "y"}]},
    "missing": {"missing": [3]},
    "missing text": {"missing": "abc"},
    "config": {"config": [1]},
    "choices": {"config": {"choices": [1]}},
    "choice": {"config": {"choices": {"dataset": "../../../etc/passwd"}}},
    "asking": {"config": {"a": "${oc.env:HOME}"}},
    "versions": {"versions": "x"},
    "commit": {"commit": 3},
    "schema": {"schema": 9},
    "batch": {"config": {"evaluation": 3}},
    "long name": {"attacks": {"x" * 300: SCORE}},
    "types": {"types": {"a": "b"}},
    "union": {"union": "x"},
}
BROKEN = [
    '{"schema": 1, "n"',
    "",
    "[]",
    "3",
    "null",
    "[" * 100_000,
    '{"a":' * 200 + "1" + "}" * 200,
    "\x00",
    '{"schema": 1' + "0" * 5000 + "}",
]


@pytest.mark.parametrize("name", MALFORMED)
def test_the_place_is_named(tmp_path, name):
    with pytest.raises(AdvvidError, match=r"robustness\.json (is malformed: |says |holds |was not written)"):
        read_table(write(tmp_path / "x", table(**MALFORMED[name])))


def test_a_malformed_table_costs_its_own_row(tmp_path, capsys):
    """Every wrong table beside a good one: gather and report show the good one and say why the others are missing."""
    write(tmp_path / "good", table())
    for i, changes in enumerate(MALFORMED.values()):
        write(tmp_path / f"bad{i}", table(**changes))
    for i, text in enumerate(BROKEN):
        write(tmp_path / f"broken{i}", text)
    begun = time.process_time()
    result, _, found = gathering.gather([tmp_path], tmp_path)
    assert [run.label for run in found if run.result is not None] == ["good"]
    assert result.markdown().count("- No table: ") == len(MALFORMED) + len(BROKEN)
    assert report([str(tmp_path), "--out", str(tmp_path / "report.html")]) == 0
    assert time.process_time() - begun < 10
    assert (tmp_path / "report.md").read_text().count("No table: robustness.json ") == len(MALFORMED) + len(BROKEN)


ACTING = "<script>alert(1)</script> | `x` ![p](http://evil/p.png) [l](http://evil) \x1b[2J \u202e *b*\n# head\n```\n"


@pytest.fixture
def hostile(tmp_path):
    """Two runs that say acting things wherever a run may say anything, and a sound one."""
    checks = [{"name": "c", "raised": True, "message": ACTING, "means": ACTING, "remedy": ACTING}]
    for i in range(2):
        said = table(
            attacks={f"{ACTING}": {**SCORE, "budget": ACTING, "notes": [ACTING], "settings": {ACTING: ACTING}}},
            checks=checks,
            versions={ACTING: ACTING},
            commit=ACTING,
            missing=[ACTING],
            controls={"=cmd|' /C calc'!A0": SCORE},
        )
        said["config"] |= {"note": f"{ACTING}{i}", "=2+3": "@SUM(1)" if i else "-1+1", ACTING: i}
        folder = write(tmp_path / "runs" / f"r{i} <b>`|[x](y)", said).parent
        (folder / ".hydra").mkdir()
        (folder / ".hydra" / "overrides.yaml").write_text(json.dumps([ACTING, "a=1"]))
        (folder / "analysis").mkdir()
        (folder / "analysis" / "x.json").write_text(json.dumps({"config": {"analysis": {"_target_": ACTING}}}))
    failed = tmp_path / "runs" / "failed" / ".hydra"
    failed.mkdir(parents=True)
    (failed / "overrides.yaml").write_text(json.dumps([ACTING]))
    (failed.parent / "train.log").write_text(f"{ACTING}last words {ACTING.replace(chr(10), ' ')}")
    return tmp_path / "runs"


def outside_code(text):
    """Lines of Markdown that are no code, without spans of code."""
    kept, fence = [], ""
    for line in text.split("\n"):
        ticks = line[: len(line) - len(line.lstrip("`"))]
        if len(ticks) >= 3 and (not fence or (line == ticks and len(ticks) >= len(fence))):
            fence = "" if fence else ticks
        elif not fence:
            kept.append(line)
    assert not fence
    return "\n".join(kept)


def assert_nothing_acts(text):
    plain = outside_code(text)
    for acting in ("<script", "](http", "`x`", "*b*"):
        at = plain.find(acting)
        while at >= 0:
            before = len(plain[:at]) - len(plain[:at].rstrip("\\"))
            assert before % 2, plain[max(0, at - 80) : at + 40]
            at = plain.find(acting, at + 1)
    assert "\n# head" not in plain
    assert not any(c in text for c in "\x1b\u202e\r")


def test_nothing_that_runs_say_acts_in_gathered_tables(hostile, capsys):
    assert gathering.main([str(hostile)], Console(force_terminal=True, width=200)) == 0
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out
    assert "\u202e" not in out
    text = (hostile / "gathered.md").read_text()
    assert_nothing_acts(text)
    head = next(line for line in text.split("\n") if line.startswith("| run"))
    assert {line.replace("\\|", "").count("|") for line in text.split("\n\n")[0].split("\n")} == {
        head.replace("\\|", "").count("|")
    }
    rows = list(csv.reader((hostile / "gathered.csv").open(newline="")))
    assert not any(
        c[:1] in ("=", "+", "@", "|") or (c[:1] == "-" and not c[1:2].isdigit()) for row in rows for c in row
    )
    assert "'=2+3" in rows[0]
    assert "'-1+1" in rows[1]


def test_nothing_that_runs_say_acts_in_a_report(hostile):
    assert report([str(hostile), "--out", str(hostile / "report.html")]) == 0
    assert_nothing_acts((hostile / "report.md").read_text())
    html = (hostile / "report.html").read_text()
    assert "<script" not in html
    assert 'href="http' not in html
    assert 'src="http' not in html


@pytest.mark.parametrize("value", ["1e999999999", "1/" + "9" * 5000, "²", "9" * 6000, "$x^", "nan", "1/0"])
def test_settings_of_any_kind_are_sorted_and_drawn(tmp_path, value):
    """A setting that Python would take for ever, or refuse, to read as a number; two vary, so that a map is drawn."""
    for i in range(4):
        said = table()
        said["config"]["attack"] = {"eps": value if i % 2 else "8/255", "steps": i // 2, "x9" + "9" * 6000: 1}
        write(tmp_path / str(i), said)
    begun = time.process_time()
    _, written, _ = gathering.gather([tmp_path], tmp_path / "out")
    assert time.process_time() - begun < 5
    assert len(written) == 3


def test_deep_folders_are_walked(tmp_path):
    folder = tmp_path
    for _ in range(300):
        folder = folder / "d"
    write(folder, table())
    assert len(find_runs([tmp_path])) == 1
