import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from advvid.core.errors import AdvvidError
from advvid.report.joined import read_tables
from advvid.studies import work
from advvid.studies.catalogue import find_target
from advvid.studies.cell import Cell, Measured
from advvid.studies.made import fill_made
from advvid.studies.measured import follow, measure
from advvid.studies.plan import CellPlan
from advvid.studies.publish import publish, write
from advvid.studies.published import published_tables
from advvid.studies.table import StudyTable
from advvid.studies.tables import _embedded, columns_at_an_end, make_table, markdown
from advvid.studies.work import Runner, WorkError

SCORES = {"acc": 0.5, "ci95": [0.4, 0.6], "metrics": {"gap": 0.75}}
COLUMNS = ("pgd_4", "pgd_8", "pgd_12", "pgd_15")


def evaluation(folder: Path) -> None:
    table = {
        "schema": 1,
        "n": 4,
        "seed": 0,
        "clean": SCORES,
        "mean": SCORES,
        "union": SCORES,
        "attacks": dict.fromkeys(COLUMNS, SCORES),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "robustness.json").write_text(json.dumps(table | {"extra": {"pgd_8@gray_box": {**SCORES, "acc": 0.75}}}))
    hit = {"steps": 4, "distance": 0.02, "seconds": 1.0}
    preds = [(0, 1), (0, 0), (0, 1), (1, 1)]
    lines = [
        {"id": str(i), "label": 0, "clean": c, "attacks": {"pgd_8": {"pred": p, **hit}}}
        for i, (c, p) in enumerate(preds)
    ]
    (folder / "samples.jsonl").write_text("\n".join(map(json.dumps, lines)))


@pytest.fixture
def commands(monkeypatch):
    """Keys without Hydra, and runs that only note what they were told; ``cat_down`` fails."""
    monkeypatch.setattr(work, "training_key", lambda overrides: "t")
    monkeypatch.setattr(work, "scoring_key", lambda key, overrides: "s")
    told = []

    def run(command, output, environment):
        told.append(command[3:])
        folder = Path(next(word for word in command if word.startswith("hydra.run.dir=")).partition("=")[2])
        if "experiment=kinfu/cat_down" in command:
            output.write("some line\nerror: out of luck\n")
            return 1, 2.0
        if "mode=eval" in command:
            evaluation(folder)
        return 0, 2.0

    monkeypatch.setattr(work, "run_command", run)
    return told


def test_a_table_lays_measured_numbers_beside_published_ones(commands, tmp_path):
    plan, target = find_target("kinfu-table2")
    table = make_table(Runner(tmp_path, "demo"), plan, target, "make kinfu-table2 SCALE=demo")
    cell = table.rows["aat"]["pgd_8"]
    assert (cell.published, cell.measured.value, cell.measured.ci95, cell.measured.n) == (25.7, 50, (40, 60), 4)
    assert (table.rows["cat"]["pgd_8"].measured.range, len(table.rows["cat"]["pgd_8"].measured.each)) == ((50, 50), 5)
    assert table.counted == (20, 25)
    assert table.seconds == 16 * (2 + 2)  # what failed is not part of the table
    missing = table.rows["cat_down"]["clean"]
    assert missing.measured is None
    assert missing.why_missing.startswith("out of luck (see ")
    shown = markdown(table)
    assert "| aat | 54.5 | 50.0 [40.0, 60.0] |" in shown
    assert (
        "No number for cat_down/clean, cat_down/pgd_4, cat_down/pgd_8, cat_down/pgd_12 and 1 more: out of luck" in shown
    )


def test_finished_work_is_not_done_again_and_failed_work_is(commands, tmp_path):
    plan, target = find_target("kinfu-table2")
    make_table(Runner(tmp_path, "demo"), plan, target, "")
    first = len(commands)
    assert (
        first == 17 + 16
    )  # trainings of five kinds, three of them of five seeds; and an evaluation of those that did not fail
    make_table(Runner(tmp_path, "demo"), plan, target, "")
    assert [command[1] for command in commands[first:]] == ["experiment=kinfu/cat_down"]


def test_the_seconds_are_those_of_computing(tmp_path):
    code = "import time; time.sleep(1); raise SystemExit(3)"
    with (tmp_path / "out").open("w") as output:
        status, seconds = work.run_command([sys.executable, "-c", code, "runtime=cpu"], output, {})
    assert status == 3
    assert 0 < seconds < 1


def test_evaluations_of_a_training_share_their_cells(commands, tmp_path):
    plan, _ = find_target("kinfu-table2")
    folder = Runner(tmp_path, "demo").scored(plan, "cat", "pgd")
    assert (folder / "cells").resolve() == (folder.parent / "cells").resolve()


def test_full_scale_asks_for_its_data_and_passes_it_on(commands, tmp_path):
    plan, _ = find_target("kinfu-table2")
    with pytest.raises(WorkError, match="needs ucf101: say where it is"):
        Runner(tmp_path, "full").trained(plan, "none")
    Runner(tmp_path, "full", {"ucf101": ["dataset.root=/videos"]}).scored(plan, "none", "pgd")
    assert all("dataset.root=/videos" in command for command in commands)


def test_a_table_says_what_its_runs_were_told_besides(commands, tmp_path):
    plan, target = find_target("kinfu-table2")
    given = {"ucf101": ["dataset.root=/videos"], "": ["dataset.limit_test=3", "seed=1"]}
    table = make_table(Runner(tmp_path, "full", given), plan, target, "")
    assert table.caption.startswith("At the paper's scale. Every run was told dataset.limit_test=3 seed=1.")
    assert "told" not in make_table(Runner(tmp_path, "full", {"ucf101": []}), plan, target, "").caption


def test_publishing_replaces_the_table_of_the_same_scale_only(commands, tmp_path):
    plan, target = find_target("kinfu-table2")
    table = make_table(Runner(tmp_path, "demo"), plan, target, "")
    assert [path.suffix for path in write(table, tmp_path / "tables")] == [".json", ".md"]
    publish(table, tmp_path)
    publish(replace(table, scale="full"), tmp_path)
    path = publish(replace(table, caption="new"), tmp_path)
    assert [(t["scale"], t["caption"] == "new") for t in json.loads(path.read_text())] == [
        ("demo", True),
        ("full", False),
    ]


def test_pictures_are_published_beside_their_table_which_can_be_moved(commands, tmp_path):
    plan, target = find_target("kinfu-fig2")
    runner = Runner(tmp_path / "work", "demo")
    table = make_table(runner, plan, target, "make kinfu-fig2 SCALE=demo")
    drawn = runner.folder(plan, *target.figures[0]) / "analysis" / "best_step.png"
    drawn.parent.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(drawn)
    table = make_table(runner, plan, target, "make kinfu-fig2 SCALE=demo")
    first = tmp_path / "first"
    for other in ("deepsava-table10", "deepsava-table2"):
        publish(replace(table, id=other, figures=()), first)
    publish(table, first)
    assert [t["id"] for t in json.loads((first / "papers.json").read_text())] == [
        "deepsava-table2",
        "deepsava-table10",
        "kinfu-fig2",
    ]
    shutil.rmtree(tmp_path / "work")
    (tmp_path / "first").rename(tmp_path / "second")
    read = read_tables([tmp_path / "second" / "papers.json"])[2]
    ((scale, figure),) = read.figures
    assert (scale, figure.path.read_bytes()[1:4]) == ("demo", b"PNG")
    assert "best step" in figure.alt


def test_the_report_reads_what_is_published(commands, tmp_path):
    plan, target = find_target("kinfu-table2")
    path = publish(make_table(Runner(tmp_path, "demo"), plan, target, "make kinfu-table2 SCALE=demo"), tmp_path)
    (read,) = read_tables([path])
    cell = read.cells("cat", "pgd_8")["demo"]
    assert (read.first.id, cell.published, cell.measured.value) == ("kinfu-table2", 29.2, 50)
    assert StudyTable.from_json(read.first.to_json()) == read.first


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (CellPlan("r", "s", "clean"), 50),
        (CellPlan("r", "s", "pgd_8", options={"access": "gray_box"}), 75),
        (CellPlan("r", "s", "pgd_8", "fooling_rate"), 100 * 2 / 3),
        (CellPlan("r", "s", "pgd_8", "iterations"), 4),
        (CellPlan("r", "s", "pgd_8", "perturbation"), 0.02),
        (CellPlan("r", "s", "pgd_8", "aap", {"limit": 0.08}), 0.02 * 2 / 3 + 0.08 / 3),
        (CellPlan("r", "s", "pgd_8", "seconds"), 4),
        (CellPlan("r", "s", "clean", "metric", {"metric": "gap"}), 75),
    ],
)
def test_measures_have_known_answers(tmp_path, cell, value):
    evaluation(tmp_path)
    assert measure(tmp_path, cell).value == pytest.approx(value)


def test_places_of_an_analysis_and_what_is_not_there(tmp_path):
    rows = {"rows": [{"label": "a", "cells": [{"acc": 0.1}, {"acc": 0.25, "ci95": [0.2, 0.3]}]}], "seed": 3, "n": 9}
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "matrix.json").write_text(json.dumps(rows))
    found = measure(
        tmp_path, CellPlan("r", "s", "", "json", {"path": "matrix/rows/label=a/cells/1/acc", "factor": 100})
    )
    assert (found.value, found.ci95, found.n, found.seeds) == (25, (20, 30), 9, (3,))
    assert follow([{"gamma": 0.1}], ["gamma=0.100", "gamma"]) == 0.1
    with pytest.raises(AdvvidError, match="no place rows/label=b/x"):
        follow(rows, ["rows", "label=b", "x"])
    evaluation(tmp_path)
    with pytest.raises(AdvvidError, match="no column fgsm"):
        measure(tmp_path, CellPlan("r", "s", "fgsm"))


def test_a_row_that_relates_two_others_comes_out_as_the_paper_prints_it():
    printed, (_, target) = published_tables()["deepsava-table10"], find_target("deepsava-table10")
    last = "defended_vs_undefended_relative"
    rows = {
        name: {c: Cell(None, None if name == last else Measured(cell.value, (0, 1))) for c, cell in row.items()}
        for name, row in printed.rows.items()
    }
    filled = fill_made(rows, target.cells)
    for column, cell in printed.rows[last].items():
        assert filled[last][column].measured.value == pytest.approx(cell.value, abs=0.06)
        assert filled[last][column].measured.ci95 is None
    rows["without_defence"]["acc_8000_1000"] = Cell()
    said = fill_made(rows, target.cells)[last]["acc_8000_1000"].why_missing
    assert said == "made with without_defence/acc_8000_1000, which is missing"


def test_columns_that_tell_nothing_are_named():
    def row(*values):
        cells = [Cell(None, Measured(value, n=300)) for value in values]
        return dict(zip(("clean", "pgd_4", "pgd_15", "random_noise_8"), cells, strict=True))

    rows = {"none": row(99, 10, 0, 98), "cat": row(98, 60, 4.9, 99)}
    table = StudyTable("x", "demo", tuple(rows["cat"]), rows, units=dict.fromkeys(rows["cat"], "%"))
    assert columns_at_an_end(table) == {"below 5%": ["pgd_15"]}
    assert "- All rows are below 5% in pgd_15: nothing can be told apart there." in markdown(table)


def test_the_demo_names_its_clips_and_its_further_seeds_are_no_part_of_full_scale():
    study, target = find_target("kinfu-table2")
    assert target.cells["cat"]["pgd_8"].pairs("demo") == [
        (f"cat{seed}", "pgd") for seed in ("", "_seed1", "_seed2", "_seed3", "_seed4")
    ]
    assert target.cells["cat"]["pgd_8"].pairs("full") == [("cat", "pgd")]
    assert study.runs["cat_seed1"].start["demo"] == "none_seed1"
    assert _embedded(study, target) == "embedded textured clips of 48 x 48"
