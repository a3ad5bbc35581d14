"""OpenCost and Velero."""

from collections.abc import Callable
from typing import Any

import pytest

from infra.addons import monitoring, opencost, velero
from infra.addons.opencost import OpenCost
from infra.addons.velero import Velero, VeleroArgs
from infra.config.platform import ClusterBackup, CostMonitor, UnitPrices
from infra.substrates.base import CLUSTER_BACKUP, SecretKey
from infra.substrates.cluster import Access

CLOUD = Access(environment={"AWS_REGION": "me-central-1"}, secrets={}, files={})
SITE = Access(
    environment={"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL_S3": "https://s3.example.ae"},
    secrets={"AWS_ACCESS_KEY_ID": SecretKey(secret="falaj/object-store", key="access-key")},
    files={"/etc/authorities/ca.crt": SecretKey(secret="site_authority", key="ca.crt")},
)


def arguments(**changed: Any) -> VeleroArgs:
    fields: dict[str, Any] = {
        "settings": ClusterBackup(),
        "namespaces": ["notebooks", "falaj"],
        "snapshot_driver": "ebs.csi.aws.com",
        "monitored": True,
    }
    return VeleroArgs(**{**fields, **changed})


def backup(install: Callable[..., Any], args: VeleroArgs) -> Any:
    return install(
        lambda cluster, opts: Velero("velero", cluster, args, cluster.secret("monitoring", "monitors", {}), opts)
    )


def test_costs_are_reckoned_by_the_stacks_prices_and_no_list_outside() -> None:
    settings = CostMonitor(prices=UnitPrices(cpu_hour=0.05, storage_gib_month=0.73))
    values = opencost.values(settings, "falaj-prod", "m/ghcr.io", [])["opencost"]
    assert values["exporter"]["extraEnv"] == {"USE_CUSTOM_PROVIDER": "true"}
    assert float(values["customPricing"]["costModel"]["CPU"]) == 0.05
    assert float(values["customPricing"]["costModel"]["storage"]) == pytest.approx(0.001)
    assert values["prometheus"]["external"]["url"] == monitoring.PROMETHEUS
    assert values["mcp"] == {"enabled": False}


def test_the_costs_of_all_are_for_administrators(install: Callable[..., Any]) -> None:
    tried = install(
        lambda cluster, opts: OpenCost(
            "cost", cluster, CostMonitor(), cluster.secret("monitoring", "monitors", {}), opts
        )
    )
    (route,) = tried.cluster.routes
    assert route.who == "administrators"
    assert "secret-monitoring-monitors" in tried.before("opencost")
    assert "opencost" in monitoring.NAMESPACE.callers


def test_volumes_leave_the_cluster_and_secrets_do_not() -> None:
    schedule = velero.values(arguments(), "m", "plugin", CLOUD, [])["schedules"][velero.SCHEDULE]
    template = schedule["template"]
    assert template["snapshotMoveData"] is True
    assert "secrets" in template["excludedResources"]
    assert template["includedNamespaces"] == ["falaj", "notebooks"]
    assert template["ttl"] == f"{30 * 24}h"


def test_a_stack_without_copies_of_volumes_has_no_one_on_its_nodes(install: Callable[..., Any]) -> None:
    tried = backup(install, arguments(settings=ClusterBackup(volumes=False)))
    values = tried.find("velero").inputs["values"]
    assert values["deployNodeAgent"] is False
    assert values["schedules"][velero.SCHEDULE]["template"]["snapshotVolumes"] is False
    kinds = {resource.inputs.get("kind") for resource in tried.graph.resources}
    assert "VolumeSnapshotClass" not in kinds


def test_what_writes_copies_may_write_to_its_part_of_the_store_alone(install: Callable[..., Any]) -> None:
    tried = backup(install, arguments())
    (identity,) = tried.cluster.identities
    values = tried.find("velero").inputs["values"]
    assert identity.account == values["serviceAccount"]["server"]["name"]
    assert (list(identity.reads), list(identity.writes)) == ([], [CLUSTER_BACKUP])
    assert {"identity-velero-velero", "secret-velero-falaj-aws"} <= tried.before("velero")
    store = tried.find("default").inputs["spec"]["objectStorage"]
    assert (store["bucket"], store["prefix"]) == (f"falaj-test-{CLUSTER_BACKUP.data_class}", CLUSTER_BACKUP.name)
    assert tried.before("default") == {"velero"}
    snapshots = tried.find("snapshots").inputs
    assert snapshots["driver"] == "ebs.csi.aws.com"
    assert snapshots["metadata"]["labels"] == {"velero.io/csi-volumesnapshot-class": "true"}


def test_no_credential_is_a_file_and_in_the_cloud_there_is_none() -> None:
    for access, variables in ((CLOUD, []), (SITE, ["AWS_ACCESS_KEY_ID"])):
        values = velero.values(arguments(), "m", "plugin", access, [])
        assert values["credentials"] == {"useSecret": False}
        found = values["configuration"]["extraEnvVars"]
        assert [variable["name"] for variable in found] == variables
        assert all("value" not in variable for variable in found)


def test_a_sites_store_is_trusted_by_its_authority() -> None:
    spec = velero.location("s3://falaj-artifacts/cluster-backup", SITE)
    assert spec["objectStorage"]["caCertRef"] == {"name": "site-authority", "key": "ca.crt"}
    assert spec["config"]["s3Url"] == "https://s3.example.ae"
    cloud = velero.location("s3://falaj-artifacts/cluster-backup", CLOUD)
    assert cloud["config"] == {"region": "me-central-1"}
    assert "caCertRef" not in cloud["objectStorage"]


def test_only_what_reads_volumes_is_root() -> None:
    values = velero.values(arguments(), "m", "plugin", CLOUD, [])
    assert values["containerSecurityContext"]["runAsNonRoot"] is True
    assert values["nodeAgent"]["disableHostPath"] is True
    assert velero.NAMESPACE.security == "baseline"
