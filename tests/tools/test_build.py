import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import build
from tools.build import PULUMI, BuildError, Program, Tool
from tools.engine import engine_environment

HELLO = Tool(
    folder="hello",
    programs=(Program(name="hello", package="falaj/tools/hello"),),
    version="1.2.3",
    minimum=(1, 2),
    install="https://example.org",
    stamped="main.version",
)
SOURCE = 'package main\n\nvar version = "none"\n\nfunc main() { println("hello", version) }\n'


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own with one small Go program to build."""
    folder = tmp_path / "tools" / "hello"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text("module falaj/tools/hello\n\ngo 1.21\n")
    (folder / "go.sum").write_text("")
    (folder / "main.go").write_text(SOURCE)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "TOOLS", tmp_path / ".tools")
    monkeypatch.setattr(build, "BIN", tmp_path / ".tools" / "bin")
    (tmp_path / ".tools").mkdir()
    return tmp_path


def executable(folder: Path, name: str, output: str) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\necho '{output}'\n")
    file.chmod(0o755)
    return file


def test_a_tool_is_built_once_and_again_when_its_pins_change(workshop: Path) -> None:
    stamp = build._Stamp()
    assert not build._is_built(HELLO, stamp)
    build._build(HELLO, "a test", stamp)
    binary = workshop / ".tools" / "bin" / "hello"
    run = subprocess.run([binary], capture_output=True, text=True, check=True)
    assert run.stderr == "hello 1.2.3\n"
    assert build._is_built(HELLO, stamp)
    assert [path.name for path in (workshop / ".tools").iterdir()] == ["bin"]

    (workshop / "tools" / "hello" / "go.sum").write_text("another")
    assert not build._is_built(HELLO, stamp)
    (workshop / "tools" / "hello" / "go.sum").write_text("")
    binary.unlink()
    assert not build._is_built(HELLO, stamp)


def test_a_failed_build_leaves_the_last_one_and_says_what_to_do(workshop: Path) -> None:
    stamp = build._Stamp()
    build._build(HELLO, "a test", stamp)
    (workshop / "tools" / "hello" / "main.go").write_text(SOURCE.replace("println", "printline"))
    with pytest.raises(BuildError, match=r"building hello 1\.2\.3 failed(.|\n)*printline(.|\n)*https://example\.org"):
        build._build(HELLO, "a test", stamp)
    assert (workshop / ".tools" / "bin" / "hello").exists()
    assert [path.name for path in (workshop / ".tools").iterdir()] == ["bin"]


def test_a_module_that_needs_a_newer_go_says_which(workshop: Path) -> None:
    (workshop / "tools" / "hello" / "go.mod").write_text("module falaj/tools/hello\n\ngo 9.99\n")
    with pytest.raises(BuildError, match=r"Go 9\.99 or newer is needed.*uv sync"):
        build._build(HELLO, "a test", build._Stamp())


def test_go_from_the_python_environment_serves_where_there_is_no_other(
    workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(workshop))
    assert build._go(workshop / "tools" / "hello", build._Stamp()) == str(Path(sys.executable).parent / "go")


@pytest.mark.parametrize(
    ("version", "host", "reason"),
    [
        ("v3.258.0", True, None),
        ("v3.100.9", True, "is 3.100, and 3.200 is needed"),
        ("v4.0.0", True, None),
        ("v3.258.0", False, "has no pulumi-language-python beside it"),
        ("gibberish", True, "does not tell its version"),
        (None, True, "no pulumi on PATH"),
    ],
)
def test_a_tool_on_the_path_is_used_if_it_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None, host: bool, reason: str | None
) -> None:
    if version:
        executable(tmp_path, "pulumi", version)
    if host:
        executable(tmp_path, "pulumi-language-python", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    lack = build._lack(PULUMI, build._Stamp())
    assert lack is None if reason is None else reason in (lack or "")


def test_a_version_is_asked_for_once_until_the_program_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = executable(tmp_path, "pulumi", "v3.258.0")
    executable(tmp_path, "pulumi-language-python", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    stamp = build._Stamp()
    assert build._lack(PULUMI, stamp) is None
    build._Stamp.write(stamp, tmp_path / "stamp.json")
    remembered = build._Stamp.read(tmp_path / "stamp.json")
    monkeypatch.setattr(subprocess, "run", None)
    assert build._lack(PULUMI, remembered) is None
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    program.write_text("#!/bin/sh\necho v1.0.0, older\n")
    assert "is 1.0" in (build._lack(PULUMI, remembered) or "")


def test_what_was_built_here_is_not_taken_for_the_machines_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "BIN", tmp_path.resolve())
    executable(tmp_path, "pulumi", "v3.258.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert build._lack(PULUMI, build._Stamp()) == "no pulumi on PATH"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"built": 1}', '{"built": {}, "found": {"a": [1]}}'])
def test_a_damaged_stamp_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "stamp.json").write_text(text)
    assert build._Stamp.read(tmp_path / "stamp.json") == build._Stamp()


@pytest.mark.parametrize(
    ("output", "hint"),
    [
        ("dial tcp: lookup proxy.golang.org: no such host", "module proxy"),
        ("reading https://proxy/x: 403 Forbidden", "module proxy"),
        ("write /tmp/x: no space left on device", "disk is full"),
        ("verifying module: checksum mismatch", "do not use it"),
        ("compile: signal: killed", "memory"),
        ("syntax error", "make tools"),
    ],
)
def test_a_failure_comes_with_its_remedy(output: str, hint: str) -> None:
    text = build.failure_hint(output, PULUMI)
    assert hint in text
    assert PULUMI.install in text


@pytest.mark.parametrize(
    "tool",
    [tool for group in build.GROUPS.values() for together in group for tool in together],
    ids=lambda tool: tool.folder,
)
def test_pins_and_module_files_agree(tool: Tool) -> None:
    text = (build.ROOT / "tools" / tool.folder / "go.mod").read_text()
    for program in tool.programs:
        assert f"tool {program.package}\n" in text
    # Prometheus 3.15.0 is the Go module v0.315.0.
    major, minor, patch = tool.version.split(".")
    module = f"v0.{major}{int(minor):02d}.{patch}" if tool is build.PROMETHEUS else f"v{tool.version.removeprefix('v')}"
    assert f" {module} " in text.replace("\n", " ")


def test_the_engine_finds_its_programs() -> None:
    path = engine_environment()["PATH"]
    for name in ("pulumi", "pulumi-language-python", "prometheus", "promtool", "python"):
        assert shutil.which(name, path=path), f"{name}: run `make tools`"


def test_a_group_that_is_not_known_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["build", "moon"])
    assert build.main() == 1
    assert "there is no group moon of tools: name one of engine, vendor" in capsys.readouterr().err
