"""The few lines on each paper: counted by hand."""

import json

from advvid.studies.catalogue import studies
from advvid.studies.published import authors_of
from advvid.studies.summary import publish_summary, spent

MEASURED = {"published": 1.0, "measured": {"value": 2.0}, "why_missing": None}
MISSING = {"published": 1.0, "measured": None, "why_missing": "no"}


def test_cells_verdicts_and_costs_by_hand(tmp_path):
    rows = [
        {"name": "a", "cells": {"x": MEASURED, "y": MISSING}},
        {"name": "b", "cells": {"x": MEASURED, "y": MEASURED}},
    ]
    common = {"title": "T", "paper": "P", "dataset": "D", "columns": ["x", "y"], "figures": []}
    tables = [
        {**common, "id": "kinfu-table2", "scale": "demo", "rows": rows},
        {**common, "id": "kinfu-fig2", "scale": "demo", "rows": [], "figures": ["one.png", "two.png"]},
        {**common, "id": "jia-table4", "scale": "full", "rows": rows},
    ]
    verdicts = [("kinfu_c01", "holds", "demo"), ("kinfu_c02", "does_not_hold", "demo"), ("kinfu_c03", "holds", "full")]
    (tmp_path / "papers.json").write_text(json.dumps(tables))
    claims = {name: {"verdict": verdict, "scale": scale} for name, verdict, scale in verdicts}
    (tmp_path / "claims.json").write_text(json.dumps(claims))
    for number, seconds in enumerate((600, 120)):
        folder = tmp_path / "work" / "demo" / f"run{number}"
        folder.mkdir(parents=True)
        (folder / "done.json").write_text(json.dumps({"seconds": seconds}))
    assert spent(tmp_path / "work" / "demo") == (2, 720)
    text = publish_summary(tmp_path, tmp_path / "work").read_text()
    assert f"| Kinfu & Vidal | 2 of {len(studies()['kinfu'].targets)} | 3 of 4 | 2 | 1 | 1 | 0 |" in text
    assert (
        "2 trainings and evaluations took 0.2 hours of processor time (6 minutes where two cores share them evenly)."
        in text
    )
    full, demo = text.index("at the papers' scale"), text.index("at demo scale")
    assert full < demo
    assert f"| {authors_of('jia')} | 1 of {len(studies()['jia'].targets)} | 3 of 4 | 0 | 0 | 0 | 0 |" in text[full:demo]
