"""How the Pulumi engine is run on this machine: its environment, for the command line and the tests."""

import datetime as dt
import json
import os
import shutil
import socket
import sys
from pathlib import Path

import psutil

from tools.build import BIN, ROOT, TOOLS


def engine_environment(project: Path = ROOT) -> dict[str, str]:
    """The environment in which `pulumi` runs the stack `local`; the state is freed from locks of engines that died.

    Args:
        project: Folder of Pulumi.yaml. The stack's state lies below its `.falaj`, or where FALAJ_HOME says.
    """
    state = Path(os.environ.get("FALAJ_HOME", project / ".falaj")).resolve() / "state"
    state.mkdir(parents=True, exist_ok=True)
    release_stale_locks(state)
    python = Path(sys.prefix) / "bin"
    path = os.pathsep.join([str(python), str(BIN), os.environ.get("PATH", os.defpath)])
    return os.environ | {
        "PATH": path,
        "VIRTUAL_ENV": sys.prefix,
        "PULUMI_HOME": str(_home()),
        "PULUMI_BACKEND_URL": f"file://{state}",
        # Secrets of the local stack are files that only their owner can read; its state holds none.
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


def _home() -> Path:
    """The engine's own folder, without a log: it would write down every property that it handles, secrets among them,
    which takes half of its time. No setting keeps it from that; it goes on where a file lies in the folder's place.
    """
    home = TOOLS / "pulumi-home"
    home.mkdir(parents=True, exist_ok=True)
    if (home / "logs").is_dir():
        shutil.rmtree(home / "logs", ignore_errors=True)
    (home / "logs").touch()
    return home


def release_stale_locks(state: Path) -> list[Path]:
    """Remove the locks of engines that ended without removing them: killed, or cut off by a restart.

    Returns:
        The locks that were removed.
    """
    stale = [lock for lock in state.glob(".pulumi/locks/**/*.json") if _is_stale(lock)]
    for lock in stale:
        lock.unlink(missing_ok=True)
        lock.with_name(f"{lock.name}.attrs").unlink(missing_ok=True)
    return stale


def _is_stale(lock: Path) -> bool:
    """Whether the engine that a lock names is known to have ended; in doubt it has not."""
    try:
        holder = json.loads(lock.read_bytes())
        taken = dt.datetime.fromisoformat(holder["timestamp"]).timestamp()
        if holder["hostname"] != socket.gethostname():
            return False
        # A later process may have got the same number.
        return psutil.Process(int(holder["pid"])).create_time() > taken + 1
    except psutil.NoSuchProcess:
        return True
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return False
