"""The published DeepSAVA table says what its figures say, and the README shows it."""

import json
from pathlib import Path

import pytest

from advvid.metrics.statistics import wilson

TOP = Path(__file__).resolve().parent.parent
PUBLISHED = TOP / "outputs" / "published"
RESULTS = json.loads((PUBLISHED / "deepsava_embedded.json").read_text())


def test_the_readme_shows_the_published_table():
    start, end = "<!-- deepsava_table: written by scripts/deepsava_table.py -->\n", "<!-- end of deepsava_table -->"
    assert (TOP / "README.md").read_text().split(start)[1].split(end)[0] == (
        PUBLISHED / "deepsava_embedded.md"
    ).read_text()


@pytest.mark.parametrize("part", RESULTS)
def test_differences_follow_from_the_figures(part):
    result = RESULTS[part]
    assert all(command.startswith("python -m advvid.train ") for command in result["commands"])
    rates = {}
    for name, row in result["columns"].items():
        rates[name] = row["fooling_rate"]
        assert row["clips"] == result["clean_right"]
        assert row["ci95"] == pytest.approx(wilson(round(rates[name] * row["clips"]), row["clips"]))
    for order in result["orderings"]:
        low, high = order["ci95"]
        assert order["difference"] == pytest.approx(rates[order["higher"]] - rates[order["lower"]])
        assert low <= order["difference"] <= high


def test_the_search_for_the_frame_is_compared_by_rate_and_gradients():
    result = RESULTS["key_frame"]
    bayes, brute = (result["columns"][name] for name in ("deep_sava", "brute_force"))
    low, high = brute["ci95"]
    assert result["brute_force"]["inside_interval"] == (low <= bayes["fooling_rate"] <= high)
    assert result["brute_force"]["share_of_gradients"] == bayes["gradient_calls"] / brute["gradient_calls"]
    assert bayes["seconds"] > 0
    assert brute["seconds"] > 0
