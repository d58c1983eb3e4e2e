"""Measure the purifiers that had to be made fast: compression against real time, the others against plain loops.

    ADVVID_REALDATA=/data python scripts/benchmark_purifiers.py          # about 10 seconds of one core

Clips are 16 frames of 112 x 112, at 25 frames per second 0.64 s of video. Times are processor time of one thread, so
that other load on the machine does not count. Both sides of a ratio are taken in turn in every round, and their results
are compared: a fast wrong answer would be worth nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

from advvid.core.errors import AdvvidError
from advvid.data.loader import cores
from advvid.data.round_trip import round_trips
from advvid.purifiers.block_matching import BRIGHTNESS, match
from advvid.purifiers.halftone import FILTER, diffuse
from advvid.purifiers.video_compression import VideoCompression

FRAMES, SIZE, RATE = 16, 112, 25
LEAST = 20  # times real time that compression has to reach on one core
CODECS = (("libx264", 28), ("libx264", 18), ("mpeg4", 3))
PATCH, SEARCH = 8, 7


def clips_of(folder: Path | None) -> tuple[Tensor, str]:
    """Return clips ``[B, 3, T, H, W]`` in [0, 1] cut from the middle of real videos, or drawn ones, and what they are."""
    files = sorted(folder.glob("ucf101/*/*.avi")) if folder else []
    found = []
    for file in files:
        with av.open(str(file)) as video:
            shown = [
                f.to_ndarray(format="rgb24", width=150, height=SIZE) for f in islice(video.decode(video=0), FRAMES)
            ]
        if len(shown) == FRAMES:
            found.append(torch.from_numpy(np.stack(shown)[:, :, 19 : 19 + SIZE]).permute(3, 0, 1, 2))
    if found:
        return torch.stack(found).float() / 255, f"{len(found)} clips of UCF101"
    generator = torch.Generator().manual_seed(0)
    large = torch.nn.functional.interpolate(
        torch.rand(4, 3, 40, 40, generator=generator), scale_factor=4, mode="bicubic"
    )
    moved = [large[..., t : t + SIZE, 2 * t : 2 * t + SIZE] for t in range(FRAMES)]
    return torch.stack(moved, dim=2).clamp(0, 1), "4 drawn clips"


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor time of a piece of work, and its result."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def compression(clips: Tensor, rounds: int) -> list[dict[str, Any]]:
    """Measure each codec: multiples of real time on one core, and what is lost."""
    rows = []
    for codec, quality in CODECS:
        purifier = VideoCompression(codec, quality)
        purifier(clips[:1])
        times = []
        for _ in range(rounds):
            spent, back = seconds(lambda purifier=purifier: purifier(clips))
            times.append(len(clips) * FRAMES / RATE / spent)
        lost = (back - clips).square().mean(dim=(1, 2, 3, 4))
        decibels = (-10 * lost.clamp(min=1e-12).log10()).tolist()
        rows.append({"codec": codec, "quality": quality, "times_real_time": times, "psnr": decibels})
    return rows


def processes(clips: Tensor, rounds: int) -> dict[str, Any]:
    """Measure on the clock what two processes gain on a batch of 32 clips."""
    levels = (clips * 255).round().to(torch.uint8).permute(0, 2, 3, 4, 1).contiguous().numpy()
    batch = np.concatenate([levels] * -(-32 // len(levels)))[:32]
    ratios, same = [], True
    for number in range(rounds + 1):
        spent, results = [], []
        for count in (1, 2):
            began = time.perf_counter()
            results.append(round_trips(batch, "libx264", 28, 250, RATE, count))
            spent.append(time.perf_counter() - began)
        same = same and bool((results[0] == results[1]).all())
        if number:  # the first round starts the processes
            ratios.append(spent[0] / spent[1])
    return {"one/two": ratios, "same": same}


def halftone_by_loop(channel: list[list[float]]) -> list[list[float]]:
    """Floyd and Steinberg pixel by pixel; shares that would leave the frame go to the rest."""
    height, width = len(channel), len(channel[0])
    work, out = [row[:] for row in channel], [[0.0] * width for _ in channel]
    for i in range(height):
        for j in range(width):
            out[i][j] = 1.0 if work[i][j] > 0.5 else 0.0
            error = work[i][j] - out[i][j]
            inside = [(i + d, j + r, w) for r, d, w in FILTER if i + d < height and 0 <= j + r < width]
            total = sum(w for _, _, w in inside)
            for below, beside, weight in inside:
                work[below][beside] += error * weight / total
    return out


def matching_by_loop(frame: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Full search patch by patch and displacement by displacement, each difference by NumPy."""
    weights = np.array(BRIGHTNESS, np.float32)[:, None, None]
    own, other = (np.round((f * weights).sum(axis=0) / np.float32(sum(BRIGHTNESS))) for f in (frame, reference))
    wide = np.pad(other, SEARCH, mode="edge")
    tall, across = own.shape[0] // PATCH, own.shape[1] // PATCH
    least = np.empty((tall, across))
    for p in range(tall):
        for q in range(across):
            mine = own[p * PATCH : (p + 1) * PATCH, q * PATCH : (q + 1) * PATCH]
            best = np.inf
            for i in range(2 * SEARCH + 1):
                for j in range(2 * SEARCH + 1):
                    there = wide[p * PATCH + i : (p + 1) * PATCH + i, q * PATCH + j : (q + 1) * PATCH + j]
                    best = min(best, np.abs(mine - there).mean())
            least[p, q] = best
    return least


def loops(clip: Tensor, rounds: int) -> dict[str, Any]:
    """Compare halftone and block matching with loops, which get one frame: time per frame, and whether results agree."""
    frames = clip.transpose(0, 1).contiguous()
    levels = (frames * 255).round()
    lists = frames[1].double().tolist()
    found: dict[str, Any] = {name: {"loop": [], "ours": [], "agree": 1.0} for name in ("halftone", "block_matching")}
    for _ in range(rounds):
        spent, slow = seconds(lambda: [halftone_by_loop(channel) for channel in lists])
        found["halftone"]["loop"].append(spent)
        spent, _ = seconds(lambda: diffuse(frames))
        found["halftone"]["ours"].append(spent / FRAMES)
        # The loop is in double precision, so ours is compared in that; a last bit may otherwise turn a dot.
        alike = diffuse(frames[1].double()) == torch.tensor(slow, dtype=torch.float64)
        found["halftone"]["agree"] = min(found["halftone"]["agree"], float(alike.double().mean()))
        spent, slow_match = seconds(lambda: matching_by_loop(levels[1].numpy(), levels[0].numpy()))
        found["block_matching"]["loop"].append(spent)
        spent, ours = seconds(lambda: match(levels[1:], levels[:-1, None], PATCH, SEARCH))
        found["block_matching"]["ours"].append(spent / (FRAMES - 1))
        alike = torch.isclose(ours.differences[0].double(), torch.from_numpy(slow_match))
        found["block_matching"]["agree"] = min(found["block_matching"]["agree"], float(alike.double().mean()))
    for row in found.values():
        row["ratio"] = [slow / fast for slow, fast in zip(row["loop"], row["ours"], strict=True)]
    return found


def spread(values: list[float], digits: int = 1) -> str:
    """Return the median with the lowest and highest in brackets."""
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def report(result: dict[str, Any]) -> str:
    """Return the page for people."""
    machine, both = result["machine"], result["processes"]
    slowest = min(min(row["times_real_time"]) for row in result["compression"])
    lines = [
        f"Purifiers on clips of {FRAMES} x {SIZE} x {SIZE} ({result['clips']}): median of {result['rounds']} rounds, lowest and "
        "highest in brackets.",
        f"{machine['processor']}, {machine['cores']} cores, one thread, load {machine['load_before']:.1f} before and "
        f"{machine['load_after']:.1f} after; " + ", ".join(f"{k} {v}" for k, v in machine["versions"].items()) + ".",
        f"Made by `{result['command']}` in {result['seconds']:.0f} s. Times are processor time of one thread.",
        "",
        f"Compression there and back, in multiples of real time ({RATE} frames per second) per core. The slowest round has "
        f"{slowest:.0f}; {LEAST} are wanted: {'reached' if slowest >= LEAST else 'not reached'}.",
        "",
        "| codec | quality | times real time | PSNR, lowest to highest clip (dB) |",
        "|---|---:|---:|---:|",
    ]
    for row in result["compression"]:
        decibels = f"{min(row['psnr']):.1f} to {max(row['psnr']):.1f}"
        lines.append(f"| {row['codec']} | {row['quality']} | {spread(row['times_real_time'])} | {decibels} |")
    lines += [
        "",
        f"A batch of 32 clips on two processes takes 1 / {spread(both['one/two'], 2)} of the time of one, on the clock; the "
        f"frames are {'the same' if both['same'] else 'not the same'}.",
        "",
        "Against plain loops, per frame. Halftone: Python, pixel by pixel. Block matching (patches of "
        f"{PATCH}, search {SEARCH}): NumPy, patch by patch and displacement by displacement.",
        "",
        "| purifier | loop (ms) | ours (ms) | ratio | values that agree |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in result["loops"].items():
        shown = [spread([1000 * v for v in row[kind]]) for kind in ("loop", "ours")]
        lines.append(f"| {name} | {shown[0]} | {shown[1]} | {spread(row['ratio'])} | {100 * row['agree']:.2f} % |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("ADVVID_REALDATA"), help="or $ADVVID_REALDATA")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--target", type=Path, default=Path("outputs/published"), help="where the result goes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began, load = time.perf_counter(), os.getloadavg()[0]
    try:
        clips, what = clips_of(options.data)
        result: dict[str, Any] = {
            "command": " ".join(["python", *sys.argv]),
            "rounds": options.rounds,
            "clips": what,
            "compression": compression(clips, options.rounds),
            "processes": processes(clips, options.rounds),
            "loops": loops(clips[0], options.rounds),
        }
    except AdvvidError as error:
        sys.exit(f"error: {error}")
    processors = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    result["machine"] = {
        "processor": processors[0].split(": ")[1] if processors else "an unnamed processor",
        "cores": cores(),
        "load_before": load,
        "load_after": os.getloadavg()[0],
        "versions": {package: version(package) for package in ("torch", "numpy", "av")},
    }
    result["seconds"] = time.perf_counter() - began
    options.target.mkdir(parents=True, exist_ok=True)
    (options.target / "purifier_speed.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.target / "purifier_speed.md").write_text(report(result))
    print(report(result))


if __name__ == "__main__":
    main()
