"""The `digits` command: mounts the commands of training, serving and client."""

import typer

import client.cli
import serving.cli
import training.cli
from client.console import HELP_OPTIONS, run

app = typer.Typer(
    help="Train CNNs on MNIST, serve the best one behind TensorFlow Serving's API, classify image files.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings=HELP_OPTIONS,
    epilog="Start with: digits train --limit 5000 --epochs 2 && digits serve",
)
for commands in (training.cli.app, serving.cli.app, client.cli.app):
    app.add_typer(commands)


def main() -> None:
    """Entry point of the console script."""
    run(app)
