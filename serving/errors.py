"""The server's one error: a gRPC status and a text that clients of TensorFlow Serving know."""

from client.errors import DigitsError

STATUSES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""gRPC's status names, and TensorFlow's: a name's position is its code."""
MAX_TEXT_BYTES = 1024
"""TensorFlow Serving cuts longer texts (tensorflow_serving/model_servers/grpc_status_util.cc)."""


class ServingError(DigitsError):
    """What the server answers instead of a result; `status` is the gRPC status name, for example "NOT_FOUND"."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


def invalid(message: str) -> ServingError:
    """Make the error for a request that cannot be answered whatever the server's state."""
    return ServingError("INVALID_ARGUMENT", message)


def unknown_label(label: str) -> ServingError:
    """Make TensorFlow Serving's error for a label that no version has."""
    return invalid(f"Unrecognized servable version label: {label}")


def not_found(model: str, version: int | None) -> ServingError:
    """Make TensorFlow Serving's error for a version of a model, or None for its newest, that does not answer now."""
    asked = f"Latest({model})" if version is None else f"Specific({model}, {version})"
    return ServingError("NOT_FOUND", f"Servable not found for request: {asked}")


def too_late() -> ServingError:
    """Make the error for a request whose time is over, with TensorFlow Serving's text."""
    return ServingError("DEADLINE_EXCEEDED", "Timed out waiting for notification")


def gone() -> ServingError:
    """Make the error for a request whose caller waits no more."""
    return ServingError("CANCELLED", "the caller has left")


def unreadable() -> ServingError:
    """Make the error for a message that is not of its method's type, with gRPC's own text."""
    return ServingError("INTERNAL", "Exception deserializing request!")


def reason(error: Exception) -> str:
    """Tell what went wrong, and for a file which one."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def truncated(message: str) -> str:
    """Cut a text to the length that TensorFlow Serving puts into a gRPC status, and a blank at its end.

    TensorFlow Serving has texts that end in one: Node's HTTP/2 drops such a message whole, and HAProxy the blank.
    """
    message = message.rstrip(" ")
    encoded = message.encode()
    if len(encoded) <= MAX_TEXT_BYTES:
        return message
    return encoded[:MAX_TEXT_BYTES].decode(errors="ignore") + "...TRUNCATED"
