"""DeepFool and FAB find the smallest change: closed forms on a linear model, torchattacks on a trained network."""

import pytest
import torch
from toy import accuracy, generators, trained

from advvid.attacks.carlini_wagner import CarliniWagner
from advvid.attacks.ddn import DDN
from advvid.attacks.deep_fool import DeepFool
from advvid.attacks.fab import FAB
from advvid.attacks.fmn import FMN
from advvid.attacks.hyperplane import lengths, to_hyperplane
from advvid.attacks.logits import margin
from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.threats.few import onto_l1
from small_models import LinearModel

SHAPE = (3, 2, 4, 4)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("attack", [DeepFool(), FAB(eps=None, steps=30), FAB(eps=None, steps=30, targets=0)])
def test_finds_the_smallest_change_of_a_linear_model(attack, norm):
    model = LinearModel(SHAPE)
    clips = 0.5 + 0.05 * torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(3))
    labels = model(clips).argmax(dim=1)
    result = type(attack)(**{**vars(attack), "norm": norm}).run(model, clips, labels)
    # The margin is 2 w.x, its gradient 2 w; the nearest point lies margin / dual norm away.
    dual = 2 * (model.w.abs().sum() if norm == "linf" else model.w.norm())
    closest = margin(model(clips), labels) / dual
    assert (model(result.x_adv).argmax(dim=1) != labels).all()
    assert (result.aux["norm"] >= closest * 0.999).all()
    assert (result.aux["norm"] <= closest * 1.03).all()
    torch.testing.assert_close(result.aux["norm"], lengths(result.x_adv - clips, norm))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("overshoot", [0.02, 0.5])
def test_deep_fool_takes_back_what_it_does_not_need_of_the_overshoot(norm, overshoot):
    model = LinearModel(SHAPE)
    clips = 0.5 + 0.05 * torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(3))
    labels = model(clips).argmax(dim=1)
    found = DeepFool(norm=norm, overshoot=overshoot).run(model, clips, labels)
    dual = 2 * (model.w.abs().sum() if norm == "linf" else model.w.norm())
    closest = margin(model(clips), labels) / dual
    # Three halvings leave an eighth.
    assert (model(found.x_adv).argmax(dim=1) != labels).all()
    assert (found.aux["norm"] <= closest * (1 + overshoot / 8 + 1e-3)).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_way_to_a_hyperplane_is_the_shortest_inside_the_box(norm):
    generator = torch.Generator().manual_seed(0)
    x, w = torch.rand(20, 30, generator=generator), torch.randn(20, 30, generator=generator)
    w[:, 3] = 0
    gap = torch.linspace(-3, 3, 20)
    change = to_hyperplane(x, w, gap, norm, Space())
    moved = x + change
    assert (moved >= -1e-6).all()
    assert (moved <= 1 + 1e-6).all()
    torch.testing.assert_close((w * change).sum(dim=1), -gap, rtol=0, atol=1e-5)
    # Optimality: values that are not at a wall all move at the same pace.
    free = (moved > 1e-5) & (moved < 1 - 1e-5) & (w != 0)
    pace = (change.abs() / (w.abs() if norm == "l2" else 1)).nan_to_num(0.0)
    for row, inside in zip(pace, free, strict=True):
        torch.testing.assert_close(row[inside], row[inside].mean().expand(int(inside.sum())), rtol=1e-3, atol=1e-6)
        assert (row <= row[inside].max() + 1e-5).all()


def test_a_hyperplane_out_of_reach_takes_every_value_to_its_wall():
    change = to_hyperplane(
        torch.tensor([[0.25, 0.5]]), torch.tensor([[1.0, -1.0]]), torch.tensor([9.0]), "linf", Space()
    )
    torch.testing.assert_close(change, torch.tensor([[-0.25, 0.5]]))


@pytest.mark.slow
def test_fab_needs_no_larger_changes_than_torchattacks():
    torchattacks = pytest.importorskip("torchattacks", reason="torchattacks is missing: install the extra peers")
    model, clips, labels = (part[:12] if isinstance(part, torch.Tensor) else part for part in trained())
    theirs = torchattacks.FAB(model, norm="Linf", eps=1.0, steps=10, n_restarts=1, n_classes=5)(clips, labels)
    ours = FAB(eps=None, steps=10, targets=0).run(model, clips, labels)
    far = lengths(theirs - clips, "linf").where(model(theirs).argmax(1) != labels, torch.tensor(torch.inf))
    assert ours.aux["norm"].isfinite().all()
    assert ours.aux["norm"].mean() <= 1.02 * far.mean()


def test_deep_fool_needs_no_larger_changes_than_torchattacks():
    torchattacks = pytest.importorskip("torchattacks", reason="torchattacks is missing: install the extra peers")
    model, clips, labels = (part[:8] if isinstance(part, torch.Tensor) else part for part in trained())
    theirs = torchattacks.DeepFool(model, steps=50, overshoot=0.02)(clips, labels)
    ours = DeepFool().run(model, clips, labels)
    assert accuracy(model, ours.x_adv, labels) == 0
    assert ours.aux["norm"].mean() <= 1.02 * lengths(theirs - clips, "l2").mean()
    torch.testing.assert_close(ours.aux["rho"], ours.aux["norm"] / lengths(clips, "l2"))


@pytest.mark.parametrize(
    "attack",
    [
        FAB(eps="6/255", steps=10, targets=4),
        DeepFool(eps=0.4),
        DDN(eps=0.6, steps=30),
        FMN(norm="l1", eps=8, steps=30, step_size=3),
        FMN(norm="l0", eps=12, steps=60, step_size=10),
    ],
)
def test_a_budget_is_kept_and_separates_small_changes_from_large(attack):
    model, clips, labels = trained()
    result = attack.run(model, clips, labels, generators(len(clips)))
    assert attack.threat.contains(result.x_adv, clips).all()
    fooled = model(result.x_adv).argmax(1) != labels
    assert fooled.any()
    assert not fooled.all()
    assert fooled[result.aux["norm"] <= attack.radius].all()
    if isinstance(attack, FAB):  # leaves at the first change within the budget
        assert result.gradient_calls[fooled].max() <= result.gradient_calls[~fooled].min() == 40


def test_fab_restarts_never_find_less():
    model, clips, labels = (part[:10] if isinstance(part, torch.Tensor) else part for part in trained())
    once, thrice = (
        FAB(eps=None, steps=6, targets=2, restarts=r).run(model, clips, labels, generators(10)) for r in (1, 3)
    )
    assert (thrice.aux["norm"] <= once.aux["norm"] + 1e-6).all()


@pytest.mark.parametrize("attack", [FAB(eps=None, steps=20), DeepFool(), DDN(), FMN()])
def test_goes_to_a_given_target(attack):
    model, clips, labels = (part[:10] if isinstance(part, torch.Tensor) else part for part in trained())
    targets = (labels + 2) % 5
    result = attack.run(model, clips, labels, targets=targets)
    assert (model(result.x_adv).argmax(1) == targets).float().mean() > 0.8


def test_a_clip_that_is_wrong_already_needs_no_change():
    model, clips, labels = trained()
    for attack in (FAB(steps=3), DeepFool(steps=3), DDN(steps=3), FMN(steps=3), FMN(norm="l0", steps=3)):
        result = attack.run(model, clips[:3], (labels[:3] + 1) % 5)
        assert torch.equal(result.x_adv, clips[:3])
        assert (result.aux["norm"] == 0).all()
        assert (result.steps == 0).all()


def test_regression_outputs_are_refused_in_words(small, clips):
    with pytest.raises(AdvvidError, match=r"DeepFool needs logits .* choose attack=pgd"):
        DeepFool()(small, clips, torch.rand(6, 4))


def linear_problem():
    model = LinearModel(SHAPE)
    clips = 0.5 + 0.05 * torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(3))
    labels = model(clips).argmax(dim=1)
    return model, clips, labels, margin(model(clips), labels)


@pytest.mark.parametrize("attack", [DDN(), *(FMN(norm=norm) for norm in ("l2", "linf", "l1"))], ids=repr)
def test_a_shrinking_ball_ends_at_the_boundary_of_a_linear_model(attack):
    model, clips, labels, ahead = linear_problem()
    result = attack.run(model, clips, labels)
    dual = 2 * model.w.flatten().norm(p={"l2": 2, "linf": 1, "l1": torch.inf}[attack.norm])
    assert (model(result.x_adv).argmax(dim=1) != labels).all()
    assert (result.aux["norm"] >= ahead / dual * 0.999).all()
    assert (result.aux["norm"] <= ahead / dual * 1.02).all()


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_the_ball_of_every_norm_holds_what_it_projects_and_draws(norm):
    generator = torch.Generator().manual_seed(0)
    x, eps = torch.rand(5, *SHAPE, generator=generator), {"linf": 0.1, "l2": 0.5, "l1": 2, "l0": 7}[norm]
    threat = FMN(norm=norm, eps=eps).threat
    moved = threat.project(x + torch.randn(x.shape, generator=generator), x)
    assert threat.contains(moved, x).all()
    torch.testing.assert_close(threat.project(moved, x), moved)
    torch.testing.assert_close(threat.distance(moved, x), lengths(moved - x, norm))
    assert threat.contains(threat.random_start(x, generators(5)), x).all()
    assert not threat.contains(threat.ascend(x, torch.randn(x.shape, generator=generator), 2 * eps), x).any()


def test_the_nearest_point_of_an_l1_ball_leaves_no_better_one():
    """Optimality (Duchi et al. 2008): all values that stay are shortened alike, and by no less than the others have."""
    change, radius = torch.randn(20, 30, generator=torch.Generator().manual_seed(1)), torch.linspace(0.5, 12, 20)
    near = onto_l1(change, radius)
    torch.testing.assert_close(near.abs().sum(dim=1), radius)
    cut = (change - near).abs()
    for row, kept in zip(cut, near != 0, strict=True):
        torch.testing.assert_close(row[kept], row[kept].mean().expand(int(kept.sum())))
        assert (row[~kept] <= row[kept].max() + 1e-6).all()


def test_ddn_finds_smaller_changes_than_carlini_wagner_at_a_fifth_of_the_gradients():
    model, clips, labels = (part[:8] if isinstance(part, torch.Tensor) else part for part in trained())
    ours, other = DDN().run(model, clips, labels), CarliniWagner().run(model, clips, labels)
    assert ours.aux["norm"].mean() <= other.aux["norm"].mean()
    assert 4 * ours.gradient_calls.sum() <= other.gradient_calls.sum()


def test_ddn_needs_no_larger_changes_than_foolbox():
    foolbox = pytest.importorskip("foolbox", reason="foolbox is missing: install the extra peers")
    model, clips, labels = (part[:20] if isinstance(part, torch.Tensor) else part for part in trained())
    theirs = foolbox.attacks.DDNAttack(steps=100)
    _, found, fooled = theirs(foolbox.PyTorchModel(model, bounds=(0, 1)), clips, labels, epsilons=None)
    assert fooled.all()
    ours = DDN(steps=100).run(model, clips, labels)
    assert ours.aux["norm"].mean() <= 1.02 * lengths(found - clips, "l2").mean()
