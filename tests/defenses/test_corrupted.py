"""Training on noisy and on corrupted clips: what each clip gets, by hand."""

import pytest
import torch
from training_steps import random_batch, step

from advvid.attacks.codec_corruption import CodecCorruption
from advvid.attacks.noise_corruption import NoiseCorruption
from advvid.attacks.pgd import PGD
from advvid.core.errors import AdvvidError
from advvid.defenses.corruption_augmentation import CorruptionAugmentation
from advvid.defenses.gaussian_noise import GaussianNoise

KINDS = {"noise": NoiseCorruption(), "jpeg": CodecCorruption(kind="jpeg")}


def test_a_share_of_the_clips_is_left_as_it_is_and_neighbours_do_not_matter():
    batch = random_batch(0, size=60)
    made = CorruptionAugmentation(clean=0.5).corrupted(batch, KINDS, step())
    untouched = (made == batch.inputs).flatten(1).all(dim=1)
    assert 18 < int(untouched.sum()) < 42
    assert float(made.min()) >= 0
    assert float(made.max()) <= 1
    places = torch.tensor([3, 40])
    assert torch.equal(CorruptionAugmentation().corrupted(batch.select(places), KINDS, step()), made[places])
    assert not torch.equal(CorruptionAugmentation().corrupted(batch, KINDS, step(iteration=1)), made)
    for clean, changed in ((0.0, 60), (1.0, 0)):
        made = CorruptionAugmentation(clean=clean).corrupted(batch, KINDS, step())
        assert int((made != batch.inputs).flatten(1).any(dim=1).sum()) == changed


def test_attacks_are_refused_as_corruptions():
    with pytest.raises(AdvvidError, match="pgd is a PGD"):
        CorruptionAugmentation().check({**KINDS, "pgd": PGD()}, 1)


def test_noise_has_its_sigma_and_is_not_clamped(small):
    batch, seen = random_batch(0, size=8), []
    small.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    _, logs = GaussianNoise(sigma="1/4").objective(small, batch, {}, step())
    noise = seen[0] - batch.inputs
    assert float(noise.std()) == pytest.approx(0.25, rel=0.02)
    assert float(seen[0].min()) < -0.1
    assert float(logs["passes"]) == 1
