"""The published DeepSAVA table says what its figures say, and the README shows it."""

import json
from pathlib import Path

import pytest

from advvid.statistics import wilson

TOP = Path(__file__).resolve().parent.parent
PUBLISHED = TOP / "outputs" / "published"
RESULTS = json.loads((PUBLISHED / "deepsava_embedded.json").read_text())


def test_the_readme_shows_the_published_table():
    start, end = "<!-- deepsava_table: written by scripts/deepsava_table.py -->\n", "<!-- end of deepsava_table -->"
    assert (TOP / "README.md").read_text().split(start)[1].split(end)[0] == (
        PUBLISHED / "deepsava_embedded.md"
    ).read_text()


@pytest.mark.parametrize("part", RESULTS)
def test_verdicts_follow_from_the_figures(part):
    result = RESULTS[part]
    assert all(command.startswith("python -m advvid.train ") for command in result["commands"])
    rates = {}
    for name, row in result["columns"].items():
        rates[name] = row["fooling_rate"]
        assert row["clips"] == result["clean_right"]
        assert row["ci95"] == pytest.approx(wilson(round(rates[name] * row["clips"]), row["clips"]))
    for order in result["orderings"]:
        lower, sign, higher = order["claim"].split()
        low, high = order["ci95"]
        assert order["difference"] == pytest.approx(rates[higher] - rates[lower])
        assert low <= order["difference"] <= high
        holds = low > 0 if sign == "<" else low >= 0
        fails = high <= 0 if sign == "<" else high < 0
        assert order["verdict"] == ("holds" if holds else "does_not_hold" if fails else "undecided")


def test_the_search_for_the_frame_is_judged_by_rate_and_gradients():
    result = RESULTS["key_frame"]
    bayes, brute = (result["columns"][name] for name in ("deep_sava", "brute_force"))
    low, high = brute["ci95"]
    good = low <= bayes["fooling_rate"] <= high and bayes["gradient_calls"] <= brute["gradient_calls"] / 2
    assert result["brute_force"]["verdict"] == ("holds" if good else "does_not_hold")
    assert bayes["seconds"] > 0
    assert brute["seconds"] > 0
