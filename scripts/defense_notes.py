"""Why some rows of the defenses' table are as they are, with the figures that say so."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

Results = Mapping[str, Mapping[int, Mapping[str, Any]]]


def notes(results: Results) -> list[str]:
    """Return the notes whose rows were run, as Markdown."""
    lines = []
    if {"none", "max", "msd", "msd_without_roa", "at_roa"} <= results.keys():
        lines.append(
            f"- max and msd train on whatever hurts most. ROA's square of 9 x 9 covers the figure of these clips (no training reaches "
            f"more than {_most(results, 'roa_30')}% there), and to learn from it costs everything else: at_roa keeps "
            f"{_mean(results, 'at_roa', 'clean')}% clean. Without ROA among its attacks (msd_without_roa) MSD's mean is "
            f"{_mean(results, 'msd_without_roa', 'mean')}% instead of {_mean(results, 'msd', 'mean')}% (none: "
            f"{_mean(results, 'none', 'mean')}%)."
        )
    if {"none", "ape_gan", "ape_gan_light"} <= results.keys():
        column = "pgd_20_4@gray_box"
        lines.append(
            f"- ape_gan has the paper's weights, 0.7 on the squared distance and 0.3 on the discriminator. In the few updates here "
            f"the second drowns the first: {_mean(results, 'ape_gan', column)}% of a gray box's PGD at 4/255 stay right (none, white "
            f"box: {_mean(results, 'none', 'pgd_20_4')}%). ape_gan_light is trained on a gray box's clips with 0.003 in place of 0.3: "
            f"{_mean(results, 'ape_gan_light', column)}%, and {_mean(results, 'ape_gan_light', 'pgd_20_8@gray_box')}% at 8/255; a white "
            f"box leaves {_mean(results, 'ape_gan_light', 'pgd_20_4')}%. Its settings were chosen on draw 0."
        )
    return [*lines, ""] if lines else []


def _mean(results: Results, row: str, column: str) -> str:
    values = [run["acc"][column] for run in results[row].values() if column in run["acc"]]
    return f"{100 * statistics.mean(values):.0f}"


def _most(results: Results, column: str) -> str:
    return f"{max(100 * run['acc'][column] for runs in results.values() for run in runs.values()):.0f}"
