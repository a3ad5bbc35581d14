"""What pytest is told for a run of the checks: their fixtures, and who keeps their results."""

from collections.abc import Generator, Sequence
from typing import Any, TypeVar

import httpx
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from kubernetes.client.exceptions import ApiException

from core.errors import FalajError
from verify.account import Account
from verify.asked import LOOKED_AT, UNASKED, Each, UnaskedError, unasked_because
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
        except (UnaskedError, ClientError, BotoCoreError, ApiException) as error:
            reason = unasked_because(error)
            if reason is not None:
                pytest.skip(reason)
            raise CannotAskError(str(error)) from None
        except (FalajError, OSError, httpx.HTTPError) as error:
            raise CannotAskError(f"{type(error).__name__}: {error}") from None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Keep the result of a check."""
        report = yield
        if call.when == "call" or not report.passed:
            raised = call.excinfo.value if call.excinfo else None
            self.checks.append(_check(item.nodeid, self._holds[item.nodeid], report, raised))
        return report


class CannotAskError(Exception):
    """A check ended before it could say anything."""


def _given(found: T | None, otherwise: str) -> T:
    if found is None:
        pytest.skip(otherwise)
    return found


def _check(node: str, holds: str, report: pytest.TestReport, raised: BaseException | None) -> Check:
    part, _, name = node.partition("[")[0].rpartition("/")[2].partition(".py::test_")
    result: Result = "passed"
    if report.skipped:
        result = "skipped"
    elif raised is not None:
        result = "failed" if isinstance(raised, pytest.fail.Exception) else "error"
    plain = isinstance(raised, (pytest.fail.Exception, pytest.skip.Exception, CannotAskError))
    return Check(
        id=f"{part}.{name}",
        holds=holds,
        result=result,
        looked_at=sum(int(str(value)) for key, value in report.user_properties if key == LOOKED_AT),
        reason="" if raised is None else str(raised) if plain else f"{type(raised).__name__}: {raised}",
        unasked=[str(value) for key, value in report.user_properties if key == UNASKED],
        seconds=round(report.duration, 2),
    )
