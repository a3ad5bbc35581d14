"""The servers that a rehearsal stands on: moto, etcd, Kubernetes' own control plane, and kwok for its nodes."""

import os
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from core.errors import ConfigError, FalajError
from rehearsal.kubernetes import scheduling
from rehearsal.ports import free_ports

_START_SECONDS = 90
_STOP_SECONDS = 10
_SERVICES = "10.96.0.0/16"
KUBECONFIG = "kubeconfig.yaml"
CONTEXT = "rehearsal"
"""The one context of that file."""


class ServerError(FalajError):
    """A server does not start, or ended before it should."""


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Where they are: the address of moto, and a kubeconfig that may do everything."""

    aws: str
    kubeconfig: Path

    @property
    def environment(self) -> dict[str, str]:
        """What tells the engine's providers where they are."""
        return {
            "AWS_ENDPOINT_URL": self.aws,
            "AWS_ACCESS_KEY_ID": "rehearsal",
            "AWS_SECRET_ACCESS_KEY": "rehearsal",
            "AWS_EC2_METADATA_DISABLED": "true",
            # moto is never too busy: what it does not answer at once, it does not answer later either.
            "AWS_RETRY_MODE": "standard",
            "AWS_MAX_ATTEMPTS": "2",
            "KUBECONFIG": str(self.kubeconfig),
        }


@contextmanager
def running(folder: Path, account: str, path: str, site: Mapping[str, Any] | None = None) -> Iterator[Servers]:
    """Start the servers, and end them with the block.

    Args:
        folder: Holds their data and logs.
        account: ID of the AWS account that moto plays.
        path: Where the programs are looked for.
        site: Nodes and storage that are there from the beginning, as `scheduling.site_of` tells them.

    Raises:
        ServerError: One does not start; the message names its log.
    """
    with ExitStack() as stack:
        aws = stack.enter_context(emulation(folder, account))
        kubeconfig = stack.enter_context(_cluster(folder, path))
        stack.enter_context(_nodes(folder, path, kubeconfig, aws, site or {}))
        yield Servers(aws=aws, kubeconfig=kubeconfig)


@contextmanager
def _process(
    name: str,
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    *,
    answers: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    """A server as a child; with `answers`, it prints its address."""
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE if answers else log,
            stderr=log,
            text=True,
            env=os.environ | (environment or {}),
            # An interrupt at the terminal is for the rehearsal, which then ends them in order.
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


@contextmanager
def emulation(folder: Path, account: str) -> Iterator[str]:
    """The address of moto alone, which is ended with the block.

    Args:
        folder: Holds its log.
        account: ID of the AWS account that it plays.

    Raises:
        ServerError: It does not start; the message names its log.
    """
    known = {"MOTO_ACCOUNT_ID": account, "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"}
    command = [sys.executable, "-m", "rehearsal.aws.emulation"]
    with _process("moto", command, folder, known, answers=True) as process:
        address = process.stdout.readline().strip() if process.stdout else ""
        if not address:
            raise ServerError(
                f"moto did not start, see {folder / 'moto.log'}: its package is of the group dev, run `uv sync`"
            )
        yield address


@contextmanager
def _cluster(folder: Path, path: str) -> Iterator[Path]:
    keys = folder / "keys"
    keys.mkdir(mode=0o700, exist_ok=True)
    signing = keys / "service-accounts.pem"
    _write(signing, _key())
    token = secrets.token_hex(16)
    _write(keys / "tokens.csv", f"{token},rehearsal,rehearsal,system:masters\n".encode())
    etcd, peers, port = free_ports(3)
    stored, heard = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peers}"
    etcd_command = [
        _found("etcd", path),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={stored}",
        f"--advertise-client-urls={stored}",
        f"--listen-peer-urls={heard}",
        f"--initial-advertise-peer-urls={heard}",
        f"--initial-cluster=default={heard}",
        # What a rehearsal stores is gone with it.
        "--unsafe-no-fsync",
    ]
    server_command = [
        _found("kube-apiserver", path),
        f"--etcd-servers={stored}",
        f"--secure-port={port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        # No endpoint of the API server may be of loopback, and no pod calls it here.
        "--endpoint-reconciler-type=none",
        f"--cert-dir={keys}",
        f"--token-auth-file={keys / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--anonymous-auth=false",
        "--allow-privileged=true",
        f"--service-cluster-ip-range={_SERVICES}",
        "--service-account-issuer=https://rehearsal.invalid",
        f"--service-account-key-file={signing}",
        f"--service-account-signing-key-file={signing}",
        # The webhooks of operators have no pods here that would answer.
        "--disable-admission-plugins=MutatingAdmissionWebhook,ValidatingAdmissionWebhook",
    ]
    kubeconfig = folder / KUBECONFIG
    controllers_command = [
        _found("kube-controller-manager", path),
        f"--kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        "--secure-port=0",
        "--leader-elect=false",
        f"--service-account-private-key-file={signing}",
        "--use-service-account-credentials=false",
        "--concurrent-namespace-syncs=20",
        "--concurrent-gc-syncs=20",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    ]
    with _process("etcd", etcd_command, folder), _process("kube-apiserver", server_command, folder) as server:
        url, authority = f"https://127.0.0.1:{port}", keys / "apiserver.crt"
        _ready(server, f"{url}/readyz", authority, token, folder / "kube-apiserver.log")
        _write(kubeconfig, yaml.safe_dump(_kubeconfig(url, authority, token)).encode())
        with _process("kube-controller-manager", controllers_command, folder) as controllers:
            time.sleep(1)
            if controllers.poll() is not None:
                raise ServerError(f"kube-controller-manager ended, see {folder / 'kube-controller-manager.log'}")
            yield kubeconfig


@contextmanager
def _nodes(folder: Path, path: str, kubeconfig: Path, aws: str, site: Mapping[str, Any]) -> Iterator[None]:
    scheduler = scheduling.scheduler(_found("kube-scheduler", path), kubeconfig)
    agent = scheduling.agent(_found("kwok", path), kubeconfig)
    machines = scheduling.machines(sys.executable, kubeconfig, aws, site)
    with (
        _process("kube-scheduler", scheduler, folder),
        _process("kwok", agent, folder),
        _process("machines", machines, folder, answers=True) as process,
    ):
        if not (process.stdout and process.stdout.readline()):
            raise ServerError(f"the machines of the cluster did not start, see {folder / 'machines.log'}")
        yield


def _kubeconfig(url: str, authority: Path, token: str) -> dict[str, object]:
    name = CONTEXT
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url, "certificate-authority": str(authority)}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def _found(program: str, path: str) -> str:
    executable = shutil.which(program, path=path)
    if executable is None:
        raise ConfigError(f"there is no {program} on this machine: run `python -m tools.build rehearsal`")
    return executable


def _key() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


def _write(file: Path, content: bytes) -> None:
    file.touch(mode=0o600)
    file.write_bytes(content)


def _ready(server: "subprocess.Popen[str]", url: str, authority: Path, token: str, log: Path) -> None:
    last = time.monotonic() + _START_SECONDS
    while time.monotonic() < last:
        if server.poll() is not None:
            break
        try:
            context = ssl.create_default_context(cafile=str(authority))
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310
            with urllib.request.urlopen(request, timeout=2, context=context):  # noqa: S310
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.3)
    raise ServerError(f"kube-apiserver did not become ready, see {log}")
