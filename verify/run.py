"""Runs the checks of a stack."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.errors import FalajError
from verify.account import Account
from verify.cluster import Cluster
from verify.declared import Declared
from verify.local import Local
from verify.plugin import Plugin
from verify.report import Report

_CHECKS = Path(__file__).parent / "checks"
PARTS = {
    "local": ("services", "endpoints", "files", "trails"),
    "kubernetes": (
        *("namespaces", "traffic", "workloads", "pods", "rights", "secrets", "gateway", "entrance", "admission"),
        *("nodes", "operation"),
    ),
    "aws": (
        *("account", "keys", "buckets", "databases", "stores", "control_plane", "registry", "network", "identity"),
        *("watch", "backup", "cost"),
    ),
}
"""Modules of `checks/` by what a stack declares something of."""


class VerifyError(FalajError):
    """The checks could not be run."""


def verify(
    declared: Declared,
    *,
    local: Local | None = None,
    cluster: Cluster | None = None,
    account: Account | None = None,
    junit: Path | None = None,
    parts: Sequence[str] | None = None,
) -> Report:
    """Look at a stack; nothing is changed.

    Args:
        local: The environment on this machine, where the stack is one.
        cluster: The stack's API server; None leaves out what it would be asked, as skipped.
        account: The stack's account.
        junit: File to write JUnit's XML into.
        parts: Modules of `checks/`; those that fit the stack by default.

    Raises:
        VerifyError: The checks cannot be read.
    """
    modules = applicable(declared, local is not None) if parts is None else parts
    time = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    asked = {
        **({"folder": str(local.home)} if local else {}),
        **({"cluster": f"{cluster.server} {cluster.version}"} if cluster else {}),
        **({"account": account.id, "region": account.region} if account else {}),
    }
    plugin = Plugin(declared, local, cluster, account)
    arguments = [
        *("--rootdir", str(_CHECKS), "-c", "/dev/null", "--import-mode", "importlib", "--capture", "no"),
        # Neither is of use without asserts, threads and warnings of our own, and each costs more than a check.
        *("--assert", "plain", "-p", "no:unraisableexception", "-p", "no:threadexception", "-p", "no:warnings"),
        *("--disable-plugin-autoload", "-p", "no:terminal", "-p", "no:cacheprovider", "-p", "testinfra.plugin"),
        *(("--junit-xml", str(junit), "-o", f"junit_suite_name=verify {declared.stack}") if junit else ()),
        *(str(_CHECKS / f"{part}.py") for part in modules),
    ]
    code = pytest.main(arguments, plugins=[plugin])
    if plugin.problems or code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise VerifyError("\n".join(["the checks could not be run:", *plugin.problems, f"pytest ended with {code!r}"]))
    return Report(stack=declared.stack, time=time, asked=asked, checks=plugin.checks)


def applicable(declared: Declared, on_this_machine: bool) -> list[str]:
    """The modules of checks that fit a stack."""
    kinds = ["local"] if on_this_machine else [kind for kind in ("aws", "kubernetes") if declared.has(kind)]
    return [part for kind in kinds for part in PARTS[kind]]
