"""Commands of `digits` that belong to training: train, results, samples."""

import os
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.console import note
from client.errors import DigitsError

if TYPE_CHECKING:
    from training.pipeline import Outcome
    from training.results import Result

app = typer.Typer(rich_markup_mode=None)


class Letter(StrEnum):
    """The architectures."""

    A = "A"
    B = "B"
    C = "C"
    D = "D"
    E = "E"
    F = "F"


class RecipeName(StrEnum):
    """How to fit."""

    tuned = "tuned"
    notebook = "notebook"


class Device(StrEnum):
    """Where to fit."""

    auto = "auto"
    cpu = "cpu"
    gpu = "gpu"


Models = Annotated[Path, typer.Option("--models", envvar="DIGITS_MODELS", help="Model root to export to.")]
Data = Annotated[Path | None, typer.Option("--data", help="An mnist.npz, or a folder of IDX files (gzipped or not).")]


@app.command()
def train(
    letters: Annotated[
        list[Letter] | None, typer.Argument(metavar="[A B C D E F]", case_sensitive=False, help="Models; default all.")
    ] = None,
    recipe: Annotated[RecipeName, typer.Option(help="Ours, or the author's.")] = RecipeName.tuned,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's number.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed on one thread gives the same weights.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Train on the first N images only, for a quick run.")] = None,
    data: Data = None,
    models: Models = Path("models"),
    runs: Annotated[Path, typer.Option("--runs", help="Where logs and weights go; TensorBoard reads it.")] = Path(
        "runs"
    ),
    device: Annotated[Device, typer.Option(help="auto takes GPUs where there are any.")] = Device.auto,
    jobs: Annotated[int | None, typer.Option(min=1, help="Models trained side by side; default one a core.")] = None,
) -> None:
    """Train models, export checked versions, and promote the best.

    Examples: digits train | digits train D --seed 2 | digits train A --limit 5000 --epochs 2
    """
    from training import pipeline
    from training.job import Job

    _require_tensorflow()
    chosen = sorted(set(letters or Letter), reverse=True)  # the largest first: no core is idle at the end
    parallel = jobs or min(len(chosen), _cores())
    threads = max(1, _cores() // parallel)
    todo = [
        Job(
            letter=letter.value,
            run_dir=pipeline.new_run_dir(runs, letter.value),
            recipe=recipe.value,
            epochs=epochs,
            seed=seed,
            limit=limit,
            data=data,
            device=device.value,
            threads=threads,
        )
        for letter in chosen
    ]
    _conclude(pipeline.train(todo, models, parallel), models)


@app.command()
def export(
    run_dirs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished runs, such as runs/D_2026-...")],
    data: Data = None,
    models: Models = Path("models"),
) -> None:
    """Export finished runs again, and promote as train does.

    Example: digits export runs/D_*
    """
    from training import pipeline

    _require_tensorflow()
    _conclude(pipeline.export(run_dirs, models, min(len(run_dirs), _cores()), data), models)


def _conclude(outcome: "Outcome", models: Path) -> None:
    if outcome.published:
        results(models)
        note(f"next: digits serve --models {models}")
    if outcome.interrupted:
        raise typer.Exit(130)
    if outcome.failures:
        raise typer.Exit(max(failure.exit_code for failure in outcome.failures))


def _require_tensorflow() -> None:
    if find_spec("tensorflow") is None:
        raise DigitsError("tensorflow is not installed. Run: pip install 'mnist-digits[training]'")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@app.command()
def results(
    models: Models = Path("models"),
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array with every figure.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="A Markdown table.")] = False,
) -> None:
    """Show the exercise's table, ours beside the published accuracies.

    Examples: digits results | digits results --markdown
    """
    from training import results as table

    rows = table.gather(models)
    if not rows and not as_json:
        raise DigitsError(f"{models}: no trained model there. Train with: digits train --models {models}")
    if as_json:
        print(table.to_json(rows))
    elif as_markdown:
        print(table.to_markdown(rows))
    else:
        _print_table(table, rows)


def _print_table(table: Any, rows: "list[Result]") -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = 500  # a pipe has no width: whatever the table needs
    console.print(table.to_table(rows, console.width))


@app.command()
def samples(
    directory: Annotated[Path, typer.Argument(help="Folder to write to.")],
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many.")] = 10,
    data: Data = None,
) -> None:
    """Write MNIST test digits as PNG files, dark on white, to try out.

    The file name ends with the digit. Example: digits samples samples
    """
    from training.samples import write

    paths = write(directory, count, data)
    note(f"wrote {len(paths)} images to {directory}. next: digits classify {directory}/*.png")
