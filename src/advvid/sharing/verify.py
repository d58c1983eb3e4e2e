"""Verifies an exported folder: its files agree, and the model, attacked again, answers the same on every clip.

advvid verify shared/mine dataset.root=/data/UCF-101
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import open_dict
from rich.console import Console
from rich.text import Text

from advvid.config.command_line import PATHS, as_typed
from advvid.config.composed import composed_with_choices
from advvid.config.trust import trust_as_typed
from advvid.core import checkpoint, files
from advvid.core.errors import AdvvidError
from advvid.core.escape import visible
from advvid.core.option_parts import ROUNDING, part_of
from advvid.core.paths import user_path
from advvid.evaluation.results import versions
from advvid.evaluation.robustness import JSON, SAMPLES, RobustnessTable
from advvid.evaluation.table_file import read_table
from advvid.evaluation.tally import Samples, read_samples
from advvid.experiment.run import run
from advvid.experiment.saved import adopt, with_saved_choices
from advvid.sharing.claim import CLAIM, sha256
from advvid.sharing.folder import Finding, Folder, findings, limits, read_folder

RESULT = "verification.json"
FORM = 1
# What an evaluation does not take over from a checkpoint by itself, but a claim rests on.
FRONT = ("purifier", "detector", "postprocess")
# What whoever verifies may say: where things lie, whom to trust and how to compute; the rest is claimed.
FREE = ("trust", "runtime", "dataset.workers", "dataset.cache", "evaluation.batch_size")
MOST_NAMES, LONGEST = 5, 200


@dataclass(frozen=True)
class Verification:
    """What was found.

    Args:
        claim: SHA-256 of the claim that was verified.
        findings: what was compared, in order.
        attacked: clips that were attacked again; 0 where the files alone were compared.
        of: clips of the claim.
        differing: clips whose prediction differs, by column.
    """

    claim: str
    findings: Sequence[Finding]
    attacked: int
    of: int
    differing: Mapping[str, int]

    @property
    def same(self) -> bool:
        """Whether everything that was compared is as claimed."""
        return all(finding.same for finding in self.findings)

    def plain(self) -> dict[str, Any]:
        """Return the content of ``verification.json``."""
        return {"advvid_verification": FORM, "same": self.same, **asdict(self), "versions": versions()}


def verify(
    folder: Path,
    out: Path,
    overrides: Sequence[str] = (),
    *,
    clips: int | None = None,
    allow: int = 0,
    attack: bool = True,
) -> Verification:
    """Compare an exported folder with itself and with a new evaluation of its weights.

    Args:
        folder: that ``advvid export`` wrote; nothing in it is executed, and nothing is written into it.
        out: where the new evaluation and ``verification.json`` go; a second call goes on there.
        overrides: where the data lie and how to compute, such as ``dataset.root=/data/UCF-101``.
        clips: attack so many, round-robin over the classes; None for all.
        allow: clips of each column whose prediction may differ, besides those that hang on less than 1e-4.
        attack: whether to attack at all.

    Raises:
        AdvvidError: if the folder or the data cannot be read, or an override would change what is claimed.
    """
    _require_free(overrides)
    theirs = read_folder(folder)
    if out.resolve().is_relative_to(folder.resolve()):
        raise AdvvidError(f"--out {out} lies in the folder that is verified: choose another one")
    found, attacked = findings(theirs), 0
    differing: dict[str, int] = {}
    if attack and all(finding.same for finding in found):  # else it is settled already, at no cost
        files.make_folder(out)
        _evaluate(theirs, out, overrides, clips)
        table, samples = read_table(out / JSON), read_samples(out / SAMPLES)
        found += [_data(theirs, table, samples, clips), _model(theirs, table), _attacks(theirs, table)]
        finding, differing = _predictions(theirs, table, samples, allow)
        found, attacked = [*found, finding], len(samples)
    made = Verification(sha256(folder / CLAIM), found, attacked, len(theirs.samples), differing)
    files.write_json(out / RESULT, made.plain())
    return made


def _require_free(overrides: Sequence[str]) -> None:
    for word in overrides:
        option, equals, _ = word.partition("=")
        last = option.rpartition(".")[2]
        free = option in FREE or part_of(option) == ROUNDING or (part_of(option) or "") == "processes" or last in PATHS
        if not equals or option.startswith(("-", "+", "~")) or not free:
            raise AdvvidError(
                f"{word} would change what is claimed, or is no option: say where things lie (dataset.root=...), whom to trust, "
                "and how to compute (runtime=...)"
            )


def _evaluate(theirs: Folder, out: Path, overrides: Sequence[str], clips: int | None) -> None:
    """Evaluate the weights as the claim's configuration says; cells that are there already are used."""
    limit = [] if clips is None else [f"dataset.limit_test={clips}"]
    given = ["mode=eval", f"checkpoint={theirs.place}", "tracker=none", "evaluation.pictures=0", *limit, *overrides]
    words = as_typed(with_saved_choices(given))
    cfg, choices = composed_with_choices(words)
    trust_as_typed(cfg.get("trust"), words)
    cfg, choices = adopt(cfg, choices, words)
    saved = checkpoint.load_run(checkpoint.find(theirs.place))["config"]
    with open_dict(cfg):
        for part in FRONT:
            cfg[part] = saved.get(part)
            choices[part] = saved["choices"].get(part, "")
        cfg.evaluation.pictures = 0
        for option in ("precision", "tf32"):
            if option in saved.get("runtime", {}):
                cfg.runtime[option] = saved["runtime"][option]
    run(cfg, out, choices)


def _data(theirs: Folder, table: RobustnessTable, samples: Samples, clips: int | None) -> Finding:
    """Compare the clips: their content as a whole, or where a part was attacked their names and labels."""
    labels = {sample["id"]: sample["label"] for sample in theirs.samples}
    own = {sample["id"]: sample["label"] for sample in samples}
    strange = [name for name in own if name not in labels]
    missing = [] if clips is not None else [name for name in labels if name not in own]
    moved = [name for name in own if name in labels and own[name] != labels[name]]
    for names, what in ((strange, "are not in the claim"), (missing, "are missing"), (moved, "have another label")):
        if names:
            return Finding("data", False, f"another data set: {len(names)} clips {what}, such as {_few(names)}")
    if len(own) < len(labels):
        return Finding("data", True, f"names and labels of {len(own)} of {len(labels)} clips as claimed")
    if table.identity.get("clips") == theirs.claim.clips:
        return Finding("data", True, f"the content of all {len(own)} clips as claimed")
    read = (
        f" (read by {_decoders(table)}, claimed is {_decoders(theirs.table)})"
        if table.read_by != theirs.table.read_by
        else ""
    )
    return Finding(
        "data", False, f"another data set: names and labels are the same, but not the content of the clips{read}"
    )


def _model(theirs: Folder, table: RobustnessTable) -> Finding:
    same = table.identity.get("model") == theirs.table.identity.get("model")
    return Finding(
        "model", same, "architecture and weights as in the table" if same else f"not the model that {JSON} was made of"
    )


def _attacks(theirs: Folder, table: RobustnessTable) -> Finding:
    """Compare what each attack was allowed, which a table could state otherwise than its configuration has it."""
    claimed, own = limits(theirs.table), limits(table)
    odd = [name for name in sorted({*claimed, *own}) if claimed.get(name) != own.get(name)]
    said = f"budgets and settings of {len(own)} columns as claimed"
    return Finding("attacks", not odd, f"other budgets or settings than claimed: {_few(odd)}" if odd else said)


def _predictions(
    theirs: Folder, table: RobustnessTable, samples: Samples, allow: int
) -> tuple[Finding, dict[str, int]]:
    """Compare clip by clip what the model answers, without an attack and under each."""
    claimed = {sample["id"]: sample for sample in theirs.samples}
    pairs = [(sample, claimed[sample["id"]]) for sample in samples if sample["id"] in claimed]
    odd = {"clean": [new["id"] for new, old in pairs if new["clean"] != old["clean"]]}
    for name in theirs.table.columns:
        odd[name] = [new["id"] for new, old in pairs if _answer(new, name) != _answer(old, name)]
    # Of the new table alone: with the claimed one its owner could excuse any number of clips.
    close = {name: table[name].near_ties or 0 for name in odd if name in table.scores}
    wrong = {name: ids for name, ids in odd.items() if len(ids) > allow + close.get(name, 0)}
    differing = {name: len(ids) for name, ids in odd.items() if ids}
    if not wrong:
        few = ", ".join(f"{count} of {name}" for name, count in differing.items())
        told = f"; within what is allowed differ: {few}" if few else ""
        return Finding(
            "predictions", bool(pairs), f"{len(pairs)} clips under {len(odd)} columns answered as claimed{told}"
        ), differing
    said = "; ".join(
        f"{name}: {len(ids)} of {len(pairs)} differ, such as {_few(ids)}"
        for name, ids in list(wrong.items())[:MOST_NAMES]
    )
    own, old = versions(), theirs.table.versions
    others = [f"{name} {own[name]} ({old[name]})" for name in own if name in old and old[name] != own[name]]
    why = f"; other versions here than claimed: {', '.join(others)}" if others else ""
    return Finding("predictions", False, said + why), differing


def _answer(sample: Mapping[str, Any], column: str) -> Any:
    return sample["attacks"].get(column, {}).get("pred", "none")


def _decoders(table: RobustnessTable) -> str:
    return ", ".join(table.read_by) or "no decoder"


def _few(names: Sequence[str]) -> str:
    return ", ".join(visible(name)[:LONGEST] for name in names[:3]) + (", ..." if len(names) > 3 else "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 where everything is as claimed, 1 where not."""
    parser = argparse.ArgumentParser(
        prog="advvid verify",
        description="Compare an exported folder with itself, attack its model again, and compare each clip's prediction.",
        epilog="example: advvid verify shared/mine dataset.root=/data/UCF-101 --clips 50. A second call goes on where the "
        "first one stopped. Exit status: 0 as claimed, 1 not.",
    )
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="that advvid export wrote; nothing in it is executed"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="where the data lie, whom to trust, runtime=..."
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for the new evaluation (outputs/verify/<name>)")
    parser.add_argument("--clips", type=int, metavar="N", help="attack N clips only, round-robin over the classes")
    parser.add_argument("--allow", type=int, default=0, metavar="N", help="clips of each column that may differ (0)")
    parser.add_argument("--no-attack", action="store_true", help="compare the files alone")
    options = parser.parse_intermixed_args(arguments)
    try:
        folder = user_path(options.folder)
        out = options.out or Path("outputs") / "verify" / folder.resolve().name
        made = verify(
            folder, out, options.overrides, clips=options.clips, allow=options.allow, attack=not options.no_attack
        )
    except AdvvidError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    console = Console(highlight=False)
    for finding in made.findings:
        mark = ("same   ", "green") if finding.same else ("DIFFERS", "bold red")
        console.print(Text.assemble(mark, f"  {finding.name:<11}  {finding.said}"), soft_wrap=True)
    verdict = "as claimed" if made.same else "not as claimed"
    how = f"{made.attacked} of {made.of} clips attacked again" if made.attacked else "no clip attacked"
    console.print(Text(f"{verdict}; {how}; written: {out / RESULT}"), soft_wrap=True)
    return 0 if made.same else 1


if __name__ == "__main__":
    sys.exit(main())
