"""Files at a path or at the address of an S3 bucket: read whole, written whole or not at all.

A store is reached as the process's environment says, by the variables that all clients of S3 share:
AWS_ENDPOINT_URL_S3, AWS_DEFAULT_REGION, AWS_CA_BUNDLE, and the credentials of the process's identity.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlparse
from uuid import uuid4

import fsspec

from core.errors import StorageError

_ATTEMPTS = 3
_CONNECT_S = 5
_READ_S = 30
_ADVICE = {
    "NoSuchBucket": "the bucket does not exist: create it, or mend the address",
    "AccessDenied": "access is denied: the identity that this runs as has no right to it there",
    "403": "access is denied: the identity that this runs as has no right to it there",
    "InvalidAccessKeyId": "the store does not know the access key: mend AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the store refuses the secret key: mend AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the credentials have expired: renew them",
    "NoCredentialsError": "there are no credentials: give this an identity, or set AWS_ACCESS_KEY_ID",
    "PermanentRedirect": "the bucket lies in another region: mend AWS_DEFAULT_REGION",
    "301": "the bucket lies in another region: mend AWS_DEFAULT_REGION",
    "AuthorizationHeaderMalformed": "the bucket lies in another region: mend AWS_DEFAULT_REGION",
    "IllegalLocationConstraintException": "the bucket lies in another region: mend AWS_DEFAULT_REGION",
    "EndpointConnectionError": "the store cannot be reached: see AWS_ENDPOINT_URL_S3 and the network policies",
    "ConnectTimeoutError": "the store cannot be reached: see AWS_ENDPOINT_URL_S3 and the network policies",
    "ReadTimeoutError": "the store does not answer in time",
    "SSLError": "the store's certificate is not trusted: set AWS_CA_BUNDLE to its authority",
}


def local_path(uri: str | Path) -> Path | None:
    """The path, where the address is one of this machine.

    Raises:
        StorageError: It is of another kind of store than S3.
    """
    parsed = urlparse(str(uri))
    match parsed.scheme:
        case "":
            return Path(uri)
        case "file":
            return Path(parsed.path)
        case "s3":
            return None
    raise StorageError(f"{uri}: {parsed.scheme} is not a store that is known: use a path or s3://bucket/prefix")


def join(uri: str | Path, *names: str) -> str:
    """The address of a file below `uri`."""
    return "/".join([str(uri).rstrip("/"), *names])


def read(uri: str | Path) -> bytes | None:
    """The file's bytes; None where there is none.

    Raises:
        StorageError: The store cannot be used.
    """
    path = local_path(uri)
    with _told(uri, "read"):
        try:
            return path.read_bytes() if path is not None else cast(bytes, _s3().cat_file(_key(uri)))
        except FileNotFoundError as error:
            if _code(error) == "NoSuchBucket":
                raise
            return None


@contextmanager
def opened(uri: str | Path) -> Iterator[BinaryIO]:
    """The file as a stream, for what is read in pieces.

    Raises:
        FileNotFoundError: There is none.
        StorageError: The store cannot be used.
    """
    with _told(uri, "read"):
        path = local_path(uri)
        if path is not None:
            with path.open("rb") as file:
                yield cast(BinaryIO, file)
        else:
            with _s3().open(_key(uri), "rb") as file:
                yield cast(BinaryIO, file)


def write(uri: str | Path, data: bytes | memoryview) -> None:
    """Put `data` there at once, whatever was there before; on this machine it is on the disk then.

    Raises:
        StorageError: The store cannot be used; what was there is unchanged.
    """
    with _told(uri, "written"):
        path = local_path(uri)
        if path is None:
            _s3().pipe_file(_key(uri), bytes(data))
            return
        with _draft(path, data) as draft:
            draft.replace(path)


def create(uri: str | Path, data: bytes) -> bool:
    """Put `data` there, unless there is a file already: of several writers one succeeds.

    Returns:
        False where there was one.

    Raises:
        StorageError: The store cannot be used.
    """
    with _told(uri, "written"):
        path = local_path(uri)
        try:
            if path is None:
                _s3().pipe_file(_key(uri), data, mode="create")
            else:
                with _draft(path, data) as draft:
                    os.link(draft, path)
        except FileExistsError:
            return False
        except OSError as error:
            # Two at the same moment: S3 says 409 to the one that it would have had to choose between.
            if _code(error) in ("PreconditionFailed", "ConditionalRequestConflict", "412"):
                return False
            raise
    return True


def upload(source: Path, uri: str | Path) -> None:
    """Put a file there, as `write` does, without reading it whole.

    Raises:
        OSError: `source` cannot be read.
        StorageError: The store cannot be used.
    """
    if local_path(uri) is not None:
        write(uri, source.read_bytes())
        return
    with _told(uri, "written"):
        _s3().put_file(str(source), _key(uri))


def tag(uri: str | Path) -> str | None:
    """What `replace` knows the file's present content by; None where there is no file.

    Raises:
        StorageError: The store cannot be used.
    """
    path = local_path(uri)
    if path is not None:
        data = read(path)
        return None if data is None else hashlib.sha256(data).hexdigest()
    with _told(uri, "read"):
        try:
            return str(_s3().info(_key(uri))["ETag"])
        except FileNotFoundError:
            return None


def replace(uri: str | Path, data: bytes, expected: str | None) -> bool:
    """Put `data` there if the file still is the one of the tag `expected`; None stands for no file.

    On this machine that is only so for writers that hold the same lock.

    Returns:
        False where it was changed since.

    Raises:
        StorageError: The store cannot be used.
    """
    if expected is None:
        return create(uri, data)
    if local_path(uri) is not None:
        if tag(uri) != expected:
            return False
        write(uri, data)
        return True
    with _told(uri, "written"):
        try:
            _s3().pipe_file(_key(uri), data, IfMatch=expected)
        except OSError as error:
            if _code(error) in ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "412", "404"):
                return False
            raise
    return True


def names(uri: str | Path) -> list[str]:
    """Names of the files and folders directly below, sorted; none where there is no such folder.

    Raises:
        StorageError: The store cannot be used.
    """
    path = local_path(uri)
    with _told(uri, "listed"):
        try:
            if path is not None:
                return sorted(entry.name for entry in path.iterdir())
            prefix = _key(uri)
            found = _s3().ls(prefix, detail=False)
        except FileNotFoundError as error:
            if _code(error) == "NoSuchBucket":
                raise
            return []
        return sorted(entry.rstrip("/").rpartition("/")[2] for entry in found if entry.rstrip("/") != prefix)


def delete(uri: str | Path) -> None:
    """Remove the file, or the folder with all below; nothing where there is none.

    Raises:
        StorageError: The store cannot be used.
    """
    path = local_path(uri)
    with _told(uri, "deleted"):
        try:
            if path is None:
                _s3().rm(_key(uri), recursive=True)
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        except FileNotFoundError:
            return


def _s3() -> Any:
    # fsspec gives the same instance each time. A listing that was remembered would hide what others wrote.
    return fsspec.filesystem(
        "s3",
        use_listings_cache=False,
        # s3fs tries again by itself; botocore's own tries would be multiplied by those.
        config_kwargs={
            "retries": {"total_max_attempts": 1},
            "connect_timeout": _CONNECT_S,
            "read_timeout": _READ_S,
        },
    )


def _key(uri: str | Path) -> str:
    return str(uri).removeprefix("s3://").rstrip("/")


@contextmanager
def _draft(path: Path, data: bytes | memoryview) -> Iterator[Path]:
    """A synced file beside `path`, which the block puts in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield draft
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _told(uri: str | Path, verb: str) -> Iterator[None]:
    """Turn what the store's client raises into what a person can act upon; that a file is missing is not an error."""
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as error:
        if _code(error) != "NoSuchBucket":
            raise
        raise StorageError(f"{uri} cannot be {verb}: {_ADVICE['NoSuchBucket']}") from error
    except Exception as error:  # botocore's errors have no base that could be caught without importing it
        if local_path(uri) is not None and not isinstance(error, OSError):
            raise
        reason = _ADVICE.get(_code(error)) or str(error)
        raise StorageError(f"{uri} cannot be {verb}: {reason}") from error


def _code(error: BaseException) -> str:
    """S3's own code of the error, or the name of the client's."""
    cause: BaseException | None = error
    while cause is not None:
        response = getattr(cause, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        if type(cause).__name__ in _ADVICE:
            return type(cause).__name__
        cause = cause.__cause__
    return type(error).__name__
