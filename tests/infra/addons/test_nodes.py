"""Karpenter and the load balancer controller: what they may do, and which machines come of a pool."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pulumi
import pytest

from infra.addons import karpenter, load_balancers
from infra.addons.karpenter import Karpenter, KarpenterArgs
from infra.addons.load_balancers import LoadBalancers, LoadBalancersArgs
from infra.config import Aws, parse_config
from infra.config.offerings import offering
from infra.substrates.aws.permissions import narrow, without_resource
from infra.substrates.cluster import Permission
from infra.substrates.kubernetes.placement import placement
from tests.infra.variations import STACKS, document

CLOUD = [stack for stack in STACKS if document(stack)["substrate"]["kind"] == "aws"]
ACCOUNT = "444455556666"


def substrate(stack: str) -> Aws:
    found = parse_config(document(stack), stack).substrate
    assert isinstance(found, Aws)
    return found


def nodes(stack: str = "prod") -> KarpenterArgs:
    settings = substrate(stack)
    return KarpenterArgs(
        cluster="falaj-prod",
        account=ACCOUNT,
        region="me-central-1",
        endpoint="https://api.example.ae",
        node_role=f"arn:aws:iam::{ACCOUNT}:role/falaj-prod-nodes",
        instance_profile="falaj-prod-nodes",
        security_group="sg-0123456789abcdef0",
        queue="falaj-prod-interruptions",
        queue_arn=f"arn:aws:sqs:me-central-1:{ACCOUNT}:falaj-prod-interruptions",
        queue_key=f"arn:aws:kms:me-central-1:{ACCOUNT}:key/logs",
        disk_key=f"arn:aws:kms:me-central-1:{ACCOUNT}:key/platform",
        pools=settings.nodes,
        zones={name: settings.zones_of(pool) for name, pool in settings.nodes.items()},
        tags={"owner": "ml-platform"},
        system_nodes=settings.system.minimum,
    )


def balancers() -> LoadBalancersArgs:
    return LoadBalancersArgs(
        cluster="falaj-prod",
        account=ACCOUNT,
        region="me-central-1",
        vpc="vpc-0123456789abcdef0",
        targets=["envoy-gateway-system"],
        tags={"owner": "ml-platform"},
        system_nodes=3,
    )


def _note(found: list[Permission], right: Permission, resources: list[str]) -> None:
    found.append(replace(right, resources=resources))


@pytest.fixture
def granted(install: Callable[..., Any]) -> list[Permission]:
    """All rights of both, with their resources as the provider would know them."""
    found: list[Permission] = []

    def program(_cluster: Any, _opts: Any) -> None:
        found.clear()
        for right in (*karpenter.rights(nodes()), *load_balancers.rights(balancers())):
            resources = pulumi.Output.all(*narrow(right, "test"))
            resources.apply(partial(_note, found, right))

    install(program)
    return found


def test_each_right_is_as_narrow_as_its_actions_let_it_be(granted: list[Permission]) -> None:
    assert len(granted) > 20
    for right in granted:
        unbound = set(right.actions) & without_resource()
        assert bool(unbound) == ("*" in right.resources), right


def test_what_is_destroyed_or_changed_bears_the_tag_of_the_cluster(granted: list[Permission]) -> None:
    verbs = ("Delete", "Modify", "Revoke", "Set", "Terminate", "Deregister", "Remove")
    for right in granted:
        changing = [action for action in right.actions if action.partition(":")[2].startswith(verbs)]
        if changing and changing != ["sqs:DeleteMessage"]:
            tags = {key for keys in (right.condition or {}).values() for key in keys}
            assert any(key.startswith("aws:ResourceTag/") for key in tags), changing


def test_karpenter_asks_nothing_of_services_outside_the_country() -> None:
    services = {action.partition(":")[0] for granted in karpenter.rights(nodes()) for action in granted.actions}
    assert "pricing" not in services
    iam = [action for granted in karpenter.rights(nodes()) for action in granted.actions if action.startswith("iam:")]
    assert iam == ["iam:PassRole"]
    assert karpenter.values(nodes(), "m")["settings"]["isolatedVPC"] is True


@pytest.mark.parametrize("stack", CLOUD)
def test_pods_of_a_pool_fit_its_nodes(stack: str) -> None:
    """What `Cluster.placement` asks of a node is what the pool's template gives it."""
    settings = substrate(stack)
    for name, pool in settings.nodes.items():
        template = karpenter.node_pool(name, pool, settings.zones_of(pool))["template"]
        wanted = placement(settings.nodes, pool.roles[0], name)
        assert wanted.node_selector.items() <= template["metadata"]["labels"].items()
        carried = {(taint["key"], taint["value"]) for taint in template["spec"]["taints"]}
        assert carried == {(taint.key, taint.value) for taint in wanted.tolerations}


@pytest.mark.parametrize("stack", CLOUD)
def test_machines_are_private_encrypted_and_of_the_types_and_zones_of_the_stack(stack: str) -> None:
    args = nodes(stack)
    for name, pool in args.pools.items():
        machine = karpenter.node_class(pool, args)
        (disk,) = machine["blockDeviceMappings"]
        assert disk["ebs"]["encrypted"] is True
        assert disk["ebs"]["kmsKeyID"] == args.disk_key
        assert machine["metadataOptions"]["httpTokens"] == "required"
        assert machine["metadataOptions"]["httpPutResponseHopLimit"] == 1
        assert machine["associatePublicIPAddress"] is False
        assert machine["kubelet"]["maxPods"] <= min(offering(kind).pods for kind in pool.instance_types)
        spec = karpenter.node_pool(name, pool, args.zones[name])
        asked = {found["key"]: found["values"] for found in spec["template"]["spec"]["requirements"]}
        assert set(asked["node.kubernetes.io/instance-type"]) == set(pool.instance_types)
        assert set(asked["topology.k8s.aws/zone-id"]) == set(args.zones[name])
        assert ("nvidia.com/gpu" in spec["limits"]) == pool.gpu


def test_a_node_with_a_running_step_is_not_given_back() -> None:
    pools = nodes().pools
    policies = {
        name: karpenter.node_pool(name, pool, ["mec1-az1"])["disruption"]["consolidationPolicy"]
        for name, pool in pools.items()
    }
    assert policies["pipelines"] == policies["training-gpu"] == policies["notebooks"] == "WhenEmpty"
    assert policies["services"] == "WhenEmptyOrUnderutilized"


def test_pools_come_after_the_controller_with_its_rights_and_its_queue(install: Callable[..., Any]) -> None:
    def program(cluster: Any, opts: Any) -> None:
        Karpenter("karpenter", cluster, nodes(), [cluster.secret("karpenter", "queue", {})], opts)

    tried = install(program)
    assert {"identity-karpenter-karpenter", "secret-karpenter-queue"} <= tried.before("karpenter")
    assert tried.before("pipelines-class") == {"karpenter"}
    assert tried.before("pipelines") == {"pipelines-class"}
    # Deleted, an object stays until its machines are gone, which takes longer than Pulumi waits by itself.
    pool = tried.find("pipelines")
    assert pool.inputs["metadata"]["annotations"]["pulumi.com/deletionPropagationPolicy"] == "foreground"
    (identity,) = tried.cluster.identities
    assert identity.account == tried.find("karpenter").inputs["values"]["serviceAccount"]["name"]


def test_one_system_node_runs_one_controller() -> None:
    for minimum, replicas in ((1, 1), (2, 2), (3, 2)):
        args = nodes()
        one = KarpenterArgs(**{**vars(args), "system_nodes": minimum})
        assert karpenter.values(one, "m")["replicas"] == replicas


def test_the_load_balancer_controller_takes_no_service_that_does_not_ask_for_it(install: Callable[..., Any]) -> None:
    def program(cluster: Any, opts: Any) -> None:
        LoadBalancers("balancers", cluster, balancers(), [cluster.secret("cert-manager", "ready", {})], opts)

    tried = install(program)
    values = tried.find("aws-load-balancer-controller").inputs["values"]
    assert values["enableServiceMutatorWebhook"] is False
    assert values["enableCertManager"] is True
    assert "secret-cert-manager-ready" in tried.before("aws-load-balancer-controller")
    assert tried.cluster.namespaces["load-balancers"].webhooks == (9443,)
    (selector,) = values["webhookNamespaceSelectors"]
    assert selector["values"] == ["envoy-gateway-system"]
