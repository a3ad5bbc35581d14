"""What people do their work with: pipelines, training on several machines, Spark and notebooks.

It comes after our own services, which it calls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi
from pulumi import ResourceOptions

from core.errors import ConfigError
from core.platform import Platform
from infra.addons import notebooks, spark, trainer
from infra.addons.pipelines.component import Pipelines, PipelinesArgs
from infra.config import StackConfig
from infra.substrates.cluster import Cluster


@dataclass(frozen=True, kw_only=True)
class WorkbenchArgs:
    """What the rest of the stack tells it.

    Attributes:
        platform: Addresses of the platform's parts as a step of a pipeline sees them.
        services: Names of our workloads.
        files: What a step finds in its folder of files: feature_store.yaml.
        rendered: Folder of this stack for what the program writes on the machine that it runs on.
        monitors: What defines PodMonitor; None where nothing scrapes.
        entrance: Networks of the gateway's load balancer.
    """

    platform: Platform
    services: Sequence[str]
    files: Mapping[str, pulumi.Input[str]]
    rendered: Path
    monitors: pulumi.Resource | None
    entrance: Sequence[pulumi.Input[str]]


class Workbench(pulumi.ComponentResource):
    """Each part that the stack's file asks for."""

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        settings: StackConfig,
        args: WorkbenchArgs,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("falaj:Workbench", name, None, opts)
        within = ResourceOptions(parent=self)
        replicas = min(settings.gateway.replicas.minimum, 2)
        if settings.pipelines is not None:
            running = PipelinesArgs(
                settings=settings.pipelines,
                platform=args.platform,
                services=args.services,
                files=args.files,
                folder=args.rendered / "pipelines",
            )
            Pipelines("pipelines", cluster, running, args.monitors, within)
        if settings.training is not None:
            trainer.Trainer("training", cluster, settings.training, args.services, replicas, within)
        if settings.spark is not None:
            spark.Spark("spark", cluster, settings.spark, replicas, within)
        if settings.notebooks is not None:
            public = settings.gateway.public
            if public is None:
                raise ConfigError("gateway.public is absent, and a cluster's gateway is public: add it")
            writing = notebooks.NotebooksArgs(
                settings=settings.notebooks, public=public, services=args.services, entrance=args.entrance
            )
            notebooks.Notebooks("notebooks", cluster, writing, within)
        self.register_outputs({})
