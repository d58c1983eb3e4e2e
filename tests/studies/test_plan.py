import pytest

from advvid.config.composed import composed
from advvid.config.instantiate import safe_instantiate
from advvid.core.errors import AdvvidError
from advvid.core.paths import conf_dir
from advvid.models.build import build_model
from advvid.studies import catalogue as module
from advvid.studies.catalogue import all_targets, find_target, studies
from advvid.studies.made import MADE
from advvid.studies.measured import MEASURES
from advvid.studies.overview import listing
from advvid.studies.plan import RUN, SCALES
from advvid.studies.published import published_tables

EXPERIMENTS = sorted(
    path.relative_to(conf_dir() / "experiment").with_suffix("").as_posix()
    for path in (conf_dir() / "experiment").rglob("*.yaml")
)
QUICK = ("lo/multibn_manual", "kinfu/ape_gan_types")


def test_every_cell_of_every_target_leads_somewhere_or_says_why():
    for target in all_targets().values():
        paper = studies()[target.study]
        for row in target.cells.values():
            for cell in row.values():
                assert set(cell.why) == set(SCALES) or (cell.run in paper.runs and cell.score in paper.scores)
                assert cell.measure in MEASURES or cell.measure in MADE


def test_tables_have_every_row_and_column_of_the_papers():
    for name, target in all_targets().items():
        printed = published_tables().get(name)
        if printed is None:
            assert target.figures or target.cells, f"{name} is neither a table nor a figure"
        else:
            count = len(printed.rows)  # rows of ours may follow
            assert list(target.cells)[:count] == list(printed.rows)
            assert all(tuple(cells) == printed.columns for cells in target.cells.values())


def test_compression_is_attacked_as_the_paper_does_and_by_the_better_stand_in():
    """The paper's library goes straight through the codec; figure 5 is table 4 budget by budget, with the same access."""
    study, table = find_target("kinfu-table4")
    assert list(table.cells)[-2:] == ["gat_types", "video_compression_low_pass"]
    straight, better = ("compressed", "compressed_low_pass")
    for row, score in (("video_compression", straight), ("video_compression_low_pass", better)):
        assert {cell.score for cell in table.cells[row].values()} == {score}
        surrogate = composed(study.overrides("none", score, "full")).purifier.video_compression.surrogate
        assert (surrogate is None) == (score == straight)
    _, figure = find_target("kinfu-fig5")
    assert set(figure.wanted("full")) == set(table.wanted("full"))
    for row, cells in table.cells.items():
        for name, cell in cells.items():
            for column in cell.options.get("over", [name]):
                of = figure.cells[row][column]
                assert (of.run, of.score, of.column) == (cell.run, cell.score, column)
                assert of.options.get("access") == cell.options.get("access")


def test_the_loss_surfaces_are_those_of_the_papers_figure():
    study, figure = find_target("kinfu-fig1")
    eps = [composed(study.overrides(*pair, "full")).analysis.eps for pair in figure.figures]
    assert [run for run, _ in figure.figures] == ["none", "none", "at_8"]
    assert eps == ["4/255", "8/255", "8/255"]


def test_experiments_that_are_named_exist_and_all_are_used():
    words = [word for paper in studies().values() for run in paper.runs.values() for word in run.overrides["full"]]
    used = {word.removeprefix("experiment=") for word in words if word.startswith("experiment=")}
    assert used == set(EXPERIMENTS)


def test_tables_share_trainings():
    _, first = find_target("kinfu-table1")
    _, second = find_target("kinfu-table2")
    assert ("at_8", "pgd") in set(first.wanted("demo")) & set(second.wanted("demo"))


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in EXPERIMENTS if "aart" not in n]
)
def test_the_defense_of_an_experiment_is_made_and_takes_a_model(name):
    """What composes may still name an option that a defense has not, or a branch that its families have not."""
    model = build_model(composed(["model=resnet3d_18", "model.width=0.125"]).model, 5, (3, 8, 16, 16))
    defense = safe_instantiate(composed([f"experiment={name}"]).defense)
    assert len(list(defense.wrap(model).parameters())) >= len(list(model.parameters()))


def test_one_training_for_each_entry_and_its_name_in_the_cell():
    _, target = find_target("lo-oudefend")
    assert target.cells["at"]["roa_30"].run == "at_roa_30"
    assert target.cells["none"]["roa_30"].run == "resnet18"
    assert "attack=roa" in studies()["lo"].runs["at_roa_30"].overrides["demo"]
    assert target.cells["at"]["clean"].column == "clean"


def test_a_cell_without_its_training_is_refused(tmp_path):
    (tmp_path / "kinfu.yaml").write_text(
        "runs: {none: }\nscores: {pgd: }\ntargets: {kinfu-table2: {cell: {score: pgd}}}"
    )
    with pytest.raises(AdvvidError, match="kinfu-table2 wants pgd of at_8"):
        module.read(tmp_path / "kinfu.yaml")


def test_an_unknown_target_is_told():
    with pytest.raises(AdvvidError, match="no study, table or figure 'kinfu-table9'"):
        find_target("kinfu-table9")


def test_the_list_has_a_line_each(tmp_path):
    table = listing(tmp_path, tmp_path)
    assert list(table.columns[0].cells) == list(all_targets())
    assert all(cell.startswith("~") for cell in table.columns[4].cells)
    assert "minutes on 2 cores" in str(table.caption)


def test_a_training_puts_its_own_settings_into_the_words_of_its_evaluations():
    """Mu et al. weigh similarity by 1.5 for CNN + LSTM and by 1 for the others (sec. 4.1)."""
    plan = studies()["deepsava"]
    assert "suite=deepsava_cnn_lstm" in plan.score_overrides("cnn_lstm", "main", "full")
    assert "suite=deepsava" in plan.score_overrides("i3d", "main", "full")
    for run, weight in (("hmdb51_cnn_lstm", 1.5), ("inception_v3", 1.0)):
        cfg = composed([RUN.sub("x", word) for word in plan.overrides(run, "aap", "full")])
        searches = [node for name, node in cfg.suite.items() if name.startswith("deep_sava")]
        assert len(searches) == 4
        assert {node.weight for node in searches} == {weight}
