"""Keyed hashing of identifiers. A pseudonym is still personal data: who holds the key can link it."""

import hashlib
import hmac
from pathlib import Path

from core.errors import ConfigError

KEY_BYTES = 32


class Pseudonymiser:
    """HMAC-SHA-256 (RFC 2104) of an identifier, bound to the entity's name, as 32 hexadecimal digits.

    128 bits keep the chance of any collision among 10⁹ subjects below 10⁻²⁰.
    """

    def __init__(self, key: bytes, entity: str) -> None:
        if len(key) < KEY_BYTES:
            raise ConfigError(f"the pseudonym key has {len(key)} bytes: at least {KEY_BYTES} are needed")
        self._keyed = hmac.new(key, entity.encode() + b"\0", hashlib.sha256)

    @classmethod
    def from_file(cls, path: str | Path, entity: str) -> "Pseudonymiser":
        """Read the key, raw bytes, from `path`.

        Raises:
            ConfigError: The file is missing or too short.
        """
        try:
            key = Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(f"the pseudonym key {path} cannot be read: {error}") from error
        return cls(key, entity)

    def __call__(self, identifier: str) -> str:
        state = self._keyed.copy()
        state.update(identifier.encode())
        return state.hexdigest()[:32]
