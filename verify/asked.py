"""How a check asks: each of its subjects in turn, and apart what is wrong from what could not be asked."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, overload

import httpx
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from kubernetes.client.exceptions import ApiException

T = TypeVar("T")
Found = Iterable[str] | str | None
LOOKED_AT = "looked_at"
UNASKED = "unasked"
_REFUSED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "Forbidden")
_NOT_IMPLEMENTED = 501
_LACKING = re.compile("NotImplemented|not been implemented|Not yet implemented|<title>404 Not Found")
"""How moto says that it does not know an operation."""
_NOT_FOUND = 404


class UnaskedError(Exception):
    """Something that cannot be asked here: no right to it, or nothing there that could answer."""


class Each:
    """Looks at each subject; a check that looked at nothing is skipped, never passed."""

    def __init__(self, record: Callable[[str, object], None]) -> None:
        """`record` keeps a property of the check, as pytest's `record_property`."""
        self._record = record

    @overload
    def __call__(self, subjects: Mapping[str, T], judge: Callable[[T], Found]) -> None: ...

    @overload
    def __call__(self, subjects: Sequence[str], judge: Callable[[str], Found]) -> None: ...

    def __call__(self, subjects: Any, judge: Callable[[Any], Found]) -> None:
        """Judge each subject.

        Args:
            subjects: By name; or names that are the subjects themselves.
            judge: What is wrong with one; nothing where it is as it must be.
        """
        named = subjects if isinstance(subjects, Mapping) else {name: name for name in subjects}
        faults: list[str] = []
        unasked: dict[str, str] = {}
        for name, subject in named.items():
            try:
                found = judge(subject)
                told = [found] if isinstance(found, str) else list(found or [])
            except (UnaskedError, ClientError, BotoCoreError, ApiException) as error:
                reason = unasked_because(error)
                if reason is not None:
                    unasked[name] = reason
                    continue
                told = [_said(error)]
            except httpx.HTTPError as error:
                told = [f"does not answer: {error}"]
            faults += [f"{name}: {text}" for text in told]
        self._record(LOOKED_AT, len(named) - len(unasked))
        for name, reason in unasked.items():
            self._record(UNASKED, f"{name}: {reason}")
        if faults:
            pytest.fail("\n".join(faults), pytrace=False)
        if not named:
            pytest.skip("the stack has none")
        if len(unasked) == len(named):
            pytest.skip("; ".join(sorted(set(unasked.values()))))


def unasked_because(error: Exception) -> str | None:
    """Why an error says that something cannot be asked; None where it says that something is wrong."""
    if isinstance(error, ClientError):
        answer = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status == _NOT_IMPLEMENTED or _LACKING.search(f"{answer.get('Code')} {answer.get('Message')}"):
            return f"{error.operation_name}: the emulation does not know it"
        return f"{error.operation_name}: no right to it" if answer.get("Code") in _REFUSED else None
    if isinstance(error, ApiException):
        return None if error.status == _NOT_FOUND else f"the API server answered {error.status} {error.reason}"
    return str(error)


def _said(error: Exception) -> str:
    if isinstance(error, ClientError):
        answer = error.response.get("Error", {})
        return f"{error.operation_name}: {answer.get('Code')}: {answer.get('Message')}"
    return "it is not there"
