"""Why a request is refused, in terms that every transport translates."""

from core.errors import FalajError
from serving.runtime.resting import Resting

RETRY_AFTER_S = 1
GONE = 0.0
"""The deadline, a moment of `time.perf_counter`, of a request whose client went away."""
ABANDONED = 499
"""The client went away before its turn: a status that is counted, and that nobody is there to see."""

# https://grpc.io/docs/guides/status-codes/
_CANCELLED, _INVALID_ARGUMENT, _DEADLINE_EXCEEDED, _NOT_FOUND, _RESOURCE_EXHAUSTED = 1, 3, 4, 5, 8
_INTERNAL, _UNAVAILABLE = 13, 14
_GRPC_CODES = {
    400: _INVALID_ARGUMENT,
    404: _NOT_FOUND,
    413: _RESOURCE_EXHAUSTED,
    ABANDONED: _CANCELLED,
    503: _UNAVAILABLE,
    504: _DEADLINE_EXCEEDED,
}


class RefusedError(FalajError):
    """A request that is not answered. `status` is the HTTP status; 503 heals when it is tried again.

    `resting` is where a client may be left to rest that was refused for want of room.
    """

    def __init__(self, status: int, reason: str, resting: Resting | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.resting = resting

    @property
    def grpc_code(self) -> int:
        """The gRPC status of the same meaning."""
        return _GRPC_CODES.get(self.status, _INTERNAL)


def invalid(reason: str) -> RefusedError:
    return RefusedError(400, reason)


def unavailable(reason: str, resting: Resting | None = None) -> RefusedError:
    return RefusedError(503, reason, resting)


def late(reason: str) -> RefusedError:
    return RefusedError(504, reason)


def abandoned() -> RefusedError:
    return RefusedError(ABANDONED, "the client went away")
