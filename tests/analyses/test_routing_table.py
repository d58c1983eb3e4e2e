"""The routing table by hand, and on a small model."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from small_run import context, network

from advvid.analyses.base import carry_out
from advvid.analyses.routing import RoutingTable, tables
from advvid.attacks.pgd import PGD
from advvid.attacks.sparse import Sparse
from advvid.core.errors import AdvvidError
from advvid.detectors.routing import Routing
from advvid.purifiers.filters import GaussianBlur
from advvid.purifiers.levels import BitDepth, NoiseInjection
from advvid.tracking.trackers import NoTracker


def kind(index, none, temporal, spatial):
    return {"index": index, "none": none, "temporal": temporal, "spatial": spatial}


# Four clean clips, of which three are right; two of the three attacked ones are fooled by each attack.
CLIPS = {
    "clean": kind([0, 0, 0, 0.2], [1, 1, 0, 1], [1, 1, 0, 0], [1, 0, 0, 1]),
    "sparse": kind([0.2, 0.2, 0.5], [1, 0, 0], [1, 1, 1], [0, 0, 0]),
    "dense": kind([0.5, 0.2, 0], [0, 0, 1], [0, 1, 1], [1, 0, 1]),
}


def test_both_tables_by_hand():
    found = tables(CLIPS, Routing(gamma_1=0.1, gamma_2=0.4))
    assert found["n"] == 4
    shares = {k: {name: score["acc"] for name, score in row.items()} for k, row in found["accuracy"].items()}
    # Routed: a clean clip goes the temporal way, one attacked clip of each kind the wrong way.
    assert shares["clean"] == {"none": 3 / 4, "spatial": 2 / 4, "temporal": 2 / 4, "routed": 2 / 4, "oracle": 3 / 4}
    assert shares["sparse"] == {"none": 1 / 4, "spatial": 0, "temporal": 3 / 4, "routed": 2 / 4, "oracle": 3 / 4}
    assert shares["dense"] == {"none": 1 / 4, "spatial": 2 / 4, "temporal": 2 / 4, "routed": 3 / 4, "oracle": 2 / 4}
    mixed = found["mixed"]
    assert mixed["n"] == {"clean": 4, "sparse": 2, "dense": 2}
    assert mixed["accuracy"]["none"] == pytest.approx(0.75 / 3)  # the paper's 26 is a third of its 78
    assert mixed["accuracy"]["temporal"] == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert mixed["accuracy"]["routed"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    less = mixed["routed_less"]["temporal"]
    assert less["difference"] == pytest.approx(0, abs=1e-12)
    assert less["ci95"][0] < 0 < less["ci95"][1]


def test_without_a_fooled_clip_there_is_no_mixed_set():
    none = CLIPS | {"dense": kind([0.5], [1], [1], [1])}
    assert tables(none, Routing())["mixed"]["accuracy"] is None


@pytest.mark.slow
def test_on_a_small_model(tmp_path):
    model = network(1)
    settings = {"sparse": Sparse(steps=3, frames=2, key_frame="random"), "dense": PGD(eps="12/255", steps=3)}
    analysis = RoutingTable(**settings, temporal=GaussianBlur(0.8), spatial=NoiseInjection(0.05), gamma_1=0.1)
    first = carry_out(analysis, context(tmp_path / "a", model, "routing"), NoTracker())
    other = carry_out(analysis, context(tmp_path / "b", model, "routing", batch_size=12), NoTracker())
    assert first["clips"] == other["clips"]  # neither the batches nor a random defense's draws matter
    assert len(first["clips"]["clean"]["id"]) == 12
    right = np.array(first["clips"]["clean"]["none"])
    assert len(first["clips"]["dense"]["id"]) == right.sum() == 11
    assert not all(first["clips"]["dense"]["none"])
    written = json.loads((tmp_path / "a" / "analysis" / "routing.json").read_text())
    assert written["accuracy"] == first["accuracy"]


def test_impossible_settings_are_told():
    with pytest.raises(AdvvidError, match=r"gamma_1=0\.5 and gamma_2=0\.3 are not possible"):
        RoutingTable(gamma_1=0.5)
    assert RoutingTable(temporal=BitDepth(2)).routing.sparse.bits == 2
