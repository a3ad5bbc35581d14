from collections.abc import Callable
from typing import Any

import pulumi
import pytest
import yaml

from core.errors import ConfigError
from infra.addons import logging
from infra.addons.logging import LogGroup, Logs, LogsArgs, SearchDomain
from infra.config.nodes import NodePool
from infra.config.platform import Logging
from infra.substrates.aws.permissions import narrow
from infra.substrates.base import CLUSTER_LOGS
from infra.substrates.cluster import Access
from tests.infra.variations import document

GROUP = LogGroup(
    name="/falaj-prod/pods",
    arn="arn:aws:logs:me-central-1:444455556666:log-group:/falaj-prod/pods",
    region="me-central-1",
)
DOMAIN = SearchDomain(
    host="vpc-falaj.me-central-1.es.amazonaws.com",
    arn="arn:aws:es:me-central-1:444455556666:domain/falaj-prod",
    region="me-central-1",
)


def arguments(destination: str, **changed: Any) -> LogsArgs:
    settings = Logging.model_validate({"destination": destination, **changed})
    return LogsArgs(settings=settings, days=400, group=GROUP, domain=DOMAIN)


def sections(text: str) -> list[tuple[str, dict[str, str]]]:
    """Each section's name and settings."""
    found: list[tuple[str, dict[str, str]]] = []
    for line in filter(None, text.splitlines()):
        if line.startswith("["):
            found.append((line.strip("[]"), {}))
        else:
            key, _, value = line.strip().partition(" ")
            assert key not in found[-1][1], f"{key} is set twice"
            found[-1][1][key] = value
    return found


def install_logs(install: Callable[..., Any], args: LogsArgs) -> Any:
    return install(
        lambda cluster, opts: Logs("logs", cluster, args, cluster.secret("monitoring", "monitors", {}), opts)
    )


@pytest.mark.parametrize(
    ("destination", "plugin"),
    [("cloudwatch", "cloudwatch_logs"), ("opensearch", "opensearch"), ("loki", "loki")],
)
def test_logs_go_to_the_one_destination_and_wait_for_it(destination: str, plugin: str) -> None:
    config = logging.shipper_values(arguments(destination), "m", [], True)["config"]
    ((name, output),) = sections(config["outputs"])
    assert (name, output["Name"], output["Match"]) == ("OUTPUT", plugin, "*")
    assert output["Retry_Limit"] == "no_limits"
    inputs = [found for _, found in sections(config["inputs"])]
    assert {found["storage.type"] for found in inputs} == {"filesystem"}
    ((_, service),) = sections(config["service"])
    assert service["storage.path"].startswith("/var/fluent-bit/")


@pytest.mark.parametrize("destination", ["cloudwatch", "opensearch", "loki"])
def test_each_variable_of_the_configuration_is_set(destination: str) -> None:
    values = logging.shipper_values(arguments(destination), "m", [], True)
    named = {part.partition("}")[0] for part in "".join(values["config"].values()).split("${")[1:]}
    assert named == {variable["name"] for variable in values["env"]}


def test_search_is_asked_over_tls_with_the_shippers_own_role() -> None:
    ((_, output),) = sections(logging.output(arguments("opensearch").settings))
    assert (output["tls"], output["tls.verify"], output["AWS_Auth"]) == ("On", "On", "On")


@pytest.mark.parametrize(
    ("destination", "actions", "where"),
    [
        ("cloudwatch", {"logs:CreateLogStream", "logs:PutLogEvents"}, f"{GROUP.arn}:*"),
        ("opensearch", {"es:ESHttpPost"}, f"{DOMAIN.arn}/_bulk"),
    ],
)
def test_the_shipper_may_write_there_and_nothing_else(
    destination: str, actions: set[str], where: str, install: Callable[..., Any]
) -> None:
    resources: list[list[str]] = []

    def program(cluster: Any, opts: Any) -> None:
        Logs("logs", cluster, arguments(destination), None, opts)
        ((granted,),) = [identity.permissions for identity in cluster.identities]
        pulumi.Output.all(*narrow(granted, "fluent-bit")).apply(resources.append)

    tried = install(program)
    (identity,) = tried.cluster.identities
    (granted,) = identity.permissions
    assert set(granted.actions) == actions
    assert resources[-1] == [where]
    assert identity.account == tried.find("fluent-bit").inputs["values"]["serviceAccount"]["name"]
    assert "identity-logging-fluent-bit" in tried.before("fluent-bit")
    assert "loki" not in tried.cluster.namespaces


def test_a_destination_that_is_not_there_is_refused() -> None:
    args = LogsArgs(settings=Logging(destination="cloudwatch"), days=400)
    with pytest.raises(ConfigError, match=r"logging\.destination is cloudwatch"):
        logging.shipper_values(args, "m", [], True)


def test_every_node_is_read_whatever_its_taints() -> None:
    values = logging.shipper_values(arguments("loki"), "m", [], True)
    assert values["tolerations"] == [{"operator": "Exists"}]
    pool = NodePool.model_validate(document("prod")["substrate"]["nodes"]["inference-gpu"])
    assert pool.taints("inference-gpu")


def test_nodes_are_read_and_not_written_but_for_the_shippers_own_folder() -> None:
    values = logging.shipper_values(arguments("loki"), "m", [], True)
    writable = [mount["name"] for mount in values["daemonSetVolumeMounts"] if not mount.get("readOnly")]
    assert writable == ["state"]
    assert values["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert values["securityContext"]["readOnlyRootFilesystem"] is True


def test_loki_keeps_logs_in_its_part_of_the_store_as_long_as_the_stack_says(install: Callable[..., Any]) -> None:
    tried = install_logs(install, arguments("loki"))
    identity = next(found for found in tried.cluster.identities if found.namespace == "loki")
    assert list(identity.writes) == [CLUSTER_LOGS]
    values = tried.find("loki").inputs["values"]
    assert identity.account == values["serviceAccount"]["name"]
    settings = values["loki"]
    assert settings["limits_config"]["retention_period"] == f"{400 * 24}h"
    assert settings["compactor"]["retention_enabled"] is True
    assert settings["storage"]["bucketNames"]["chunks"] == f"falaj-test-{CLUSTER_LOGS.data_class}"
    assert settings["storage"]["object_store"]["storage_prefix"] == CLUSTER_LOGS.name
    assert {"identity-loki-loki", "secret-loki-falaj-aws"} <= tried.before("loki")
    assert "loki" in tried.before("fluent-bit")
    text = next(
        resource.inputs["data"]["loki.yaml"]
        for resource in tried.graph.resources
        if resource.name == "loki-data-source"
    )
    (source,) = yaml.safe_load(text)["datasources"]
    assert source["url"] == logging.URL


@pytest.mark.parametrize(("replicas", "copies"), [(1, 1), (2, 1), (3, 3), (5, 3)])
def test_lines_are_held_more_than_once_only_where_one_may_be_lost(replicas: int, copies: int) -> None:
    """Of two copies both are needed for a write, so that a second one would only be one more to fail."""
    access = Access(environment={"AWS_REGION": "me-central-1"}, secrets={}, files={})
    args = arguments("loki", loki_replicas=replicas)
    values = logging.loki_values(args, "m", "s3://bucket/cluster-logs", access, "encrypted", [], True)
    assert values["loki"]["commonConfig"]["replication_factor"] == copies
    assert values["singleBinary"]["replicas"] == replicas


def test_a_sites_store_is_found_by_its_address_and_trusted_by_its_authority() -> None:
    environment = {
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": "https://s3.example.ae:9000",
        "AWS_CA_BUNDLE": "/etc/authorities/ca.crt",
    }
    site = Access(environment=environment, secrets={}, files={})
    values = logging.loki_values(arguments("loki"), "m", "s3://b/p", site, "encrypted", [], True)
    store = values["loki"]["storage"]["object_store"]["s3"]
    assert store["endpoint"] == "s3.example.ae:9000"
    assert store["http"] == {"tls_ca_path": "/etc/authorities/ca.crt"}
    assert "access_key_id" not in store
