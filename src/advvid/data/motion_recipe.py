"""How a clip of the embedded data looks: a figure that moves over a textured scene, seen by a shaky camera.

Classes differ by motion alone. Scenes are drawn without knowledge of the class, so that a background tells nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FRAMES, MARGIN, RATE = 32, 12, 25
CLASSES = (
    "BounceVertical", "MoveDown", "MoveLeft", "MoveRight", "MoveUp",
    "RotateCCW", "RotateCW", "ShakeHorizontal", "ZoomIn", "ZoomOut",
)  # fmt: skip
# What the same clip is when it is played backwards.
REVERSED = {
    "MoveDown": "MoveUp", "MoveUp": "MoveDown", "MoveLeft": "MoveRight", "MoveRight": "MoveLeft",
    "RotateCCW": "RotateCW", "RotateCW": "RotateCCW", "ZoomIn": "ZoomOut", "ZoomOut": "ZoomIn",
    "BounceVertical": "BounceVertical", "ShakeHorizontal": "ShakeHorizontal",
}  # fmt: skip
SHAPES = ("bar", "rect", "triangle", "ellipse", "cross")
Array = NDArray[np.floating]


@dataclass(frozen=True)
class Scene:
    """Sizes in pixels and strengths in grey levels, each drawn evenly between two numbers for every clip.

    Args:
        side: of the frames.
        radius: of the figure.
        travel: how far it moves.
        stray: how far from the middle it may lie, along each axis.
        contrast: of the figure to the scene.
        texture: of the figure, as a share of its contrast.
        waves: of that texture, in radians per pixel.
        cells: of the scene's noise: the distance of its grid points.
        noise: its strength.
    """

    side: int = 64
    radius: tuple[float, float] = (9, 13)
    travel: tuple[float, float] = (20, 32)
    stray: float = 5
    contrast: tuple[float, float] = (45.0, 120.0)
    texture: float = 0.35
    waves: tuple[float, float] = (0.35, 0.7)
    cells: tuple[float, float] = (8, 24)
    noise: tuple[float, float] = (4, 14)


# In "plain" scenes a large figure moves over a smooth ground. In "textured" ones it is a fifth as wide as the frame, and figure
# and ground have edges of a few pixels everywhere, so that a shift of pixels changes them.
SCENES: Mapping[str, Scene] = {
    "plain": Scene(),
    "textured": Scene(
        side=48,
        radius=(4, 5.5),
        travel=(15, 24),
        stray=4,
        contrast=(70, 130),
        texture=0.5,
        waves=(0.8, 1.4),
        cells=(2, 5),
        noise=(16, 32),
    ),
}


def clip(
    label: int, group: int, number: int, member: int, seed: int, looks: bool = False, scene: Scene = SCENES["plain"]
) -> NDArray[np.uint8]:
    """Render one clip.

    Args:
        label: index into ``CLASSES``.
        group: the scene's group; clips of a group share a style of scene, train and test share no group.
        number: of the clip within group and class.
        member: of the clip within its class over all groups, for the figure.
        seed: of the data draw.
        looks: let shape and colour tell the class too, for models that see single frames.
        scene: how large and how textured everything is.

    Returns:
        uint8 ``[FRAMES, side, side, 3]``.
    """
    ground = np.random.default_rng([seed, 1, group, number])
    figure = np.random.default_rng([seed, 2, label, member])
    canvas, jitter = _background(ground, scene), _jitter(ground)
    name = CLASSES[label]
    shape = SHAPES[label % 5] if looks else SHAPES[figure.integers(5)]
    turns = name.startswith("Rotate")
    if turns and shape in ("ellipse", "cross"):
        shape = "bar"  # an ellipse turns nearly unseen, and a cross may as well have turned the other way
    radius = figure.uniform(*scene.radius) * (1.3 if turns else 1.0)
    start = figure.uniform(0, 2 * np.pi)
    centre = scene.side / 2 + figure.uniform(-scene.stray, scene.stray, 2)
    contrast = float(figure.uniform(*scene.contrast) * figure.choice([-1.0, 1.0]))
    colour = contrast * (1 + figure.uniform(-0.35, 0.35, 3))
    if looks:
        # Five shapes and two signs of contrast make ten looks; the hue goes with the shape.
        hues = np.array([[1, 0.2, 0.2], [0.2, 1, 0.2], [0.2, 0.2, 1], [1, 1, 0.1], [0.1, 1, 1]])
        colour = abs(contrast) * (1 if label < 5 else -1) * 1.2 * hues[label % 5]
    x, y, angle, scale = _motion(name, figure, scene.travel)
    waves = figure.uniform(*scene.waves, 2).astype(np.float32)
    # All frames at once, in single precision: the whole data set has to be made in seconds.
    rows, columns = np.mgrid[0 : scene.side, 0 : scene.side].astype(np.float32)
    # The camera moves scene and figure alike: content shifts against its offset.
    u = columns - _over_time(centre[0] + x - jitter[:, 0])
    v = rows - _over_time(centre[1] + y - jitter[:, 1])
    cos, sin, size = _over_time(np.cos(start + angle)), _over_time(np.sin(start + angle)), _over_time(radius * scale)
    p, q = (cos * u + sin * v) / size, (cos * v - sin * u) / size
    mask = 1 / (1 + np.exp(np.clip(1.5 * size * _distance(shape, p, q), -50, 50)))
    texture = scene.texture * abs(contrast) * np.sin(waves[0] * size * p) * np.cos(waves[1] * size * q)
    frames = np.stack([_crop(canvas, MARGIN + offset, scene.side) for offset in jitter])
    frames += mask[..., None] * (colour.astype(np.float32) + texture[..., None])
    frames *= figure.normal(1, 0.02)
    frames += 4 * figure.standard_normal(frames.shape, dtype=np.float32)
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def _over_time(values: Array) -> Array:
    """Shape a value per frame so that it broadcasts over ``[FRAMES, side, side]``."""
    return values.astype(np.float32)[:, None, None]


def _background(rng: np.random.Generator, scene: Scene) -> Array:
    colour = np.stack([_noise(rng, scene) for _ in range(3)], axis=-1)
    return (rng.uniform(70, 185, 3) + 0.5 * colour + 0.8 * _noise(rng, scene)[..., None]).astype(np.float32)


def _noise(rng: np.random.Generator, scene: Scene) -> Array:
    """Return smooth noise: a coarse normal grid, interpolated with a cosine, as large as the scene with its margin."""
    cell, amplitude = rng.uniform(*scene.cells), rng.uniform(*scene.noise)
    side = scene.side + 2 * MARGIN
    grid = rng.standard_normal((int(side / cell) + 2,) * 2)
    position = np.arange(side) / cell
    low = position.astype(int)
    part = (1 - np.cos(np.pi * (position - low))) / 2
    rows = grid[low] * (1 - part)[:, None] + grid[low + 1] * part[:, None]
    return amplitude * (rows[:, low] * (1 - part) + rows[:, low + 1] * part)


def _jitter(rng: np.random.Generator) -> Array:
    walk = np.cumsum(rng.normal(0, 0.25, (FRAMES, 2)), axis=0)
    return np.clip(walk - walk.mean(axis=0), -10, 10)


def _crop(canvas: Array, offset: Array, side: int) -> Array:
    """Cut the frame at a fractional (x, y) offset, bilinearly."""
    (x, y), (i, j) = offset, offset.astype(int)
    fx, fy = np.float32(x - i), np.float32(y - j)
    top = canvas[j : j + side + 1, i : i + side] * (1 - fx) + canvas[j : j + side + 1, i + 1 : i + side + 1] * fx
    return top[:-1] * (1 - fy) + top[1:] * fy


def _motion(name: str, rng: np.random.Generator, far: tuple[float, float]) -> tuple[Array, Array, Array, Array]:
    """Return x, y in pixels, angle in radians and scale over time: the class's own motion and small distractors."""
    t = np.linspace(0, 1, FRAMES)
    travel, turns = rng.uniform(*far), rng.uniform(0.35, 0.75)
    zoom, cycles, phase = rng.uniform(1.9, 2.8), rng.uniform(1.5, 2.5), rng.uniform(0, 2 * np.pi)
    drift, twist = rng.uniform(-4, 4, 2), rng.uniform(-0.25, 0.25)
    x, y, angle, scale = drift[0] * (t - 0.5), drift[1] * (t - 0.5), twist * (t - 0.5), np.ones(FRAMES)
    wave = 0.4 * travel * np.sin(2 * np.pi * cycles * t + phase)
    if name.startswith("Move"):
        x, y = np.zeros(FRAMES), np.zeros(FRAMES)
        path = travel * (t - 0.5) * (1 if name in ("MoveRight", "MoveDown") else -1)
        x, y = (path, y) if name in ("MoveLeft", "MoveRight") else (x, path)
    elif name == "ShakeHorizontal":
        x = x + wave
    elif name == "BounceVertical":
        y = y + wave
    elif name.startswith("Rotate"):
        # Rows grow downwards: a growing angle turns clockwise on the screen.
        angle = angle + 2 * np.pi * turns * (t - 0.5) * (1 if name == "RotateCW" else -1)
    else:
        scale = zoom ** ((t - 0.5) * (1 if name == "ZoomIn" else -1))
    return x, y, angle, scale


def _distance(shape: str, p: Array, q: Array) -> Array:
    """Return the signed distance to the unit figure, negative inside, in units of its radius."""

    def box(width: float, height: float) -> Array:
        return np.maximum(abs(p) - width, abs(q) - height)

    if shape == "bar":
        return box(1.0, 0.32)
    if shape == "rect":
        return box(0.85, 0.6)
    if shape == "cross":
        return np.minimum(box(1.0, 0.28), box(0.28, 1.0))
    if shape == "ellipse":
        return np.hypot(p, q / 0.6) * 0.8 - 0.8
    return np.maximum(0.866 * abs(p) + 0.5 * q, -q) - 0.5
