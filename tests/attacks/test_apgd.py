"""Auto-PGD against known answers: closed forms, plain PGD at equal steps, logits too large for cross-entropy."""

import pytest
import torch
from toy import accuracy, generators, trained

from advvid.attacks.apgd import APGD, checkpoints
from advvid.attacks.logits import dlr, likely_classes, margin, targeted_dlr
from advvid.attacks.pgd import PGD
from advvid.core.errors import AdvvidError
from small_models import LinearModel

SHAPE = (3, 2, 4, 4)


class Loud(torch.nn.Module):
    """The same answers with logits so large that the softmax is exactly one-hot in float32."""

    def __init__(self, model, scale):
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, clips):
        return self.scale * self.model(clips)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 8 / 255), ("l2", 0.5)])
def test_reaches_the_closed_form_worst_case_on_a_linear_model(norm, eps):
    model = LinearModel(SHAPE)
    clips = 0.5 + 0.05 * torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(3))
    labels = torch.tensor([0, 1, 0, 1])
    found = margin(model(APGD(eps=eps, norm=norm, steps=50, early_exit=False)(model, clips, labels)), labels)
    dual = model.w.abs().sum() if norm == "linf" else model.w.norm()
    torch.testing.assert_close(found, margin(model(clips), labels) - 2 * eps * dual, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("norm", "eps", "step"), [("linf", "4/255", "1/255"), ("l2", 0.4, 0.1)])
def test_is_at_least_as_strong_as_pgd_with_equal_steps(norm, eps, step):
    model, clips, labels = trained()
    loss = torch.nn.functional.cross_entropy
    plain = PGD(eps=eps, norm=norm, step_size=step, steps=20, early_exit=False)
    auto = APGD(eps=eps, norm=norm, steps=20, early_exit=False)
    theirs, ours = (a.run(model, clips, labels, generators(len(clips))).x_adv for a in (plain, auto))
    assert accuracy(model, ours, labels) <= accuracy(model, theirs, labels) < 1
    assert loss(model(ours), labels) >= 0.99 * loss(model(theirs), labels)


def test_dlr_sees_through_large_logits():
    model, clips, labels = trained()
    loud = Loud(model, 1e4)
    ce = accuracy(loud, APGD(steps=20)(loud, clips, labels), labels)
    ratio = accuracy(loud, APGD(steps=20, loss="dlr")(loud, clips, labels), labels)
    quiet = accuracy(model, APGD(steps=20, loss="dlr")(model, clips, labels), labels)
    assert ratio <= quiet + 0.05
    assert ratio < ce - 0.2


def test_dlr_does_not_change_with_shift_and_scale():
    logits = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    labels, targets = torch.arange(8) % 6, (torch.arange(8) + 1) % 6
    torch.testing.assert_close(dlr(3 * logits + 5, labels), dlr(logits, labels))
    torch.testing.assert_close(targeted_dlr(3 * logits + 5, labels, targets), targeted_dlr(logits, labels, targets))
    # By hand: largest 4, then 2, 1, 0; label has 4, target has 1.
    row = torch.tensor([[4.0, 2.0, 1.0, 0.0]])
    torch.testing.assert_close(dlr(row, torch.tensor([0])), torch.tensor([-2 / 3]))
    torch.testing.assert_close(targeted_dlr(row, torch.tensor([0]), torch.tensor([2])), torch.tensor([-3 / 3.5]))


def test_targets_are_the_likeliest_wrong_classes():
    logits = torch.tensor([[1.0, 4.0, 3.0, 2.0]])
    assert likely_classes(logits, torch.tensor([1]), 2).tolist() == [[2, 3]]
    assert likely_classes(logits, torch.tensor([2]), 9).tolist() == [[1, 3, 0]]


def test_searching_towards_several_classes_never_weakens():
    model, clips, labels = trained()
    one, all_four = (APGD(eps="4/255", steps=10, loss="dlr", targets=n)(model, clips, labels) for n in (1, 4))
    assert accuracy(model, all_four, labels) <= accuracy(model, one, labels)


def test_early_exit_changes_no_verdict_and_saves_gradients():
    model, clips, labels = trained()
    hard, easy = (
        APGD(eps="4/255", steps=10, restarts=2, early_exit=e).run(model, clips, labels, generators(len(clips)))
        for e in (False, True)
    )
    assert torch.equal(model(hard.x_adv).argmax(1) != labels, model(easy.x_adv).argmax(1) != labels)
    assert (hard.gradient_calls == 20).all()
    assert easy.gradient_calls.sum() < hard.gradient_calls.sum()


def test_goes_to_a_given_target():
    model, clips, labels = trained()
    targets = (labels + 1) % 5
    for loss in ("ce", "dlr"):
        x_adv = APGD(eps="32/255", steps=30, loss=loss).run(model, clips, labels, targets=targets).x_adv
        assert accuracy(model, x_adv, targets) > 0.8


def test_checkpoints_come_closer():
    marks = checkpoints(100)
    assert marks == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(0) == []


def test_too_few_classes_for_dlr_are_refused_in_words():
    model, clips = LinearModel(SHAPE), torch.full((2, *SHAPE), 0.5)
    labels = model(clips).argmax(1)
    with pytest.raises(AdvvidError, match="the DLR loss needs 3 classes, the model has 2: choose loss=ce"):
        APGD(loss="dlr", steps=1)(model, clips, labels)
    with pytest.raises(AdvvidError, match="loss='hinge' is not known"):
        APGD(loss="hinge")
