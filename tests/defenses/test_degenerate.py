"""Settings at which one defense is another, step for step, bit for bit; costs; gradients; resuming; bf16."""

import pytest
import torch
from training_steps import metrics, random_batch, same, split, step, trained, trainer

from advvid.attacks.fgsm import FGSM
from advvid.attacks.frame_border import FrameBorder
from advvid.attacks.pgd import PGD
from advvid.attacks.roa import ROA
from advvid.attacks.salt_and_pepper import SaltAndPepper
from advvid.defenses.at import AT
from advvid.defenses.avg import AVG
from advvid.defenses.awp import AWP
from advvid.defenses.fgsm_rs import FGSMRS
from advvid.defenses.free_at import FreeAT
from advvid.defenses.mart import MART
from advvid.defenses.max import MAX
from advvid.defenses.msd import MSD
from advvid.defenses.n_fgsm import NFGSM
from advvid.defenses.none import NoDefense
from advvid.defenses.trades import TRADES
from advvid.defenses.vfat_ws import VFATWS

PGD_ALONE = {"pgd": PGD()}
LO = {
    "pgd": PGD(eps="4/255", step_size="1/255"),
    "roa": ROA(),
    "framing": FrameBorder(width=10, step_size="70/255"),
    "salt_and_pepper": SaltAndPepper(),
}
EVERY = {
    "trades": (lambda: TRADES(inner_steps=2), PGD_ALONE, 4.5),
    "trades_gaussian": (lambda: TRADES(inner_steps=2, start="gaussian"), PGD_ALONE, 4.5),
    "trades_task": (lambda: TRADES(inner_steps=2, surrogate="task"), PGD_ALONE, 4),
    "mart": (lambda: MART(inner_steps=2), PGD_ALONE, 4),
    "avg": (lambda: AVG(inner_steps=2), LO, 12),
    "avg_clean": (lambda: AVG(inner_steps=2, clean=True), LO, 13),
    "max": (lambda: MAX(inner_steps=2), LO, 11),
    "max_clean": (lambda: MAX(inner_steps=2, clean=True), LO, 11.5),
    "msd": (lambda: MSD(inner_steps=2), LO, 9),
    "fgsm_rs": (FGSMRS, PGD_ALONE, 2),
    "n_fgsm": (NFGSM, PGD_ALONE, 2),
    "vfat_ws": (VFATWS, PGD_ALONE, 4),
    "vfat_ws_shared": (lambda: VFATWS(strong_step="weak"), PGD_ALONE, 3),
    "free_at": (FreeAT, PGD_ALONE, 1),
    "awp": (lambda: AWP(inner_steps=2), PGD_ALONE, 4),
    "awp_trades": (lambda: AWP(inner_steps=2, over=TRADES(inner_steps=2)), PGD_ALONE, 6.5),
}


@pytest.mark.parametrize(
    ("defense", "eps"),
    [
        (TRADES(beta=0), "8/255"),
        (TRADES(), 0),
        (TRADES(start="gaussian"), 0),
        (FGSMRS(), 0),
        (NFGSM(), 0),
        (VFATWS(), 0),
        (FreeAT(replays=1), 0),
        (AVG(), 0),
        (MAX(), 0),
        (AT(), 0),
        (AWP(gamma=0), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, AT) else str(value),
)
def test_it_is_plain_training_where_nothing_is_asked_for(defense, eps):
    plain = trained(NoDefense(), PGD_ALONE)
    other = trained(defense, {"pgd": PGD(eps=eps)})
    assert same(plain, other)
    assert other[2] == [1, 1, 1]


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize(
    "make",
    [
        lambda inner_mode: MART(beta=0, margin=0, inner_mode=inner_mode),
        AVG,
        MAX,
        MSD,
        lambda inner_mode: AWP(gamma=0, inner_mode=inner_mode),
    ],
    ids=["mart", "avg", "max", "msd", "awp"],
)
def test_it_is_adversarial_training_where_nothing_is_added(make, mode):
    # 8/255 with the rule is what "own" finds in the attack itself.
    plain = trained(AT(inner_mode=mode), PGD_ALONE)
    other = trained(make(inner_mode=mode), PGD_ALONE)
    assert same(plain, other)
    assert other[2] == plain[2] == [6, 6, 6]


@pytest.mark.parametrize("make", [AVG, MAX, MSD])
@pytest.mark.parametrize("name", list(LO))
def test_with_one_attack_of_any_kind_it_is_adversarial_training_on_it(make, name):
    attacks = {name: LO[name]}
    assert same(trained(AT(inner_step_size="own"), attacks), trained(make(), attacks))


def test_max_over_the_same_attack_twice_is_adversarial_training():
    assert same(trained(AT(), PGD_ALONE), trained(MAX(), {"one": PGD(), "two": PGD()}))


@pytest.mark.parametrize(
    ("defense", "known", "attack"),
    [
        (FGSMRS(), AT(inner_steps=1, inner_step_size="10/255"), PGD()),
        (FGSMRS(), AT(inner_steps=1, inner_step_size="10/255"), PGD(random_start=False)),
        (NFGSM(noise_factor=0), AT(), FGSM()),
        (AWP(gamma=0, over=TRADES()), TRADES(), PGD()),
        (AWP(gamma=0, over=MSD(inner_step_size="optimal")), MSD(inner_step_size="optimal"), PGD()),
    ],
)
def test_it_is_a_known_form_of_another(defense, known, attack):
    start = PGD() if isinstance(defense, FGSMRS) and isinstance(attack, PGD) else attack  # the defense's own start
    assert same(trained(known, {"pgd": start}), trained(defense, {"pgd": attack}))


def test_awp_waits_for_its_warm_up():
    awp = AWP(warmup=2)
    assert same(trained(AT(), PGD_ALONE, epoch=1), trained(awp, PGD_ALONE, epoch=1))
    assert not same(trained(AT(), PGD_ALONE, epoch=2), trained(awp, PGD_ALONE, epoch=2))


@pytest.mark.parametrize("name", list(EVERY))
@pytest.mark.parametrize("low_precision", [False, True], ids=["fp32", "bf16"])
def test_the_loss_is_finite_reaches_every_weight_and_costs_what_it_says(name, low_precision, small):
    make, attacks, cost = EVERY[name]
    small.train()
    defense = make()
    defense.check(attacks, 21)
    before = {key: value.clone() for key, value in small.state_dict().items() if "running" not in key}
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low_precision):
        loss, logs = defense.objective(small, random_batch(0), attacks, step(epoch=20))
    loss.backward()
    assert torch.isfinite(loss)
    assert loss.dtype == torch.float32
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in small.parameters())
    assert all(p.grad.abs().sum() > 0 for p in small.parameters() if p.dim() > 1)
    assert len(logs["correct"]) in (4, 16, 20)
    assert float(logs["passes"]) == cost
    assert small.training
    assert all(torch.equal(before[key], small.state_dict()[key]) for key in before if "batches" not in key)


@pytest.mark.parametrize("name", ["avg", "max", "msd", "trades", "n_fgsm", "vfat_ws", "awp"])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_making_clips_moves_no_statistics(name, mode, small):
    make, attacks, _ = EVERY[name]
    defense = make()
    defense.inner_mode = mode
    small.train()
    before = {key: value.clone() for key, value in small.state_dict().items()}
    defense.prepare(small, random_batch(0), attacks, step())
    assert all(torch.equal(before[key], value) for key, value in small.state_dict().items())
    assert small.training
    assert all(p.requires_grad for p in small.parameters())


@pytest.mark.slow  # test_every_defense.py has the short form
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["trades", "msd", "fgsm_rs", "free_at", "awp_trades"])
def test_interrupted_at_any_batch_equals_uninterrupted(tmp_path, name, precision):
    make, attacks, _ = EVERY[name]
    data = split(24, 0), split(8, 1)
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    whole = trainer(tmp_path / "whole", make(), attacks, precision).fit(*data)
    for after in (1, 2):
        cut = trainer(tmp_path / "cut", make(), attacks, precision)
        update, left = cut._update, iter(range(after))

        def dies(*args, update=update, left=left, **kwargs):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return update(*args, **kwargs)

        cut._update = dies
        with pytest.raises(KeyboardInterrupt):
            cut.fit(*data, resume=True)
    resumed = trainer(tmp_path / "cut", make(), attacks, precision).fit(*data, resume=True)
    for (key, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), key
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")
