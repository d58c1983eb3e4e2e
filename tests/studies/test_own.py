"""Tables of our own: seeds, rows and columns without a published table, and that every one of them composes."""

import json
import subprocess
import textwrap
from pathlib import Path

import pytest

from advvid.report.joined import read_tables
from advvid.studies import __main__ as command_line
from advvid.studies import catalogue, work
from advvid.studies.catalogue import all_targets, find_targets, studies
from advvid.studies.check import compose_all
from advvid.studies.measured import measure
from advvid.studies.plan import CellPlan
from advvid.studies.publish import read_list
from advvid.studies.tables import make_table, markdown
from advvid.studies.work import Runner

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "outputs" / "published"
OWN = [name for name, study in studies().items() if study.own]
MINE = """
scales: [demo]
runs:
  none: {seeds: [0, 1, 2], demo: [defense=none]}
  at: {seeds: [0, 1, 2], demo: [defense=at, 'dataset.seed={seed}'], start: none}
  at_12: {seeds: [0], demo: [defense=at, attack.eps=12/255], start: none}
scores:
  quick: {overrides: [suite=quick]}
  '{each}': {overrides: ['purifier=[{each}]', 'analysis.checkpoints=[{run:none}]'], for: [jpeg, swirl]}
targets:
  mine-table:
    title: Mine
    cell: {score: quick}
    rows: {no defense: none, AT: at, "AT, 12": at_12}
    columns:
      clean:
      pgd_8:
      pgd of one: {column: pgd_8, seeds: 1}
      gain: {measure: row_difference, over: [pgd_8, no defense/pgd_8]}
      share: {measure: share, over: [pgd_8, no defense/pgd_8]}
  mine-jpeg: {rows: {AT: at}, columns: {clean: {score: jpeg}}}
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A study of three seeds, and runs whose accuracy follows from defense and seed."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "mine.yaml").write_text(MINE)
    monkeypatch.setattr(catalogue, "OWN", folder)
    catalogue.studies.cache_clear()
    monkeypatch.setattr(work, "training_key", lambda overrides: "t")
    monkeypatch.setattr(work, "scoring_key", lambda key, overrides: "s")
    told = []

    def run(command, output, environment):
        told.append(command[3:])
        place = Path(next(word for word in command if word.startswith("hydra.run.dir=")).partition("=")[2])
        if "mode=eval" in command:
            name, seed = place.parent.parent.name.split("-")[1].split("_seed")
            acc = {"none": 0.25, "at": 0.5, "at_12": 0.75}[name] + int(seed) / 10
            score = {"acc": acc, "ci95": [acc - 0.1, acc + 0.1], "metrics": {}}
            table = {"schema": 1, "n": 40, "seed": int(seed), "clean": score, "mean": score, "union": score}
            (place / "robustness.json").write_text(json.dumps(table | {"attacks": {"pgd_8": score}}))
        return 0, 1.0

    monkeypatch.setattr(work, "run_command", run)
    yield told
    monkeypatch.undo()
    catalogue.studies.cache_clear()


def test_a_cell_is_the_mean_over_its_seeds_with_lowest_and_highest(mine, tmp_path):
    ((study, target), _) = find_targets("mine")
    table = make_table(Runner(tmp_path, "demo"), study, target, "make study-mine-table")
    found = {row: {column: cell.measured for column, cell in cells.items()} for row, cells in table.rows.items()}
    mean = found["AT"]["pgd_8"]
    assert (mean.value, mean.ci95, mean.seeds) == (pytest.approx(60), None, (0, 1, 2))
    assert mean.range == pytest.approx((50, 70))
    assert [(one["seed"], one["value"]) for one in mean.each] == [(0, 50), (1, 60), (2, pytest.approx(70))]
    assert (found["AT, 12"]["pgd_8"].value, found["AT, 12"]["pgd_8"].seeds) == (75, (0,))
    assert found["AT"]["pgd of one"].value == 50
    assert found["AT"]["gain"].value == pytest.approx(60 - 35)
    assert found["AT"]["share"].value == pytest.approx(100 * 60 / 35)
    assert "| AT | 60.0 [50.0, 70.0] | 60.0 [50.0, 70.0] | 50.0 [40.0, 60.0] |" in markdown(table)
    assert "of several seeds the mean, lowest and highest" in markdown(table)


def test_trainings_begin_with_and_name_those_of_the_same_seed(mine, tmp_path):
    study = studies()["mine"]
    assert set(study.runs) == {*(f"{run}_seed{seed}" for run in ("none", "at") for seed in range(3)), "at_12_seed0"}
    assert study.runs["at_seed2"].start["demo"] == "none_seed2"
    assert "model.checkpoint={run:none_seed2}/checkpoints/last.pt" in study.runs["at_seed2"].overrides["demo"]
    assert {"dataset.seed=2", "seed=2"} <= set(study.runs["at_seed2"].overrides["demo"])
    assert study.score_overrides("at_seed1", "jpeg", "demo") == [
        "purifier=[jpeg]",
        "analysis.checkpoints=[{run:none_seed1}]",
    ]
    Runner(tmp_path, "demo").scored(study, "at_seed1", "jpeg")
    assert [command[1] for command in mine] == [
        "defense=none",
        "defense=at",
        f"checkpoint={tmp_path}/demo/mine-at_seed1-t",
    ]


def test_a_study_of_our_own_is_made_at_demo_scale_and_published_beside_the_papers(mine, tmp_path, capsys):
    words = ["run", "mine-table", "--root", str(tmp_path), "--publish", str(tmp_path / "pub")]
    assert command_line.main(words) == 1
    assert "mine-table is not made at this scale: give --scale demo" in capsys.readouterr().err
    assert mine == []
    assert command_line.main([*words, "--scale", "demo"]) == 0
    assert sorted(path.name for path in (tmp_path / "pub").iterdir()) == ["mine.md", "studies.json"]
    (table,) = read_tables([tmp_path / "pub" / "studies.json"])
    found = table.cells("AT", "clean")["demo"].measured
    assert (found.value, found.range, found.seed) == (pytest.approx(60), pytest.approx((50, 70)), "0, 1, 2")


def test_the_example_of_the_guide_is_a_study(tmp_path):
    (tmp_path / "mine.yaml").write_text(textwrap.dedent(catalogue.__doc__.split("Example::\n")[1]))
    study = catalogue.read(tmp_path / "mine.yaml")
    assert study.targets["mine-table"].cells["AT"]["pgd_8"].pairs("demo") == [
        (f"at_seed{seed}", "quick") for seed in range(3)
    ]
    assert study.runs["at_seed1"].start["demo"] == "none_seed1"


def test_the_old_name_of_an_override_works_and_says_so(mine, tmp_path, capsys):
    words = ["run", "mine-table", "--root", str(tmp_path), "--scale", "demo"]
    assert command_line.main([*words, "--word", "model.width=0.5", "--override", "schedule.epochs=1"]) == 0
    assert "notice: --word is called --override now" in capsys.readouterr().err
    assert {"model.width=0.5", "schedule.epochs=1"} <= set(mine[0])


@pytest.mark.parametrize("name", OWN)
def test_every_row_of_our_studies_composes(name):
    assert list(compose_all("demo", (name,))) == []


def test_another_program_than_the_training_is_carried_out_in_its_folder(mine, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(work, "run_command", lambda command, output, environment: (told.append(command), (0, 1.0))[1])
    study = catalogue.read(catalogue.HERE / "own" / "purifiers.yaml")
    folder = Runner(tmp_path, "demo", {"": ["seed=1"]}).trained(study, "comdefend")
    (command,) = told
    assert command[2] == "advvid.purifiers.train_comdefend"
    assert f"{folder}/networks.pt" in command
    assert not any("seed" in word or "tracker" in word for word in command)
    assert "purifier.comdefend.checkpoint={run:comdefend}/networks.pt" in study.scores["comdefend"].overrides["demo"]


def test_measures_of_our_own_have_known_answers(tmp_path):
    folder = tmp_path / "scores" / "s"
    folder.mkdir(parents=True)
    (folder / "robustness.json").write_text(json.dumps({"schema": 1, "n": 4, "seed": 0, "clean": {}, "attacks": {}}))
    labels = [0, 1, 1, 2]
    lines = [{"id": str(i), "label": label, "clean": 0, "attacks": {}} for i, label in enumerate(labels)]
    (folder / "samples.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "metrics.jsonl").write_text('{"total_passes": 10}\n{"total_passes": 23040}\n')
    for place, seconds in ((tmp_path, 90), (folder, 30)):
        (place / "done.json").write_text(json.dumps({"seconds": seconds}))
    values = [measure(folder, CellPlan("r", "s", "clean", name)).value for name in ("constant", "passes", "minutes")]
    assert values == [50, 23.04, 2]


def test_published_tables_are_those_of_the_studies_and_say_how_to_make_them_again():
    tables = {table.id: table for table in read_list(PUBLISHED / "studies.json")}
    assert list(tables) == [name for name, target in all_targets().items() if studies()[target.study].own]
    for name, table in tables.items():
        target = all_targets()[name]
        assert {row: list(cells) for row, cells in table.rows.items()} == {r: list(c) for r, c in target.cells.items()}
        page = (PUBLISHED / f"{target.study}.md").read_text()
        assert markdown(table) in page
        assert table.command == f"make study-{name}"
    for study in OWN:
        assert (PUBLISHED / f"{study}.md").is_file()


def test_make_makes_a_study_at_demo_scale_and_takes_the_old_name_of_overrides():
    def told(*words):
        command = ["make", "--no-print-directory", "-n", *words]  # make says the folder where another make calls it
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout

    assert "papers run --scale demo" in told("study-embedded")
    assert told("study-embedded").rstrip().endswith(" embedded")
    assert "papers run --scale full" in told("kinfu-table2")
    old = told("kinfu-table2", "WORDS=seed=1")
    assert "notice: WORDS is called OVERRIDES now" in old
    assert "--override seed=1" in old
