"""The policy pack as the engine starts it, in an environment of its own: pulumi-policy wants another protobuf."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from core.errors import ConfigError
from tools.build import ROOT, TOOLS

PACK = ROOT / "policies" / "pack"


def pack(say: Callable[[str], None]) -> Path:
    """The program that the engine is given as `--policy-pack`, once its environment is as its lock says.

    Args:
        say: Takes a line where that takes a while.

    Raises:
        ConfigError: The environment cannot be had; the message says why.
    """
    own = TOOLS / "uv" / "bin" / "uv"
    uv = own if own.exists() else shutil.which("uv")
    if uv is None:
        raise ConfigError("there is no uv to install the policy pack's environment with: run `make env`")
    if not (PACK / ".venv").exists():
        say("installing the environment of the policy pack from policies/pack/uv.lock")
    done = subprocess.run(
        [uv, "sync", "--quiet", "--frozen", "--project", PACK, "--python", sys.executable],
        # That which belongs to the platform's own environment is not for this one.
        env={key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ConfigError(
            "the policy pack has no environment, since `uv sync --frozen --project policies/pack` failed: let uv reach "
            f"PyPI or a mirror of it, or rehearse with --no-policies\n{done.stderr.strip()}"
        )
    return PACK / "run"
