"""The inference runtime: Open Inference Protocol v2 over REST and gRPC."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import pulumi
import yaml

from core.telemetry import SILENT
from infra import config
from infra.services import feature_server
from infra.services.placed import placed
from infra.substrates.base import (
    INFERENCE_LOG,
    MODELS,
    ONLINE_FEATURES,
    PSEUDONYM_KEY,
    File,
    Port,
    Probe,
    Resources,
    Route,
    Signal,
    Substrate,
    Upstream,
    Workload,
)

NAME = "inference"
GRPC = "inference_grpc"
GRPC_PREFIX = "/inference.GRPCInferenceService/"
_HEALTH = "/v2/health/ready"


@dataclass(frozen=True, kw_only=True)
class InferenceArgs:
    """`signals` are what it is scaled by beside its CPU."""

    settings: config.Inference
    max_body_bytes: int
    signals: Sequence[Signal] = ()


class Inference(pulumi.ComponentResource):
    """The runtime. `url` is read by the deploy step and the command line."""

    def __init__(
        self, name: str, substrate: Substrate, args: InferenceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:services:Inference", name, None, opts)
        http = Port(number=args.settings.http_port, setting="inference.http_port")
        grpc = Port(number=args.settings.grpc_port, setting="inference.grpc_port", protocol="http2")
        log = substrate.uri(INFERENCE_LOG)
        # A bucket cannot append: answers are kept here until they are Parquet there.
        spool = ["--log-spool", substrate.scratch(NAME)] if log.startswith("s3://") else []
        store = substrate.file_path(NAME, feature_server.FILE)
        online = feature_server.online_store(substrate.uri(ONLINE_FEATURES))
        size = placed(args.settings, Resources(cpu=2, memory_mib=2048))
        self.workload = Workload(
            name=NAME,
            command=[
                *("python", "-m", "serving.runtime", "--host", substrate.listen),
                *("--http-port", str(http.number), "--grpc-port", str(grpc.number)),
                *("--model-repository", substrate.uri(MODELS)),
                *("--inference-log", log, *spool),
                *("--feature-store", str(PurePath(store).parent)),
                *("--pseudonym-key-file", substrate.uri(PSEUDONYM_KEY)),
                *("--grace-seconds", str(args.settings.grace_seconds)),
                *("--max-body-bytes", str(args.max_body_bytes)),
                *("--provider", "cuda" if size["resources"].gpus else "cpu"),
            ],
            environment=SILENT,
            files=[File(name=feature_server.FILE, content=yaml.dump(online, Dumper=yaml.CSafeDumper, sort_keys=False))],
            ports={"http": http, "grpc": grpc},
            readiness=Probe(port="http", path=_HEALTH),
            role="inference",
            **size,
            signals=args.signals,
            metrics_path="/metrics",
            # live.json is written by the deploy step; the runtime itself only reads.
            reads=[MODELS, PSEUDONYM_KEY, ONLINE_FEATURES],
            writes=[INFERENCE_LOG],
            grace_seconds=args.settings.grace_seconds + 5,
        )
        substrate.run(self.workload, self)
        self.upstreams = [
            Upstream(name=NAME, port=http, health_path=_HEALTH),
            Upstream(name=GRPC, port=grpc, health_path=_HEALTH),
        ]
        self.routes = [
            # The server's own metadata is at /v2, without a slash.
            Route(prefix="/v2", upstream=NAME),
            # The answer to a load comes when the model is warm.
            Route(prefix="/v2/repository/", upstream=NAME, timeout_seconds=300),
            Route(prefix="/v1/", upstream=NAME),
            # The runtime limits a message itself; to hold a stream back would stop it.
            Route(prefix=GRPC_PREFIX, upstream=GRPC, limit_body=False),
        ]
        self.url = substrate.url("", NAME)
        self.register_outputs({"url": self.url})
