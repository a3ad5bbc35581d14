"""The gateway, as someone outside sees it."""

import socket
import ssl
from typing import Any

import httpx

from verify.asked import Each, UnaskedError
from verify.cluster import Cluster
from verify.declared import Declared, known

PLAIN_PORT = 80
"""Where a request without TLS would come."""
_SECONDS = 15
_REFUSED = (401, 403)
Place = tuple[str, int]


def test_resolves(each: Each, declared: Declared, cluster: Cluster, host: Any) -> None:
    """The name of the gateway leads to an address, and its port is open."""

    def judge(at: Place) -> str | None:
        _ = cluster.machines
        if not host.addr(at[0]).is_resolvable:
            return "has no address"
        try:
            socket.create_connection(at, _SECONDS).close()
        except OSError as error:
            return f"does not answer on port {at[1]}: {error}"
        return None

    each(_hosts(declared), judge)


def test_certificate(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Its certificate is for its name, and of an authority that this machine trusts."""

    def judge(at: Place) -> str | None:
        _reached(cluster, at)
        try:
            with socket.create_connection(at, _SECONDS) as plain:
                ssl.create_default_context().wrap_socket(plain, server_hostname=at[0]).close()
        except ssl.SSLError as error:
            return str(error)
        return None

    each(_hosts(declared), judge)


def test_old_tls(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Who speaks no newer TLS than 1.1 is refused."""

    def judge(at: Place) -> str | None:
        _reached(cluster, at)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        except ValueError as error:
            raise UnaskedError("this machine speaks no old TLS") from error
        try:
            with socket.create_connection(at, _SECONDS) as plain:
                context.wrap_socket(plain, server_hostname=at[0]).close()
        except (ssl.SSLError, ConnectionError):
            return None
        return "TLS 1.1 was accepted"

    each(_hosts(declared), judge)


def test_refused_without_a_token(each: Each, declared: Declared, cluster: Cluster) -> None:
    """A request without a token is refused, or led to the issuer."""

    def judge(at: Place) -> list[str]:
        return [
            f"{path} answered {answer.status_code}"
            for path in ("/", "/v2/health/ready", "/mlflow/", "/pipeline/", "/grafana/")
            if not _shut(answer := _get(cluster, at, path))
        ]

    each(_hosts(declared), judge)


def test_refused_with_a_forged_token(each: Each, declared: Declared, cluster: Cluster) -> None:
    """A token that no one signed is refused."""
    forged = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJmYWxhai12ZXJpZnkifQ."

    def judge(at: Place) -> str | None:
        answer = _get(cluster, at, "/v2/health/ready", Authorization=f"Bearer {forged}")
        return None if answer.status_code in _REFUSED else f"answered {answer.status_code}"

    each(_hosts(declared), judge)


def test_forged_user(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Who says to be someone by a header is refused like anyone."""

    def judge(at: Place) -> str | None:
        answer = _get(cluster, at, "/v2/health/ready", **{"X-Falaj-User": "falaj-verify"})
        return None if _shut(answer) else f"answered {answer.status_code}"

    each(_hosts(declared), judge)


def test_strict_transport(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Browsers are told to come by TLS alone, and to guess no types."""

    def judge(at: Place) -> list[str]:
        headers = _get(cluster, at, "/").headers
        return [f"no {key}" for key in ("strict-transport-security", "x-content-type-options") if key not in headers]

    each(_hosts(declared), judge)


def test_no_plain_http(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Nothing answers without TLS."""

    def judge(at: Place) -> str | None:
        _reached(cluster, at)
        try:
            socket.create_connection((at[0], PLAIN_PORT), _SECONDS).close()
        except OSError:
            return None
        return f"port {PLAIN_PORT} is open"

    each(_hosts(declared), judge)


def _hosts(declared: Declared) -> dict[str, Place]:
    """Host names of the declared gateways, and where they listen."""
    return {
        listener["hostname"]: (listener["hostname"], int(listener["port"]))
        for inputs in declared.of("gateway.networking.k8s.io:Gateway").values()
        for listener in inputs["spec"]["listeners"]
        if known(listener.get("hostname"))
    }


def _reached(cluster: Cluster, at: Place) -> None:
    """Raise where the gateway is not reached from here; another check says so."""
    _ = cluster.machines
    try:
        socket.create_connection(at, _SECONDS).close()
    except OSError as error:
        raise UnaskedError(f"{at[0]} is not reached from here: {error}") from error


def _get(cluster: Cluster, at: Place, path: str, **headers: str) -> httpx.Response:
    _reached(cluster, at)
    # Another check judges the certificate.
    with httpx.Client(timeout=_SECONDS, verify=False, trust_env=False) as client:  # noqa: S501
        return client.get(f"https://{at[0]}:{at[1]}{path}", headers=headers)


def _shut(answer: httpx.Response) -> bool:
    led = answer.status_code == httpx.codes.FOUND and not answer.headers["location"].startswith("/")
    return answer.status_code in _REFUSED or led
