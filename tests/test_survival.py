"""Clips that went through 8 bits or a codec come back as a viewer would get them."""

import pytest
import torch

from advvid.attacks.pgd import PGD
from advvid.core.batch import Batch
from advvid.core.errors import AdvvidError
from advvid.data.content import Contents
from advvid.evaluation.columns import Column
from advvid.evaluation.evaluator import Evaluator
from advvid.evaluation.postprocess import Postprocessing, postprocessing
from advvid.tasks.classification import Classification


def moving(size=32, frames=4):
    """A smooth picture that moves, which codecs keep well."""
    grid = torch.linspace(0, 3, size)
    shift = torch.arange(frames)[:, None, None] / 4
    wave = 0.5 + 0.4 * torch.sin(grid[None, :, None] + grid[None, None, :] + shift)
    return wave.expand(1, 3, frames, size, size).contiguous()


def test_eight_bits_move_nothing_by_more_than_half_a_level():
    clips = torch.rand(2, 3, 2, 8, 8)
    back = Postprocessing("uint8")(clips)
    assert (back - clips).abs().max() <= 0.5 / 255 + 1e-7
    assert torch.equal(Postprocessing("uint8")(back), back)


@pytest.mark.parametrize(("codec", "least"), [("libx264", 1e-4), ("mpeg4", 1e-4)])
def test_a_codec_gives_back_the_same_frames_but_not_exactly(codec, least):
    clip = moving()
    back = Postprocessing("codec", codec)(clip)
    assert back.shape == clip.shape
    far = (back - clip).abs().mean(dim=(0, 1, 3, 4))
    assert (far > least).all()
    assert (far < 0.03).all()


def test_a_lossless_codec_only_rounds():
    clip = moving()
    assert torch.equal(Postprocessing("codec", "ffv1")(clip), Postprocessing("uint8")(clip))


def test_worse_quality_is_farther_away():
    clip = moving() * 0.8 + 0.2 * torch.rand(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    fine, coarse = ((Postprocessing("codec", "libx264", q)(clip) - clip).abs().mean() for q in (10, 45))
    assert coarse > 1.5 * fine


def test_the_option_takes_none_one_or_several():
    assert postprocessing(None, "mpeg4", None) == []
    assert [s.name for s in postprocessing("uint8", "mpeg4", None)] == ["uint8"]
    assert postprocessing(["codec", "uint8"], "mpeg4", 5)[0] == Postprocessing("codec", "mpeg4", 5)
    with pytest.raises(AdvvidError, match="'jpeg' is not known: choose uint8 or codec"):
        postprocessing("jpeg", "mpeg4", None)


def test_the_same_adversarial_clips_are_scored_again(small, clips, labels, tmp_path, monkeypatch):
    """Rounding undoes a perturbation of a third of a level; a large one survives it. What is scored is what was found, rounded."""
    found, through = [], Postprocessing.__call__
    monkeypatch.setattr(Postprocessing, "__call__", lambda self, x: found.append(x.clone()) or through(self, x))
    levels = (clips * 255).round() / 255
    labels = small(levels).argmax(dim=1)
    columns = [Column("tiny", PGD(eps="1/765", steps=30, step_size="1/2550")), Column("large", PGD(eps="8/255"))]
    ids = [str(i) for i in range(len(levels))]
    evaluator = Evaluator(
        model=small,
        task=Classification(),
        columns=columns,
        seed=0,
        device=torch.device("cpu"),
        run_dir=tmp_path,
        postprocess=[Postprocessing("uint8")],
    )
    samples = evaluator.run(lambda numbers: [Batch(levels, labels, ids)], Contents(ids, ids), len(ids))
    for line in samples:
        assert line["attacks"]["clean@uint8"]["pred"] == line["clean"]
        assert line["attacks"]["tiny@uint8"]["pred"] == line["clean"]
    fooled = [line["attacks"]["large"]["pred"] != line["label"] for line in samples]
    after = [line["attacks"]["large@uint8"]["pred"] != line["label"] for line in samples]
    assert sum(fooled) == len(ids)
    assert sum(after) >= len(ids) - 1
    with torch.no_grad():
        by_hand = [small((255 * x).round() / 255).argmax(dim=1).tolist() for x in found]
    scored = [[line["attacks"][f"{name}@uint8"]["pred"] for line in samples] for name in ("clean", "tiny", "large")]
    assert by_hand == scored
