"""Commands of `digits` that belong to client."""

import typer

app = typer.Typer()
