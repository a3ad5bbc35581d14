"""The processes of an environment on this machine."""

import sys
from pathlib import Path
from typing import Any

import psutil

from verify.asked import Each
from verify.local import Local

_LOOPBACK = ("127.0.0.1", "::1")


def test_running_under_the_supervisor(each: Each, local: Local, host: Any) -> None:
    """Every service runs under the supervisor."""
    control = str(Path(sys.executable).parent / "supervisorctl")

    def judge(name: str) -> str | None:
        program = host.supervisor(name, control, str(local.supervisor))
        return None if program.is_running else f"is {program.status}"

    each(list(local.environment.services), judge)


def test_one_user(each: Each, local: Local, host: Any) -> None:
    """Every process runs as the owner of the folder."""
    owner = host.file(str(local.home)).user
    each(_by_name(local), lambda one: None if one.username() == owner else f"runs as {one.username()}, not {owner}")


def test_loopback_alone(each: Each, local: Local) -> None:
    """No process listens on an address that others reach."""

    def judge(one: psutil.Process) -> list[str]:
        listening = [found for found in one.connections(kind="inet") if found.status == psutil.CONN_LISTEN]
        addresses = {(found.laddr.ip.removeprefix("::ffff:"), found.laddr.port) for found in listening}
        return [f"listens on {ip}:{port}" for ip, port in sorted(addresses) if ip not in _LOOPBACK]

    each(_by_name(local), judge)


def test_listening(each: Each, local: Local, host: Any) -> None:
    """The port of every service is open on the loopback interface."""

    def judge(health: str) -> str | None:
        port = health.split("/")[2].rpartition(":")[2]
        return None if host.socket(f"tcp://127.0.0.1:{port}").is_listening else f"nothing listens on port {port}"

    each({name: service.health for name, service in local.environment.services.items()}, judge)


def test_no_foreign_child(each: Each, local: Local) -> None:
    """No process is left of a service that is gone: each has a living parent of the environment."""
    pids = {one.pid for one in local.processes}
    below = {name: one for name, one in _by_name(local).items() if one.pid != local.processes[0].pid}
    each(below, lambda one: None if one.ppid() in pids else f"its parent is process {one.ppid()}")


def _by_name(local: Local) -> dict[str, psutil.Process]:
    return {f"{one.name()} (process {one.pid})": one for one in local.processes}
