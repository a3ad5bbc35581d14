"""A chart at its pin, as every addon installs it."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
from pulumi_kubernetes.helm.v4 import Chart, RepositoryOptsArgs

from core.pins import pins
from infra.substrates.cluster import Cluster, NamespaceSpec

Values = dict[str, Any]
"""Values of a chart, as its `values.yaml` names them."""


def install(
    name: str,
    cluster: Cluster,
    namespace: NamespaceSpec,
    values: Values,
    *,
    parent: pulumi.Resource,
    release: str | None = None,
    depends_on: Sequence[pulumi.Resource] = (),
    hooks: bool = False,
) -> Chart:
    """Install the chart called `name` in pins.yaml once its namespace is there.

    Args:
        release: Name of the release; absent means the chart's own. Charts shorten their objects' names by it.
        hooks: Whether its hooks are installed like any other object. Pulumi runs no hooks, so that a chart
            whose pods wait for what a hook makes needs this.

    Raises:
        ConfigError: There is no such pin.
    """
    source = cluster.chart(pins().chart(name))
    return Chart(
        release or name,
        chart=source.chart,
        version=source.version,
        repository_opts=RepositoryOptsArgs(repo=source.repository) if source.repository else None,
        namespace=namespace.name,
        include_hooks=hooks or None,
        values=values,
        opts=pulumi.ResourceOptions(
            parent=parent, provider=cluster.provider, depends_on=[cluster.namespace(namespace), *depends_on]
        ),
    )


def requests(cpu: str, memory: str) -> Mapping[str, Any]:
    """Resources of a container: memory is also its limit, CPU has none, so that it is not throttled while idle."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory}}
