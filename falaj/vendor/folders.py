"""Folders that are whole or not there: what is brought in is written beside its place and moved there at the end."""

import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.digest import tree_digest
from core.errors import FalajError
from tools.build import BIN

_MAX_BYTES = 256 << 20
"""More than any chart unpacks to."""
_PART = ".part-"


class VendorError(FalajError):
    """Something from outside cannot be had, is broken, or is not what the lock says."""


def command(
    arguments: Sequence[str], *, folder: Path | None = None, environment: dict[str, str] | None = None, stdin: str = ""
) -> str:
    """Run a program, those of `.tools/bin` included, and give its standard output.

    Raises:
        VendorError: It is missing or failed; the message has what it said.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), str(BIN)])
    program = shutil.which(arguments[0], path=path)
    if program is None:
        raise VendorError(f"there is no {arguments[0]} on PATH: install it and run again")
    done = subprocess.run(
        [program, *arguments[1:]],
        cwd=folder,
        env=os.environ | (environment or {}),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise VendorError(f"`{' '.join(arguments)}` failed: {said}")
    return done.stdout


@contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `target` when the block ends well, and is removed when it does not.

    Raises:
        VendorError: The disk cannot take it.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f".{target.name}{_PART}*"):
            shutil.rmtree(left)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}{_PART}", dir=target.parent))
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        new, old = work / "new", work / "old"
        new.mkdir()
        yield new
        if target.exists():
            target.rename(old)
        new.rename(target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _unwritable(target: Path, error: OSError) -> VendorError:
    return VendorError(f"{target} cannot be written ({error}): free room, or correct who may write, and run again")


def unpack(archive: Path, into: Path) -> None:
    """Unpack a .tgz that holds one folder; that folder's content becomes `into`'s.

    Raises:
        VendorError: It is broken, reaches outside of its folder, holds more than one, or unpacks to too much.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            members = tar.getmembers()
            if sum(member.size for member in members) > _MAX_BYTES:
                raise VendorError(f"{archive.name} unpacks to more than {_MAX_BYTES >> 20} MiB: it is no chart")
            tops = {Path(member.name).parts[0] for member in members if Path(member.name).parts}
            if len(tops) != 1:
                raise VendorError(f"{archive.name} holds {len(tops)} folders where a chart has one: do not use it")
            with tempfile.TemporaryDirectory(dir=into.parent) as beside:
                tar.extractall(beside, filter="data")
                for item in (Path(beside) / tops.pop()).iterdir():
                    item.rename(into / item.name)
    except tarfile.FilterError as error:
        raise VendorError(f"{archive.name} reaches outside of its own folder ({error}): do not use it") from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise VendorError(f"{archive.name} is broken ({error}): run again; a mirror may hold half a file") from error


def copy_tree(source: Path, into: Path) -> None:
    """Copy the content of a folder, links as links.

    Raises:
        VendorError: A link leads outside of it.
    """
    root = source.resolve()
    for path in source.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise VendorError(f"{path.relative_to(source)} links to outside of its folder: do not use it")
    shutil.copytree(source, into, symlinks=True, dirs_exist_ok=True)


def folder_digest(folder: Path) -> str:
    """`tree_digest` of all files below `folder`."""
    return tree_digest(folder, (path for path in folder.rglob("*") if path.is_file()))
