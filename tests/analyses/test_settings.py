"""The setting that varies: which may, how values are read, what an attack refuses."""

import pytest

from advvid.analyses.settings import numeric_settings, with_setting, written_values
from advvid.attacks.frame_border import FrameBorder
from advvid.attacks.mult_av import MultAV
from advvid.attacks.pgd import PGD
from advvid.attacks.transfer import Transfer
from advvid.core.errors import AdvvidError


def test_values_come_in_rising_order_as_they_were_written():
    assert written_values(["8/255", 0, 0.5, "16/510"]) == {"0": 0, "8/255": 8 / 255, "0.5": 0.5}


@pytest.mark.parametrize("values", [[], ["many"], ["1/0"]])
def test_what_is_no_list_of_numbers_is_refused(values):
    with pytest.raises(AdvvidError, match=r"analysis\.values"):
        written_values(values)


def test_a_setting_keeps_its_kind():
    assert with_setting(PGD(), "eps", 4 / 255).threat.budget == "l-inf 4/255"
    changed = with_setting(PGD(), "steps", 40.0)
    assert type(changed.steps) is int
    assert changed == PGD(steps=40)
    assert with_setting(MultAV(), "ratio", 2.0).ratio == 2.0
    assert with_setting(FrameBorder(), "width", 10.0).width == 10
    assert with_setting(Transfer(), "attack.eps", 0.5).attack.eps == 0.5


def test_only_numbers_may_vary():
    assert "norm" not in list(numeric_settings(PGD()))
    assert "early_exit" not in list(numeric_settings(PGD()))
    with pytest.raises(AdvvidError, match=r"analysis\.field=ratio is no setting of PGD .* choose steps, restarts, eps"):
        with_setting(PGD(), "ratio", 0.1)


def test_an_impossible_value_is_told_with_the_attacks_reason():
    with pytest.raises(AdvvidError, match=r"analysis\.values: 2 is not possible for eps .*between 0 and 1"):
        with_setting(PGD(), "eps", 2.0)
    with pytest.raises(AdvvidError, match=r"0\.5 is not possible for steps"):
        with_setting(PGD(), "steps", 0.5)
