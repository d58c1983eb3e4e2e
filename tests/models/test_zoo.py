"""Every network of conf/model, at the clip length and size it was published for."""

import re

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from advvid.attacks.pgd import PGD
from advvid.config.catalogue import option_files, settings
from advvid.models.build import build_model
from advvid.models.cards import native_clip
from advvid.models.freeze import last_layer

# What is no classifier of clips has tests of its own.
OTHERS = {"feature_transformer", "next_frame", "hf", "timm"}
FILES = {name: path for name, path in option_files("model").items() if name not in OTHERS}
CLASSES = 7


def described(name):
    """Return the number of weights in millions, where the first line promises it, and (frames, height, width)."""
    found = re.search(r"([\d.]+) ([kM]) weights", FILES[name].read_text().splitlines()[0])
    return found and float(found[1]) * (1e-3 if found[2] == "k" else 1), native_clip(FILES[name])


def config(name):
    cfg = OmegaConf.create({"model": settings(FILES[name])}).model
    cfg.checkpoint = None  # efficientnet_lite0 begins with a package's, which need not be there
    return cfg


def no_softmax(logits):
    """Tell whether these are logits; the head's bias of 5 puts some outside of what a softmax can give."""
    return bool(((logits < 0) | (logits > 1)).any())


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", FILES)
def test_network_at_its_published_shape(name, tmp_path):
    millions, shape = described(name)
    torch.manual_seed(0)
    model = build_model(config(name), CLASSES, (3, *shape)).eval()
    head = model.net.get_submodule(last_layer(model.net))
    classes = 10 if name == "r3d_tiny" else 400
    per_class = head.weight[0].numel() + 1
    weights = sum(p.numel() for p in model.parameters()) + per_class * (classes - CLASSES)
    assert millions is None or weights / 1e6 == pytest.approx(millions, rel=0.005)

    for module in model.modules():
        # Some residual branches start at zero; a trained network's do not, and through them every frame matters.
        if isinstance(module, nn.BatchNorm3d) and not module.weight.any():
            nn.init.constant_(module.weight, 0.2)
    nn.init.constant_(head.bias, 5.0)
    clips = torch.rand(1, 3, *shape, requires_grad=True)
    with torch.no_grad():
        faint = bool(model(clips).std() < 1e-3)
        if faint:
            keep_the_signal(model, clips)
    torch.save(model.state_dict(), tmp_path / "w.pt")

    logits = model(clips)
    assert logits.shape == (1, CLASSES)
    assert no_softmax(logits)
    nn.functional.cross_entropy(logits, torch.tensor([1])).backward()
    assert torch.isfinite(clips.grad).all()
    assert (clips.grad.abs().amax(dim=(0, 1, 3, 4)) > 0).float().mean() > 0.9, "hardly any frame matters"
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert not without, f"the loss does not reach {without}"

    cfg = config(name)
    cfg.checkpoint = str(tmp_path / "w.pt")
    again = build_model(cfg, CLASSES, (3, *shape)).eval()
    with torch.no_grad():
        assert torch.equal(again(clips), logits)
    low_precision(again, clips.detach(), logits.detach())
    # A single clip's statistics make a network steep.
    step_size = 0.02 / 255 if faint else 2 / 255
    pgd_lowers_the_probability(again, clips.detach(), logits.argmax(dim=1), step_size)
    with torch.no_grad():
        assert no_softmax(model.train()(clips)), "training mode gives no logits"


def keep_the_signal(model, clips):
    """Give BatchNorm the clip's statistics, as training does, where the untrained network lets it die out (S3D)."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm3d)]
    for norm in norms:
        norm.momentum = 1.0
    model.train()(clips)
    for norm in norms:
        norm.momentum = 0.1
    model.eval()


def low_precision(model, clips, logits):
    """Run forward and backward in bf16, near to what fp32 gives."""
    x = clips.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model(x)
    nn.functional.cross_entropy(low.float(), torch.tensor([1])).backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().sum() > 0
    assert (low.float() - logits).abs().max() < 0.05 * logits.abs().max() + 0.1
    model.zero_grad(set_to_none=True)


def pgd_lowers_the_probability(model, clips, labels, step_size):
    attack = PGD(eps="8/255", step_size=step_size, steps=2, random_start=False, early_exit=False)
    x_adv = attack(model, clips, labels)
    with torch.no_grad():
        before, after = (model(x).log_softmax(dim=1).gather(1, labels[:, None]) for x in (clips, x_adv))
    assert (after < before).all()
