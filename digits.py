"""The `digits` command: mounts the commands of training, serving and client."""

try:
    from typing import Annotated

    import typer

    import client.cli
    import serving.cli
    import training.cli
    from client.console import run
except KeyboardInterrupt:  # the first tenths of a second, before Typer is there to take it
    raise SystemExit(130) from None

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich's Markdown alone would take longer than all of it
    epilog="Start with: digits train --limit 5000 --epochs 2 && digits serve",
)
for commands in (training.cli.app, serving.cli.app, client.cli.app):
    app.add_typer(commands)

RUNTIMES = ("tensorflow", "keras", "ai-edge-litert", "grpcio", "numpy", "pillow")


def _print_versions(wanted: bool) -> None:
    if wanted:
        import platform
        from importlib.metadata import version

        found = [f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in RUNTIMES)]
        print(f"digits {version('mnist-digits')} ({', '.join(found)})")
        raise typer.Exit


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


@app.callback()
def options(
    show: Annotated[
        bool, typer.Option("--version", callback=_print_versions, is_eager=True, help="Show versions and exit.")
    ] = False,
) -> None:
    """Train CNNs on MNIST, serve the best one behind TensorFlow Serving's API, classify image files."""


def main() -> None:
    """Entry point of the console script."""
    run(app)
