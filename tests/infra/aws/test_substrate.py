"""The whole of a stack's account, as it is planned."""

import json
import re
from fnmatch import fnmatchcase
from typing import Any

import pytest
from policy_sentry.querying.actions import get_action_data

from core.databases import VARIABLE, Wanted
from core.digest import ROOT
from core.search import VARIABLE as SEARCH_VARIABLE
from core.search import Wanted as SearchWanted
from infra.plan import Graph, Resource
from infra.program import compose
from infra.substrates.aws.permissions import without_resource
from infra.substrates.aws.preparation import NAMESPACE
from infra.substrates.aws.substrate import STORAGE_CLASS, AwsCluster
from infra.substrates.kubernetes.namespaces import PLATFORM
from tests.infra.aws.planned import STACKS, aws, config, of_type, program

SECRET = "falaj/oidc"


def whole(stack: str) -> Graph:
    settings = config(stack)

    def make() -> None:
        cluster = AwsCluster("aws", settings, aws(settings), ["quay.io/jetstack/cert-manager-controller"])
        before = cluster.prepare([cluster.eks.nodes])
        substrate = cluster.substrate
        substrate.provides("external-secrets", *before)
        substrate.namespace(PLATFORM)
        substrate.secret(PLATFORM.name, SECRET, {"client-secret": "client-secret"})

    return program(stack, make)


@pytest.fixture(scope="module")
def graphs() -> dict[str, Graph]:
    return {stack: whole(stack) for stack in STACKS}


def kubernetes(graph: Graph, kind: str) -> dict[str, Resource]:
    return {resource.name: resource for resource in graph.resources if resource.type == f"kubernetes:{kind}"}


@pytest.mark.parametrize("stack", STACKS)
def test_the_cluster_is_used_once_nodes_and_rights_are_there(graphs: dict[str, Graph], stack: str) -> None:
    graph = graphs[stack]
    (connection,) = (item for item in graph.resources if item.type == "pulumi:providers:kubernetes")
    needed = [
        *of_type(graph, "eks/nodeGroup:NodeGroup").values(),
        *of_type(graph, "eks/accessPolicyAssociation:AccessPolicyAssociation").values(),
        *of_type(graph, "eks/addon:Addon").values(),
    ]
    assert {item.urn for item in needed} <= set(connection.dependencies)
    # A kubeconfig that changes must not replace all that is in the cluster.
    assert connection.inputs["clusterIdentifier"].endswith(f":cluster/falaj-{stack}")
    for resource in graph.resources:
        if resource.type.startswith("kubernetes:"):
            assert resource.provider == connection.urn


@pytest.mark.parametrize("stack", STACKS)
def test_no_name_of_a_component_carries_the_stack(graphs: dict[str, Graph], stack: str) -> None:
    named = [resource.name for resource in graphs[stack].resources if resource.type != "pulumi:pulumi:Stack"]
    assert not [name for name in named if f"falaj-{stack}" in name]


@pytest.mark.parametrize("stack", STACKS)
def test_volumes_are_encrypted_with_the_platform_s_key(graphs: dict[str, Graph], stack: str) -> None:
    parameters = kubernetes(graphs[stack], "storage.k8s.io/v1:StorageClass")[STORAGE_CLASS].inputs["parameters"]
    assert parameters["encrypted"] == "true"
    assert parameters["kmsKeyId"] == "<aws:kms/key:Key::platform.arn>"


@pytest.mark.parametrize("stack", STACKS)
def test_the_secret_operator_reads_what_is_named_and_nothing_else(graphs: dict[str, Graph], stack: str) -> None:
    graph = graphs[stack]
    (brought,) = kubernetes(graph, "external-secrets.io/v1:ExternalSecret").values()
    policies = of_type(graph, "iam/rolePolicy:RolePolicy")
    own = {name: item for name, item in policies.items() if "external-secrets" in item.inputs["role"]}
    assert set(own) == {SECRET, "external-secrets-external-secrets"}
    (statement,) = json.loads(own[SECRET].inputs["policy"])["Statement"]
    account = aws(config(stack)).account_id
    assert statement["Resource"] == [f"arn:aws:secretsmanager:me-central-1:{account}:secret:{SECRET}-??????"]
    assert own[SECRET].urn in brought.dependencies
    (association,) = (
        item
        for item in of_type(graph, "eks/podIdentityAssociation:PodIdentityAssociation").values()
        if item.inputs["namespace"] == "external-secrets"
    )
    assert association.urn in brought.dependencies
    (store,) = kubernetes(graph, "external-secrets.io/v1:ClusterSecretStore").values()
    assert store.inputs["spec"]["provider"] == {"aws": {"service": "SecretsManager", "region": "me-central-1"}}


@pytest.mark.parametrize("stack", STACKS)
def test_databases_are_prepared_before_any_secret_is_brought(graphs: dict[str, Graph], stack: str) -> None:
    graph = graphs[stack]
    job = kubernetes(graph, "batch/v1:Job")["databases"]
    (brought,) = kubernetes(graph, "external-secrets.io/v1:ExternalSecret").values()
    assert job.urn in brought.dependencies
    kinds = {urn.rpartition("::")[0].rpartition("$")[2] for urn in job.dependencies}
    assert {
        "aws:rds/instance:Instance",
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        "aws:eks/nodeGroup:NodeGroup",
        "kubernetes:networking.k8s.io/v1:NetworkPolicy",
    } <= kinds
    (container,) = job.inputs["spec"]["template"]["spec"]["containers"]
    variables = {item["name"]: item["value"] for item in container["env"]}
    assert variables["AWS_DEFAULT_REGION"] == "me-central-1"
    wanted = Wanted.model_validate_json(variables[VARIABLE])
    settings = config(stack)
    logins = {login.user: login for server in wanted.servers for login in server.logins}
    runs = {"pipeline_runs", "pipeline_metadata"} if settings.pipelines else set()
    assert set(logins) == {"tracking", "feature_registry"} | runs
    secrets = {item.inputs["name"] for item in of_type(graph, "secretsmanager/secret:Secret").values()}
    assert {login.secret for login in logins.values()} | set(wanted.keys) == secrets - {f"falaj-{stack}/cache"}
    assert wanted.keys == (f"falaj-{stack}/pseudonym",)


@pytest.mark.parametrize("stack", STACKS)
def test_a_job_may_do_what_it_is_for_and_reaches_stores_alone(graphs: dict[str, Graph], stack: str) -> None:
    graph = graphs[stack]
    policy = of_type(graph, "iam/rolePolicy:RolePolicy")[f"{NAMESPACE.name}-databases"]
    allowed = {
        action: statement["Resource"]
        for statement in json.loads(policy.inputs["policy"])["Statement"]
        for action in statement["Action"]
    }
    assert set(allowed) == {
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetSecretValue",
        "secretsmanager:PutSecretValue",
        "kms:Decrypt",
        "kms:GenerateDataKey",
    }
    assert not any("master" in secret for secret in allowed["secretsmanager:PutSecretValue"])
    assert not any("cache" in resource for resources in allowed.values() for resource in resources)
    (rule,) = (
        item.inputs["spec"]["egress"]
        for name, item in kubernetes(graph, "networking.k8s.io/v1:NetworkPolicy").items()
        if name == f"{NAMESPACE.name}/databases"
    )
    ports = [[port["port"] for port in way["ports"]] for way in rule]
    stores = aws(config(stack)).stores
    assert ports == [[*([3306] if stores.mysql else []), 5432], [443], [80]]
    for job in kubernetes(graph, "batch/v1:Job").values():
        pod = job.inputs["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("stack", STACKS)
def test_what_holds_data_is_protected_where_the_stack_says_so(graphs: dict[str, Graph], stack: str) -> None:
    kinds = (
        "ec2/vpc:Vpc",
        "ecr/repository:Repository",
        "eks/cluster:Cluster",
        "elasticache/replicationGroup:ReplicationGroup",
        "kms/key:Key",
        "msk/cluster:Cluster",
        "opensearch/domain:Domain",
        "rds/instance:Instance",
        "s3/bucket:Bucket",
        "secretsmanager/secret:Secret",
    )
    for kind in kinds:
        for resource in of_type(graphs[stack], kind).values():
            assert bool(resource.options.get("protect")) == config(stack).protect, resource.urn


def test_kafka_takes_signed_requests_over_tls_alone(graphs: dict[str, Graph]) -> None:
    (cluster,) = of_type(graphs["prod"], "msk/cluster:Cluster").values()
    assert cluster.inputs["clientAuthentication"] == {"sasl": {"iam": True}, "unauthenticated": False}
    encryption = cluster.inputs["encryptionInfo"]
    assert encryption["encryptionInTransit"] == {"clientBroker": "TLS", "inCluster": True}
    assert encryption["encryptionAtRestKmsKeyArn"] == "<aws:kms/key:Key::platform.arn>"
    assert cluster.inputs["numberOfBrokerNodes"] == 3
    assert all("private-" in subnet for subnet in cluster.inputs["brokerNodeGroupInfo"]["clientSubnets"])
    assert "connectivityInfo" not in cluster.inputs["brokerNodeGroupInfo"]
    (configuration,) = of_type(graphs["prod"], "msk/configuration:Configuration").values()
    assert "auto.create.topics.enable=false\n" in configuration.inputs["serverProperties"]
    assert "min.insync.replicas=2\n" in configuration.inputs["serverProperties"]


def test_search_is_inside_encrypted_and_ruled_by_roles(graphs: dict[str, Graph]) -> None:
    graph = graphs["prod"]
    (domain,) = of_type(graph, "opensearch/domain:Domain").values()
    assert domain.inputs["encryptAtRest"] == {"enabled": True, "kmsKeyId": "<aws:kms/key:Key::logs.arn>"}
    assert domain.inputs["nodeToNodeEncryption"] == {"enabled": True}
    assert domain.inputs["domainEndpointOptions"] == {
        "enforceHttps": True,
        "tlsSecurityPolicy": "Policy-Min-TLS-1-2-PFS-2023-10",
    }
    security = domain.inputs["advancedSecurityOptions"]
    assert (security["enabled"], security["internalUserDatabaseEnabled"]) == (True, False)
    assert security["masterUserOptions"] == {"masterUserArn": "<aws:iam/role:Role::preparation-search.arn>"}
    assert len(domain.inputs["vpcOptions"]["subnetIds"]) == 3
    assert "AUDIT_LOGS" in {option["logType"] for option in domain.inputs["logPublishingOptions"]}
    (container,) = kubernetes(graph, "batch/v1:Job")["search"].inputs["spec"]["template"]["spec"]["containers"]
    (text,) = (item["value"] for item in container["env"] if item["name"] == SEARCH_VARIABLE)
    documents = SearchWanted.model_validate(json.loads(text) | {"endpoint": "https://search.example.ae"}).documents
    mapped = documents["_plugins/_security/api/rolesmapping/falaj-log-writers"]
    assert mapped == {"backend_roles": ["arn:aws:iam::444455556666:role/falaj-prod-logging-fluent-bit"]}
    (ended,) = documents["_plugins/_ism/policies/falaj-logs"]["policy"]["states"][0]["transitions"]
    assert ended["conditions"] == {"min_index_age": f"{config('prod').retention('logs')}d"}


def test_a_stack_without_search_or_kafka_has_neither(graphs: dict[str, Graph]) -> None:
    assert of_type(graphs["smb"], "opensearch/domain:Domain") == {}
    assert of_type(graphs["smb"], "msk/cluster:Cluster") == {}
    assert set(kubernetes(graphs["smb"], "batch/v1:Job")) == {"databases"}


@pytest.mark.parametrize("stack", STACKS)
def test_everything_that_runs_is_watched(graphs: dict[str, Graph], stack: str) -> None:
    alarms = of_type(graphs[stack], "cloudwatch/metricAlarm:MetricAlarm")
    watched = {name.split("-")[0] for name in alarms}
    substrate = aws(config(stack))
    parts = {"cluster": True, "nat": True, "postgresql": True, "cache": substrate.stores.cache is not None}
    parts |= {"mysql": substrate.stores.mysql is not None}
    parts |= {"kafka": substrate.kafka is not None, "search": substrate.search is not None}
    assert watched == {name for name, there in parts.items() if there}
    topics = {tuple(alarm.inputs["alarmActions"]) for alarm in alarms.values()}
    assert topics == {("<aws:sns/topic:Topic::operations.arn>",)}


SYMBOL = re.compile(r"<aws:[a-z0-9]+/[a-zA-Z]+:(?P<type>[A-Za-z]+)::(?P<name>[^.>]+)\.(?P<what>[^>]+)>")


def known(text: str) -> str:
    """A policy with ARNs of the right form in place of symbols, which a tool would not take."""

    def value(found: re.Match[str]) -> str:
        kind, name = found["type"], found["name"]
        if found["what"] == "id":
            return f"{name}-1"
        if "masterUserSecret" in found["what"]:
            return "arn:aws:secretsmanager:me-central-1:444455556666:secret:rds!db-1-AbCdEf"
        return {
            "Key": f"arn:aws:kms:me-central-1:444455556666:key/{name}",
            "LogGroup": f"arn:aws:logs:me-central-1:444455556666:log-group:{name}",
            "Queue": f"arn:aws:sqs:me-central-1:444455556666:{name}",
            "Role": f"arn:aws:iam::444455556666:role/{name}",
            "Secret": f"arn:aws:secretsmanager:me-central-1:444455556666:secret:{name}-AbCdEf",
            "Topic": f"arn:aws:sns:me-central-1:444455556666:{name}",
        }[kind]

    return SYMBOL.sub(value, text)


def table(action: str) -> list[dict[str, Any]]:
    """What AWS says of an action: a row for each kind of resource that it may be about."""
    service, _, name = action.partition(":")
    found: dict[str, list[dict[str, Any]]] | bool = get_action_data(service, name)
    return found.get(service, []) if isinstance(found, dict) else []


def fits(action: str, resource: str) -> bool:
    """Whether an action can ever be about what a resource's pattern says."""
    forms = {row["resource_arn_format"] for row in table(action)}
    if resource == "*":
        return forms == {"*"}
    _, _, _, region, account, *_ = resource.split(":")
    # So CloudWatch Logs writes a group and all its streams.
    told = [resource, resource.removesuffix(":*"), re.sub(r":\*$", ":log-stream:*", resource)]
    for form in (form.replace("${Partition}", "aws") for form in forms - {"*"}):
        placed = form.replace("${Region}", region).replace("${Account}", account)
        pattern = re.sub(r"\\\$\\{[A-Za-z]+\\}", "[^:]*", re.escape(placed))
        example = re.sub(r"\${[A-Za-z]+}", "x", placed)
        if any(re.fullmatch(pattern, text) or fnmatchcase(example, text) for text in told):
            return True
    return False


def faults(statement: dict[str, Any]) -> list[str]:
    """What IAM would not understand in a statement, and what in it would never apply."""
    actions, named = statement["Action"], statement["Resource"]
    resources = [named] if isinstance(named, str) else named
    found = [f"{action} does not exist" for action in actions if not table(action)]
    found += [
        f"{action} is about none of {resources}"
        for action in actions
        if not any(fits(action, resource) for resource in resources)
    ]
    for action in actions:
        known = {key for row in table(action) for key in row["condition_keys"]}
        for key in {key for keys in statement.get("Condition", {}).values() for key in keys}:
            if not key.startswith("aws:") and key not in known:
                found.append(f"{action} knows no condition {key}")
    return found


@pytest.fixture(scope="module", params=["dev", "prod"])
def composed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """A stack with all its parts: one ships its logs to CloudWatch, the other to OpenSearch."""
    settings, folder = config(request.param), tmp_path_factory.mktemp("composed")
    return program(request.param, lambda: compose(settings, folder, folder, ROOT / "monitoring"))


def test_policies_say_what_iam_understands(composed: Graph) -> None:
    found = [
        fault
        for resource in of_type(composed, "iam/rolePolicy:RolePolicy").values()
        for statement in json.loads(known(resource.inputs["policy"]))["Statement"]
        for fault in faults(statement)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ({"Action": ["kms:Decrypt"], "Resource": ["arn:aws:s3:::one"]}, "is about none of"),
        ({"Action": ["kms:Decript"], "Resource": []}, "does not exist"),
        ({"Action": ["kms:Decrypt"], "Resource": ["*"]}, "is about none of"),
        (
            {"Action": ["s3:ListBucket"], "Resource": [], "Condition": {"Bool": {"kms:ViaService": ["one"]}}},
            "knows no condition",
        ),
    ],
)
def test_a_wrong_policy_would_be_found(statement: dict[str, Any], expected: str) -> None:
    assert [fault for fault in faults(statement) if expected in fault]


def test_actions_without_resource_are_what_aws_says() -> None:
    for action in without_resource():
        assert {row["resource_arn_format"] for row in table(action)} == {"*"}, action


def test_inline_policies_fit_a_role(composed: Graph) -> None:
    sizes: dict[str, int] = {}
    for resource in of_type(composed, "iam/rolePolicy:RolePolicy").values():
        role = resource.inputs["role"]
        sizes[role] = sizes.get(role, 0) + len(re.sub(r"\s", "", known(resource.inputs["policy"])))
    assert max(sizes.values()) < 10_240
