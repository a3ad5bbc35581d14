"""Checksums of a report, and their signature: what `sha256sum` and `openssl` verify.

sha256sum --check SHA256SUMS
openssl pkeyutl -verify -pubin -inkey public.pem -rawin -in SHA256SUMS -sigfile SHA256SUMS.sig
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from core.errors import ConfigError

SUMS = "SHA256SUMS"
SIGNATURE = f"{SUMS}.sig"


def checksums(files: Mapping[str, bytes]) -> bytes:
    """The text of `sha256sum` over files by name."""
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items())]
    return "".join(lines).encode()


def signature(content: bytes, key: Path) -> bytes:
    """A detached Ed25519 signature, 64 bytes.

    Raises:
        ConfigError: The key cannot be read, or is not one of Ed25519.
    """
    how = "make one with `openssl genpkey -algorithm ed25519 -out key.pem`"
    try:
        private = load_pem_private_key(key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"the signing key {key} cannot be read ({error}): {how}") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"the signing key {key} is not of Ed25519: {how}")
    return private.sign(content)
