"""Commands of `digits` that belong to client."""

from pathlib import Path
from typing import Annotated

import typer

from client.contract import DEFAULT_SERVER, MODEL

app = typer.Typer()

CLASSIFY_HELP = "\n\n".join(
    (
        "Classify image files of one handwritten digit each.",
        "\b\ndigits classify seven.png\ndigits classify scans/ photos/*.jpg --json > digits.json\n"
        "digits classify six.png --server gpu-box:8500 --timeout 20",
        "Photos, scans and drawings in any format that Pillow opens; of a folder all images, also in its folders. "
        "A file that is no image gets a line on stderr, and the others are classified. Under the answers stand the "
        "accuracies of all models, as measured when the served version was trained; the served one is marked.",
        'With --json, stdout is one document: {"images": [{"file", "digit", "probability", "runner_up", '
        '"runner_up_probability", "probabilities", "model", "model_version"}], "failed": [{"file", "error"}], '
        '"benchmark": [{"model", "description", "loss", "accuracy", "served"}]}.',
        "Exit codes: 0 all classified, 1 some files failed, 2 usage, 3 no server or no answer in time, 4 other model.",
    )
)


@app.command(help=CLASSIFY_HELP, no_args_is_help=True)
def classify(
    files: Annotated[list[Path], typer.Argument(help="Image files, and folders of them.", metavar="FILE...")],
    server: Annotated[str, typer.Option(help="HOST:PORT of the gRPC API.", envvar="DIGITS_SERVER")] = DEFAULT_SERVER,
    model: Annotated[str, typer.Option(help="The model to ask: digits, or one of A to F.")] = MODEL,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """See CLASSIFY_HELP."""
    from client.remote import Client
    from client.report import make_report, print_json, print_tables

    with Client(server, model=model, timeout=timeout) as client:
        report = make_report(client, files)
    print_json(report) if as_json else print_tables(report)
    if report.failed:
        raise typer.Exit(1)
