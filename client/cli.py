"""Commands of `digits` that belong to client."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from client.contract import DEFAULT_SERVER, MODEL

if TYPE_CHECKING:
    from client.tls import Tls

app = typer.Typer()

Server = Annotated[str, typer.Option(help="HOST:PORT of the gRPC API.", envvar="DIGITS_SERVER")]
Model = Annotated[str, typer.Option(help="The model to ask: digits, or one of A to F.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for an answer.")]
Encrypt = Annotated[bool, typer.Option("--tls", help="Encrypt; the server's CA is one that everybody trusts.")]
Ca = Annotated[Path | None, typer.Option("--tls-ca", help="Encrypt; trust this CA (PEM).")]
Cert = Annotated[Path | None, typer.Option("--tls-cert", help="Our certificate chain (PEM), for mutual TLS.")]
Key = Annotated[Path | None, typer.Option("--tls-key", help="Its key (PEM).")]

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
    server: Server = DEFAULT_SERVER,
    model: Model = MODEL,
    timeout: Timeout = 5.0,
    encrypt: Encrypt = False,
    tls_ca: Ca = None,
    tls_cert: Cert = None,
    tls_key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False,
) -> None:
    """See CLASSIFY_HELP."""
    from client.remote import Client
    from client.report import make_report, print_json, print_tables

    with Client(server, model=model, timeout=timeout, tls=_tls(encrypt, tls_ca, tls_cert, tls_key)) as client:
        report = make_report(client, files)
    print_json(report) if as_json else print_tables(report)
    if report.failed:
        raise typer.Exit(1)


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
    wait_ready: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Wait so long until a version is available.")
    ] = 0.0,
    encrypt: Encrypt = False,
    tls_ca: Ca = None,
    tls_cert: Cert = None,
    tls_key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON document instead of a table.")] = False,
) -> None:
    """See STATUS_HELP."""
    from client.remote import Client
    from client.report import print_status

    with Client(server, model=model, timeout=timeout, tls=_tls(encrypt, tls_ca, tls_cert, tls_key)) as client:
        if wait_ready:
            client.wait_until_ready(wait_ready)
        if not print_status(client, as_json=as_json):
            raise typer.Exit(1)


def _tls(encrypt: bool, ca: Path | None, cert: Path | None, key: Path | None) -> "Tls | None":
    from client.tls import Tls

    return Tls(ca, cert, key) if encrypt or ca or cert or key else None
