"""What the start tells the operator: where the server listens, and what to do next."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from client.console import shown
from client.contract import MODEL
from serving import releases, versions
from serving.settings import Settings
from serving.tls import exposure


def announcement(settings: Settings, served: Collection[str], port: int, rest_port: int | None) -> list[str]:
    """Give lines: the addresses, a warning if others can listen in, the page, and the next step for what is served."""
    tls = settings.tls.describe() if settings.tls else ""
    addresses = [
        f"listening on {settings.address(number)} ({protocol}{tls})"
        for protocol, number in (("gRPC", port), ("REST", rest_port))
        if number is not None
    ]
    page = f"draw a digit: {_page(settings, rest_port)}" if rest_port is not None and served else ""
    hints = exposure(settings.host, tls=bool(settings.tls)), page, _next_step(settings, served, port)
    return addresses + [hint for hint in hints if hint]


def _page(settings: Settings, rest_port: int) -> str:
    scheme = "https" if settings.tls else "http"
    return f"{scheme}://{_reachable(settings).address(rest_port)}/"


def _reachable(settings: Settings) -> Settings:
    """Give the settings with a host that this machine can be called at, where they say all of its addresses."""
    return replace(settings, host="127.0.0.1") if settings.host in ("0.0.0.0", "::") else settings


def _next_step(settings: Settings, served: Collection[str], port: int) -> str:
    if MODEL in served:
        return _how_to_try(settings, port)
    if not settings.config and settings.model_name in (None, MODEL):
        return _what_to_do(settings.models, sorted(served))
    if served:
        return f"{_how_to_try(settings, port)} --model {min(served)}"
    wanted = f"of {settings.config}" if settings.config else f"'{settings.model_name}' in {settings.models}"
    return f"no model {wanted} is available yet: it is looked for every {settings.poll_seconds:g} s"


def _how_to_try(settings: Settings, port: int) -> str:
    trust = " --ca CA.pem" if settings.tls else ""
    pair = " --cert CLIENT.pem --key CLIENT.key" if settings.tls and settings.tls.client_ca else ""
    server = _reachable(settings).address(port)
    return f"try it: digits samples samples && digits classify samples/*.png --server {server}{trust}{pair}"


def _what_to_do(models: Path, served: list[str]) -> str:
    if versions.latest_version(models):
        above = shown(models.absolute().parent)
        return f"no model in {models}, which holds versions itself. Give the folder above it: --models {above}"
    step = releases.promotion(models, served[0]) if served else f"digits train --models {shown(models)}"
    others = f" Serving {', '.join(served)}." if served else ""
    return f"no model '{MODEL}' in {models} yet: it is picked up when it comes.{others} Run: {step}"
