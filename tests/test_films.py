"""Films hold what they say: every value where nothing may be lost, and a size that can be watched."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image

from advvid.core.errors import AdvvidError
from advvid.visuals import videos as films
from advvid.visuals.videos import (
    BAND,
    GAP,
    QUICKEST,
    Panel,
    eight_bits,
    frames_of,
    write_gif,
    write_lossless,
    write_viewable,
    zoom_for,
)

RATE = Fraction(25, 4)


def noise(frames=5, height=32, width=32, seed=0):
    return torch.randint(
        0, 256, (3, frames, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def decoded(path):
    with av.open(str(path)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]), file.streams.video[0]


def test_eight_bits_rounds_to_the_nearest_level():
    clip = torch.tensor([0.0, 0.4, 0.6, 254.4, 255.0]).div(255).view(1, 1, 1, 1, 5)
    assert eight_bits(clip).flatten().tolist() == [0, 0, 1, 254, 255]


@pytest.mark.parametrize("shape", [(5, 32, 32), (1, 112, 112), (3, 17, 31)])
def test_lossless_holds_every_value(tmp_path, shape):
    clip = noise(*shape)
    back = write_lossless(tmp_path / "a" / "x.mkv", clip, RATE)
    assert torch.equal(back, clip)
    frames, stream = decoded(tmp_path / "a" / "x.mkv")
    assert np.array_equal(frames, frames_of(clip))
    assert stream.average_rate == pytest.approx(6.25, rel=0.01) or shape[0] == 1
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["x.mkv"]


@pytest.mark.parametrize("fault", ["a value", "a frame"])
def test_a_file_that_lost_something_is_told(tmp_path, monkeypatch, fault):
    written = films.write_video

    def lossy(path, frames, rate, codec):
        frames = frames.copy()
        frames[-1, 0, 0, 0] ^= 1
        written(path, frames if fault == "a value" else frames[:-1], rate, codec=codec)

    monkeypatch.setattr(films, "write_video", lossy)
    with pytest.raises(AdvvidError, match="does not decode to the frames that were written"):
        write_lossless(tmp_path / "x.mkv", noise(), RATE)


def test_zoom_gives_comfortable_even_sides():
    for height in range(1, 600, 7):
        for width in (height, height + 1, 3 * height):
            zoom = zoom_for(height, width)
            assert zoom * height % 2 == zoom * width % 2 == 0
            assert min(zoom * height, zoom * width) >= 256
            assert zoom == 1 or min(height, width) * (zoom - 2) < 256


def test_viewable_is_the_clip_with_its_pixels_as_squares(tmp_path):
    blocks = torch.tensor([0, 80, 160, 240], dtype=torch.uint8).view(1, 1, 2, 2).repeat(3, 4, 1, 1)
    clip = blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)
    write_viewable(tmp_path / "x.mp4", clip, RATE)
    frames, stream = decoded(tmp_path / "x.mp4")
    assert frames.shape == (4, 256, 256, 3)
    assert stream.codec_context.name == "h264"
    wanted = frames_of(clip).repeat(16, axis=1).repeat(16, axis=2)
    assert np.abs(frames.astype(int) - wanted).mean() < 3


def test_gif_shows_the_panels_side_by_side(tmp_path):
    clean = torch.full((3, 4, 32, 32), 100, dtype=torch.uint8)
    clean[:, :, :16] = torch.arange(4, dtype=torch.uint8).mul(50).view(1, 4, 1, 1)
    panels = [Panel(frames_of(c), w, "#d55e00") for c, w in ((clean, "clean"), (clean, "a" * 99), (noise(4), "noise"))]
    write_gif(tmp_path / "x.gif", panels, RATE)
    gif = Image.open(tmp_path / "x.gif")
    side = 7 * 32
    assert (gif.size, gif.n_frames) == ((3 * side + 2 * GAP, BAND + side), 4)
    assert (gif.info["loop"], gif.info["duration"]) == (0, 160)
    for i in range(4):
        gif.seek(i)
        page = np.asarray(gif.convert("RGB")).astype(int)
        left, middle = page[BAND:, :side], page[BAND:, side + GAP : 2 * side + GAP]
        assert np.array_equal(left, middle)  # what is alike looks alike
        assert np.abs(left - frames_of(clean)[i].repeat(7, 0).repeat(7, 1)).max() <= 2
        assert (page[BAND:, side : side + GAP] >= 250).all()
        assert page[:BAND].min() < 200  # words
        assert page[BAND:, 2 * (side + GAP) :].std() > 40  # the noise keeps its contrast


def test_quick_films_are_slowed_down_to_what_browsers_show(tmp_path):
    panels = [Panel(frames_of(noise(2, seed=i)), "", "#000000") for i in range(3)]
    write_gif(tmp_path / "x.gif", panels, Fraction(120))
    assert Image.open(tmp_path / "x.gif").info["duration"] == QUICKEST
