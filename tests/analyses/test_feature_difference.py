import numpy as np
import pytest
import torch
from small_run import context, network, saved, split
from torch import nn

from advvid.analyses.feature_difference import FeatureDifference, features, layers_of
from advvid.attacks.pgd import PGD
from advvid.purifiers import BitDepth, PurifiedModel


class Doubled(nn.Module):
    """Two layers, the second of which is twice the first, whose values are overwritten in between."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv3d(3, 5, 1), nn.Conv3d(5, 5, 1, bias=False)
        nn.init.zeros_(self.first.bias)
        self.second.weight.data = 2 * torch.eye(5).view(5, 5, 1, 1, 1)

    def forward(self, clips):
        x = self.first(clips)
        kept = x.clone()
        x.zero_()
        return self.second(kept).mean(dim=(2, 3, 4))


def test_the_differences_are_those_of_the_features(tmp_path):
    torch.manual_seed(0)
    model, clips = Doubled().eval(), split(network(1))
    attack = PGD(eps="8/255", step_size="2/255", steps=3)
    found = context(tmp_path, model, "feature_difference", clips=clips, attack=attack)
    (row,) = FeatureDifference().run(found)["models"]
    first, second = row["layers"]
    assert [first["name"], second["name"]] == ["first", "second"]
    assert np.allclose(first["clips"], second["clips"], rtol=1e-5)
    assert second["square"]["mean"] == pytest.approx(4 * first["square"]["mean"], rel=1e-5)
    assert 0 < first["relative"]["mean"] < 0.1


def test_without_a_budget_nothing_moves(tmp_path):
    (row,) = FeatureDifference().run(context(tmp_path, network(1), "feature_difference", attack=PGD(eps=0)))["models"]
    assert all(layer["relative"]["mean"] == 0 for layer in row["layers"])


def test_models_are_compared_layer_by_layer_and_drawn(tmp_path):
    other = saved(tmp_path / "other", network(2))
    analysis = FeatureDifference(checkpoints=[other], labels=["halftone", "vanilla"])
    result = analysis.run(context(tmp_path, network(1), "feature_difference"))
    one, two = (row["layers"][-1] for row in result["models"])
    assert two["above_first"]["mean"] == pytest.approx(np.mean(two["clips"]) - np.mean(one["clips"]))
    assert [path.name for path in analysis.draw(result, tmp_path, "feature_difference")] == ["feature_difference.png"]


def test_purifiers_are_seen_through_and_no_layers():
    model, clips = network(1), torch.rand(2, 3, 4, 16, 16)
    system = PurifiedModel([BitDepth(bits=2)], model, frames=4).eval()
    assert list(layers_of(system)) == list(layers_of(model))
    for name, found in features(system, clips).items():
        assert torch.equal(found, features(model, BitDepth(bits=2)(clips))[name])
