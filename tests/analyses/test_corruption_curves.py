"""Accuracy under corruptions: means and relative robustness by hand, and further runs beside the run's own."""

import pytest
from rich.console import Console
from small_run import N, context, network, saved

from advvid.analyses.base import carry_out
from advvid.analyses.corruptions import ALL, Corruptions
from advvid.attacks.noise_corruption import NoiseCorruption
from advvid.attacks.time_corruption import TimeCorruption
from advvid.core.errors import AdvvidError
from advvid.tracking.trackers import NoTracker

KINDS = {"noise": NoiseCorruption(), "jumbling": TimeCorruption()}


def test_means_are_over_severities_and_kinds(tmp_path):
    model = network(1)
    other = saved(tmp_path / "other", network(2))
    analysis = Corruptions(kinds=KINDS, severities=[5, 1], checkpoints=other, labels=["mine", "theirs"])
    result = carry_out(analysis, context(tmp_path, model, "corruptions"), NoTracker())
    assert result["values"] == [0, 1, 5]
    line = result["models"][0]
    assert line["clean"]["acc"] == 11 / N  # one label is wrong
    assert line["points"][0] == line["clean"]
    shares = {kind: line["kinds"][kind]["severities"] for kind in KINDS}
    for kind, found in shares.items():
        assert line["kinds"][kind]["mean"]["acc"] == pytest.approx(sum(found) / 2)
    overall = sum(map(sum, shares.values())) / 4
    assert line["kinds"][ALL]["mean"]["acc"] == pytest.approx(overall)
    assert line["kinds"][ALL]["relative"]["acc"] == pytest.approx(overall / (11 / N))
    assert line["points"][2]["acc"] == pytest.approx((shares["noise"][1] + shares["jumbling"][1]) / 2)
    assert shares["noise"][1] < 11 / N
    console = Console(record=True, width=160, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(analysis.table(result))
    shown = console.export_text()
    assert all(word in shown for word in ("mine", "theirs", "relative", "jumbling", ALL))


def test_no_kind_is_refused():
    with pytest.raises(AdvvidError, match=r"analysis.kinds is empty"):
        Corruptions()
