"""Compare the loader with plain decoding loops on real files, and publish the comparison.

    ADVVID_REALDATA=/data python scripts/benchmark_loader.py          # about 3 minutes on 2 cores

Every variant cuts the same 16 frames out of the middle of the same videos and makes clips of 112 x 112. A round runs each
variant once, one after the other, and only ratios within a round are judged: other load on the machine slows both sides.
Raw decoding opens the video and fetches the frames; the plain loop also resizes and crops them, as anyone who needs
batches must. The loader does the same work and hands over batches.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import decord
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from torch import Tensor
from torchvision.transforms import v2

from advvid.core.errors import AdvvidError
from advvid.data.cache import FrameCache
from advvid.data.clips import VideoClips
from advvid.data.cut import Cut
from advvid.data.decoders import FrameVideo, check_decoder
from advvid.data.lists import Entry
from advvid.data.loader import cores, eval_batches, train_batches

FRAMES, SIZE, BATCH = 16, 112, 8
REPEATS = 64  # walks over the videos by loader processes, so that their start does not weigh
CROP = v2.CenterCrop(SIZE)
FINISH = v2.Compose([v2.Resize(SIZE, antialias=True), CROP])


def raw_decord(path: str, first: int, height: int = -1, width: int = -1) -> Any:
    """Fetch frames as decord's documentation does."""
    reader = decord.VideoReader(path, num_threads=1, height=height, width=width)
    return reader.get_batch(range(first, first + FRAMES)).asnumpy()


def raw_pyav(path: str, first: int, height: int | None = None, width: int | None = None) -> Any:
    """Fetch frames as PyAV's documentation does, from the start; where they are resized, by one converter for all."""
    convert = VideoReformatter()
    with av.open(path, metadata_errors="ignore") as container:
        frames = []
        for i, frame in enumerate(container.decode(video=0)):
            if i >= first and height is None:
                frames.append(frame.to_ndarray(format="rgb24"))
            elif i >= first:
                frames.append(convert.reformat(frame, width, height, "rgb24", threads=1).to_ndarray())
            if len(frames) == FRAMES:
                break
    return np.stack(frames)


def raw_torchcodec(path: str, first: int) -> Any:
    """Fetch frames as torchcodec's documentation does."""
    from torchcodec.decoders import VideoDecoder

    return VideoDecoder(path, dimension_order="NHWC").get_frames_in_range(first, first + FRAMES).data.numpy()


RAW: dict[str, Callable[..., Any]] = {"decord": raw_decord, "pyav": raw_pyav, "torchcodec": raw_torchcodec}


class Videos:
    """The files of a set, where their middles are, and the loader's view of them."""

    def __init__(self, root: Path, limit: int) -> None:
        found = sorted(p for p in root.rglob("*") if p.suffix in (".avi", ".mp4", ".mkv"))
        # A few of every folder, so that no class stands for all.
        self.root, self.paths = root, found[:: max(1, len(found) // limit)][:limit]
        self.truth = [FrameVideo(path, "pyav") for path in self.paths]
        self.sizes = [tuple(video.fetch([0]).shape[2:]) for video in self.truth]
        self.firsts = [round((video.frames - FRAMES) / 2) for video in self.truth]

    def clips(self, decoder: str, repeats: int = 1, cache: FrameCache | None = None) -> VideoClips:
        """Return them as a split."""
        entries = [Entry(str(path.relative_to(self.root)), 0) for path in self.paths] * repeats
        return VideoClips(self.root, entries, Cut(FRAMES, 1, SIZE, SIZE, 0.5, None, 1, decoder), cache)

    def wrong(self, decoder: str) -> int:
        """Count the videos of which the raw loop returns other frames than were asked for."""
        count = 0
        for path, first, video in zip(self.paths, self.firsts, self.truth, strict=True):
            true = video.fetch(range(first, first + FRAMES)).permute(1, 2, 3, 0).int()
            try:
                got = torch.from_numpy(RAW[decoder](str(path), first)).int()
                # Two versions of FFmpeg may differ by 2 of 255 in a pixel; another frame differs by far more.
                count += int(got.shape != true.shape or int((got - true).abs().max()) > 2)
            except (RuntimeError, IndexError):
                count += 1
        return count


def finish(frames: Any) -> Tensor:
    """Resize and crop as the loader does."""
    clip: Tensor = FINISH(torch.from_numpy(frames).permute(0, 3, 1, 2))
    return clip.transpose(0, 1).contiguous()


def plain_loop(videos: Videos, decoder: str, whole: bool) -> int:
    """Walk the videos in a plain loop; ``whole`` makes clips, otherwise the frames are only decoded."""
    for path, first in zip(videos.paths, videos.firsts, strict=True):
        frames = RAW[decoder](str(path), first)
        if whole:
            finish(frames)
    return len(videos.paths)


def loaded(clips: VideoClips, workers: int = 0, training: bool = False) -> int:
    """Walk the loader and return the number of clips."""
    if training:
        return sum(len(b) for b in train_batches(clips, BATCH, 0, 0, workers=workers))
    return sum(len(b) for b in eval_batches(clips, BATCH, workers=workers))


def measure(variants: dict[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """Run all variants once per round, in turning order, and return clips per second of each round."""
    speeds: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = time.perf_counter()
            count = variants[name]()
            speeds[name].append(count / (time.perf_counter() - began))
    return speeds


def ratio(speeds: dict[str, list[float]], first: str, second: str) -> dict[str, float]:
    """Return the median, lowest and highest ratio within a round."""
    values = [a / b for a, b in zip(speeds[first], speeds[second], strict=True)]
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def compare(videos: Videos, decoder: str, rounds: int) -> dict[str, Any]:
    """Measure one decoder on one set."""
    wrong, clips, scratch = videos.wrong(decoder), videos.clips(decoder), Path(tempfile.mkdtemp())
    try:
        cached = videos.clips(decoder, cache=FrameCache(scratch, 10))
        loaded(cached, training=True)
        variants = {
            "decode": lambda: plain_loop(videos, decoder, whole=False),
            "plain": lambda: plain_loop(videos, decoder, whole=True),
            "loader": lambda: loaded(clips),
            "training": lambda: loaded(clips, training=True),
            "cached": lambda: loaded(cached, training=True),
        }
        speeds = measure(variants, rounds)
    finally:
        shutil.rmtree(scratch)
    ratios = {f"loader/{other}": ratio(speeds, "loader", other) for other in ("plain", "decode")}
    return {"videos": len(videos.paths), "wrong": wrong, "clips_per_second": speeds, **ratios}


def workers(videos: Videos, decoder: str, rounds: int) -> dict[str, Any]:
    """Measure one and two loader processes, their start included, against a plain loop over the same clips."""
    clips = videos.clips(decoder, REPEATS)
    variants = {
        "plain": lambda: sum(plain_loop(videos, decoder, whole=True) for _ in range(REPEATS // 4)),
        "one": lambda: loaded(clips, 1),
        "two": lambda: loaded(clips, 2),
    }
    speeds = measure(variants, rounds)
    ratios = {"one/plain": ratio(speeds, "one", "plain"), "two/one": ratio(speeds, "two", "one")}
    return {"clips": len(clips), "clips_per_second": speeds, **ratios}


def inside(videos: Videos, decoder: str) -> list[Tensor]:
    """Make the clips with a decoder that resizes."""
    clips = []
    for path, first, (height, width) in zip(videos.paths, videos.firsts, videos.sizes, strict=True):
        scale = SIZE / min(height, width)
        frames = RAW[decoder](str(path), first, int(scale * height), int(scale * width))
        clips.append(CROP(torch.from_numpy(frames).permute(0, 3, 1, 2)).transpose(0, 1).contiguous())
    return clips


def resizing(videos: Videos, decoders: list[str], rounds: int) -> dict[str, Any]:
    """Compare resizing inside the decoder with resizing its frames: time, and pixels."""
    result = {}
    for name in decoders:
        clips = videos.clips(name)
        speeds = measure({"inside": lambda n=name: len(inside(videos, n)), "after": lambda c=clips: loaded(c)}, rounds)  # type: ignore[misc]
        apart = [(clip.int() - clips[i][0].int()).abs() for i, clip in enumerate(inside(videos, name))]
        mean, largest = statistics.mean(float(d.float().mean()) for d in apart), max(int(d.max()) for d in apart)
        result[name] = {"inside/after": ratio(speeds, "inside", "after"), "mean": mean, "largest": largest}
    return result


def installed(decoder: str) -> bool:
    """Tell whether a decoder can be used here."""
    try:
        check_decoder(decoder)
    except AdvvidError:
        return False
    return True


def table(heads: str, rows: dict[str, dict[str, Any]], cells: Callable[[dict[str, Any]], list[str]]) -> list[str]:
    """Return a table with a row per set and decoder."""
    columns = ["files", "decoder", *heads.split(", ")]
    lines = ["", f"| {' | '.join(columns)} |", "|---|---|" + "---:|" * (len(columns) - 2)]
    for name, decoders in rows.items():
        lines += [f"| {name} | {decoder} | {' | '.join(cells(row))} |" for decoder, row in decoders.items()]
    return lines


def shown(row: dict[str, Any], *names: str) -> list[str]:
    """Write ratios with their ranges."""
    return [f"{row[name]['median']:.2f} [{row[name]['low']:.2f}, {row[name]['high']:.2f}]" for name in names]


def report(result: dict[str, Any]) -> str:
    """Return the comparison as Markdown."""
    about = result["machine"]
    lines = [
        f"Loader against plain decoding loops, {FRAMES} frames at {SIZE} x {SIZE}: median of {result['rounds']} interleaved "
        f"rounds, lowest and highest in brackets.",
        f"{about['processor']}, {about['cores']} cores, load {about['load_before']:.1f} before and {about['load_after']:.1f} "
        f"after; {', '.join(f'{k} {v}' for k, v in about['versions'].items())}.",
        f"Made by `{result['command']}` in {result['seconds']:.0f} s.",
        "",
        "Clips per second of one process. *decode*: frames only; *plain*: frames resized and cropped; *loader*: the same clips",
        "in batches; *training*: random clips, mirrored; *cached*: those with `dataset.cache`, filled. *Wrong*: videos of which",
        "the raw decoder returns other frames than were asked for, without an error, or none.",
    ]

    def decoded(row: dict[str, Any]) -> list[str]:
        speeds = [f"{statistics.median(v):.0f}" for v in row["clips_per_second"].values()]
        return [*speeds, *shown(row, "loader/plain", "loader/decode"), f"{row['wrong']} of {row['videos']}"]

    heads = "decode, plain, loader, training, cached, loader / plain, loader / decode, wrong"
    lines += table(heads, result["decoders"], decoded)
    lines += ["", "Loader processes, their start included:"]
    heads = "one process / plain loop, two processes / one"
    lines += table(heads, result["workers"], lambda row: shown(row, "one/plain", "two/one"))
    lines += [
        "",
        "Resizing inside the decoder against resizing its frames, as the loader does; pixels differ by (of 255):",
    ]

    def resized(row: dict[str, Any]) -> list[str]:
        return [*shown(row, "inside/after"), f"{row['mean']:.2f}", str(row["largest"])]

    lines += table("speed, mean, largest", result["resizing"], resized)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("ADVVID_REALDATA"), help="or $ADVVID_REALDATA")
    parser.add_argument("--sets", nargs="+", default=["ut_interaction", "ucf101"], help="folders below it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--videos", type=int, default=10, help="of each set")
    parser.add_argument("--target", type=Path, default=Path("outputs/published"), help="where the result goes")
    options = parser.parse_args()
    if options.data is None or not all((options.data / name).is_dir() for name in options.sets):
        parser.error(f"--data={options.data} lacks {' or '.join(options.sets)}: give the folder of your videos")
    torch.set_num_threads(1)  # as in a loader process
    began, load = time.perf_counter(), os.getloadavg()[0]
    decoders = [name for name in RAW if installed(name)]
    result: dict[str, Any] = {part: {} for part in ("decoders", "workers", "resizing")}
    result |= {"command": " ".join(["python", *sys.argv]), "rounds": options.rounds}
    for name in options.sets:
        videos = Videos(options.data / name, options.videos)
        result["decoders"][name] = {decoder: compare(videos, decoder, options.rounds) for decoder in decoders}
        result["workers"][name] = {"decord": workers(videos, "decord", options.rounds)}
        # Where a raw decoder returns other frames, pixels say nothing about resizing.
        right = [d for d in ("decord", "pyav") if not result["decoders"][name][d]["wrong"]]
        result["resizing"][name] = resizing(videos, right, min(3, options.rounds))
    processors = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    packages = ["torch", "torchvision", "decord2", "av", *(["torchcodec"] if "torchcodec" in decoders else [])]
    processor = processors[0].split(": ")[1] if processors else "an unnamed processor"
    loads = {"load_before": load, "load_after": os.getloadavg()[0]}
    versions = {package: version(package) for package in packages}
    result["machine"] = {"processor": processor, "cores": cores(), **loads, "versions": versions}
    result["seconds"] = time.perf_counter() - began
    options.target.mkdir(parents=True, exist_ok=True)
    (options.target / "loader_speed.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.target / "loader_speed.md").write_text(report(result))
    print(report(result))


if __name__ == "__main__":
    main()
