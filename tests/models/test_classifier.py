"""What stands between clips in [0, 1] and a network: exact, differentiable, and out of the state dict."""

import copy

import pytest
import torch
from torch import nn

from advvid.core.errors import AdvvidError
from advvid.models.classifier import VideoClassifier
from advvid.models.pooling import FittedPool, fit_pools
from advvid.models.r3d_tiny import R3DTiny
from advvid.models.resample import resample_frames, resize_frames
from advvid.models.slowfast import SlowFast


class Means(nn.Module):
    """Gives a clip's mean per channel: what reaches the network can be read off its logits."""

    def __init__(self):
        super().__init__()
        self.seen = None

    def forward(self, clips):
        self.seen = clips
        return clips.mean(dim=(2, 3, 4))


@pytest.fixture
def videos():
    return torch.rand(3, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0))


def tiny(**options):
    torch.manual_seed(0)
    return VideoClassifier(R3DTiny(5), 5, 0.45, 0.225, **options).eval()


def test_normalisation_is_per_channel_and_inside(videos):
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.25, 2.0]
    logits = VideoClassifier(Means(), 3, mean, std)(videos)
    torch.testing.assert_close(logits, (videos.mean(dim=(2, 3, 4)) - torch.tensor(mean)) / torch.tensor(std))
    torch.testing.assert_close(VideoClassifier(Means(), 3, 0.5, 2.0)(videos), (videos.mean(dim=(2, 3, 4)) - 0.5) / 2)


def test_views_lie_one_after_the_other_and_their_logits_are_averaged(videos):
    one, two = tiny(), tiny(views=2)
    second = videos.flip(0)
    expected = (one(videos) + one(second)) / 2
    torch.testing.assert_close(two(torch.cat([videos, second], dim=2)), expected)
    with pytest.raises(AdvvidError, match="multiple of 2 view"):
        two(videos[:, :, :7])


def test_a_training_clip_holds_one_view():
    torch.manual_seed(0)
    one = tiny().eval()
    three = tiny(views=3, clip_shape=(3, 8, 32, 32)).eval()
    three.load_state_dict(one.state_dict())
    clips = torch.rand(2, 3, 24, 32, 32)
    assert torch.equal(three(clips[:, :, :8]), one(clips[:, :, :8]))
    mean = torch.stack([one(clips[:, :, i : i + 8]) for i in (0, 8, 16)]).mean(dim=0)
    torch.testing.assert_close(three(clips), mean)


def test_the_state_dict_holds_the_networks_weights_only(videos):
    model = tiny(size=16, frames=4)
    assert list(model.state_dict()) == [f"net.{name}" for name in R3DTiny(5).state_dict()]


def test_channels_last_changes_the_layout_and_not_the_result(videos):
    plain, last = tiny(), tiny(channels_last=True)
    assert last.net.block1.conv1.weight.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(last(videos), plain(videos), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [16, 48, [20, 40]])
def test_resizing_lets_gradients_reach_every_pixel_and_agrees_with_finite_differences(videos, size):
    model = tiny(size=size)
    clips = videos.clone().requires_grad_(True)
    score = model(clips)[:, 0].sum()
    (gradient,) = torch.autograd.grad(score, clips)
    assert (gradient != 0).float().mean() > 0.99
    model, point = model.double(), videos.double()
    # Along the gradient's signs, where nothing cancels: a random direction would leave a number near zero.
    step = 1e-6 * gradient.double().sign()
    change = model(point + step)[:, 0].sum() - model(point - step)[:, 0].sum()
    torch.testing.assert_close(change, 2 * (gradient.double() * step).sum(), rtol=1e-3, atol=1e-10)


def test_resizing_keeps_constants_and_the_frames_apart(videos):
    flat = torch.full((1, 3, 2, 32, 32), 0.3)
    torch.testing.assert_close(resize_frames(flat, (11, 50)), torch.full((1, 3, 2, 11, 50), 0.3))
    small = resize_frames(videos, (16, 16))
    torch.testing.assert_close(small[1:2, :, 3:4], resize_frames(videos[1:2, :, 3:4], (16, 16)))
    assert resize_frames(videos, (32, 32)) is videos


@pytest.mark.parametrize(("frames", "chosen"), [(4, [0, 2, 5, 7]), (8, list(range(8))), (1, [0])])
def test_frames_are_chosen_from_first_to_last(videos, frames, chosen):
    assert torch.equal(resample_frames(videos, frames), videos[:, :, chosen])


def test_more_frames_than_there_are_repeat_some(videos):
    longer = resample_frames(videos, 16)
    assert torch.equal(longer[:, :, 0], videos[:, :, 0])
    assert torch.equal(longer[:, :, -1], videos[:, :, -1])
    assert all(any(torch.equal(longer[:, :, i], videos[:, :, j]) for j in range(8)) for i in range(16))


def test_slowfast_gets_every_fourth_frame_and_all_of_them(videos):
    class Pathways(nn.Module):
        def forward(self, pathways):
            self.slow, self.fast = pathways
            return self.fast.mean(dim=(2, 3, 4))

    net = SlowFast(Pathways())
    net(videos)
    assert torch.equal(net.net.fast, videos)
    assert torch.equal(net.net.slow, videos[:, :, [0, 7]])
    with pytest.raises(AdvvidError, match="multiple of 4"):
        net(videos[:, :, :6])


def test_fitted_pool_is_the_published_one_at_its_size_and_global_below():
    net = nn.Sequential(nn.AvgPool3d((4, 7, 7), stride=1), nn.AvgPool3d(2, stride=2))
    published = net[0]
    fit_pools(net)
    assert isinstance(net[0], FittedPool)
    assert isinstance(net[1], nn.AvgPool3d)
    for side in (7, 8):
        features = torch.rand(2, 6, 4, side, side)
        torch.testing.assert_close(net[0](features), published(features))
    small = torch.rand(2, 6, 9, 3, 5)
    torch.testing.assert_close(net[0](small).flatten(1), small.mean(dim=(2, 3, 4)))


def test_freezing_the_backbone_leaves_the_last_layer_and_keeps_statistics(videos):
    model = tiny(freeze="backbone").train()
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["net.fc.weight", "net.fc.bias"]
    before = copy.deepcopy(model.state_dict())
    model(videos).sum().backward()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training
    assert model.net.fc.training
    assert not model.net.stem[1].training


def test_freezing_by_name_and_refusing_unknown_names(videos):
    model = tiny(freeze=["stem", "block1.conv1"]).train()
    fixed = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert fixed == {"net.stem.0.conv.weight", "net.stem.1.weight", "net.stem.1.bias", "net.block1.conv1.weight"}
    assert not model.net.stem.training
    assert model.net.block1.bn1.training
    for wrong in (["stm"], "stem", ["block"]):
        with pytest.raises(AdvvidError, match=r"model\.freeze.*block1"):
            tiny(freeze=wrong)


@pytest.mark.parametrize(
    "options",
    [{"size": 0}, {"size": [1, 2, 3]}, {"frames": 0}, {"views": 0}],
)
def test_impossible_settings_are_refused(options):
    with pytest.raises(AdvvidError):
        tiny(**options)
    with pytest.raises(AdvvidError, match=r"VideoClassifier\.mean"):
        VideoClassifier(Means(), 3, [0.1, 0.2], 1.0)
    with pytest.raises(AdvvidError, match=r"VideoClassifier\.std=0\.0"):
        VideoClassifier(Means(), 3, 0.1, 0.0)
