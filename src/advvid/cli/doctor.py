"""``advvid doctor``: what this machine has, how fast it decodes and attacks, and which options suit it."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from rich.console import Console

import advvid.data
from advvid.attacks.pgd import PGD
from advvid.core.files import existing
from advvid.core.installed import installed
from advvid.core.paths import cache_dir
from advvid.data.decoders import ON_GPU, candidates, decodes_on_gpu, open_reader
from advvid.data.loader import MOST_WORKERS, cores
from advvid.distributed.micro_batches import free_bytes
from advvid.models.r3d_tiny import R3DTiny

# Clips that are decoded and attacked: as the embedded data has them.
FRAMES, SIDE, BATCH, STEPS = 8, 32, 16, 10
GIB = 2**30
# A decoded-clip cache is worth its place only where this much stays free.
ROOM_FOR_CACHE = 20 * GIB


def main() -> int:
    """Look at the machine, measure for a few seconds, and say what suits it."""
    parser = argparse.ArgumentParser(prog="advvid doctor", description=(__doc__ or "").replace("``", ""))
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    options = parser.parse_args()
    console = Console(highlight=False)
    for name, said in lines(torch.device("cuda" if torch.cuda.is_available() else "cpu"), options.seconds):
        console.print(f"{name:<10} {said}", soft_wrap=True, markup=False)
    return 0


def lines(device: torch.device, seconds: float) -> Iterator[tuple[str, str]]:
    """Yield each line as a name and what there is to say; the last one is the options that suit.

    Args:
        device: to compute on.
        seconds: of each measurement.
    """
    on_gpu, free = device.type == "cuda", free_bytes(device)
    memory = "memory unknown" if free is None else f"{free / GIB:.1f} GiB free"
    yield "GPU", f"{torch.cuda.get_device_name(device)}, {memory}" if on_gpu else f"none; {cores()} CPU cores, {memory}"
    yield "precision", _precisions(on_gpu)
    hardware = f" (with dataset.workers=0 this GPU's own, {ON_GPU})" if decodes_on_gpu() else ""
    yield (
        "decoders",
        f"{', '.join(candidates('auto'))}; dataset.decoder=auto takes the first that reads a file{hardware}",
    )
    program = shutil.which("ffmpeg")
    yield "FFmpeg", f"{program or 'no program'}; {_versions('av')} (encodes by itself), {_versions('torchcodec')}"
    room = shutil.disk_usage(existing(cache_dir())).free
    yield (
        "disk",
        f"{shutil.disk_usage('.').free / GIB:.0f} GiB free here, {room / GIB:.0f} GiB in the cache {cache_dir()}",
    )
    yield "W&B", _wandb()
    yield "SLURM", _slurm()
    decoded = decoding_speed(seconds)
    yield (
        "decoding",
        f"{decoded:.0f} clips/s a core ({FRAMES} frames of advvid's own videos)" if decoded else "not measured",
    )
    attacked = attack_speed(device, seconds)
    yield "attack", f"{attacked:.1f} clips/s (PGD-{STEPS}, r3d_tiny, {BATCH} clips of {FRAMES} x {SIDE} x {SIDE}, fp32)"
    yield "choose", recommended(device, decoded, attacked, room)


def recommended(device: torch.device, decoded: float, attacked: float, room: float) -> str:
    """Return the options that suit a machine, as they are written on the command line of a run on videos.

    Args:
        device: to compute on.
        decoded: clips a core decodes in a second; 0 where that is not known.
        attacked: clips attacked in a second.
        room: bytes free where decoded clips are kept.

    Example:
        >>> recommended(torch.device("cpu"), decoded=100, attacked=10, room=0)
        'runtime=cpu dataset.workers=1 runtime.precision=fp32 schedule.batch_size=16 dataset.cache=null'
    """
    on_gpu = device.type == "cuda"
    # Loader processes that keep up with an attacked model; a core is left to it.
    needed = 1 + int(attacked / decoded) if decoded else MOST_WORKERS
    workers = max(1, min(MOST_WORKERS, max(1, cores() - 1), needed))
    several = on_gpu and torch.cuda.device_count() > 1
    words = {
        "runtime": "ddp" if several else "gpu" if on_gpu else "cpu",
        "dataset.workers": workers,
        "runtime.precision": "bf16" if on_gpu and torch.cuda.is_bf16_supported() else "fp32",
        "schedule.batch_size": 32 if on_gpu else BATCH,
        "dataset.cache": "auto" if room > ROOM_FOR_CACHE else "null",
    }
    return " ".join(f"{option}={value}" for option, value in words.items())


def decoding_speed(seconds: float) -> float:
    """Return how many clips of the videos that advvid brings are decoded in a second by one process; 0 where none can be."""
    videos = sorted((Path(advvid.data.__file__).parent / "bed_fall").rglob("*.mp4"))
    if not videos:
        return 0.0

    def decode() -> int:
        reader = open_reader(videos[0], "auto")
        reader.get(list(range(0, min(reader.frames, 2 * FRAMES), 2)))
        return 1

    return _speed(decode, seconds)


def attack_speed(device: torch.device, seconds: float) -> float:
    """Return how many clips are attacked in a second."""
    model = R3DTiny(10).to(device).eval()
    clips = torch.rand(BATCH, 3, FRAMES, SIDE, SIDE, device=device)
    labels, attack = torch.zeros(BATCH, dtype=torch.int64, device=device), PGD(steps=STEPS, early_exit=False)

    def once() -> int:
        return len(attack.run(model, clips, labels).steps.tolist())  # reading them waits for the GPU

    return _speed(once, seconds)


def _speed(work: Callable[[], int], seconds: float) -> float:
    work()  # the first time is no measure
    count, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds or not count:
        count += work()
    return count / spent if spent else 0.0


def _precisions(on_gpu: bool) -> str:
    if not on_gpu:
        return "fp32; bf16 works on a CPU and is faster only on those made for it"
    tf32 = torch.cuda.get_device_capability()[0] >= 8
    half = "bf16, fp16" if torch.cuda.is_bf16_supported() else "fp16 (no bf16)"
    return f"fp32, {half}{', TF32 (runtime.tf32=true)' if tf32 else ''}"


def _wandb() -> str:
    key = "WANDB_API_KEY" in os.environ or "api.wandb.ai" in _text(Path.home() / ".netrc")
    return f"{_versions('wandb')}; {'logged in' if key else 'not logged in: runs are kept offline'}"


def _slurm() -> str:
    if job := os.environ.get("SLURM_JOB_ID"):
        return f"inside job {job}"
    return "sbatch is there: hydra/launcher=slurm" if shutil.which("sbatch") else "none"


def _versions(package: str) -> str:
    return f"{package} {installed([package]).get(package, 'not installed')}"


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


if __name__ == "__main__":
    raise SystemExit(main())
