"""The benchmark: rounds are counted and kept as said, and the page repeats the published numbers."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "scripts"))

import benchmark  # noqa: E402
from benchmarks import publish  # noqa: E402
from benchmarks.measure import Setup, by_processor, clock, interleave, speed_ratio  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(CPU, 1, False, tmp_path, tmp_path)


def test_variants_take_turns_and_rare_ones_sit_out():
    order: list[str] = []
    runs = {name: lambda name=name: order.append(name) for name in "abc"}
    times = interleave(runs, 4, CPU, warm={name: lambda: None for name in "abc"}, rarely=("c",), few=2)
    assert "".join(order) == "abc" + "ba" + "cab" + "ab"
    assert [t is None for t in times["c"]] == [False, True, False, True]


def test_rounds_that_are_kept_are_not_run_again(tmp_path):
    file, count = tmp_path / "rounds.json", {"a": 0, "b": 0}

    def work(name: str) -> None:
        count[name] += 1
        if count == {"a": 3, "b": 3}:
            raise KeyboardInterrupt  # killed in the third round of either

    runs = {name: lambda name=name: work(name) for name in "ab"}
    idle = {name: lambda: None for name in "ab"}
    with pytest.raises(KeyboardInterrupt):
        interleave(runs, 4, CPU, warm=idle, kept=file)
    assert len(json.loads(file.read_text())["a"]) == 2
    times = interleave(runs, 4, CPU, warm=idle, kept=file)
    assert len(times["a"]) == 4
    assert count == {"a": 5, "b": 5}  # the third round again, and the fourth


def test_ratios_come_from_rounds_in_which_both_ran():
    ratio = speed_ratio({"fast": [1.0, 1.0, 2.0], "slow": [3.0, None, 8.0]}, "fast", "slow")
    assert ratio == {"median": 3.5, "low": 3.0, "high": 4.0, "n": 2}


def test_one_thread_is_timed_by_the_processor_alone():
    """A run that only waits takes no time of the processor, however long others hold it up."""
    import time

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert by_processor(CPU)
        assert clock(lambda: time.sleep(0.05), CPU) < 0.04
        torch.set_num_threads(2)
        assert not by_processor(CPU)
        assert clock(lambda: time.sleep(0.05), CPU) >= 0.05
    finally:
        torch.set_num_threads(before)


def test_a_part_is_measured_again_only_where_more_rounds_are_wanted(setup):
    calls: list[int] = []

    def part() -> dict[str, Any]:
        calls.append(1)
        return {"n": len(calls)}

    few = replace(setup, most=3)
    assert benchmark.measured("s", "p", part, few, False)["result"] == {"n": 1}
    assert benchmark.measured("s", "p", part, replace(setup, most=2), False)["result"] == {"n": 1}
    assert benchmark.measured("s", "p", part, setup, False)["result"] == {"n": 2}
    assert benchmark.measured("s", "p", part, few, False)["result"] == {"n": 2}
    assert benchmark.measured("s", "p", part, few, True)["result"] == {"n": 3}


def test_the_published_page_is_made_of_the_published_numbers():
    published = TOP / "outputs" / "published" / "speed_cpu.json"
    sections = json.loads(published.read_text())["sections"]
    page = (published.parent / "speed_cpu.md").read_text()
    assert all(
        line in page
        for name, parts in sections.items()
        if parts
        for line in benchmark.SECTIONS[name].lines(publish.results(parts))
    )
