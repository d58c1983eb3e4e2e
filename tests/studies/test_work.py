"""What is carried out in which order, what begins with the weights of what, and that a failure stops nothing else."""

import json
from pathlib import Path

import pytest

from advvid.core.errors import AdvvidError
from advvid.studies import __main__ as command_line
from advvid.studies import catalogue as module
from advvid.studies import work
from advvid.studies.catalogue import find_target, studies
from advvid.studies.tables import make_table, markdown
from advvid.studies.weights import starts
from advvid.studies.work import Runner, WorkError

SCORE = {"acc": 0.5, "ci95": [0.4, 0.6], "metrics": {}}
COLUMNS = ("pgd_4", "pgd_8", "pgd_12", "pgd_15")


@pytest.fixture
def commands(monkeypatch):
    """Keys without Hydra, and runs that only note what they were told; what is put into ``fails`` fails."""
    monkeypatch.setattr(work, "training_key", lambda overrides: "t")
    monkeypatch.setattr(work, "scoring_key", lambda key, overrides: "s")

    class Told(list):
        fails = ()

    told = Told()

    def run(command, output, environment):
        told.append(command[3:])
        folder = Path(next(word for word in command if word.startswith("hydra.run.dir=")).partition("=")[2])
        if told.fails and any(word in command for word in told.fails):
            output.write("error: out of luck\n")
            return 1, 1.0
        if "mode=eval" in command:
            table = {
                "schema": 1,
                "n": 4,
                "seed": 0,
                "clean": SCORE,
                "mean": SCORE,
                "union": SCORE,
                "attacks": dict.fromkeys(COLUMNS, SCORE),
                "extra": {"pgd_8@gray_box": SCORE},
            }
            (folder / "robustness.json").write_text(json.dumps(table))
        return 0, 1.0

    monkeypatch.setattr(work, "run_command", run)
    return told


def trained(commands):
    return [command[1] for command in commands if command[0] == "mode=train"]


def test_a_defense_begins_with_the_weights_of_the_benign_model_at_demo_scale_only(commands, tmp_path):
    plan, _ = find_target("kinfu-table2")
    runner = Runner(tmp_path, "demo")
    runner.scored(plan, "at_8", "pgd")
    assert trained(commands) == ["experiment=kinfu/none", "experiment=kinfu/at_8"]
    assert f"model.checkpoint={runner.folder(plan, 'none')}/checkpoints/last.pt" in commands[1]
    assert "schedule.epochs=40" in commands[0]
    assert not any("model.checkpoint" in word for word in plan.runs["at_8"].overrides["full"])


def test_a_training_that_another_begins_with_is_done_once_and_counted(commands, tmp_path):
    plan, _ = find_target("kinfu-table2")
    runner = Runner(tmp_path, "demo")
    runner.scored(plan, "at_8", "pgd")
    runner.scored(plan, "cat", "pgd")
    assert trained(commands) == [f"experiment=kinfu/{name}" for name in ("none", "at_8", "cat")]
    assert runner.seconds(plan, [("at_8", "pgd")]) == 3
    assert runner.seconds(plan, [("at_8", "pgd"), ("cat", "pgd")]) == 5


def test_keys_do_not_depend_on_where_all_is_kept(tmp_path):
    plan, _ = find_target("kinfu-table2")
    places = [Runner(tmp_path / name, "demo").folder(plan, "at_8").name for name in ("a", "b")]
    assert places[0] == places[1]


def test_a_table_says_what_begins_with_what():
    plan, target = find_target("kinfu-table2")
    assert starts(plan, target, "demo") == "Trainings: at_8, aat, cat_down, cat start from the weights of none."
    began = "none, at_8, aat, cat_down, cat start from"
    assert starts(plan, target, "full") == (
        f"Trainings: {began} random weights, where the paper starts from Kinetics-700."
    )
    given = {"resnext3d_101": "/w/resnext-101-kinetics.pth"}
    assert starts(plan, target, "full", given) == (
        f"Trainings: {began} the file resnext-101-kinetics.pth (resnext3d_101)."
    )


def test_every_defense_of_the_demo_begins_with_a_plain_model():
    """Adversarial training from scratch learns too little in a demo."""
    for paper in studies().values():
        for run in paper.runs.values():
            if run.start and any(word.startswith("defense=") for word in run.overrides["demo"]):
                first = paper.runs[run.start["demo"]]
                assert not first.start
                assert not any(
                    word.startswith("defense=") and word != "defense=none" for word in first.overrides["demo"]
                )


def test_a_plan_that_begins_with_what_is_not_there_is_refused(tmp_path):
    (tmp_path / "kinfu.yaml").write_text("runs: {at_8: {start: {demo: none}}}\nscores: {}\ntargets: {}")
    with pytest.raises(AdvvidError, match="at_8 names the training none, which is not there"):
        module.read(tmp_path / "kinfu.yaml")


def test_what_failed_is_not_tried_again_for_every_cell_that_needs_it(commands, tmp_path):
    commands.fails = ("experiment=kinfu/none",)
    plan, _ = find_target("kinfu-table2")
    runner = Runner(tmp_path, "demo")
    for run in ("none", "at_8", "cat"):
        with pytest.raises(WorkError, match="out of luck"):
            runner.scored(plan, run, "pgd")
    assert trained(commands) == ["experiment=kinfu/none"]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_failure_says_why_in_its_cells_and_the_rest_goes_on(commands, tmp_path, jobs):
    commands.fails = ("experiment=kinfu/cat_down",)
    words = ["run", "kinfu-table2", "kinfu-table3", "lo-masked-gradients", "--scale", "demo", "--jobs", jobs]
    assert command_line.main([*words, "--root", str(tmp_path)]) == 0
    tables = tmp_path / "demo" / "tables"
    second = json.loads((tables / "kinfu-table2.json").read_text())
    rows = {row["name"]: row["cells"]["pgd_8"] for row in second["rows"]}
    assert rows["cat_down"]["why_missing"].startswith("out of luck (see ")
    assert rows["cat"]["measured"]["value"] == 50
    assert (tables / "kinfu-table3.json").is_file()
    before = len(commands)
    commands.fails = ()
    assert command_line.main([*words, "--root", str(tmp_path)]) == 0
    assert [command[1] for command in commands[before:] if command[0] == "mode=train"] == ["experiment=kinfu/cat_down"]


def test_a_damaged_evaluation_stops_neither_its_table_nor_the_next(commands, tmp_path):
    words = ["run", "kinfu-table2", "kinfu-table3", "--scale", "demo", "--root", str(tmp_path)]
    command_line.main(words)
    plan, _ = find_target("kinfu-table2")
    (Runner(tmp_path, "demo").folder(plan, "cat", "pgd") / "robustness.json").write_text('{"n": 4, ')
    assert command_line.main(words) == 0
    table = json.loads((tmp_path / "demo" / "tables" / "kinfu-table3.json").read_text())
    rows = {row["name"]: row["cells"]["pgd_8"] for row in table["rows"]}
    assert rows["cat"]["measured"] is None
    assert rows["at_8"]["measured"]["value"] == 50


def test_a_table_without_any_number_makes_the_command_fail(commands, tmp_path):
    commands.fails = ("mode=train",)
    assert command_line.main(["run", "kinfu-table2", "--scale", "demo", "--root", str(tmp_path)]) == 1


def test_a_figure_that_failed_says_why(commands, tmp_path):
    commands.fails = ("analysis=defended_clips",)
    plan, target = find_target("jia-fig7")
    text = markdown(make_table(Runner(tmp_path, "demo"), plan, target, "make jia-fig7 SCALE=demo"))
    assert "- No picture: " in text
    assert command_line.main(["run", "jia-fig7", "--scale", "demo", "--root", str(tmp_path)]) == 1


def test_a_place_without_data_is_told_before_any_run(commands, tmp_path, capsys):
    for given in ("/nowhere", f"{tmp_path},/nowhere"):
        assert command_line.main(["run", "kinfu-table2", "--root", str(tmp_path), "--ucf101", given]) == 1
        assert "there is no /nowhere, where ucf101 should be: give UCF101=<folder>" in capsys.readouterr().err
    assert commands == []


def test_a_table_that_the_plan_rules_out_is_no_failure(commands, tmp_path):
    """Its numbers are those of others, which every cell says."""
    words = [
        "run",
        "lo-masked-gradients",
        "--scale",
        "demo",
        "--root",
        str(tmp_path),
        "--publish",
        str(tmp_path / "pub"),
    ]
    assert command_line.main(words) == 0
    assert commands == []
    (table,) = json.loads((tmp_path / "pub" / "papers.json").read_text())
    reasons = {cell["why_missing"] for row in table["rows"] for cell in row["cells"].values()}
    assert reasons == {"numbers of others on images, repeated by the paper without an experiment of its own"}


def test_the_note_of_a_paper_stands_in_all_its_tables():
    for name in ("deepsava-table7", "deepsava-fig6"):
        assert find_target(name)[1].note["demo"].startswith("Clips of 8 frames; 30 iterations")
    assert "full" not in find_target("deepsava-table7")[1].note


def test_verdicts_reach_every_table_that_they_look_at(commands, tmp_path):
    words = ["--scale", "demo", "--root", str(tmp_path), "--publish", str(tmp_path / "pub")]
    for name in ("kinfu-table2", "kinfu-table3"):
        assert command_line.main(["run", name, *words]) == 0
    judged = json.loads((tmp_path / "pub" / "claims.json").read_text())
    assert "kinfu_c17" in judged
    for name in ("kinfu-table2", "kinfu-table3"):
        table = json.loads((tmp_path / "demo" / "tables" / f"{name}.json").read_text())
        expected = {claim for claim, verdict in judged.items() if name in verdict["tables"]}
        assert {claim["id"] for claim in table["claims"]} == expected
    (published,) = [t for t in json.loads((tmp_path / "pub" / "papers.json").read_text()) if t["id"] == "kinfu-table2"]
    assert "kinfu_c17" in {claim["id"] for claim in published["claims"]}
