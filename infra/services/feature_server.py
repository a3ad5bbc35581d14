"""Feast's feature server: features of an entity, by id, for online inference."""

from pathlib import PurePath
from typing import Any

import pulumi
import yaml

from core.telemetry import SILENT
from infra import config
from infra.services.placed import placed
from infra.substrates.base import (
    FEATURE_REGISTRY,
    OFFLINE_FEATURES,
    ONLINE_FEATURES,
    File,
    Port,
    Probe,
    Resources,
    Route,
    Substrate,
    Upstream,
    Workload,
)

NAME = "feature_server"
PREFIX = "/feast"
_ENDLESS = "1000000000"


FILE = "feature_store.yaml"


def online_store(online: str) -> dict[str, Any]:
    """What feature_store.yaml says to those who read features online alone.

    Args:
        online: SQLAlchemy URL of the SQLite file, or `redis:` (`redis_cluster:` where it has shards) and Feast's
            connection string. The `${VARIABLE}`s of the environment are put in when the file is read.
    """
    kind, _, address = online.partition(":")
    if kind == "sqlite":
        store = {"type": "features.packed.PackedOnlineStore", "path": address.removeprefix("///")}
    else:
        store = {"type": "redis", "redis_type": kind, "connection_string": address}
    return {"project": "falaj", "online_store": store, "entity_key_serialization_version": 3}


def feature_store(registry: str, online: str, registry_ttl_seconds: int) -> str:
    """The text of feature_store.yaml.

    Args:
        registry: SQLAlchemy URL.
        online: As `online_store` takes it.
    """
    return yaml.dump(
        {
            "provider": "local",
            "registry": {"registry_type": "sql", "path": registry, "cache_ttl_seconds": registry_ttl_seconds},
            "offline_store": {"type": "dask"},
            **online_store(online),
        },
        Dumper=yaml.CSafeDumper,
        sort_keys=False,
    )


class FeatureServer(pulumi.ComponentResource):
    """The server, for all but the inference runtime, which reads the online store by itself.

    `repository` (of feature_store.yaml) is read by pipeline steps.
    """

    def __init__(
        self,
        name: str,
        substrate: Substrate,
        settings: config.FeatureServer,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("falaj:services:FeatureServer", name, None, opts)
        port = Port(number=settings.port, setting="feature_server.port")
        path = substrate.file_path(NAME, FILE)
        self.repository = str(PurePath(path).parent)
        text = feature_store(
            substrate.uri(FEATURE_REGISTRY),
            substrate.uri(ONLINE_FEATURES),
            settings.registry_ttl_seconds,
        )
        self.workload = Workload(
            name=NAME,
            command=[
                *("feast", "--chdir", self.repository, "serve", "--host", substrate.listen, "--port", str(port.number)),
                *("--workers", "1", "--no-access-log", "--registry_ttl_sec", str(settings.registry_ttl_seconds)),
                # Feast restarts its worker after a number of requests, and refuses some at that moment.
                *("--max-requests", _ENDLESS, "--max-requests-jitter", "0"),
            ],
            environment=SILENT | {"XDG_RUNTIME_DIR": substrate.scratch(NAME)},
            ports={"http": port},
            files=[File(name=FILE, content=text)],
            readiness=Probe(port="http", path="/health"),
            **placed(settings, Resources(cpu=0.5, memory_mib=1024)),
            # Its own metrics server listens on every interface at a port that cannot be set.
            metrics_path=None,
            reads=[FEATURE_REGISTRY, ONLINE_FEATURES],
            writes=[OFFLINE_FEATURES],
        )
        substrate.run(self.workload, self)
        self.upstreams = [Upstream(name=NAME, port=port, health_path="/health")]
        self.routes = [Route(prefix=f"{PREFIX}/", upstream=NAME, rewrite="/")]
        self.url = substrate.url(PREFIX, NAME)
        self.register_outputs({"url": self.url})
