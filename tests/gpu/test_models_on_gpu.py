"""Every family of networks at a small size on a simulated GPU: the bits of the CPU, forward and backward."""

import pytest
import torch
from omegaconf import OmegaConf
from torch.nn.attention import SDPBackend, sdpa_kernel

from advvid.config.catalogue import option_files, settings
from advvid.models.build import build_model
from simulated_gpu import CUDA, SimulatedGpu, on_host, same_bits

VIDEO = (3, 8, 32, 32)
# One option of each family, what makes it small, and the shape of its clips.
FAMILIES = {
    "r3d_tiny": ({"width": 0.25}, VIDEO),
    "r3d_18": ({}, (3, 4, 16, 16)),
    "s3d": ({}, (3, 8, 32, 32)),
    "swin3d_tiny": ({"width": 0.25}, VIDEO),
    "x3d_xs": ({}, (3, 4, 32, 32)),
    "slowfast_r50": ({}, (3, 8, 16, 16)),
    "mvit_base_16x4": ({"size": 32, "frames": 4}, (3, 4, 32, 32)),
    "resnet3d_18": ({"width": 0.125}, VIDEO),
    "resnext3d_50": ({"width": 0.125}, VIDEO),
    "c3d": ({"width": 0.125, "size": 32, "frames": 8}, VIDEO),
    "i3d": ({"width": 0.125}, VIDEO),
    "inception_v3": ({"size": 75}, (3, 1, 32, 32)),
    "cnn_rnn": ({"width": 0.25}, VIDEO),
    "cnn_lstm": ({"width": 0.25}, VIDEO),
    "cnn_gru": ({"width": 0.25}, VIDEO),
    "efficientnet_lite0": ({"checkpoint": None, "net.hidden": 8}, (3, 4, 64, 64)),
    "feature_transformer": ({"width": 0.125, "modalities": {"rgb": 16, "audio": 8}}, (6, 24)),
    "next_frame": ({"width": 0.125}, (3, 4, 16, 16)),
    "resnet18_2d": ({"width": 0.125}, (3, 2, 32, 32)),
}


def passes(model, clips):
    """Return outputs, all gradients, and the buffers after a pass in training mode."""
    torch.manual_seed(0)
    x = clips.detach().requires_grad_()
    out = model.train()(x)
    model.zero_grad()
    out.square().sum().backward()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    return out, x.grad, [weight.grad for weight in model.parameters()], buffers


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_gives_the_bits_of_the_cpu(name):
    small, shape = FAMILIES[name]
    cfg = OmegaConf.create({"model": settings(option_files("model")[name])})
    for key, value in small.items():
        OmegaConf.update(cfg, f"model.{key}", value)
    torch.manual_seed(0)
    model = build_model(cfg.model, 5, shape)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    clips = torch.rand(2, *shape)
    with sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False):  # the CPU's own ways round otherwise
        first = passes(model, clips)
        model.load_state_dict(state)
        with SimulatedGpu():
            second = passes(model.to(CUDA), clips.to(CUDA))
            assert all(weight.grad.device == CUDA for weight in model.parameters())
    # With a recurrent part PyTorch multiplies the inputs of all frames at once on a CPU, so that sums round otherwise.
    if name.startswith(("cnn_", "efficientnet_lite0")):
        torch.testing.assert_close(on_host(second), first, rtol=1e-4, atol=1e-6)
    else:
        assert same_bits(first, second)
