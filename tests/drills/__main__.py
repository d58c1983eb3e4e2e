"""``python -m tests.drills --count 200``: strike command lines at chance moments, go on, and compare with an uninterrupted run."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.drills.process import Ended, ForkedPopen, Strike, carry_out
from tests.drills.results import results
from tests.drills.scenarios import SMALL, TINY, Scenario, scenarios

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
FAULTS = ("lost", "different", "hung", "tracebacks")
# Strikes of one drill before it is let finish.
MOST = 3


@dataclass
class Drills:
    """The scenarios with what each gives when nobody disturbs it.

    Args:
        work: a folder for everything.
        seed: of every chance.
    """

    work: Path
    seed: int
    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    wholes: dict[str, tuple[dict[str, str], float, int]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Make the data and the trained run that all share."""
        self.base = self.work / "base"
        self._run(
            Scenario("", "base", ("mode=train", "defense=at", *SMALL, *TINY, "resume=true", "hydra.run.dir={folder}")),
            self.base,
        )
        self.files = sorted((self.work / "cache").glob("motion_0_*/videos/*/*_g01_c01.avi"))[:5]

    def whole(self, scenario: Scenario) -> tuple[dict[str, str], float, int]:
        """Return the results, the seconds and about how many steps of writing an undisturbed run has."""
        key = f"{scenario.mode} {scenario.name}"
        if key not in self.wholes:
            folder = self._place(scenario)
            ended = self._run(scenario, folder)
            found = results(folder)
            if ended.status != 0:
                raise SystemExit(f"{key} does not run undisturbed: {ended.said[-2000:]}")
            self.wholes[key] = found, ended.seconds, 3 * len(found)
            shutil.rmtree(folder)
        return self.wholes[key]

    def drill(self, scenario: Scenario, number: int) -> None:
        """Strike a scenario until a strike has ended it, let it finish, compare and count."""
        whole, seconds, writes = self.whole(scenario)
        chance = random.Random(f"{self.seed}/{scenario.mode}/{scenario.name}/{number}")
        folder, count, strikes = self._place(scenario), self.counts[scenario.mode], []
        count["drills"] += 1
        wanted, share = chance.randint(1, MOST), 1.0
        for _ in range(3 * MOST):
            at_write = chance.randint(1, max(2, round(share * writes))) if chance.random() < 0.5 else None
            strike = Strike(
                chance.choice(SIGNALS), chance.random() < 0.5, share * chance.uniform(0.02, 1.0) * seconds, at_write
            )
            ended = self._run(scenario, folder, strike)
            self._judge(scenario, ended, strike, count)
            if ended.status == 0:
                if strikes:
                    break
                # It was through before: begin anew, and strike sooner.
                shutil.rmtree(folder)
                share *= 0.6
                continue
            strikes.append(strike)
            count["strikes"] += 1
            if len(strikes) == wanted:
                break
        ended = self._run(scenario, folder)
        self._judge(scenario, ended, None, count)
        told = f"{scenario.mode}, {scenario.name} ({'; '.join(map(str, strikes))})"
        if ended.status != 0:
            count["lost"] += ended.status is not None
            print(f"LOST {told}\n{ended.said[-1500:]}", flush=True)
        else:
            found = results(folder)
            names = sorted(name for name in whole.keys() | found.keys() if whole.get(name) != found.get(name))
            if names:
                count["different"] += 1
                print(f"DIFFERENT {told}: {names[:6]}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)

    def _judge(self, scenario: Scenario, ended: Ended, strike: Strike | None, count: Counter[str]) -> None:
        where = f"{scenario.mode}, {scenario.name}, {strike}"
        if ended.status is None or ended.left:
            count["hung"] += 1
            print(f"HUNG {where}: {'processes are left' if ended.left else 'no end'}\n{ended.said[-1500:]}", flush=True)
        if "Traceback" in ended.said:
            count["tracebacks"] += 1
            print(f"TRACEBACK {where}\n{ended.said[-2500:]}", flush=True)

    def _place(self, scenario: Scenario) -> Path:
        # One place for all runs of a scenario: folders stand in results.
        return self.work / "runs" / f"{scenario.mode} {scenario.name}".replace(" ", "_")

    def _run(self, scenario: Scenario, folder: Path, strike: Strike | None = None) -> Ended:
        folder.mkdir(parents=True, exist_ok=True)
        cache = folder / "cache" if scenario.own_cache else self.work / "cache"
        files = f"[{','.join(map(str, getattr(self, 'files', [])))}]"
        words = [word.format(folder=folder, base=getattr(self, "base", ""), files=files) for word in scenario.words]
        log = self.work / "output.log"
        return carry_out(scenario.main(), words, {"ADVVID_CACHE": str(cache)}, log, strike)

    def table(self) -> str:
        """Return the counts as a table."""
        names = ("drills", "strikes", *FAULTS)
        rows = [(mode, *(count[name] for name in names)) for mode, count in self.counts.items()]
        total = ("together", *(sum(count[name] for count in self.counts.values()) for name in names))
        lines = [("mode", *names), *rows, total]
        return "\n".join(f"{line[0]:<22}" + "".join(f"{cell!s:>12}" for cell in line[1:]) for line in lines)


def quicken() -> None:
    """Import once what every drill needs, and make the embedded data smaller."""
    os.environ.update(OMP_NUM_THREADS="1", WANDB_MODE="offline")
    import torch

    torch.set_num_threads(1)
    import advvid.cli.listing
    import advvid.experiment.run
    import advvid.experiment.saved
    import advvid.studies.__main__
    import advvid.studies.work
    import advvid.train
    from advvid.data import motion

    motion.SPLITS = {"train": (3, range(8, 26)), "val": (1, range(26, 31)), "test": (1, range(1, 8))}
    forked: Any = SimpleNamespace(Popen=ForkedPopen, STDOUT=subprocess.STDOUT)
    advvid.studies.work.subprocess = forked


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out drills, print the table, and return 1 where anything went wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.drills", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="of drills; each strikes a command up to three times")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", metavar="MODE", help="such as train, evaluation, papers, or train/gat")
    options = parser.parse_args(arguments)
    mode, _, name = options.only.partition("/")
    chosen = [s for s in scenarios() if mode in ("", s.mode) and name in ("", s.name)]
    if not chosen:
        parser.error(f"--only {options.only}: choose from {', '.join(sorted({s.mode for s in scenarios()}))}")
    quicken()
    began = time.monotonic()
    # Every mode gets its share from the first drills on.
    by_mode: dict[str, list[Scenario]] = defaultdict(list)
    for scenario in chosen:
        by_mode[scenario.mode].append(scenario)
    with tempfile.TemporaryDirectory(prefix="drills") as folder:
        drills = Drills(Path(folder), options.seed)
        drills.prepare()
        for number in range(options.count):
            # Trainings, of which there are most, get every second one.
            modes = list(by_mode) if number % 2 or "train" not in by_mode else ["train"]
            some = by_mode[modes[number // 2 % len(modes)]]
            drills.drill(some[number // 2 // (1 if len(modes) == 1 else len(modes)) % len(some)], number)
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{number + 1} of {options.count}")
        print(drills.table())
        print(f"{time.monotonic() - began:.0f} s, seed {options.seed}")
    return int(any(count[name] for count in drills.counts.values() for name in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
