"""AWS's calls, read and refused in the protocol of their service, by the models and the code that moto has for them."""

import functools
import re
import warnings

import botocore.session
from moto.core.request import Request as Parsed
from moto.core.request import determine_request_protocol
from moto.core.routing import get_service_router
from moto.core.serialize import get_serializer_class
from moto.core.utils import get_service_model
from werkzeug.exceptions import NotFound

from rehearsal.aws import KINDS
from rehearsal.faults.proxy import Answer, Call, Effect, Forward, Request

_SCOPE = re.compile(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request")
_THROTTLED = {"ec2": "RequestLimitExceeded", "s3": "SlowDown", "iam": "Throttling", "rds": "Throttling"}
"""How services say that they are asked too often; all others `ThrottlingException`."""


class _RefusalError(Exception):
    """What moto's code makes an answer of, in the shape of the service's model where that has one for the code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def recognize(request: Request) -> Call:
    """Which operation of which service a request is; none where it is not signed or not known."""
    found = _SCOPE.search(request.headers.get("Authorization", ""))
    service = _services().get(found[1], found[1]) if found else ""
    if not service:
        return Call(service="", operation="", request=request)
    try:
        operation, _ = get_service_router(service).match(_parsed(request))
    except NotFound:
        return Call(service=service, operation="", request=request)
    return Call(service=service, operation=operation.name, request=request)


def refused(code: str, message: str) -> Effect:
    """Answer with an error of AWS's, without asking the service."""

    async def effect(call: Call, forward: Forward) -> Answer:  # noqa: ARG001
        model = get_service_model(call.service)
        protocol = determine_request_protocol(model, _parsed(call.request).content_type)
        operation = model.operation_model(call.operation)
        serializer = get_serializer_class(call.service, protocol)(operation)
        with warnings.catch_warnings():
            # Codes that all services have are in no model of one.
            warnings.filterwarnings("ignore", message=".*does not match an error shape")
            said = serializer.serialize(_RefusalError(code, message))
        return Answer(status=said["status_code"], headers=said["headers"], body=_bytes(said["body"]))

    return effect


async def throttled(call: Call, forward: Forward) -> Answer:
    """Say that the service is asked too often, without asking it."""
    code = _THROTTLED.get(call.service, "ThrottlingException")
    return await refused(code, "Rate exceeded")(call, forward)


def _bytes(body: str | bytes) -> bytes:
    return body.encode() if isinstance(body, str) else body


def _parsed(request: Request) -> Parsed:
    return Parsed.from_primitives(request.method, f"http://127.0.0.1{request.target}", request.headers, request.body)


@functools.cache
def _services() -> dict[str, str]:
    """Name in a signature → name of botocore's model, which differ for a few."""
    session = botocore.session.get_session()
    found: dict[str, str] = {}
    for name in {kind.service for kind in KINDS.values()} | {"sts"}:
        model = session.get_service_model(name)
        found[model.signing_name] = name
    return found
