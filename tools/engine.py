"""How the Pulumi engine is run on this machine: its environment, for the command line and the tests."""

import os
import sys
from pathlib import Path

from tools.build import BIN, ROOT, TOOLS


def engine_environment(project: Path = ROOT) -> dict[str, str]:
    """The environment in which `pulumi` runs the stack `local`.

    Args:
        project: Folder of Pulumi.yaml. The stack's state lies below its `.falaj`, or where FALAJ_HOME says.
    """
    state = Path(os.environ.get("FALAJ_HOME", project / ".falaj")).resolve() / "state"
    state.mkdir(parents=True, exist_ok=True)
    python = Path(sys.prefix) / "bin"
    path = os.pathsep.join([str(python), str(BIN), os.environ.get("PATH", os.defpath)])
    return os.environ | {
        "PATH": path,
        "VIRTUAL_ENV": sys.prefix,
        "PULUMI_HOME": str(TOOLS / "pulumi-home"),
        "PULUMI_BACKEND_URL": f"file://{state}",
        # Secrets of the local stack are files that only their owner can read; its state holds none.
        "PULUMI_CONFIG_PASSPHRASE": "",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
