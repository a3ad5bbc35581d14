import json

import pytest
from pulumi import ResourceOptions

from core.errors import ConfigError
from infra.config import StackConfig, parse_config
from infra.plan import Graph
from infra.substrates.aws.account import Account
from infra.substrates.aws.registry import Registry, RegistryArgs
from tests.infra.aws.planned import aws, of_type, plan, statements
from tests.infra.variations import document

KEY = "arn:aws:kms:me-central-1:444455556666:key/artifacts"


IMAGES = ["falaj/platform", "ghcr.io/one/two", "quay.io/one"]


def graph(mode: str, scan: str = "basic", prefix: str = "falaj") -> Graph:
    changed = document("prod")
    changed["substrate"]["registry"] = {"mode": mode, "scan": scan, "prefix": prefix}

    def make(found: StackConfig, account: Account, options: ResourceOptions) -> None:
        settings = aws(found).registry
        arguments = RegistryArgs(account=account, settings=settings, repositories=IMAGES, key=KEY)
        Registry("registry", arguments, options)

    return plan(make, parse_config(changed, "prod"), "prod")


@pytest.mark.parametrize("mode", ["mirror", "pull-through"])
def test_repositories_are_immutable_scanned_and_encrypted(mode: str) -> None:
    repositories = of_type(graph(mode), "ecr/repository:Repository")
    fetched = {"quay.io/one"} if mode == "pull-through" else set()
    assert {item.inputs["name"] for item in repositories.values()} == {
        f"falaj/{image}" for image in set(IMAGES) - fetched
    }
    for item in repositories.values():
        assert item.inputs["imageTagMutability"] == "IMMUTABLE"
        assert item.inputs["imageScanningConfiguration"] == {"scanOnPush": True}
        assert item.inputs["encryptionConfigurations"] == [{"encryptionType": "KMS", "kmsKey": KEY}]
        assert item.options.get("protect") is True
    policies = of_type(graph(mode), "ecr/lifecyclePolicy:LifecyclePolicy")
    assert json.loads(policies["falaj/platform"].inputs["policy"])["rules"][0]["selection"]["countNumber"] == 14


def test_a_mirror_fetches_nothing_by_itself() -> None:
    found = graph("mirror")
    assert of_type(found, "ecr/pullThroughCacheRule:PullThroughCacheRule") == {}
    assert of_type(found, "iam/role:Role") == {}


def test_what_is_fetched_is_protected_like_the_rest() -> None:
    found = graph("pull-through")
    template = of_type(found, "ecr/repositoryCreationTemplate:RepositoryCreationTemplate")["fetched"]
    assert template.inputs["imageTagMutability"] == "IMMUTABLE"
    assert template.inputs["encryptionConfigurations"] == [{"encryptionType": "KMS", "kmsKey": KEY}]
    rules = of_type(found, "ecr/pullThroughCacheRule:PullThroughCacheRule")
    assert {rule.inputs["upstreamRegistryUrl"] for rule in rules.values()} == {
        "public.ecr.aws",
        "quay.io",
        "registry.k8s.io",
    }
    # Charts ask for the image by its whole upstream name below the stack's prefix.
    assert {rule.inputs["ecrRepositoryPrefix"] for rule in rules.values()} == {
        "falaj/public.ecr.aws",
        "falaj/quay.io",
        "falaj/registry.k8s.io",
    }
    assert all(template.urn in rule.dependencies for rule in rules.values())
    assert all(
        "*" not in item["Resource"] for item in statements(of_type(found, "iam/rolePolicy:RolePolicy")["registry"])
    )


def test_a_prefix_that_ecr_would_not_take_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"shorten it to 14, or set substrate\.registry\.mode to mirror"):
        graph("pull-through", prefix="machine-learning")
    graph("mirror", prefix="machine-learning")
    graph("pull-through", prefix="machinelearned")


@pytest.mark.parametrize(("scan", "kind"), [("basic", "BASIC"), ("enhanced", "ENHANCED")])
def test_scans_are_those_of_the_settings(scan: str, kind: str) -> None:
    rules = of_type(graph("mirror", scan), "ecr/registryScanningConfiguration:RegistryScanningConfiguration")
    assert rules["registry"].inputs["scanType"] == kind
