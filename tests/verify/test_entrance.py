"""The checks of the gateway from outside, against a server with TLS that refuses, or does not."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from tests.verify.test_cluster import Known, Objects
from verify.declared import Declared
from verify.run import verify

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
CLOSED = {
    "status": "401",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
}


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """One that this machine trusts."""
    found = trustme.CA()
    file = tmp_path / "authority.pem"
    found.cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    return found


@contextmanager
def _gateway(authority: trustme.CA, answer: dict[str, str], name: str = "localhost") -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(answer["status"]))
            for key, value in answer.items():
                if key != "status":
                    self.send_header(key, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: ARG002
            return None

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    authority.issue_cert(name).configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def _look(port: int, monkeypatch: pytest.MonkeyPatch, plain: int = 1) -> dict[str, str]:
    """The results; `plain` is the port that stands for 80 here, on which nothing listens."""
    monkeypatch.setattr("verify.checks.entrance.PLAIN_PORT", plain)
    objects = Objects()
    objects.add("v1", "Node", "node", namespace=None, declared=False)
    listener = {"name": "https", "hostname": "localhost", "port": port}
    objects.add("gateway.networking.k8s.io/v1", "Gateway", "falaj", spec={"listeners": [listener]})
    report = verify(Declared("test", objects.declared), cluster=Known(objects), parts=["entrance"])
    return {check.id.removeprefix("entrance."): check.result for check in report.checks}


def test_a_closed_gateway_holds(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    with _gateway(authority, CLOSED) as port:
        assert set(_look(port, monkeypatch).values()) == {"passed"}


def test_being_led_to_the_issuer_is_a_refusal(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    led = CLOSED | {"status": "302", "Location": "https://login.example.ae/"}
    with _gateway(authority, led) as port:
        found = _look(port, monkeypatch)
    assert found["refused_without_a_token"] == "passed"
    assert found["refused_with_a_forged_token"] == "failed"


def test_an_open_gateway_is_found(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    with _gateway(authority, {"status": "200"}) as port:
        found = _look(port, monkeypatch)
    assert {name for name, result in found.items() if result == "failed"} == {
        "refused_without_a_token",
        "refused_with_a_forged_token",
        "forged_user",
        "strict_transport",
    }


def test_a_certificate_for_another_name_is_found(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    with _gateway(authority, CLOSED, "other.example.ae") as port:
        assert _look(port, monkeypatch)["certificate"] == "failed"


def test_a_port_without_tls_is_found(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    with _gateway(authority, CLOSED) as port:
        assert _look(port, monkeypatch, plain=port)["no_plain_http"] == "failed"


def test_a_gateway_that_does_not_answer_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _look(1, monkeypatch)
    assert found.pop("resolves") == "failed"
    assert set(found.values()) == {"skipped"}
