"""Why a request is refused, in terms that every transport translates."""

import grpc

from core.errors import FalajError

RETRY_AFTER_S = 1

_STATUS_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class RefusedError(FalajError):
    """A request that is not answered. `status` is the HTTP status; 503 heals when it is tried again."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason

    @property
    def code(self) -> grpc.StatusCode:
        """The gRPC status of the same meaning."""
        return _STATUS_CODES.get(self.status, grpc.StatusCode.INTERNAL)


def invalid(reason: str) -> RefusedError:
    return RefusedError(400, reason)


def unavailable(reason: str) -> RefusedError:
    return RefusedError(503, reason)


def late(reason: str) -> RefusedError:
    return RefusedError(504, reason)
