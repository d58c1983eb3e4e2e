"""A whole video is attacked window by window, stitched back, and keeps its budget in every frame of the film."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from advvid.attacks import PGD, SaltAndPepper
from advvid.core.errors import AdvvidError
from advvid.data.decoders import FrameVideo
from advvid.data.encode import write_video
from advvid.data.video_files import VideoFiles
from advvid.evaluation.columns import Column
from advvid.experiment.attack_mode import check_options
from advvid.experiment.whole_videos import WholeVideo, check_whole, stitched
from advvid.tasks.classification import Classification

VIEW = VideoFiles.file_view({"frames": 8, "stride": 2, "size": 32, "decoder": "pyav"})


class Brightness(nn.Module):
    """Tells videos brighter than grey from darker ones; PGD at 8/255 turns the answer of nearly grey ones."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(50.0))

    def forward(self, clips):
        score = self.gain * (clips.mean(dim=(1, 2, 3, 4)) - 0.5)
        return torch.stack([-score, score], dim=1)


def film(path, frames):
    noise = np.random.default_rng(0).integers(-20, 20, (frames, 32, 32, 3))
    write_video(path, (133 + noise).astype(np.uint8), 25, codec="ffv1")
    return path


def whole(path, attack):
    return WholeVideo(
        model=Brightness().eval(),
        column=Column("pgd", attack),
        task=Classification(),
        view=VIEW,
        path=path,
        name="x",
        seed=0,
        batch=3,
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize("frames", [3, 16, 17, 60, 101])
def test_every_frame_of_any_length_is_attacked_and_keeps_the_budget(tmp_path, frames):
    path = film(tmp_path / "in.mkv", frames)
    video = whole(path, PGD(eps=8 / 255, steps=5))
    answer, windows = video.clean()
    assert (answer, set(windows)) == (1, {1})
    found = video.write(tmp_path / "out.mkv", tmp_path / "out.mp4", answer)
    made, clean = FrameVideo(tmp_path / "out.mkv", "pyav"), FrameVideo(path, "pyav")
    length = max(8, -(-frames // 2))
    assert made.frames == VIEW.length(path) == length
    numbers = [2 * i for i in range(length)]
    change = (made.fetch(range(length)).int() - clean.fetch(numbers).int()).abs()
    assert change.amax() == 8  # at most, and used to the full
    assert (change.amax(dim=(0, 2, 3)) > 0).all()  # no frame is left as it is
    assert found["rounded_distance"] == pytest.approx(8 / 255, abs=1e-6)
    assert (found["rounded"], set(found["windows"])) == (0, {0})
    assert found["steps"] > 0
    assert FrameVideo(tmp_path / "out.mp4", "pyav").frames == length


def test_a_budget_between_two_levels_is_not_rounded_up(tmp_path):
    path = film(tmp_path / "in.mkv", 30)
    found = whole(path, PGD(eps=2.6 / 255, steps=3)).write(tmp_path / "o.mkv", tmp_path / "o.mp4", 1)
    assert found["rounded_distance"] == pytest.approx(2 / 255, abs=1e-6)


def test_a_video_without_a_label_to_attack_is_left_as_it_is(tmp_path):
    path = film(tmp_path / "in.mkv", 30)
    found = whole(path, PGD()).write(tmp_path / "o.mkv", tmp_path / "o.mp4", None)
    assert (found["rounded_distance"], found["steps"]) == (0, 0)


@pytest.mark.parametrize("starts", [[0], [0, 6, 12], [0, 6, 7], [0, 3, 6, 8]])
def test_stitching_gives_every_frame_once_as_a_mean_of_its_windows(starts):
    truth = torch.arange(30.0).view(1, -1, 1, 1).expand(3, -1, 2, 2)
    changes = {start: torch.full((3, 8, 2, 2), float(i % 2)) for i, start in enumerate(starts)}
    parts = list(stitched(((s, truth[:, s : s + 8], changes[s]) for s in starts), overlap=2))
    clean, change = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    assert torch.equal(clean, truth[:, : starts[-1] + 8])
    assert change.shape == clean.shape
    for number, value in enumerate(change[0, :, 0, 0].tolist()):
        own = {float(i % 2) for i, start in enumerate(starts) if start <= number < start + 8}
        assert min(own) - 1e-6 <= value <= max(own) + 1e-6
        assert len(own) == 1 or 0 < value < 1  # both windows count


def test_a_film_that_leaves_the_budget_is_void(tmp_path):
    path = film(tmp_path / "in.mkv", 30)
    video = whole(path, PGD(eps=8 / 255, steps=1))
    found = np.stack(
        [f for clip in [FrameVideo(path, "pyav").fetch(range(0, 30, 2))] for f in clip.permute(1, 2, 3, 0).numpy()]
    )
    found[11, 0, 0, 0] += 9
    write_video(tmp_path / "bad.mkv", found, 25, codec="ffv1")
    with pytest.raises(AdvvidError, match="leaves l-inf 8/255 from frame 6 on"):
        video._distance(tmp_path / "bad.mkv")


def test_what_cannot_be_stitched_is_refused():
    for attack, words in (
        (PGD(norm="l2", eps=1.0), "only an l-inf budget outlives"),
        (SaltAndPepper(), "choose attack=pgd"),
        (PGD(eps=0.5 / 255), "raise attack.eps"),
    ):
        with pytest.raises(AdvvidError, match=words):
            check_whole(attack)
    cfg = {"mode": "attack", "files": None, "labels": None, "postprocess": None, "whole": True}
    with pytest.raises(AdvvidError, match=r"whole=true is for mode=attack files"):
        check_options(OmegaConf.create(cfg))


def test_the_line_of_a_video_says_all(tmp_path):
    video = whole(film(tmp_path / "in.mkv", 30), PGD(eps=8 / 255, steps=5))
    line = video.attacked(tmp_path / "films" / "x", tmp_path, -1, ["dark", "bright"])
    assert (line["clean_name"], line["label_name"], line["rounded_name"]) == ("bright", "bright", "dark")
    assert line["attacked"]
    assert line["fooled"]
    assert (tmp_path / line["lossless"]).is_file()
    assert line["windows"] == {"clean": [1, 1, 1], "adversarial": [0, 0, 0]}
    wrong = video.attacked(tmp_path / "films" / "y", tmp_path, 0, ["dark", "bright"])
    assert not wrong["attacked"]
    assert wrong["distance"] == 0
