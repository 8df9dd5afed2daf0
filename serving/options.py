"""The options of `digits serve`: times that somebody waits, and which options do nothing beside others."""

import math
from collections.abc import Mapping
from typing import Any

import typer

from client.errors import UsageError

DAY = 86_400
"""Seconds; the longest that an option lets anything wait. Above 9.2e9, threads raise OverflowError."""

KNOWN_THERE = (
    "backend models model_name config host port rest rest_port rest_timeout_seconds poll_seconds connection_seconds "
    "max_in_flight"
)
"""Options that mean something to TensorFlow Serving, too."""

USELESS = {
    "without --cluster": "replicas",
    "with --cluster": "connection_seconds read_seconds rest_port rest_timeout_seconds",
    "with --no-rest": "rest_port rest_timeout_seconds",
    "with --config": "models model_name",
}
"""Where → the options that do nothing there."""


def seconds(least: float, purpose: str, **options: Any) -> Any:
    """Make the option for a time that somebody waits."""
    return typer.Option(min=least, max=DAY, callback=_a_number, help=purpose, **options)


def _a_number(seconds: float | None) -> float | None:
    if seconds is not None and math.isnan(seconds):  # lies in every range, as nothing is more or less
        raise typer.BadParameter("nan is not a number of seconds.")
    return seconds


def check_known_there(context: typer.Context) -> None:
    """Raise UsageError for an option that TensorFlow Serving has no equal of."""
    for option in context.command.params:
        name = option.name or ""
        if name in KNOWN_THERE.split() or _source(context, name) == "DEFAULT":
            continue
        if name.startswith("tls"):
            raise UsageError("TensorFlow Serving has TLS in a file: see serving/tensorflow_serving/ssl.config.example")
        raise UsageError(f"TensorFlow Serving has no {option.opts[0]}: leave it out, or take --backend embedded")


def check_useful(context: typer.Context, places: Mapping[str, bool]) -> None:
    """Raise UsageError for an option on the command line that does nothing where it is; `places` are USELESS' own."""
    for place, holds in places.items():
        for name in USELESS[place].split():
            if holds and _source(context, name) == "COMMANDLINE":
                raise UsageError(f"--{name.replace('_', '-')} does nothing {place}: leave it out")


def _source(context: typer.Context, name: str) -> str:
    source = context.get_parameter_source(name)
    return source.name if source else "DEFAULT"
