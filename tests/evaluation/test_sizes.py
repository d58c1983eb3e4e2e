"""Regions that whole pixels make the same are scored once, and the table says so and how large they truly are."""

import json

import torch
from torch import nn

import advvid
from advvid.attacks import PGD, FrameBorder, MaskedPGD
from advvid.evaluation.columns import Column
from advvid.evaluation.sizes import distinct, members

SMALL, LARGE = (3, 2, 32, 32), (3, 16, 112, 112)


def border(percent, **settings):
    return FrameBorder(ratio=percent / 100, steps=1, step_size=1.0, **settings)


def test_equal_borders_are_one_column_where_they_are_equal_and_two_where_not():
    columns = [Column(f"border_{p}", border(p)) for p in (10, 15, 20)]
    kept, same = distinct(columns, SMALL)
    assert [column.name for column in kept] == ["border_10", "border_20"]
    assert same == {"border_15": "border_10"}
    assert members({"border": ["border_10", "border_15", "border_20"]}, same) == {"border": ["border_10", "border_20"]}
    assert distinct(columns, LARGE) == (columns, {})


def test_what_differs_in_more_than_its_size_stays():
    columns = [
        Column("border_10", border(10)),
        Column("border_15", border(15, random_start=False)),
        Column("patch_10", MaskedPGD(ratio=0.1)),
        Column("pgd", PGD()),
        Column("border_15@gray_box", border(15), "gray_box", nn.Identity()),
    ]
    assert distinct(columns, SMALL) == (columns, {})


def test_the_table_has_the_left_out_column_outside_mean_and_union(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 2 * 32 * 32, 2))
    clips, labels = torch.rand(6, *SMALL), torch.tensor([0, 1] * 3)
    attacks = {f"border_{p}": border(p) for p in (10, 15, 20)}
    table = advvid.evaluate(net, (clips, labels), attacks=attacks, suite="own", run_dir=tmp_path)
    assert {"border_10", "border_20"} <= set(table.attacks)
    assert "border_15" not in table.attacks
    left_out, first = table.extra["border_15"], table.attacks["border_10"]
    assert left_out.acc == first.acc
    assert "allows what border_10 does at 2 x 32 x 32" in left_out.notes[0]
    assert "(at 2 x 32 x 32: 1 px, 12.1% of the frame)" in first.budget
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert all(line["attacks"]["border_15"] == line["attacks"]["border_10"] for line in lines)
    union = sum(
        all(line["attacks"][name]["pred"] == line["label"] == line["clean"] for name in table.attacks) for line in lines
    )
    assert round(6 * table.union.acc) == union
