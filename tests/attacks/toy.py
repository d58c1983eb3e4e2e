"""A small network trained in about a second on clips of five moving gratings, shared by the strength tests."""

from functools import cache

import torch
from torch import nn

CLASSES, FRAMES, SIDE = 5, 4, 12


def gratings(n, seed):
    """Clips of a faint grating that drifts with a speed and slant of its class, in noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % CLASSES
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    t = torch.arange(FRAMES).view(-1, 1, 1)
    angle = labels.view(-1, 1, 1, 1) * torch.pi / CLASSES
    phase = 2 * torch.pi * torch.rand(n, 1, 1, 1, generator=generator)
    wave = torch.sin(1.3 * (x * angle.cos() + y * angle.sin()) + labels.view(-1, 1, 1, 1) * t + phase)
    noise = 0.1 * torch.randn(n, 3, FRAMES, SIDE, SIDE, generator=generator)
    return (0.5 + 0.12 * wave[:, None] + noise).clamp(0, 1), labels


@cache
def trained():
    """Return a network in eval mode, test clips that it gets right, and their labels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv3d(3, 12, 3, padding=1),
            nn.BatchNorm3d(12),
            nn.ReLU(),
            nn.Conv3d(12, 24, 3, stride=(1, 2, 2), padding=1),
            nn.BatchNorm3d(24),
            nn.ReLU(),
            nn.Conv3d(24, 24, 3, stride=(1, 2, 2), padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
            nn.Linear(24, CLASSES),
        )
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        clips, labels = gratings(200, seed=1)
        for step in range(60):
            rows = torch.arange(step * 50, step * 50 + 50) % 200
            loss = nn.functional.cross_entropy(model(clips[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    clips, labels = gratings(60, seed=2)
    with torch.no_grad():
        right = model(clips).argmax(dim=1) == labels
    return model, clips[right][:40], labels[right][:40]


def accuracy(model, clips, labels):
    with torch.no_grad():
        return (model(clips).argmax(dim=1) == labels).float().mean().item()


def generators(n, seed=0):
    return [torch.Generator().manual_seed(1000 * seed + i) for i in range(n)]
