"""``python -m tests.check_costs``: what identity and checks cost in an evaluation of the embedded data, by processor time.

One process trains the default network for eight epochs (most clips are right then, so that there is something to attack) and
evaluates it by ``suite=quick``, twice: the first evaluation hashes the files, and their digests are kept. Of the second one,
the processor time inside the functions of identity and checks is set against the whole, from composing to the table. What a
threat itself measures of a clip (its distance, whether it is inside) is the evaluation, not counted as a check, and neither
is the embedded data's look at its own files.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from advvid.cli.main import main

# Modules whose work the numbers need for being trusted, not for being computed.
WATCHED = (
    "core.identity",
    "core.digests",
    "core.finite",
    "core.resuming",
    "core.run_folder",
    "data.content",
    "evaluation.behaviour",
    "evaluation.untouched",
    "evaluation.claims",
    "evaluation.worth",
)
NOT_A_CHECK = "(the threat's own measures within these)"
UNCOUNTED = ("core.digests.of_content",)  # called by the embedded data
COMMON = ["tracker=none", "runtime.threads=1", "runtime=cpu"]


class Account:
    """Seconds of processor time by function; of functions that call each other, the outermost one counts."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.within = False

    @contextmanager
    def on(self, name: str) -> Iterator[None]:
        """Count what happens in a block under a name."""
        outermost, self.within, began = not self.within, True, time.process_time()
        try:
            yield
        finally:
            if outermost:
                self.within = False
                self.seconds[name] += time.process_time() - began

    def uncounted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose time is taken off the account of whoever calls it."""

        @functools.wraps(function)
        def taken_off(*args: Any, **kwargs: Any) -> Any:
            if not self.within:
                return function(*args, **kwargs)
            self.within, began = False, time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.within = True
                self.seconds[NOT_A_CHECK] -= time.process_time() - began

        return taken_off

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Return a function that counts its own time."""

        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.on(name):
                return function(*args, **kwargs)

        return counted

    def timed_context(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """Return a context manager that counts its beginning and its end, not the block between."""

        @contextmanager
        @functools.wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Iterator[Any]:
            manager = function(*args, **kwargs)
            with self.on(name):
                value = manager.__enter__()
            error: tuple[Any, ...] = (None, None, None)
            try:
                yield value
            except BaseException:
                error = sys.exc_info()
                raise
            finally:
                with self.on(name):
                    manager.__exit__(*error)

        return counted


def watch(account: Account) -> None:
    """Put counting functions in place of those of the watched modules, wherever they were imported."""
    loaded = [module for name, module in sys.modules.items() if name.startswith("advvid.")]
    threats = {
        kind
        for module in loaded
        if module.__name__.startswith("advvid.threats.")
        for kind in vars(module).values()
        if inspect.isclass(kind)
    }
    for threat in threats:
        for method in {"contains", "distance"} & set(vars(threat)):
            setattr(threat, method, account.uncounted(vars(threat)[method]))
    for name in WATCHED:
        module = importlib.import_module(f"advvid.{name}")
        for key, value in list(vars(module).items()):
            if getattr(value, "__module__", "") != module.__name__ or inspect.isgeneratorfunction(value):
                continue
            if inspect.isfunction(value):
                is_context = inspect.isgeneratorfunction(inspect.unwrap(value))
                counted = (account.timed_context if is_context else account.timed)(value, f"{name}.{key}")
                for other in loaded:
                    if vars(other).get(key) is value:
                        setattr(other, key, counted)
            elif inspect.isclass(value):
                for method, member in list(vars(value).items()):
                    if inspect.isfunction(member) and not method.startswith("__"):
                        setattr(value, method, account.timed(member, f"{name}.{key}.{method}"))
                    elif isinstance(member, classmethod | staticmethod):
                        inner = account.timed(member.__func__, f"{name}.{key}.{method}")
                        setattr(value, method, type(member)(inner))


def carry_out(*words: str) -> None:
    """Carry out a command line in this process."""
    sys.argv = ["advvid", *words, *COMMON]
    main()


def measure() -> str:
    """Train, evaluate twice, and return the account of the second evaluation."""
    account = Account()
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        carry_out("train", "mode=train", "schedule.epochs=8", f"hydra.run.dir={run}")
        evaluate = ["eval", f"checkpoint={run}", "suite=quick", "evaluation.pictures=0"]
        carry_out(*evaluate, f"hydra.run.dir={folder}/first")
        watch(account)
        began = time.process_time()
        carry_out(*evaluate, f"hydra.run.dir={folder}/second")
        total = time.process_time() - began
    for name in UNCOUNTED:
        account.seconds.pop(name, None)
    inside = account.seconds.total()
    lines = [f"{seconds:8.3f} s  {name}" for name, seconds in account.seconds.most_common() if abs(seconds) > 2e-3]
    return "\n".join([*lines, f"{inside:.3f} of {total:.2f} s of processor time: {100 * inside / total:.2f} %"])


if __name__ == "__main__":
    sys.stdout.write(measure() + "\n")
