"""What the papers say about training defenses, as comparisons of two cells of one table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from advvid.statistics import bootstrap_difference

PGD = ("pgd_20_4", "pgd_20_8", "pgd_20_12")
LO = ("pgd_4", "roa_30", "framing_10", "salt_and_pepper_100")
ONE_TYPE = ("at_4", "at_roa", "at_framing", "at_spa")
DENOISING = ("feature_denoising_2d", "feature_denoising_3d")


@dataclass(frozen=True)
class Claim:
    """An ordering: in each of these columns the first row scores higher than every other one by more than a margin.

    ``others`` may hold "row:column" to compare with another column, and a number instead of a row is a fixed accuracy.
    """

    id: str
    text: str
    higher: str
    others: Sequence[str]
    columns: Sequence[str]


CLAIMS = [
    Claim("kinfu_c11", "AT at 12/255 loses clean and robust accuracy against AT at 8/255", "at", ["at_12"], ["clean", *PGD]),
    Claim("kinfu_c12", "AT at 4/255 is better on clean clips and at 4/255 than AT at 8/255", "at_4", ["at"], ["clean", "pgd_20_4"]),
    Claim("kinfu_c15", "Adaptive budgets gain on AT at the large budget", "aat", ["at"], ["pgd_20_12"]),
    Claim("kinfu_c15b", "Adaptive budgets cost clean accuracy against AT", "at", ["aat"], ["clean"]),
    Claim("kinfu_c16", "The rising curriculum beats AT, adaptive budgets and falling", "cat", ["at", "aat", "cat_down"], PGD),
    Claim("kinfu_c16b", "The rising curriculum costs clean accuracy against AT", "at", ["cat"], ["clean"]),
    Claim("kinfu_c17", "The falling curriculum is worse than AT, clean and at every budget", "at", ["cat_down"], ["clean", *PGD]),
    Claim(
        "kinfu_c19", "APE-GAN, not attacked itself, is above AT and CAT, clean and robust", "ape_gan@gray_box", ["at", "cat"],
        ["clean", *PGD],
    ),
    Claim("kinfu_c20", "GAT improves on APE-GAN where the generator is not attacked", "gat@gray_box", ["ape_gan@gray_box"], PGD),
    Claim("kinfu_c21", "APE-GAN's gain holds only while the generator is not attacked", "ape_gan@gray_box", ["ape_gan"], PGD),
    Claim("kinfu_c21b", "GAT's gain holds only while the generator is not attacked", "gat@gray_box", ["gat"], PGD),
    Claim("lo_c02", "AT on PGD alone is far better against PGD than over all four types (union)", "at_4:pgd_4", ["at_4:union"], ["union"]),
    Claim("lo_c05", "AVG has a better union than AT on one type", "avg", ONE_TYPE, ["union"]),
    Claim("lo_c04", "AT on framing does not help against ROA: ROA training is better there", "at_roa", ["at_framing"], ["roa_30"]),
    Claim("lo_c03", "AT on PGD helps against salt and pepper", "at_4", ["none"], ["salt_and_pepper_100"]),
    Claim("lo_c03b", "AT on ROA helps against framing", "at_roa", ["none"], ["framing_10"]),
    Claim("lo_c10", "MultiBN with the right branch beats AT on any one type in union", "multibn_manual", ONE_TYPE, ["union"]),
    Claim("lo_c12", "MultiBN has the best mean and union", "multibn", ["trades", "avg", "max", "msd"], ["mean", "union"]),
    Claim("lo_c15", "MSD protects against PGD more than against ROA and framing", "msd:pgd_4", ["msd:roa_30", "msd:framing_10"], ["pgd_4"]),
    Claim("lo_c16", "TRADES keeps the highest clean accuracy", "trades", ["avg", "max", "msd", "multibn"], ["clean"]),
    Claim("lo_c24", "OUDefend with AT beats AT and feature denoising", "oudefend", ["at", *DENOISING], ["clean", "pgd_20_8", *LO]),
    Claim("lo_c25", "Feature denoising loses clean accuracy against AT", "at", DENOISING, ["clean"]),
    Claim("deepsava_c36", "TRADES does worse than AT on video", "at", ["trades"], ["pgd_20_8"]),
]  # fmt: skip


def right(folder: Path) -> dict[str, dict[str, float]]:
    """Return, for each column of a run with ``clean``, ``mean`` and ``union``, how right each clip was: 0 or 1."""
    found: dict[str, dict[str, float]] = {}
    for line in (folder / "samples.jsonl").read_text().splitlines():
        sample: dict[str, Any] = json.loads(line)
        name, label = sample["id"], sample["label"]
        clean = float(sample["clean"] == label)
        scores = {column: clean * (attacked["pred"] == label) for column, attacked in sample["attacks"].items()}
        kept = [scores[column] for column in (*LO, *PGD)]
        scores |= {"clean": clean, "mean": (clean + sum(kept)) / (1 + len(kept)), "union": min([clean, *kept])}
        for column, value in scores.items():
            found.setdefault(column, {})[name] = value
    return found


def judge(claim: Claim, runs: dict[str, dict[int, Path]]) -> dict[str, Any] | None:
    """Return a claim's verdict; None where a row of it was not run.

    Clips are paired, seeds that both rows have are laid side by side. It holds where every difference is above zero
    with its 95% interval, it does not where one is below zero with its interval, else it is undecided.
    """
    pairs = [(claim.higher, other, column) for other in claim.others for column in claim.columns]
    if any(name.split(":")[0].split("@")[0] not in runs for pair in pairs for name in pair[:2]):
        return None
    differences = [_difference(*pair, runs) for pair in pairs]
    below = any(found["ci95"][1] < 0 for found in differences)
    above = all(found["ci95"][0] > 0 for found in differences)
    verdict = "does_not_hold" if below else "holds" if above else "undecided"
    return {"text": claim.text, "verdict": verdict, "comparisons": differences}


def _difference(higher: str, lower: str, column: str, runs: dict[str, dict[int, Path]]) -> dict[str, Any]:
    places = [_place(name, column) for name in (higher, lower)]
    seeds = sorted(set(runs[places[0][0]]) & set(runs[places[1][0]]))
    sides: list[list[float]] = [[], []]
    for seed in seeds:
        one, two = (right(runs[row][seed])[cell] for row, cell in places)
        for clip in sorted(set(one) & set(two)):
            sides[0].append(one[clip])
            sides[1].append(two[clip])
    difference, interval = bootstrap_difference(*sides, np.random.default_rng(0))
    names = [":".join(place) for place in places]
    return {
        "higher": names[0],
        "lower": names[1],
        "difference": difference,
        "ci95": interval,
        "pairs": len(sides[0]),
        "seeds": seeds,
    }


def _place(name: str, column: str) -> tuple[str, str]:
    """Return the row and the column of a cell: "row", "row:column" or "row@access", whose clean column has no access."""
    row, _, own = name.partition(":")
    row, _, access = row.partition("@")
    column = own or column
    return row, f"{column}@{access}" if access and column != "clean" else column
