"""Prometheus: scrapes every service and evaluates the rules in monitoring/alerts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import yaml

from infra import config
from infra.substrates.base import (
    METRICS,
    File,
    Port,
    Probe,
    Resources,
    Route,
    Substrate,
    Target,
    Upstream,
    Workload,
)

NAME = "prometheus"
PREFIX = "/prometheus"
_TARGETS = "targets.json"


def targets(found: Sequence[Target]) -> str:
    """The file that Prometheus watches for what to scrape."""
    groups = [
        {
            "targets": [f"127.0.0.1:{target.port}"],
            "labels": {"job": target.service, "__metrics_path__": target.path},
        }
        for target in sorted(found, key=lambda target: target.service)
    ]
    return json.dumps(groups, indent=2) + "\n"


def configuration(scrape_seconds: int, targets_file: str, rules: Sequence[str]) -> str:
    """The text of prometheus.yml."""
    return yaml.dump(
        {
            "global": {"scrape_interval": f"{scrape_seconds}s", "evaluation_interval": f"{scrape_seconds}s"},
            "rule_files": sorted(rules),
            "scrape_configs": [
                {
                    "job_name": "falaj",
                    "file_sd_configs": [{"files": [targets_file], "refresh_interval": "30s"}],
                }
            ],
        },
        Dumper=yaml.CSafeDumper,
        sort_keys=False,
    )


@dataclass(frozen=True, kw_only=True)
class PrometheusArgs:
    settings: config.Prometheus
    targets: Sequence[Target]
    rules: Mapping[str, str]
    """Text of each rule file, by its name."""


class Prometheus(pulumi.ComponentResource):
    """The server. `url` is read by the command line and, later, by the monitors."""

    def __init__(
        self, name: str, substrate: Substrate, args: PrometheusArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:services:Prometheus", name, None, opts)
        port = Port(number=args.settings.port, setting="prometheus.port")
        metrics = f"{PREFIX}/metrics"
        found = [*args.targets, Target(service=NAME, port=port.number, path=metrics)]
        rules = {f"rules-{file}": text for file, text in sorted(args.rules.items())}
        text = configuration(
            args.settings.scrape_seconds,
            substrate.file_path(NAME, _TARGETS),
            [substrate.file_path(NAME, file) for file in rules],
        )
        self.url = substrate.public_url(PREFIX)
        self.workload = Workload(
            name=NAME,
            command=[
                "prometheus",
                f"--config.file={substrate.file_path(NAME, 'prometheus.yml')}",
                f"--storage.tsdb.path={substrate.uri(METRICS)}",
                f"--storage.tsdb.retention.time={args.settings.retention}",
                f"--web.listen-address=127.0.0.1:{port.number}",
                f"--web.external-url={self.url}/",
                f"--web.route-prefix={PREFIX}",
            ],
            ports={"http": port},
            readiness=Probe(port="http", path=f"{PREFIX}/-/ready"),
            resources=Resources(cpu=0.2, memory_mib=512),
            files=[
                File(name="prometheus.yml", content=text),
                File(name=_TARGETS, content=targets(found), watched=True),
                *(File(name=file, content=rule) for file, rule in rules.items()),
            ],
            metrics_path=metrics,
            writes=[METRICS],
        )
        substrate.run(self.workload, self)
        self.upstreams = [Upstream(name=NAME, port=port, health_path=f"{PREFIX}/-/healthy")]
        self.routes = [Route(prefix=f"{PREFIX}/", upstream=NAME, page=True)]
        self.register_outputs({"url": self.url})
