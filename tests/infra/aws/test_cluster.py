import json
from typing import Any

import pytest
from pulumi import ResourceOptions
from pulumi_random import Provider as RandomProvider

from core.errors import ConfigError
from core.pins import pins
from infra.config import StackConfig, parse_config
from infra.plan import SECRET, Graph
from infra.substrates.aws.account import Account
from infra.substrates.aws.cache import Cache, CacheArgs
from infra.substrates.aws.cluster import Eks, EksArgs, access_policy
from infra.substrates.aws.databases import Database, DatabaseArgs, Login
from infra.substrates.aws.network import Network, NetworkArgs
from tests.infra.aws.planned import STACKS, aws, config, of_type, plan, statements
from tests.infra.variations import document

REGION_KEY = "arn:aws:kms:me-central-1:444455556666:key/platform"


def graph(found: StackConfig, stack: str) -> Graph:
    def make(found: StackConfig, account: Account, options: ResourceOptions) -> None:
        substrate = aws(found)
        assert options.parent is not None
        random = RandomProvider("random", opts=ResourceOptions(parent=options.parent))
        options = ResourceOptions.merge(options, ResourceOptions(providers=[random]))
        key = REGION_KEY
        network = Network(
            "network",
            NetworkArgs(
                account=account,
                settings=substrate.network,
                zones=substrate.zones,
                cluster=account.prefix,
                logs_key=key,
            ),
            options,
        )
        eks = Eks(
            "eks",
            EksArgs(account=account, settings=substrate, network=network, platform_key=key, logs_key=key),
            options,
        )
        stores = substrate.stores
        arguments: dict[str, Any] = {
            "account": account,
            "network": network,
            "clients": eks.security_group,
            "key": key,
        }
        kept: dict[str, Any] = {**arguments, "logs_key": key}
        models, runs = [Login(name="models", databases=["one", "two"])], [Login(name="runs", databases=["three"])]
        first = DatabaseArgs(settings=stores.postgresql, engine="postgresql", logins=models, **kept)
        Database("postgresql", first, options)
        if stores.mysql is not None:
            Database("mysql", DatabaseArgs(settings=stores.mysql, engine="mysql", logins=runs, **kept), options)
        if stores.cache is not None:
            Cache("cache", CacheArgs(settings=stores.cache, **arguments), options)

    return plan(make, found, stack)


@pytest.fixture(scope="module")
def graphs() -> dict[str, Graph]:
    return {stack: graph(config(stack), stack) for stack in STACKS}


@pytest.mark.parametrize("stack", STACKS)
def test_the_cluster_is_encrypted_logged_and_open_to_entries_alone(graphs: dict[str, Graph], stack: str) -> None:
    found = config(stack)
    cluster = of_type(graphs[stack], "eks/cluster:Cluster")["cluster"].inputs
    assert cluster["version"] == pins().versions.kubernetes
    assert cluster["encryptionConfig"]["resources"] == ["secrets"]
    assert set(cluster["enabledClusterLogTypes"]) == {
        "api",
        "audit",
        "authenticator",
        "controllerManager",
        "scheduler",
    }
    assert cluster["accessConfig"] == {
        "authenticationMode": "API",
        "bootstrapClusterCreatorAdminPermissions": False,
    }
    public = aws(found).cluster.public_from
    assert cluster["vpcConfig"]["endpointPrivateAccess"] is True
    assert cluster["vpcConfig"]["endpointPublicAccess"] == bool(public)
    assert cluster["vpcConfig"].get("publicAccessCidrs", []) == list(public)
    assert len(cluster["vpcConfig"]["subnetIds"]) >= 2


@pytest.mark.parametrize("stack", STACKS)
def test_the_system_s_nodes_are_private_and_their_metadata_closed_to_pods(graphs: dict[str, Graph], stack: str) -> None:
    template = of_type(graphs[stack], "ec2/launchTemplate:LaunchTemplate")["system"].inputs
    assert template["metadataOptions"]["httpTokens"] == "required"
    assert template["metadataOptions"]["httpPutResponseHopLimit"] == 1
    assert template["blockDeviceMappings"][0]["ebs"]["encrypted"] == "true"
    assert template["blockDeviceMappings"][0]["ebs"]["kmsKeyId"] == REGION_KEY
    nodes = of_type(graphs[stack], "eks/nodeGroup:NodeGroup")["system"].inputs
    assert all("private-" in subnet for subnet in nodes["subnetIds"])
    assert "remoteAccess" not in nodes


def test_daemons_come_before_nodes_and_the_rest_after(graphs: dict[str, Graph]) -> None:
    addons = of_type(graphs["prod"], "eks/addon:Addon")
    assert {name: addon.inputs["addonVersion"] for name, addon in addons.items()} == pins().eks_addons
    nodes = of_type(graphs["prod"], "eks/nodeGroup:NodeGroup")["system"]
    before = {name for name, addon in addons.items() if addon.urn in nodes.dependencies}
    assert before == {"vpc-cni", "kube-proxy", "eks-pod-identity-agent"}
    assert all(nodes.urn in addon.dependencies for name, addon in addons.items() if name not in before)
    assert json.loads(addons["vpc-cni"].inputs["configurationValues"])["enableNetworkPolicy"] == "true"


@pytest.mark.parametrize(
    ("level", "namespaces", "policy"),
    [
        ("administer", (), "AmazonEKSClusterAdminPolicy"),
        ("administer", ("serving",), "AmazonEKSAdminPolicy"),
        ("edit", ("serving",), "AmazonEKSEditPolicy"),
        ("view", (), "AmazonEKSViewPolicy"),
    ],
)
def test_each_level_of_access_has_a_policy(level: str, namespaces: tuple[str, ...], policy: str) -> None:
    assert access_policy(level, namespaces) == policy


def test_access_ends_at_its_namespaces(graphs: dict[str, Graph]) -> None:
    found = of_type(graphs["prod"], "eks/accessPolicyAssociation:AccessPolicyAssociation")
    assert found["release"].inputs["accessScope"] == {"type": "namespace", "namespaces": ["pipelines", "serving"]}
    assert found["platform-administrators"].inputs["accessScope"] == {"type": "cluster"}


def test_a_role_that_deploys_must_administer() -> None:
    changed = document("prod")
    changed["substrate"]["deploy_role"] = "arn:aws:iam::444455556666:role/deploy"
    with pytest.raises(ConfigError, match=r"could install nothing: add it to substrate\.cluster\.access"):
        graph(parse_config(changed, "prod"), "prod")


def test_no_policy_of_the_cluster_is_about_everything(graphs: dict[str, Graph]) -> None:
    found = of_type(graphs["prod"], "iam/rolePolicy:RolePolicy")
    assert found
    for item in found.values():
        assert all(statement["Resource"] != "*" for statement in statements(item))


@pytest.mark.parametrize("stack", STACKS)
def test_databases_are_encrypted_private_and_reached_over_tls_alone(graphs: dict[str, Graph], stack: str) -> None:
    found, wanted = graphs[stack], config(stack)
    instances = of_type(found, "rds/instance:Instance")
    assert set(instances) == {"postgresql"} | ({"mysql"} if aws(wanted).stores.mysql else set())
    for instance in instances.values():
        assert instance.inputs["storageEncrypted"] is True
        assert instance.inputs["publiclyAccessible"] is False
        assert instance.inputs["deletionProtection"] is wanted.protect
        assert instance.inputs["skipFinalSnapshot"] is not wanted.protect
        assert instance.inputs["backupRetentionPeriod"] >= 7
        assert instance.inputs["enabledCloudwatchLogsExports"]
        assert instance.inputs["manageMasterUserPassword"] is True
        assert instance.inputs["masterUserSecretKmsKeyId"] == REGION_KEY
        assert "password" not in instance.inputs
    parameters = of_type(found, "rds/parameterGroup:ParameterGroup")["postgresql"].inputs["parameters"]
    assert {"name": "rds.force_ssl", "value": "1", "applyMethod": "immediate"} in parameters


@pytest.mark.parametrize("stack", STACKS)
def test_the_cache_is_encrypted_and_wants_a_password(graphs: dict[str, Graph], stack: str) -> None:
    settings = aws(config(stack)).stores.cache
    assert settings is not None
    cache = of_type(graphs[stack], "elasticache/replicationGroup:ReplicationGroup")["cache"].inputs
    assert cache["atRestEncryptionEnabled"] is True
    assert cache["transitEncryptionMode"] == "required"
    assert cache["userGroupIds"]
    assert cache["snapshotRetentionLimit"] >= 1
    assert cache["automaticFailoverEnabled"] == (settings.shards > 1 or settings.replicas > 0)
    users = of_type(graphs[stack], "elasticache/user:User")
    assert users["cache-default"].inputs["accessString"].startswith("off")
    assert users["cache"].inputs["authenticationMode"]["type"] == "password"


@pytest.mark.parametrize("stack", STACKS)
def test_secrets_have_a_key_of_the_stack_and_only_the_cache_s_has_a_value_here(
    graphs: dict[str, Graph], stack: str
) -> None:
    secrets = of_type(graphs[stack], "secretsmanager/secret:Secret")
    expected = {"models", "cache", *(["runs"] if aws(config(stack)).stores.mysql else [])}
    assert {secret.inputs["name"] for secret in secrets.values()} == {f"falaj-{stack}/{name}" for name in expected}
    for secret in secrets.values():
        assert secret.inputs["kmsKeyId"] == REGION_KEY
        assert "replicas" not in secret.inputs
    versions = of_type(graphs[stack], "secretsmanager/secretVersion:SecretVersion")
    assert set(versions) == {"cache"}
    assert versions["cache"].inputs["secretString"] == SECRET


@pytest.mark.parametrize("stack", STACKS)
def test_every_log_group_is_encrypted_and_there_before_its_writer(graphs: dict[str, Graph], stack: str) -> None:
    groups = of_type(graphs[stack], "cloudwatch/logGroup:LogGroup")
    assert {"cluster", "flow-logs", "postgresql-postgresql", "postgresql-upgrade"} <= set(groups)
    for group in groups.values():
        assert group.inputs["kmsKeyId"] == REGION_KEY
        assert group.inputs["retentionInDays"] >= 365
    for instance in of_type(graphs[stack], "rds/instance:Instance").values():
        kinds = instance.inputs["enabledCloudwatchLogsExports"]
        paths = {f"/aws/rds/instance/{instance.inputs['identifier']}/{kind}" for kind in kinds}
        assert paths == {group.inputs["name"] for group in groups.values() if group.urn in instance.dependencies}


def test_nodes_wait_for_what_lets_them_join(graphs: dict[str, Graph]) -> None:
    nodes = of_type(graphs["prod"], "eks/nodeGroup:NodeGroup")["system"]
    rights = of_type(graphs["prod"], "iam/rolePolicyAttachment:RolePolicyAttachment")
    for name in ("AmazonEKSWorkerNodeMinimalPolicy", "AmazonEC2ContainerRegistryPullOnly"):
        assert rights[name].urn in nodes.dependencies
