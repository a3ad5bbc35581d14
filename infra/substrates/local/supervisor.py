"""supervisord and its programs as resources. https://supervisord.org

Providers are stateless and importable, as in `files.py`.
"""

import hashlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import xmlrpc.client
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)
from pydantic import BaseModel, ConfigDict
from supervisor.xmlrpc import Faults, SupervisorTransport

from core.errors import ConfigError, ServiceError
from core.processes import still_running
from infra.substrates.local.files import plain_errors, private_folder, write_atomically
from infra.substrates.local.launch import belongs, stop_leftovers

RUNNING = "running"
_HEALTHY = frozenset({"STARTING", "RUNNING", "BACKOFF"})
_ATTEMPTS = 3
"""Starts of a new program after which it is given up, and the reason reported."""
_LOG_LINES = 15
_DAEMON_SECONDS = 20


class _Properties(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Daemon(_Properties):
    """Inputs of `Supervisor`."""

    home: Path
    sockets: Path
    configuration: Path
    logs: Path

    @property
    def socket(self) -> Path:
        return self.sockets / "supervisor.sock"

    @property
    def server(self) -> str:
        return f"unix://{self.socket}"

    @property
    def file(self) -> Path:
        return self.configuration / "supervisord.conf"

    def render(self) -> str:
        """supervisord.conf: https://supervisord.org/configuration.html."""
        return f"""[supervisord]
directory = {self.home}
logfile = {self.logs}/supervisord.log
logfile_maxbytes = 10MB
logfile_backups = 2
pidfile = {self.sockets}/supervisord.pid
umask = 077

[unix_http_server]
file = {self.socket}
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = {self.server}

[include]
files = programs/*.conf
"""


class Program(_Properties):
    """Inputs of `Process`."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    ports: dict[str, int]
    settings: dict[str, str]
    directory: Path
    configuration: Path
    log: Path
    socket: str
    scratch: Path
    probe: str
    grace_seconds: int
    start_seconds: int
    files: str
    """Digest of the configuration files that the program reads only when it starts."""

    @property
    def server(self) -> str:
        return f"unix://{self.socket}"

    @property
    def file(self) -> Path:
        return self.configuration / "programs" / f"{self.name}.conf"

    @property
    def launch_file(self) -> Path:
        return self.configuration / "programs" / f"{self.name}.json"

    def render(self) -> str:
        launcher = [sys.executable, "-m", "infra.substrates.local.launch", str(self.launch_file)]
        # A program that dies after its first second is started again at once; one that dies earlier, after
        # a pause that grows by a second each time. It is never given up.
        return f"""[program:{self.name}]
command = {shlex.join(launcher).replace("%", "%%")}
directory = {self.directory}
autostart = true
autorestart = true
startsecs = 1
startretries = 1000000
stopwaitsecs = {self.grace_seconds}
stopasgroup = true
killasgroup = true
redirect_stderr = true
stdout_logfile = {self.log}
stdout_logfile_maxbytes = 20MB
stdout_logfile_backups = 3
"""

    def render_launch(self) -> str:
        launch = {
            "command": self.command,
            "environment": self.environment,
            "scratch": str(self.scratch),
            "files": self.files,
        }
        return json.dumps(launch, indent=2, sort_keys=True) + "\n"

    def digest(self) -> str:
        return _digest(self.render(), self.render_launch())

    def found_digest(self) -> str:
        """Digest of the files on disk; equal to `digest` until someone edits or removes one."""
        try:
            return _digest(self.file.read_text(), self.launch_file.read_text())
        except OSError:
            return ""


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


@contextmanager
def rpc(server: str) -> Iterator[Any]:
    """supervisord's methods: https://supervisord.org/api.html."""
    with closing(SupervisorTransport(None, None, server)) as transport:
        yield xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor


def process_state(server: str, name: str) -> dict[str, Any] | None:
    """What supervisord says of a program; None where it has no such program, or does not run."""
    try:
        with rpc(server) as supervisor:
            return dict(supervisor.getProcessInfo(name))
    except xmlrpc.client.Fault as fault:
        if fault.faultCode == Faults.BAD_NAME:
            return None
        raise
    except (OSError, xmlrpc.client.ProtocolError):
        return None


def is_free(port: int) -> bool:
    """Whether a server could listen on the port of the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def listener(port: int) -> psutil.Process | None:
    """The process that listens on a port, as far as this user may know it."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return None
    for connection in connections:
        if (
            connection.status == psutil.CONN_LISTEN
            and connection.laddr
            and connection.laddr.port == port
            and connection.pid
        ):
            try:
                return psutil.Process(connection.pid)
            except psutil.NoSuchProcess:
                return None
    return None


def busy_port(program: Program, name: str) -> str | None:
    """Why a port of the program cannot be used; None where it can, or where its holder is ours and will yield it."""
    port = program.ports[name]
    if is_free(port):
        return None
    holder = listener(port)
    if holder is None:
        who = "another process"
    elif belongs(holder, program.server, None):
        return None
    else:
        who = f"{holder.name()} (process {holder.pid})"
    return f"port {port} is in use by {who}: stop it, or set {program.settings[name]} in stacks/Pulumi.local.yaml"


class SupervisorProvider(ResourceProvider):
    serialize_as_secret_always = False

    @plain_errors
    def create(self, props: dict[str, Any]) -> CreateResult:
        daemon = Daemon.model_validate(props)
        _shut_down(daemon)
        for folder in (daemon.configuration / "programs", daemon.logs, daemon.sockets):
            private_folder(folder)
        if daemon.sockets.stat().st_uid != os.getuid():
            raise ConfigError(f"{daemon.sockets} belongs to another user: remove it")
        for stale in (daemon.configuration / "programs").iterdir():
            stale.unlink()
        write_atomically(daemon.file, daemon.render())
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(daemon.file)]
        run = subprocess.run(
            command,
            cwd=daemon.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            timeout=_DAEMON_SECONDS,
            check=False,
            text=True,
        )
        if run.returncode != 0:
            raise ServiceError(f"supervisord did not start: {run.stdout.strip()}")
        for _ in _until(_DAEMON_SECONDS):
            if _pid(daemon) is not None:
                return CreateResult(daemon.server, props | _found(daemon))
        raise ServiceError(f"supervisord does not answer on {daemon.socket}: see {daemon.logs}/supervisord.log")

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        daemon = Daemon.model_validate(news)
        if olds.get("digest") == _digest(daemon.render()):
            return DiffResult(changes=False)
        return DiffResult(changes=True, replaces=["home"], delete_before_replace=True)

    @plain_errors
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        daemon = Daemon.model_validate(props)
        if _pid(daemon) is None:
            return ReadResult(None, {})
        return ReadResult(id_, props | _found(daemon))

    @plain_errors
    def delete(self, _id: str, props: dict[str, Any]) -> None:
        daemon = Daemon.model_validate(props)
        _shut_down(daemon)
        daemon.file.unlink(missing_ok=True)


def _found(daemon: Daemon) -> dict[str, Any]:
    text = daemon.file.read_text() if daemon.file.exists() else ""
    return {"digest": _digest(text)}


def _pid(daemon: Daemon) -> int | None:
    try:
        with rpc(daemon.server) as supervisor:
            return int(supervisor.getPID())
    except (OSError, xmlrpc.client.Error):
        return None


def _shut_down(daemon: Daemon) -> None:
    """End supervisord, where it runs, and everything that it or a killed predecessor started."""
    pid = _pid(daemon)
    if pid is not None:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            with rpc(daemon.server) as supervisor:
                supervisor.shutdown()
            if still_running([process], _DAEMON_SECONDS):
                raise ServiceError(f"supervisord (process {pid}) does not stop: see {daemon.logs}/supervisord.log")
    stop_leftovers(daemon.server)
    for name in ("supervisor.sock", "supervisord.pid"):
        (daemon.sockets / name).unlink(missing_ok=True)


class Supervisor(Resource, module="local", name="Supervisor"):
    """supervisord, detached from the engine. `socket` is read by every `Process`."""

    socket: pulumi.Output[str]

    def __init__(self, name: str, daemon: Daemon, opts: pulumi.ResourceOptions) -> None:
        props = daemon.model_dump(mode="json")
        super().__init__(SupervisorProvider(), name, props | {"socket": str(daemon.socket), "digest": None}, opts)


class ProcessProvider(ResourceProvider):
    serialize_as_secret_always = False

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        """Refuse a busy port already in a preview, before anything is stopped or started."""
        program = Program.model_validate(news)
        before = {name: int(port) for name, port in (olds or {}).get("ports", {}).items()}
        failures = [
            CheckFailure("ports", reason)
            for name, port in program.ports.items()
            if before.get(name) != port and (reason := busy_port(program, name))
        ]
        return CheckResult(news, failures)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        program = Program.model_validate(news)
        before = {name: int(port) for name, port in olds.get("ports", {}).items()}
        replaces = [
            key
            for key, changed in (
                ("ports", before != program.ports),
                ("name", olds.get("name") != program.name),
                ("socket", olds.get("socket") != program.socket),
            )
            if changed
        ]
        changes = bool(replaces) or olds.get("state") != RUNNING or olds.get("digest") != program.digest()
        return DiffResult(changes=changes, replaces=replaces, delete_before_replace=True)

    @plain_errors
    def create(self, props: dict[str, Any]) -> CreateResult:
        program = Program.model_validate(props)
        _remove(program)
        try:
            _start(program)
        except BaseException:
            _remove(program)
            raise
        return CreateResult(program.name, props | {"state": RUNNING, "digest": program.digest()})

    @plain_errors
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        program = Program.model_validate(props)
        info = process_state(program.server, program.name)
        if info is None:
            return ReadResult(None, {})
        state = RUNNING if info["statename"] in _HEALTHY else str(info["statename"]).lower()
        return ReadResult(id_, props | {"state": state, "digest": program.found_digest()})

    @plain_errors
    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        program = Program.model_validate(news)
        _remove(program)
        _start(program)
        return UpdateResult(news | {"state": RUNNING, "digest": program.digest()})

    @plain_errors
    def delete(self, _id: str, props: dict[str, Any]) -> None:
        _remove(Program.model_validate(props))


class Process(Resource, module="local", name="Process"):
    """A supervised program. It exists once its probe answers; a changed port replaces it."""

    def __init__(self, name: str, props: Mapping[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(ProcessProvider(), name, dict(props) | {"state": None, "digest": None}, opts)


def _start(program: Program) -> None:
    for name in program.ports:
        # The last holder may be a program of ours that moves to another port in this same update.
        reason: str | None = ""
        for _ in _until(program.grace_seconds):
            if is_free(program.ports[name]):
                reason = None
                break
            reason = busy_port(program, name)
            if reason is not None:
                break
        if reason is not None:
            raise ServiceError(reason or f"port {program.ports[name]} is held by another service of this stack")
    write_atomically(program.launch_file, program.render_launch())
    write_atomically(program.file, program.render())
    with rpc(program.server) as supervisor:
        supervisor.reloadConfig()
        supervisor.addProcessGroup(program.name)
    _await_ready(program)


def _remove(program: Program) -> None:
    """Stop a program and forget it; nothing happens where there is none."""
    try:
        with rpc(program.server) as supervisor:
            for call in (supervisor.stopProcess, supervisor.removeProcessGroup):
                try:
                    call(program.name)
                except xmlrpc.client.Fault as fault:
                    if fault.faultCode not in (Faults.BAD_NAME, Faults.NOT_RUNNING):
                        raise
    except (OSError, xmlrpc.client.ProtocolError):
        # Without a supervisor there is nothing to tell, and only what it left behind to end.
        pass
    stop_leftovers(program.server, program.name)
    program.file.unlink(missing_ok=True)
    program.launch_file.unlink(missing_ok=True)
    shutil.rmtree(program.scratch, ignore_errors=True)


def _await_ready(program: Program) -> None:
    pids = set[int]()
    for _ in _until(program.start_seconds):
        info = process_state(program.server, program.name)
        if info is None:
            raise ServiceError(f"supervisord stopped while {program.name} was starting: run the update again")
        if info["pid"]:
            pids.add(int(info["pid"]))
        if info["statename"] == "FATAL" or len(pids) > _ATTEMPTS:
            raise ServiceError(f"{program.name} stops right after its start.{_log_end(program.log)}")
        if _answers(program.probe):
            return
    raise ServiceError(f"{program.name} was not ready within {program.start_seconds} s.{_log_end(program.log)}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - a loopback address of the stack
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def _log_end(log: Path) -> str:
    try:
        lines: Sequence[str] = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    except OSError:
        lines = []
    return "\n".join([f" Its log, {log}, ends:", *(f"  {line}" for line in lines)])


def _until(seconds: float, pause: float = 0.1) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(pause)
