"""Gradients for transfer: each part does what its paper says, and surrogates add up to an ensemble."""

import pytest
import torch
from torch import nn
from toy import generators, trained

from advvid.attacks.image_to_video import ImageToVideo
from advvid.attacks.mi_fgsm import MIFGSM
from advvid.attacks.pgd import PGD
from advvid.attacks.transfer import Ensemble, Transfer
from advvid.attacks.transfer_fgsm import TransferFGSM, shrunken, smoothed
from advvid.core.errors import AdvvidError
from advvid.models.modes import mode

PLAIN = {"nesterov": False, "diversity": 0, "scales": 1, "smoothing": 0}


def case(n=6):
    model, clips, labels = trained()
    return model, clips[:n], labels[:n]


def test_without_its_parts_it_is_mi_fgsm():
    model, clips, labels = case()
    plain = TransferFGSM(steps=3, **PLAIN).run(model, clips, labels, generators(6))
    expected = MIFGSM(steps=3).run(model, clips, labels, generators(6))
    assert torch.equal(plain.x_adv, expected.x_adv)
    assert torch.equal(plain.gradient_calls, expected.gradient_calls)


@pytest.mark.parametrize("part", [{"nesterov": True}, {"diversity": 1.0}, {"scales": 3}, {"smoothing": 30}])
def test_each_part_changes_the_way_and_fools_the_model_still(part):
    model, clips, labels = case()
    settings = {"eps": "16/255", "steps": 5, "early_exit": False}
    plain = MIFGSM(**settings)(model, clips, labels, generators(6))
    found = TransferFGSM(**PLAIN | part, **settings).run(model, clips, labels, generators(6))
    assert not torch.equal(found.x_adv, plain)
    assert (model(found.x_adv).argmax(dim=1) != labels).sum() >= 4
    assert (found.gradient_calls == 5 * part.get("scales", 1)).all()


def test_a_shrunken_clip_lies_whole_on_black():
    clips = torch.ones(3, 3, 2, 16, 16)
    numbers = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0], [0.9, 0.0, 0.0, 0.0]])
    found = shrunken(clips, numbers, probability=0.5, smallest=0.5)
    assert (found[0, :, :, :8, :8] > 0.49).all()
    assert (found[0, :, :, 9:] == 0).all()
    assert (found[1, :, :, 8:, 8:] > 0.49).all()
    torch.testing.assert_close(found[2], clips[2])


def test_smoothing_keeps_the_sum_and_spreads_it():
    grad = torch.zeros(1, 1, 1, 33, 33)
    grad[..., 16, 16] = 1
    found = smoothed(grad, 17)  # 5 pixels here
    torch.testing.assert_close(found.sum(), torch.tensor(1.0))
    assert found[..., 14:19, 14:19].gt(0).all()
    assert found[..., 16, 16] == found.max()
    assert (found > 0).sum() == 25


def test_several_surrogates_are_one_of_mean_logits():
    model, clips, labels = case()
    attack = PGD(steps=2, early_exit=False)
    both = Transfer(attack=attack, surrogate=[model, "untrained"])
    network = both._surrogate(model, clips)
    assert isinstance(network, Ensemble)
    with torch.no_grad(), mode(network, False):
        expected = (model(clips) + network.networks[1](clips)) / 2
        torch.testing.assert_close(network(clips), expected)
    moved = both(model, clips, labels, generators(6))
    alone = Transfer(attack=attack, surrogate=[model])(model, clips, labels, generators(6))
    assert torch.equal(alone, attack(model, clips, labels, generators(6)))
    assert not torch.equal(moved, alone)


def test_image_to_video_drives_frames_from_their_features():
    model, clips, labels = case(2)
    middle = model[3]
    found = ImageToVideo(steps=10, layer="3")(model, clips, labels)
    assert torch.equal(found, ImageToVideo(steps=10)(model, clips, labels))  # the middle of its three convolutions

    def features(x):
        seen = []
        hook = middle.register_forward_hook(lambda module, given, out: seen.append(out.flatten(1)))
        model(x.transpose(1, 2).flatten(0, 1)[:, :, None])
        hook.remove()
        return seen[0]

    with torch.no_grad():
        noise = clips + (found - clips).abs().mean() * torch.randn(clips.shape).sign()
        alike = [nn.functional.cosine_similarity(features(x), features(clips)).mean() for x in (found, noise, clips)]
    assert alike[0] < alike[1] < alike[2]
    assert not middle._forward_hooks
    with pytest.raises(AdvvidError, match="is no module of this network"):
        ImageToVideo(layer="nowhere")(model, clips, labels)
