"""Models from other runs: built from their own configuration, of the same classes, under names that differ."""

import logging

import pytest
import torch
from small_run import context, network, saved

from advvid.analyses.scored import named_paths, scored_models, selected
from advvid.core.errors import AdvvidError


def test_a_model_is_built_from_its_own_configuration(tmp_path):
    wide = network(4, "model.width=0.5")
    path = saved(tmp_path / "wide", wide, "model.width=0.5")
    models = scored_models(context(tmp_path, network(1)), [path])
    clips = torch.rand(2, 3, 4, 16, 16)
    with torch.no_grad():
        assert torch.equal(models[1].model(clips), wide(clips))
    assert not models[1].model.training


def test_other_classes_are_refused(tmp_path):
    path = saved(tmp_path / "other", network(2), classes="abcdf")
    with pytest.raises(AdvvidError, match=r"knows 5 classes .*trained on the same classes"):
        scored_models(context(tmp_path, network(1)), [path])


def test_other_weights_than_the_configuration_says_are_refused(tmp_path):
    path = saved(tmp_path / "odd", network(2, "model.width=0.5"))
    with pytest.raises(AdvvidError, match="is of another model"):
        scored_models(context(tmp_path, network(1)), [path])


def test_a_configuration_that_would_run_code_is_refused(tmp_path):
    path = saved(tmp_path / "bad", network(2), "defense._target_=os.system")
    with pytest.raises(AdvvidError, match=r"os\.system"):
        scored_models(context(tmp_path, network(1)), [path])


def test_names_tell_models_apart(tmp_path):
    paths = [saved(tmp_path / name, network(seed)) for name, seed in (("b", 2), ("c", 3))]
    ctx = context(tmp_path, network(1))
    assert [m.label for m in scored_models(ctx, paths[:1])] == ["at", "none"]
    assert [m.label for m in scored_models(ctx, paths)] == ["own", "b", "c"]
    both = [f"{paths[0]}/checkpoints/{name}.pt" for name in ("last", "best")]
    assert [m.label for m in scored_models(ctx, both)] == ["own last", "b last", "b best"]
    assert [m.label for m in scored_models(ctx, [*paths, paths[0]], ["x", "y", "z"])] == ["x", "y", "z"]
    with pytest.raises(AdvvidError, match=r"analysis.labels has 2 names .* for 3 models"):
        scored_models(ctx, paths, ["x", "y"])
    with pytest.raises(AdvvidError, match="no two alike"):
        scored_models(ctx, paths, ["x", "y", "x"])


def test_a_run_is_scored_at_the_checkpoint_that_its_schedule_selects(tmp_path):
    assert selected(saved(tmp_path / "a", network(1))).name == "last.pt"
    assert selected(saved(tmp_path / "b", network(1), "schedule.select=best")).name == "best.pt"
    assert selected(f"{tmp_path}/b/checkpoints/last.pt").name == "last.pt"


def test_a_wrong_path_is_told_before_any_work():
    with pytest.raises(AdvvidError, match="does not exist"):
        named_paths(["no/such/run"])
    assert named_paths(None) == ()


def test_training_on_other_clips_is_said(tmp_path, caplog):
    path = saved(tmp_path / "other", network(2), "dataset.stride=2")
    ctx = context(tmp_path, network(1), config={"dataset": {"frames": 8, "stride": 4}})
    with caplog.at_level(logging.WARNING):
        scored_models(ctx, [path])
    assert "stride=2 instead of 4" in caplog.text
    assert "frames" not in caplog.text
