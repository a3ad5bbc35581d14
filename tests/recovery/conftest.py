"""What tests of recovery share."""

import pytest

from falaj.recovery import sealed


@pytest.fixture(autouse=True)
def little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """scrypt's cost is for guesses, of which tests make none."""
    monkeypatch.setattr(sealed, "_WORK", 1)
