import copy
import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from core.errors import ConfigError
from infra.config import StackConfig, parse_config, schema
from infra.config.aws import Aws
from infra.config.network import Network
from infra.config.nodes import GPU_TAINT, LABEL, NodePool, allocatable
from infra.config.offerings import ZONES, offerings
from tests.infra.variations import STACKS, broken, document, valid

ROOT = Path(__file__).resolve().parents[2]
MINIMAL = {"substrate": {"kind": "local"}, "gateway": {}}


def parse(stack: str) -> StackConfig:
    return parse_config(document(stack), stack)


@pytest.mark.parametrize("stack", STACKS)
def test_every_stack_is_valid_and_round_trips(stack: str) -> None:
    config = parse(stack)
    assert parse_config(config.model_dump(mode="json"), stack) == config


def test_all_six_environments_are_there() -> None:
    assert STACKS == ["dev", "local", "onprem", "prod", "smb", "staging"]


@pytest.mark.parametrize("stack", [stack for stack in STACKS if stack != "local"])
def test_a_cluster_has_no_default_provider(stack: str) -> None:
    file = yaml.safe_load((ROOT / "stacks" / f"Pulumi.{stack}.yaml").read_text())
    assert file["config"]["pulumi:disable-default-providers"] == ["*"]


def test_the_schema_file_is_what_the_classes_say() -> None:
    written = json.loads((ROOT / "stacks" / "schema.json").read_text())
    assert written == schema(), "run `python -m infra.config > stacks/schema.json`"


def test_every_key_is_described() -> None:
    bare = [
        f"{name}.{key}"
        for name, definition in schema()["$defs"].items()
        for key, value in definition["properties"].items()
        if key != "kind" and "description" not in value and "$ref" not in json.dumps(value)
    ]
    assert bare == []


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(broken())
def test_a_broken_file_gives_a_readable_error_and_nothing_else(changed: dict[str, Any]) -> None:
    try:
        config = parse_config(changed, "prod")
    except ConfigError as error:
        message = str(error)
    else:
        message = ""
        assert parse_config(config.model_dump(mode="json"), "prod") == config
    assert message == "" or message.startswith("stacks/Pulumi.prod.yaml is not valid:\n  falaj:stack")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(valid())
def test_a_valid_file_round_trips(config: StackConfig) -> None:
    assert parse_config(json.loads(config.model_dump_json()), "prod") == config


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(valid(stacks=("smb", "dev", "staging", "prod")))
def test_subnets_lie_in_the_network_and_never_overlap(config: StackConfig) -> None:
    assert isinstance(config.substrate, Aws)
    network = config.substrate.network
    plan = network.plan(config.substrate.zones)
    found = [ipaddress.ip_network(cidr) for zones in plan.values() for cidr in zones.values()]
    assert len(found) == 3 * len(config.substrate.zones)
    assert all(subnet.subnet_of(ipaddress.ip_network(network.cidr)) for subnet in found)  # type: ignore[arg-type]
    assert not any(one.overlaps(other) for one in found for other in found if one is not other)


def test_a_zone_keeps_its_subnets_when_another_is_left() -> None:
    network = Network()
    whole, part = network.plan(ZONES), network.plan(("mec1-az1", "mec1-az3"))
    assert all(part[tier][zone] == whole[tier][zone] for tier in part for zone in part[tier])


def test_an_absent_service_is_not_deployed() -> None:
    assert parse_config(MINIMAL, "local").mlflow is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mlfow": {}}, r"falaj:stack\.mlfow: there is no such key"),
        ({"mlflow": {"port": 80}}, r"falaj:stack\.mlflow\.port: .*1024"),
        ({"mlflow": {"port": 8080}}, r"mlflow\.port and gateway\.port are both 8080"),
        ({"inference": {}}, "needs feature_server"),
        ({"substrate": {"kind": "moon"}}, r"falaj:stack\.substrate\.kind"),
        ({"substrate": {}}, r"falaj:stack\.substrate\.kind"),
        ({"prometheus": {"retention": "forever"}}, r"falaj:stack\.prometheus\.retention"),
        ({"mlflow": {"replicas": {"minimum": 2, "maximum": 2}}}, r"mlflow\.replicas\.maximum is 2: this machine runs"),
        ({"mlflow": {}, "pipelines": {"pool": "any"}}, "pipelines needs a cluster"),
        ({"environment": "production"}, "environment is production, and the substrate local"),
        ({"prometheus": {"grafana": {}}}, r"prometheus\.grafana runs on a cluster alone"),
    ],
)
def test_a_fault_is_named_with_its_file_and_key(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config(MINIMAL | change, "local")
    assert "stacks/Pulumi.local.yaml" in str(caught.value)


def changed(stack: str, path: str, value: object) -> dict[str, Any]:
    """The stack's document with the value at a dotted path replaced, or removed where it is an Ellipsis."""
    found = copy.deepcopy(document(stack))
    *way, last = path.split(".")
    at = found
    for key in way:
        at = at.setdefault(key, {})
    if value is ...:
        at.pop(last)
    else:
        at[last] = value
    return found


POOL = {"roles": ["training"], "instance_types": ["g6.xlarge"], "limits": {"cpu": 8, "memory_gib": 64, "gpus": 1}}


@pytest.mark.parametrize(
    ("stack", "path", "value", "message"),
    [
        # What the region offers
        (
            "prod",
            "substrate.nodes.inference-gpu.zones",
            ["mec1-az3"],
            r"falaj:stack\.substrate: nodes\.inference-gpu\.instance_types: g6\.xlarge is not offered in mec1-az3: "
            r"see .*, or name other zones",
        ),
        (
            "prod",
            "substrate.nodes.pipelines.instance_types",
            ["g4dn.xlarge"],
            r"substrate\.nodes\.pipelines\.instance_types\[0\]: g4dn\.xlarge is not offered in me-central-1: "
            r"choose one of g5\.xlarge, g6\.xlarge, g6e\.xlarge",
        ),
        ("smb", "substrate.region", "eu-central-1", r"substrate\.region: Input should be 'me-central-1'"),
        ("smb", "substrate.stores.postgresql.instance_class", "db.m6i.large", r"choose from the families db\.t3"),
        ("smb", "substrate.stores.cache.node_type", "cache.t4g.small", "choose from the families cache.t3"),
        ("smb", "substrate.zones", ["mec1-az1"], "at least 2 items"),
        ("smb", "substrate.zones", ["mec1-az1", "mec1-az1"], "zones names mec1-az1 twice"),
        ("smb", "substrate.zones", ["me-central-1a", "mec1-az1"], r"zones\[0\]: Input should be 'mec1-az1'"),
        ("smb", "substrate.nodes.services.zones", ["mec1-az2"], "which substrate.zones lacks"),
        # Addresses
        ("smb", "substrate.network.cidr", "10.20.0.0/18", "do not fit 10.20.0.0/18"),
        ("smb", "substrate.network.cidr", "10.16.0.0/12", "is a /12: a VPC has /16 to /24"),
        ("smb", "substrate.network.cidr", "10.20.0.1/16", "has host bits set"),
        ("smb", "substrate.cluster.service_cidr", "10.20.128.0/20", "overlaps network.cidr"),
        ("smb", "substrate.cluster.service_cidr", "8.8.8.0/24", "choose a private network"),
        ("smb", "substrate.cluster.pods", 5000, r"cluster\.pods is 5000, and with a zone lost"),
        ("prod", "substrate.network.nat", "none", None),
        ("smb", "substrate.network.nat", "none", "nodes need the endpoints ec2, eks"),
        # Access
        ("dev", "substrate.cluster.public_from", ["0.0.0.0/0"], "open to the world"),
        ("dev", "gateway.public.allow_from", ["0.0.0.0/1"], "open to the world"),
        ("dev", "gateway.public.allow_from", [], "at least 1 item"),
        ("smb", "substrate.account_id", "999999999999", "is of another account than account_id"),
        ("smb", "substrate.account_id", 111122223333, "valid string"),
        ("smb", "substrate.cluster.access", [], "at least 1 item"),
        (
            "dev",
            "substrate.cluster.access",
            [{"role": "arn:aws:iam::222233334444:role/x", "level": "view"}],
            "no entry of access may administer",
        ),
        ("smb", "gateway.public.tls.kind", "self", r"gateway\.public\.tls\.kind: Input tag 'self'"),
        ("smb", "gateway.public.tls.email", "nobody", r"gateway\.public\.tls\.email: "),
        ("smb", "gateway.public.tls.dns_zone", ..., r"gateway\.public\.tls\.dns_zone: this is needed"),
        (
            "onprem",
            "gateway.public.tls",
            {"kind": "acme", "email": "a@example.ae", "dns_zone": "Z0123456789ABCDEF"},
            r"gateway\.public\.tls is acme, whose challenge needs Route 53, on aws alone",
        ),
        ("smb", "gateway.public", ..., "a cluster needs gateway.public"),
        # Pools
        ("prod", "substrate.nodes.inference-gpu.limits.gpus", 0, "set limits.gpus"),
        ("prod", "substrate.nodes.pipelines.limits.gpus", 1, "no instance type has a GPU"),
        ("prod", "substrate.nodes.pipelines.limits.cpu", 4, r"limits are below one m7i\.2xlarge"),
        ("prod", "substrate.nodes.pipelines.instance_types", ["m7i.xlarge", "m7g.xlarge"], "mix Intel or AMD with"),
        ("prod", "substrate.nodes.pipelines.instance_types", ["m7i.xlarge", "g6.xlarge"], "some with a GPU and some"),
        ("prod", "substrate.nodes.pipelines.instance_types", ["m7i.xlarge", "m7i.xlarge"], "named twice"),
        ("prod", "substrate.system.instance_types", ["g6.xlarge"], "the system needs no GPU"),
        ("prod", "substrate.nodes.services.capacity", ["spot"], "runs services on spot alone"),
        ("prod", "training.pool", "moon", "training.pool is moon, and substrate.nodes has"),
        ("prod", "training.pool", "pipelines", "whose roles lack training"),
        ("prod", "training.worker.gpus", 2, "a pod of 12 CPU, 98304 MiB and 2 GPU fits no node there"),
        ("prod", "inference.size", {"cpu": 16, "memory_mib": 1024}, "inference.pool: a pod of 16 CPU"),
        ("prod", "inference.pool", ..., "no pool of substrate.nodes that is open to all has the role inference"),
        ("prod", "gpu", ..., "has GPUs, which pods see through gpu"),
        ("smb", "gpu", {}, "no pool of substrate.nodes has GPUs"),
        ("smb", "pipelines.quota.gpus", 1, r"pipelines\.quota\.gpus is 1, and pipelines\.gpu_pool absent"),
        (
            "prod",
            "training.quota.cpu",
            24,
            r"training\.quota is below 4 workers, which ask for 48 CPU, 384 GiB and 4 GPU",
        ),
        ("prod", "notebooks.users", 100, r"notebooks\.quota is below 100 notebooks"),
        ("prod", "spark.executors", 60, r"spark\.quota is below 60 executors"),
        (
            "onprem",
            "training",
            {
                "pool": "gpu",
                "workers": 8,
                "worker": {"cpu": 1, "memory_mib": 1024, "gpus": 2},
                "quota": {"cpu": 64, "memory_gib": 400, "gpus": 32},
            },
            r"training\.workers ask for 16 GPUs together, and the pool has 8",
        ),
        # People, money and law
        ("smb", "governance", ..., "a cluster needs governance"),
        ("smb", "governance.contacts.data_protection_officer", ..., "name contacts.data_protection_officer"),
        ("smb", "governance.contacts.finance", ..., "a budget needs someone who is told"),
        ("smb", "governance.retention.logs", 30, r"governance\.retention\.logs: .*365"),
        ("smb", "governance.owner", "a;b", "a tag cannot hold this: it has ';' in it"),
        ("smb", "governance.owner", "فريق البيانات", None),
        ("smb", "governance.tags", {"owner": "x"}, "tags.owner is set by the platform"),
        ("smb", "prometheus.routes", [], "no alert would reach a person"),
        (
            "smb",
            "prometheus.routes",
            [{"kind": "sns", "severities": ["critical"]}],
            "no route takes alerts of severity warning",
        ),
        ("smb", "prometheus.routes", [{"kind": "email", "to": "a@example.ae"}], "a route of kind email needs secret"),
        # Production
        ("smb", "cluster_backup", ..., "must come back elsewhere"),
        ("smb", "admission.mode", "audit", "must refuse what it forbids"),
        ("smb", "substrate.backup", ..., "must be restorable"),
        ("smb", "substrate.cluster.public_from", ["203.0.113.0/24"], "production's API is private"),
        ("dev", "substrate.cluster.public_from", [], None),
        ("smb", "environment", "local", "environment is local, and the substrate a cluster"),
        # Parts that need each other
        ("smb", "substrate.stores.cache", ..., r"feature_server answers from substrate\.stores\.cache"),
        ("smb", "substrate.stores.mysql", ..., r"pipelines keep their runs in substrate\.stores\.mysql: add it"),
        ("onprem", "pipelines", ..., r"substrate\.stores\.mysql is for pipelines, which are absent: remove it"),
        ("smb", "mlflow", ..., "they need mlflow"),
        ("smb", "prometheus", ..., "cost_monitor reads prometheus"),
        ("prod", "substrate.search", ..., "logging.destination is opensearch: add substrate.search"),
        ("onprem", "logging.destination", "cloudwatch", "is on aws alone"),
        ("smb", "substrate.security.security_hub", True, None),
        ("smb", "substrate.security.config_recorder", False, None),
        ("onprem", "substrate.country", "DE", r"substrate\.country: Input should be 'AE'"),
        ("onprem", "substrate.secrets.kind", "moon", r"substrate\.secrets\.kind"),
        ("onprem", "substrate.installed", ["keda", "keda"], "installed names keda twice"),
        ("onprem", "sources.charts", "https://charts.example.ae", "vendored charts come from no mirror"),
    ],
)
def test_what_the_sections_ask_of_each_other(stack: str, path: str, value: object, message: str | None) -> None:
    document = changed(stack, path, value)
    if message is None:
        parse_config(document, stack)
        return
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config(document, stack)
    assert f"stacks/Pulumi.{stack}.yaml is not valid:\n  falaj:stack" in str(caught.value)


def test_a_stack_without_configuration_is_told_where_it_goes() -> None:
    with pytest.raises(ConfigError, match=r"stacks/Pulumi\.dev\.yaml has no falaj:stack"):
        parse_config(None, "dev")


def test_a_gpu_pool_is_tainted_and_a_shared_one_is_not() -> None:
    pool = NodePool.model_validate(POOL)
    assert [tuple(taint) for taint in pool.taints("gpu")] == [(LABEL, "gpu"), (GPU_TAINT, "present")]
    shared = NodePool.model_validate(POOL | {"instance_types": ["m7i.large"], "limits": {"cpu": 8, "memory_gib": 64}})
    assert shared.taints("shared") == []


def test_a_pod_gets_less_than_the_machine_has() -> None:
    for offered in offerings().instance_types.values():
        if offered.cpu < 2:
            continue
        shape = allocatable(offered)
        assert 0.7 * offered.cpu < shape.cpu < offered.cpu
        assert 0.3 * offered.memory_mib < shape.memory_mib < offered.memory_mib


def test_everything_is_tagged_with_who_answers_and_how_long_it_is_kept() -> None:
    config = parse("smb")
    assert config.tags() == {
        "owner": "data-team",
        "cost-centre": "1000",
        "purpose": "machine-learning",
        "environment": "production",
        "managed-by": "falaj",
    }
    assert config.data_tags("inference-log") == {"data-class": "inference-log", "retention": "180d"}
