"""The published table of A-ART says what its figures say."""

import json
import statistics
from pathlib import Path

import pytest

PUBLISHED = Path(__file__).resolve().parent.parent / "outputs" / "published"
RESULT = json.loads((PUBLISHED / "a_art.json").read_text())
TEXT = (PUBLISHED / "a_art.md").read_text()
MODELS = ("non_art", "art", "a_art")


def differences(measure):
    """Return, per draw, the difference that a claim is about, such as ``fgm.gap: a_art less art``."""
    draws = [draw["models"] for draw in RESULT["draws"].values()]
    if ":" not in measure:
        more, less = measure.split(" less ")
        return [models["non_art"][more] - models["non_art"][less] for models in draws]
    key, models_of = measure.split(": ")
    more, less = models_of.split(" less ")
    return [models[more][key] - models[less][key] for models in draws]


@pytest.mark.parametrize("order", RESULT["orderings"], ids=lambda order: order["measure"].replace(" ", "_"))
def test_differences_follow_from_the_draws(order):
    found = differences(order["measure"])
    low, high = order["ci95"]
    assert len(found) == 5
    assert order["difference"] == pytest.approx(statistics.mean(found))
    assert (high - low) / 2 == pytest.approx(2.776 * statistics.stdev(found) / 5**0.5)
    shown = f"{100 * order['difference']:+.1f}" if "gap" in order["measure"] else f"{order['difference']:+.1e}"
    assert f"- {order['what']}: " in TEXT
    assert f": {shown} [" in TEXT or any(m in order["measure"] for m in ("perr", "hit1"))


def test_the_defenses_beat_no_defense_under_the_attack_they_train_against():
    for defense in ("art", "a_art"):
        found = differences(f"fgm.gap: {defense} less non_art")
        assert min(found) > 0


def test_every_measure_is_there_for_every_model():
    for draw in RESULT["draws"].values():
        assert draw["n"] == 300
        assert tuple(draw["models"]) == MODELS
        for row in draw["models"].values():
            assert all(
                0 <= row[f"{when}.{key}"] <= 1 for when in ("clean", "fgm", "pgd") for key in ("gap", "perr", "hit1")
            )
            assert row["rho"] > 0
    assert len(RESULT["choice"]) >= 5
    for name in MODELS:
        assert (PUBLISHED / f"a_art_maps_{name}.png").stat().st_size > 10_000
