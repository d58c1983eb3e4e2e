"""Whether bf16 gradients of weights can be trusted on this processor."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from advvid.core.errors import AdvvidError
from advvid.models.modes import mode

# Some builds of oneDNN compute the weight gradient of a 3-D convolution over exactly this many frames wrongly in bf16:
# off by 80% on an AMD EPYC with AVX-512 and torch 2.15, by 0.3% with any other number of frames.
FRAMES = 2
TOLERANCE = 0.05


@cache
def two_frames_go_wrong() -> bool:
    """Return whether a bf16 weight gradient over two frames differs from the fp32 one by more than rounding."""
    generator = torch.Generator().manual_seed(0)
    clips = torch.randn(4, 16, FRAMES, 8, 8, generator=generator)
    weight = 0.1 * torch.randn(16, 16, 3, 3, 3, generator=generator)

    def gradient(low: bool) -> Tensor:
        w = weight.clone().requires_grad_()
        with torch.enable_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
            loss = functional.conv3d(clips, w, padding=1).float().square().mean()
        return torch.autograd.grad(loss, w)[0]

    exact = gradient(False)
    # Not finite counts as wrong.
    return not float((gradient(True) - exact).norm() / exact.norm()) < TOLERANCE


def check_training(model: nn.Module, inputs: Tensor) -> None:
    """Refuse to train a model in bf16 on a processor that gets its gradients wrong.

    Args:
        model: on the CPU; run once on ``inputs``, in evaluation mode, and left as it was.
        inputs: of one clip, ``[1, 3, T, H, W]``.

    Raises:
        AdvvidError: naming the first convolution over two frames.
    """
    if not two_frames_go_wrong():
        return
    names = {module: name for name, module in model.named_modules()}
    seen: list[str] = []

    def look(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.Conv3d) and arguments[0].shape[2] == FRAMES and module.kernel_size[0] > 1:
            seen.append(names[module])

    hooks = [module.register_forward_pre_hook(look) for module in names if isinstance(module, nn.Conv3d)]
    try:
        with mode(model, False), torch.no_grad():
            model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    if seen:
        raise AdvvidError(
            f"runtime.precision=bf16 would train {seen[0]} wrongly: on this processor PyTorch's bf16 gradients of convolutions "
            "over two frames are wrong; choose runtime.precision=fp32, or other dataset.frames"
        )
