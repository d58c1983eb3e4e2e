"""SimBA, the motion-excited sampler and GEO-TRAP: within their queries, along the directions that they claim."""

import math

import pytest
import torch
from toy import accuracy, generators, trained

from advvid.attacks.geo_trap import DRAWN, GeoTrap
from advvid.attacks.motion_sampler import MotionSampler, origins
from advvid.attacks.problem import Problem
from advvid.attacks.random_noise import RandomNoise
from advvid.attacks.simba import SimBA
from advvid.attacks.square import Square


def case(n=8):
    model, clips, labels = trained()
    return model, clips[:n], labels[:n]


@pytest.mark.parametrize("kind", [SimBA, GeoTrap, MotionSampler])
def test_it_asks_as_often_as_it_says_and_no_more(kind):
    model, clips, labels = case()
    asked = []
    handle = model.register_forward_hook(lambda *_: asked.append(1))
    result = kind(queries=50, early_exit=False).run(model, clips, labels, generators(8))
    handle.remove()
    assert 48 <= len(asked) <= 50
    assert (result.aux["queries"] == len(asked)).all()


def test_simba_fools_clips_that_noise_does_not():
    model, clips, labels = case(16)
    noise = accuracy(model, RandomNoise(eps="24/255")(model, clips, labels, generators(16)), labels)
    assert accuracy(model, SimBA(eps="24/255", queries=300)(model, clips, labels, generators(16)), labels) < noise - 0.2


@pytest.mark.parametrize("basis", ["cosine", "values"])
def test_the_directions_of_simba_are_orthonormal(basis):
    clips = torch.zeros(1, 3, 2, 4, 4)
    attack = SimBA(norm="l2", basis=basis, frequencies=1)
    bases = attack.bases(clips)
    vectors = attack._direction(torch.arange(math.prod(map(len, bases))), bases).flatten(1)
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(len(vectors)), atol=1e-5, rtol=0)


def test_noise_follows_what_moves():
    """A bright square moves by two pixels a frame: its pixels stem from where the square was at first."""
    clip = 0.1 * torch.rand(1, 1, 1, 24, 24, generator=torch.Generator().manual_seed(1)).expand(1, 3, 3, 24, 24).clone()
    square = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    for frame in range(3):
        clip[0, :, frame : frame + 1, 8:16, 4 + 2 * frame : 12 + 2 * frame] = square
    place = origins(clip, block=2, search=3).view(3, 24, 24)
    still = torch.arange(24 * 24).view(24, 24)
    assert (place[0] == still).all()
    assert (place[2, 10:14, 10:14] == still[10:14, 6:10]).all()
    assert (place[2, :6] == still[:6]).all()


@pytest.mark.parametrize("transform", DRAWN)
def test_a_frame_that_is_not_warped_is_the_noise_itself(transform):
    identity = {"dilation": [1.0], "translation_dilation": [1.0, 0, 0], "similarity": [0.0, 1, 0, 0]}
    numbers = torch.tensor(identity.get(transform, [1.0, 0, 0, 0, 1, 0] if transform == "affine" else [0.0, 0]))
    attack = GeoTrap(transform=transform)
    assert attack.matrices(numbers.expand(1, 1, -1)).tolist() == [[[[1, 0, 0], [0, 1, 0]]]]
    model, clips, labels = case(2)
    noise = attack._noise(Problem(model, clips, labels, generators(2)), {"x": clips})
    assert noise.shape == clips.shape
    assert not torch.equal(noise[:, :, 0], noise[:, :, 1])


def test_a_table_states_the_queries_with_the_budget():
    assert SimBA(eps="8/255", queries=1000).stated_budget == "l-inf 8/255, 1000 queries"
    assert Square(eps=2, norm="l2", queries=10).stated_budget == "l2 2 over the clip, 10 queries"
    assert RandomNoise(eps="8/255").stated_budget == "l-inf 8/255"
