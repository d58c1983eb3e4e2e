"""Verdicts on the papers' orderings, from runs whose clips are known."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from defense_claims import CLAIMS, LO, PGD, Claim, judge
from defense_table import ROWS

COLUMNS = (*LO, *PGD)


def run(folder, rights, n=40):
    """Write a run in which the given share of clips is right in each column, the same ones first."""
    folder.mkdir()
    lines = []
    for clip in range(n):
        attacks = {
            c: {"pred": 0 if clip < n * rights.get(c, rights["clean"]) else 1}
            for c in (*COLUMNS, *rights)
            if c != "clean"
        }
        lines.append(
            json.dumps({"id": str(clip), "label": 0, "clean": int(clip >= n * rights["clean"]), "attacks": attacks})
        )
    (folder / "samples.jsonl").write_text("\n".join(lines))
    return {0: folder}


@pytest.mark.parametrize(
    ("first", "second", "verdict"), [(0.9, 0.3, "holds"), (0.3, 0.9, "does_not_hold"), (0.5, 0.5, "undecided")]
)
def test_verdicts(tmp_path, first, second, verdict):
    runs = {"a": run(tmp_path / "a", {"clean": first}), "b": run(tmp_path / "b", {"clean": second})}
    found = judge(Claim("c", "", "a", ["b"], ["clean", "union"]), runs)
    assert found["verdict"] == verdict
    assert found["comparisons"][0]["difference"] == pytest.approx(first - second)


def test_one_comparison_below_zero_is_enough(tmp_path):
    runs = {"a": run(tmp_path / "a", {"clean": 0.9, "pgd_20_8": 0.1}), "b": run(tmp_path / "b", {"clean": 0.3})}
    assert judge(Claim("c", "", "a", ["b"], ["clean"]), runs)["verdict"] == "holds"
    assert judge(Claim("c", "", "a", ["b"], ["clean", "pgd_20_8"]), runs)["verdict"] == "does_not_hold"


def test_accesses_columns_and_missing_rows(tmp_path):
    runs = {"gan": run(tmp_path / "gan", {"clean": 0.9, "pgd_20_8": 0.1, "pgd_20_8@gray_box": 0.8})}
    assert judge(Claim("c", "", "gan@gray_box", ["gan"], ["pgd_20_8"]), runs)["verdict"] == "holds"
    assert judge(Claim("c", "", "gan:clean", ["gan:pgd_20_8"], ["clean"]), runs)["verdict"] == "holds"
    assert judge(Claim("c", "", "gan", ["other"], ["clean"]), runs) is None


def test_claims_speak_of_rows_that_are_run():
    named = {name.split(":")[0].split("@")[0] for claim in CLAIMS for name in (claim.higher, *claim.others)}
    assert named <= set(ROWS)
