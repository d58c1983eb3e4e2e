"""Train ComDefend's networks on the frames of a data set, or on any folder of pictures and videos.

The whole networks want a GPU. Small ones for the embedded data take about two minutes on two cores:

    python -m advvid.purifiers.train_comdefend dataset=motion_look --width 0.25 --patch 16 --patches 4000 --batch-size 16 --out FILE
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional

from advvid.core.errors import AdvvidError
from advvid.core.paths import user_path
from advvid.core.progress import bar
from advvid.purifiers.comdefend_networks import CODE, ComDefendNetworks, save_networks
from advvid.purifiers.training_frames import frames_of_dataset, frames_of_folder, patches_of

# Standard deviations of the noise between the codes of the first step: within the noise, the decoder would see nothing of
# a picture, and a short training learns nothing but the mean colour (in trials of 500 steps 20 dB, and 23 so).
SPREAD = 2.0


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the networks are trained; the defaults are the authors' but for patches, step, first code and its weight.

    Args:
        width: of the hidden layers; 1 is the paper's.
        noise: standard deviation of the noise on the code.
        epochs: over all patches.
        batch_size: patches per step.
        step_size: of Adam, whose betas are 0.5 and 0.999. The authors' 0.01 found the mean colour only in trials of 400
            steps, where 0.003 came to 18 dB.
        code_weight: of the mean square of the code in the loss, of pixels in [0, 1]. The authors' 1e-4 keeps the code far
            below the noise: in trials of 500 steps 19 dB, where 1e-6 came to 24.
        seed: of weights, order and noise.
    """

    width: float = 1.0
    noise: float = 20.0
    epochs: int = 10
    batch_size: int = 128
    step_size: float = 0.003
    code_weight: float = 1e-6
    seed: int = 0


def train(patches: Tensor, how: Training, device: torch.device | None = None) -> tuple[ComDefendNetworks, list[float]]:
    """Train both networks.

    Args:
        patches: of the training pictures.
        how: settings.
        device: to train on; None for the CPU.

    Returns:
        The networks and the mean square error of each epoch, noise included.

    Shape:
        patches: uint8 ``[N, 3, S, S]``.

    Raises:
        AdvvidError: if the loss is no longer finite.
    """
    device = device or torch.device("cpu")
    generator = torch.Generator().manual_seed(how.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed)
        networks = ComDefendNetworks(how.width).to(device)
    with torch.no_grad():
        networks.encoder[-1].weight.mul_(max(1.0, SPREAD * how.noise))  # type: ignore[operator]
    optimiser = torch.optim.Adam(networks.parameters(), lr=how.step_size, betas=(0.5, 0.999))
    steps = how.epochs * -(-len(patches) // how.batch_size)
    # Down to zero at the end: a constant step leaves the bits in unrest.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    errors = []
    with bar("training ComDefend", how.epochs * len(patches)) as progress:
        for _ in range(how.epochs):
            total = torch.zeros((), device=device)
            for chosen in torch.randperm(len(patches), generator=generator).split(how.batch_size):
                pictures = patches[chosen].to(device).float() / 255
                noise = torch.randn(len(pictures), CODE, *pictures.shape[-2:], generator=generator).to(device)
                back, code = networks(pictures, how.noise * noise)
                error = functional.mse_loss(back, pictures)
                optimiser.zero_grad(set_to_none=True)
                (error + how.code_weight * code.square().mean()).backward()
                torch.nn.utils.clip_grad_norm_(networks.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                total += error.detach() * len(pictures)
                progress.advance(len(pictures))
            errors.append(float(total) / len(patches))
            if not np.isfinite(errors[-1]):
                raise AdvvidError(f"the loss is no number after {len(errors)} epochs: give a smaller --step-size")
    return networks.eval(), errors


def psnr(networks: ComDefendNetworks, patches: Tensor, noise: float) -> float:
    """Return in dB how well pictures come back through bits, by a fixed draw of the noise."""
    generator = torch.Generator().manual_seed(0)
    total, device = 0.0, next(networks.parameters()).device
    with torch.no_grad():
        for some in patches.split(64):
            pictures = some.to(device).float() / 255
            draw = torch.randn(len(some), CODE, *some.shape[-2:], generator=generator).to(device)
            bits = (networks.code(pictures) + noise * draw > 0).float()
            total += float((networks.picture(bits) - pictures).square().mean(dim=(1, 2, 3)).sum())
    return float(-10 * np.log10(max(total / len(patches), 1e-12)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    usual = Training()
    parser = argparse.ArgumentParser(
        prog="python -m advvid.purifiers.train_comdefend", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("data", nargs="*", default=["dataset=motion"], help="a folder, or options such as dataset=...")
    parser.add_argument("--out", type=Path, required=True, help="the file of the trained networks")
    parser.add_argument("--patches", type=int, default=8000, help="random squares to train on (default %(default)s)")
    parser.add_argument("--patch", type=int, default=32, help="their side (default %(default)s)")
    parser.add_argument("--width", type=float, default=usual.width, help="of the layers; 1 is the paper's")
    parser.add_argument("--noise", type=float, default=usual.noise, help="on the code (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=usual.epochs, help="default %(default)s")
    parser.add_argument("--batch-size", type=int, default=usual.batch_size, help="default %(default)s")
    parser.add_argument("--step-size", type=float, default=usual.step_size, help="of Adam (default %(default)s)")
    parser.add_argument(
        "--code-weight", type=float, default=usual.code_weight, help="in the loss (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(arguments)
    console = Console(highlight=False, markup=False)
    try:
        lowest = min(given.patches, given.patch, given.epochs, given.batch_size)
        if lowest < 1 or min(given.width, given.step_size) <= 0 or min(given.noise, given.code_weight) < 0:
            raise AdvvidError("numbers of patches, epochs and steps have to be positive: see --help")
        folder = user_path(given.data[0])
        frames = frames_of_folder(folder, given.seed) if folder.is_dir() else frames_of_dataset(given.data)
        patches = patches_of(frames, given.patch, given.patches, given.seed)
        held = len(patches) // 10 if len(patches) >= 10 else 0
        how = Training(
            width=given.width,
            noise=given.noise,
            epochs=given.epochs,
            batch_size=given.batch_size,
            step_size=given.step_size,
            code_weight=given.code_weight,
            seed=given.seed,
        )
        networks, errors = train(patches[held:], how, torch.device(given.device))
        save_networks(given.out, networks.cpu(), how.noise, " ".join(given.data))
    except AdvvidError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    shown = psnr(networks, patches[:held] if held else patches, how.noise)
    course = f"mean square error {errors[0]:.4f} to {errors[-1]:.4f}"
    console.print(f"{len(patches) - held} patches, {course}, {shown:.1f} dB on others", soft_wrap=True)
    console.print(f"use it with purifier=[comdefend] purifier.comdefend.checkpoint={given.out}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
