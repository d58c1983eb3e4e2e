"""What ``mode=attack`` shows in the terminal: a row for each clip."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

RESULT = "attack.json"
ROWS = 20  # at most


def table(result: dict[str, Any]) -> Group:
    """Return what ``attack.json`` says, as a short table with its title for the terminal."""
    n, tried, before = result["n"], result["attacked"], result["n"] - result["attacked"]
    title = (
        f"{result['attack']}, {result['budget']}: {result['fooled']} of {tried} clips fooled, "
        f"{result['fooled_rounded']} in the 8 bits of their films" + (f"; {before} wrong before" if before else "")
    )
    rest = f"{n - ROWS} more clips in {RESULT}" if n > ROWS else None
    shown = Table(caption=rest, caption_justify="left", header_style="bold cyan", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("clip", "clean", "adversarial"):
        shown.add_column(name, overflow="fold")
    for name in ("distance", "steps"):
        shown.add_column(name, justify="right", no_wrap=True)
    for line in result["clips"][:ROWS]:
        clean, adversarial, rounded, label = (line[f"{k}_name"] for k in ("clean", "adversarial", "rounded", "label"))
        if not line["attacked"]:
            cells = (Text(f"{clean} (true: {label})", "red"), Text("wrong already: left as it is", "dim"))
        else:
            after = adversarial if rounded == adversarial else f"{adversarial} (in 8 bits: {rounded})"
            cells = (Text(clean), Text(after, "bold red" if line["fooled"] else "bold blue"))
        shown.add_row(Text(line["id"].split("/")[-1]), *cells, f"{line['distance']:.4g}", str(line["steps"]))
    return Group(Text(title, "bold"), shown)
