import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import httpx
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from pydantic import ValidationError

from core.errors import ServiceError
from core.search import VARIABLE, Domain, Wanted

KEY, SECRET = "AKIAEXAMPLE", "example-of-a-secret"
POLICY = "_plugins/_ism/policies/logs"
ROLE = "_plugins/_security/api/roles/writers"


@dataclass
class Cluster:
    """A domain's manners: it wants a signature, and a version of what is there already."""

    port: int = 0
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def signature(method: str, url: str, headers: dict[str, str], body: bytes) -> str:
    """What AWS itself makes of a request, with the secret that it knows."""
    request = AWSRequest(method, url, {"Content-Type": headers["content-type"]}, body)
    request.context["timestamp"] = headers["x-amz-date"]
    signer = SigV4Auth(Credentials(KEY, SECRET), "es", "me-central-1")
    request.headers["X-Amz-Date"] = headers["x-amz-date"]
    string = signer.string_to_sign(request, signer.canonical_request(request))
    return signer.signature(string, request)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    found = Cluster()

    class Handler(BaseHTTPRequestHandler):
        def answer(self, code: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def signed(self, body: bytes) -> bool:
            headers = {key.lower(): value for key, value in self.headers.items()}
            url = f"http://{headers['host']}{self.path}"
            expected = signature(self.command, url, headers, body)
            return headers.get("authorization", "").endswith(f"Signature={expected}")

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].removeprefix("/")
            if not self.signed(b""):
                return self.answer(403, {"message": "The request signature does not match"})
            if path not in found.documents:
                return self.answer(404, {})
            return self.answer(200, {"_seq_no": found.versions[path], "_primary_term": 1, **found.documents[path]})

        def do_PUT(self) -> None:
            path, _, query = self.path.removeprefix("/").partition("?")
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not self.signed(body):
                return self.answer(403, {"message": "The request signature does not match"})
            if path in found.refused:
                return self.answer(400, {"reason": "Unsupported field"})
            known = found.versions.get(path)
            if "_ism" in path and known is not None and query != f"if_seq_no={known}&if_primary_term=1":
                return self.answer(409, {"error": "version conflict"})
            found.documents[path] = json.loads(body)
            found.versions[path] = (known or 0) + 1
            return self.answer(200, {})

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def domain(cluster: Cluster, secret: str = SECRET) -> Domain:
    wanted = Wanted.model_construct(endpoint=f"http://127.0.0.1:{cluster.port}", region="me-central-1", documents={})
    session = boto3.Session(aws_access_key_id=KEY, aws_secret_access_key=secret)
    return Domain(wanted, session, httpx.Client(timeout=5))


def test_documents_are_put_with_a_signature_that_aws_would_accept(cluster: Cluster) -> None:
    domain(cluster).put(ROLE, {"cluster_permissions": ["cluster_composite_ops"]})
    assert cluster.documents[ROLE] == {"cluster_permissions": ["cluster_composite_ops"]}


def test_one_that_is_there_is_replaced_at_its_version(cluster: Cluster) -> None:
    for days in ("30d", "60d", "90d"):
        domain(cluster).put(POLICY, {"policy": {"age": days}})
    assert cluster.documents[POLICY] == {"policy": {"age": "90d"}}
    assert cluster.versions[POLICY] == 3


def test_a_role_that_is_not_the_master_is_refused(cluster: Cluster) -> None:
    with pytest.raises(ServiceError, match=f"answered 403 for {ROLE}: .*signature does not match"):
        domain(cluster, "another").put(ROLE, {})


def test_what_the_domain_says_is_shown(cluster: Cluster) -> None:
    cluster.refused.append(ROLE)
    with pytest.raises(ServiceError, match=r"answered 400 .*Unsupported field"):
        domain(cluster).put(ROLE, {})


def test_a_domain_that_is_not_there_is_named() -> None:
    with pytest.raises(ServiceError, match=r"OpenSearch at http://127\.0\.0\.1:1: ConnectError"):
        domain(Cluster(port=1)).put(ROLE, {})


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint": "http://search.example.ae"},
        {"endpoint": "https://search.example.ae/path"},
        {"documents": {"_cluster/settings": {}}},
        {"documents": {"_plugins/../_cluster": {}}},
        {"other": 1},
    ],
)
def test_only_rules_of_plugins_are_put_and_only_over_tls(changes: dict[str, Any]) -> None:
    document = {"endpoint": "https://search.example.ae", "region": "me-central-1", "documents": {ROLE: {}}}
    Wanted.model_validate(document)
    with pytest.raises(ValidationError):
        Wanted.model_validate(document | changes)


def test_as_a_program_it_says_what_it_cannot_reach() -> None:
    document = {"endpoint": "https://127.0.0.1:1", "region": "me-central-1", "documents": {ROLE: {}}}
    environment = {"PATH": os.environ["PATH"], "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    done = subprocess.run(
        [sys.executable, "-m", "core.search"],
        env={**environment, VARIABLE: json.dumps(document)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "OpenSearch at https://127.0.0.1:1" in done.stderr
    assert SECRET not in done.stderr
