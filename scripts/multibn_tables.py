"""Look into the MultiBN models of scripts/defense_table.py: each branch on each input, and attacks on the selector.

    python scripts/defense_table.py --rows multibn multibn_manual --seeds 0     # the models
    python scripts/multibn_tables.py                                            # resumable

Lo & Patel's branch matrix on 100 test clips, with the row that picks the branch by hand and that of the selector, and the
attack on classifier and selector at once over the weight lambda of the selector's loss.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from runs import carry_out

ROWS = {
    "multibn": "MultiBN with a learned selector",
    "multibn_manual": "MultiBN with branches chosen by hand",
}
QUIET = ["dataset.limit_test=100", "tracker=none", "runtime=cpu", "runtime.threads=1"]


def analysed(root: Path, row: str, name: str, *words: str) -> dict[str, Any]:
    """Carry out an analysis of a row's model, unless it was, and return its result and command."""
    folder = root / f"{row}-0" / "_".join([name, *(word.split("=")[1] for word in words)])
    command = carry_out(folder, "mode=eval", f"checkpoint={root / f'{row}-0'}", f"analysis={name}", *words, *QUIET)
    found = json.loads((folder / "analysis" / f"{name}.json").read_text())
    return {"command": command, **{key: value for key, value in found.items() if key != "config"}}


def shown(score: dict[str, Any]) -> str:
    """Write an accuracy with its interval, in percent."""
    low, high = (100 * end for end in score["ci95"])
    return f"{100 * score['acc']:.0f} [{low:.0f}, {high:.0f}]"


def matrix(found: dict[str, Any]) -> list[str]:
    """Return branches by inputs as Markdown, and how many inputs their own branch is best on."""
    lines = [
        "| branch | " + " | ".join(found["inputs"]) + " | mean | union |",
        "|---|" + "---:|" * (len(found["inputs"]) + 2),
    ]
    for row in found["rows"]:
        cells = [shown(cell) for cell in (*row["cells"], row["mean"], row["union"])]
        lines.append(f"| {row['label']} | {' | '.join(cells)} |")
    return [*lines, "", _specialised(found), ""]


def _specialised(found: dict[str, Any]) -> str:
    by = {row["label"]: row["cells"] for row in found["rows"] if row["label"] in found["branches"]}
    best, gains = [], []
    for at, name in enumerate(found["inputs"]):
        own = by[found["own"][name]][at]["acc"]
        others = [cells[at]["acc"] for branch, cells in by.items() if branch != found["own"][name]]
        best += [name] if own >= max(others) else []
        gains.append(f"{name} {100 * (own - max(others)):+.0f}")
    return (
        f"No branch beats an input's own one on {', '.join(best) or 'none of them'}. Own branch less the best other one, in points: "
        f"{', '.join(gains)}."
    )


def sweep(found: dict[str, Any]) -> list[str]:
    """Return the attack on classifier and selector over lambda as Markdown."""
    lines = [
        f"Percent right, and in how many of the attacked clips the selector's largest weight is on the right branch "
        f"(clean clips: {shown(found['clean'])}, {shown(found['clean_selector_right'])}; chance "
        f"{100 / len(found['branches']):.0f}).",
        "",
        "| attack | " + " | ".join(f"lambda {value}" for value in found["written"]) + " |",
        "|---|" + "---:|" * len(found["written"]),
    ]
    for attack in found["attacks"]:
        for title, part in (("", None), (": selector right", "selector_right")):
            cells = [shown(point if part is None else point[part]) for point in attack["points"]]
            lines.append(f"| {attack['label']}{title} | {' | '.join(cells)} |")
    return [*lines, ""]


def document(found: dict[str, dict[str, Any]]) -> str:
    """Return all tables as one page."""
    lines = [
        "MultiBN on embedded motion data (models `multibn-0` and `multibn_manual-0` of `python scripts/defense_table.py`): percent",
        "right of 100 test clips with 95% interval, seed 0. Made by `python scripts/multibn_tables.py`.",
        "",
    ]
    for row, title in ROWS.items():
        lines += [f"## {title}: branch on input", "", "Clips are made on the branch that is scored.", ""]
        lines += matrix(found[f"{row}_scored"])
        lines += ["The same with clips made on the branch of their own attack, for every branch the same clips:", ""]
        lines += matrix(found[f"{row}_family"])
    lines += ["## Attacks on classifier and selector at once", "", *sweep(found["selector"])]
    return "\n".join(lines)


def main() -> None:
    """Compute what is missing and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("outputs/defenses"), help="of the models")
    parser.add_argument("--target", type=Path, default=Path("outputs/published"), help="where the tables go")
    options = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    for row in ROWS:
        if not (options.root / f"{row}-0" / "robustness.json").is_file():
            parser.error(
                f"{options.root / f'{row}-0'} is not there: python scripts/defense_table.py --rows {row} --seeds 0"
            )
        for made in ("scored", "family"):
            found[f"{row}_{made}"] = analysed(options.root, row, "branch_matrix", f"analysis.made_on={made}")
    found["selector"] = analysed(options.root, "multibn", "selector_attack")
    options.target.mkdir(parents=True, exist_ok=True)
    (options.target / "multibn.json").write_text(json.dumps(found, indent=1) + "\n")
    (options.target / "multibn.md").write_text(document(found))


if __name__ == "__main__":
    main()
