import json
from dataclasses import replace

import pytest

from advvid.core.errors import AdvvidError
from advvid.studies import __main__ as command_line
from advvid.studies.catalogue import find_target
from advvid.studies.cell import Cell, Measured
from advvid.studies.claims import (
    FAILS,
    HOLDS,
    NOT,
    OPEN,
    Claim,
    claims,
    judge,
    kept_after_correction,
    page,
    record,
    verdicts,
)
from advvid.studies.compared import _difference, auc
from advvid.studies.made import MADE
from advvid.studies.plan import CellPlan
from advvid.studies.published import published_tables
from advvid.studies.table import Analysis, StudyTable

N = 100


def run(folder, right):
    """An evaluation in which the first so many clips are right, by column."""
    folder.mkdir()
    columns = [name for name in right if name != "clean"]
    lines = [
        {
            "id": str(i),
            "label": 1,
            "clean": int(i < right["clean"]),
            "attacks": {c: {"pred": int(i < right[c])} for c in columns},
        }
        for i in range(N)
    ]
    (folder / "samples.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "robustness.json").write_text(
        json.dumps({"schema": 1, "n": N, "clean": {}, "attacks": {c: {} for c in columns if "@" not in c}})
    )


def table(tmp_path, name, rows):
    made, right = {}, {}
    for row, right in rows.items():
        run(tmp_path / row, right)
        shares = {c: 100 * k / N for c, k in right.items()}
        made[row] = {c: Cell(None, Measured(v, (v - 5, v + 5), N, (0,), tmp_path / row)) for c, v in shares.items()}
    return {name: StudyTable(name, "demo", tuple(right), made, title="T", paper="P", dataset="D")}


def cat_beats_at(**condition):
    return Claim("x", "cat beats at", ({"table": "kinfu-table2", "columns": ["pgd_8"], **condition},))


@pytest.mark.parametrize(("cat", "verdict"), [(60, HOLDS), (20, FAILS), (41, OPEN)])
def test_a_comparison_of_two_rows_is_paired_by_clip(tmp_path, cat, verdict):
    tables = table(tmp_path, "kinfu-table2", {"cat": {"clean": 90, "pgd_8": cat}, "at_8": {"clean": 90, "pgd_8": 40}})
    found = judge(cat_beats_at(higher=["cat"], lower=["at_8"]), tables)
    assert found is not None
    assert found["verdict"] == verdict
    assert found["statistic"] == pytest.approx(cat - 40)
    assert found["ci95"][0] <= found["statistic"] <= found["ci95"][1]
    assert found["runs"] == [str(tmp_path / "at_8"), str(tmp_path / "cat")]


def test_a_margin_a_number_and_an_access(tmp_path):
    rows = {"cat": {"clean": 90, "pgd_8": 38, "pgd_8@gray_box": 70}, "at_8": {"clean": 90, "pgd_8": 40}}
    tables = table(tmp_path, "kinfu-table2", rows)
    assert judge(cat_beats_at(higher=["cat"], lower=["at_8"], margin=-10), tables)["verdict"] == HOLDS
    assert judge(cat_beats_at(rows=["cat"], at_most=50), tables)["verdict"] == HOLDS
    assert judge(cat_beats_at(rows=["cat"], at_least=50), tables)["verdict"] == FAILS
    assert judge(cat_beats_at(rows=["cat"], at_most=40), tables)["verdict"] == OPEN
    gan = table(tmp_path / "..", "kinfu-table3", {"ape_gan": {"clean": 90, "pgd_8": 30, "pgd_8@gray_box": 70}})
    claim = Claim(
        "x", "", ({"table": "kinfu-table3", "higher": ["ape_gan"], "columns": ["pgd_8"], "above_access": "white_box"},)
    )
    found = judge(claim, gan)
    assert (found["verdict"], found["statistic"]) == (HOLDS, pytest.approx(40))


def test_models_that_did_not_learn_decide_nothing(tmp_path):
    tables = table(tmp_path, "kinfu-table2", {"cat": {"clean": 90, "pgd_8": 60}, "at_8": {"clean": 30, "pgd_8": 20}})
    row = tables["kinfu-table2"].rows["at_8"]
    row["clean"] = replace(row["clean"], published=64.1)
    found = judge(cat_beats_at(higher=["cat"], lower=["at_8"]), tables)
    assert (found["verdict"], found["because"], found["p"]) == (NOT, "at_8 hardly learned at this scale", None)


def test_a_missing_number_or_table_is_no_verdict(tmp_path):
    tables = table(tmp_path, "kinfu-table2", {"cat": {"clean": 90, "pgd_8": 38}, "at_8": {"clean": 90, "pgd_8": 40}})
    tables["kinfu-table2"].rows["cat"]["pgd_8"] = Cell()
    assert judge(cat_beats_at(higher=["cat"], lower=["at_8"]), tables) is None
    assert judge(cat_beats_at(higher=["cat"], lower=["at_8"]), {}) is None


def test_a_demo_does_not_replace_what_full_scale_said(tmp_path):
    rows = {
        row: {"clean": 90, **dict.fromkeys(("pgd_4", "pgd_8", "pgd_12", "pgd_15"), 40 - 9 * (row == "cat_down"))}
        for row in ("at_8", "cat_down")
    }
    tables = table(tmp_path, "kinfu-table2", rows)
    assert record(verdicts(tables), tmp_path)["kinfu_c17"]["verdict"] == OPEN  # clean is equal
    full = {"kinfu-table2": replace(tables["kinfu-table2"], scale="full")}
    assert record(verdicts(full), tmp_path)["kinfu_c17"]["scale"] == "full"
    assert record(verdicts(tables), tmp_path)["kinfu_c17"]["scale"] == "full"
    assert "| kinfu_c17 | The falling curriculum" in (tmp_path / "claims.md").read_text()
    assert json.loads((tmp_path / "claims.json").read_text())["kinfu_c17"]["ci95"]


def numbers(printed):
    """What a table prints; nothing for curves that were drawn without numbers."""
    return [cell for row in printed.rows.values() for cell in row.values() if cell is not None]


def test_every_statement_names_cells_that_exist_and_are_measured_by_clips():
    for claim in claims().values():
        for condition in claim.conditions:
            _, target = find_target(condition["table"])
            if "score" in condition:
                for run in {condition["run"], condition.get("less_run", condition["run"])}:
                    assert (run, condition["score"]) in target.figures, claim.id
                continue
            if "gain" in condition or condition["table"] not in published_tables():
                names = [n for key in ("gain", "above_gain", "higher", "lower") for n in condition.get(key, [])]
                own = [tuple(name.split(":")) for name in names if ":" in name]
                places = own + [(n, column) for n in names if ":" not in n for column in condition["columns"]]
                assert all(target.cells[row][column].measure not in MADE for row, column in places), claim.id
                continue
            printed = published_tables()[condition["table"]]
            names = [*condition.get("higher", []), *condition.get("lower", []), *condition.get("rows", [])]
            if "lower_table" in condition:
                printed = published_tables()[condition["lower_table"]]
                _, target = find_target(condition["lower_table"])
                names = condition["lower"]
            for name in names:
                row, _, own = name.partition(":")
                for column in [own] if own else condition["columns"]:
                    assert row in printed.rows, f"{claim.id}: {row}"
                    assert printed.cell(row, column) is not None or not numbers(printed), f"{claim.id}: {row}, {column}"
                    assert target.cells[row][column].measure not in MADE


def test_the_command_judges_both_scales_where_none_is_named(tmp_path, capsys):
    rows = {
        row: {"clean": 90, **dict.fromkeys(("pgd_4", "pgd_8", "pgd_12", "pgd_15"), 40)} for row in ("at_8", "cat_down")
    }
    made = table(tmp_path, "kinfu-table2", rows)["kinfu-table2"]
    words = ["claims", "--root", str(tmp_path), "--publish", str(tmp_path / "pub")]
    assert command_line.main(words) == 1
    assert "there is no table below" in capsys.readouterr().err
    for scale in ("demo", "full"):
        (tmp_path / scale / "tables").mkdir(parents=True)
        (tmp_path / scale / "tables" / "kinfu-table2.json").write_text(json.dumps(replace(made, scale=scale).to_json()))
        assert command_line.main(words) == 0
        assert json.loads((tmp_path / "pub" / "claims.json").read_text())["kinfu_c17"]["scale"] == scale


@pytest.mark.parametrize("name", sorted(claims()))
def test_the_papers_own_numbers_are_judged_by_the_same_rule(name):
    """A statement that its own table contradicts is known: the text and the table of the paper differ there."""
    against = []
    for condition in claims()[name].conditions:
        if {"score", "access", "gain"} & condition.keys() or condition["table"] not in published_tables():
            continue
        printed = published_tables()[condition["table"]]
        other = published_tables()[condition.get("lower_table", condition["table"])]
        if not numbers(printed):
            continue
        for column in condition["columns"]:
            for one in condition.get("higher", []):
                for two in condition.get("lower", []):
                    (a, x), (b, y) = ((n.partition(":")[0], n.partition(":")[2] or column) for n in (one, two))
                    if printed.cell(a, x).value < other.cell(b, y).value + condition.get("margin", 0):
                        against.append((a, b, x))
    assert bool(against) == (name in CONTRADICTED), against


CONTRADICTED = {"kinfu_c11", "kinfu_c13", "kinfu_c14", "lo_c05"}


def test_the_page_counts():
    shared = {"says": "s", "scale": "demo", "of": "a less b", "statistic": 1.0, "ci95": [0.5, 1.5]}
    text = page({"a": {**shared, "verdict": HOLDS, "p": 0.001}, "b": {**shared, "verdict": FAILS, "p": 0.049}})
    assert "1 hold, 1 do not hold, 0 are undecided. 0 are not testable" in text
    assert "of the 2 decided, 2 are left" in text


def test_few_false_ones_are_left_by_benjamini_and_hochberg():
    """Of p values 0.01 and 0.04 beside eight large ones, the larger one's limit is 2/10 of 5%, the smaller one's 1/10."""
    judged = {f"x{i}": {"verdict": OPEN, "p": 0.5 + i / 20} for i in range(8)}
    judged |= {
        "a": {"verdict": HOLDS, "p": 0.004},
        "b": {"verdict": FAILS, "p": 0.04},
        "c": {"verdict": NOT, "p": None},
    }
    assert kept_after_correction(judged) == (["a"], 10)


IDS = {"kinfu": 27, "deepsava": 37, "aart": 14, "jia": 18, "lo": 31}


def test_every_statement_of_the_papers_has_a_check_or_a_reason():
    assert set(claims()) == {f"{paper}_c{i:02d}" for paper, count in IDS.items() for i in range(1, count + 1)}
    for claim in claims().values():
        assert bool(claim.conditions) != bool(claim.reason), claim.id
        assert not claim.reason or (len(claim.reason.split()) > 5 and judge(claim, {})["verdict"] == NOT)
    with pytest.raises(AdvvidError, match="x needs either"):
        Claim("x", "neither", ())


@pytest.mark.parametrize(
    ("cat", "at", "verdict"), [(3, 1, NOT), (1, 4, NOT), (97, 98, NOT), (96, 60, HOLDS), (4, 60, FAILS), (6, 2, OPEN)]
)
def test_two_rows_at_one_end_of_the_scale_cannot_be_told_apart(tmp_path, cat, at, verdict):
    tables = table(tmp_path, "kinfu-table2", {"cat": {"clean": 99, "pgd_8": cat}, "at_8": {"clean": 99, "pgd_8": at}})
    found = judge(cat_beats_at(higher=["cat"], lower=["at_8"]), tables)
    assert found["verdict"] == verdict
    assert (found["because"] != "", found["p"] is None) == (verdict == NOT, verdict == NOT)


def test_where_one_column_can_tell_it_decides(tmp_path):
    rows = {"cat": {"clean": 90, "pgd_8": 20, "pgd_15": 2}, "at_8": {"clean": 90, "pgd_8": 60, "pgd_15": 1}}
    tables = table(tmp_path, "kinfu-table2", rows)
    both = Claim(
        "x", "", ({"table": "kinfu-table2", "columns": ["pgd_8", "pgd_15"], "higher": ["cat"], "lower": ["at_8"]},)
    )
    assert judge(both, tables)["verdict"] == FAILS
    other = Claim(
        "x", "", ({"table": "kinfu-table2", "columns": ["pgd_8", "pgd_15"], "higher": ["at_8"], "lower": ["cat"]},)
    )
    assert judge(other, tables)["verdict"] == NOT  # holds where it can be told, and nothing can be told at 15/255


def test_little_lost_clean_accuracy_is_told_at_the_ceiling_too(tmp_path):
    tables = table(tmp_path, "kinfu-table2", {"cat": {"clean": 97}, "at_8": {"clean": 99}})
    condition = {"table": "kinfu-table2", "columns": ["clean"], "higher": ["cat"], "lower": ["at_8"], "margin": -10}
    assert judge(Claim("x", "", (condition,)), tables)["verdict"] == HOLDS


def test_a_gain_is_compared_with_another(tmp_path):
    rows = {"cat": {"clean": 60, "pgd_8": 70}, "at_8": {"clean": 50, "pgd_8": 10}}
    gain = {"gain": ["cat:pgd_8", "at_8:pgd_8"], "above_gain": ["cat:clean", "at_8:clean"]}
    found = judge(Claim("x", "", ({"table": "kinfu-table2", **gain},)), table(tmp_path, "kinfu-table2", rows))
    assert (found["verdict"], found["statistic"]) == (HOLDS, pytest.approx(40))


def test_there_are_enough_statements_of_every_paper():
    papers = [name.split("_")[0] for name in claims()]
    assert len(papers) >= 75
    assert {paper: papers.count(paper) >= 8 for paper in papers} == dict.fromkeys(papers, True)


def figure(tmp_path, name, analysis, result, runs=("none",), score="surface"):
    """A figure of which some runs have an analysis."""
    for run_name in runs:
        (tmp_path / run_name / "analysis").mkdir(parents=True)
        (tmp_path / run_name / "analysis" / f"{analysis}.json").write_text(json.dumps(result[run_name]))
    return {name: StudyTable(name, "demo", analyses=tuple(Analysis(tmp_path / r, r, score) for r in runs))}


@pytest.mark.parametrize(("ends", "verdict"), [([-0.05, 0.05], HOLDS), ([0.2, 0.3], FAILS), ([-0.05, 0.2], OPEN)])
def test_a_number_of_a_figure_with_its_interval(tmp_path, ends, verdict):
    result = {"none": {"flat_from_two": {"difference": sum(ends) / 2, "ci95": ends}}}
    found = judge(claims()["kinfu_c02"], figure(tmp_path, "kinfu-fig1", "loss_surface", result))
    assert found["verdict"] == verdict
    assert judge(claims()["kinfu_c02"], {"kinfu-fig1": StudyTable("kinfu-fig1", "demo")}) is None


def test_two_runs_of_a_figure_are_compared_and_a_missing_number_is_no_verdict(tmp_path):
    rows = {
        name: {"models": [{"mse": {"mean": mean, "ci95": [mean - 1, mean + 1]}}]}
        for name, mean in (("none", 5), ("a_art", 2))
    }
    tables = figure(tmp_path, "aart-fig1", "attention_maps", rows, ("none", "a_art"), "attention")
    found = judge(claims()["aart_c07"], tables)
    assert (found["verdict"], found["statistic"]) == (HOLDS, 3)
    assert found["ci95"] == pytest.approx([3 - 2**0.5, 3 + 2**0.5])
    assert judge(claims()["aart_c06"], tables) is None


def test_groups_are_told_apart_by_the_area_under_the_roc(tmp_path):
    assert (auc([1, 2], [3, 4]).value, auc([1, 2], [3, 4]).ci95) == (1, (1, 1))
    assert auc([1, 2], [1, 2]).value == 0.5
    index = {"clean": [0.0] * 20, "sparse": [0.1, 0.0] * 10, "dense": [1.0] * 20}
    tables = figure(tmp_path, "jia-fig2", "detection", {"cnn_lstm": {"index": index}}, ("cnn_lstm",), "detection")
    assert judge(claims()["jia_c02"], tables)["verdict"] == HOLDS
    found = judge(claims()["jia_c01"], tables)
    assert (found["verdict"], found["statistic"]) == (OPEN, pytest.approx(0.75 - 0.7))


def test_iterations_are_compared_on_the_clips_that_both_fool(tmp_path):
    rows = []
    for row, steps in (("iter_30", [3, 5, None]), ("iter_100", [1, 2, 7])):
        hits = [{"pred": int(n is None), "steps": n or 9, "distance": 0.1} for n in steps]
        lines = [
            {"id": str(i), "label": 1, "clean": 1, "attacks": {"deep_sava_first": hit}} for i, hit in enumerate(hits)
        ]
        (tmp_path / row).mkdir()
        (tmp_path / row / "samples.jsonl").write_text("\n".join(map(json.dumps, lines)))
        plan = CellPlan("i3d", row, "deep_sava_first", "iterations")
        rows.append((plan, Measured(0, run=tmp_path / row)))
    found = _difference([plan for plan, _ in rows], [m for _, m in rows], False)
    assert found.value == pytest.approx((3 + 5) / 2 - (1 + 2) / 2)


def test_rows_of_two_tables_are_compared(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    tables = table(tmp_path / "a", "lo-at-single", {"at_pgd": {"clean": 90, "pgd_4": 60}})
    tables |= table(tmp_path / "b", "lo-multibn-ucf101", {"trades": {"clean": 90, "pgd_4": 20}})
    found = judge(claims()["deepsava_c36"], tables)
    assert (found["verdict"], found["statistic"], found["tables"]) == (
        HOLDS,
        pytest.approx(40),
        ["lo-at-single", "lo-multibn-ucf101"],
    )
