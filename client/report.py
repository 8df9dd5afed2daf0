"""What the commands print: of files a table and under it the accuracies of all models, JSON Lines, or CSV."""

import csv
import json
import sys
from typing import Any

from client.answers import Benchmark, Prediction, VersionStatus
from client.console import cell, tables
from client.errors import NoDigit
from client.number import NO_DIGIT, Number
from client.patience import available
from client.results import Result

CHUNK = 256
"""Rows that are printed together, so that a million files need no more memory than these."""
GAP = 3
"""Columns of the terminal between those of a table."""


class Report:
    """Takes the results of a run one by one. The base of all of them."""

    has_benchmark = True
    """Whether the results table of the version that answered is part of it."""
    before: dict[str, bool] = {}
    """Files that an earlier part of the run did, and whether it could read them; those that are counted are taken."""

    def wants(self, file: str) -> bool:
        """Tell whether a file is to be classified at all."""
        return True

    def add(self, file: str, result: Result) -> None:
        """Take the next file's result."""

    def flush(self) -> None:
        """Print what is held back; a run that breaks off does it too."""

    def add_benchmark(self, answered: Prediction, rows: list[Benchmark]) -> None:
        """Take the results table, after the last file; `answered` is the last prediction."""


def record(file: str, result: Result) -> dict[str, Any]:
    """Give a result as a JSON object: with a digit, with digit null where there is no ink, or with an error."""
    if result.prediction:
        return {"file": file, **vars(result.prediction)}
    if isinstance(result.error, NoDigit):
        return {"file": file, "digit": None, "notes": [NO_DIGIT]}
    return {"file": file, "error": str(result.error)}


class JsonLines(Report):
    """Prints one JSON object a file, and last, if a digit was read, one without "file" that holds the results table."""

    def add(self, file: str, result: Result) -> None:
        """Print a result."""
        sys.stdout.write(json.dumps(record(file, result)) + "\n")

    def add_benchmark(self, answered: Prediction, rows: list[Benchmark]) -> None:
        """Print the last line."""
        served = {"model": answered.model, "model_version": answered.model_version}
        print(json.dumps({"benchmark": [vars(row) for row in rows], **served}))


class Csv(Report):
    """Prints a line a file, with the ten probabilities in columns of their own. There is no results table."""

    has_benchmark = False  # CSV has one kind of row
    COLUMNS = "file", "digit", "probability", "runner_up", "runner_up_probability", "model", "model_version"
    DIGITS = tuple(f"p{digit}" for digit in range(10))

    def __init__(self) -> None:
        # Names are bytes, which may be no text, and any text, which may not be in Windows' code page
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")  # type: ignore[union-attr]
        self._writer = csv.writer(_Lines(), lineterminator="\r\n")
        self._writer.writerow((*self.COLUMNS, *self.DIGITS, "notes", "error"))

    def add(self, file: str, result: Result) -> None:
        """Print a result; what a file has not is left empty."""
        known = record(file, result)
        probabilities = known.get("probabilities", [""] * len(self.DIGITS))
        row = [known.get(name, "") for name in self.COLUMNS]
        self._writer.writerow([*row, *probabilities, "; ".join(known.get("notes", ())), known.get("error", "")])


class _Lines:
    """Ends rows with \\n which csv ends with \\r\\n, as before Python 3.13 it quotes what is in its line ends alone."""

    def write(self, row: str) -> None:
        sys.stdout.write(row.removesuffix("\r\n") + "\n")


class Table(Report):
    """Prints a table for a person, in parts so that it never waits for the last file."""

    def __init__(self) -> None:
        self._console = tables()
        self._rows: list[list[Any]] = []
        self._widths: list[int] = []

    def add(self, file: str, result: Result) -> None:
        """Take a result. What is no image is told on stderr, not here."""
        one = result.prediction
        if one:
            self._rows.append([*map(cell, (file, *_cells(one), "; ".join(one.notes)))])
        elif isinstance(result.error, NoDigit):
            self._rows.append([*map(cell, (file, "-", "", "", NO_DIGIT))])
        if len(self._rows) == CHUNK:
            self.flush()

    def flush(self) -> None:
        """Print the rows at hand; later parts keep the widths of the first, or grow as far as the terminal does."""
        if not self._rows:
            return
        table = _table("file", "digit", "probability", "runner-up", "", header=not self._widths)
        for row in self._rows:
            table.add_row(*row)
        widest = [max(cell.cell_len for cell in cells) for cells in zip(*self._rows, strict=True)]
        self._widths = [*map(max, widest, self._widths or (len(str(column.header)) or 1 for column in table.columns))]
        least = [width if column.justify == "right" else 2 for column, width in zip(table.columns, widest, strict=True)]
        room = self._console.width - GAP * (len(widest) - 1)
        for column, width in zip(table.columns, _fitted(self._widths, least, room), strict=True):
            column.width = width
        self._print(table)
        self._rows.clear()

    def add_benchmark(self, answered: Prediction, rows: list[Benchmark]) -> None:
        """Print how good each model is."""
        if rows:
            where = f"{answered.model} version {answered.model_version}"
            self._print(f"\nAccuracy on MNIST's last 5,000 test images ({where}):\n")
            self._print(_accuracies(rows))

    def _print(self, what: Any) -> None:
        """Print by way of sys.stdout, where a bar steps aside; rich's console would go past it."""
        with self._console.capture() as printed:
            self._console.print(what)
        print(printed.get(), end="")


def print_number(file: str, number: Number, as_json: bool) -> None:
    """Print a number, and below it its digits; or both as one JSON object."""
    notes = number.notes if number.predictions else (NO_DIGIT,)
    if as_json:
        probability = number.probability if number.predictions else None
        fields = {"number": str(number), "probability": probability, "digits": number.digits(), "notes": notes}
        print(json.dumps({"file": file, **fields}))
        return
    print(*filter(None, (str(number), *notes)), sep="\n")
    if number.predictions:
        table = _table("digit", "probability", "runner-up", "box", "")
        for place, one in zip(number.places, number.predictions, strict=True):
            box = " ".join(map(str, place.box))
            table.add_row(*map(cell, (*_cells(one), box, "; ".join(place.notes))))
        print()
        tables().print(table)


def print_status(server: str, model: str, versions: list[VersionStatus], as_json: bool) -> bool:
    """Print the versions of a model, as a table or a JSON document; tells whether one is available."""
    served = available(versions)
    if as_json:
        told = {"server": server, "model": model, "ready": served is not None}
        print(json.dumps({**told, "versions": [vars(one) for one in versions]}, indent=1))
    else:
        table = _table("model", "version", "state", "")
        for one in versions:
            note = "served" if one == served else " ".join(one.error.split())
            table.add_row(*map(cell, (model, str(one.version), one.state, note)))
        tables().print(table)
    return served is not None


def _cells(one: Prediction) -> tuple[str, str, str]:
    return str(one.digit), f"{one.probability:.1%}", f"{one.runner_up} ({one.runner_up_probability:.1%})"


def _fitted(widths: list[int], least: list[int], room: int) -> list[int]:
    """Narrow the widest columns, whose text is folded then, until all have room: rich would cut off the last ones."""
    widths = widths.copy()
    while sum(widths) > room and (wide := [at for at, width in enumerate(widths) if width > least[at]]):
        widths[max(wide, key=widths.__getitem__)] -= 1
    return widths


def _accuracies(rows: list[Benchmark]) -> Any:
    table = _table("model", "accuracy", "loss", "", "description")
    for row in rows:
        cells = (row.model, f"{row.accuracy:.2%}", f"{row.loss:.4f}", "served" if row.served else "", row.description)
        table.add_row(*map(cell, cells), style="bold" if row.served else None)
    return table


def _table(*columns: str, header: bool = True) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim", show_header=header)
    for name in columns:
        table.add_column(name, justify="right" if name in _NUMBERS else "left", overflow="fold")
    return table


_NUMBERS = {"version", "digit", "probability", "runner-up", "accuracy", "loss"}
