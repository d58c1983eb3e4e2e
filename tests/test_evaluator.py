"""The evaluator catches what must not pass, and a killed evaluation ends as an uninterrupted one."""

import itertools
import json
from dataclasses import dataclass

import pytest
import torch

from advvid.attacks.base import AttackResult
from advvid.attacks.pgd import PGD
from advvid.attacks.random_noise import RandomNoise
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.data.content import Contents
from advvid.evaluation.columns import Column
from advvid.evaluation.evaluator import Evaluator
from advvid.evaluation.tally import summarise, verdicts
from advvid.tasks.classification import Classification

SIZE = 4


@pytest.fixture
def data(small):
    clips = torch.rand(14, 3, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    labels = small(clips).argmax(dim=1)
    labels[::5] = (labels[::5] + 1) % 5
    ids = [f"clip{i:02d}" for i in range(14)]

    def batches(numbers, size=SIZE):
        for i in (number * size for number in numbers):
            yield Batch(clips[i : i + size], labels[i : i + size], ids[i : i + size])

    return batches, ids, clips, labels


COLUMNS = [Column("pgd", PGD(eps="4/255", steps=4)), Column("noise", RandomNoise())]


def evaluator(model, run_dir, columns=COLUMNS, **settings):
    return Evaluator(
        model=model,
        task=Classification(),
        columns=columns,
        seed=0,
        device=torch.device("cpu"),
        run_dir=run_dir,
        **settings,
    )


def stripped(samples):
    """Without the wall-clock times, which no two runs share."""
    lines = json.loads(json.dumps(samples))
    for line in lines:
        for entry in line["attacks"].values():
            del entry["seconds"]
    return lines


def test_verdicts_are_those_of_the_clips(small, data, tmp_path):
    batches, ids, clips, labels = data
    samples = evaluator(small, tmp_path).run(batches, Contents(ids, ids), SIZE)
    assert [line["id"] for line in samples] == ids
    assert [line["clean"] for line in samples] == small(clips).argmax(1).tolist()
    right = verdicts(samples, ["pgd"])
    assert right["clean"].tolist() == (small(clips).argmax(1) == labels).tolist()
    assert 0 < right["pgd"].sum() < right["clean"].sum()
    table = summarise(samples, ["pgd"], ["noise"])
    assert table["union"]["acc"] == right["pgd"].mean()


def test_batch_size_does_not_change_the_table(small, data, tmp_path):
    batches, ids, *_ = data
    one = evaluator(small, tmp_path / "a").run(batches, Contents(ids, ids), SIZE)
    other = evaluator(small, tmp_path / "b").run(lambda numbers: batches(numbers, 7), Contents(ids, ids), 7)
    assert summarise(one, ["pgd"], ["noise"]) == summarise(other, ["pgd"], ["noise"])


def test_interrupted_equals_uninterrupted(small, data, tmp_path):
    batches, ids, *_ = data
    whole = evaluator(small, tmp_path / "whole").run(batches, Contents(ids, ids), SIZE)

    def dies(numbers):
        yield from itertools.islice(batches(numbers), 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluator(small, tmp_path / "cut").run(dies, Contents(ids, ids), SIZE)
    cells = sorted((tmp_path / "cut" / "cells").glob("pgd-*/*.npz"))
    assert len(cells) == 2
    cells[1].write_bytes(cells[1].read_bytes()[:100])  # a cell cut short by a full disk
    asked = []

    def rest(numbers):
        asked.extend(numbers)
        return batches(numbers)

    resumed = evaluator(small, tmp_path / "cut").run(rest, Contents(ids, ids), SIZE)
    assert asked == [1, 2, 3]
    assert stripped(resumed) == stripped(whole)


def test_another_model_starts_afresh(small, data, tmp_path):
    batches, ids, *_ = data
    evaluator(small, tmp_path).run(batches, Contents(ids, ids), SIZE)
    with torch.no_grad():
        small.head.bias[0] += 5
    samples = evaluator(small, tmp_path).run(batches, Contents(ids, ids), SIZE)
    assert [line["clean"] for line in samples] == [0] * 14


@dataclass(frozen=True, kw_only=True)
class Faulty(PGD):
    """PGD with one planted fault."""

    fault: str = ""

    def _search(self, problem):
        result, clips, model = super()._search(problem), problem.clips, problem.model
        x_adv = result.x_adv
        if self.fault == "budget":
            x_adv = (x_adv + (x_adv - clips).sign() / 255).clamp(0, 1)
        elif self.fault == "range":
            x_adv = x_adv + (x_adv > 0.999) * 1e-3
            x_adv[:, :, 0, 0, 0] = 1.002
        elif self.fault == "nan":
            x_adv = x_adv.clone()
            x_adv[0, 0, 0, 0, 0] = float("nan")
        elif self.fault == "statistics":
            model.body[1].running_mean += 0.01
        return AttackResult(x_adv, result.steps, result.gradient_calls)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("budget", r"column pgd left its threat model on clip clip\d\d: allowed is l-inf 1/255"),
        ("range", "left its threat model"),
        ("nan", "left its threat model"),
        ("statistics", "changed the model's weights or buffers"),
    ],
)
def test_planted_faults_stop_the_run(small, data, tmp_path, fault, words):
    batches, ids, *_ = data
    columns = [Column("pgd", Faulty(eps="1/255", steps=2, fault=fault))]
    with pytest.raises(AdvvidError, match=words):
        evaluator(small, tmp_path, columns).run(batches, Contents(ids, ids), SIZE)


def test_a_clip_scored_twice_stops_the_run(small, data, tmp_path):
    batches, ids, *_ = data

    def off_by_one(numbers):
        for batch in batches(numbers):
            yield Batch(batch.inputs, batch.target, [ids[max(0, ids.index(i) - (i == "clip08"))] for i in batch.ids])

    with pytest.raises(AdvvidError, match="every clip exactly once"):
        evaluator(small, tmp_path).run(off_by_one, Contents(ids, ids), SIZE)


def test_pictures_get_each_column_once(small, data, tmp_path):
    batches, ids, *_ = data
    shown = []
    evaluator(small, tmp_path, show=lambda column, *_: shown.append(column.name)).run(batches, Contents(ids, ids), SIZE)
    assert shown == ["pgd", "noise"]
