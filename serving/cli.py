"""Commands of `digits` that belong to serving."""

from pathlib import Path
from typing import Annotated

import typer

from client.contract import GRPC_PORT
from client.errors import DigitsError

app = typer.Typer()

Models = Annotated[Path, typer.Option(help="Folder that holds the models.", envvar="DIGITS_MODELS")]


@app.command()
def serve(
    models: Models = Path("models"),
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="gRPC port; 0 for any free one.")] = GRPC_PORT,
    poll_seconds: Annotated[float, typer.Option(min=0.05, help="How often to look for new versions.")] = 1.0,
    drain_seconds: Annotated[float, typer.Option(min=0, help="Longest wait for calls in flight when stopping.")] = 10.0,
) -> None:
    """Serve the models behind TensorFlow Serving's gRPC API."""
    try:
        from serving.server import Settings
        from serving.server import serve as run
    except ModuleNotFoundError as error:
        raise DigitsError(f"{error.name} is not installed. Run: pip install 'mnist-digits[serving]'") from None
    run(Settings(models=models, host=host, port=port, poll_seconds=poll_seconds, drain_seconds=drain_seconds))
