"""Sheets of predicted frames show the clip, the truth and both predictions, and say which error is the larger."""

import numpy as np
import torch
from matplotlib.colors import to_rgb
from PIL import Image

from advvid.tasks.next_frame import NextFrame
from advvid.visuals.pictures import RIGHT, WRONG
from advvid.visuals.sheets import prediction_sheet


def draw(path, after):
    flat = [torch.full((2, 1, 3, 16, 16), level) for level in (0.2, 0.3, 0.4, 0.6, after)]
    clean, adversarial, target, before, misled = flat
    target = (target * 255).to(torch.uint8)  # as data sets hand it over
    prediction_sheet(path, clean, adversarial, (target, before, misled), NextFrame(), "pgd", "l-inf 26/255")
    return (np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3) / 255).astype(np.float32)


def share(image, colour):
    return (np.abs(image - np.array(colour)) < 0.004).all(axis=1).mean()


def test_all_six_rows_are_grey_pictures_of_what_they_name(tmp_path):
    image = draw(tmp_path / "a.png", 0.9)
    for level in (0.2, 0.3, 0.4, 0.6, 0.9):
        assert share(image, [level] * 3) > 0.05, level
    assert share(image, to_rgb(RIGHT)) > 0
    assert share(image, to_rgb(WRONG)) > 0


def test_a_smaller_error_is_not_shown_as_an_attack_that_worked(tmp_path):
    assert share(draw(tmp_path / "a.png", 0.45), to_rgb(WRONG)) == 0
