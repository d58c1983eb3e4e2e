"""The pictures show what they say: exact pixels, words for right and wrong, every cell of a sweep."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from advvid.core.errors import AdvvidError
from advvid.visuals.heat_maps import heat_map
from advvid.visuals.pictures import RIGHT, WRONG, magnification
from advvid.visuals.sheets import contact_sheet


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)


def share(image, colour, tolerance=1):
    wanted = (np.array(colour) * 255).round()
    return (np.abs(image.astype(int) - wanted) <= tolerance).all(axis=1).mean()


def test_sheet_shows_clean_adversarial_and_magnified_difference(tmp_path):
    path = tmp_path / "pictures" / "pgd.png"
    clean = torch.tensor([0.8, 0.4, 0.2]).view(1, 3, 1, 1, 1).expand(1, 3, 16, 8, 8)
    change = torch.tensor([8 / 255, -8 / 255, 0.0]).view(1, 3, 1, 1, 1)
    contact_sheet(path, clean, clean + change, [(0, 0, 1)], ["walk", "run"], "pgd", "l-inf 8/255")
    image = pixels(path)
    factor = magnification(8 / 255)
    moved = 0.5 + factor * np.array([8, -8, 0]) / 255
    for colour in ((0.8, 0.4, 0.2), (0.8 + 8 / 255, 0.4 - 8 / 255, 0.2), moved):
        assert share(image, colour) > 0.1
    assert share(image, to_rgb(RIGHT)) > 0  # clean: right
    assert share(image, to_rgb(WRONG)) > 0  # adversarial: wrong


def test_sheet_keeps_to_four_clips_and_eight_frames(tmp_path):
    def size(clips, frames):
        batch = torch.rand(clips, 3, frames, 8, 8)
        path = tmp_path / f"{clips}_{frames}.png"
        contact_sheet(path, batch, batch, [(9, 0, 0)] * clips, ["only"], "none")
        return Image.open(path).size

    assert size(6, 32) == size(4, 8)
    assert size(1, 1)[0] < size(1, 8)[0]
    assert size(1, 8)[1] < size(2, 8)[1]


def test_no_change_is_grey(tmp_path):
    clip = torch.zeros(1, 3, 4, 8, 8)
    contact_sheet(tmp_path / "a.png", clip, clip, [(0, 0, 0)], ["walk"], "none")
    assert share(pixels(tmp_path / "a.png"), (0.5, 0.5, 0.5)) > 0.1


def test_a_clip_whose_class_nobody_told_is_neither_right_nor_wrong(tmp_path):
    clip = torch.full((1, 3, 4, 8, 8), 0.5)
    for answer, colour, other in ((0, RIGHT, WRONG), (1, WRONG, RIGHT)):
        contact_sheet(tmp_path / "a.png", clip, clip, [(None, 0, answer)], ["walk", "run"], "none")
        image = pixels(tmp_path / "a.png")
        # The adversarial row says "same" or "changed"; the clean row claims nothing.
        assert share(image, to_rgb(colour)) > 0
        assert share(image, to_rgb(other)) == 0


def test_sheet_refuses_what_does_not_belong_together(tmp_path):
    clip = torch.rand(2, 3, 4, 8, 8)
    with pytest.raises(AdvvidError, match="same batch"):
        contact_sheet(tmp_path / "a.png", clip, clip[:1], [(0, 0, 0)] * 2, ["walk"], "pgd")
    with pytest.raises(AdvvidError, match="one label and two predictions per clip"):
        contact_sheet(tmp_path / "a.png", clip, clip, [(0, 0, 0)], ["walk"], "pgd")


def test_heat_map_colours_every_cell_by_its_value(tmp_path):
    path = tmp_path / "heat.png"
    heat_map(path, np.array([[1.0, 0.0], [0.0, float("nan")]]), ["1", "2"], ["3", "4"], "rows", "columns", "pgd")
    image = pixels(path)
    yellow, purple = to_rgb("#fde725"), to_rgb("#440154")  # the ends of viridis
    assert share(image, purple) == pytest.approx(2 * share(image, yellow), rel=0.2)
    assert share(image, yellow) > 0.02
