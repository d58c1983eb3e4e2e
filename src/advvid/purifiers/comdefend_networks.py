"""The two networks of ComDefend, and the file that holds them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from advvid.core import checkpoint
from advvid.core.errors import AdvvidError
from advvid.core.paths import user_path

CODE = 12  # values per pixel of the code, one bit each after training
ENCODER = (16, 32, 64, 128, 256, 128, 64, 32)
DECODER = (32, 64, 128, 256, 128, 64, 32, 16)
KIND = "comdefend"
COMMAND = "python -m advvid.purifiers.train_comdefend --out FILE"


class ComDefendNetworks(nn.Module):
    """ComCNN, which compresses a picture to 12 bits per pixel, and RecCNN, which makes it again (Jia et al. 2018).

    All convolutions are 3 x 3 with ELU between them. Training adds Gaussian noise to the code before a sigmoid, which a
    code survives only if it is far from zero: that makes it binary.

    Args:
        width: of the hidden layers; 1 is the paper's.

    Shape:
        pictures ``[N, 3, H, W]`` in [0, 1]; codes ``[N, 12, H, W]``.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        self.width = width
        self.encoder = _layers((3, *(_hidden(c, width) for c in ENCODER), CODE))
        self.decoder = _layers((CODE, *(_hidden(c, width) for c in DECODER), 3))

    def code(self, pictures: Tensor) -> Tensor:
        """Return the code before the sigmoid; its sign is the bit."""
        code: Tensor = self.encoder(pictures - 0.5)
        return code

    def picture(self, bits: Tensor) -> Tensor:
        """Return the picture that a code in [0, 1] stands for."""
        return torch.sigmoid(self.decoder(bits))

    def forward(self, pictures: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pictures that come back in training, and their codes."""
        code = self.code(pictures)
        return self.picture(torch.sigmoid(code + noise)), code


def _hidden(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def _layers(channels: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layer = nn.Conv2d(before, after, 3, padding=1)
        # He et al. 2015: with PyTorch's smaller default, nothing of a picture is left after eighteen layers, and a
        # short training finds the mean colour only.
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        layers += [layer, nn.ELU()]
    return nn.Sequential(*layers[:-1])


def save_networks(path: Path, networks: ComDefendNetworks, noise: float, trained: str) -> None:
    """Write trained networks, whole or not at all.

    Args:
        path: the file.
        networks: both of them.
        noise: standard deviation of the noise that they were trained with.
        trained: in words, on what.
    """
    state = {"model": checkpoint.clone(networks.state_dict()), "kind": KIND, "width": networks.width}
    checkpoint.save(path, {**state, "noise": noise, "trained": trained})


def load_networks(path: str | None) -> tuple[ComDefendNetworks, float]:
    """Read trained networks and the noise that they were trained with.

    Raises:
        AdvvidError: if there are none, naming the command that trains them.
    """
    if path is None or not user_path(path).is_file():
        at = "purifier.comdefend.checkpoint" + ("=null" if path is None else f"={path}")
        raise AdvvidError(f"ComDefend needs trained networks, and {at} holds none: train them with `{COMMAND}`")
    file = user_path(path)
    state = checkpoint.load(file)
    if state.get("kind") != KIND:
        raise AdvvidError(f"{file} holds no networks of ComDefend: train some with `{COMMAND}`")
    networks = ComDefendNetworks(float(state["width"]))
    checkpoint.load_model(networks, state["model"], file)
    return networks.eval().requires_grad_(False), float(state["noise"])
