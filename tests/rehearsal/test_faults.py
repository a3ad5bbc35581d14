"""Faults: what the proxies do to calls, what the providers make of it, and a small stack that comes out whole."""

import os
import shutil
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
import yaml
from botocore.config import Config
from botocore.exceptions import ClientError

from core.errors import ConfigError
from rehearsal.faults import aws, effects, kubernetes, proxy
from rehearsal.faults.proxy import Call, Proxy, Request, Rule
from rehearsal.faults.run import named, rehearse_faults
from rehearsal.kubernetes.transport import Transport
from rehearsal.protocol import ProviderError
from rehearsal.servers import emulation
from tools.build import BIN

PATH = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])
PROJECT = Path(__file__).parent / "project"
SERVERS = ("pulumi", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "etcd")
_CALLS: list[tuple[str, str, dict[str, Any]]] = [
    ("ec2", "CreateVpc", {"CidrBlock": "10.0.0.0/16"}),
    (
        "eks",
        "CreateCluster",
        {"name": "one", "roleArn": "arn:aws:iam::1:role/one", "resourcesVpcConfig": {}},
    ),
    ("eks", "DescribeNodegroup", {"clusterName": "one", "nodegroupName": "two"}),
    ("iam", "CreateRole", {"RoleName": "one", "AssumeRolePolicyDocument": "{}"}),
    ("kms", "CreateKey", {}),
    ("rds", "CreateDBSubnetGroup", {"DBSubnetGroupName": "o", "DBSubnetGroupDescription": "o", "SubnetIds": ["s"]}),
    ("s3", "PutBucketTagging", {"Bucket": "one", "Tagging": {"TagSet": []}}),
    ("sqs", "CreateQueue", {"QueueName": "one"}),
]
_BEHIND = HTTPStatus.NOT_IMPLEMENTED
"""What moto answers to a call of Kubernetes."""


def _any(_: Call) -> bool:
    return True


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with emulation(tmp_path_factory.mktemp("moto"), "111122223333") as address:
        yield address


@pytest.fixture
def cloud(moto: str) -> Iterator[Proxy]:
    with proxy.running(moto, aws.recognize) as found:
        yield found


@pytest.fixture
def cluster(moto: str) -> Iterator[Proxy]:
    with proxy.running(moto, kubernetes.recognize) as found:
        yield found


def _client(service: str, cloud: Proxy, attempts: int = 25) -> Any:
    make: Any = boto3.client
    return make(
        service,
        region_name="me-central-1",
        endpoint_url=cloud.address,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"mode": "standard", "total_max_attempts": attempts}),
    )


def _call(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
    methods = {known: name for name, known in client.meta.method_to_api_mapping.items()}
    return getattr(client, methods[operation])(**parameters)


@pytest.mark.parametrize(("service", "operation", "parameters"), _CALLS, ids=[call[1] for call in _CALLS])
def test_a_call_is_known_and_refused_in_its_protocol(
    cloud: Proxy, service: str, operation: str, parameters: dict[str, Any]
) -> None:
    rule = Rule(matches=_any, effect=aws.refused("AccessDenied", "not authorized to do that"))
    cloud.rules = [rule]
    with pytest.raises(ClientError, match=r"\(AccessDenied\).* not authorized to do that"):
        _call(_client(service, cloud), operation, parameters)
    assert [(call.service, call.operation) for call in rule.met] == [(service, operation)]


@pytest.mark.parametrize(
    ("service", "operation"),
    [("ec2", "DescribeVpcs"), ("s3", "ListBuckets"), ("iam", "ListRoles"), ("eks", "ListClusters")],
)
def test_a_throttled_call_is_tried_again(cloud: Proxy, service: str, operation: str) -> None:
    cloud.rules = [Rule(matches=_any, effect=aws.throttled)]
    assert _call(_client(service, cloud), operation, {})["ResponseMetadata"]["RetryAttempts"] == 1
    cloud.rules = [Rule(matches=_any, effect=aws.throttled, times=None)]
    with pytest.raises(ClientError, match="reached max retries: 1"):
        _call(_client(service, cloud, 2), operation, {})


def test_a_call_whose_connection_is_cut_is_tried_again_and_done_once(cloud: Proxy) -> None:
    rule = Rule(matches=lambda call: call.operation == "CreateVpc", effect=effects.cut(0.1))
    cloud.rules = [rule]
    client = _client("ec2", cloud)
    before = len(client.describe_vpcs()["Vpcs"])
    assert client.create_vpc(CidrBlock="10.1.0.0/16")["ResponseMetadata"]["RetryAttempts"] == 1
    assert len(client.describe_vpcs()["Vpcs"]) == before + 1


def test_of_frozen_calls_one_is_done(cloud: Proxy) -> None:
    freeze = effects.Freeze(lambda call: call.service == "s3", 0.0)
    cloud.rules = [Rule(matches=lambda call: call.operation.startswith("Create"), effect=freeze.effect, times=None)]
    place = {"LocationConstraint": "me-central-1"}
    impatient = Config(read_timeout=1, retries={"total_max_attempts": 1})
    for service, call in (("kms", {}), ("s3", {"Bucket": "first", "CreateBucketConfiguration": place})):
        make: Any = boto3.client
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        client = make(service, region_name="me-central-1", endpoint_url=cloud.address, config=impatient, **keys)
        with pytest.raises(Exception, match="Read timeout"):
            _call(client, "CreateKey" if service == "kms" else "CreateBucket", call)
    assert freeze.full.wait(10)
    assert [bucket["Name"] for bucket in _client("s3", cloud).list_buckets()["Buckets"]] == ["first"]


@pytest.mark.parametrize(
    ("method", "target", "service", "operation"),
    [
        ("GET", "/api/v1/namespaces/one", "v1", "get namespaces"),
        ("PATCH", "/api/v1/namespaces/one?fieldManager=x", "v1", "patch namespaces"),
        ("PATCH", "/api/v1/namespaces/one/secrets/two?force=false", "v1", "patch secrets"),
        ("DELETE", "/apis/apps/v1/namespaces/one/deployments/two", "apps/v1", "delete deployments"),
        ("GET", "/apis/karpenter.sh/v1/nodepools", "karpenter.sh/v1", "get nodepools"),
        ("GET", "/apis/apps/v1", "", "get /apis/apps/v1"),
    ],
)
def test_what_is_asked_of_kubernetes(method: str, target: str, service: str, operation: str) -> None:
    call = kubernetes.recognize(Request(method=method, target=target, headers={}, body=b""))
    assert (call.service, call.operation) == (service, operation)


def _asked(cluster: Proxy, method: str) -> int:
    with httpx.Client(transport=Transport(), base_url=cluster.address) as client:
        return client.request(method, "/api/v1/namespaces/one").status_code


def test_an_api_server_is_asked_again_when_it_says_so(cluster: Proxy) -> None:
    busy = kubernetes.refused(HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequests", "come again", retry_after=0)
    rule = Rule(matches=_any, effect=busy, times=10)
    cluster.rules = [rule]
    assert _asked(cluster, "PATCH") == _BEHIND
    assert len(rule.met) == 10
    cluster.rules = [Rule(matches=_any, effect=busy, times=11)]
    assert _asked(cluster, "PATCH") == HTTPStatus.TOO_MANY_REQUESTS
    cluster.rules = [Rule(matches=_any, effect=kubernetes.refused(HTTPStatus.INTERNAL_SERVER_ERROR, "x", "y"))]
    assert _asked(cluster, "PATCH") == HTTPStatus.INTERNAL_SERVER_ERROR


def test_only_what_changes_nothing_is_asked_again_after_a_cut(cluster: Proxy) -> None:
    cluster.rules = [Rule(matches=_any, effect=effects.cut(0.0))]
    assert _asked(cluster, "GET") == HTTPStatus.NOT_FOUND
    cluster.rules = [Rule(matches=_any, effect=effects.cut(0.0))]
    with pytest.raises(ProviderError, match=r"PATCH http://127\.0\.0\.1:.*disconnected"):
        _asked(cluster, "PATCH")


def test_a_fault_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no fault flood: the faults are killed, "):
        named("flood")
    with pytest.raises(ConfigError, match="local runs on this machine"):
        rehearse_faults("local", ["killed"], tmp_path, "", lambda _: None)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The small stack with pools of nodes."""
    root = tmp_path / "project"
    shutil.copytree(PROJECT, root)
    file = root / "stacks" / "Pulumi.small.yaml"
    stack = yaml.safe_load(file.read_text())
    pool = {"limits": {"cpu": 8}}
    stack["config"]["falaj:stack"]["substrate"]["nodes"] = {"services": pool, "pipelines": pool}
    file.write_text(yaml.safe_dump(stack, sort_keys=False))
    return root


@pytest.mark.timeout(900)
@pytest.mark.skipif(
    any(shutil.which(name, path=PATH) is None for name in SERVERS),
    reason="no engine or no kube-apiserver on this machine: `python -m tools.build engine rehearsal`",
)
def test_a_small_stack_is_killed_and_robbed_and_comes_out_whole(tmp_path: Path, small: Path) -> None:
    said: list[str] = []
    report = rehearse_faults("small", ["killed", "pool"], tmp_path / "home", PATH, said.append, root=small)
    counts = {stage.name: stage.counts for stage in report.stages}
    assert list(counts) == [
        "up, killed after 5 calls",
        "up, killed after 2 objects",
        "up, killed after 300 objects",
        "up again",
        "up, a NodePool deleted",
        "up, pool pipelines renamed",
        "destroy",
    ]
    made = counts["up again"]["same"]
    assert counts["up again"] == {"same": made}
    assert counts["up, killed after 300 objects"]["create"] >= 1
    assert counts["up, a NodePool deleted"] == {"create": 1, "same": made - 1}
    assert counts["up, pool pipelines renamed"] == {"create": 1, "delete": 1, "same": made - 1}
    assert counts["destroy"] == {"delete": made}
    # The engine had made more than it knew of.
    assert any(line.startswith("  deleted by hand: ") for line in said)
