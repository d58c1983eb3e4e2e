"""Model cards: what each model costs is counted, and its YAML file says the same."""

import re

import pytest
import torch
from rich.console import Console

from advvid.cli.listing import cards, main
from advvid.config.catalogue import describe, notes, option_files, settings
from advvid.core.errors import AdvvidError
from advvid.models.cards import measure, native_clip, short

# Others come from a folder, or want another package.
FILES = {name: path for name, path in option_files("model").items() if name not in ("hf", "timm")}
SIZES = {"k": 1e3, "M": 1e6, "G": 1e9}


def number(text):
    value, unit = re.search(r"([\d.]+) ([kMG])", text).groups()
    return float(value) * SIZES[unit]


@pytest.mark.parametrize("name", FILES)
def test_the_card_says_what_the_network_costs(name):
    """What the file says is right; what it does not say can be counted."""
    cost = measure(FILES[name])
    stated = notes(FILES[name]).get("multiply-adds")
    if stated:
        line = f"# multiply-adds: {short(cost.multiply_adds)}"
        assert number(stated) == pytest.approx(cost.multiply_adds, rel=0.01), (
            f"conf/model/{name}.yaml should say {line!r}"
        )
    said = re.search(r"[\d.]+ [kM] weights", describe(FILES[name]))
    if not said:
        return
    weights = number(said.group())
    counts = [cost.weights] if weights > 1e6 else [cost.weights, measure(FILES[name], 10).weights]
    assert any(weights == pytest.approx(count, rel=0.01) for count in counts), f"it has {counts[0]:,} weights"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet3d_18", "c3d", "x3d_s"])
def test_counts_agree_with_those_of_fvcore(name):
    from fvcore.nn import FlopCountAnalysis
    from omegaconf import OmegaConf

    from advvid.config.instantiate import safe_instantiate

    config = OmegaConf.create({"model": settings(FILES[name])}).model
    config.num_classes = 400
    analysis = FlopCountAnalysis(safe_instantiate(config.net).eval(), torch.zeros(1, 3, *native_clip(FILES[name])))
    analysis.unsupported_ops_warnings(False)
    theirs = sum(count for kind, count in analysis.by_operator().items() if kind in ("conv", "linear"))
    assert measure(FILES[name]).multiply_adds == pytest.approx(theirs, rel=0.001)


@pytest.mark.parametrize("name", [n for n, p in FILES.items() if "torchvision.models.video" in p.read_text()])
def test_published_files_are_those_of_torchvision(name):
    from torchvision.models import get_model_weights

    stated = set(re.findall(r"[\w-]+\.pth", notes(FILES[name])["weights"]))
    assert stated == {weights.url.split("/")[-1] for weights in get_model_weights(name)}


@pytest.mark.parametrize("name", [n for n, p in FILES.items() if "pytorchvideo.models.hub" in p.read_text()])
def test_published_files_are_those_of_pytorchvideo(name):
    from importlib.util import find_spec
    from pathlib import Path

    sources = Path(find_spec("pytorchvideo.models.hub").origin).parent.glob("*.py")
    known = set(re.findall(r"\w+\.pyth", " ".join(path.read_text() for path in sources)))
    stated = set(re.findall(r"\w+\.pyth", notes(FILES[name])["weights"]))
    assert stated
    assert stated <= known


def test_counts_of_known_layers(tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text(
        "# one convolution: 2 x 6 x 6\nnum_classes: null\nclip_shape: null\n"
        "net: {_target_: torch.nn.Conv3d, in_channels: 3, out_channels: 5, kernel_size: [1, 3, 3]}\n"
    )
    cost = measure(path)
    assert cost.weights == 5 * 3 * 9 + 5
    assert cost.multiply_adds == (5 * 3 * 9) * (2 * 4 * 4)
    path.write_text(path.read_text().replace("2 x 6 x 6", "2 x 1 x 1"))
    with pytest.raises(AdvvidError, match=r"one cannot take a clip of 2 x 1 x 1.*name the clip that it was made for"):
        measure(path)


def test_a_model_that_says_nothing_is_counted_on_a_clip_of_its_own_size(tmp_path):
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "one.yaml"
    text = (
        "# one convolution\nnum_classes: null\nclip_shape: null\n"
        "net: {_target_: torch.nn.Conv3d, in_channels: 3, out_channels: 5, kernel_size: 1}\n"
    )
    path.write_text(text)
    assert measure(path).multiply_adds == 3 * 5 * 8 * 32 * 32  # a clip of the embedded data
    path.write_text(text + "size: 10\nframes: 2\n")
    assert native_clip(path) == (2, 10, 10)
    assert cards(tmp_path) == {"one": "3 k multiply-adds, 20 weights, 2 x 10 x 10"}
    path.write_text(text.replace("in_channels: 3", "in_channels: 4"))
    assert cards(tmp_path) == {"one": ""}, "the list goes on without the card"


def test_numbers_are_written_as_people_do():
    written = {38_548_721_664: "38.5 G", 999_600: "1 M", 605_000_000: "605 M", 245_744: "246 k", 12: "12"}
    assert {value: short(value) for value in written} == written


def test_list_shows_cards_below_the_models_and_counts_on_request():
    assert cards()["c3d"].startswith("38.5 G multiply-adds; weights: ")
    console = Console(record=True, width=200, file=open("/dev/null", "w"))  # noqa: SIM115
    main(["model"], console)
    text = console.export_text()
    assert "40.7 G multiply-adds; weights: r3d_18-b3b3357e.pth" in text
    main(["--cards", "c3d", "r3d_tiny"], console)
    assert re.search(r"c3d\s+79\.6 M\s+38\.5 G\s+16 x 112 x 112", console.export_text())
    with pytest.raises(SystemExit, match="no model 'c4d'"):
        main(["--cards", "c4d"], console)
