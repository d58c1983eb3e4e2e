"""The feature transformer: its published form, maps that are what it attends with, and padding that changes nothing."""

import math

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from advvid.attacks.base import in_space
from advvid.attacks.pgd import PGD
from advvid.config.catalogue import option_files, settings
from advvid.core.errors import AdvvidError
from advvid.core.features import FrameFeatures, valid_frames
from advvid.models.build import build_model
from advvid.models.feature_transformer import EncoderLayer, FeatureTransformer, positions
from advvid.tasks.multi_label import MultiLabel


def network(**options):
    torch.manual_seed(0)
    return FeatureTransformer(
        **{"num_classes": 5, "modalities": {"rgb": 32, "audio": 16}, "dropout": 0.0} | options
    ).eval()


@pytest.fixture
def features():
    x = torch.rand(3, 6, 48, generator=torch.Generator().manual_seed(1)) * 4 - 2
    x[1, 4:] = 0
    x[2, 1:] = 0
    return x


def test_the_published_network_has_one_layer_of_eight_heads_per_modality():
    model = FeatureTransformer(317)
    maps = model.attention_maps(torch.rand(1, 3, 1152))
    assert {name: [tuple(m.shape) for m in found] for name, found in maps.items()} == {
        "rgb": [(1, 8, 3, 3)],
        "audio": [(1, 8, 3, 3)],
    }
    # Attention 4 d (d + 1), feed-forward 2 * 2 d^2 + 3 d, two norms of 2 d each; and the classifier.
    weights = sum(4 * d * (d + 1) + 4 * d * d + 3 * d + 4 * d for d in (1024, 128)) + 1153 * 317
    assert sum(p.numel() for p in model.parameters()) == weights


@pytest.mark.parametrize("layers", [1, 2])
def test_maps_are_what_the_logits_come_from(features, layers):
    model = network(layers=layers)
    logits, maps = model.with_attention(features)
    torch.testing.assert_close(logits, model(features))
    valid = valid_frames(features)
    for name in ("rgb", "audio"):
        assert len(maps[name]) == layers
        for found in maps[name]:
            assert found.shape == (3, 8, 6, 6)
            torch.testing.assert_close(found.sum(dim=3), torch.ones(3, 8, 6))
            assert (found.permute(0, 3, 1, 2)[~valid] == 0).all()
    x, target = features.clone().requires_grad_(), model.attention_maps(features * 0.5)["rgb"][0].detach()
    distance = (model.attention_maps(x)["rgb"][0].mean(dim=1) - target.mean(dim=1)).norm()
    (gradient,) = torch.autograd.grad(distance, x)
    assert gradient.abs().max() > 0, "a regulariser can use them"


def test_the_encoder_layer_is_that_of_torch():
    torch.manual_seed(0)
    ours, theirs = EncoderLayer(16, 4, 24, 0.0), nn.TransformerEncoderLayer(16, 4, 24, dropout=0.0, batch_first=True)
    pairs = {
        "in_proj.weight": "self_attn.in_proj_weight",
        "in_proj.bias": "self_attn.in_proj_bias",
        "out_proj.": "self_attn.out_proj.",
        "feed_forward.0.": "linear1.",
        "feed_forward.2.": "linear2.",
        "norms.0.": "norm1.",
        "norms.1.": "norm2.",
    }
    state = theirs.state_dict()
    with torch.no_grad():
        for name, value in ours.named_parameters():
            (ending,) = [key for key in pairs if name.startswith(key)]
            value.copy_(state[name.replace(ending, pairs[ending])])
    x = torch.randn(2, 5, 16)
    valid = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    expected = theirs(x, src_key_padding_mask=~valid)
    torch.testing.assert_close(ours(x, valid)[valid], expected[valid])
    torch.testing.assert_close(ours(x, valid, [])[valid], expected[valid])


def test_padding_changes_no_logit_and_gets_no_gradient(features):
    model = network()
    longer = torch.cat([features, torch.zeros(3, 4, 48)], dim=1)
    torch.testing.assert_close(model(longer), model(features))
    torch.testing.assert_close(model(features[1:2, :4]), model(features)[1:2])
    longer.requires_grad_()
    (gradient,) = torch.autograd.grad(model(longer).sum(), longer)
    valid = valid_frames(longer)
    assert (gradient[~valid] == 0).all()
    assert (gradient[valid].abs().amax(dim=1) > 0).all()
    empty = model(torch.zeros(1, 6, 48))
    assert empty.isfinite().all()


def test_the_order_of_frames_matters_by_the_positions(features):
    model = network()
    assert not torch.allclose(model(features[:1]), model(features[:1].flip(1)), atol=1e-4)
    waves = positions(7, 6, features)
    assert waves[3, 2].item() == pytest.approx(math.sin(3 / 10_000 ** (2 / 6)), rel=1e-5)
    assert waves[3, 3].item() == pytest.approx(math.cos(3 / 10_000 ** (2 / 6)), rel=1e-5)


def test_width_makes_it_smaller_and_weights_survive_a_file(features, tmp_path):
    model = network(width=0.5)
    assert model.classifier.in_features == 24
    torch.save(model.state_dict(), tmp_path / "w.pt")
    torch.manual_seed(1)
    again = network(width=0.5, checkpoint=str(tmp_path / "w.pt"))
    assert torch.equal(model(features), again(features))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_it_runs_forward_and_backward_in_low_precision(features, kind):
    model, x = network().train(), features.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == torch.bfloat16):
        loss = model(x).float().square().sum()
    loss.backward()
    assert x.grad.isfinite().all()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {"heads": 0},
        {"layers": 0},
        {"width": 0},
        {"dropout": 1.0},
        {"views": 2},
        {"modalities": {}},
        {"clip_shape": (3, 8, 32, 32)},
    ],
)
def test_impossible_settings_are_refused(options):
    with pytest.raises(AdvvidError):
        network(**options)


def test_other_inputs_are_refused(features):
    with pytest.raises(AdvvidError, match=r"features \[B, T, 48\], not \[3, 6, 40\]"):
        network()(features[..., :40])


def test_the_option_builds_trains_and_is_attacked_as_every_model(tmp_path):
    cfg = OmegaConf.create({"model": settings(option_files("model")["feature_transformer"])}).model
    cfg.width = 0.125
    data = torch.rand(4, 30, 1152, generator=torch.Generator().manual_seed(0)) * 4 - 2
    data[1, 20:] = 0
    for classes in (3, 317):
        torch.manual_seed(0)
        model = build_model(cfg, classes, (30, 1152)).eval()
        labels = torch.zeros(4, classes, dtype=torch.bool)
        with torch.no_grad():
            labels.scatter_(1, model(data).topk(2, dim=1).indices, True)
        task, attack = MultiLabel(), in_space(PGD(eps=1.0, norm="l2", step_size=0.25, steps=5), FrameFeatures())
        found = attack.run(model, data, labels, task=task)
        with torch.no_grad():
            assert (task.loss(model(found.x_adv), labels) > task.loss(model(data), labels)).all()
        torch.save(model.state_dict(), tmp_path / "w.pt")
        cfg.checkpoint = str(tmp_path / "w.pt")
        assert torch.equal(build_model(cfg, classes, (30, 1152)).eval()(data), model(data))
        cfg.checkpoint = None


def test_models_and_data_of_other_modalities_are_refused():
    features = OmegaConf.create({"model": settings(option_files("model")["feature_transformer"])}).model
    with pytest.raises(AdvvidError, match="choose dataset=youtube8m"):
        build_model(features, 5, (3, 8, 32, 32))
    clips = OmegaConf.create({"model": settings(option_files("model")["r3d_tiny"])}).model
    with pytest.raises(AdvvidError, match=r"inputs are 30 x 1152: choose model=feature_transformer"):
        build_model(clips, 5, (30, 1152))
