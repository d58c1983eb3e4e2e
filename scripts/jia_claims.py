"""What Jia et al. say about detection and defenses, held against measured clips."""

from __future__ import annotations

from typing import Any

import numpy as np

from advvid.analyses.routing import NONE, ROUTED, SPATIAL, TEMPORAL, TITLES, outcomes
from advvid.detectors.routing import Routing
from advvid.statistics import bootstrap_difference

LSTM, C3D = "cnn_lstm", "c3d"
CLEAN_COST = 0.02  # what the paper calls a slight loss on clean videos
NOTHING = 0.05  # a change of accuracy that counts as none, where its interval has 0


def right(result: dict[str, Any], kind: str, defense: str) -> np.ndarray:
    """Return whether each clip is right behind a defense; one that is wrong before the attack is so in any case."""
    clips, routing = result["clips"], Routing(gamma_1=result["gamma_1"], gamma_2=result["gamma_2"])
    every = np.zeros(result["n"], dtype=bool)
    places = {name: place for place, name in enumerate(clips["clean"]["id"])}
    every[[places[name] for name in clips[kind]["id"]]] = outcomes(kind, clips[kind], routing)[defense]
    return every


def compare(result: dict[str, Any], kind: str, higher: str, lower: str, less: float = 0.0) -> dict[str, Any]:
    """Return by how much one defense is better than another on the same clips, and ``less`` on top."""
    first, second = (right(result, kind, name) for name in (higher, lower))
    difference, (low, high) = bootstrap_difference(first, second, np.random.default_rng(0))
    name = f"{kind}: {TITLES[higher]} above {TITLES[lower]}" + (f" less {100 * less:.0f} points" if less else "")
    return {"what": name, "difference": difference + less, "ci95": [low + less, high + less]}


def indices(found: dict[str, Any], higher: tuple[str, ...], lower: tuple[str, ...]) -> dict[str, Any]:
    """Return by how much the mean exception index of some kinds of clips is above that of others."""
    groups = [
        np.concatenate([np.asarray(found["index"][kind], dtype=float) for kind in kinds]) for kinds in (higher, lower)
    ]
    name = f"mean index: {' and '.join(higher)} above {' and '.join(lower)}"
    if not all(len(group) for group in groups):
        return {"what": f"{name} (no clip)", "difference": 0.0, "ci95": [-1.0, 1.0]}
    generator = np.random.default_rng(0)
    first, second = (group[generator.integers(0, len(group), (5000, len(group)))].mean(axis=1) for group in groups)
    low, high = np.quantile(first - second, [0.025, 0.975])
    return {"what": name, "difference": float(groups[0].mean() - groups[1].mean()), "ci95": [float(low), float(high)]}


def verdict(comparisons: list[dict[str, Any]]) -> str:
    """Return ``holds`` where every comparison does, ``does_not_hold`` where one is the other way round for certain."""
    if any(found["ci95"][1] < 0 for found in comparisons):
        return "does_not_hold"
    return "holds" if all(found["ci95"][0] > 0 for found in comparisons) else "undecided"


def claims(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the paper's claims with what speaks for and against them here."""
    index, lstm, c3d = found["detection"], found["routing_cnn_lstm"], found["routing_c3d"]
    listed: dict[str, tuple[str, list[dict[str, Any]]]] = {
        "jia_c01": ("attacked clips have a larger exception index than clean ones", [indices(index, ("sparse", "dense"), ("clean",))]),
        "jia_c02": ("dense attacks give a larger index than sparse ones", [indices(index, ("dense",), ("sparse",))]),
        "jia_c05": ("the temporal defense helps against the sparse attack", [compare(lstm, "sparse", TEMPORAL, NONE)]),
        "jia_c07": (
            "the spatial defense helps against both, and is the better one for the dense attack",
            [compare(lstm, "sparse", SPATIAL, NONE), compare(c3d, "dense", SPATIAL, NONE), compare(c3d, "dense", SPATIAL, TEMPORAL)],
        ),
        "jia_c08": (
            "temporal beats spatial on sparse attacks, spatial beats temporal on dense ones",
            [compare(lstm, "sparse", TEMPORAL, SPATIAL), compare(c3d, "dense", SPATIAL, TEMPORAL)],
        ),
        "jia_c09": (
            "the temporal defense costs less on clean clips than the spatial one",
            [compare(result, "clean", TEMPORAL, SPATIAL) for result in (lstm, c3d)],
        ),
        "jia_c10": (
            "taking clean clips for sparsely attacked ones hardly matters",
            [compare(result, "clean", ROUTED, NONE, less=CLEAN_COST) for result in (lstm, c3d)],
        ),
        "jia_c11": (
            "detection plus routing is better on the mixed set than either defense alone",
            [
                {"what": f"mixed set: route above {TITLES[name]}", **result["mixed"]["routed_less"][name]}
                for result in (lstm, c3d) if result["mixed"]["routed_less"]
                for name in (SPATIAL, TEMPORAL)
            ],
        ),
    }  # fmt: skip
    judged = {
        name: {
            "claim": text,
            "verdict": verdict(comparisons) if comparisons else "undecided",
            "comparisons": comparisons,
        }
        for name, (text, comparisons) in listed.items()
    }
    return judged | {"jia_c03": _separable(index), "jia_c04": _thresholds(index), "jia_c06": _nothing(c3d)}


def _separable(index: dict[str, Any]) -> dict[str, Any]:
    """Judge whether some pair of thresholds tells the three kinds of clips apart without an error."""
    areas = [index[name]["roc"]["auc"] for name in ("gamma_1", "gamma_2")]
    known = None not in areas
    found = "undecided" if not known else "holds" if min(areas) == 1 else "does_not_hold"
    said = ", ".join("-" if area is None else f"{area:.3f}" for area in areas)
    text = f"the three kinds are linearly separable in the index (areas under the ROC curves here: {said})"
    return {"claim": text, "verdict": found, "comparisons": []}


def _thresholds(index: dict[str, Any]) -> dict[str, Any]:
    """Judge whether the paper's thresholds have the best F1 on the validation clips here as well."""
    best, said = True, []
    for name, wanted in (("gamma_1", 0.175), ("gamma_2", 0.3)):
        tried = {choice["threshold"]: choice["f1"] for choice in index[name]["calibration"]}
        best &= tried[wanted] == max(tried.values())
        said.append(
            f"{name} {index[name]['chosen']:g} with {max(tried.values()):.2f}, {tried[wanted]:.2f} at {wanted:g}"
        )
    text = f"0.175 and 0.3 are the best thresholds by F1 (best here: {'; '.join(said)})"
    return {"claim": text, "verdict": "holds" if best else "does_not_hold", "comparisons": []}


def _nothing(result: dict[str, Any]) -> dict[str, Any]:
    """Judge whether the temporal defense leaves the dense attack's accuracy as it is."""
    found = compare(result, "dense", TEMPORAL, NONE)
    low, high = found["ci95"]
    inside = low >= -NOTHING and high <= NOTHING
    judged = "holds" if inside else "does_not_hold" if low > 0 or high < 0 else "undecided"
    return {
        "claim": "the temporal defense does nothing for the dense attack",
        "verdict": judged,
        "comparisons": [found],
    }
