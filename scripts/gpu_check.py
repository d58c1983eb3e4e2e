"""Prove and measure advvid on a GPU in one go: what runs, how fast, how often the host waits, and how much memory it takes.

    python scripts/gpu_check.py --out gpu_check.json          # on one GPU, 8 minutes at most
    python scripts/gpu_check.py --device cpu                   # every attack and defense, in small; its speeds mean nothing
    python scripts/gpu_check.py --device cpu --tiny            # does the script itself run? a minute

A part that fails is told and the others go on; what there is no time left for is named, and at the end stands what was missed.
``tests/gpu`` counts the same waits without a GPU; here ``torch.cuda.set_sync_debug_mode`` does. Run it from the repository,
whose tests it takes the small models and budgets from. torchattacks is compared with where it is installed.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate

from advvid.attacks.transfer import Transfer
from advvid.core.batch import clip_generators
from advvid.core.later import later
from advvid.data.coming import Coming
from advvid.data.loader import Feed, train_batches
from advvid.data.prefetch import prefetch
from advvid.distributed.runtime import Runtime
from benchmarks import rivals, training
from benchmarks.measure import Setup, clock, interleave, peak, reset_peak, speed_ratio
from benchmarks.networks import SHAPE, TINY, answers, composed, noise, untrained

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.synchronisations import ATTACKS, QUERIES, SHORT, STEPS, budget, tiny_runs, world

Found = dict[str, Any]
# An aim, as it stands in a figure's name.
AIM = re.compile(r"at (least|most) ([\d.]+)")


@dataclass
class Check:
    """What a check is told.

    Args:
        setup: of the measurements.
        small: small networks and clips, as a CPU takes them.
        few: a few attacks and defenses, to see that they run.
        until: seconds of the clock at which no further piece begins.
        folder: for the runs.
    """

    setup: Setup
    small: bool
    few: bool
    until: float
    folder: Path

    @property
    def over(self) -> bool:
        """Whether there is no time for a further piece."""
        return time.monotonic() > self.until

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return self.setup.device

    def each(self, names: Sequence[str], chosen: Sequence[str]) -> Iterator[str]:
        """Yield names while there is time, only the chosen ones where few will do.

        Raises:
            TimeoutError: naming those that there was no time for.
        """
        wanted = list(chosen if self.few else names)
        for number, name in enumerate(wanted):
            if self.over:
                raise TimeoutError(f"no time was left for {', '.join(wanted[number:])}")
            yield name


@contextmanager
def waits(device: torch.device) -> Iterator[list[str]]:
    """Collect what makes the host wait for the GPU within a block; nothing on a CPU."""
    found: list[str] = []
    if device.type != "cuda":
        yield found
        return
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            yield found
    finally:
        torch.cuda.set_sync_debug_mode("default")
    found += [f"{Path(w.filename).name}:{w.lineno}" for w in said if "synchroniz" in str(w.message)]


def steps(check: Check) -> Iterator[tuple[str, Found]]:
    """AT with PGD-10: ours and the floor of bare passes in bf16 with TF32 and channels last, and a plain fp32 loop."""
    names = ("r3d_tiny",) if check.small else ("r3d_18", "slow_r50", "resnext3d_101")
    for name in names:
        shape, batch, inner = (TINY, 2, 2) if check.small else (SHAPE, 16, 10)
        case = training.Case(name, shape, batch, inner, "embedded" if check.small else "kinfu", 3)
        quick, last = Runtime(device="auto" if check.setup.gpu else "cpu", precision="bf16", tf32=check.setup.gpu), True
        made: dict[str, Callable[[], object]] = {
            "plain": training.plain(case, check.setup),
            "ours fp32": training.ours(case, check.setup, training.defaults(check.setup)),
            "ours": training.ours(case, check.setup, quick, last),
            "floor": training.floor(case, check.setup, quick, last),
        }
        with later(check.setup.gpu):
            times = interleave(made, 1 if check.few else 3, check.device)
            with waits(check.device) as found:
                made["ours"]()
            memory = {}
            for which in ("plain", "ours"):
                before = reset_peak(check.device)
                made[which]()
                memory[which] = peak(check.device) - before
        yield (
            name,
            {
                "clips per second": {key: batch * len(t) / sum(s for s in t if s) for key, t in times.items()},
                "ours / plain (at least 3)": speed_ratio(times, "ours", "plain")["median"],
                "floor / ours (at most 1.15)": speed_ratio(times, "floor", "ours")["median"],
                "waits of a step": len(found),
                "peak MiB": memory,
            },
        )


def pgd(check: Check) -> Iterator[tuple[str, Found]]:
    """PGD-100 at equal work against torchattacks and the bare passes, fp32."""
    name, shape, batch, most = ("r3d_tiny", TINY, 2, 3) if check.small else ("r3d_18", SHAPE, 16, 100)
    model, clips, search = untrained(name, check.device, shape), noise(batch, check.device, shape), rivals.Search(most)
    labels = answers(model, clips)
    made = {"ours": rivals.ours(model, search), "floor": rivals.floor(model, search)}
    with suppress(ImportError):  # the result then names two
        made["torchattacks"] = rivals.torchattacks(model, search)
    runs = {key: partial(attack, clips, labels) for key, attack in made.items()}
    times = interleave(runs, 1 if check.few else 3, check.device)
    yield name, {f"ours / {key}": speed_ratio(times, "ours", key)["median"] for key in made if key != "ours"}


def attacks(check: Check) -> Iterator[tuple[str, Found]]:
    """Every attack of conf/attack on one batch: it runs there, and waits no more often than the budget allows."""
    allowed = budget()["attack"]
    for name in check.each(ATTACKS, ("pgd", "square", "fab")):
        attack = instantiate(composed(f"attack={name}").attack, _convert_="all")
        few = {key: most for key, most in (("steps", STEPS), ("queries", QUERIES)) if getattr(attack, key, 0) > most}
        attack, (model, batch) = attack.adjusted(**few), world()
        model, batch = model.to(check.device), batch.to(check.device)
        for _ in range(2 if isinstance(attack, Transfer) else 1):  # whose network is uploaded with the first batch
            with waits(check.device) as found:
                result = attack.run(model, batch.inputs, batch.target, clip_generators(0, "column", batch.ids))
        inside = bool(attack.threat.contains(result.x_adv, batch.inputs, result.aux).all())
        yield (
            name,
            {"inside": inside, "waits": len(found), "allowed": allowed.get(name, [None] * 2)[1], "at": found[:3]},
        )


def defenses(check: Check) -> Iterator[tuple[str, Found]]:
    """An epoch of every defense of conf/defense on a tiny network, its prerequisites included."""
    for name in check.each(tiny_runs.NAMES, ("none", "at")):
        fabric = Runtime(device="gpu" if check.setup.gpu else "cpu").fabric()
        seconds = clock(partial(tiny_runs.run, name, check.folder / name, *SHORT, fabric=fabric), check.device)
        yield name, {"seconds": seconds}


def feeding(check: Check) -> Iterator[tuple[str, Found]]:
    """The share of a training's time in which it waits for clips of real files (advvid's own), after a first epoch."""
    size, frames, limit, batch = (32, 4, 12, 4) if check.small else (112, 16, 120, 8)
    settings = (f"dataset.size={size}", f"dataset.frames={frames}", "dataset.stride=4", f"dataset.limit_train={limit}")
    workers = 1 if check.small else "auto"
    data = instantiate(composed("dataset=bed_fall", *settings).dataset)
    data.coming = Coming(epochs=10)  # so that decoded frames are kept
    data.prepare()
    split = data.split("train")
    model = untrained("r3d_tiny" if check.small else "r3d_18", check.device, (3, frames, size, size), len(data.classes))
    attack, waited = rivals.ours(model, rivals.Search(2 if check.small else 10)), 0.0
    with Feed([split], workers) as feed:
        for epoch in range(2):
            waited, began = 0.0, time.perf_counter()
            walk = prefetch(train_batches(split, batch, 0, epoch, workers=feed), check.device)
            while True:
                asked = time.perf_counter()
                found = next(walk, None)
                waited += time.perf_counter() - asked
                if found is None:
                    break
                here = found.to(check.device)
                attack(here.inputs, here.target).sum().item()  # reading it waits for the GPU
            whole = time.perf_counter() - began
    yield "bed_fall", {"waits for data (at most 0.05 of the time)": waited / whole, "clips per second": limit / whole}


PARTS: dict[str, Callable[[Check], Iterator[tuple[str, Found]]]] = {
    "steps": steps,
    "pgd": pgd,
    "feeding": feeding,
    "attacks": attacks,
    "defenses": defenses,
}


def rounded(value: Any) -> Any:
    """Return figures with three digits."""
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    return float(f"{value:.3g}") if isinstance(value, float) else value


def missed(found: Found, gpu: bool) -> list[str]:
    """Return in words what was not reached: aims that stand in a figure's name, waits above the budget, what lay outside.

    Example:
        >>> missed({"pgd": {"r3d_18": {"ours / plain (at least 3)": 2.0}}}, True)
        ['pgd r3d_18: ours / plain (at least 3) is 2.0']
    """
    told = []
    for part, results in found.items():
        for name, figures in results.items() if isinstance(results, dict) else ():
            if not isinstance(figures, dict):
                told.append(f"{part}: {figures}")  # what failed
                continue
            if figures.get("inside") is False:
                told.append(f"{part} {name}: clips outside the budget")
            if gpu and figures.get("allowed") is not None and figures["waits"] > figures["allowed"]:
                told.append(f"{part} {name}: {figures['waits']} waits, {figures['allowed']} are allowed")
            for figure, value in figures.items() if gpu else ():
                aim = AIM.search(figure)
                low = aim is not None and aim[1] == "least"
                if aim is not None and (value < float(aim[2]) if low else value > float(aim[2])):
                    told.append(f"{part} {name}: {figure} is {value}")
    return told


def carry_out(check: Check, names: Sequence[str], out: Path | None) -> Found:
    """Do the parts in turn, tell each result as it comes, and return all; the file is written after each."""
    found: Found = {}
    for part in names:
        if check.over:
            found[part] = "no time was left"
            continue
        here: Found = found.setdefault(part, {})
        try:
            for name, result in PARTS[part](check):
                result = here[name] = rounded(result)
                sys.stdout.write(f"{part} {name}: {json.dumps(result)}\n")
                sys.stdout.flush()
        except Exception as error:  # noqa: BLE001 - whatever failed, the other parts are measured
            here["failed"] = f"{type(error).__name__}: {error}"
            sys.stdout.write(f"{part} failed: {here['failed'][:500]}\n")
        if out is not None:
            out.write_text(json.dumps(found, indent=1) + "\n")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the parts; the exit status is 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="the smallest of everything, to see that it runs")
    parser.add_argument("--minutes", type=float, default=7.5, help="after which no further piece begins")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--out", type=Path, help="file for all results, as JSON")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU: choose --device cpu")
    with tempfile.TemporaryDirectory() as folder:
        place, device = Path(folder), torch.device(options.device)
        setup = Setup(device, torch.get_num_threads(), options.tiny, place, place)
        small, until = options.tiny or not setup.gpu, time.monotonic() + 60 * options.minutes
        check = Check(setup, small, options.tiny, until, place)
        found = carry_out(check, options.only, options.out)
    wrong = missed(found, setup.gpu)
    sys.stdout.write("".join(f"missed: {line}\n" for line in wrong) or "nothing was missed\n")
    if not setup.gpu:
        sys.stdout.write("on a CPU, and in small: speeds and waits are a GPU's affair and are not judged here\n")
    return int(any("failed" in part for part in found.values()))


if __name__ == "__main__":
    sys.exit(main())
