"""The exercise's table of results, for a terminal, in Markdown, and the columns for the report. No TensorFlow."""

from collections.abc import Callable
from typing import Any

from client.console import cell
from training.results import ENSEMBLE, Result

COLUMNS: dict[str, Callable[[Result], str]] = {
    "Model_name": lambda row: row.model,
    "Description": lambda row: row.description,
    "Loss": lambda row: f"{row.loss:.4f}",
    "Accuracy": lambda row: f"{row.accuracy:.4f}",
    "Published": lambda row: f"{row.published_accuracy:.4f}" if row.published_accuracy else "",
    "Seeds": lambda row: _plus_minus(*row.spread),
    "Errors": lambda row: "{} / {}".format(*row.errors),
    "Validation": lambda row: f"{row.val_accuracy:.4f}",
    "Distorted": lambda row: f"{row.distorted_accuracy:.4f}" if row.distorted_accuracy else "",
    "Parameters": lambda row: f"{row.parameters:,}",
    "Epochs": lambda row: str(row.epochs),
    "Core_s": lambda row: f"{row.core_seconds:.0f}",
    "Recipe": lambda row: row.recipe,
    "Seed": lambda row: "" if row.model == ENSEMBLE else str(row.seed),
    "Served": lambda row: "yes" if row.served else "",
}
"""The exercise's columns first. Published is the author's later run beside our Accuracy, Seeds the mean test accuracy
over the seeds, Errors are of 5,000 test images and of all 10,000 that were not trained on, Distorted is what models are
chosen by (Result), Core_s is the processor's time for a training: on one quiet core as long as the wall's."""
_LEFT_OUT = {
    172: {"Parameters", "Epochs", "Core_s", "Recipe", "Seed"},
    122: {"Description", "Loss", "Published", "Validation"},
    75: {"Seeds"},
    53: {"Errors"},
    39: {"Distorted"},
    28: {"Served"},
}
"""On a terminal that is narrower than so many characters; what is left needs 20."""
WORDS = {"Model_name", "Description", "Recipe", "Served"}
"""Columns that stand on the left; those of figures stand on the right."""


def _plus_minus(mean: float, deviation: float, count: int) -> str:
    return f"{mean:.4f} ± {deviation:.4f} ({count})" if count > 1 else ""


def to_markdown(rows: list[Result]) -> str:
    """Render rows as a Markdown table, the served model in bold."""
    lines = [list(COLUMNS), ["---" if name in WORDS else "--:" for name in COLUMNS]]
    for row in rows:
        texts = [text(row) for text in COLUMNS.values()]
        lines.append([f"**{text}**" if row.served and text else text for text in texts])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def to_table(rows: list[Result], width: int) -> Any:
    """Render rows as a rich table; a narrow one leaves out columns rather than to cut figures."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    left_out = {name for needed, names in _LEFT_OUT.items() if width < needed for name in names}
    columns = {name: text for name, text in COLUMNS.items() if name not in left_out}
    for name in columns:
        table.add_column(name, justify="left" if name in WORDS else "right", no_wrap=name != "Description")
    for row in rows:
        table.add_row(*(cell(text(row)) for text in columns.values()), style="bold green" if row.served else "")
    return table
