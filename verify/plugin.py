"""What pytest is told for a run of the checks: their fixtures, and who keeps their results."""

from collections.abc import Generator, Sequence
from typing import Any, TypeVar

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from kubernetes.client.exceptions import ApiException

from core.errors import FalajError
from verify.account import Account
from verify.asked import LOOKED_AT, UNASKED, Each, UnaskedError
from verify.cluster import Cluster
from verify.declared import Declared
from verify.local import Local
from verify.report import Check, Result

T = TypeVar("T")


class Plugin:
    """Fixtures of the checks, and their results in the order in which they ran."""

    def __init__(
        self,
        declared: Declared,
        local: Local | None = None,
        cluster: Cluster | None = None,
        account: Account | None = None,
    ) -> None:
        self._declared, self._local, self._cluster, self._account = declared, local, cluster, account
        self._holds: dict[str, str] = {}
        self.checks: list[Check] = []
        self.problems: list[str] = []

    @pytest.fixture
    def each(self, record_property: Any) -> Each:
        """Looks at each subject of a check."""
        return Each(record_property)

    @pytest.fixture
    def declared(self) -> Declared:
        """What the stack declares."""
        return self._declared

    @pytest.fixture
    def local(self) -> Local:
        """The environment on this machine."""
        return _given(self._local, "this is no stack of this machine")

    @pytest.fixture
    def cluster(self) -> Cluster:
        """The stack's API server."""
        return _given(self._cluster, "no kubeconfig: give --kubeconfig, or set KUBECONFIG")

    @pytest.fixture
    def aws(self) -> Account:
        """The stack's account."""
        return _given(self._account, "the stack has nothing on AWS")

    def pytest_collection_modifyitems(self, items: Sequence[pytest.Function]) -> None:
        """Learn what each check holds."""
        for item in items:
            self._holds[item.nodeid] = " ".join((item.function.__doc__ or "").split("\n\n")[0].split())

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what keeps a module from being read."""
        if report.failed:
            self.problems.append(str(report.longrepr))

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self) -> Generator[None, object, object]:
        """Skip what cannot be asked, and say an error in its own words."""
        try:
            return (yield)
        except UnaskedError as error:
            pytest.skip(str(error))
        except (FalajError, ClientError, BotoCoreError, ApiException, OSError) as error:
            raise CannotAskError(f"{type(error).__name__}: {error}") from None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the result of a check."""
        if report.when != "call" and report.passed:
            return
        properties = report.user_properties
        part, _, name = report.nodeid.partition("[")[0].rpartition("/")[2].partition(".py::test_")
        self.checks.append(
            Check(
                id=f"{part}.{name}",
                holds=self._holds[report.nodeid],
                result=_result(report),
                looked_at=sum(int(str(value)) for key, value in properties if key == LOOKED_AT),
                reason=_text(report),
                unasked=[str(value) for key, value in properties if key == UNASKED],
                seconds=round(report.duration, 2),
            )
        )


class CannotAskError(Exception):
    """A check ended before it could say anything."""


def _given(found: T | None, otherwise: str) -> T:
    if found is None:
        pytest.skip(otherwise)
    return found


def _result(report: pytest.TestReport) -> Result:
    if report.skipped:
        return "skipped"
    if report.passed:
        return "passed"
    shown = getattr(report.longrepr, "reprcrash", None)
    return "failed" if shown is None else "error"


def _text(report: pytest.TestReport) -> str:
    if report.passed:
        return ""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    shown = getattr(report.longrepr, "reprcrash", None)
    return str(report.longrepr) if shown is None else str(shown.message).removeprefix("verify.plugin.CannotAskError: ")
