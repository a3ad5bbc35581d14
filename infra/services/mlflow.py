"""MLflow: experiment tracking, the model registry and its artifacts."""

import pulumi

from core.telemetry import SILENT
from infra import config
from infra.services.placed import placed
from infra.substrates.base import ARTIFACTS, TRACKING, Port, Probe, Resources, Route, Substrate, Upstream, Workload

NAME = "mlflow"
PREFIX = "/mlflow"
_OWN_HOSTS = ("localhost:*", "127.0.0.1:*", "10.*", "172.*", "192.168.*")
"""As which probes and scrapers call; a page of elsewhere that makes its name point here is refused."""


class Mlflow(pulumi.ComponentResource):
    """The tracking server. `url` is read by pipeline steps and the command line."""

    def __init__(
        self, name: str, substrate: Substrate, settings: config.Mlflow, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:services:Mlflow", name, None, opts)
        port = Port(number=settings.port, setting="mlflow.port")
        self.workload = Workload(
            name=NAME,
            command=[
                *("mlflow", "server", "--host", substrate.listen, "--port", str(port.number), "--workers", "1"),
                *("--backend-store-uri", substrate.uri(TRACKING)),
                *("--artifacts-destination", substrate.uri(ARTIFACTS)),
                *("--expose-prometheus", substrate.scratch(NAME)),
                *("--uvicorn-opts", "--log-level warning --timeout-graceful-shutdown 5"),
            ],
            environment=SILENT
            | {
                # Jobs are for evaluating language models; their queues would be six more processes.
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join([*_OWN_HOSTS, *substrate.hosts(NAME)]),
            },
            ports={"http": port},
            readiness=Probe(port="http", path="/health"),
            **placed(settings, Resources(cpu=0.5, memory_mib=1024)),
            metrics_path="/metrics",
            writes=[TRACKING, ARTIFACTS],
        )
        substrate.run(self.workload, self)
        self.upstreams = [Upstream(name=NAME, port=port, health_path="/health")]
        # An artifact may be of any size and take any time.
        self.routes = [
            Route(prefix=f"{PREFIX}/", upstream=NAME, rewrite="/", timeout_seconds=None, limit_body=False, page=True)
        ]
        self.url = substrate.url(PREFIX, NAME)
        self.register_outputs({"url": self.url})
