"""AVG, MAX and MSD: what is trained on is the mean, the worst result, the worst step."""

import pytest
import torch
from training_steps import random_batch, step

from advvid.attacks.apgd import APGD
from advvid.attacks.frame_border import FrameBorder
from advvid.attacks.mi_fgsm import MIFGSM
from advvid.attacks.pgd import PGD
from advvid.attacks.roa import ROA
from advvid.attacks.salt_and_pepper import SaltAndPepper
from advvid.config.composed import composed
from advvid.config.instantiate import safe_instantiate
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.defenses.at import AT
from advvid.defenses.avg import AVG
from advvid.defenses.max import MAX
from advvid.defenses.msd import MSD
from small_models import LinearModel

SHAPE = (3, 2, 6, 6)
KINDS = {"pgd": PGD(eps="4/255"), "roa": ROA(), "border": FrameBorder(), "pixels": SaltAndPepper()}


@pytest.fixture
def batch():
    return random_batch(0)


def test_avg_is_the_mean_of_the_losses(small, batch):
    alone = [AT(inner_step_size="own").objective(small, batch, {n: a}, step())[0] for n, a in KINDS.items()]
    loss, logs = AVG().objective(small, batch, KINDS, step())
    assert torch.allclose(loss, torch.stack(alone).mean(), rtol=1e-5)
    assert logs["correct"].shape == (16,)
    with_clean, _ = AVG(clean=True).objective(small, batch, KINDS, step())
    clean = AVG().task.loss(small(batch.inputs), batch.target).mean()
    assert torch.allclose(with_clean, torch.stack([*alone, clean]).mean(), rtol=1e-5)


def test_max_takes_each_clip_at_its_worst(small, batch):
    maximum, attacks = MAX(), {"pgd": PGD(eps="6/255"), "border": FrameBorder()}
    made = maximum.prepare(small, batch, attacks, step())
    each = maximum.each(small, batch, attacks, step())
    losses = torch.stack([maximum.losses(small, c.clips, c.target) for c in each])
    assert torch.equal(maximum.losses(small, made.clips, batch.target), losses.amax(0))
    assert len(set(losses.argmax(0).tolist())) > 1  # otherwise nothing was chosen
    assert torch.allclose(maximum.fit(small, batch, made, step())[0], losses.amax(0).mean())


def test_max_leaves_clips_clean_where_no_attack_does_harm(small, batch):
    # A step of no length keeps the start, which for random noise may well lower the loss.
    harmless = {"pgd": PGD(eps="4/255", step_size=0)}
    maximum = MAX(clean=True)
    made = maximum.prepare(small, batch, harmless, step())
    noisy = maximum.each(small, batch, harmless, step())[1].clips
    clean, noise = (maximum.losses(small, clips, batch.target) for clips in (batch.inputs, noisy))
    for i, better in enumerate((clean >= noise).tolist()):
        assert torch.equal(made.clips[i], batch.inputs[i] if better else noisy[i])


@pytest.mark.parametrize(("linf", "l2", "winner"), [("2/255", 0.05, "linf"), ("1/2550", 0.5, "l2")])
def test_msd_takes_the_worse_step_of_a_linear_model(linf, l2, winner):
    """A linear score falls by eps ||w||_1 in the l-inf ball, and by eps ||w||_2 in the l2 ball: the larger one wins."""
    model = LinearModel(SHAPE)
    clips = 0.4 + 0.2 * torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(3))
    batch = Batch(clips, torch.tensor([0, 1, 1]), list("abc"))
    attacks = {
        "linf": PGD(eps=linf, step_size="eps", random_start=False),
        "l2": PGD(eps=l2, step_size="eps", random_start=False, norm="l2"),
    }
    falls = {
        "linf": attacks["linf"].radius * float(model.w.detach().abs().sum()),
        "l2": l2 * float(model.w.detach().norm()),
    }
    assert max(falls, key=falls.get) == winner
    made = MSD(inner_steps=3).prepare(model, batch, attacks, step())
    sign = torch.where(batch.target == 0, 1.0, -1.0)
    score = [((c - 0.5) * model.w.detach()).flatten(1).sum(1) for c in (clips, made.clips)]
    assert torch.allclose(sign * (score[0] - score[1]), torch.full((3,), falls[winner]), rtol=1e-4)
    assert bool(attacks[winner].threat.contains(made.clips, clips).all())


def test_msd_stays_in_the_union_and_is_no_weaker_than_a_step_of_any(small, batch):
    made = MSD(inner_steps=4).prepare(small, batch, KINDS, step())
    inside = torch.stack([attack.threat.contains(made.clips, batch.inputs) for attack in KINDS.values()])
    assert bool(inside.any(0).all())
    msd = MSD(inner_steps=1)
    one = msd.prepare(small, batch, KINDS, step())
    starts = [msd.craft(small, batch, a.at_start(), step()) for a in KINDS.values()]
    x = msd.worst(small, [s.x_adv for s in starts], batch.target)
    grad = msd.gradient(small, x, batch.target)
    for attack, start in zip(KINDS.values(), starts, strict=True):
        size = msd.inner(attack).step
        proposal = attack.threat.project(attack.threat.ascend(x, grad, size, start.aux), batch.inputs, start.aux)
        found, other = (msd.losses(small, c, batch.target) for c in (one.clips, proposal))
        assert bool((found >= other).all())


@pytest.mark.parametrize("name", ["avg", "max", "msd"])
def test_the_defaults_train_against_what_lo_and_patel_score(name):
    cfg = composed([f"defense={name}", "suite=lo"])
    attacks = dict(safe_instantiate(cfg.defense).attacks)
    scored = {key: safe_instantiate(node) for key, node in cfg.suite.items() if hasattr(node, "_target_")}
    assert list(attacks.values()) == [attack for attack in scored.values() if not attack.control]
    steps = {key: safe_instantiate(cfg.defense).inner(attack) for key, attack in attacks.items()}
    assert {key: (attack.steps, round(attack.step * 255, 6)) for key, attack in steps.items()} == {
        "pgd": (5, 1),
        "roa": (5, 70),
        "framing": (5, 70),
        "salt_and_pepper": (5, 70),
    }


@pytest.mark.parametrize(
    ("attack", "words"),
    [(APGD(), "APGD is not"), (MIFGSM(), "MIFGSM does not"), (PGD(targeted="random"), "no use for a targeted")],
)
def test_msd_refuses_what_it_cannot_take_step_by_step(attack, words):
    with pytest.raises(AdvvidError, match=words):
        MSD().check({"pgd": PGD(), "other": attack}, 1)
