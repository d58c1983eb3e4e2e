"""The papers' clip networks at small width: they train, can be attacked and saved, and refuse wrong files."""

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from advvid.attacks.pgd import PGD
from advvid.config.catalogue import option_files, settings
from advvid.core.errors import AdvvidError
from advvid.models.build import build_model

SMALL = {"width": 0.125, "size": 32, "frames": 8}
NETWORKS = (
    "resnet3d_18",
    "resnet3d_34",
    "resnet3d_50",
    "resnet3d_101",
    "wide_resnet3d_50",
    "resnext3d_50",
    "resnext3d_101",
    "c3d",
    "i3d",
)


def build(name, classes=4, clip_shape=(3, 8, 32, 32), **options):
    cfg = OmegaConf.create({"model": settings(option_files("model")[name])})
    for key, value in (SMALL | options).items():
        OmegaConf.update(cfg, f"model.{key}", value)
    torch.manual_seed(0)
    return build_model(cfg.model, classes, clip_shape)


@pytest.fixture(scope="module")
def batch():
    """Return grey noise with a bright quarter, whose place is the class."""
    labels = torch.arange(8) % 4
    clips = 0.2 * torch.rand(8, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0)) + 0.3
    for clip, label in zip(clips, labels.tolist(), strict=True):
        clip[:, :, 16 * (label // 2) :, 16 * (label % 2) :][:, :, :16, :16] += 0.4
    return clips, labels


def settle(model, clips):
    """Give BatchNorm the statistics that it would have after many steps."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        model.train()(clips)
    model.eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_network_learns_survives_saving_and_falls_to_pgd(name, batch, tmp_path):
    clips, labels = batch
    model = build(name).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(clips), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert all(p.grad is not None for p in model.parameters()), "the loss does not reach every weight"
    assert min(losses[4:]) < losses[0]

    settle(model, clips)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    again = build(name, checkpoint=str(tmp_path / "w.pt")).eval()
    with torch.no_grad():
        logits = model(clips)
        assert torch.equal(again(clips), logits)
    adversarial = PGD(eps=4 / 255, step_size=1 / 255, steps=8)(model, clips, labels)
    with torch.no_grad():
        clean, attacked = (model(x).softmax(dim=1)[torch.arange(8), labels] for x in (clips, adversarial))
    assert attacked.mean() < clean.mean() - 0.005, f"{clean} to {attacked}"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_new_network_gives_small_logits_that_pgd_can_change(name, batch):
    """So it is before BatchNorm has any statistics, whatever the scale of the pixels."""
    clips, labels = batch
    model = build(name).eval()
    with torch.no_grad():
        before = model(clips)
    assert before.abs().max() < 5
    adversarial = PGD(eps=8 / 255, step_size=2 / 255, steps=3, early_exit=False)(model, clips, labels)
    with torch.no_grad():
        losses = [nn.functional.cross_entropy(logits, labels) for logits in (before, model(adversarial))]
    assert losses[1] > losses[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_agrees_with_full(name, batch):
    model = build(name, classes=7).eval()
    clips = batch[0].clone().requires_grad_()
    exact = model(clips)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model(clips)
        loss = rough.float().square().mean()
    loss.backward()
    assert exact.shape == rough.shape == (8, 7)
    torch.testing.assert_close(rough.float(), exact, rtol=0.2, atol=0.2 * exact.abs().max().item())
    assert torch.isfinite(clips.grad).all()
    assert clips.grad.abs().amax(dim=(1, 3, 4)).all(), "a frame does not matter"


@pytest.mark.parametrize("name", ["resnext3d_101", "c3d", "i3d"])
def test_several_views_and_other_clips_pass_the_wrapper(name):
    model = build(name, clip_shape=(3, 6, 48, 40)).eval()
    with torch.no_grad():
        assert model(torch.rand(2, 3, 6, 48, 40)).shape == (2, 4)


@pytest.mark.parametrize("name", ["resnext3d_50", "c3d", "i3d"])
def test_wrong_files_are_refused_in_one_sentence(name, tmp_path):
    model = build(name)
    good, wrong, cut, code = (tmp_path / f"{word}.pt" for word in ("good", "wrong", "cut", "code"))
    torch.save(model.state_dict(), good)
    build(name, checkpoint=str(good))
    torch.save(build("i3d" if name != "i3d" else "c3d").state_dict(), wrong)
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    torch.save({"state_dict": model.state_dict(), "note": Planted()}, code)
    for path, words in ((wrong, "fit only 0%"), (cut, "is damaged"), (code, "refused because")):
        with pytest.raises(AdvvidError, match=words) as caught:
            build(name, checkpoint=str(path))
        assert "\n" not in str(caught.value)


class Planted:
    def __reduce__(self):
        return (pytest.fail, ("a planted pickle ran",))
