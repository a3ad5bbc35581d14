"""Kubernetes' calls, by the paths of its API, and its answers when it does not do what is asked."""

import json
import re
from http import HTTPStatus
from typing import Any

from rehearsal.faults.proxy import Answer, Call, Effect, Forward, Request

_PATH = re.compile(
    r"/(?:api/(?P<core>v1)|apis/(?P<group>[^/?]+/[^/?]+))"
    r"(?:/namespaces/[^/?]+(?=/))?/(?P<resource>[^/?]+)(?:/(?P<name>[^/?]+))?"
)
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def recognize(request: Request) -> Call:
    """Which verb on which resource a request is: `patch deployments` of `apps/v1`."""
    found = _PATH.match(request.target)
    if found is None:
        return Call(
            service="", operation=f"{_VERBS.get(request.method, request.method)} {request.target}", request=request
        )
    return Call(
        service=found["core"] or found["group"],
        operation=f"{_VERBS.get(request.method, request.method)} {found['resource']}",
        request=request,
    )


def refused(status: HTTPStatus, reason: str, message: str, *, retry_after: int | None = None) -> Effect:
    """Answer with a Status, without asking the API server.

    Args:
        reason: As in https://pkg.go.dev/k8s.io/apimachinery/pkg/apis/meta/v1#StatusReason.
        retry_after: Seconds that the client is asked to wait for.
    """
    body: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": status.value,
    }
    headers = {"Content-Type": "application/json"} | ({} if retry_after is None else {"Retry-After": str(retry_after)})

    async def effect(call: Call, forward: Forward) -> Answer:  # noqa: ARG001
        return Answer(status=status, headers=headers, body=json.dumps(body).encode())

    return effect
