"""Publishers of charts, manifests and images on this machine: the programs that real ones are reached with."""

import http.client
import http.server
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import pytest
import yaml

from core.pins import Manifest
from falaj.vendor.folders import command
from tools.build import BIN

CONTAINER = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: moon}
spec:
  template:
    spec:
      containers:
        - name: moon
          image: {{ .Values.image }}:{{ .Chart.Version }}
"""


@pytest.fixture(autouse=True, scope="session")
def _programs() -> None:
    path = os.pathsep.join([os.environ["PATH"], str(BIN)])
    for name in ("helm", "crane", "kustomize", "git"):
        assert shutil.which(name, path=path), f"{name}: run `python -m tools.build vendor`"


def make_chart(folder: Path, name: str, version: str, templates: dict[str, str]) -> Path:
    """Write a chart, and package it as its publisher does."""
    source = folder / f"{name}-{version}"
    (source / "templates").mkdir(parents=True, exist_ok=True)
    (source / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": name, "version": version}))
    (source / "values.yaml").write_text("image: docker.io/example/moon\n")
    for file, text in templates.items():
        (source / "templates" / file).write_text(text)
    command(["helm", "package", str(source), "--destination", str(folder)])
    return folder / f"{name}-{version}.tgz"


@dataclass
class ChartRepository:
    """A mirror of chart repositories over HTTP: `<address>/<chart>/index.yaml`."""

    folder: Path
    address: str

    def publish(self, name: str, version: str, templates: dict[str, str] | None = None) -> Path:
        """Make a version, or make it again; the index is renewed."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        archive = make_chart(folder, name, version, {"moon.yaml": CONTAINER} if templates is None else templates)
        self.index(name)
        return archive

    def index(self, name: str) -> None:
        """Write the index of what lies there."""
        command(["helm", "repo", "index", str(self.folder / name)])


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def charts(tmp_path: Path) -> Iterator[ChartRepository]:
    """A chart repository that can be reached."""
    folder = tmp_path / "published"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield ChartRepository(folder, f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def registries(tmp_path: Path) -> Iterator[list[str]]:
    """Hosts of two empty OCI registries."""
    program = shutil.which("crane", path=os.pathsep.join([os.environ["PATH"], str(BIN)]))
    running = [
        subprocess.Popen(
            [str(program), "registry", "serve", "--address", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        yield [_host(process) for process in running]
    finally:
        for process in running:
            process.kill()
            process.communicate()


class _Forwarding(http.server.BaseHTTPRequestHandler):
    """A proxy for reading: any host is the registry at `port`."""

    protocol_version = "HTTP/1.1"
    port: ClassVar[int]

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        headers = {name: value for name, value in self.headers.items() if name != "Proxy-Connection"}
        connection.request(self.command, asked.path + (f"?{asked.query}" if asked.query else ""), headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name not in ("Transfer-Encoding", "Content-Length", "Connection", "Date"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        connection.close()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream(registries: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A host without a port, as images are named by, that is the first registry."""
    handler = type("Handler", (_Forwarding,), {"port": int(registries[0].rpartition(":")[2])})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.server_port}")
    # Registries of this domain are spoken to without TLS.
    yield "moon.localhost"
    server.shutdown()
    thread.join()
    server.server_close()


def _host(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"port (\d+)|127\.0\.0\.1:(\d+)", line):
            return f"127.0.0.1:{found[1] or found[2]}"
    raise AssertionError("the registry did not start")


@pytest.fixture
def published(tmp_path: Path) -> Manifest:
    """A Git repository with a tag, and the pin that names it."""
    source = tmp_path / "upstream"
    (source / "deploy" / "base").mkdir(parents=True)
    (source / "elsewhere").mkdir()
    (source / "elsewhere" / "large.txt").write_text("not wanted")
    (source / "deploy" / "kustomization.yaml").write_text("resources: [base]\n")
    (source / "deploy" / "base" / "kustomization.yaml").write_text("resources: [pod.yaml]\n")
    (source / "deploy" / "base" / "pod.yaml").write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: moon}\n"
        "spec: {containers: [{name: moon, image: 'example/moon:1.0'}]}\n"
    )
    commit(source, "v1.0.0")
    return Manifest.model_construct(name="moon", repository=source.as_uri(), path="deploy", version="v1.0.0")


def commit(source: Path, tag: str) -> None:
    """Commit all that a folder holds, under a tag that moves if it is there."""
    identity = ["-c", "user.name=moon", "-c", "user.email=moon@example.org"]
    for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", tag], ["tag", "--force", tag]):
        command(["git", *identity, *arguments], folder=source)
