"""Training on noisy and on corrupted clips: what each clip gets, by hand."""

import pytest
import torch
from training_steps import random_batch, step

from advvid.attacks.codec_corruption import CodecCorruption
from advvid.attacks.noise_corruption import NoiseCorruption
from advvid.attacks.pgd import PGD
from advvid.core.errors import AdvvidError
from advvid.defenses.block_ablation import BlockAblation
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


def test_training_by_ablation_shows_one_block_and_neighbours_do_not_matter(small):
    batch, seen = random_batch(0, size=30), []
    small.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    BlockAblation(block=2).objective(small, batch, {}, step())
    same = (seen[0] == batch.inputs).transpose(1, 2).flatten(2).all(dim=2)
    assert same.sum(dim=1).tolist() == [2] * 30
    assert len({tuple(row) for row in same.tolist()}) == 4  # every place of the block, the last going on at the first
    assert (seen[0].transpose(1, 2)[~same] == 0.5).all()
    BlockAblation(block=2).objective(small, batch.select(torch.tensor([7, 3])), {}, step())
    assert torch.equal(seen[1], seen[0][[7, 3]])
    with pytest.raises(AdvvidError, match="block=5 is not possible with 4 frames"):
        BlockAblation(block=5).require_shape((3, 4, 16, 16))
