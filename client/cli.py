"""Commands of `digits` that belong to client."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.console import note, require, usable_cores
from client.contract import DEFAULT_SERVER, MODEL
from client.errors import UsageError

if TYPE_CHECKING:
    from client.report import Report

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the core's own lines: what failed is told in ours
app = typer.Typer(rich_markup_mode=None)

Server = Annotated[
    str, typer.Option(help="HOST:PORT, several with commas, or dns:///NAME:PORT.", envvar="DIGITS_SERVER")
]
Model = Annotated[str, typer.Option(help="The model to ask: digits, a letter from A to H, or ensemble.")]
Timeout = Annotated[float, typer.Option(help="Seconds that a request may take.")]
Tls = Annotated[bool, typer.Option("--tls", help="Encrypt the connection.")]
Ca = Annotated[Path | None, typer.Option(help="PEM file of the authority to trust; means --tls.")]
Cert = Annotated[Path | None, typer.Option(help="PEM file of the client's certificate (mTLS).")]
Key = Annotated[Path | None, typer.Option(help="PEM file of its private key.")]
Token = Annotated[
    str | None, typer.Option(help="Bearer token for every call; safer in the environment.", envvar="DIGITS_TOKEN")
]

CLASSIFY_HELP = "\n\n".join(
    (
        "Classify image files of one handwritten digit each.",
        "\b\ndigits classify seven.png\ndigits classify scans/ photos/*.jpg --json > digits.jsonl\n"
        "digits classify six.png --server gpu-box:8500 --timeout 20\n"
        "find . -name '*.png' -print0 | digits classify --files-from - --resume digits.jsonl",
        "Photos, scans and drawings in any format that Pillow opens; of a folder all images, also in its folders but "
        "not in linked ones, in natural order; of a quoted pattern ('**/*.png') what it matches; of - the image on "
        "stdin. A file that is no image gets a line on stderr, and the others are classified. Under the answers stand "
        "the accuracies of all models, as measured when the served version was trained; the served one is marked.",
        'With --json, stdout is JSON Lines, a line a file: {"file", "digit", "probability", "runner_up", '
        '"runner_up_probability", "probabilities", "model", "model_version", "notes"}; without ink "digit" is null; a '
        'failed file has {"file", "error"}. Where a digit was read, the last line alone has no "file": {"benchmark": '
        '[{"model", "description", "loss", "accuracy", "served"}], "model", "model_version"}. --csv has the columns of '
        "the first, p0 to p9, and no accuracies.",
        "With --cluster the files are read on all nodes of a Ray cluster, which see them and --out under the same "
        "names, also s3://... and the like where each has fsspec's package for it (s3fs); --server is an address that "
        "all of them reach.",
        'Notes: "no digit found", "several digits?", "first of N frames".',
        "A run with --resume FILE may be interrupted and started again: lines as with --json are added to FILE, each "
        "file once. A file that failed is done, too, and counts as failed again: without its line it is tried again. A "
        "server that goes away during a run is waited for, a minute.",
        "Exit codes: 0 all read, also without a digit, 1 some files failed, 2 usage, 3 no server, a busy one or no "
        "answer in time, 4 other model.",
    )
)


@app.command(help=CLASSIFY_HELP, no_args_is_help=True)
def classify(
    files: Annotated[
        list[str] | None, typer.Argument(help="Image files, folders, patterns, or -.", metavar="FILE...")
    ] = None,
    server: Server = DEFAULT_SERVER,
    model: Model = MODEL,
    timeout: Timeout = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines instead of tables.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV instead of tables.")] = False,
    files_from: Annotated[
        str | None, typer.Option(metavar="LIST", help="Read names from a file or - (one a line, or NUL-separated).")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Add JSON Lines to FILE, without the files that it has.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Images a request.", min=1)] = 256,
    processes: Annotated[int, typer.Option(help="Processes that read slow images; 0: one a core.", min=0)] = 0,
    show: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write what the network sees beside each image, as PNG.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Work on a Ray cluster: auto, or HOST:PORT of its head.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="With --cluster: write Parquet there (--json: JSON Lines).")
    ] = None,
    tls: Tls = False,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    token: Token = None,
) -> None:
    """See CLASSIFY_HELP."""
    if not files and files_from is None:
        raise UsageError("no files: name some, a folder, or a list as --files-from")
    connection: dict[str, Any] = {"server": server, "model": model, "timeout": timeout, "batch": batch}
    connection |= {"tls": tls, "ca": ca, "cert": cert, "key": key, "token": token}
    if cluster or out:
        if as_csv or resume or show or processes:
            raise UsageError("--csv, --resume, --show and --processes are not for a cluster: leave them out")
        _classify_on_cluster(files or [], files_from, out, as_json, cluster, connection)
        return
    from client.files import all_files
    from client.progress import progress
    from client.remote import Client
    from client.run import Run

    look = _looked(files or [], show)
    signal.signal(signal.SIGTERM, _unwind)
    report, run = _report(as_json, as_csv, resume), Run()
    with (
        Client(**connection) as client,
        progress(_counter(files or [], files_from), lines=as_json or as_csv) as moved,
    ):
        names = all_files(files or [], files_from, look, run.left_out)
        run.classify(client, names, report, processes or usable_cores(), moved, show)
    run.tell_left_out()
    if resume or (run.failed and run.total > 1):
        note(run.summary())
    elif not run.total:
        note(f"note: no files, as the list {files_from} names none")
    if run.failed:
        raise typer.Exit(1)


def _looked(files: list[str], show: Path | None) -> Callable[[str], None]:
    """Refuse files that --show would write among, and give what refuses such a name of a list."""
    if show is None:
        return lambda name: None
    from client.show import check_apart, check_outside

    check_apart(files, show)
    return lambda name: check_outside(name, show)


def _unwind(number: int, _: object) -> None:
    """End as Ctrl-C does, so that what is held back is printed; a second signal ends at once."""
    signal.signal(number, signal.SIG_DFL)
    sys.exit(128 + number)


def _classify_on_cluster(
    files: list[str],
    files_from: str | None,
    out: str | None,
    as_json: bool,
    cluster: str | None,
    connection: dict[str, Any],
) -> None:
    if not (cluster and out):
        raise UsageError("--cluster and --out belong together: give the cluster, and a new folder for the answers")
    require("cluster", "ray")
    from client.bulk import classify

    run = classify(files, files_from, out, as_json, cluster, connection)
    run.tell_left_out()
    note(run.summary())
    if run.failed:
        raise typer.Exit(1)


READ_HELP = "\n\n".join(
    (
        "Read the handwritten number in an image, digit by digit.",
        "\b\ndigits read amount.jpg\ncat scan.png | digits read - --json",
        "The digits stand free or in the cells of a form and are read from left to right, line by line; their "
        "probabilities stand below the number.",
        'With --json, stdout is one object: {"file", "number", "probability", "digits": [{"digit", "probability", '
        '"runner_up", "runner_up_probability", "probabilities", "model", "model_version", "notes", "box"}], "notes"}; '
        "a box is [left, top, right, bottom] in pixels of the upright image.",
        'Notes: "no digit found" (the number is empty, its probability null), "first of N frames", "several lines?" '
        '(with a line break between them), "cut digit?" (at the edge, left out), and at a digit "touching digits?".',
        "Exit codes: 0 read, also without a digit, 1 no image, 2 usage, 3 no server, a busy one or no answer in "
        "time, 4 other model.",
    )
)


@app.command(help=READ_HELP, no_args_is_help=True)
def read(
    file: Annotated[str, typer.Argument(help="An image file, or -.", metavar="FILE")],
    server: Server = DEFAULT_SERVER,
    model: Model = MODEL,
    timeout: Timeout = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    tls: Tls = False,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    token: Token = None,
) -> None:
    """See READ_HELP."""
    from client.errors import NoDigit
    from client.files import STDIN, stdin
    from client.image import read_pipe
    from client.number import Number
    from client.remote import Client
    from client.report import print_number

    with Client(server, model=model, timeout=timeout, tls=tls, ca=ca, cert=cert, key=key, token=token) as client:
        try:
            number = client.read(read_pipe(stdin()) if file == STDIN else file)
        except NoDigit:
            number = Number()
    print_number(file, number, as_json)


STATUS_HELP = "\n\n".join(
    (
        "Show which versions of a model a server has, and their states.",
        "\b\ndigits status\ndigits status --wait-ready 60 && digits classify scans/\n"
        "digits status --server gpu-box:8500 --model D --json",
        "Works with the embedded server and with TensorFlow Serving. The served version is the one that answers when "
        "none is asked for.",
        'With --json, stdout is {"server", "model", "ready", "versions": [{"version", "state", "error"}]}.',
        "Exit codes: 0 a version is available, 1 none is, 2 usage, 3 no server or not in time, 4 no such model there.",
    )
)


@app.command(help=STATUS_HELP)
def status(
    server: Server = DEFAULT_SERVER,
    model: Model = MODEL,
    timeout: Timeout = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON document instead of a table.")] = False,
    wait_ready: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Wait so long until a version is available.")
    ] = 0.0,
    tls: Tls = False,
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    token: Token = None,
) -> None:
    """See STATUS_HELP."""
    from client.patience import positive
    from client.remote import Client
    from client.report import print_status

    with Client(server, model=model, timeout=timeout, tls=tls, ca=ca, cert=cert, key=key, token=token) as client:
        if wait_ready:
            client.wait_until_ready(positive(wait_ready, "--wait-ready"))
        ready = print_status(client.server, client.model, client.status(), as_json)
    if not ready:
        raise typer.Exit(1)


def _report(as_json: bool, as_csv: bool, resume: Path | None) -> "Report":
    from client.journal import Journal
    from client.report import Csv, JsonLines, Table

    if as_json + as_csv + (resume is not None) > 1:
        raise UsageError("--json, --csv and --resume exclude each other: give one of them")
    if resume:
        return Journal(resume)
    return JsonLines() if as_json else Csv() if as_csv else Table()


def _counter(files: list[str], files_from: str | None) -> Callable[[], int | None] | None:
    """Give what counts the files, unless they are only known once they have been read, from a pipe."""
    from client.files import STDIN, all_files

    def count() -> int | None:
        with suppress(UsageError, OSError):  # a list that is none: the run says so
            return sum(1 for _ in all_files(files, files_from))
        return None

    again = files_from is None or (files_from != STDIN and os.path.isfile(files_from))  # noqa: PTH113 (Path's raises)
    return count if again else None
