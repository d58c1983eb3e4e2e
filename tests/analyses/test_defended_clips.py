"""Clips behind a purifier: noise ratios by hand, and what the pictures hold."""

import base64
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from small_run import CLASSES, SHAPE, context, network, split

from advvid.analyses.base import carry_out
from advvid.analyses.defended_clips import DefendedClips, psnr
from advvid.attacks.pgd import PGD
from advvid.core.errors import AdvvidError
from advvid.purifiers.levels import BitDepth
from advvid.tracking.trackers import NoTracker


def test_the_noise_ratio_by_hand():
    clean = torch.zeros(3, 2, 5)
    assert psnr(torch.stack([clean[0], clean[1] + 0.1, clean[2] + 0.01]), clean).tolist() == [
        float("inf"),
        pytest.approx(20),
        pytest.approx(40),
    ]


def test_the_first_fooled_clips_are_shown_in_three_states(tmp_path):
    model = network(1)
    ctx = context(tmp_path, model, "defended_clips")
    analysis = DefendedClips(attack=PGD(eps="24/255", steps=5), purifier=BitDepth(bits=3), pictures=3)
    result = carry_out(analysis, ctx, NoTracker())
    assert result["n"] == 3
    clips = dict(zip(split(model).ids, split(model).videos, strict=True))
    for shown in result["clips"]:
        assert shown["id"] != "clip02"  # wrong without an attack
        clean, attacked, defended = (shown["states"][k] for k in ("clean", "attacked", "behind the defense"))
        assert clean["right"]
        assert clean["answer"] == shown["label"] in CLASSES
        assert clean["psnr"] is None
        assert not attacked["right"]
        assert attacked["psnr"] > 20  # 24/255 at most: 20.5 dB
        pixels = {
            name: np.frombuffer(base64.b64decode(state["frames"]["base64"]), np.uint8).reshape(state["frames"]["shape"])
            for name, state in (("clean", clean), ("defended", defended))
        }
        assert np.array_equal(pixels["clean"], clips[shown["id"]].permute(1, 2, 3, 0).numpy())
        assert len(np.unique(pixels["defended"])) <= 8  # three bits
        assert pixels["defended"].shape == (SHAPE[1], *SHAPE[2:], 3)
    assert (tmp_path / "analysis" / "defended_clips.png").stat().st_size > 1000


def test_nothing_to_show_is_told(tmp_path):
    with pytest.raises(AdvvidError, match="at least 1"):
        DefendedClips(pictures=0)
    analysis = DefendedClips(attack=PGD(eps=0, steps=1))
    with pytest.raises(AdvvidError, match="fools no clip"):
        carry_out(analysis, context(tmp_path, network(1), "defended_clips"), NoTracker())
