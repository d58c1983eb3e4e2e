"""The transfer matrix: white box on the diagonal, clips made once, budgets held, nothing computed twice."""

import numpy as np
import pytest
import torch
from small_run import N, context, network, plain, saved, split
from test_strength import Capricious, Counted, Greedy, text

from advvid.analyses.base import carry_out
from advvid.analyses.transfer_matrix import BLANK, TransferMatrix
from advvid.attacks.base import AttackResult
from advvid.attacks.pgd import PGD
from advvid.core.errors import AdvvidError
from advvid.data.content import Contents
from advvid.evaluation.columns import Column
from advvid.evaluation.evaluator import Evaluator
from advvid.evaluation.tally import summarise
from advvid.tracking.trackers import NoTracker

ATTACK = PGD(eps="3/255", steps=4)


@pytest.fixture
def runs(tmp_path):
    return [saved(tmp_path / name, network(seed)) for name, seed in (("b", 2), ("c", 3))]


def given(folder, **changes):
    return context(folder, network(1), "transfer_matrix", ATTACK, **changes)


def test_the_diagonal_is_the_column_of_the_runs_table(tmp_path, runs):
    result = TransferMatrix(checkpoints=runs).run(given(tmp_path))
    clips = split(network(1))
    for i, seed in enumerate((1, 2, 3)):
        ctx = given(tmp_path / f"table{seed}", clips=clips)
        table = Evaluator(
            model=network(seed),
            task=ctx.task,
            columns=[Column("pgd", ATTACK)],
            seed=0,
            device=ctx.device,
            run_dir=ctx.run_dir,
        )
        expected = summarise(table.run(ctx.batches, Contents.of(clips), 5), ["pgd"])
        assert result["accuracy"][i][i] == expected["attacks"]["pgd"]["acc"]
        assert result["rows"][i]["cells"][i]["ci95"] == expected["attacks"]["pgd"]["ci95"]
        assert result["models"][i]["clean"] == expected["clean"]
    assert result["models"][0]["clean"]["acc"] == 11 / 12


def test_a_cell_counts_what_its_model_gets_right_of_the_clips_made_on_another(tmp_path, runs):
    attack, given_clips = PGD(eps="3/255", steps=4, random_start=False, early_exit=False), split(network(1))
    ctx = context(tmp_path, network(1), "transfer_matrix", attack, clips=given_clips)
    result = TransferMatrix(checkpoints=runs, control=False).run(ctx)
    batches = list(ctx.batches(range(3)))
    clips, labels = (torch.cat([getattr(batch, field) for batch in batches]) for field in ("inputs", "target"))
    models = [network(seed) for seed in (1, 2, 3)]
    for source, row in zip(models, result["accuracy"], strict=True):
        x_adv = attack(source, clips, labels)
        for target, cell in zip(models, row, strict=True):
            right = (target(clips).argmax(dim=1) == labels) & (target(x_adv).argmax(dim=1) == labels)
            assert cell == pytest.approx(right.float().mean().item())
    assert len({cell for row in result["accuracy"] for cell in row}) > 2


def test_the_same_weights_in_another_run_are_fooled_alike(tmp_path):
    twin = saved(tmp_path / "twin", network(1))
    result = TransferMatrix(checkpoints=[twin], control=False).run(given(tmp_path))
    assert np.ptp(result["accuracy"]) == 0
    assert result["accuracy"][0][0] < result["models"][0]["clean"]["acc"]
    assert result["control"] == []


def test_transfer_counts_the_clips_that_fool_their_source(tmp_path, runs):
    """Wrong on the source from the start, or never fooled there: such a clip says nothing of transfer."""
    result = TransferMatrix(checkpoints=runs, control=False).run(given(tmp_path))
    for i, row in enumerate(result["rows"]):
        own = row["cells"][i]
        assert own["transferred"]["rate"] == 1
        assert own["transferred"]["n"] == round(own["fooled"]["rate"] * own["fooled"]["n"])
        for cell in row["cells"]:
            assert cell["transferred"]["n"] <= min(cell["fooled"]["n"], own["transferred"]["n"])


def test_clips_are_made_once_per_surrogate_and_never_again(tmp_path, runs, monkeypatch):
    counted = Counted(monkeypatch)
    ctx = given(tmp_path)
    first = plain(TransferMatrix(checkpoints=runs[:1]).run(ctx))
    assert counted.clips == 3 * N  # two models and the control
    assert [row["label"] for row in first["rows"]] == ["at", "none"]
    assert [row["label"] for row in first["control"]] == [BLANK]
    counted.clips = 0
    assert plain(TransferMatrix(checkpoints=runs[:1]).run(ctx)) == first
    assert counted.clips == 0
    TransferMatrix(checkpoints=runs[:1], full_search=False).run(ctx)
    assert counted.clips == 3 * N


def test_killed_and_resumed_equals_uninterrupted(tmp_path, runs, monkeypatch):
    analysis = TransferMatrix(checkpoints=runs)
    whole = plain(analysis.run(given(tmp_path / "whole")))
    ctx = given(tmp_path / "killed")
    with monkeypatch.context() as patch:
        Counted(patch, dies_after=17)
        with pytest.raises(KeyboardInterrupt):
            analysis.run(ctx)
    counted = Counted(monkeypatch)
    assert plain(analysis.run(ctx)) == whole
    assert counted.clips == 4 * N - 17


def test_no_batch_size_changes_a_verdict(tmp_path, runs):
    results = [
        plain(TransferMatrix(checkpoints=runs).run(given(tmp_path / str(size), batch_size=size))) for size in (1, 5, 12)
    ]
    for result in results:
        for row in result["rows"] + result["control"]:
            row["max_distance"] = pytest.approx(row["max_distance"], abs=1e-6)
    assert results[0] == results[1] == results[2]


def test_the_search_goes_on_after_the_surrogate_is_fooled(tmp_path, runs):
    short, full = (
        TransferMatrix(checkpoints=runs, full_search=full, control=False).run(given(tmp_path)) for full in (False, True)
    )
    assert short["settings"]["early_exit"]
    assert not full["settings"]["early_exit"]
    assert [row["gradient_calls"] for row in full["rows"]] == [4 * N] * 3
    assert all(row["gradient_calls"] < 4 * N for row in short["rows"])
    assert [short["accuracy"][i][i] for i in range(3)] == [full["accuracy"][i][i] for i in range(3)]


def test_a_clip_outside_its_budget_stops_the_analysis(tmp_path):
    ctx = context(tmp_path, network(1), "transfer_matrix", Greedy(eps="1/255"))
    with pytest.raises(AdvvidError, match=r"clip clip00: allowed is l-inf 1/255, measured is a distance of 0.0078"):
        TransferMatrix().run(ctx)


def test_an_attack_that_changes_its_surrogate_stops_the_analysis(tmp_path, monkeypatch):
    def spoils(attack, problem):
        with torch.no_grad():
            next(problem.model.parameters()).add_(1e-3)
        return AttackResult.unsearched(problem.clips)

    monkeypatch.setattr(PGD, "_search", spoils)
    with pytest.raises(AdvvidError, match="changed the model's weights or buffers"):
        TransferMatrix().run(given(tmp_path))


def test_transfer_that_beats_the_white_box_is_flagged(tmp_path, monkeypatch):
    """An attack that finds nothing on its own model but something on another one's: what masked gradients look like."""
    model, other = network(1), network(1)
    with torch.no_grad():
        next(other.parameters()).mul_(1 + 1e-6)  # another network, though it answers the same
    twin = saved(tmp_path / "twin", other)
    attack = Capricious(eps="3/255", steps=4)

    def masked(self, problem):
        return AttackResult.unsearched(problem.clips) if problem.model is model else PGD._search(self, problem)

    monkeypatch.setattr(Capricious, "_search", masked)
    analysis = TransferMatrix(checkpoints=[twin])
    result = analysis.run(context(tmp_path, model, "transfer_matrix", attack))
    raised = {m["label"]: [c["message"] for c in m["checks"] if c["raised"]] for m in result["models"]}
    assert raised["none"] == []
    assert len(raised["at"]) == 1
    assert raised["at"][0].startswith("transfer from none fools")
    assert "Check raised for at" in text(analysis.table(result))


def test_files_are_written(tmp_path, runs):
    analysis = TransferMatrix(checkpoints=runs, labels=["one", "two", "three"])
    result = carry_out(analysis, given(tmp_path), NoTracker())
    for name in ("json", "png", "svg"):
        assert (tmp_path / "analysis" / f"transfer_matrix.{name}").stat().st_size > 1000
    assert np.array(result["accuracy"]).shape == (3, 3)
    shown = text(analysis.table(result))
    for word in ("one", "two", "three", BLANK, "no attack", "l-inf 3/255"):
        assert word in shown
