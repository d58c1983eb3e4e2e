"""Purifiers in front of a model: what is scored, what the adversary sees, and what keeps results apart."""

import itertools
import json

import pytest
import torch
from omegaconf import OmegaConf

from advvid.attacks.pgd import PGD
from advvid.attacks.random_noise import RandomNoise
from advvid.attacks.sparse import Sparse
from advvid.attacks.square import Square
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.data.content import Contents
from advvid.evaluation.adaptive import behind_purifiers
from advvid.evaluation.columns import Column
from advvid.evaluation.evaluator import Evaluator
from advvid.evaluation.tally import summarise, verdicts
from advvid.experiment.parts import made_purifiers
from advvid.purifiers.base import Purifier
from advvid.purifiers.filters import GaussianBlur
from advvid.purifiers.levels import BitDepth, Jpeg, NoiseInjection
from advvid.purifiers.purified import PurifiedModel
from advvid.tasks.classification import Classification

PGD_4 = PGD(eps="4/255", steps=4)
COLUMNS = [Column("pgd", PGD_4), Column("noise", RandomNoise())]


class Unchanged(Purifier):
    """The identity, by the road of those whose gradient is a stand-in's."""

    differentiable = False

    def purify(self, clips, generators):
        return clips.clone()


class Watched(NoiseInjection):
    """Noise whose draws are written down."""

    def __init__(self):
        super().__init__(0.02)
        self._drawn = []

    def purify(self, clips, generators):
        self._drawn += [int(torch.randint(2**40, (), generator=g)) for g in generators]
        return super().purify(clips, generators)


def scored(system, columns, clips, labels, folder, size=4, stop=None, numbers=None):
    """Run the evaluator as a table does; ``stop`` kills it after so many batches."""
    ids = [f"clip{i:02d}" for i in range(len(clips))]

    def batches(wanted):
        if numbers is not None:
            numbers.extend(wanted)
        for count, i in enumerate(number * size for number in wanted):
            if count == stop:
                raise KeyboardInterrupt
            yield Batch(clips[i : i + size], labels[i : i + size], ids[i : i + size])

    if isinstance(system, PurifiedModel):
        columns = behind_purifiers(columns, system, 2)
    evaluator = Evaluator(
        model=system, task=Classification(), columns=columns, seed=0, device=torch.device("cpu"), run_dir=folder
    )
    return evaluator.run(batches, Contents(ids, ids), size)


def plain(samples):
    lines = json.loads(json.dumps(samples))
    for line in lines:
        for entry in line["attacks"].values():
            del entry["seconds"]
    return lines


def answers(model, clips):
    with torch.no_grad():
        return model(clips).argmax(dim=1)


def test_each_attack_becomes_adaptive_beside_its_oblivious_form(small):
    columns = [*COLUMNS, Column("square", Square(queries=2), "black_box"), Column("sparse", Sparse())]
    system = PurifiedModel([Jpeg()], small)
    found = {c.name: c for c in behind_purifiers(columns, system, 2)}
    assert list(found) == ["pgd", "pgd@oblivious", "noise", "square", "sparse", "sparse@oblivious"]
    access = {"pgd": "adaptive", "pgd@oblivious": "oblivious", "square": "black_box", "sparse": "adaptive"}
    assert {name: found[name].access for name in access} == access
    assert found["pgd@oblivious"].seen is small
    assert isinstance(found["square"].seen, PurifiedModel)
    assert found["noise"].seen is None
    assert (found["pgd"].attack.early_exit, found["pgd@oblivious"].attack.early_exit) == (True, False)
    against_luck = behind_purifiers(columns, PurifiedModel([NoiseInjection()], small), 2)
    assert (against_luck[0].attack.early_exit, against_luck[0].attack.keep) == (False, "last")
    assert [c.name for c in behind_purifiers(columns, system, 2, oblivious=False)] == [c.name for c in columns]


def test_clean_clips_and_adversarial_ones_pass_every_purifier_in_order(small, clips, labels, tmp_path):
    first, second = GaussianBlur(1.0), BitDepth(2)
    system = PurifiedModel([first, second], small)
    assert torch.equal(system.purify(clips), second(first(clips)))
    assert not torch.equal(first(second(clips)), second(first(clips)))
    samples = scored(system, COLUMNS, clips, labels, tmp_path)
    assert [line["clean"] for line in samples] == answers(small, second(first(clips))).tolist()


def test_several_views_are_purified_one_by_one(small, clips):
    """A filter over time must not mix the end of one view with the start of the next."""

    class Mixed(Purifier):
        def purify(self, clips, generators):
            return clips.mean(dim=2, keepdim=True).expand_as(clips)

    found = PurifiedModel([Mixed()], small, frames=2).purify(clips)
    assert torch.allclose(found[:, :, :2], clips[:, :, :2].mean(dim=2, keepdim=True))
    assert torch.allclose(found[:, :, 2:], clips[:, :, 2:].mean(dim=2, keepdim=True))


def test_the_identity_changes_no_number(small, clips, labels, tmp_path):
    columns = [*COLUMNS, Column("sparse", Sparse(steps=4))]
    bare = plain(scored(small, columns, clips, labels, tmp_path / "bare"))
    behind = plain(scored(PurifiedModel([Unchanged()], small), columns, clips, labels, tmp_path / "behind"))
    for line in behind:
        assert line["attacks"].pop("pgd@oblivious")["pred"] == line["attacks"]["pgd"]["pred"]
        del line["attacks"]["sparse@oblivious"]
    assert behind == bare


def test_an_adversary_who_sees_a_smooth_purifier_loses_next_to_nothing(small, clips, tmp_path):
    """Without the purifier, blind to it, and through it, on clips that are right before the attack in each case."""
    columns = [Column("pgd", PGD(eps="8/255", steps=20))]
    system = PurifiedModel([GaussianBlur(1.5)], small)
    bare = verdicts(scored(small, columns, clips, answers(small, clips), tmp_path / "bare"), ["pgd"])
    labels = answers(system, clips)
    behind = verdicts(scored(system, columns, clips, labels, tmp_path / "behind"), ["pgd", "pgd@oblivious"])
    effect = 1 - bare["pgd"].mean()
    assert effect > 0.9
    assert 1 - behind["pgd"].mean() >= 0.9 * effect
    assert behind["pgd@oblivious"].mean() > behind["pgd"].mean()


def test_what_has_no_gradient_is_attacked_by_its_stand_in(small, clips, tmp_path):
    class Hopeless(BitDepth):
        differentiable = True  # a false statement: the gradient of rounding is zero nearly everywhere

    right = {}
    for kind in (BitDepth, Hopeless):
        system = PurifiedModel([kind(3)], small)
        samples = scored(system, COLUMNS[:1], clips, answers(system, clips), tmp_path / kind.__name__)
        right[kind] = verdicts(samples, ["pgd"])["pgd"].mean()
    assert right[BitDepth] < right[Hopeless]
    # The stand-in may be another purifier, whose own gradient is then followed.
    x = clips.clone().requires_grad_()
    PurifiedModel([BitDepth(3, surrogate=GaussianBlur(2.0))], torch.nn.Flatten())(x)[:, 5].sum().backward()
    assert (x.grad[0] != 0).sum() > 1


def test_no_attack_knows_the_draws_that_it_is_judged_by(small, clips, labels, tmp_path):
    purifier = Watched()
    system = PurifiedModel([purifier], small)
    seen = system.view(3)
    attackers = [draw for _ in range(2) for draw in (seen(clips), list(purifier._drawn), purifier._drawn.clear())[1]]
    assert len(set(attackers)) == 3 * len(clips)  # three draws of each clip's own, the same ones on asking again
    system(clips)
    system(clips.flip(0))
    judged = list(purifier._drawn)
    assert set(judged[:6]) == set(judged[6:])  # a clip's draw does not depend on when or with whom it is scored
    assert len(set(judged)) == len(clips)
    assert not set(judged) & set(attackers)
    for change, anew in ((1e-6, False), (1e-3, True)):
        purifier._drawn.clear()
        system(clips + change * (torch.rand_like(clips) < 0.05))
        assert set(purifier._drawn).isdisjoint(judged) == anew
    purifier._drawn.clear()
    moved = clips.clone()
    moved[:, 0, 0, 0, 0] += 1e-6
    seen(moved)
    assert not set(purifier._drawn) & set(attackers)


def test_an_attack_on_a_random_purifier_averages_over_draws(small, clips):
    system = PurifiedModel([NoiseInjection(0.1)], small)
    seen = system.view(4)
    by_hand = torch.stack([small(seen.purify(clips, draw)) for draw in range(4)]).mean(dim=0)
    assert torch.equal(seen(clips), by_hand)
    assert not torch.allclose(seen(clips), system(clips))
    assert not torch.equal(system.view(1)(clips), system(clips))  # one draw is not the scoring's either


@pytest.mark.parametrize(("purifier", "draws"), [(NoiseInjection(0.1), 3), (Jpeg(), 1)])
def test_every_draw_counts_as_a_gradient_call(small, clips, labels, tmp_path, purifier, draws):
    """As many calls are written down as backward passes went through the model."""
    passed = []
    system = PurifiedModel([purifier], small)
    columns = behind_purifiers([Column("pgd", PGD(eps="1/255", steps=4, early_exit=False))], system, 3, oblivious=False)
    small.head.register_full_backward_hook(lambda module, inner, outer: passed.append(len(outer[0])))
    asked = Batch(clips, labels, [f"clip{i}" for i in range(len(clips))])
    evaluator = Evaluator(
        model=system, task=Classification(), columns=columns, seed=0, device=torch.device("cpu"), run_dir=tmp_path
    )
    samples = evaluator.run(lambda wanted: iter([asked]), Contents(asked.ids, asked.ids), len(clips))
    counted = [line["attacks"]["pgd"]["gradient_calls"] for line in samples]
    assert sum(counted) == sum(passed)
    assert set(counted) <= {0, 4 * draws}
    assert max(counted) == 4 * draws


@pytest.mark.parametrize("purifier", [Jpeg(50), NoiseInjection()])
def test_batch_size_does_not_change_the_table(small, clips, labels, tmp_path, purifier):
    names = (["pgd"], ["noise"], ["pgd@oblivious"])
    system = PurifiedModel([purifier], small)
    tables = [summarise(scored(system, COLUMNS, clips, labels, tmp_path / str(n), n), *names) for n in (2, 5)]
    assert tables[0] == tables[1]


def test_interrupted_equals_uninterrupted(small, clips, labels, tmp_path):
    system = PurifiedModel([NoiseInjection(), Jpeg()], small)
    whole = scored(system, COLUMNS, clips, labels, tmp_path / "whole", size=2)
    with pytest.raises(KeyboardInterrupt):
        scored(system, COLUMNS, clips, labels, tmp_path / "cut", size=2, stop=1)
    asked = []
    again = PurifiedModel([NoiseInjection(), Jpeg()], small)  # as another process would build it
    resumed = scored(again, COLUMNS, clips, labels, tmp_path / "cut", size=2, numbers=asked)
    assert asked == [1, 2]
    assert plain(resumed) == plain(whole)


def test_results_are_kept_apart_by_purifiers_and_their_settings(small, clips, labels, tmp_path):
    for purifiers in ([BitDepth(2)], [BitDepth(3)], [BitDepth(2), Jpeg()], [Jpeg(), BitDepth(2)], [NoiseInjection()]):
        scored(PurifiedModel(purifiers, small), COLUMNS, clips, labels, tmp_path)
    for name in ("clean", "pgd", "pgd@oblivious", "noise"):
        assert len(list((tmp_path / "cells").glob(f"{name}-*"))) == 5
    asked = []
    scored(PurifiedModel([BitDepth(3)], small), COLUMNS, clips, labels, tmp_path, numbers=asked)
    assert asked == []
    words = [BitDepth(2).settings, BitDepth(2, surrogate=Jpeg()).settings, BitDepth(2, surrogate=Jpeg(10)).settings]
    assert all(one != other for one, other in itertools.combinations(words, 2))


JPEG = {"jpeg": {"_target_": "advvid.purifiers.jpeg.Jpeg"}}
NOISE = {"noise": {"_target_": "advvid.purifiers.noise_injection.NoiseInjection"}}


@pytest.mark.parametrize(
    ("settings", "shape", "words"),
    [
        ({"purifier": JPEG, "mode": "train"}, (3, 8, 32, 32), "stands before the finished model, not in training"),
        ({"purifier": JPEG}, (300, 1152), "changes pixels, and these data have none: leave it out"),
        ({"purifier": NOISE, "mode": "attack"}, (3, 8, 32, 32), "luckiest draw"),
        ({"purifier": NOISE, "analysis": {"name": 1}}, (3, 8, 32, 32), "luckiest draw"),
        ({"purifier": {"pgd": {"_target_": "advvid.attacks.pgd.PGD"}}}, (3, 8, 32, 32), "purifier holds a PGD"),
    ],
)
def test_what_cannot_work_is_told_in_one_sentence(settings, shape, words):
    cfg = OmegaConf.create({"mode": "eval", "evaluation": {"eot_samples": 10}} | settings)
    with pytest.raises(AdvvidError, match=words):
        made_purifiers(cfg, shape)
