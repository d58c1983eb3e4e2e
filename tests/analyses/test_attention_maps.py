"""Attention maps under attack: known answers, padding left out, pictures from the JSON file alone."""

import json
import math

import pytest
import torch
from small_run import CLASSES, N, context, network, saved

from advvid.analyses import attention_figures
from advvid.analyses.attention_figures import shown_maps
from advvid.analyses.attention_maps import AttentionMaps, measured, whole
from advvid.analyses.base import carry_out
from advvid.attacks.pgd import PGD
from advvid.core.errors import AdvvidError
from advvid.models.attention import with_attention
from advvid.tracking.trackers import NoTracker

SWIN = "model=swin3d_tiny"
ATTACK = PGD(eps=1.0, step_size="eps", steps=1, random_start=False, norm="l2_each")


def test_measures_of_maps_known_by_hand():
    flat = torch.full((1, 1, 4, 4), 0.25)
    moved = flat.clone()
    moved[..., 0], moved[..., 1] = 0.5, 0.0
    found = measured({"a": flat, "b": flat}, {"a": moved, "b": flat})
    assert found["mse"].item() == pytest.approx(0.25**2 * 2 / 4 / 2)  # the mean over two layers, one of them unmoved
    assert found["relative"].item() == pytest.approx(2 / 4 / 2)
    assert found["frobenius"].item() == pytest.approx(math.sqrt(8 * 0.25**2) / 2)
    assert found["peak"].item() == 0.25
    assert found["peak_adversarial"].item() == 0.5
    assert found["evenness"].item() == pytest.approx(1)
    sharp = torch.eye(4)[None, None]
    assert measured({"a": sharp}, {"a": sharp})["evenness"].item() == pytest.approx(0)


def test_padding_counts_for_nothing():
    small = torch.rand(2, 1, 3, 3).softmax(dim=3)
    other = torch.rand(2, 1, 3, 3).softmax(dim=3)
    padded, padded_other = (torch.zeros(2, 1, 5, 5) for _ in range(2))
    padded[..., :3, :3], padded_other[..., :3, :3] = small, other
    short, long = measured({"a": small}, {"a": other}), measured({"a": padded}, {"a": padded_other})
    for name, value in short.items():
        torch.testing.assert_close(long[name], value)
    assert shown_maps({"a": padded}, {"a": padded_other}, 1)[0]["size"] == [3, 3]


def test_a_large_map_is_drawn_small_and_at_its_most_moved_window():
    clean = torch.full((1, 3, 200, 100), 0.01)
    attacked = clean.clone()
    attacked[0, 2, :, 0] += 0.1
    shown = shown_maps({"a": clean}, {"a": attacked}, 0)[0]
    assert (shown["window"], shown["windows"], shown["size"]) == (2, 3, [200, 100])
    assert (len(shown["clean"]), len(shown["clean"][0]), len(shown["profile"])) == (64, 64, 64)


def test_every_clip_is_attacked_to_the_end():
    assert (whole(PGD()).early_exit, whole(PGD()).keep) == (False, "last")


def test_two_models_on_the_same_clips(tmp_path, monkeypatch):
    monkeypatch.setattr(attention_figures, "MOST_LAYERS", 1)  # drawing takes most of the time
    model, other = network(1, SWIN), network(2, SWIN)
    torch.nn.init.zeros_(other.net.features[0][0].attn.qkv.weight)
    run = saved(tmp_path / "other", other, SWIN)
    ctx = context(tmp_path, model, "attention_maps", ATTACK)
    analysis = AttentionMaps(checkpoints=[run], labels=["own", "other"], pictures=1)
    result = carry_out(analysis, ctx, NoTracker())
    own, second = result["models"]
    assert result["n"] == len(own["clips"]["mse"]) == N
    clips = next(iter(ctx.batches([0])))
    x_adv = whole(ATTACK).run(model, clips.inputs, clips.target).x_adv
    with torch.no_grad():
        known = measured(with_attention(model, clips.inputs)[1], with_attention(model, x_adv)[1])
    assert own["clips"]["mse"][:5] == pytest.approx(known["mse"].tolist(), rel=1e-3)
    assert own["mse"]["ci95"][0] <= own["mse"]["mean"] <= own["mse"]["ci95"][1]
    assert own["clean"]["acc"] == 11 / 12, "the wrong clip stays in"
    assert min(own["clips"]["mse"]) > 0, "and is attacked like the others"
    gap = sum(a - b for a, b in zip(second["clips"]["mse"], own["clips"]["mse"], strict=True)) / N
    assert second["mse_difference"]["mean"] == pytest.approx(gap)

    # What was written is enough to draw from.
    kept = json.loads((tmp_path / "analysis" / "attention_maps.json").read_text())
    kept["models"] = kept["models"][1:]
    drawn = analysis.draw(kept, tmp_path / "again", "attention_maps")
    assert [path.name for path in drawn] == ["attention_maps_0_0.png"]
    assert drawn[0].read_bytes() == (tmp_path / "analysis" / "attention_maps_1_0.png").read_bytes()


def test_no_batch_size_changes_a_measure(tmp_path):
    model = network(1, SWIN)
    first, second = (
        AttentionMaps(pictures=0).run(context(tmp_path, model, "attention_maps", ATTACK, batch_size=size))["models"][0]
        for size in (5, 12)
    )
    for name, values in first["clips"].items():
        assert values == pytest.approx(second["clips"][name], rel=1e-3, abs=1e-12)


def test_what_does_not_fit_is_refused_in_words(tmp_path):
    with pytest.raises(AdvvidError, match=r"AttentionMaps\.pictures=-1 is not possible"):
        AttentionMaps(pictures=-1)
    with pytest.raises(
        AdvvidError, match=r"analysis=attention_maps needs a model with attention, which R3DTiny has not"
    ):
        AttentionMaps().run(context(tmp_path, network(1), "attention_maps"))


def test_it_takes_features(tmp_path):
    from advvid.attacks.base import in_space
    from advvid.core.features import FrameFeatures
    from advvid.models.feature_transformer import FeatureTransformer
    from advvid.tasks.multi_label import MultiLabel

    torch.manual_seed(0)
    model = FeatureTransformer(len(CLASSES), {"rgb": 16, "audio": 8}).eval()
    x = torch.rand(N, 6, 24) * 2 - 1
    x[3, 4:] = 0

    class Features(torch.utils.data.Dataset):
        ids, targets = [f"v{i}" for i in range(N)], torch.eye(len(CLASSES), dtype=torch.bool)[torch.arange(N) % 5]

        def __len__(self):
            return N

        def __getitem__(self, key):
            i = key[0] if isinstance(key, tuple) else key
            return x[i], self.targets[i], self.ids[i]

    attack = in_space(ATTACK, FrameFeatures(sizes=(16, 8)))
    ctx = context(tmp_path, model, "attention_maps", attack, clips=Features(), task=MultiLabel(), clip_shape=(6, 24))
    row = carry_out(AttentionMaps(pictures=0), ctx, NoTracker())["models"][0]
    assert {"gap", "perr", "hit1"} <= row["adversarial"]["metrics"].keys()
    assert row["clean"]["metrics"]["hit1"] == pytest.approx(row["clean"]["acc"])
