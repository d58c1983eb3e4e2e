"""The table's numbers follow from samples.jsonl alone, and its pictures say what the numbers are."""

import dataclasses
import json

import numpy as np
import pytest
from rich.console import Console

from advvid.attacks.auto_attack import AutoAttack
from advvid.core.errors import AdvvidError
from advvid.evaluation.check_rules import finding
from advvid.evaluation.robustness import RobustnessTable
from advvid.evaluation.scores import ColumnScore, Score
from advvid.evaluation.table import percent, robustness_table
from advvid.evaluation.tally import read_samples, summarise
from advvid.metrics.statistics import wilson


def record(clip, label, clean, **attacks):
    attacks = {
        name: {"pred": pred, "distance": 0.03, "steps": 5, "gradient_calls": 5} for name, pred in attacks.items()
    }
    return {"id": clip, "label": label, "clean": clean, "attacks": attacks}


def random_samples(n=200, seed=0):
    rng = np.random.default_rng(seed)
    labels, clean, a, b, noise = rng.integers(0, 3, (5, n)).tolist()
    return [
        record(
            f"clip{i}", label, clean[i] if i % 3 else label, pgd=a[i] if i % 2 else label, border=b[i], noise=noise[i]
        )
        for i, label in enumerate(labels)
    ]


def test_known_table():
    samples = [
        record("a", 1, 1, pgd=1, border=1),
        record("b", 1, 1, pgd=0, border=1),
        record("c", 0, 0, pgd=0, border=2),
        # Wrong on clean: the attacks turned it right, which is no merit.
        record("d", 2, 0, pgd=2, border=2),
    ]
    result = summarise(samples, ["pgd", "border"])
    assert result["n"] == 4
    assert result["clean"] == {"acc": 0.75, "ci95": list(wilson(3, 4))}
    assert result["attacks"]["pgd"]["acc"] == 0.5
    assert result["attacks"]["border"]["acc"] == 0.5
    assert result["union"] == {"acc": 0.25, "ci95": list(wilson(1, 4))}
    assert result["mean"]["acc"] == pytest.approx((0.75 + 0.5 + 0.5) / 3)
    assert result["mean_attacks"]["acc"] == pytest.approx(0.5)


def test_invariants_and_places_of_columns():
    result = summarise(random_samples(), ["pgd", "border"], controls=["noise"])
    scores = [result["clean"]["acc"], *(column["acc"] for column in result["attacks"].values())]
    assert result["union"]["acc"] <= min(scores)
    assert result["mean"]["acc"] == pytest.approx(sum(scores) / 3)
    assert all(score <= result["clean"]["acc"] for score in scores)
    assert list(result["controls"]) == ["noise"]
    assert "noise" not in result["attacks"]
    for score in (result["mean"], result["mean_attacks"], result["union"], result["clean"]):
        low, high = score["ci95"]
        assert 0 <= low < score["acc"] < high <= 1
    assert json.loads(json.dumps(result)) == result


def test_numbers_survive_the_file_and_the_order_of_clips(tmp_path):
    samples = random_samples()
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(sample) + "\n" for sample in reversed(samples)))
    assert summarise(read_samples(path), ["pgd"]) == summarise(samples, ["pgd"])


def test_multi_label_counts_a_hit():
    result = summarise([record("a", [1, 4], 4, pgd=2), record("b", [0], 3, pgd=0)], ["pgd"])
    assert result["clean"]["acc"] == 0.5
    assert result["union"]["acc"] == 0.0


def test_no_attack_leaves_no_mean_of_attacks():
    result = summarise([record("a", 1, 1)], [])
    assert "mean_attacks" not in result
    assert result["mean"]["acc"] == result["union"]["acc"] == 1.0


def test_gaps_and_doubles_are_refused(tmp_path):
    with pytest.raises(AdvvidError, match=r"clip 'b' has no result for 'pgd'.*resume=true"):
        summarise([record("a", 1, 1, pgd=0), record("b", 1, 1)], ["pgd"])
    with pytest.raises(AdvvidError, match="clip 'a' is scored twice"):
        summarise([record("a", 1, 1), record("a", 1, 1)], [])
    with pytest.raises(AdvvidError, match="no clip was scored"):
        summarise([], ["pgd"])
    (tmp_path / "samples.jsonl").write_text('{"id": ')
    with pytest.raises(AdvvidError, match="cannot be read"):
        read_samples(tmp_path / "samples.jsonl")


def runs():
    one = summarise(random_samples(), ["pgd", "border"], ["noise"]) | {"seed": 0, "missing": ["x", "y"]}
    two = summarise(random_samples(seed=1), ["pgd"]) | {"seed": 1}
    one["attacks"]["pgd"] |= {"budget": "l-inf 8/255", "access": "white_box"}
    two["attacks"]["pgd"] |= {"budget": "l-inf 4/255", "access": "white_box"}
    two["checks"] = [
        "PGD finds less than noise",
        {"message": "gradients vanish", "raised": True, "remedy": "use square"},
    ]
    one["checks"] = [{"message": "all is well", "raised": False}]
    return [("none", RobustnessTable.of(one)), ("cat", RobustnessTable.of(two))]


def test_markdown_holds_every_number_and_every_warning():
    (_, one), _ = runs()
    text = robustness_table(runs(), "Demo", {"defense": ["none", "cat"]}).markdown()
    assert "| run | defense | n | seed | clean | pgd | border | mean | union |" in text
    first, second = (
        next(line for line in text.splitlines() if line.startswith(f"| {name}")) for name in ("none", "cat")
    )
    for score in (one.clean, *one.attacks.values(), one.mean, one.union):
        assert score.said in first
    assert second.split(" | ")[6] == "–"  # cat was not attacked at the border
    assert "### Controls (no attack)" in text
    assert one.controls["noise"].said in text
    assert "pgd: l-inf 8/255, white_box | l-inf 4/255, white_box (differs by run)" in text
    assert "none: 2 clips are missing" in text
    assert "Check raised for cat: PGD finds less than noise" in text
    assert "Check raised for cat: gradients vanish; remedy: use square" in text
    assert "all is well" not in text
    assert "Wilson" in text


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_terminal_table_fits_its_width_and_loses_nothing(width):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(robustness_table(runs()))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    for _, run in runs():
        for score in (run.clean, *run.attacks.values(), run.mean, run.union):
            number, interval = score.said.split(" ", 1)
            assert number in text
            assert interval in text


def test_a_task_without_accuracy_has_dashes():
    assert percent({"metrics": {"mse": 0.1}}) == "–"
    assert percent(None) == "–"


def test_what_an_attack_says_of_itself_and_the_verdict_of_the_checks_stand_below():
    score = Score(0.5, (0.1, 0.9))
    small = AutoAttack(steps=100, targets=3, queries=1000)
    entry = ColumnScore(0.5, (0.1, 0.9), budget="l-inf 8/255", access="white_box", notes=tuple(small.notes(10)))
    few = dataclasses.replace(entry, notes=tuple(small.notes(3)))
    checks = [finding("converged", raised, "words") for raised in (True, False, False)]
    run = RobustnessTable(n=2, clean=score, attacks={"aa": entry}, mean=score, union=score, checks=checks)
    text = robustness_table([("cat", run)]).markdown()
    assert "aa: AutoAttack at a smaller scale than its authors': 3 targets (of 9), 1000 queries (of 5000)." in text
    assert "Checks of cat: 3 made, 1 raised (converged)." in text
    text = robustness_table([("cat", dataclasses.replace(run, attacks={"aa": few}, checks=checks[1:]))]).markdown()
    assert "aa: AutoAttack without its DLR members: they need 4 classes, the model has 3." in text
    assert "Checks of cat: 2 made, none raised." in text


def test_a_task_without_right_answers_has_measures_and_no_accuracy():
    samples = [{"id": "a", "label": None, "clean": 0.4, "attacks": {"pgd": {"pred": 0.5}}}]
    table = summarise(samples, ["pgd"])
    assert "union" not in table
    assert "acc" not in table["attacks"]["pgd"]
    table["clean"]["metrics"], table["attacks"]["pgd"]["metrics"] = {"mse": 0.01}, {"mse": 0.25}
    text = robustness_table([("none", RobustnessTable.of(table))]).markdown()
    assert "| none | mse | 0.01 | 0.25 |" in text


def test_a_type_is_the_mean_over_its_columns():
    lines = [record(str(i), 0, 0, a=int(i < 2), b=int(i < 4)) for i in range(8)]
    table = summarise(lines, ["a", "b"], types={"noise": ["a", "b"]})
    assert table["types"]["noise"]["acc"] == (6 / 8 + 4 / 8) / 2
