"""AutoAttack is at least as strong as each member, and says what it left out."""

import pytest
import torch
from toy import accuracy, generators, trained

from advvid.attacks.apgd import APGD
from advvid.attacks.auto_attack import AutoAttack
from advvid.attacks.fab import FAB
from advvid.core.errors import AdvvidError
from small_models import LinearModel

FEW = {"eps": "5/255", "steps": 8, "queries": 30, "targets": 2}


def some(n=12):
    model, clips, labels = trained()
    return model, clips[:n], labels[:n]


@pytest.mark.parametrize("settings", [{}, {"version": "plus"}, {"norm": "l2", "eps": 0.4}])
def test_is_at_least_as_strong_as_each_member(settings):
    model, clips, labels = some()
    attack = AutoAttack(**{**FEW, **settings})
    result = attack.run(model, clips, labels, generators(len(clips)))
    fooled = model(result.x_adv).argmax(1) != labels
    assert attack.threat.contains(result.x_adv, clips, result.aux).all()
    assert torch.equal(fooled, result.aux["by"] >= 0)
    alone = AutoAttack(**{**FEW, **settings, "early_exit": False}).run(model, clips, labels, generators(len(clips)))
    # Every member on every clip, none of them told what another found: the union is the cascade's verdict.
    assert torch.equal(model(alone.x_adv).argmax(1) != labels, fooled)
    for member in attack.members(5).values():
        assert accuracy(model, result.x_adv, labels) <= accuracy(model, member(model, clips, labels), labels) + 1 / 12
    assert alone.gradient_calls.sum() > result.gradient_calls.sum()
    assert (result.aux["queries"][fooled & (result.aux["by"] < 2)] == 0).all()


def test_versions_have_the_published_members():
    def names(version, classes=10):
        return list(AutoAttack(version=version).members(classes))

    assert names("standard") == ["apgd_ce", "apgd_t", "fab_t", "square"]
    assert names("plus") == ["apgd_ce", "apgd_dlr", "fab", "square", "apgd_t", "fab_t"]
    assert names("rand") == ["apgd_ce", "apgd_dlr"]
    plus = AutoAttack(version="plus").members(101)
    assert [plus[n].restarts for n in ("apgd_ce", "apgd_dlr", "fab", "apgd_t", "fab_t")] == [5, 5, 5, 1, 1]
    assert plus["apgd_t"].targets == plus["fab_t"].targets == 9
    assert AutoAttack(version="rand").members(10)["apgd_ce"].eot == 20
    assert AutoAttack().members(6)["apgd_t"].targets == 5


def test_few_classes_leave_dlr_out_and_the_result_says_so():
    model, clips = LinearModel((3, 2, 4, 4)), torch.full((2, 3, 2, 4, 4), 0.5)
    attack = AutoAttack(**FEW)
    assert list(attack.members(3)) == ["apgd_ce", "fab_t", "square"]
    result = attack.run(model, clips, model(clips).argmax(1))
    assert result.aux["dlr"].tolist() == [False, False]
    assert "without its DLR members: they need 4 classes, the model has 2" in attack.notes(2)[0]
    assert AutoAttack().notes(10) == ()


def test_a_smaller_scale_is_always_said():
    notes = AutoAttack(steps=100, targets=3, queries=1000).notes(10)
    assert notes == ("AutoAttack at a smaller scale than its authors': 3 targets (of 9), 1000 queries (of 5000).",)
    assert AutoAttack(targets=4).notes(5) == ()


def test_reports_who_fooled_and_skips_clips_that_are_wrong():
    model, clips, labels = some(6)
    wrong = labels.clone()
    wrong[0] = (labels[0] + 1) % 5
    result = AutoAttack(**{**FEW, "eps": "16/255"}).run(model, clips, wrong, generators(6))
    assert result.aux["by"][0] == -1
    assert result.gradient_calls[0] == result.aux["queries"][0] == 0
    assert torch.equal(result.x_adv[0], clips[0])
    assert (result.aux["by"][1:] == 0).float().mean() > 0.5  # most fall to APGD-CE at once


def test_settings_reach_the_members():
    members = AutoAttack(eps=0.5, norm="l2", steps=7, queries=11, targets=2).members(9)
    assert isinstance(members["apgd_t"], APGD)
    assert isinstance(members["fab_t"], FAB)
    assert all(m.threat.budget == "l2 0.5 over the clip" for m in members.values())
    assert (members["apgd_ce"].steps, members["square"].queries) == (7, 11)
    with pytest.raises(AdvvidError, match=r"version=.fast. is not known"):
        AutoAttack(version="fast")
    with pytest.raises(AdvvidError, match="eps=8 is not a possible l-inf budget"):
        AutoAttack(eps=8)
