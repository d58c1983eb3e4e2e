"""Attention maps read from networks: they are what the layer itself multiplies its values by."""

import pytest
import torch
from torch import nn

from advvid.config.composed import composed
from advvid.core.errors import AdvvidError
from advvid.core.features import valid_frames
from advvid.models.attention import attention_layers, distance, require_attention, with_attention
from advvid.models.build import build_model
from advvid.models.feature_transformer import FeatureTransformer


def swin(shape=(3, 4, 16, 16), views=1):
    torch.manual_seed(0)
    return build_model(composed(["model=swin3d_tiny"]).model, 5, shape, views).eval()


def clips(count=2, frames=4, seed=1):
    return torch.rand(count, 3, frames, 16, 16, generator=torch.Generator().manual_seed(seed))


class Alone(nn.Module):
    """One attention layer as a network."""

    def __init__(self, attn, *further):
        super().__init__()
        self.attn, self.further = attn, further

    def forward(self, x):
        out = self.attn(x, *self.further)
        return out[0] if isinstance(out, tuple) else out


def shifted_windows():
    from torchvision.models.video.swin_transformer import ShiftedWindowAttention3d

    layer = ShiftedWindowAttention3d(6, window_size=[2, 3, 4], shift_size=[0, 0, 0], num_heads=1)
    x = torch.randn(2, 2, 3, 4, 6)
    value = layer.qkv(x.flatten(1, 3))[..., 12:]
    return Alone(layer), x, value, lambda mixed: layer.proj(mixed).unflatten(1, (2, 3, 4))


def multiscale():
    from torchvision.models.video.mvit import MultiscaleAttention

    layer = MultiscaleAttention(
        [2, 4, 4],
        6,
        6,
        1,
        kernel_q=[1, 3, 3],
        kernel_kv=[1, 3, 3],
        stride_q=[1, 2, 2],
        stride_kv=[1, 2, 2],
        residual_pool=False,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
    )
    for bias in (layer.rel_pos_h, layer.rel_pos_w, layer.rel_pos_t):
        nn.init.normal_(bias)
    x = torch.randn(2, 1 + 32, 6)
    value = layer.pool_v(layer.qkv(x)[:, None, :, 12:], (2, 4, 4))[0][:, 0]
    return Alone(layer, (2, 4, 4)), x, value, layer.project


def pytorchvideo():
    from pytorchvideo.layers.attention import MultiScaleAttention

    layer = MultiScaleAttention(6, num_heads=1, qkv_bias=True, has_cls_embed=False, pool_first=False)
    x = torch.randn(2, 8, 6)
    return Alone(layer, [2, 2, 2]), x, layer.v(x), layer.proj


@pytest.mark.parametrize("make", [shifted_windows, multiscale, pytorchvideo])
def test_the_map_times_the_values_is_the_layers_own_output(make):
    torch.manual_seed(0)
    model, x, value, project = make()
    model.eval()
    out, maps = with_attention(model, x)
    assert torch.equal(out, model(x))
    (weights,) = maps.values()
    assert weights.shape[:2] == (2, 1)
    torch.testing.assert_close(project(weights[:, 0] @ value), out)
    assert weights[0].std(dim=2).mean() > 1e-3, "flat attention would prove nothing"


def test_reading_changes_nothing_and_leaves_nothing():
    model, x = swin(), clips()
    plain = model(x)
    out, maps = with_attention(model, x)
    assert torch.equal(out, plain)
    assert {tuple(m.shape) for m in maps.values()} == {(2, 1, 32, 32), (2, 1, 8, 8)}
    assert list(maps) == [f"net.features.{k}.attn" for k in ("0.0", "0.1", "2.0", "2.1")]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    for weights in maps.values():
        torch.testing.assert_close(weights.sum(dim=3), torch.ones(weights.shape[:3]))


@pytest.mark.parametrize(("views", "frames", "windows"), [(1, 4, 1), (2, 8, 2), (1, 8, 1)])
def test_each_clip_has_its_own_windows(views, frames, windows):
    model, x = swin((3, frames // views, 16, 16), views), clips(3, frames)
    _, together = with_attention(model, x)
    _, alone = with_attention(model, x[1:2])
    for name, weights in together.items():
        assert weights.shape[1] == windows
        torch.testing.assert_close(weights[1:2], alone[name])


def test_a_transformer_on_features_hands_over_its_own():
    model = FeatureTransformer(5, {"rgb": 32, "audio": 16}, dropout=0.0, layers=2).eval()
    x = torch.rand(2, 6, 48, generator=torch.Generator().manual_seed(0)) * 4 - 2
    x[1, 4:] = 0
    out, maps = with_attention(model, x)
    torch.testing.assert_close(out, model(x))
    own = model.attention_maps(x)
    assert list(maps) == ["rgb.0", "rgb.1", "audio.0", "audio.1"]
    for name, weights in maps.items():
        modality, layer = name.split(".")
        known = own[modality][int(layer)].mean(dim=1)
        torch.testing.assert_close(weights[0, 0], known[0])
        torch.testing.assert_close(weights[1, 0, :4, :4], known[1, :4, :4])
        assert weights[1, 0].sum().item() == pytest.approx(4), "rows and columns of padding are zero"
    assert int(valid_frames(x).sum()) == 10


def test_the_distance_is_the_frobenius_norm_and_trains():
    model, x = swin(), clips()
    _, maps = with_attention(model, x)
    _, other = with_attention(model, (x + 0.2 * torch.randn_like(x)).clamp(0, 1))
    by_hand = torch.stack([torch.linalg.matrix_norm(maps[n][:, 0] - other[n][:, 0]) for n in maps]).mean(dim=0)
    torch.testing.assert_close(distance(maps, other), by_hand)
    distance(maps, other).sum().backward()
    grads = [layer.qkv.weight.grad for layer in attention_layers(model).values()]
    assert all(g.isfinite().all() and g.abs().sum() > 0 for g in grads)
    model.zero_grad()
    _, again = with_attention(model, x)
    distance(with_attention(model, x)[1], again).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_low_precision_gives_maps_in_full():
    model, x = swin(), clips()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, maps = with_attention(model, x)
    assert out.dtype == torch.bfloat16
    assert all(weights.dtype == torch.float32 for weights in maps.values())


def test_what_has_no_attention_is_refused_in_words(small):
    with pytest.raises(AdvvidError, match=r"defense=a_art needs .* which Small3D has not: choose model=swin3d_tiny"):
        require_attention(small, "defense=a_art")
    with pytest.raises(AdvvidError, match="needs a model with attention"):
        with_attention(small, clips())

    class FusedAttention(nn.Module):
        def forward(self, x):
            return nn.functional.scaled_dot_product_attention(x, x, x)

    with pytest.raises(AdvvidError, match="computes 0 softmaxes"):
        with_attention(Alone(FusedAttention()), torch.rand(1, 2, 3))


@pytest.mark.slow
def test_a_compiled_model_is_read_step_by_step():
    torch.manual_seed(0)
    model, x, *_ = multiscale()
    model.eval()
    out, maps = with_attention(model, x)
    model.compile(backend="eager")
    compiled = model(x)
    again, read = with_attention(model, x)
    torch.testing.assert_close(compiled, out)
    assert torch.equal(again, out)
    assert torch.equal(read["attn"], maps["attn"])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "layers"), [("mvit_v2_s", 16), ("swin3d_t", 12), ("mvit_base_16x4", 16)])
def test_published_networks_are_read(name, layers):
    model = build_model(composed([f"model={name}"]).model, 5, (3, 8, 64, 64)).eval()
    x = torch.rand(1, 3, 8, 64, 64)
    with torch.no_grad():
        out, maps = with_attention(model, x)
        assert torch.equal(out, model(x))
    assert len(maps) == layers
    assert all(float((w.sum(dim=3) - 1).abs().max()) < 1e-4 for w in maps.values())
