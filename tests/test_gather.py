"""Runs of a sweep come together in one table, and nothing is lost or mixed up on the way."""

import csv
import json
import re

import pytest
from PIL import Image

from advvid.core.errors import AdvvidError
from advvid.metrics.statistics import wilson
from advvid.runs.found_runs import find_runs, varied
from advvid.runs.gather import gather, main

TARGETS = {"at": "a.AT", "cat": "a.CAT", "none": "a.No"}


def score(acc, n=100):
    return {"acc": acc, "ci95": list(wilson(round(acc * n), n)), "budget": "l-inf 8/255", "access": "white_box"}


def make_run(folder, defense="at", eps="8/255", seed=0, pgd=0.5, extra=None, noise=None):
    config = {
        "choices": {"defense": defense, "attack": "pgd", "attack@suite.pgd_8": "pgd"},
        "mode": "train_eval",
        "name": folder.name,
        "seed": seed,
        "attack": {"_target_": "a.PGD", "eps": eps},
        "defense": {"_target_": TARGETS[defense]} | (extra or {}),
        "tracker": {"name": folder.name},
    }
    result = {
        "schema": 1,
        "n": 100,
        "seed": seed,
        "clean": score(0.9),
        "attacks": {"pgd": score(pgd)},
        "mean": score(0.7),
        "mean_attacks": score(pgd),
        "union": score(pgd / 2),
        "controls": {"noise": score(noise)} if noise else {},
        "config": config,
    }
    folder.mkdir(parents=True)
    (folder / "robustness.json").write_text(json.dumps(result))
    return folder


def make_failed(folder):
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text("- attack.eps=9\n- seed=1\n")
    (folder / "train.log").write_text("epoch 1\nloss is not a number in step 12\n")


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_sweep_with_a_failed_job(tmp_path):
    for i, eps in enumerate(["2/255", "10/255", "4/255"]):
        make_run(tmp_path / str(2 * i), eps=eps, pgd=0.1 * (i + 1))
    make_failed(tmp_path / "10")
    (tmp_path / "12").mkdir()
    (tmp_path / "12" / "robustness.json").write_text('{"schema": 1, "n"')
    _table, written, found = gather([tmp_path], tmp_path / "out")
    assert [run.label for run in found] == ["0", "2", "4", "10", "12"]
    text = (tmp_path / "out" / "gathered.md").read_text()
    assert "| run | attack.eps | n | seed | clean | pgd | mean | union |" in text
    assert "| 2 | 10/255 | 100 | 0 | 90.0 [82.6, 94.5] | 20.0 [13.3, 28.9] |" in text
    assert "No table: 10 (no robustness.json; attack.eps=9 seed=1; last words: loss is not a number in step 12)" in text
    assert "No table: 12 (robustness.json cannot be read" in text
    rows = rows_of(tmp_path / "out" / "gathered.csv")
    assert [row["pgd"] for row in rows] == ["0.1", "0.2", "0.30000000000000004", "", ""]
    assert float(rows[0]["pgd_low"]) == wilson(10, 100)[0]
    assert "attack.eps=9" in rows[3]["problem"]
    assert {path.name for path in written} == {"gathered.md", "gathered.csv"}  # one setting varies: no heat map


def test_choices_stand_for_what_follows_from_them(tmp_path):
    make_run(tmp_path / "none", "none")
    make_run(tmp_path / "a", "at", extra={"inner_steps": 5})
    make_run(tmp_path / "b", "cat", extra={"inner_steps": 5, "eps_to": "12/255"})
    runs = find_runs([tmp_path])
    assert varied(runs) == {"defense": ["at", "cat", "none"]}
    make_run(tmp_path / "c", "cat", extra={"inner_steps": 5, "eps_to": "8/255"})
    assert varied(find_runs([tmp_path])) == {
        "defense": ["at", "cat", "cat", "none"],
        "defense.eps_to": ["", "12/255", "8/255", ""],
    }


def test_the_order_of_folders_is_the_order_of_rows(tmp_path):
    for name in ("cat", "none"):
        make_run(tmp_path / name, name)
    assert [run.label for run in find_runs([tmp_path / "none", tmp_path / "cat"])] == ["none", "cat"]
    assert [run.label for run in find_runs([tmp_path, tmp_path / "cat"])] == ["cat", "none"]


def test_averages_over_seeds_with_their_range(tmp_path):
    for i, (defense, seed, pgd) in enumerate(
        [("at", 0, 0.3), ("cat", 0, 0.5), ("at", 1, 0.4), ("cat", 1, 0.6), ("at", 2, 0.5)]
    ):
        make_run(tmp_path / str(i), defense, seed=seed, pgd=pgd, noise=pgd + 0.1)
    gather([tmp_path], tmp_path / "out", over="seed")
    text = (tmp_path / "out" / "gathered.md").read_text()
    assert "| 0, 2, 4 | at | 100 | 0, 1, 2 | 90.0 [90.0, 90.0] | 40.0 [30.0, 50.0] |" in text
    assert "| 1, 3 | cat | 100 | 0, 1 | 90.0 [90.0, 90.0] | 55.0 [50.0, 60.0] |" in text
    assert "mean over seed, [lowest, highest]" in text
    assert "Wilson" not in text
    row = rows_of(tmp_path / "out" / "gathered.csv")[0]
    assert (float(row["noise"]), float(row["noise_low"]), float(row["noise_high"])) == pytest.approx((0.5, 0.4, 0.6))
    with pytest.raises(AdvvidError, match="did you mean seed"):
        gather([tmp_path], tmp_path / "out", over="seeed")


def test_rows_of_other_clips_are_told(tmp_path):
    for i in range(3):
        path = make_run(tmp_path / str(i), seed=i) / "robustness.json"
        result = json.loads(path.read_text())
        result["config"]["dataset"] = {"stride": 2 if i == 2 else 4}
        path.write_text(json.dumps(result | {"identity": {"parts": {}, "clips": f"{i // 2}"}}))
    for over in (None, "seed"):
        gather([tmp_path], tmp_path / "out", over=over)
        text = (tmp_path / "out" / "gathered.md").read_text()
        assert "- Not scored on the same clips: 0, 1 (dataset.stride=4); 2 (dataset.stride=2)." in text


def test_heat_map_over_two_settings(tmp_path):
    values = {("at", "2/255"): 0.5, ("at", "10/255"): 0.3, ("cat", "2/255"): 0.6}
    for i, ((defense, eps), pgd) in enumerate(values.items()):
        for seed in (0, 1):
            make_run(tmp_path / f"{i}_{seed}", defense, eps=eps, seed=seed, pgd=pgd)
    _table, written, _found = gather([tmp_path], tmp_path / "out", over="seed")
    assert Image.open(tmp_path / "out" / "heatmap_pgd.png").size[0] > 300
    assert written[-1].name == "heatmap_pgd.png"
    assert gather([tmp_path], tmp_path / "out", over="seed", column="union")[1][-1].name == "heatmap_union.png"
    with pytest.raises(AdvvidError, match="no such column; choose from clean, mean, mean_attacks, union, pgd"):
        gather([tmp_path], tmp_path / "out", over="seed", column="fgsm")
    with pytest.raises(AdvvidError, match=r"here vary: defense, attack\.eps, seed"):
        gather([tmp_path], tmp_path / "out", column="pgd")


def test_heat_map_shows_the_attack_whose_settings_vary(tmp_path):
    for i, (eps, seed) in enumerate([("2/255", 0), ("2/255", 1), ("4/255", 0)]):
        path = make_run(tmp_path / str(i), eps=eps, seed=seed) / "robustness.json"
        told = json.loads(path.read_text())
        told["attacks"] = {"fgsm_8": score(0.7), **told["attacks"]}  # of the suite, and first
        path.write_text(json.dumps(told))
    assert gather([tmp_path], tmp_path / "out")[1][-1].name == "heatmap_pgd.png"


def test_heat_map_cells_hold_the_right_runs(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("advvid.visuals.heat_maps.heat_map", lambda *arguments: drawn.append(arguments))
    for i, (eps, seed, pgd) in enumerate([("10/255", 0, 0.1), ("2/255", 0, 0.2), ("2/255", 1, 0.3)]):
        make_run(tmp_path / str(i), eps=eps, seed=seed, pgd=pgd)
    gather([tmp_path], tmp_path)
    _path, values, rows, columns, row_name, column_name, _title = drawn[0]
    assert (row_name, rows, column_name, columns) == ("attack.eps", ["2/255", "10/255"], "seed", ["0", "1"])
    assert values[0].tolist() == [0.2, 0.3]
    assert values[1, 0] == 0.1
    assert values[1, 1] != values[1, 1]  # not a number: no such run


def test_command_line(tmp_path, capsys):
    run = make_run(tmp_path / "sweep" / "none", "none")
    (run / "pictures").mkdir()
    (run / "wandb" / "offline-run-1-x").mkdir(parents=True)
    make_run(tmp_path / "sweep" / "cat", "cat", pgd=0.6)
    assert main([str(tmp_path / "sweep"), "--title", "Demo", "--where"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"none .*50\.0 \[40\.4, 59\.6\]", said)
    assert re.search(r"cat .*60\.0 \[50\.2, 69\.1\]", said)
    for place in (run / "pictures", run / "wandb" / "offline-run-1-x", run / "robustness.json"):
        assert str(place) in said
    assert (tmp_path / "sweep" / "gathered.md").read_text().startswith("# Demo")


def test_nothing_to_gather_is_an_error(tmp_path, capsys):
    make_failed(tmp_path / "0")
    assert main([str(tmp_path)]) == 1
    assert re.search(r"error: no run below .* \(1 without\): run with mode=train_eval", capsys.readouterr().err)
    assert main([str(tmp_path / "absent")]) == 1
    assert "there is no folder" in capsys.readouterr().err
    make_run(tmp_path / "1")
    path = tmp_path / "1" / "robustness.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 9'))
    with pytest.raises(AdvvidError, match=r"no run below .* \(2 without\)"):
        gather([tmp_path], tmp_path)
    assert "not written by this version" in find_runs([tmp_path])[1].problem
