"""Build the image that clusters run, with what builds containers on this machine: `python -m tools.image --help`."""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence

from core.errors import ConfigError, FalajError
from core.images import lock
from core.pins import pins
from tools.build import ROOT

BUILDERS = ("podman", "buildah", "docker")
"""Any will do; the first that is on PATH is taken."""


def command(
    builder: str, *, gpu: bool, torch: str, registry: str | None, revision: str, more: Sequence[str]
) -> list[str]:
    """The builder's command line.

    Args:
        torch: `locked` takes PyTorch as uv.lock has it, with CUDA; any other is a backend of `uv pip install
            --torch-backend`, such as `cpu`.
        registry: Host and path that the tag begins with.
        more: Options of the builder itself.
    """
    pin = pins().image("platform-gpu" if gpu else "platform")
    arguments = {
        "BASE": lock().reference(pins().image("python")),
        "UV_VERSION": uv_version(),
        "TORCH_BACKEND": "" if torch == "locked" else torch,
        "GPU": "1" if gpu else "",
        "TITLE": pin.repository,
        "VERSION": pin.version,
        "REVISION": revision,
    }
    tag = "/".join(part for part in (registry, f"{pin.repository}:{pin.version}") if part)
    line = [builder, "build", "--file", "Containerfile", "--tag", tag]
    return [*line, *(f"--build-arg={name}={value}" for name, value in arguments.items()), *more, "."]


def uv_version() -> str:
    """The version of uv that the Makefile pins."""
    return next(
        line.split()[2] for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("UV_VERSION")
    )


def builder() -> str:
    """The program that builds.

    Raises:
        ConfigError: There is none.
    """
    found = next((name for name in BUILDERS if shutil.which(name)), None)
    if found is None:
        raise ConfigError(
            f"nothing that builds images is on PATH: install one of {', '.join(BUILDERS)}, for example with "
            "`apt install podman`"
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", action="store_true", help="the image for GPUs")
    parser.add_argument(
        "--torch",
        help="PyTorch's backend, such as cpu or cu130, from PyTorch's own index, or `locked` for that of uv.lock "
        "(default: cpu, and locked with --gpu)",
    )
    parser.add_argument("--registry", help="host and path that the image's tag begins with")
    parser.add_argument("options", nargs="*", help="after --: options of the builder, such as --volume or --isolation")
    asked = parser.parse_args()
    try:
        base = next(image for image in lock().images if image.name == pins().image("python").repository)
        if base.digest is None:
            sys.stderr.write(f"{base.tagged} has no digest in images.lock.yaml yet: run `falaj vendor` to pin it\n")
        revision = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip()
        line = command(
            builder(),
            gpu=asked.gpu,
            torch=asked.torch or ("locked" if asked.gpu else "cpu"),
            registry=asked.registry,
            revision=revision or "unknown",
            more=asked.options,
        )
        return subprocess.run(line, cwd=ROOT, check=False).returncode
    except FalajError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
