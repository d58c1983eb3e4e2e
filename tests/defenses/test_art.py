"""ART and A-ART: the loss is the paper's, nothing asked for is plain training, costs, curves, resuming."""

import dataclasses

import pytest
import torch
from training_steps import metrics, random_batch, same, split, step, trained

from advvid.attacks.base import in_space
from advvid.attacks.pgd import PGD
from advvid.config.composed import composed_with_choices
from advvid.config.instantiate import safe_instantiate
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.core.features import FrameFeatures
from advvid.core.schedules import Schedule
from advvid.defenses.a_art import AART
from advvid.defenses.art import ART
from advvid.defenses.crafted import Crafted
from advvid.defenses.none import NoDefense
from advvid.distributed.runtime import Runtime
from advvid.models.attention import distance, with_attention
from advvid.models.build import build_model
from advvid.models.feature_transformer import FeatureTransformer
from advvid.tasks.multi_label import MultiLabel
from advvid.tracking.trackers import NoTracker
from advvid.training.trainer import Trainer
from advvid.training.validation import Meter

FGM = PGD(eps=0.5, step_size="eps", steps=1, random_start=False, norm="l2_each")
ALONE = {"fgm": FGM}
SPACE = FrameFeatures(sizes=(32, 16))


def composed(*overrides):
    return composed_with_choices(list(overrides))[0]


def swin():
    torch.manual_seed(0)
    return build_model(composed("model=swin3d_tiny").model, 5, (3, 4, 16, 16))


def transformer(dropout=0.3):
    torch.manual_seed(0)
    return FeatureTransformer(5, {"rgb": 32, "audio": 16}, dropout=dropout)


def features(index=0):
    generator = torch.Generator().manual_seed(index)
    x = torch.rand(4, 6, 48, generator=generator) * 2 - 1
    x[1, 4:] = 0
    return Batch(x, torch.rand(4, 5, generator=generator) > 0.6, [f"{index}/{i}" for i in range(4)])


def on_features(defense):
    defense.task = MultiLabel()
    return defense, {"fgm": in_space(FGM, SPACE)}


def steps(defense, count=3):
    """Return weights and losses after some steps on features, as the trainer takes them."""
    model, (defense, attacks), losses = transformer(), on_features(defense), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for index in range(count):
        torch.manual_seed(index)
        model.train()
        loss, logs = defense.objective(model, features(index), attacks, step(iteration=index))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append((loss.item(), float(logs["passes"])))
    return model.state_dict(), losses


@pytest.mark.parametrize(
    ("defense", "eps"),
    [(ART(adversarial_weight=0), 0.5), (ART(), 0), (AART(adversarial_weight=0, attention_weight=0), 0.5), (AART(), 0)],
    ids=["art", "art_eps", "a_art", "a_art_eps"],
)
def test_it_is_plain_training_where_nothing_is_asked_for(defense, eps):
    plain, other = trained(NoDefense(), ALONE), trained(defense, {"fgm": PGD(eps=eps, norm="l2", step_size="eps")})
    assert same(plain, other)
    assert other[2] == [1, 1, 1]


@pytest.mark.parametrize(
    ("one", "other"),
    [(NoDefense(), AART(adversarial_weight=0, attention_weight=0)), (ART(), AART(attention_weight=0))],
    ids=["plain", "art"],
)
def test_on_features_too_step_for_step(one, other):
    first, second = steps(one), steps(other)
    assert first[1] == second[1]
    assert all(torch.equal(first[0][name], value) for name, value in second[0].items())
    assert first[1] != steps(AART(attention_weight=5))[1]


@pytest.mark.parametrize("kind", ["features", "clips"])
def test_the_loss_is_that_of_the_paper(kind):
    model = (transformer(0.0) if kind == "features" else swin()).eval()
    defense, attacks, batch = AART(adversarial_weight=0.7, attention_weight=2.0), ALONE, random_batch(0)
    if kind == "features":
        defense, attacks = on_features(defense)
        batch = features()
    loss, logs = defense.objective(model, batch, attacks, step())

    x = batch.inputs.clone().requires_grad_()
    (grad,) = torch.autograd.grad(defense.task.loss(model(x), batch.target).sum(), x)
    space = attacks["fgm"].space
    grad = grad if space.free(batch.inputs) is None else grad * space.free(batch.inputs)
    ones = [p / p.flatten(1).norm(dim=1).view(-1, *[1] * (p.dim() - 1)) for p in space.parts(grad)]
    x_adv = space.clamp(batch.inputs + 0.5 * torch.cat(ones, dim=-1), batch.inputs)
    (out, maps), (out_adv, maps_adv) = with_attention(model, batch.inputs), with_attention(model, x_adv)
    known = defense.task.loss(out, batch.target).mean() + 0.7 * defense.task.loss(out_adv, batch.target).mean()
    # Beside the mean of the losses over the classes, whose sum several labels have.
    weight = 2 * (batch.target.shape[1] if kind == "features" else 1)
    torch.testing.assert_close(loss, known + weight * distance(maps, maps_adv).mean(), rtol=1e-4, atol=1e-5)
    assert logs["attention_distance"] > 0
    assert float(logs["passes"]) == 3


def test_both_passes_draw_the_same_dropout():
    model, (defense, _), batch = transformer(0.5).train(), on_features(AART(attention_weight=1)), features()
    loss, logs = defense.fit(model, batch, Crafted(batch.inputs.clone(), batch.target, torch.zeros(())), step())
    assert logs["attention_distance"] == 0
    assert loss.item() == pytest.approx(2 * logs["adversarial_loss"].item())
    first, second = model(batch.inputs), model(batch.inputs)
    assert not torch.equal(first, second), "the network does draw"


@pytest.mark.parametrize("low_precision", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["features", "clips"])
def test_the_loss_is_finite_and_reaches_every_weight(kind, low_precision):
    model, defense, attacks, batch = swin(), AART(attention_weight=1), ALONE, random_batch(0)
    if kind == "features":
        (defense, attacks), model, batch = on_features(defense), transformer(), features()
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low_precision):
        loss, logs = defense.objective(model, batch, attacks, step())
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert len(logs["correct"]) == 4
    assert model.training


def test_an_epoch_reports_the_parts_of_its_loss():
    (defense, attacks), model, meter = on_features(AART(attention_weight=1)), transformer().train(), Meter()
    classes = features().target.shape[1]
    for i in range(2):
        loss, logs = defense.objective(model, features(i), attacks, step())
        parts = logs["clean_loss"] + logs["adversarial_loss"] + classes * logs["attention_distance"]
        assert loss.item() == pytest.approx(float(parts), rel=1e-5)
        meter.add(loss.detach(), None, 4, 3.0, logs)
    parts = meter.means
    assert sorted(parts) == ["adversarial_loss", "attention_distance", "clean_loss"]
    parts["attention_distance"] *= classes
    assert sum(parts.values()) == pytest.approx(float(meter.loss) / 2, rel=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_interrupted_at_any_batch_equals_uninterrupted(tmp_path, precision):
    data = split(16, 0), split(8, 1)

    def trainer(folder):
        folder.mkdir(exist_ok=True)
        torch.manual_seed(0)
        model = build_model(composed("model=swin3d_tiny").model, 3, (3, 4, 16, 16))
        return Trainer(
            fabric=Runtime(device="cpu", precision=precision).fabric(),
            model=model,
            defense=AART(attention_weight=1),
            attacks=ALONE,
            schedule=Schedule(epochs=2, batch_size=8, checkpoint_minutes=0.0),
            run_dir=folder,
            seed=0,
            tracker=NoTracker(),
            info={"classes": list("abc"), "config": {}},
        )

    whole = trainer(tmp_path / "whole").fit(*data)
    cut = trainer(tmp_path / "cut")
    update, left = cut._update, iter(range(3))

    def dies(*args, **kwargs):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return update(*args, **kwargs)

    cut._update = dies
    with pytest.raises(KeyboardInterrupt):
        cut.fit(*data)
    resumed = trainer(tmp_path / "cut").fit(*data, resume=True)
    for (key, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), key
    lines = metrics(tmp_path / "whole")
    assert lines == metrics(tmp_path / "cut")
    assert all(line["attention_distance"] > 0 for line in lines)
    assert lines[-1]["total_passes"] == 2 * 16 * 3


def test_the_options_choose_a_step_and_a_network_of_their_own():
    for name, kind in (("art", ART), ("a_art", AART)):
        cfg = composed(f"defense={name}", "defense.attacks.fgm.eps=0.25")
        defense = safe_instantiate(cfg.defense)
        assert type(defense) is kind
        attack = defense.inner(defense.attacks["fgm"])
        assert (attack.steps, attack.step, attack.norm, attack.random_start) == (1, 0.25, "l2_each", False)
    assert "Swin" in cfg.model.net._target_
    assert "R3D" in composed("defense=art").model.net._target_
    assert "Feature" in composed("defense=a_art", "model=feature_transformer")["model"]._target_


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ART(adversarial_weight=-1), "adversarial_weight=-1 is not possible"),
        (lambda: AART(attention_weight="-1/2"), "attention_weight='-1/2' is not possible"),
        (lambda: AART().check({"a": FGM, "b": FGM}, 3), "defense=a_art trains against one attack"),
        (
            lambda: AART().wrap(torch.nn.Linear(2, 2)),
            "defense=a_art needs a model with attention, which Linear has not",
        ),
    ],
)
def test_impossible_settings_are_refused_in_words(make, words):
    with pytest.raises(AdvvidError, match=words):
        make()


def drawn(count, seed):
    """Videos whose two labels show as weak directions, each in its half of the frames, under noise."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(5, 48, generator=torch.Generator().manual_seed(9))
    labels = torch.stack([torch.randperm(5, generator=generator)[:2] for _ in range(count)])
    x = 0.5 * torch.randn(count, 6, 48, generator=generator)
    x += 0.2 * directions[labels].repeat_interleave(3, dim=1)
    target = torch.zeros(count, 5, dtype=torch.bool).scatter_(1, labels, True)
    return Batch(x.clamp(-2, 2), target, [f"{seed}/{i}" for i in range(count)])


@pytest.mark.slow
def test_they_withstand_what_they_train_against_better_than_plain_training():
    train, test, found = drawn(60, 0), drawn(100, 1), {}
    for name, own in (("plain", NoDefense()), ("art", ART()), ("a_art", AART(attention_weight=1))):
        model, (defense, attacks) = transformer(), on_features(own)
        strong = {"fgm": dataclasses.replace(attacks["fgm"], eps=1.0)}
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for epoch in range(40):
            torch.manual_seed(epoch)
            for index in torch.randperm(60).split(20):
                loss, _ = defense.objective(model.train(), train.select(index), strong, step(epoch=epoch))
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        x_adv = strong["fgm"].run(model.eval(), test.inputs, test.target, task=defense.task).x_adv
        with torch.no_grad():
            found[name] = defense.task.loss(model(x_adv), test.target).mean().item()
    assert found["art"] < 0.8 * found["plain"]
    assert found["a_art"] < 0.8 * found["plain"]


def test_the_weight_of_attention_is_meant_beside_a_loss_that_is_named():
    """Beside the sum over five labels a weight is a fifth of what it is beside their mean; of one label both are the same."""
    model, attacks, batch = transformer(dropout=0.0), on_features(AART())[1], features()

    def term(**settings):
        defense = on_features(AART(inner_steps=1, **settings))[0]
        return defense.objective(model, batch, attacks, step())[0].item()

    none, mean, summed = (
        term(attention_weight=0),
        term(attention_weight=0.5),
        term(attention_weight=0.5, attention_beside="sum"),
    )
    assert summed - none > 1e-3
    assert mean - none == pytest.approx(5 * (summed - none), rel=1e-3)
    single, clips = swin(), random_batch(0)
    losses = []
    for kind in ("mean", "sum"):
        torch.manual_seed(0)
        defense = AART(attention_weight=0.5, attention_beside=kind)
        losses.append(defense.objective(single, clips, {"fgm": PGD(eps=0.5, steps=1)}, step())[0])
    assert torch.equal(*losses)
