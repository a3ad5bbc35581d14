import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError
from core.pseudonym import KEY_BYTES, Pseudonymiser

KEY = bytes(range(KEY_BYTES))


def test_it_is_hmac_sha256_of_entity_and_identifier() -> None:
    expected = hmac.new(KEY, b"person_id\x00784-1990-1234567-1", hashlib.sha256).hexdigest()[:32]

    assert Pseudonymiser(KEY, "person_id")("784-1990-1234567-1") == expected


@given(identifiers=st.sets(st.text(st.characters(exclude_categories=["Cs"])), min_size=2))
def test_pseudonyms_are_deterministic_and_distinct(identifiers: set[str]) -> None:
    first, second = Pseudonymiser(KEY, "person_id"), Pseudonymiser(KEY, "person_id")

    pseudonyms = {first(identifier) for identifier in identifiers}

    assert pseudonyms == {second(identifier) for identifier in identifiers}
    assert len(pseudonyms) == len(identifiers)
    assert all(len(pseudonym) == 32 and int(pseudonym, 16) >= 0 for pseudonym in pseudonyms)


@given(
    identifier=st.text(st.characters(exclude_categories=["Cs"])),
    keys=st.sets(st.binary(min_size=KEY_BYTES, max_size=64), min_size=2, max_size=2),
)
def test_another_key_or_entity_gives_another_pseudonym(identifier: str, keys: set[bytes]) -> None:
    one, other = (Pseudonymiser(key, "person_id")(identifier) for key in keys)

    assert one != other
    assert Pseudonymiser(KEY, "person_id")(identifier) != Pseudonymiser(KEY, "account")(identifier)


def test_the_bound_between_entity_and_identifier_holds() -> None:
    assert Pseudonymiser(KEY, "ab")("c") != Pseudonymiser(KEY, "a")("bc")


def test_a_short_or_missing_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="31 bytes: at least 32"):
        Pseudonymiser(KEY[1:], "person_id")
    with pytest.raises(ConfigError, match="cannot be read"):
        Pseudonymiser.from_file(tmp_path / "none.key", "person_id")


def test_the_key_is_read_as_raw_bytes(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)

    assert Pseudonymiser.from_file(tmp_path / "key", "person_id")("1") == Pseudonymiser(KEY, "person_id")("1")
