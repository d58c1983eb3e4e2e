"""Curves of strength: known answers, budgets held, the same whatever the batch, nothing computed twice."""

from dataclasses import dataclass

import pytest
from rich.console import Console
from small_run import SHAPE, context, network, plain, saved, split

from advvid.analyses.base import carry_out
from advvid.analyses.strength import Strength
from advvid.attacks.base import AttackResult
from advvid.attacks.pgd import PGD
from advvid.attacks.sparse import Sparse
from advvid.core.errors import AdvvidError
from advvid.tracking.trackers import NoTracker
from small_models import LinearModel

VALUES = ["4/255", 0, "1/255", "2/255"]


def text(renderable):
    console = Console(record=True, width=200, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(renderable)
    return console.export_text()


def test_a_linear_model_falls_where_the_closed_form_says(tmp_path):
    model = LinearModel(SHAPE)
    clips = split(model, wrong=())
    margins = model(clips.videos.float() / 255).diff(dim=1).abs().squeeze(1) / 2
    # eps moves the score by eps times the l1 norm of w, far from the ends of the range.
    reach = (margins / model.w.abs().sum()).detach().sort().values
    values = [float((reach[i] + reach[i + 1]) / 2) for i in (1, 5, 9)]
    attack = PGD(steps=10, step_size="eps")
    result = Strength(values=values).run(
        context(tmp_path, model, attack=attack, clips=clips, classes=["left", "right"])
    )
    assert [point["acc"] for point in result["models"][0]["points"]] == [10 / 12, 6 / 12, 2 / 12]
    assert result["chance"] == 0.5


def test_over_numbers_of_frames_it_is_the_attack_on_so_many_frames_clip_by_clip(tmp_path):
    model, attack = network(1), Sparse(steps=2, step_size=0.005, frames=1)
    clips = split(model, wrong=())
    result = Strength(field="frames", values=[1, 2, 4]).run(context(tmp_path, model, attack=attack, clips=clips))
    by_hand = []
    for frames in (1, 2, 4):
        right = 0
        for video in clips.videos.float() / 255:
            target = model(video[None]).argmax(dim=1)
            x_adv = Sparse(steps=2, step_size=0.005, frames=frames)(model, video[None], target)
            changed = (x_adv != video).flatten(3).any(dim=3).any(dim=1)[0]
            assert changed.sum() <= frames
            right += int(model(x_adv).argmax() == target)
        by_hand.append(right / len(clips.videos))
    assert [point["acc"] for point in result["models"][0]["points"]] == by_hand
    assert by_hand[0] > by_hand[-1]


def test_a_curve_starts_at_clean_and_keeps_its_budgets(tmp_path):
    model = network(1)
    result = Strength(values=VALUES).run(context(tmp_path, model))
    line = result["models"][0]
    assert result["written"] == ["0", "1/255", "2/255", "4/255"]
    assert line["points"][0]["acc"] == line["clean"]["acc"] == 11 / 12
    for value, point in zip(result["values"], line["points"], strict=True):
        assert point["max_distance"] <= value + 4e-6
        assert point["ci95"][0] <= point["acc"] <= point["ci95"][1]
    assert line["points"][-1]["acc"] < line["clean"]["acc"]
    assert [check["name"] for check in line["checks"]].count("larger_budget") == 3


def test_no_batch_size_changes_a_verdict(tmp_path):
    model = network(1)
    results = [
        plain(Strength(values=VALUES).run(context(tmp_path / str(size), model, batch_size=size))) for size in (1, 5, 12)
    ]
    for result in results:
        for line in result["models"]:
            # What is said of the model itself is said of the first batch.
            line["checks"] = [check for check in line["checks"] if check["name"] == "larger_budget"]
            for point in line["points"]:
                point["max_distance"] = pytest.approx(point["max_distance"], abs=1e-6)
    assert results[0] == results[1] == results[2]


def test_further_runs_are_further_lines_and_the_runs_own_is_drawn_once(tmp_path):
    model = network(1)
    own, other = saved(tmp_path / "own", model), saved(tmp_path / "other", network(2))
    result = Strength(values=VALUES, checkpoints=[own, other]).run(context(tmp_path, model))
    assert [line["label"] for line in result["models"]] == ["at", "none"]
    alone = Strength(values=VALUES).run(context(tmp_path / "alone", network(2), clips=split(model)))
    assert plain(result)["models"][1]["points"] == plain(alone)["models"][0]["points"]


class Counted:
    """Counts the clips that PGD is asked to attack, and may die on the way."""

    def __init__(self, monkeypatch, dies_after=None):
        self.clips, search = 0, PGD._search

        def counted(attack, problem):
            if dies_after is not None and self.clips >= dies_after:
                raise KeyboardInterrupt
            self.clips += len(problem)
            return search(attack, problem)

        monkeypatch.setattr(PGD, "_search", counted)


def test_killed_and_resumed_equals_uninterrupted(tmp_path, monkeypatch):
    model = network(1)
    analysis = Strength(values=VALUES)
    whole = plain(analysis.run(context(tmp_path / "whole", model)))
    ctx = context(tmp_path / "killed", model)
    with monkeypatch.context() as patch:
        Counted(patch, dies_after=20)
        with pytest.raises(KeyboardInterrupt):
            analysis.run(ctx)
    counted = Counted(monkeypatch)
    assert plain(analysis.run(ctx)) == whole
    assert 0 < counted.clips < 4 * 11
    counted.clips = 0
    assert plain(analysis.run(ctx)) == whole
    assert counted.clips == 0
    extended = Strength(values=[*VALUES, "8/255"]).run(ctx)
    assert counted.clips == 11  # one is wrong already
    assert plain(extended)["models"][0]["points"][:4] == whole["models"][0]["points"]


@dataclass(frozen=True, kw_only=True)
class Capricious(PGD):
    """Gives up at large budgets."""

    def _search(self, problem):
        return AttackResult.unsearched(problem.clips) if float(self.eps) > 3 / 255 else super()._search(problem)


def test_a_rising_curve_is_flagged(tmp_path):
    model = network(1)
    analysis = Strength(values=VALUES)
    result = analysis.run(context(tmp_path, model, attack=Capricious(steps=3)))
    raised = [check["message"] for check in result["models"][0]["checks"] if check["raised"]]
    assert any("eps=2/255" in message and "eps=4/255" in message for message in raised)
    assert "Check raised for at" in text(analysis.table(result))


@dataclass(frozen=True, kw_only=True)
class Greedy(PGD):
    """Goes a grey level too far."""

    def _search(self, problem):
        return AttackResult.unsearched(problem.clips + float(self.eps) + 1 / 255)


def test_a_clip_outside_the_budget_of_its_value_stops_the_analysis(tmp_path):
    with pytest.raises(AdvvidError, match=r"eps=1/255 left its threat model on clip clip00: allowed is l-inf 1/255"):
        Strength(values=["1/255"]).run(context(tmp_path, network(1), attack=Greedy()))


def test_files_are_written_and_drawn_the_same_each_time(tmp_path):
    model = network(1)
    other = saved(tmp_path / "other", network(2))
    analysis = Strength(values=VALUES, checkpoints=other, labels=["mine", "theirs"])
    given = context(tmp_path, model, missing=["lost"])
    carry_out(analysis, given, NoTracker())
    files = {name: (given.folder / f"strength.{name}").read_bytes() for name in ("json", "png", "svg")}
    result = carry_out(analysis, given, NoTracker())
    assert files["png"].startswith(b"\x89PNG")
    assert b"<svg" in files["svg"]
    assert (given.folder / "strength.svg").read_bytes() == files["svg"]
    assert result["n"] == 12
    assert result["missing"] == ["lost"]
    shown = text(analysis.table(result))
    for word in ("mine", "theirs", "no attack", "l-inf 4/255", "1 clips are missing"):
        assert word in shown


def test_what_belongs_to_the_table_is_refused(tmp_path):
    with pytest.raises(AdvvidError, match="postprocess"):
        carry_out(Strength(), context(tmp_path, network(1), config={"postprocess": "uint8"}), NoTracker())
