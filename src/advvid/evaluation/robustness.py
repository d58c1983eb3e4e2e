"""The robustness table as a type: what ``robustness.json`` holds, written and read in one place."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console, ConsoleOptions, RenderResult

from advvid.core import files
from advvid.core.errors import AdvvidError
from advvid.evaluation.cells import SAMPLES, write_samples
from advvid.evaluation.check_rules import Check
from advvid.evaluation.scores import ColumnScore, Score, Scores
from advvid.evaluation.table import ResultTable, robustness_table

SCHEMA = 1
JSON = "robustness.json"
MARKDOWN = "robustness.md"

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class RobustnessTable(Scores):
    """The scores of a model as the file ``robustness.json`` and as a table in a terminal and in a notebook.

    Example:
        >>> table = RobustnessTable(n=2, clean=Score(0.5, (0.1, 0.9)))
        >>> RobustnessTable.of(table.plain()) == table
        True
    """

    def plain(self) -> dict[str, Any]:
        """Return the content of ``robustness.json``; what is not known is left out."""
        return {"schema": SCHEMA, **_plain(dataclasses.replace(self, samples=()))}

    @classmethod
    def of(cls, content: Mapping[str, Any], samples: Sequence[Mapping[str, Any]] = ()) -> RobustnessTable:
        """Return the table of a ``robustness.json`` whose form was checked (``advvid.evaluation.table_file``)."""
        known = {f.name for f in dataclasses.fields(cls)} - {"samples"}
        values = {name: value for name, value in content.items() if name in known}
        for name in cls.SINGLE:
            if values.get(name) is not None:
                values[name] = _made(Score, values[name])
        for section in cls.SECTIONS:
            kind = Score if section == "types" else ColumnScore
            values[section] = {name: _made(kind, score) for name, score in (values.get(section) or {}).items()}
        values["checks"] = tuple(_check(check) for check in values.get("checks") or ())
        values["missing"] = tuple(values.get("missing") or ())
        return cls(**values, samples=samples)

    def save(self, folder: str | Path) -> Path:
        """Write ``robustness.json``, ``robustness.md`` and, where the records are held, ``samples.jsonl``; return the folder.

        Raises:
            AdvvidError: if the folder cannot be written.
        """
        place = Path(folder)
        files.make_folder(place)
        if self.samples:
            write_samples(place / SAMPLES, self.samples)
        files.write_text(place / MARKDOWN, self.to_markdown())
        files.write_json(place / JSON, self.plain())
        return place

    def to_markdown(self) -> str:
        """Return the table as a Markdown document."""
        return self._layout().markdown()

    def to_frame(self) -> Any:
        """Return a pandas DataFrame, a row per column: accuracy and interval in [0, 1], budget, access, cost.

        Raises:
            AdvvidError: if pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise AdvvidError("to_frame() needs pandas: pip install pandas, or use plain()") from None
        rows = []
        for name, score in self.scores.items():
            low, high = score.ci95 or (None, None)
            told = {
                key: getattr(score, key, None)
                for key in ("budget", "access", "max_distance", "gradient_calls", "seconds")
            }
            rows.append({"column": name, "acc": score.acc, "low": low, "high": high, "n": self.n, **told})
        return pandas.DataFrame(rows).set_index("column")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._layout()

    def __str__(self) -> str:
        console = Console(file=io.StringIO(), width=100, highlight=False)
        console.print(self)
        return console.file.getvalue()  # type: ignore[attr-defined]

    def _repr_html_(self) -> str:
        return self._layout().html()

    def _layout(self) -> ResultTable:
        choices = self.config.get("choices", {})
        name = self.config.get("name", "the model")
        return robustness_table([(str(choices.get("defense", name)), self)], title=f"Robustness of {name}")


def _made(kind: type[Kind], content: Mapping[str, Any]) -> Kind:
    """Return a score of plain values; what this version does not know is left out."""
    known = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in content.items() if key in known})


def _check(content: Any) -> Check:
    if isinstance(content, str):
        return Check("", True, content, "", "", "")
    names = [f.name for f in dataclasses.fields(Check)]
    return Check(**{"raised": True, **{name: "" for name in names if name != "raised"}, **dict(_known(content, names))})


def _known(content: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    yield from ((name, content[name]) for name in names if content.get(name) is not None)


def _plain(value: Any) -> Any:
    """Return dataclasses as dictionaries without what is None or, in a score, empty."""
    if isinstance(value, Scores):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.name != "samples"}
        optional = (*Scores.SINGLE, "types", "read_by")
        return {name: _plain(v) for name, v in fields.items() if not (name in optional and not v)}
    if isinstance(value, Score):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {name: _plain(v) for name, v in fields.items() if v is not None and v != {}}
    if isinstance(value, Check):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
