"""What the plans of DeepSAVA, A-ART and Jia et al. say at full scale is what the papers say."""

import pytest
import torch
from omegaconf import OmegaConf

from advvid.config.composed import composed
from advvid.data.vocabulary import read_vocabulary
from advvid.detectors.temporal_consistency import exception_index
from advvid.evaluation.measures import survival
from advvid.studies.__main__ import _given as given
from advvid.studies.__main__ import parser
from advvid.studies.catalogue import studies
from advvid.studies.plan import RUN, SCALES
from advvid.studies.work import Runner


def config(paper, run, score="", scale="full"):
    told = studies()[paper].overrides(run, score, scale)
    return composed([RUN.sub("x", override) for override in told])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("run", ["cnn_lstm", "rnn", "gru", "hmdb51_cnn_lstm"])
def test_recurrent_networks_answer_from_all_frames(run, scale):
    net = config("deepsava", run, scale=scale).model.net
    assert net.readout == "mean"
    assert net.train_backbone is (scale == "demo")  # at full scale the CNN gives features and is not trained


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", ["pgd", "combined"])
def test_cnn_lstm_is_defended_by_its_cnn(kind, scale):
    """Sec. 4.3: adversarial training of the CNN, then the recurrent part on its features without attacks."""
    work = studies()["deepsava"].runs[f"cnn_lstm_{kind}"]
    cnn = config("deepsava", work.start[scale], scale=scale)
    assert cnn.model.net.cell == "none"
    assert cnn.model.net.train_backbone
    assert cnn.defense.inner_steps == 10
    reader = config("deepsava", work.name, scale=scale)
    assert (reader.model.net.cell, reader.model.net.train_backbone) == ("lstm", False)
    assert "NoDefense" in reader.defense._target_


def test_every_column_of_table_6_has_its_limit():
    suite = config("deepsava", "i3d", "aap").suite
    columns = {name: node for name, node in suite.items() if OmegaConf.is_dict(node)}
    limits = {"l21": 0.1, "ssim": 0.08}
    assert len(columns) == 6
    assert {name: node.budget for name, node in columns.items()} == {
        name: limits[node.measure] for name, node in columns.items()
    }


def test_both_attacks_of_table_12_change_the_same_frames():
    for scale in SCALES:
        one, two = (config("deepsava", "cnn_lstm", f"transfer_{kind}", scale).attack for kind in ("sparse", "deepsava"))
        assert one.key_frame == two.key_frame == "first"
        assert one.frames == two.frames
    assert config("deepsava", "cnn_lstm", "transfer_sparse").attack.frames == 7


def test_the_curves_of_figure_c9_lie_within_its_ball():
    attack = config("deepsava", "next_frame", "per_step").analysis.attack
    assert (attack.measure, attack.budget, attack.at_budget) == ("l21", 0.03, "project")


def test_figure_6_draws_the_baselines_as_well():
    target = studies()["deepsava"].targets["deepsava-fig6"]
    drawn = {
        config("deepsava", cell.run, cell.score).attack._target_
        for row in target.cells.values()
        for cell in row.values()
    }
    assert drawn == {f"advvid.attacks.{name}" for name in ("Sparse", "SparseFlickering", "DeepSAVA")}


def line(label, clean, coded, attacked, after):
    found = {"clean@codec": coded, "sparse": attacked, "sparse@codec": after}
    return {"label": label, "clean": clean, "attacks": {name: {"pred": pred} for name, pred in found.items()}}


def test_survivors_are_counted_among_the_clips_that_fooled():
    samples = [
        line(1, 1, 1, 2, 2),  # fools and survives
        line(1, 1, 1, 2, 1),  # fools and does not
        line(1, 1, 1, 1, 2),  # did not fool before
        line(1, 2, 2, 2, 2),  # wrong without attack
        line(1, 1, 2, 2, 2),  # wrong by the codec alone
    ]
    assert survival(samples, "sparse") == (1, 2)


@pytest.mark.parametrize("run", ["none", "art", "a_art", "finance_a_art"])
def test_a_art_is_validated_by_updates_and_ends_early(run):
    """Sec. 3.1: validation every 10,000 iterations, early stopping with patience 5, a tenth of the rate with patience 3."""
    schedule = config("aart", run).schedule
    assert (schedule.updates_per_epoch, schedule.stop_after, schedule.validate_every) == (10_000, 5, 1)
    assert (schedule.kind, schedule.patience, schedule.gamma, schedule.batch_size) == ("plateau", 3, 0.1, 64)
    assert schedule.optimizer.lr == 2e-4


def test_the_papers_vocabulary_gives_its_317_classes(tmp_path):
    vocabulary = tmp_path / "vocabulary.csv"
    rows = [f"{n},1,{n},name {n},,,,,Finance,,,x" for n in range(317)]
    vocabulary.write_text(
        "\n".join(["Index,TrainVideoCount,KnowledgeGraphId,Name,WikiUrl,x,y,z,Vertical1,Vertical2,Vertical3,d", *rows])
    )
    told = parser().parse_args(["run", "aart-table1", "--youtube8m", f"{tmp_path},{vocabulary}"])
    assert given(told)["youtube8m"] == [f"dataset.root={tmp_path}", f"dataset.vocabulary={vocabulary}"]
    assert len(read_vocabulary(vocabulary, []).classes) == 317


@pytest.mark.parametrize(
    ("run", "score", "scale"),
    [
        ("cnn_lstm", "detection", "full"),
        ("cnn_lstm", "detection", "demo"),
        ("cnn_lstm", "routing", "full"),
        ("c3d", "routing_c3d", "full"),
    ],
)
def test_the_sparse_attack_of_jia_can_exceed_the_threshold(run, score, scale):
    """The index counts frames that differ from both neighbours: neighbours that are attacked alike count for nothing."""
    cfg = config("jia", run, score, scale)
    frames, length = set(cfg.analysis.sparse.given), cfg.dataset.frames
    assert max(frames) < length
    answers = torch.tensor([[1 if n in frames else 0 for n in range(length)]])
    spread = torch.tensor([[n + 1 if n in frames else 0 for n in range(length)]])  # each attacked frame another answer
    first = torch.tensor([[n + 1 if n < 4 else 0 for n in range(length)]])
    found, most, contiguous = (exception_index(labels).item() for labels in (answers, spread, first))
    assert found <= most
    assert 0.175 <= most < 0.3  # seen, and not taken for a dense attack
    assert contiguous < 0.175 or length < 40


def test_the_dense_attack_of_jia_is_the_generator_and_the_spatial_defense_comdefend():
    for score in ("detection", "routing"):
        assert config("jia", "cnn_lstm", score).analysis.dense._target_ == "advvid.attacks.Universal"
    for run, score in (("cnn_lstm", "routing"), ("c3d", "routing_c3d")):
        assert config("jia", run, score).analysis.spatial._target_ == "advvid.purifiers.ComDefend"
    plan = studies()["jia"]
    for target, score in (("jia-table3", "routing"), ("jia-table4", "routing"), ("jia-jpeg", "routing_jpeg")):
        assert ("cnn_lstm", score) in set(plan.targets[target].wanted("full"))
    assert plan.needs("cnn_lstm", "routing", "demo") == ["comdefend"]


def test_comdefend_is_told_where_its_pictures_are(tmp_path):
    told = Runner(tmp_path, "full", {"cifar10": ["dataset.root=/data/c"], "": ["seed=1"]}).overrides(
        studies()["jia"], "comdefend"
    )
    assert told[-2:] == ["dataset=cifar10", "dataset.root=/data/c"]
