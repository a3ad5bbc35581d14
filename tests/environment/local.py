"""The local environment under test, as its command line shows it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from core.platform import Environment
from rehearsal.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
FALAJ = Path(sys.prefix) / "bin" / "falaj"
PORTS = ("gateway.port", "mlflow.port", "feature_server.port", "inference.http_port", "inference.grpc_port")
PORTS += ("prometheus.port",)
MINUTES = 60


@dataclass(frozen=True)
class Local:
    """A running environment and the command line that made it."""

    home: Path
    stack_file: Path
    first_up: str

    @property
    def environment(self) -> Environment:
        return Environment.model_validate_json((self.home / "local" / "platform.json").read_bytes())

    @property
    def url(self) -> str:
        return self.environment.platform.runtime_url

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [FALAJ, *arguments],
            cwd=ROOT,
            env=os.environ | {"FALAJ_HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=15 * MINUTES,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def up(self) -> subprocess.CompletedProcess[str]:
        return self.run("up", "--config", str(self.stack_file))

    def ports(self) -> dict[str, int]:
        stack = yaml.safe_load(self.stack_file.read_text())["config"]["falaj:stack"]
        return {key: stack[key.split(".")[0]][key.split(".")[1]] for key in PORTS}

    def processes(self) -> list[psutil.Process]:
        """The supervisor and every process below it."""
        supervisor = psutil.Process(int((self.home / "local" / "run" / "supervisord.pid").read_text()))
        return [supervisor, *supervisor.children(recursive=True)]

    def listening(self, service: str) -> list[psutil.Process]:
        """The processes that hold the first port of a service."""
        port = next(port for key, port in self.ports().items() if key.startswith(f"{service}."))
        found = [process for process in self.processes() if port in _listens(process)]
        assert found, f"nothing listens on the port of {service}"
        return found


def _listens(process: psutil.Process) -> set[int]:
    return {each.laddr.port for each in process.connections() if each.status == psutil.CONN_LISTEN}


def write_stack_file(path: Path) -> None:
    """The local stack, on ports that are free."""
    document = yaml.safe_load((ROOT / "stacks" / "Pulumi.local.yaml").read_text())
    for key, port in zip(PORTS, free_ports(len(PORTS)), strict=True):
        service, field = key.split(".")
        document["config"]["falaj:stack"][service][field] = port
    path.write_text(yaml.safe_dump(document))
