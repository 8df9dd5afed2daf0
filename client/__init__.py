"""Read handwritten digits through TensorFlow Serving's API. No TensorFlow needed.

    from client import Client

    with Client("127.0.0.1:8500") as client:
        [prediction] = client.classify(["seven.png"])
        print(prediction.digit, prediction.probability)

Names are loaded when they are first used, so that `import client.cli` costs neither NumPy nor gRPC.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from client.aio import AsyncClient
    from client.answers import Benchmark, Prediction, VersionStatus
    from client.errors import (
        AccessDenied,
        ContractMismatch,
        DeadlineExceeded,
        DigitsError,
        InvalidImage,
        InvalidRequest,
        ModelNotFound,
        NoDigit,
        RequestCancelled,
        ServerError,
        ServerFault,
        ServerOverloaded,
        ServerUnavailable,
        UsageError,
    )
    from client.number import Number
    from client.prepare import read_image, to_mnist
    from client.remote import Client
    from client.results import Result

    __version__: str

__all__ = [
    "AccessDenied",
    "AsyncClient",
    "Benchmark",
    "Client",
    "ContractMismatch",
    "DeadlineExceeded",
    "DigitsError",
    "InvalidImage",
    "InvalidRequest",
    "ModelNotFound",
    "NoDigit",
    "Number",
    "Prediction",
    "RequestCancelled",
    "Result",
    "ServerError",
    "ServerFault",
    "ServerOverloaded",
    "ServerUnavailable",
    "UsageError",
    "VersionStatus",
    "__version__",
    "read_image",
    "to_mnist",
]

_HOMES = {
    "AsyncClient": "client.aio",
    "Client": "client.remote",
    "Number": "client.number",
    "Result": "client.results",
    **dict.fromkeys(("read_image", "to_mnist"), "client.prepare"),
    **dict.fromkeys(("Benchmark", "Prediction", "VersionStatus"), "client.answers"),
}

if not TYPE_CHECKING:  # or every name would be one of ours to a type checker

    def __getattr__(name: str) -> Any:
        """Load a public name on first use (PEP 562)."""
        if name == "__version__":
            from importlib.metadata import version

            return version("mnist-digits")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES.get(name, "client.errors")), name)

    def __dir__() -> list[str]:
        """Name what is not loaded yet, too, as an editor's completion asks."""
        return sorted({*globals(), *__all__})
