"""A configuration of a stranger makes the objects it may make, and nothing else."""

import functools
import os
import sys

import pytest
import torch
from omegaconf import ListConfig, OmegaConf
from torch import nn

from advvid.config.instantiate import safe_instantiate
from advvid.core.errors import AdvvidError

PLANTED = [
    "torch.hub.load",
    "torch.load",
    "torch.utils.cpp_extension.load_inline",
    "advvid.experiment.run.os.system",
    "advvid.core.paths.os.system",
    "advvid.core.paths.Path.unlink",
    "advvid.config.instantiate.importlib.import_module",
    "advvid.config.instantiate.functools.partial",
    "advvid.config.instantiate.safe_instantiate",
    "builtins.eval",
    "os.system",
    "subprocess.Popen",
    "functools.partial",
    "hydra.utils.call",
    "torch.nn.Module.load_state_dict",
    "torch.nn.functional.relu",
    "torch.nn.Module.__init__.__globals__",
    "torch.nn",
    "torchvision.models.get_model",
    "torchvision.models._api.load_state_dict_from_url",
    "torchvision.models.get_weight",
    "pytorchvideo.models.hub.utils.hub_model_builder",
    "pytorchvideo.models.hub.utils.load_state_dict_from_url",
    "pytorchvideo.models.hub.resnet._resnet",
    "pytorchvideo.models.weight_init.init_net_weights",
    "",
    3,
    None,
]


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch):
    """Make the dangerous functions fail the test instead of acting."""

    def ran(*args, **kwargs):
        pytest.fail("a planted target was called")

    monkeypatch.setattr(os, "system", ran)
    monkeypatch.setattr(torch.hub, "load", ran)


@pytest.mark.parametrize("target", PLANTED, ids=str)
def test_planted_targets_are_refused_by_name_and_place(target):
    cfg = OmegaConf.create({"attack": {"_target_": target, "command": "true"}})
    with pytest.raises(AdvvidError, match=r"attack\._target_=") as caught:
        safe_instantiate(cfg.attack)
    assert str(target) in str(caught.value)


@pytest.mark.parametrize("partial", [True, False])
def test_planted_targets_are_refused_at_any_depth_before_anything_is_made(partial, monkeypatch):
    made = []
    monkeypatch.setattr(nn.Conv3d, "__init__", lambda *args, **kwargs: made.append(args))
    planted = {"_target_": "advvid.core.paths.os.system", "command": "true", "_partial_": partial}
    tree = {
        "_target_": "torch.nn.Sequential",
        "_args_": [{"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 1, "kernel_size": 1}],
        "extra": {"deep": [1, {"deeper": planted}]},
    }
    with pytest.raises(AdvvidError, match=r"model\.extra\.deep\[1\]\.deeper\._target_=advvid\.core\.paths\.os\.system"):
        safe_instantiate(OmegaConf.create({"model": tree}).model)
    assert not made


def test_a_target_reached_by_interpolation_is_judged_by_what_it_becomes():
    cfg = OmegaConf.create(
        {
            "names": {"first": "os", "planted": {"_target_": "os.system", "command": "true"}},
            "a": {"_target_": "${names.first}.system", "command": "true"},
            "b": {"_target_": "torch.nn.Sequential", "_args_": ["${names.planted}"]},
        }
    )
    cfg.c = "${oc.create:{_target_:os.system,command:'true'}}"
    cfg.d = ["${oc.dict.values:names}"]
    for node in (cfg.a, cfg.b, cfg.c, cfg.d):
        with pytest.raises(AdvvidError, match=r"os\.system"):
            safe_instantiate(node)


def test_another_package_is_not_even_imported(tmp_path, monkeypatch):
    (tmp_path / "planted_package.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AdvvidError, match="refused"):
        safe_instantiate({"_target_": "planted_package.Thing"})
    assert "planted_package" not in sys.modules


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("torchvision.models.video.r3d_18", {"weights": "DEFAULT"}),
        ("torchvision.models.video.r3d_18", {"pretrained": True}),
        ("torchvision.models.segmentation.fcn_resnet50", {"weights_backbone": "DEFAULT"}),
        ("pytorchvideo.models.hub.slow_r50", {"pretrained": True}),
        ("pytorchvideo.models.hub.slow_r50", {"checkpoint_path": "http://localhost/planted"}),
        ("pytorchvideo.models.hub.slow_r50", {"_args_": [True]}),
        ("pytorchvideo.models.hub.slow_r50", {"_partial_": True}),
    ],
)
def test_builders_never_fetch_weights(target, arguments):
    with pytest.raises(AdvvidError, match=r"model\.checkpoint|by name"):
        safe_instantiate({"_target_": target, **arguments})


def test_a_builder_that_fetches_by_default_is_told_not_to(monkeypatch):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *a, **k: pytest.fail("fetched"))
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *a, **k: pytest.fail("fetched"))
    node = {"_target_": "torchvision.models.segmentation.lraspp_mobilenet_v3_large", "num_classes": 2}
    assert isinstance(safe_instantiate(node), nn.Module)


def test_permitted_targets_are_made_with_nested_ones_interpolations_and_plain_values():
    cfg = OmegaConf.create(
        {
            "k": 3,
            "net": {
                "_target_": "torch.nn.Sequential",
                "_args_": [
                    {"_target_": "torch.nn.Conv3d", "in_channels": "${k}", "out_channels": 4, "kernel_size": [1, 2, 2]},
                    {"_target_": "torchvision.transforms.v2.Identity"},
                ],
            },
            "plain": {"a": [1, {"b": 2}]},
        }
    )
    net = safe_instantiate(cfg.net)
    assert net[0].in_channels == 3
    assert type(net[0].kernel_size) is not ListConfig
    assert safe_instantiate(cfg.plain) == {"a": [1, {"b": 2}]}
    assert type(safe_instantiate(cfg.plain)["a"]) is list
    optimizer = safe_instantiate({"_target_": "torch.optim.SGD", "lr": 0.1, "_partial_": True})
    assert isinstance(optimizer, functools.partial)
    assert isinstance(optimizer(net.parameters()), torch.optim.SGD)
    assert isinstance(safe_instantiate({"_target_": "torchvision.models.resnet18", "num_classes": 2}), nn.Module)


def test_overrides_replace_the_nodes_own_arguments():
    cfg = OmegaConf.create({"_target_": "torch.nn.Linear", "in_features": 2, "out_features": "???"})
    with pytest.raises(AdvvidError, match=r"config\.out_features is missing"):
        safe_instantiate(cfg)
    assert safe_instantiate(cfg, out_features=7).out_features == 7
    assert safe_instantiate(cfg, out_features=7, in_features=5).in_features == 5
    with pytest.raises(AdvvidError, match="no _target_"):
        safe_instantiate({"a": 1}, b=2)


def test_wrong_arguments_and_refusing_constructors_become_one_sentence():
    with pytest.raises(AdvvidError, match=r"config: torch\.nn\.Linear has no option inputs: choose among in_f"):
        safe_instantiate({"_target_": "torch.nn.Linear", "inputs": 2})
    with pytest.raises(AdvvidError, match=r"missing a required argument: 'out_features'"):
        safe_instantiate({"_target_": "torch.nn.Linear", "in_features": 2})
    with pytest.raises(AdvvidError, match="groups"):
        safe_instantiate(
            {"_target_": "torch.nn.Conv3d", "in_channels": 3, "out_channels": 4, "kernel_size": 1, "groups": 2}
        )
    with pytest.raises(AdvvidError, match=r"^model\.width=0\.001 leaves"):
        safe_instantiate({"_target_": "advvid.models.r3d_tiny.R3DTiny", "num_classes": 2, "width": 0.001})
    with pytest.raises(AdvvidError, match="cannot be imported"):
        safe_instantiate({"_target_": "advvid.models.r3d_tinny.R3DTiny"})
    with pytest.raises(AdvvidError, match="_recursive_"):
        safe_instantiate({"_target_": "torch.nn.Identity", "_recursive_": False})


@pytest.mark.parametrize("name", ["9" * 5000, "lab." + "x" * 5000, "x" * 5000 + ".Net"])
def test_a_refusal_quotes_the_beginning_of_a_long_name_only(name):
    with pytest.raises(AdvvidError) as refused:
        safe_instantiate(OmegaConf.create({"_target_": name}))
    assert len(str(refused.value)) < 600
