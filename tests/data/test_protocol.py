"""A data set that lacks something is refused in one sentence, before any work is done."""

import pytest
from omegaconf import OmegaConf

from advvid.config.composed import composed_with_choices
from advvid.core.batch import Space
from advvid.core.errors import AdvvidError
from advvid.data.motion import Motion
from advvid.data.protocol import MEMBERS, Dataset, require_dataset
from advvid.experiment.parts import build
from advvid.tasks.classification import Classification


class Whole:
    classes, clip_shape, views, missing = ["a", "b"], (3, 4, 16, 16), 1, {}
    task, space = Classification(), Space()

    def prepare(self):
        raise AssertionError("nothing is called yet")

    def split(self, name):
        raise AssertionError("nothing is called yet")


def without(*names):
    return type("Partial", (), {k: v for k, v in vars(Whole).items() if k not in names and not k.startswith("__")})()


def test_a_class_needs_the_members_alone():
    whole = Whole()
    assert require_dataset(whole) is whole
    members = {name for name in vars(Dataset) if not name.startswith("_")}
    assert members == set(MEMBERS), "what is declared is what is checked"


def test_all_that_is_missing_is_said_at_once():
    with pytest.raises(AdvvidError) as caught:
        require_dataset(without("views", "missing", "split"))
    said = str(caught.value)
    assert "\n" not in said
    for part in (
        "Partial is no data set",
        "views (a whole",
        "missing (a dictionary",
        "split (a method split(name))",
        "advvid.data.Dataset",
    ):
        assert part in said
    assert "classes" not in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("classes", "ab"),
        ("classes", [1, 2]),
        ("classes", None),
        ("clip_shape", [3, 4, 16, 16]),
        ("clip_shape", (3, 0, 16, 16)),
        ("task", "classification"),
        ("space", (0, 1)),
        ("views", 0),
        ("views", True),
        ("missing", []),
        ("split", "train"),
    ],
)
def test_each_member_is_held_to_its_kind(name, value):
    odd = Whole()
    setattr(odd, name, value)
    with pytest.raises(AdvvidError, match=f"lacks {name} as .*, not "):
        require_dataset(odd)


def composed(*overrides):
    return composed_with_choices(["tracker=none", *overrides])[0]


def test_a_run_refuses_a_target_that_is_no_data_set():
    cfg = composed()
    OmegaConf.update(cfg, "dataset", {"_target_": "advvid.attacks.fgsm.FGSM"}, merge=False)
    with pytest.raises(
        AdvvidError, match=r"_target_=advvid.attacks.fgsm.FGSM is no data set, for it lacks classes \(a list"
    ):
        build(cfg, "pgd")


def test_a_split_is_made_once_and_held_to_what_it_owes(monkeypatch):
    parts = build(composed("dataset.limit_train=4"), "pgd")
    parts.dataset.prepare()
    assert parts.split("train") is parts.split("train")
    bare = type("Bare", (), {"__len__": lambda self: 3, "ids": ["a", "b", "c"]})()
    monkeypatch.setattr(Motion, "split", lambda self, name: bare)
    with pytest.raises(
        AdvvidError, match=r"the test split, a Bare, lacks targets, __getitem__: give it what advvid.data.Clips"
    ):
        parts.split("test")


def test_a_run_refuses_a_bad_test_split_before_it_trains(tmp_path, monkeypatch):
    from advvid.experiment.run import run

    whole = Motion.split
    monkeypatch.setattr(Motion, "split", lambda self, name: object() if name == "test" else whole(self, name))
    with pytest.raises(AdvvidError, match="the test split, a object, lacks ids"):
        run(composed("runtime=cpu", "dataset.limit_train=4", "dataset.limit_val=4", "name=x"), tmp_path, {})
    assert not (tmp_path / "checkpoints").exists()
