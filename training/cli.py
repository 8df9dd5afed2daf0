"""Commands of `digits` that belong to training."""

import typer

app = typer.Typer()
