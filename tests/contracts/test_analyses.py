"""Every option of conf/analysis runs on a small model and leaves a JSON file."""

import json
import re
import sys
from pathlib import Path

import pytest
from test_configs import composed, nodes

from advvid.analyses.base import Analysis, carry_out
from advvid.config.catalogue import option_files
from advvid.config.instantiate import safe_instantiate
from advvid.core.errors import AdvvidError
from advvid.experiment.run import run
from advvid.tracking.trackers import NoTracker

sys.path.insert(0, str(Path(__file__).parent.parent / "analyses"))
from small_run import context, network

NAMES = list(option_files("analysis"))
# What would take long, beside numbers of steps and queries.
SHORT = {
    "ablation": ["analysis.changed=[1]"],
    "ablation_patches": ["analysis.changed=[2]"],
    "attention_maps": ["analysis.pictures=1"],
    "best_step": ["analysis.budgets=[2/255,8/255]", "analysis.sizes=[0.1,0.4]"],
    "corruptions": ["analysis.severities=[1,5]"],
    "detection": ["analysis.weights=[0,10]"],
    "loss_by_step": ["analysis.steps=[1,2]"],
    "loss_surface": ["analysis.sizes=[0.1,1,2]", "analysis.steps=[1,3]"],
    "queries": ["analysis.queries=20"],
    "selector_attack": ["analysis.values=[0,1]"],
    "smoothing": ["analysis.n=100"],
}
FEW = {"steps": 2, "queries": 20}


def shortened(cfg):
    """The same analysis with attacks of few steps and queries."""
    for node in nodes(cfg):
        for key, most in FEW.items():
            if isinstance(node.get(key), int) and node[key] > most:
                node[key] = most
    return cfg


@pytest.mark.parametrize("name", NAMES)
def test_it_runs_with_its_defaults(name, tmp_path):
    analysis = safe_instantiate(shortened(composed(f"analysis={name}", *SHORT.get(name, ())).analysis))
    assert isinstance(analysis, Analysis)
    model = network(1)
    try:
        carry_out(analysis, context(tmp_path, model, name), NoTracker())
    except AdvvidError as refusal:
        # What looks at one kind of model alone names the defense that makes it, or the model itself.
        defense = re.search(r"train one with defense=(\w+)", str(refusal))
        own = re.search(r"needs a model with attention.* choose (model=\w+)", str(refusal))
        if own:
            model = network(1, own[1])
        elif defense:
            model = safe_instantiate(composed(f"defense={defense[1]}").defense).wrap(model).eval()
        else:
            raise
        carry_out(analysis, context(tmp_path, model, name), NoTracker())
    result = json.loads((tmp_path / "analysis" / f"{name}.json").read_text())
    assert (result["analysis"], result["schema"], result["seed"]) == (name, 1, 0)


@pytest.mark.parametrize("name", NAMES)
def test_it_looks_at_trained_models_only(name, tmp_path):
    with pytest.raises(AdvvidError, match="add mode=eval checkpoint="):
        run(composed(f"analysis={name}", "name=any"), tmp_path, {"analysis": name})


def test_no_analysis_is_the_default():
    assert "analysis" not in composed()
