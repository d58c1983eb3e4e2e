"""Models come from their configuration: sized for the data, with local weights, and refused where they cannot work."""

import pytest
import torch
from omegaconf import OmegaConf

from advvid.config.catalogue import option_files, settings
from advvid.core.errors import AdvvidError
from advvid.models.build import build_model, check_task
from advvid.models.classifier import VideoClassifier
from advvid.models.fit import RunModel, give_shape
from advvid.tasks.classification import Classification
from advvid.tasks.multi_label import MultiLabel
from advvid.tasks.next_frame import NextFrame


def config(name="r3d_tiny", **options):
    cfg = OmegaConf.create({"model": settings(option_files("model")[name])})
    for key, value in options.items():
        OmegaConf.update(cfg, f"model.{key}", value)
    OmegaConf.set_struct(cfg, True)
    return cfg.model


def test_the_tiny_network_has_the_published_size_and_fits_the_data():
    cfg = config()
    model = build_model(cfg, 10, (3, 8, 32, 32))
    assert sum(p.numel() for p in model.parameters()) == 220_394
    assert model.training
    assert model(torch.rand(2, 3, 8, 32, 32)).shape == (2, 10)
    assert cfg.num_classes is None, "the configuration that is saved must stay as it was"
    assert build_model(config(width=0.5), 10, (3, 8, 32, 32)).net.fc.in_features == 32


@pytest.mark.parametrize(("name", "views"), [("x3d_xs", 1), ("slowfast_r50", 2)])
def test_published_networks_take_small_clips_and_give_logits(name, views):
    torch.manual_seed(0)
    model = build_model(config(name), 7, (3, 8, 32, 32), views=views).eval()
    clips = torch.rand(2, 3, 8 * views, 32, 32, requires_grad=True)
    with torch.no_grad():
        model.get_submodule("net." + ("net.blocks.6" if "slow" in name else "blocks.5")).proj.bias.add_(5.0)
    logits = model(clips)
    assert logits.shape == (2, 7)
    assert (logits > 1).all(), "a softmax would keep them below 1"
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), clips)
    assert (gradient.abs().amax(dim=(1, 2, 3, 4)) > 0).all()


def test_building_draws_no_random_numbers_beyond_the_weights():
    torch.manual_seed(0)
    model = build_model(config(), 10, (3, 8, 32, 32))
    after = torch.rand(1)
    torch.manual_seed(0)
    again = VideoClassifier(type(model.net)(10), 10, 0.45, 0.225)
    assert torch.equal(after, torch.rand(1))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), again.buffers(), strict=True))


def test_local_weights_and_freezing_come_from_the_configuration(tmp_path):
    first = build_model(config(), 10, (3, 8, 32, 32))
    torch.save({"state_dict": first.state_dict()}, tmp_path / "w.pt")
    second = build_model(config(checkpoint=str(tmp_path / "w.pt"), freeze=["stem"]), 10, (3, 8, 32, 32))
    clips = torch.rand(2, 3, 8, 32, 32)
    assert torch.equal(first.eval()(clips), second.eval()(clips))
    assert not second.net.stem[0].conv.weight.requires_grad
    absent = config(checkpoint=str(tmp_path / "absent.pt"))
    build_model(absent, 10, (3, 8, 32, 32), load_weights=False)
    with pytest.raises(AdvvidError, match=r"absent\.pt does not exist"):
        build_model(absent, 10, (3, 8, 32, 32))


def test_a_network_that_cannot_take_the_clips_names_the_options():
    with pytest.raises(AdvvidError, match=r"clips of 4 x 32 x 32 .* set model\.frames and model\.size"):
        build_model(config("s3d"), 7, (3, 4, 32, 32))
    with pytest.raises(AdvvidError, match="multiple of 4 frames but got 6"):
        build_model(config("slowfast_r50"), 7, (3, 6, 32, 32))
    assert build_model(config("slowfast_r50", frames=8), 7, (3, 6, 32, 32)).frames == 8


def test_a_head_of_another_size_and_a_foreign_target_are_refused():
    cfg = config()
    cfg.net.num_classes = 3
    with pytest.raises(AdvvidError, match=r"\[2, 3\] for 2 clips instead of \[2, 10\]"):
        build_model(cfg, 10, (3, 8, 32, 32))
    cfg = OmegaConf.create({"model": {"_target_": "torch.nn.Identity"}})
    with pytest.raises(AdvvidError, match="cannot be used directly"):
        build_model(cfg.model, 10, (3, 8, 32, 32))


def test_a_predictor_of_frames_is_built_for_the_datas_channels():
    for channels in (1, 3):
        model = build_model(config("next_frame", width=0.125), 0, (channels, 4, 16, 16))
        assert model(torch.rand(2, channels, 4, 16, 16)).shape == (2, channels, 4, 16, 16)
        assert isinstance(model, RunModel)
    with pytest.raises(AdvvidError, match=r"takes clips \[B, 1, T, H, W\], not \[2, 3, 4, 16, 16\]"):
        build_model(config("next_frame", channels=1), 0, (3, 4, 16, 16))
    with pytest.raises(AdvvidError):
        build_model(config("next_frame", channels=1), 0, (30, 1152))


@pytest.mark.parametrize(
    ("name", "task", "said"),
    [
        ("next_frame", Classification(), "choose another model, or dataset=moving_digits"),
        ("next_frame", MultiLabel(), "choose another model, or dataset=moving_digits"),
        ("r3d_tiny", NextFrame(), "choose model=next_frame"),
        ("feature_transformer", NextFrame(), "choose model=next_frame"),
    ],
)
def test_a_model_for_another_task_is_refused_before_it_is_made(name, task, said):
    with pytest.raises(AdvvidError, match=said):
        check_task(config(name), task)


def test_models_of_the_right_task_pass():
    for name, task in (
        ("next_frame", NextFrame()),
        ("r3d_tiny", Classification()),
        ("feature_transformer", MultiLabel()),
    ):
        check_task(config(name), task)


def test_the_shape_of_an_output_is_found_with_and_without_data():
    class Reads(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) * float(x.sum() >= 0)  # impossible without data

    for kind in (torch.nn.Linear, Reads):
        net = kind(3, 2).train()
        assert give_shape(net, (5, 3)) == (5, 2)
        assert net.training
    net.forward = lambda x: (x, x)
    with pytest.raises(AdvvidError, match="puts out a tuple: let its forward return the logits"):
        give_shape(net, (5, 3))
