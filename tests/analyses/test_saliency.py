import numpy as np
import pytest
import torch
from small_run import SHAPE, context, network, saved, split
from torch import nn

from advvid.analyses.saliency import Saliency, evenness, frame_shares
from advvid.core.errors import AdvvidError


class OneFrame(nn.Module):
    """Sees frame 2 alone, or every frame alike."""

    def __init__(self, frames):
        super().__init__()
        self.frames = frames
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, clips):
        mean = clips[:, :, self.frames].mean(dim=(1, 2, 3, 4))
        return self.scale * torch.stack([mean * k for k in range(5)], dim=1)


@pytest.mark.parametrize(("frames", "even"), [([2], 0), ([0, 1, 2, 3], 1)])
def test_the_energy_lies_where_the_model_looks(tmp_path, frames, even):
    clips = split(network(1))
    result = Saliency(pictures=1).run(context(tmp_path, OneFrame(frames), "saliency", clips=clips))
    (row,) = result["models"]
    assert row["share"] == pytest.approx([1 / len(frames) if t in frames else 0 for t in range(SHAPE[1])])
    assert row["evenness"]["mean"] == pytest.approx(even)
    assert np.array(row["maps"]).shape == (1, SHAPE[1], *SHAPE[2:])


def test_known_shares_and_no_gradient_at_all():
    gradient = torch.zeros(2, 3, 4, 2, 2)
    gradient[0, 0, 1, 0, 0], gradient[0, 1, 3, 1, 1] = 3, 4
    shares = frame_shares(gradient)
    assert shares[0].tolist() == pytest.approx([0, 9 / 25, 0, 16 / 25])
    assert shares[1].tolist() == [0.25] * 4
    assert evenness(shares.numpy())[1] == pytest.approx(1)


def test_models_are_compared_on_the_same_clips_and_drawn(tmp_path):
    model = network(1)
    other = saved(tmp_path / "other", network(2))
    analysis = Saliency(checkpoints=[other], labels=["regular", "robust"])
    result = analysis.run(context(tmp_path, model, "saliency"))
    first, second = (np.array(row["clips"]) for row in result["models"])
    assert result["models"][1]["difference"]["mean"] == pytest.approx((second - first).mean())
    pictures = analysis.draw(result, tmp_path, "saliency")
    assert [path.name for path in pictures] == ["saliency.png", "saliency_0.png", "saliency_1.png"]


class PredictedElsewhere(nn.Module):
    """The class of frame 1 wins; the label's logit reads frame 2."""

    def __init__(self, label):
        super().__init__()
        self.label, self.scale = label, nn.Parameter(torch.ones(1))

    def forward(self, clips):
        logits = clips.new_zeros(len(clips), 5).index_fill(1, torch.tensor([(self.label + 1) % 5]), 1.0)
        mean = clips.mean(dim=(1, 3, 4))
        return self.scale * (
            logits * (10 + mean[:, 1:2]) + nn.functional.one_hot(torch.tensor(self.label), 5) * mean[:, 2:3]
        )


@pytest.mark.parametrize(("of", "shares"), [("output", [0, 1, 0, 0]), ("loss", [0, 0.5, 0.5, 0])])
def test_the_gradient_is_that_of_the_predicted_output_unless_told_otherwise(tmp_path, of, shares):
    """The loss of a label that is not predicted looks at the label's evidence as well."""
    clips = split(network(1))
    model = PredictedElsewhere(0)
    clips.targets[:] = [0] * len(clips.targets)
    result = Saliency(of=of, pictures=1).run(context(tmp_path, model, "saliency", clips=clips))
    assert result["models"][0]["share"] == pytest.approx(shares, abs=1e-3)
    assert Saliency().of == "output"


def test_features_have_no_frames(tmp_path):
    with pytest.raises(AdvvidError, match="needs clips of frames"):
        Saliency().run(context(tmp_path, network(1), "saliency", clip_shape=(30, 1152)))
