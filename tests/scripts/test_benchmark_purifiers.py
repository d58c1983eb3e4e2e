"""The benchmark's loops are what the purifiers compute, and its page says when compression is too slow."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "scripts"))
import benchmark_purifiers as benchmark
from advvid.purifiers.block_matching import match
from advvid.purifiers.halftone import diffuse


def test_the_loops_are_fair():
    frames = torch.randint(0, 256, (2, 3, 16, 24), generator=torch.Generator().manual_seed(0)).float()
    ours = match(frames[1:], frames[:1, None], benchmark.PATCH, benchmark.SEARCH).differences[0]
    loop = benchmark.matching_by_loop(frames[1].numpy(), frames[0].numpy())
    torch.testing.assert_close(ours.double(), torch.from_numpy(loop), rtol=1e-5, atol=0)
    channel = frames[0, 0].double() / 255
    dots = torch.tensor(benchmark.halftone_by_loop(channel.tolist()), dtype=torch.float64)
    assert torch.equal(diffuse(channel), dots)


@pytest.mark.parametrize(("speed", "word"), [(25.0, "reached"), (19.0, "not reached")])
def test_the_page_says_whether_compression_is_fast_enough(speed, word):
    row = {"loop": [0.1], "ours": [0.001], "ratio": [100.0], "agree": 1.0}
    result = {
        "command": "c",
        "rounds": 1,
        "clips": "4 drawn clips",
        "seconds": 1.0,
        "compression": [{"codec": "mpeg4", "quality": 3, "times_real_time": [speed, 30.0], "psnr": [30.0, 31.0]}],
        "processes": {"one/two": [1.5], "same": True},
        "loops": {"halftone": row},
        "machine": {"processor": "p", "cores": 2, "load_before": 0.0, "load_after": 0.0, "versions": {"av": "1"}},
    }
    page = benchmark.report(result)
    assert f"are wanted: {word}." in page
    assert "| halftone | 100.0 [100.0, 100.0] | 1.0 [1.0, 1.0] | 100.0 [100.0, 100.0] | 100.00 % |" in page
