"""Commands of `digits` that belong to training: train, export, results, report, samples."""

import signal
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from client.console import counted, note, require, shown, tables, usable_cores
from client.errors import UsageError

if TYPE_CHECKING:
    from training.pipeline import Outcome
    from training.workers import Runner

app = typer.Typer(rich_markup_mode=None)


LAST_SEED = 2**32 - 1
"""NumPy takes no higher one."""
LETTERS = "ABCDEFGH"
"""The architectures."""


def _letter(text: str) -> str:
    """Read a letter, also a small one."""
    if text.upper() not in [*LETTERS]:
        raise typer.BadParameter(f"'{text}' is no model: give letters from A to H.")
    return text.upper()


Models = Annotated[Path, typer.Option("--models", envvar="DIGITS_MODELS", help="Model root.")]
Data = Annotated[Path | None, typer.Option("--data", help="An mnist.npz, or a folder of IDX files (gzipped or not).")]


@app.command()
def train(
    letters: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[A B C D E F G H]", parser=_letter, autocompletion=lambda: [*LETTERS], help="Models; default all."
        ),
    ] = None,
    recipe: Annotated[Literal["tuned", "notebook"], typer.Option(help="Ours, or the author's.")] = "tuned",
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's number.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=LAST_SEED, help="The same seed on one thread gives the same weights.")
    ] = 1,
    seeds: Annotated[int, typer.Option(min=1, help="Train each model N times, from --seed on; export the best.")] = 1,
    ensemble: Annotated[int | None, typer.Option(min=2, help="Also export the N best trainings as one model.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Train on the first N images only, for a quick run.")] = None,
    data: Data = None,
    models: Models = Path("models"),
    runs: Annotated[Path, typer.Option("--runs", help="Where logs and weights go; TensorBoard reads it.")] = Path(
        "runs"
    ),
    device: Annotated[
        Literal["auto", "cpu", "gpu"], typer.Option(help="auto takes GPUs where there are any.")
    ] = "auto",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Models trained side by side; default one a core, with --device gpu one.")
    ] = None,
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"],
        typer.Option(help="bfloat16 and float16 are faster where the hardware has them."),
    ] = "float32",
    resume: Annotated[bool, typer.Option(help="Go on with the same training where it was killed.")] = True,
    cluster: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Train on a Ray cluster: auto, or HOST:PORT of its head."),
    ] = None,
) -> None:
    """Train models, export checked versions, and promote the best.

    Killed or interrupted, the same command goes on after the last epoch and ends with the same weights.

    \b
    digits train
    digits train G --seeds 5 --ensemble 5
    digits train A --limit 5000 --epochs 2
    """
    from training import folder, hosts, pipeline
    from training.job import Job

    _interrupt_by_sigterm()
    require("training", "tensorflow")
    chosen = sorted(set(letters or LETTERS), reverse=True)  # the largest first: no core is idle at the end
    trainings = len(chosen) * seeds
    if ensemble and ensemble > trainings:
        raise UsageError(
            f"an ensemble of {ensemble} needs as many trainings, not {trainings}: give more models, or --seeds"
        )
    if seed + seeds - 1 > LAST_SEED:
        raise UsageError(f"the last seed is {seed + seeds - 1}: give --seed and --seeds that end by {LAST_SEED}")
    if cluster:
        require("cluster", "ray")
        models, runs, data = models.absolute(), runs.absolute(), data and data.absolute()
    if hosts.count() > 1:
        resume = False  # they may have been killed after different epochs
        note("TF_CONFIG names several hosts: they train one model after the other, each from its beginning")
    parallel, threads = _side_by_side(jobs, trainings, device, cluster)
    todo = [
        Job(
            letter=letter,
            name=letter if seeds == 1 else f"{letter} seed {number}",
            run_dir=runs,
            recipe=recipe,
            epochs=epochs,
            seed=number,
            limit=limit,
            data=data,
            device=device,
            threads=threads,
            precision=precision,
        )
        for letter in chosen
        for number in range(seed, seed + seeds)
    ]
    with _runner(cluster, device) as runner:
        outcome = pipeline.train(folder.assign(todo, runs, resume), models, parallel, ensemble or 0, runner)
    _conclude(outcome, models)


def _side_by_side(asked: int | None, trainings: int, device: str, cluster: str | None) -> tuple[int, int]:
    """Give how many models train at once, and the threads of each."""
    from training import hosts

    if hosts.count() > 1:
        parallel = 1  # hosts train in step
    elif cluster:
        parallel = asked or trainings  # the nodes' room decides
    else:
        parallel = asked or (1 if device == "gpu" else min(trainings, usable_cores()))
    return parallel, 1 if cluster else max(1, usable_cores() // parallel)


def _runner(cluster: str | None, device: str) -> "AbstractContextManager[Runner]":
    if cluster:
        from training.cluster import runner_on

        return runner_on(cluster, device)
    from training.workers import run

    return nullcontext(run)


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

    _interrupt_by_sigterm()
    require("training", "tensorflow")
    _conclude(pipeline.export(run_dirs, models, min(len(run_dirs), usable_cores()), data), models)


def _conclude(outcome: "Outcome", models: Path) -> None:
    if outcome.published:
        results(models)
        note(f"next: digits serve --models {shown(models)}")
    if outcome.interrupted:
        raise typer.Exit(outcome.interrupted)
    if outcome.failures:
        raise typer.Exit(max(failure.exit_code for failure in outcome.failures))


def _interrupt_by_sigterm() -> None:
    """Let SIGTERM do what Ctrl-C does; else it would end this process alone, without a word."""

    def interrupt(number: int, _: object) -> None:
        raise KeyboardInterrupt(128 + number)

    signal.signal(signal.SIGTERM, interrupt)


@app.command()
def results(
    models: Models = Path("models"),
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array with every figure.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="A Markdown table.")] = False,
) -> None:
    """Show the exercise's table, ours beside the published accuracies.

    \b
    digits results
    digits results --markdown
    """
    from training.results import gather, nothing_in, to_json
    from training.table import to_markdown, to_table

    if as_json and as_markdown:
        raise UsageError("--json and --markdown exclude each other: give one of them")
    rows = [*gather(models).values()]
    if not rows and not (as_json and models.is_dir()):
        raise nothing_in(models)
    if as_json:
        print(to_json(rows))
    elif as_markdown:
        print(to_markdown(rows))
    else:
        console = tables()
        console.print(to_table(rows, console.width))


@app.command()
def report(
    models: Models = Path("models"),
    out: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path("report"),
    data: Data = None,
) -> None:
    """Write a page about all models, to look at, print or mail.

    It is report.html, which holds its pictures; these are beside it as PNG, too.

    Example: digits report --out report
    """
    from training.report import write

    page, *pictures = write(models, out, data)
    note(f"wrote {page} and {counted(len(pictures), 'picture')}. next: open {page} in a browser")


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
    note(f"wrote {counted(len(paths), 'image')} to {directory}. next: digits classify {shown(directory)}/*.png")
