"""What a report says of runs: where they come from, what they cost, and side by side."""

import json
import shlex

import pytest
from report_folders import check, column, hydra, make_run

from advvid.core.errors import AdvvidError
from advvid.evaluation.scores import Score, Scores
from advvid.report.notes import Notes
from advvid.report.runs import comparisons, run_sections
from advvid.report.sources import command_of, scale_of, training_cost
from advvid.report.summary import summary


def rows_of(grid):
    return {row.head: row for group in grid.groups for row in group.rows}


def test_the_command_can_be_pasted_into_a_shell(tmp_path):
    hydra(tmp_path, ["defense=at", "attack@suite.mim=a b", "~suite.pgd", "postprocess=[uint8,codec]"])
    assert shlex.split(command_of(tmp_path)) == [
        "python",
        "-m",
        "advvid.train",
        "defense=at",
        "attack@suite.mim=a b",
        "~suite.pgd",
        "postprocess=[uint8,codec]",
        "hydra.run.dir=outputs/x",
    ]


def test_a_command_is_told_as_a_reader_elsewhere_would_type_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hydra(tmp_path, ["dataset='motion'", f"checkpoint={tmp_path}/outputs/a", "name='a b'"])
    words = shlex.split(command_of(tmp_path))
    assert words[3:6] == ["dataset=motion", "checkpoint=outputs/a", "name='a b'"]


def test_training_is_counted_from_its_last_epoch(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "total_passes": 10}\n{"epoch": 2, "total_passes": 23040.0}\n')
    assert training_cost(tmp_path) == "2 epochs, 23,040 forward-backward passes of a clip"
    assert training_cost(tmp_path / "nowhere") == ""


def test_an_evaluation_names_the_run_that_trained_its_model(tmp_path):
    origin = make_run(tmp_path / "origin")
    (origin / "metrics.jsonl").write_text('{"epoch": 60, "total_passes": 99}\n')
    config = {"choices": {"dataset": "motion"}, "checkpoint": str(origin)}
    make_run(tmp_path / "scored", config=config)
    facts = run_sections([tmp_path / "scored"])[0].facts
    assert facts["training"].startswith("60 epochs")
    assert facts["its command"] == command_of(origin)


def test_only_embedded_data_is_demo_scale():
    for dataset, scale in {"motion": "demo", "digits": "demo", "ucf101": "full", "../x": "full"}.items():
        assert scale_of(Scores(n=1, clean=Score(), config={"choices": {"dataset": dataset}})) == scale


def test_runs_of_other_data_or_other_clips_are_not_put_side_by_side(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", defense="cat")
    make_run(tmp_path / "c", n=50)
    make_run(tmp_path / "d", dataset="ucf101")
    make_run(tmp_path / "e", dataset="ucf101", seed=1)
    found = comparisons(run_sections([tmp_path]), Notes())
    assert [(scale, heading, len(grid.header)) for scale, heading, grid in found] == [
        ("demo", "motion, n = 100", 2),
        ("full", "ucf101, n = 100", 2),
    ]


def test_every_number_leads_to_its_row(tmp_path):
    make_run(tmp_path / "at")
    make_run(tmp_path / "cat", defense="cat")
    sections = run_sections([tmp_path])
    anchors = {s.anchor for s in sections} | {r.anchor for s in sections if s.grid for r in rows_of(s.grid).values()}
    ((_, _, grid),) = comparisons(sections, Notes())
    numbers = [value for row in rows_of(grid).values() for value in row.cells if value.mark]
    assert len(numbers) == 2 * 7  # clean, two attacks, three sums and a control of two runs
    assert all(value.href.removeprefix("#") in anchors for value in numbers)
    assert rows_of(grid)["pgd"].cells[0].href == "#run-at-pgd"
    assert [(head.text, head.small) for head in grid.header] == [
        ("r3d_tiny, at, seed 0", "at"),
        ("r3d_tiny, cat, seed 0", "cat"),
    ]


def test_a_raised_check_is_a_footnote_of_the_columns_it_names(tmp_path):
    raised = [check("less_knowledge", True, "square fools 9% of the clips, which pgd does not")]
    make_run(tmp_path / "a", checks=[*raised, check("converged", False, "pgd_15")])
    make_run(tmp_path / "b", defense="cat")
    notes = Notes()
    grid = comparisons(run_sections([tmp_path]), notes)[0][2]
    (index,) = rows_of(grid)["pgd"].cells[0].notes
    assert notes.all[index - 1].text.startswith("Check raised for motion, r3d_tiny, at, seed 0: square fools 9%")
    assert "remedy: more steps" in notes.all[index - 1].text
    assert not rows_of(grid)["pgd_15"].cells[0].notes
    assert not rows_of(grid)["pgd"].cells[1].notes


def test_a_budget_that_differs_by_run_is_said(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", defense="cat", attacks={"pgd": column(0.5, budget="l-inf 4/255")})
    notes = Notes()
    comparisons(run_sections([tmp_path]), notes)
    assert "pgd: l-inf 8/255, white box | l-inf 4/255, white box (differs by run)." in [n.text for n in notes.all]


def test_runs_of_other_clips_are_footnoted_where_they_stand_side_by_side(tmp_path):
    make_run(tmp_path / "a", identity={"clips": "1"})
    make_run(tmp_path / "b", defense="cat", identity={"clips": "2"})
    notes = Notes()
    grid = comparisons(run_sections([tmp_path]), notes)[0][2]
    runs = "motion, r3d_tiny, at, seed 0; motion, r3d_tiny, cat, seed 0"
    said = (
        f"Not scored on the same clips: {runs} (the content of the videos differs). "
        "Differences of these rows may be the clips'."
    )
    assert said in [note.text for note in notes.all]
    (number,) = [note.number for note in notes.all if note.text == said]
    assert all(number in header.notes for header in grid.header)


def test_many_runs_stand_below_each_other(tmp_path):
    for seed in range(7):
        make_run(tmp_path / str(seed), seed=seed)
    grid = comparisons(run_sections([tmp_path]), Notes())[0][2]
    assert list(rows_of(grid)) == [f"r3d_tiny, at, seed {seed}" for seed in range(7)]
    assert [column.text for column in grid.header][:2] == ["clean", "pgd"]


def test_runs_of_one_name_are_told_apart_by_what_differs(tmp_path):
    choices = {"defense": "at", "attack": "pgd", "dataset": "motion", "model": "r3d_tiny"}
    for suite in ("quick", "all"):
        make_run(tmp_path / suite, config={"choices": choices | {"suite": suite}})
    sections = run_sections([tmp_path])
    assert [s.name for s in sections] == [f"motion, r3d_tiny, at, seed 0, suite {suite}" for suite in ("all", "quick")]


def test_the_summary_names_the_strongest_attack_the_checks_and_what_is_proved(tmp_path):
    make_run(tmp_path / "a", checks=[check("converged", True, "pgd_15")])
    make_run(tmp_path / "b", defense="cat", pgd=0.8)
    analysis = tmp_path / "b" / "analysis" / "smoothing.json"
    analysis.parent.mkdir()
    part = {"sigma": 0.1, "bounds": [{"radius": 0.05, "certified": {"acc": 0.31, "ci95": [0.2, 0.4]}, "attacked": {}}]}
    analysis.write_text(json.dumps({"levels": [part, {"bounds": "none"}, 3]}))
    (tmp_path / "b" / "analysis" / "odd.json").write_text("[")
    found = summary(run_sections([tmp_path]))
    (group,) = found.grid.groups
    assert [row.small for row in group.rows] == ["a", "b"]
    words = [[value.text for value in row.cells] for row in group.rows]
    assert [row[2] for row in words] == ["10.0 pgd_15", "16.0 pgd_15"]
    assert [row[4] for row in words] == ["1", "0"]
    assert [row[5] for row in words] == ["–", "31.0% at l2 radius 0.05, sigma 0.1"]
    assert "with motion, r3d_tiny, cat, seed 0 (16.0% [10.1, 24.4])" in found.said[0]
    assert found.said[1] == "1 of 2 runs raised a check: read it before you believe the numbers."


def test_a_task_without_right_answers_shows_its_measures(tmp_path):
    make_run(
        tmp_path / "a", clean={"metrics": {"mse": 0.0123}}, attacks={}, controls={}, mean={}, union={}, mean_attacks={}
    )
    (section,) = run_sections([tmp_path])
    assert rows_of(section.grid)["clean"].cells[-1].text == "mse 0.0123"


def test_evaluations_inside_the_folder_of_a_training_are_found(tmp_path):
    hydra(tmp_path / "at", ["mode=train", "defense=at"])
    make_run(tmp_path / "at" / "scores" / "pgd")
    make_run(tmp_path / "cat")
    assert [section.found.label for section in run_sections([tmp_path])] == ["at", "cat", "at/scores/pgd"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(AdvvidError, match="there is no folder"):
        run_sections([tmp_path / "none"])
