import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from core.errors import ConfigError
from core.images import lock
from core.pins import pins
from core.telemetry import SILENT
from tools import image
from tools.build import ROOT

TEXT = (ROOT / "Containerfile").read_text()


def line(**changes: object) -> list[str]:
    asked = {"gpu": False, "torch": "cpu", "registry": None, "revision": "abc", "more": []} | changes
    return image.command("podman", **asked)  # type: ignore[arg-type]


def test_the_image_is_tagged_as_the_stacks_name_it() -> None:
    pin = pins().image("platform")
    assert line()[:6] == ["podman", "build", "--file", "Containerfile", "--tag", f"{pin.repository}:{pin.version}"]
    there = line(gpu=True, registry="registry.example.ae/falaj", more=["--isolation", "chroot"])
    assert f"registry.example.ae/falaj/{pins().image('platform-gpu').repository}:{pin.version}" in there
    assert there[-3:] == ["--isolation", "chroot", "."]


def test_arguments_are_those_that_the_file_takes() -> None:
    passed = {
        argument.removeprefix("--build-arg=").partition("=")[0] for argument in line() if "--build-arg" in argument
    }
    assert passed == set(re.findall(r"^ARG (\w+)", TEXT, re.MULTILINE))
    assert f"--build-arg=BASE={lock().reference(pins().image('python'))}" in line()
    assert "--build-arg=TORCH_BACKEND=" in line(torch="locked")


def test_the_default_base_is_the_pinned_one() -> None:
    pin = pins().image("python")
    assert f"ARG BASE={pin.repository}:{pin.version}\n" in TEXT


def test_nothing_in_the_image_reports_its_use() -> None:
    for name, value in SILENT.items():
        assert re.search(rf"[ ]{name}={value}( \\)?\n", TEXT), name


def test_both_runtimes_of_onnx_have_one_version() -> None:
    locked = {
        package["name"]: package["version"] for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    }
    assert locked["onnxruntime"] == locked["onnxruntime-gpu"]


def test_everything_that_is_copied_is_let_through() -> None:
    copied = {
        source.rstrip("/")
        for found in re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.MULTILINE)
        for source in found.split()[:-1]
    }
    allowed = {text[1:] for text in (ROOT / ".dockerignore").read_text().splitlines() if text.startswith("!")}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_a_machine_without_a_builder_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="install one of podman, buildah, docker"):
        image.builder()
    (tmp_path / "docker").write_text("#!/bin/sh\n")
    (tmp_path / "docker").chmod(0o755)
    assert image.builder() == "docker"


def test_the_builder_decides_how_it_ends(tmp_path: Path) -> None:
    podman = tmp_path / "podman"
    podman.write_text('#!/bin/sh\necho "$@"\nexit 7\n')
    podman.chmod(0o755)
    run = subprocess.run(
        [sys.executable, "-m", "tools.image", "--gpu"],
        cwd=ROOT,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 7
    assert run.stdout.startswith("build --file Containerfile --tag falaj/platform-gpu:")
    assert "--build-arg=GPU=1" in run.stdout
