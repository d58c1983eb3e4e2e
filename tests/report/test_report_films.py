"""Contact sheets play: what is cut out of a sheet is what was drawn on it."""

import base64
import io
import os

import numpy as np
import pytest
import torch
from PIL import Image
from report_folders import add_sheet

from advvid.attacks.pgd import PGD
from advvid.core.batch import Batch
from advvid.evaluation.columns import Column
from advvid.evaluation.robustness import RobustnessTable
from advvid.evaluation.scores import ColumnScore, Score
from advvid.report.animations import cut, films
from advvid.report.embed import MILLISECONDS, Embedded, Room, figure, moving, still
from advvid.report.sources import training_cost
from advvid.tasks.classification import Classification
from advvid.visuals.pictures import Strip, draw_sheet
from advvid.visuals.sheets import Sheets

RESULT = RobustnessTable(n=4, clean=Score(), attacks={"pgd": ColumnScore()})


def opened(picture):
    return Image.open(io.BytesIO(base64.b64decode(picture.address.split(",")[1])))


@pytest.mark.parametrize(("clips", "frames"), [(1, 1), (2, 8)])
def test_a_sheet_is_cut_into_the_frames_it_was_drawn_from(tmp_path, clips, frames):
    drawn = add_sheet(tmp_path, clips=clips, frames=frames)
    found = cut(tmp_path / "pictures" / "pgd.png")
    assert (len(found), len(found[0].frames)) == (clips, frames)
    side = 126.5
    for i, clip in enumerate(found):
        for t, page in enumerate(clip.frames):
            pixels = np.asarray(page)  # the words stand below it
            for row, source in enumerate(drawn):
                # The middle of every square pixel of the 8 x 8 frame, away from the white gap around it.
                places = ((np.arange(8) + 0.5) / 8 * 0.96 + 0.02) * side
                y, x = (row * side + places).astype(int), places.astype(int)
                wanted = 255 * source[i, :, t].permute(1, 2, 0).numpy()
                assert np.abs(pixels[np.ix_(y, x)] - wanted).max() < 3


def test_every_attack_shows_the_same_clips_with_what_was_read_in_them(tmp_path):
    """Those that were right before the attack come first, whatever an attack did to them."""
    labels, before = [1, 0, 0, 1], [0, 0, 1, 1]
    answers = {"pgd": [0, 0, 1, 0], "square": [0, 1, 0, 1]}
    names = ["Jump", "Walk"]
    clips = torch.arange(4).view(4, 1, 1, 1, 1).expand(4, 3, 1, 8, 8) / 4
    batch = Batch(clips, torch.tensor(labels), [str(i) for i in range(4)])
    sheets = Sheets(tmp_path, names, 4, Classification(), films=True)
    for column, after in answers.items():
        outputs = [torch.eye(2)[torch.tensor(read)] for read in (before, after)]
        sheets.add(Column(column, PGD()), batch, clips, *outputs)
        with Image.open(sheets.films[column]) as film:
            assert film.format == "GIF"
        sheet = cut(tmp_path / f"pictures/{column}.png")
        assert [round(np.asarray(clip.frames[0])[60, 60].mean() / 255 * 4) for clip in sheet] == [1, 3, 0, 2]
        assert [clip.said for clip in sheet] == [
            f"A clip of {names[labels[i]]}, read as {names[before[i]]} before {column} and as {names[after[i]]} after it."
            for i in (1, 3, 0, 2)
        ]
    assert [film.alt.split(",")[0] for film in films(tmp_path, RESULT, Room(1))] == ["A clip of Jump"] * 2


def test_sheets_of_predicted_frames_play_with_all_their_rows(tmp_path):
    strip = Strip(np.full((3, 8, 8, 1), 0.5), "clean")
    draw_sheet(tmp_path / "pictures" / "pgd.png", "pgd", "", [("", [strip] * 6)] * 2)
    clips = cut(tmp_path / "pictures" / "pgd.png")
    assert (len(clips), len(clips[0].frames)) == (2, 3)
    assert "true next frames" in films(tmp_path, RESULT, Room(1))[0].alt
    corners = np.asarray(clips[1].frames[2])[[20, -20], -60]
    assert (np.abs(corners.astype(int) - 128) < 3).all()


def test_films_repeat_slowly_and_show_every_frame(tmp_path):
    add_sheet(tmp_path, frames=3)
    (film,) = films(tmp_path, RESULT, Room(1))
    played = opened(film.moving)
    assert played.n_frames == 3
    played.seek(1)
    played.load()
    assert (played.info["duration"], played.info["loop"]) == (MILLISECONDS, 0)
    assert MILLISECONDS > 334  # fewer than three changes a second
    assert opened(film.still).width > played.width


def test_pictures_stay_within_the_room(tmp_path):
    add_sheet(tmp_path, clips=4, frames=2)
    (film,) = films(tmp_path, RESULT, Room(1))
    room = Room(1.5 * (len(film.still.address) + len(film.moving.address)) / 1e6)
    assert len(films(tmp_path, RESULT, room, clips=4)) == 1
    assert room.refused == 3


def test_a_large_picture_loses_detail_and_not_the_page():
    noise = [
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (200, 200, 3), dtype=np.uint8)) for i in range(4)
    ]
    assert len(moving(noise, 120).address) < 1.4 * 120_000
    assert moving(noise, 1) is None
    assert len(still(noise[0], 40).address) < 1.4 * 40_000


def test_what_is_no_sheet_is_left_alone(tmp_path):
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (300, 300)).save(tmp_path / "pictures" / "other.png")
    (tmp_path / "pictures" / "broken.png").write_bytes(b"no picture")
    assert films(tmp_path, None, Room(1)) == []


def test_films_of_attacked_files_play_too(tmp_path):
    (tmp_path / "adversarial").mkdir()
    pages = [Image.new("RGB", (60, 20), (40 * i, 0, 0)) for i in range(5)]
    pages[0].save(tmp_path / "adversarial" / "clip.gif", save_all=True, append_images=pages[1:], duration=40)
    (film,) = films(tmp_path, None, Room(1))
    assert (film.title, film.moving.width, opened(film.moving).n_frames) == ("clip", 30, 5)


def test_a_figure_keeps_its_form_unless_it_is_too_large(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    (tmp_path / "a.svg").write_text("<svg/>")
    assert figure(tmp_path / "a.svg").address.startswith("data:image/svg+xml")
    (tmp_path / "a.svg").write_text("<svg>" + "x" * 500_000 + "</svg>")
    assert figure(tmp_path / "a.svg") == Embedded(figure(tmp_path / "a.png").address, 30, 20)
    assert figure(tmp_path / "none.png") is None
    (tmp_path / "a.txt").write_text("no picture")
    assert figure(tmp_path / "a.txt") is None


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "pictures/pgd.png", "adversarial/a.gif", "train.log", "analysis/loss.png"]
)
def test_a_pipe_in_a_run_folder_is_not_waited_for(tmp_path, name):
    """Reading a pipe that nobody writes to would hang for good."""
    add_sheet(tmp_path, clips=1, frames=1)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    assert training_cost(tmp_path) == ""
    assert all(film.source != path for film in films(tmp_path, RESULT, Room(1)))
    assert figure(path) is None
