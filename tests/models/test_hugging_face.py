"""Networks of transformers and timm: read from a folder, normalised as their processors do, attacked, trained, resumed, scored."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from advvid.attacks.pgd import PGD
from advvid.config.catalogue import option_files, settings
from advvid.core.errors import AdvvidError
from advvid.core.identity import Identity
from advvid.models.attention import attention_layers, with_attention
from advvid.models.build import build_model
from advvid.models.freeze import last_layer

try:
    import transformers
except ImportError:
    transformers = None
try:
    import timm
except ImportError:
    timm = None
needs_hf = pytest.mark.skipif(transformers is None, reason="transformers is not installed: the extra hf")
needs_timm = pytest.mark.skipif(timm is None, reason="timm is not installed: the extra timm")
pytestmark = pytest.mark.filterwarnings("ignore")

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "patch_size": 8}
FAMILIES = {
    "videomae": ("VideoMAE", {**SMALL, "image_size": 16, "num_frames": 4}, "VideoMAEImageProcessor"),
    "timesformer": ("Timesformer", {**SMALL, "image_size": 16, "num_frames": 4}, "VideoMAEImageProcessor"),
    "vivit": ("Vivit", {**SMALL, "image_size": 16, "num_frames": 4, "tubelet_size": [2, 8, 8]}, "VivitImageProcessor"),
    "vjepa2": (
        "VJEPA2",
        {
            **SMALL,
            "hidden_size": 24,
            "crop_size": 16,
            "frames_per_clip": 4,
            "tubelet_size": 2,
            "num_pooler_layers": 1,
            "pred_hidden_size": 24,
            "pred_num_attention_heads": 2,
            "pred_num_hidden_layers": 1,
            "mlp_ratio": 2.0,
        },
        "VJEPA2VideoProcessor",
    ),
}


def save(family, folder, classes=10):
    """Write a random network of a family and its processor, as ``hf download`` leaves them."""
    name, options, processor = FAMILIES[family]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**options, num_labels=classes)
    network = getattr(transformers, f"{name}ForVideoClassification")(config).eval()
    network.save_pretrained(folder)
    # An image processor without Pillow's or torchvision's pipeline: its settings are what is read.
    told = getattr(transformers, processor)(size={"shortest_edge": 20}, crop_size={"height": 16, "width": 16})
    told.save_pretrained(folder)
    return network, told


@pytest.fixture(scope="module", params=list(FAMILIES))
def stored(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, folder, *save(request.param, folder)


def built(folder, classes=10, shape=(3, 4, 16, 16), **options):
    cfg = OmegaConf.create({"model": settings(option_files("model")["hf"])})
    for key, value in {"path": str(folder), **options}.items():
        OmegaConf.update(cfg, f"model.{key}", value)
    return build_model(cfg.model, classes, shape)


@pytest.fixture
def videos():
    return torch.rand(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(2)).mul(255).round().div(255)


@needs_hf
def test_logits_are_those_of_the_library_behind_its_own_processor(stored, videos):
    family, folder, network, processor = stored
    model = built(folder).eval()
    assert (model.frames, model.size) == (4, (16, 16))
    frames = [list((clip.transpose(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()) for clip in videos]
    options = {"do_resize": False, "do_center_crop": False, "return_tensors": "pt"}
    if family == "vjepa2":
        given = processor([np.stack(clip).transpose(0, 3, 1, 2) for clip in frames], **options)["pixel_values_videos"]
    else:
        given = processor(frames, **options)["pixel_values"]
    with torch.no_grad():
        theirs = network(given).logits
        torch.testing.assert_close(model(videos), theirs, rtol=1e-4, atol=1e-5)


@needs_hf
def test_maps_are_the_librarys_own_and_carry_gradients(stored, videos):
    model = built(stored[1]).eval()
    videos.requires_grad_()
    logits, maps = with_attention(model, videos)
    with torch.no_grad():
        torch.testing.assert_close(logits, model(videos), rtol=1e-4, atol=1e-5)  # afterwards as before
    assert len(maps) >= 2
    for weights in maps.values():
        assert len(weights) == 2
        torch.testing.assert_close(weights.sum(dim=3), torch.ones(weights.shape[:3]), rtol=0, atol=1e-5)
    (gradient,) = torch.autograd.grad(maps["1"].square().sum(), videos)
    assert gradient.abs().sum() > 0


@needs_hf
def test_an_attack_finds_gradients_and_stays_inside(stored, videos):
    model = built(stored[1]).eval()
    labels = model(videos).argmax(dim=1)
    attack = PGD(eps=8 / 255, steps=2)
    found = attack.run(model, videos, labels)
    assert attack.threat.contains(found.x_adv, videos).all()
    assert (found.x_adv != videos).any()


@needs_hf
def test_the_head_is_kept_or_new(stored):
    _, folder, network, _ = stored
    kept = built(folder, head="keep").net.network.classifier.weight
    torch.testing.assert_close(kept, network.classifier.weight)
    assert not torch.equal(built(folder, head="new").net.network.classifier.weight, network.classifier.weight)
    model = built(folder, classes=7)
    assert model.net.network.classifier.weight.shape[0] == 7
    assert last_layer(model.net) == "network.classifier"
    with pytest.raises(AdvvidError, match="has a head for 10 classes and the data set has 7"):
        built(folder, classes=7, head="keep")


@needs_hf
def test_a_folder_that_lacks_something_is_named(tmp_path):
    with pytest.raises(AdvvidError, match=r"advvid downloads nothing; .* 'hf download"):
        built("MCG-NJU/videomae-base")
    save("videomae", tmp_path / "a")
    (tmp_path / "a" / "preprocessor_config.json").unlink()
    with pytest.raises(AdvvidError, match=r"give model\.mean and model\.std"):
        built(tmp_path / "a")
    assert built(tmp_path / "a", mean=0.5, std=0.5).size == (16, 16)
    (tmp_path / "a" / "model.safetensors").write_bytes(b"no")
    with pytest.raises(AdvvidError, match=r"model\.path=.* cannot be loaded"):
        built(tmp_path / "a", mean=0.5, std=0.5)
    (tmp_path / "a" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(AdvvidError, match="has to hold a video classifier"):
        built(tmp_path / "a")


@needs_hf
@pytest.mark.parametrize("kind", ["videomae", "of_my_own"])
def test_no_code_of_a_folder_runs(tmp_path, monkeypatch, kind):
    """A stranger's folder brings its own classes, and pickled weights beside its good ones."""
    save("videomae", tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())
    told |= {
        "model_type": kind,
        "auto_map": {"AutoConfig": "evil.Config", "AutoModelForVideoClassification": "evil.Net"},
    }
    (tmp_path / "config.json").write_text(json.dumps(told))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (tmp_path / "pytorch_model.bin").write_bytes(b"no")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))  # the library would ask
    if kind == "videomae":
        assert type(built(tmp_path).net.network).__name__ == "VideoMAEForVideoClassification"
    else:
        with pytest.raises(AdvvidError, match="has to hold a video classifier"):
            built(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(AdvvidError, match=r"model\.path="):
        built(tmp_path)
    assert not (tmp_path / "ran").exists()


@needs_hf
def test_the_content_of_the_folder_counts_and_not_its_place(tmp_path):
    for name in "ab":
        save("videomae", tmp_path / name)
    digests = [Identity.of({"model": {"path": str(tmp_path / name)}}).digest("model") for name in "ab"]
    assert digests[0] == digests[1]
    told = tmp_path / "b" / "preprocessor_config.json"
    told.write_text(told.read_text().replace("0.5", "0.4"))
    assert Identity.of({"model": {"path": str(tmp_path / "b")}}).digest("model") != digests[0]


@needs_timm
def test_an_image_network_sees_every_frame_and_its_weights_come_from_a_file(tmp_path, videos):
    cfg = OmegaConf.create({"model": settings(option_files("model")["timm"])})
    cfg.model.name = "test_resnet"
    model = build_model(cfg.model, 10, (3, 4, 32, 32)).eval()
    clips = torch.rand(2, 3, 4, 32, 32)
    frames = ((clips - model.mean) / model.std).transpose(1, 2).flatten(0, 1)
    with torch.no_grad():
        torch.testing.assert_close(model(clips), model.net.net(frames).unflatten(0, (2, 4)).mean(dim=1))
    assert model.per_frame(clips).shape == (2, 4, 10)
    from safetensors.torch import save_file

    torch.manual_seed(1)
    other = timm.create_model("test_resnet", num_classes=400)
    save_file(other.state_dict(), tmp_path / "model.safetensors")
    cfg.model.checkpoint = str(tmp_path / "model.safetensors")
    loaded = build_model(cfg.model, 10, (3, 4, 32, 32))
    name, weight = next(iter(other.named_parameters()))
    torch.testing.assert_close(dict(loaded.net.net.named_parameters())[name], weight)
    for name, words in (("resnet81", "did you mean"), ("hf-hub:timm/resnet18", "is no network of timm")):
        cfg.model.name = name
        with pytest.raises(AdvvidError, match=words):
            build_model(cfg.model, 10, (3, 4, 32, 32))


@needs_timm
def test_maps_of_an_image_transformer_are_read():
    cfg = OmegaConf.create({"model": settings(option_files("model")["timm"])})
    cfg.model.name = "test_vit"
    model = build_model(cfg.model, 10, (3, 2, 32, 32)).eval()
    _, maps = with_attention(model, torch.rand(1, 3, 2, 32, 32))
    assert len(maps) == len(attention_layers(model))
    assert all(weights.shape[:2] == (1, 2) for weights in maps.values())  # a map for each frame
    assert all(layer.fused_attn for layer in attention_layers(model).values())


RUN = (
    "tracker=none",
    "runtime=cpu",
    "dataset.limit_train=10",
    "dataset.limit_val=10",
    "dataset.limit_test=6",
    "evaluation.pictures=0",
    "schedule.batch_size=5",
    "schedule.kind=constant",
    "schedule.warmup=0",
    "suite=own",
    "attack.steps=1",
    "evaluation.batch_size=6",
    "hydra.run.dir=run",
)


def advvid(folder, *words):
    command = [sys.executable, "-m", "advvid", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=folder, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=needs_hf) for n in FAMILIES] + [pytest.param("timm", marks=needs_timm)]
)
def test_it_is_trained_resumed_and_scored_from_the_command_line(name, tmp_path):
    if name == "timm":
        chosen = ("model=timm", "model.name=test_resnet")
    else:
        save(name, tmp_path / "folder", classes=400)
        chosen = (
            "model=hf",
            "model.path=folder",
            *(["defense=a_art", "defense.inner_steps=1"] if name == "videomae" else []),
        )
    done = advvid(tmp_path, "train", *chosen, *RUN, "schedule.epochs=1", "mode=train")
    assert done.returncode == 0, done.stderr
    done = advvid(tmp_path, "train", *chosen, *RUN, "schedule.epochs=2", "resume=true")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    done = advvid(tmp_path, "eval", "checkpoint=run", *RUN[:-1], "hydra.run.dir=again")
    assert done.returncode == 0, done.stderr
    accuracy = [
        json.loads((tmp_path / f / "robustness.json").read_text())["attacks"]["pgd"]["acc"] for f in ("run", "again")
    ]
    assert accuracy[0] == accuracy[1]
