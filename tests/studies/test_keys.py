import pytest

from advvid.config.composed import composed
from advvid.core.errors import AdvvidError
from advvid.studies.keys import scoring_key, training_key

BASE = ["dataset=motion", "dataset.seed=1"]


def test_a_key_changes_with_what_the_result_depends_on_and_with_nothing_else():
    key = training_key(BASE)
    assert (
        training_key(
            [*BASE, "suite.include_attack=false", "dataset.root=/x", "dataset.workers=4", "dataset.limit_test=9"]
        )
        == key
    )
    assert training_key([*BASE, "schedule.epochs=3"]) != key
    scored = scoring_key(key, [*BASE, "suite=lo", "tracker=none"])
    assert scoring_key(key, [*BASE, "suite=lo", "suite.roa_30.side=40"]) != scored
    assert scoring_key("other", [*BASE, "suite=lo", "tracker=none"]) != scored


def test_what_does_not_exist_is_told_in_one_sentence():
    with pytest.raises(AdvvidError, match=r"cannot be composed: .*nosuch"):
        composed(["suite=nosuch"])
