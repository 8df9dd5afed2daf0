"""Everything that can go wrong, named for what happened to the user.

    DigitsError                 exit code 1
    ├── UsageError              2   an option or argument that cannot be right; a client that is closed
    ├── InvalidImage            1   a file or array that holds no readable image
    │   └── NoDigit             0   an image without ink: for the command line an answer, not a failure
    └── ServerError             1   the server answered with an error; `.status` is its gRPC status name
        ├── ServerUnavailable   3   UNAVAILABLE: nobody answers at the address
        ├── DeadlineExceeded    3   DEADLINE_EXCEEDED: no answer in time
        ├── ServerOverloaded    3   RESOURCE_EXHAUSTED: the server refuses more work at the moment
        ├── RequestCancelled    3   CANCELLED, ABORTED: the call was given up on one side
        ├── AccessDenied        1   UNAUTHENTICATED, PERMISSION_DENIED
        ├── ModelNotFound       4   NOT_FOUND: the server does not serve that model or version
        ├── ContractMismatch    4   FAILED_PRECONDITION, UNIMPLEMENTED: another kind of model or server is there
        ├── InvalidRequest      1   INVALID_ARGUMENT, OUT_OF_RANGE, ALREADY_EXISTS; RESOURCE_EXHAUSTED for more than a
        │                           server ever takes at once
        └── ServerFault         1   INTERNAL, UNKNOWN, DATA_LOSS: a fault in the server

`STATUSES` maps every gRPC status to one of them. A message says what happened, to which thing, and the next step, in
one line. The command line prints it on stderr and ends with the exit code above; 130 is Ctrl-C, 143 SIGTERM.
"""


class DigitsError(Exception):
    """Base of every error that this project raises on purpose."""

    exit_code = 1


class UsageError(DigitsError):
    """An option or argument that cannot be right, or a client that is closed."""

    exit_code = 2


class InvalidImage(DigitsError):
    """A file or array that holds no readable image."""


class NoDigit(InvalidImage):
    """A readable image with no ink on the paper. Where files are listed it is an answer, not a failure."""

    exit_code = 0


class ServerError(DigitsError):
    """The server answered with an error.

    `status` is the gRPC status name, for example "NOT_FOUND". The original `grpc.RpcError` is the `__cause__`.
    """

    def __init__(self, message: str, status: str = "UNKNOWN") -> None:
        super().__init__(message)
        self.status = status


class ServerUnavailable(ServerError):
    """Nobody answers at the address."""

    exit_code = 3


class DeadlineExceeded(ServerError):
    """No answer within the deadline."""

    exit_code = 3


class ServerOverloaded(ServerError):
    """The server refuses more work at the moment; TensorFlow Serving does so past four requests in flight per CPU."""

    exit_code = 3


class RequestCancelled(ServerError):
    """The call was given up, by this side or by the server."""

    exit_code = 3


class AccessDenied(ServerError):
    """The server wants other credentials."""


class ModelNotFound(ServerError):
    """The server does not serve that model or version (now)."""

    exit_code = 4


class ContractMismatch(ServerError):
    """Something else than a digit model behind TensorFlow Serving's API is at the address."""

    exit_code = 4


class InvalidRequest(ServerError):
    """The server refused the request's content."""


class ServerFault(ServerError):
    """A fault in the server itself."""


REASONS = {
    "Tls handshake failed": "no TLS there, or a certificate that --ca does not know",
    "Socket closed": "it closed the connection: it stops, or wants --tls, or another --cert and --key",
    "http1.x": "that is a port for HTTP, as REST's; gRPC's is another",
}
"""What gRPC says of a connection that fails, in part → what it means for a person."""
TOO_LARGE_WORDS = "Split it.", "message larger than max"
"""What our server and gRPC say of a request that is refused whenever it is sent."""
TOO_LARGE: tuple[type[ServerError], str] = (
    InvalidRequest,
    "{server} takes smaller requests only ({details}). Give fewer images a request with --batch",
)
NO_VERSION: tuple[type[ServerError], str] = (
    ModelNotFound,
    "{server} does not serve {model} version {version} ({details}). See its versions with: digits status {options}",
)
"""NOT_FOUND where one version was asked for."""
STATUSES: dict[str, tuple[type[ServerError], str]] = {
    "UNAVAILABLE": (
        ServerUnavailable,
        "no server answers at {server} ({reason}). Start one with: digits serve, or give the right address as "
        "--server HOST:PORT",
    ),
    "DEADLINE_EXCEEDED": (
        DeadlineExceeded,
        "no answer from {server} within {timeout:g} s. See whether the server is busy, or allow more with --timeout",
    ),
    "RESOURCE_EXHAUSTED": (
        ServerOverloaded,
        "{server} refuses more work at the moment ({details}). Try again later; TensorFlow Serving takes more at a "
        "time with --grpc_max_threads",
    ),
    "CANCELLED": (RequestCancelled, "the call to {server} was cancelled ({details}). Try again"),
    "ABORTED": (RequestCancelled, "{server} aborted the call ({details}). Try again"),
    "UNAUTHENTICATED": (AccessDenied, "{server} wants credentials ({details}). Ask its operator for access"),
    "PERMISSION_DENIED": (AccessDenied, "{server} refuses access ({details}). Ask its operator for access"),
    "NOT_FOUND": (
        ModelNotFound,
        "{server} does not serve {model} ({details}). Ask its operator what it serves (digits serve lists it on its "
        "REST port, at /v1/models), and name that with --model",
    ),
    "FAILED_PRECONDITION": (
        ContractMismatch,
        "{model} at {server} is not one of our digit models ({details}). Name another with --model or --server",
    ),
    "UNIMPLEMENTED": (
        ContractMismatch,
        "{server} does not speak TensorFlow Serving's API ({details}). Give its gRPC port, usually 8500, as --server "
        "HOST:PORT",
    ),
    "INVALID_ARGUMENT": (
        InvalidRequest,
        "{model} at {server} refused the request ({details}). Is it a digit model exported by: digits train?",
    ),
    "OUT_OF_RANGE": (InvalidRequest, "{server} refused the request's range ({details}). Report it with this line"),
    "ALREADY_EXISTS": (InvalidRequest, "{server} refused the request ({details}). Report it with this line"),
    "INTERNAL": (ServerFault, "a fault in {server} ({details}). Look into the server's log"),
    "UNKNOWN": (ServerFault, "an unknown fault in {server} ({details}). Look into the server's log"),
    "DATA_LOSS": (ServerFault, "{server} lost data ({details}). Look into the server's log"),
}
"""gRPC status name → the error and its message. Every status but OK is here."""
