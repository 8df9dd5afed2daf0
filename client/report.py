"""What `digits classify` and `digits status` print: tables for people, or one JSON document."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from client.answers import Benchmark, Prediction
from client.console import note, plain
from client.errors import ContractMismatch, InvalidImage
from client.image import Pixels, read_image
from client.remote import Client

PIPED_WIDTH = 10_000
"""Columns when stdout is no terminal: whoever reads the pipe gets file names whole."""


@dataclass(frozen=True)
class Report:
    """The answers to one command; `failed` tells what is wrong with a file."""

    answers: list[tuple[Path, Prediction]]
    failed: list[tuple[Path, str]]
    benchmark: list[Benchmark]


def make_report(client: Client, arguments: Iterable[Path]) -> Report:
    """Classify the files that are images, note the others, and fetch the table of the version that answered."""
    readable: list[Path] = []
    failed: list[tuple[Path, str]] = []

    def images() -> Iterator[Pixels]:
        for path in find_files(arguments):
            try:
                image = read_image(path)
            except InvalidImage as error:
                note(f"error: {error}")
                failed.append((path, str(error)))
            else:
                readable.append(path)
                yield image

    predictions = client.classify(images())
    benchmark = fetch_benchmark(client, predictions[-1].model_version) if predictions else []
    return Report(list(zip(readable, predictions, strict=True)), failed, benchmark)


def find_files(arguments: Iterable[Path]) -> Iterator[Path]:
    """Give files as they are, and of a folder its images in natural order (2 before 10).

    A folder without any is given itself, so that it is refused like a file that is no image.
    """
    for path in arguments:
        yield from sorted(find_images(path), key=natural) or [path]


def find_images(folder: Path) -> Iterator[Path]:
    """Give the files in a folder and its folders that end like an image; hidden ones are left out."""
    if folder.is_dir():
        from PIL import Image

        endings = Image.registered_extensions()
        for path in folder.rglob("*"):
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            if path.suffix.lower() in endings and not hidden and path.is_file():
                yield path


def natural(path: Path) -> list[tuple[int, str]]:
    """Sort key under which 2.png comes before 10.png."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def fetch_benchmark(client: Client, version: int) -> list[Benchmark]:
    """Fetch the results table of a version. A model exported without one is worth a note, not a failure."""
    try:
        return client.benchmark(version)
    except ContractMismatch:
        note(f"note: {client.model} at {client.server} was exported without its results table")
        return []


def print_json(report: Report) -> None:
    """Print one JSON document on stdout, as the command's help describes it."""
    document = {
        "images": [{"file": str(path), **asdict(answer)} for path, answer in report.answers],
        "failed": [{"file": str(path), "error": error} for path, error in report.failed],
        "benchmark": [asdict(row) for row in report.benchmark],
    }
    print(json.dumps(document, indent=1))


def print_status(client: Client, *, as_json: bool) -> bool:
    """Print the versions of the client's model on stdout; tells whether one is available."""
    versions = client.status()
    served = next((one.version for one in versions if one.state == "AVAILABLE"), None)
    ready = served is not None
    if as_json:
        told = {"server": client.server, "model": client.model, "ready": ready}
        print(json.dumps({**told, "versions": [asdict(one) for one in versions]}, indent=1))
        return ready
    table = _table("model", "version", "state", "")
    for one in versions:
        note = "served" if one.version == served else " ".join(one.error.split())
        table.add_row(*map(_text, (client.model, str(one.version), one.state, note)))
    _console().print(table)
    return ready


def _console() -> Any:
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPED_WIDTH)


def print_tables(report: Report) -> None:
    """Print the answers on stdout, and under them how good each model is."""
    console = _console()
    if report.answers:
        console.print(_answers(report.answers))
    if report.benchmark:
        served = report.answers[-1][1]
        console.print(
            f"\nAccuracy on MNIST's last 5,000 test images ({served.model} version {served.model_version}):\n"
        )
        console.print(_accuracies(report.benchmark))


def _answers(answers: list[tuple[Path, Prediction]]) -> Any:
    table = _table("file", "digit", "probability", "runner-up")
    for path, one in answers:
        runner_up = f"{one.runner_up} ({one.runner_up_probability:.1%})"
        table.add_row(_text(str(path)), str(one.digit), f"{one.probability:.1%}", runner_up)
    return table


def _accuracies(rows: list[Benchmark]) -> Any:
    table = _table("model", "accuracy", "loss", "", "description")
    for row in rows:
        cells = (row.model, f"{row.accuracy:.2%}", f"{row.loss:.4f}", "served" if row.served else "", row.description)
        table.add_row(*map(_text, cells), style="bold" if row.served else None)
    return table


def _table(*columns: str) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for name in columns:
        table.add_column(name, justify="right" if name in _NUMBERS else "left", overflow="fold")
    return table


_NUMBERS = {"version", "digit", "probability", "runner-up", "accuracy", "loss"}


def _text(text: str) -> Any:
    """Keep rich from reading [brackets] in a file's name as markup."""
    from rich.text import Text

    return Text(plain(text))
