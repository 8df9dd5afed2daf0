"""Commands of `digits` that belong to serving."""

import typer

app = typer.Typer()
