import pytest

from advvid.core.errors import AdvvidError
from advvid.studies import published
from advvid.studies.published import Printed, published_tables

LO = ("pgd_4", "roa_30", "framing_10", "salt_and_pepper_100")


@pytest.mark.parametrize(
    ("table", "row", "column", "value"),
    [
        ("kinfu-table1", "none", "clean", 92.3),
        ("kinfu-table2", "cat", "pgd_8", 29.2),
        ("kinfu-table3", "gat", "pgd_15", 51.3),
        ("kinfu-table4", "aat_types", "frame_border", 80.2),
        ("lo-multibn-ucf101", "multibn", "union", 34.8),
        ("lo-multibn-hmdb51", "msd", "roa_30", 0.1),
        ("deepsava-table8", "brute_force", "time_s", 70.4),
        ("jia-table4", "detection_plus_routing", "accuracy", 48.0),
        ("aart-table3", "gap", "adv_gain", 16.98),
    ],
)
def test_a_known_number_stands_where_the_paper_has_it(table, row, column, value):
    cell = published_tables()[table].cell(row, column)
    assert cell is not None
    assert cell.value == value


def test_an_interval_is_kept_beside_its_mean():
    cell = published_tables()["deepsava-table3"].cell("cnn_lstm_sparse", "ucf101_fr")
    assert cell == Printed(52.77, 2.44)
    assert published_tables()["deepsava-table3"].cell("i3d_sparse_flickering", "hmdb51_ani") is None


def test_shapes_are_those_of_the_papers():
    shapes = {name: (len(table.rows), len(table.columns)) for name, table in published_tables().items()}
    assert len(shapes) == 41
    assert shapes["kinfu-table1"] == (6, 5)
    assert shapes["kinfu-table4"] == (5, 6)
    assert shapes["deepsava-table12"] == (5, 10)
    assert shapes["lo-halftone"] == (12, 7)


@pytest.mark.parametrize(
    "name", ["lo-at-single", "lo-avg", "lo-multibn-manual", "lo-multibn-ucf101", "lo-multibn-hmdb51"]
)
def test_printed_means_and_unions_follow_from_their_cells(name):
    """The mean is over clean and four attacks; no union is above the smallest of them."""
    table = published_tables()[name]
    for row in table.rows:
        values = [table.cell(row, column).value for column in ("clean", *LO)]
        assert table.cell(row, "mean").value == pytest.approx(sum(values) / 5, abs=0.11)
        assert table.cell(row, "union").value <= min(values)


def test_rows_that_several_tables_share_agree():
    tables = published_tables()
    for row in ("none", "at_8"):
        assert tables["kinfu-table1"].rows[row] == tables["kinfu-table2"].rows[row] == tables["kinfu-table3"].rows[row]
    assert tables["lo-at-single"].rows["at_roa"] == tables["lo-avg"].rows["at_roa"]


def test_an_unknown_cell_and_a_short_row_are_told(tmp_path):
    with pytest.raises(AdvvidError, match="has no cell cat, fgsm"):
        published_tables()["kinfu-table2"].cell("cat", "fgsm")
    (tmp_path / "x.yaml").write_text("tables: {t: {source: s, title: t, data: d, columns: [a, b], rows: {r: [1]}}}")
    with pytest.raises(AdvvidError, match="row r has 1 cells for 2 columns"):
        list(published._read(tmp_path / "x.yaml"))
