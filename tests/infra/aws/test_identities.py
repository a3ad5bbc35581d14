import json
from typing import Any

import pulumi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pulumi import ResourceOptions

from core.errors import ConfigError
from infra.config import StackConfig
from infra.config.model import DataClass
from infra.plan import Graph
from infra.substrates.aws.account import Account
from infra.substrates.aws.identities import Identities, IdentitiesArgs, StoreRights, document
from infra.substrates.aws.keys import CLASSES
from infra.substrates.aws.pods import role_name
from infra.substrates.base import AUDIT_LOG, MODELS, ONLINE_FEATURES, PSEUDONYM_KEY, RAW, TRACKING, Store
from infra.substrates.cluster import IdentitySpec, Permission
from tests.infra.aws.planned import account, config, of_type, plan, statements


def rights(found: Account) -> StoreRights:
    return StoreRights(account=found, keys={name: found.arn("kms", f"key/{name}") for name in CLASSES})


def spec(**fields: Any) -> IdentitySpec:
    return IdentitySpec(namespace="falaj", account="mlflow", **fields)


def graph(identity: IdentitySpec) -> Graph:
    def make(found: StackConfig, account: Account, options: ResourceOptions) -> None:
        arguments = IdentitiesArgs(rights=rights(account), cluster="falaj-prod")
        group = pulumi.ComponentResource("test:index:Identities", "identities", None, options)
        Identities(arguments).bind(identity, group)

    return plan(make, config("prod"), "prod")


def test_a_reader_reads_its_prefix_and_decrypts_with_its_key() -> None:
    objects, listing, location, key = document(spec(reads=[MODELS]), rights(account()))
    bucket = "arn:aws:s3:::falaj-prod-444455556666-artifacts"
    assert objects == {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"{bucket}/models/*"]}
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["models", "models/*"]}}
    assert location["Resource"] == [bucket]
    assert key["Action"] == ["kms:Decrypt"]
    assert key["Resource"] == [account().arn("kms", "key/artifacts")]


def test_a_writer_also_encrypts_and_deletes_but_not_from_the_audit_log() -> None:
    objects, _, _, key = document(spec(writes=[MODELS]), rights(account()))
    assert {"s3:PutObject", "s3:DeleteObject", "s3:GetObject"} <= set(objects["Action"])
    assert key["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    audited = document(spec(writes=[AUDIT_LOG]), rights(account()))
    assert not any("Delete" in action for statement in audited for action in statement["Action"])


def test_a_role_is_taken_by_one_service_account_of_one_cluster() -> None:
    found = graph(spec(reads=[MODELS]))
    role = of_type(found, "iam/role:Role")["falaj-mlflow"]
    (statement,) = statements(role, "assumeRolePolicy")
    assert statement["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert statement["Condition"]["StringEquals"] == {
        "aws:SourceAccount": "444455556666",
        "aws:RequestTag/kubernetes-namespace": "falaj",
        "aws:RequestTag/kubernetes-service-account": "mlflow",
    }
    assert statement["Condition"]["ArnEquals"]["aws:SourceArn"].endswith(":cluster/falaj-prod")
    assert role.inputs["name"] == "falaj-prod-falaj-mlflow"
    assert statements(of_type(found, "iam/rolePolicy:RolePolicy")["falaj-mlflow"])
    association = of_type(found, "eks/podIdentityAssociation:PodIdentityAssociation")["falaj-mlflow"]
    assert association.inputs["serviceAccount"] == "mlflow"


def test_whoever_declares_nothing_gets_no_role() -> None:
    assert of_type(graph(spec()), "iam/role:Role") == {}


def test_secrets_are_never_a_role_s_own_to_read() -> None:
    assert document(spec(reads=[PSEUDONYM_KEY, ONLINE_FEATURES, TRACKING]), rights(account())) == []


EVERYTHING = {"StringEquals": {"aws:ResourceTag/owner": ["us"]}}


@pytest.mark.parametrize("condition", [None, {}, EVERYTHING])
@pytest.mark.parametrize(
    ("action", "resource", "message"),
    [
        ("ec2:*", "arn:aws:ec2:me-central-1:444455556666:instance/i-1", r"ec2:\*: name each action"),
        ("ec2:Describe?nstances", "*", "name each action"),
        ("*", "*", "name each action"),
        ("ec2:RunInstances", "*", "RunInstances on everything"),
        ("secretsmanager:GetSecretValue", "*", "GetSecretValue on everything"),
        ("kms:ListGrants", "*", "ListGrants on everything"),
        ("iam:GetRole", "*", "GetRole on everything"),
        ("ec2:RunInstances", "arn:aws:ec2:*:444455556666:instance/i-1", "name service, region, account and type"),
        ("ec2:RunInstances", "arn:aws:ec2:me-central-1:*:instance/i-1", "name service, region, account and type"),
        ("ec2:RunInstances", "arn:aws:ec2:me-central-1:444455556666:*", "name service, region, account and type"),
        ("ec2:RunInstances", "arn:aws:ec2:me-central-1:444455556666:*/*", "name service, region, account and type"),
        ("s3:GetObject", "arn:aws:s3:::*/*", "name service, region, account and type"),
        ("s3:GetObject", "arn:aws:s3:::falaj-*", "name service, region, account and type"),
        ("s3:GetObject", "arn:*", "name service, region, account and type"),
        ("sqs:SendMessage", "arn:aws:sqs:me-central-1:444455556666:*", "name service, region, account and type"),
        ("kms:Decrypt", "arn:aws:kms:me-central-1:444455556666:key/*", "name each of them"),
        ("iam:PassRole", "arn:aws:iam::444455556666:role/*", "name each of them"),
        (
            "secretsmanager:GetSecretValue",
            "arn:aws:secretsmanager:me-central-1:444455556666:secret:?*",
            "name each of them",
        ),
    ],
)
def test_a_permission_that_is_too_wide_is_refused_whatever_its_condition(
    action: str, resource: str, message: str, condition: dict[str, Any] | None
) -> None:
    permission = Permission(actions=[action], resources=[resource], condition=condition)
    with pytest.raises(ConfigError, match=message):
        document(spec(permissions=[permission]), rights(account()))


@pytest.mark.parametrize(
    "fields", [{"actions": [], "resources": ["*"]}, {"actions": ["s3:GetObject"], "resources": []}]
)
def test_a_permission_names_both_actions_and_resources(fields: dict[str, list[str]]) -> None:
    with pytest.raises(ConfigError, match="without actions or without resources"):
        document(spec(permissions=[Permission(**fields)]), rights(account()))


@pytest.mark.parametrize(
    "resource",
    [
        "arn:aws:ec2:me-central-1:444455556666:instance/*",
        "arn:aws:ec2:me-central-1::image/*",
        "arn:aws:s3:::falaj-prod-444455556666-raw/one/*",
        "arn:aws:secretsmanager:me-central-1:444455556666:secret:falaj-prod/tracking-??????",
        "arn:aws:logs:me-central-1:444455556666:log-group:/falaj-prod/*",
        "arn:aws:iam::444455556666:role/aws-service-role/one/*",
    ],
)
def test_a_pattern_that_ends_in_a_named_place_is_let_through(resource: str) -> None:
    permission = Permission(actions=["ec2:RunInstances"], resources=[resource])
    (statement,) = document(spec(permissions=[permission]), rights(account()))
    assert statement["Resource"] == [resource]


@pytest.mark.parametrize("resource", ["*", "arn:aws:s3:::*", "arn:aws:kms:me-central-1:444455556666:key/*"])
def test_a_resource_that_is_known_late_is_checked_then(resource: str) -> None:
    permission = Permission(actions=["kms:Decrypt"], resources=[pulumi.Output.from_input(resource)])
    with pytest.raises(Exception, match="falaj/mlflow asks for kms:Decrypt on"):
        graph(spec(permissions=[permission]))


def test_an_action_that_knows_no_resource_may_have_none() -> None:
    permission = Permission(actions=["ec2:DescribeInstances"], resources=["*"])
    (statement,) = document(spec(permissions=[permission]), rights(account()))
    assert statement["Resource"] == ["*"]


def test_one_action_that_knows_resources_is_not_hidden_by_others() -> None:
    permission = Permission(actions=["ec2:DescribeInstances", "ec2:RunInstances"], resources=["*"])
    with pytest.raises(ConfigError, match="RunInstances on everything"):
        document(spec(permissions=[permission]), rights(account()))


def test_names_of_roles_fit_iam_and_stay_different() -> None:
    names = {role_name(account(), "n" * 40, f"{'a' * 40}{end}") for end in "12"}
    assert len(names) == 2
    assert all(len(name) <= 64 for name in names)


FOLDERS = st.builds(
    Store,
    name=st.sampled_from(["one", "two", "three"]),
    kind=st.just("folder"),
    data_class=st.sampled_from(CLASSES[:5]),
)


@settings(deadline=None)
@given(st.lists(FOLDERS, max_size=4, unique_by=lambda store: store.name), st.data())
def test_rights_are_those_declared_and_no_others(stores: list[Store], data: st.DataObject) -> None:
    writes = [store for store in stores if data.draw(st.booleans())]
    reads = [store for store in stores if store not in writes]
    found = document(spec(reads=reads, writes=writes), rights(account()))
    keys: dict[DataClass, set[str]] = {}
    for statement in found:
        assert statement["Effect"] == "Allow"
        assert "*" not in statement["Resource"]
        for action in statement["Action"]:
            assert "*" not in action
            if action.startswith("kms:"):
                keys.setdefault(statement["Resource"][0].rpartition("/")[2], set()).add(action)
    puts = {r for s in found if "s3:PutObject" in s["Action"] for r in s["Resource"]}
    assert puts == {f"arn:aws:s3:::falaj-prod-444455556666-{store.data_class}/{store.name}/*" for store in writes}
    gets = {r for s in found if "s3:GetObject" in s["Action"] for r in s["Resource"]}
    assert gets == {f"arn:aws:s3:::falaj-prod-444455556666-{store.data_class}/{store.name}/*" for store in stores}
    assert set(keys) == {store.data_class for store in stores}
    for data_class, actions in keys.items():
        assert ("kms:GenerateDataKey" in actions) == any(store.data_class == data_class for store in writes)
    assert json.dumps(found) == json.dumps(document(spec(reads=reads, writes=writes), rights(account())))


def test_reading_raw_data_opens_no_other_class() -> None:
    found = json.dumps(document(spec(reads=[RAW]), rights(account())))
    assert not any(f"key/{name}" in found for name in CLASSES if name != "raw")
