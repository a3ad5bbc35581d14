"""Puts documents that rule an OpenSearch domain, such as rights and retention, where they belong.

`python -m core.search` reads from FALAJ_SEARCH the domain's address and the documents, and may run as often as
one likes. Requests are signed with the role of whoever runs it, which must be the domain's master.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import boto3
import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import ConfigError, FalajError, ServiceError

VARIABLE = "FALAJ_SEARCH"
_SECONDS = 30.0
_CONFLICT = 409
_log = logging.getLogger(__name__)


class Wanted(BaseModel):
    """What there is to be."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: Annotated[str, Field(pattern=r"^https://[^\s/]+$")]
    region: str
    documents: Mapping[Annotated[str, Field(pattern=r"^_plugins/[A-Za-z0-9_/-]+$")], Mapping[str, Any]]
    """By the path that each is put to."""


class Domain:
    """A domain's REST interface."""

    def __init__(self, wanted: Wanted, session: boto3.Session, client: httpx.Client) -> None:
        credentials = session.get_credentials()
        if credentials is None:
            raise ConfigError("no role to sign with: the service account needs its Pod Identity association")
        self._endpoint = wanted.endpoint
        self._signer = SigV4Auth(credentials, "es", wanted.region)
        self._client = client

    def put(self, path: str, document: Mapping[str, Any]) -> None:
        """Put a document; one that is there and has a version is replaced.

        Raises:
            ServiceError: The domain cannot be reached, or refuses.
        """
        answer = self._send("PUT", path, document)
        if answer.status_code == _CONFLICT:
            known = self._accepted(path, self._send("GET", path)).json()
            version = f"?if_seq_no={known['_seq_no']}&if_primary_term={known['_primary_term']}"
            answer = self._send("PUT", path + version, document)
        self._accepted(path, answer)

    def _send(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> httpx.Response:
        url = f"{self._endpoint}/{path}"
        body = b"" if document is None else json.dumps(document).encode()
        request = AWSRequest(method, url, {"Content-Type": "application/json"}, body)
        self._signer.add_auth(request)
        try:
            return self._client.request(method, url, headers=dict(request.headers), content=body)
        except httpx.HTTPError as error:
            raise ServiceError(f"OpenSearch at {self._endpoint}: {error!r}") from error

    def _accepted(self, path: str, answer: httpx.Response) -> httpx.Response:
        if answer.is_success:
            return answer
        raise ServiceError(
            f"OpenSearch at {self._endpoint} answered {answer.status_code} for {path}: {answer.text[:500]}"
        )


def main() -> int:
    """Read what is wanted, and put it; 1 where it could not be."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        wanted = Wanted.model_validate_json(os.environ.get(VARIABLE, ""))
        with httpx.Client(timeout=_SECONDS) as client:
            domain = Domain(wanted, boto3.Session(), client)
            for path, document in wanted.documents.items():
                domain.put(path, document)
                _log.info("%s: put", path)
    except ValidationError as error:
        _log.error("%s is not what core/search.py reads: %s", VARIABLE, error)
        return 1
    except FalajError as error:
        _log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
