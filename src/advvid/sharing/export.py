"""Turns a finished run into a folder for others: weights, configuration, table, model card, claim and sums.

advvid export outputs/mine --to shared/mine
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.text import Text

from advvid.config.command_line import PATHS
from advvid.config.instantiate import safe_instantiate
from advvid.core import checkpoint, digests, exported, files
from advvid.core.errors import AdvvidError
from advvid.core.escape import all_visible, visible
from advvid.core.plain import read_yaml
from advvid.evaluation.robustness import JSON, SAMPLES, RobustnessTable
from advvid.evaluation.table_file import read_table, table_of
from advvid.evaluation.tally import has_verdicts, read_samples
from advvid.models.rebuild import rebuild
from advvid.sharing import card
from advvid.sharing.claim import CLAIM, Claim, sha256, told_parts, unions_of

SUMS = "SHA256SUMS"
# Options that are places and name nothing that a number rests on.
NOWHERE = ("cache", "files")


def export(run: Path, to: Path, name: str | None = None, licence: str | None = None) -> Claim:
    """Write a finished run as a folder that others can load and verify.

    Of paths in the configuration the last part alone is kept, and no clip is written.

    Args:
        run: its folder, with a table; its weights lie there, or in the run that it scored.
        to: the folder to make.
        name: of the model; None for the run's own.
        licence: of the weights, as Hugging Face's hub names it, such as ``mit``.

    Returns:
        what the folder claims.

    Raises:
        AdvvidError: if the run has no table or no weights, they do not belong together, it was scored in Python, nothing in it
            is right or wrong, or ``to`` holds
            something already.

    Example:
        >>> export(Path("outputs/mine"), Path("shared/mine")).table["union"].said           # doctest: +SKIP
    """
    if os.path.lexists(to) and (not to.is_dir() or any(to.iterdir())):
        raise AdvvidError(f"{to} holds something already: choose another folder for --to")
    if not (run / JSON).is_file():
        raise AdvvidError(f"{run} has no {JSON}: score it first, as in advvid eval checkpoint={run}")
    table, samples = read_table(run / JSON), read_samples(run / SAMPLES)
    if not has_verdicts(samples):
        raise AdvvidError(f"{run} has no right and wrong answers, of which a claim is: export a run of a classifier")
    _require_command_line(run, table)
    source = _source(run, table.config)
    state = checkpoint.load_run(source)
    _require_own(table, state, source)
    plain = without_places(table.plain())
    claim = Claim(
        name=all_visible(name or str(table.config.get("name", run.resolve().name))),
        parts=told_parts(table.config["choices"]),
        weights="0" * 64,
        clips=str(table.identity["clips"]),
        table=dataclasses.replace(table_of(plain, JSON), config={}, identity={}),
        unions=unions_of(table, samples),
        command=f"advvid verify {shlex.quote(to.name)}{_data_options(plain['config'])}",
        made_by=_made_by(run),
        files={},
    )
    with files.replacing_folder(to) as folder:
        exported.write(folder, checkpoint.weights(state), plain["config"], state["classes"])
        files.write_json(folder / JSON, plain)
        files.write_bytes(folder / SAMPLES, (run / SAMPLES).read_bytes())
        sums = {path.name: sha256(path) for path in sorted(folder.iterdir())}
        claim = dataclasses.replace(claim, weights=sums[exported.WEIGHTS], files=sums)
        files.write_json(folder / CLAIM, claim.plain())
        files.write_text(folder / card.CARD, card.card(claim, licence))
        lines = [f"{sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
        files.write_text(folder / SUMS, "".join(lines))
    return claim


def _require_command_line(run: Path, table: RobustnessTable) -> None:
    """Refuse a table of ``advvid.evaluate``, which names no configuration that makes its network and data again."""
    if "dataset" in table.config:
        return
    suite = table.config.get("choices", {}).get("suite")
    told = f"{run} was scored by advvid.evaluate, which writes neither weights nor what makes the network and the data again"
    if isinstance(suite, str):
        words = f"suite={suite} seed={table.config.get('seed', 0)}"
        again = f"advvid eval checkpoint=RUN {words} gives the same numbers for a run's network, and advvid train model=... "
        again += f"model.checkpoint=WEIGHTS schedule.epochs=0 {words} for one of your own, each with a folder to export"
    else:
        again = "name its attacks in a suite of your own (docs/how-to/own-parts.md) and score it from the command line"
    raise AdvvidError(visible(f"{told}: {again}"))


def _source(run: Path, config: Mapping[str, Any]) -> Path:
    """Return the checkpoint that a run's table was measured on."""
    which = "best" if config.get("schedule", {}).get("select") == "best" else "last"
    scored = config.get("checkpoint")
    if scored is None:
        return checkpoint.find(run, which)  # type: ignore[arg-type]
    if not Path(str(scored)).exists():
        raise AdvvidError(f"{run} scored {scored}, which is not there: export from the folder that it was started in")
    return checkpoint.find(str(scored), which)  # type: ignore[arg-type]


def _require_own(table: RobustnessTable, state: Mapping[str, Any], source: Path) -> None:
    """Refuse weights that a table was not measured on, as far as its digest tells without data and a second machine."""
    config = OmegaConf.create(dict(table.config))
    runtime = table.config.get("runtime", {})
    told = table.identity.get("model")
    if not isinstance(told, str) or not isinstance(table.identity.get("clips"), str):
        raise AdvvidError(
            f"the table beside {source} does not say what it rests on: score the run again with mode=eval"
        )
    # Of a model behind purifiers, compiled or changed for several GPUs the digest is another one.
    if config.get("purifier") or config.get("detector") or runtime.get("compile") or runtime.get("sync_batchnorm"):
        return
    data: Any = safe_instantiate(config.dataset)
    model = rebuild(state, source, data.clip_shape, data.views)
    if digests.of_module(model) != told:
        raise AdvvidError(f"the table was measured on other weights than {source} holds: score it again with mode=eval")


def without_places(value: Any, option: str = "") -> Any:
    """Return plain values in which paths are names: where something lies on a machine is nobody's business."""
    if isinstance(value, Mapping):
        return {key: without_places(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(item, option) for item in value]
    if option not in PATHS or not isinstance(value, str):
        return value
    return None if option in NOWHERE else Path(value).name


def _data_options(config: Mapping[str, Any]) -> str:
    """Return the options by which whoever verifies says where the data lie."""
    dataset = config.get("dataset", {})
    given = [f"dataset.{key}" for key in ("root", "splits", "path") if dataset.get(key)]
    given += ["model.path"] if config.get("model", {}).get("path") else []
    return "".join(f" {option}=PATH" for option in given)


def _made_by(run: Path) -> str:
    """Return the command line of a run, as its folder tells it."""
    path = run / ".hydra" / "overrides.yaml"
    words = read_yaml(path) if path.is_file() else None
    if not isinstance(words, list):
        return ""
    return " ".join(["advvid train", *(_shown(str(word)) for word in words)])


def _shown(word: str) -> str:
    """Return an override as it may be shown: of a path its name alone."""
    option, _, value = word.partition("=")
    bare = value.strip("'\"")
    name = Path(bare).name if option.rpartition(".")[2] in PATHS and "/" in bare else value
    return all_visible(shlex.quote(f"{option}={name}"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="advvid export",
        description="Write a finished run as a folder that others can load and verify: weights as safetensors, configuration, "
        "table, model card, claim, and the SHA-256 of every file.",
        epilog="example: advvid export outputs/mine --to shared/mine --license mit",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run with a table (robustness.json)")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="the folder to make")
    parser.add_argument("--name", help="of the model, on its card (the run's own name)")
    parser.add_argument("--license", help="of the weights, as Hugging Face's hub names it, such as mit")
    options = parser.parse_args(arguments)
    try:
        claim = export(options.run, options.to, options.name, options.license)
    except AdvvidError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    console, union = Console(highlight=False), claim.table.union
    said = f"; right under every attack: {union.said} percent" if union is not None else ""
    console.print(Text(f"Written: {options.to}, {len(claim.files) + 3} files{said}"), soft_wrap=True)
    console.print(Text(f"Others check it with: {claim.command}"), soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
