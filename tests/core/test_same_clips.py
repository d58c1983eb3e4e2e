"""Rows that were not scored on the same clips do not share a table without a word."""

from types import SimpleNamespace

import pytest

from advvid.core.same_clips import clip_notes


def row(clips=None, evaluation=None, **dataset):
    config = {
        "dataset": {"frames": 8, "seed": 0, "flip": 0.5, **dataset},
        "evaluation": {"split": "test", **(evaluation or {})},
    }
    return SimpleNamespace(config=config, identity={"parts": {}, "clips": clips} if clips else {})


def test_the_same_clips_need_no_word():
    assert clip_notes([("a", row("1")), ("b", row("1", flip=0.0, limit_train=9))]) == []
    assert clip_notes([("a", row())]) == []


@pytest.mark.parametrize("change", [{"frames": 16}, {"seed": 1}, {"size": 64}, {"test_clips": 3}, {"limit_test": 50}])
def test_other_clips_are_told_with_what_differs(change):
    ((option, value),) = change.items()
    (note,) = clip_notes([("a", row("1")), ("b", row("2", **change)), ("c", row("1"))])
    assert note.startswith("Not scored on the same clips: a, c (dataset.")
    assert f"; b (dataset.{option}={value})" in note


def test_other_content_of_the_same_settings_is_told():
    (note,) = clip_notes([("a", row("1")), ("b", row("2"))])
    assert "the content of the videos differs" in note


def test_runs_of_an_older_version_are_named_and_compared_by_their_settings():
    (note,) = clip_notes([("a", row("1")), ("b", row())])
    assert note.startswith("b: written by an older version")
    different, older = clip_notes([("a", row()), ("b", row(evaluation={"split": "val"}))])
    assert "a (evaluation.split=test); b (evaluation.split=val)" in different
    assert older.startswith("a, b: written by an older version")


@pytest.mark.parametrize(
    "strange",
    [
        {},
        {"identity": 1, "config": 2},
        {"identity": {"clips": [1]}, "config": {"dataset": [1]}},
        {"config": {"dataset": {"seed": "${oc.env:HOME}"}}},
    ],
)
def test_what_a_stranger_wrote_is_no_reason_to_fail(strange):
    strange = SimpleNamespace(**{"identity": {}, "config": {}, **strange})
    assert all("/root" not in note and "/home" not in note for note in clip_notes([("a", strange), ("b", row("1"))]))
