"""Questions to an account."""

from collections.abc import Callable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from core.errors import ServiceError


def ask(what: str, question: Callable[[], Any], absent: str | None = None) -> Any:
    """The account's answer; None where the service answers with the error code `absent`.

    Args:
        what: That is asked for, in the error.

    Raises:
        ServiceError: The service cannot be reached, or refuses.
    """
    try:
        return question()
    except ClientError as error:
        if absent is not None and error.response.get("Error", {}).get("Code") == absent:
            return None
        raise ServiceError(f"{what} cannot be looked up: {error}") from error
    except BotoCoreError as error:
        raise ServiceError(f"{what} cannot be looked up: {error}") from error
