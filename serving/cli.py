"""Commands of `digits` that belong to serving: serve, and those about releases."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from client.console import failures_told, require
from client.contract import GRPC_PORT, REST_PORT
from client.errors import UsageError
from serving import releases_cli
from serving.limits import Limits
from serving.logs import Format, Level, Log
from serving.options import check_known_there, check_useful, seconds

if TYPE_CHECKING:
    from serving.settings import Settings, TlsFiles

app = typer.Typer(rich_markup_mode=None)
app.add_typer(releases_cli.app)


@app.command()
def serve(
    context: typer.Context,
    models: Annotated[
        Path,
        typer.Option(
            "--models", envvar=["DIGITS_MODELS", "MODEL_BASE_PATH"], help="Model root; left out with --config."
        ),
    ] = Path("models"),
    model_name: Annotated[
        str | None, typer.Option(envvar="MODEL_NAME", help="Serve only this folder of the model root.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A models.config as TensorFlow Serving's, instead of the model root.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Server processes on these ports, one a core.")] = 1,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for every network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="gRPC port; 0 for any free one.")] = GRPC_PORT,
    rest_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="REST port; 0 for any free one.", show_default=f"{REST_PORT}, or 0 with --port 0"
        ),
    ] = None,
    rest: Annotated[bool, typer.Option(help="Whether to answer REST at all.")] = True,
    rest_timeout_seconds: Annotated[float, seconds(0.001, "Longest wait for a REST answer.")] = 30.0,
    poll_seconds: Annotated[float, seconds(0.05, "How often to look for new versions.")] = 1.0,
    drain_seconds: Annotated[float, seconds(0, "Longest wait for calls in flight when stopping.")] = 10.0,
    connection_seconds: Annotated[
        float | None,
        seconds(
            0.1,
            "How long a gRPC connection takes calls; its client then finds the servers that came meanwhile.",
            show_default="as long as it lives",
        ),
    ] = None,
    backend: Annotated[
        Literal["embedded", "tensorflow-serving"],
        typer.Option(help="Our server, or TensorFlow Serving: an installed one, else the docker line for it."),
    ] = "embedded",
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Serve on a Ray cluster: auto, or HOST:PORT of its head.")
    ] = None,
    replicas: Annotated[
        tuple[int, int], typer.Option(metavar="LEAST MOST", help="Replicas on the cluster, by the load.")
    ] = (1, 4),
    max_in_flight: Annotated[
        int, typer.Option(min=1, help="Predict requests at a time in each process; the rest are refused.")
    ] = Limits.in_flight,
    max_wait_seconds: Annotated[
        float | None,
        seconds(
            0,
            "Longest expected wait for others' images.",
            show_default="so long that the answer takes 0.05, or twice what it takes alone",
        ),
    ] = None,
    max_images: Annotated[
        int, typer.Option(min=1, help="Most images in one request; more are refused.")
    ] = Limits.images,
    max_message_mib: Annotated[
        int, typer.Option(min=1, max=2047, help="Most MiB in one message; larger ones are refused.")
    ] = Limits.message_mib,
    read_seconds: Annotated[float, seconds(0.1, "Longest wait for a request to come in.")] = (Limits.read_seconds),
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM), for TLS on both ports.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM).")] = None,
    tls_client_ca: Annotated[Path | None, typer.Option(help="Let in only clients that this CA signed.")] = None,
    log_level: Annotated[Level, typer.Option(help="debug: a line for each request.")] = "info",
    log_format: Annotated[Format, typer.Option(help="json: an object a line, for machines.")] = "text",
) -> None:
    """Serve the models behind TensorFlow Serving's APIs. Follows what is published, until SIGTERM or Ctrl-C.

    \b
    digits serve
    digits serve --models /srv/models --host 0.0.0.0
    digits serve --config models.config
    """
    if backend == "tensorflow-serving":
        check_known_there(context)
    log = Log(log_level, log_format)
    with failures_told(log):
        if backend == "embedded":
            require("serving", "ai_edge_litert", "grpc_health", "grpc_reflection", "uvicorn")
        check_useful(
            context,
            {
                "without --cluster": not cluster,
                "with --cluster": bool(cluster),
                "with --no-rest": not rest,
                "with --config": bool(config),
            },
        )
        if rest_port is None:
            rest_port = REST_PORT if port else 0
        if not rest:
            rest_port = None
        if port and port == rest_port and not cluster:  # which has no REST port
            raise UsageError("--port and --rest-port are the same: choose two")
        from serving.settings import Settings

        settings = Settings(
            models=models,
            config=config,
            model_name=model_name,
            host=host,
            port=port,
            rest_port=rest_port,
            rest_timeout_seconds=rest_timeout_seconds,
            poll_seconds=poll_seconds,
            drain_seconds=drain_seconds,
            connection_seconds=connection_seconds,
            limits=Limits(
                in_flight=max_in_flight,
                wait_seconds=max_wait_seconds,
                images=max_images,
                message_mib=max_message_mib,
                read_seconds=read_seconds,
            ),
            tls=_tls_files(tls_cert, tls_key, tls_client_ca),
            log=log,
        )
        if backend == "tensorflow-serving":
            from serving.backend import run as run_tensorflow_serving

            run_tensorflow_serving(settings)
        elif cluster:
            if processes > 1:
                raise UsageError("a cluster has replicas instead of --processes: give --replicas LEAST MOST")
            _serve_on_cluster(settings, cluster, replicas)
        elif processes > 1:
            from serving.processes import run_several

            run_several(settings, processes)
        else:
            from serving.server import run

            run(settings)


def _serve_on_cluster(settings: "Settings", address: str, replicas: tuple[int, int]) -> None:
    from dataclasses import replace

    from serving.cluster import run

    if settings.tls:
        raise UsageError("Ray Serve has no TLS of ours: see RAY_USE_TLS in Ray's manual")
    if not 1 <= replicas[0] <= replicas[1]:
        raise UsageError(f"replicas {replicas[0]} {replicas[1]}: give the least, 1 or more, and the most")
    absolute = replace(
        settings, models=settings.models.absolute(), config=settings.config and settings.config.absolute()
    )
    run(absolute, address, replicas)


def _tls_files(cert: Path | None, key: Path | None, client_ca: Path | None) -> "TlsFiles | None":
    if cert and key:
        from serving.settings import TlsFiles

        return TlsFiles(cert, key, client_ca)
    if cert or key or client_ca:
        raise UsageError("TLS needs a certificate and its key: give both --tls-cert and --tls-key")
    return None
