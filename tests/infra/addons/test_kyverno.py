import re
from collections.abc import Callable
from typing import Any

import pytest

from infra.addons import kyverno
from infra.addons.kyverno import Kyverno, KyvernoArgs
from infra.config.platform import Admission
from infra.substrates.aws.permissions import narrow

REGISTRY = "mirror.example.ae"
KEY = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"


def arguments(**changed: Any) -> KyvernoArgs:
    fields: dict[str, Any] = {
        "settings": Admission(),
        "locked": True,
        "exempt": ["karpenter"],
        "exposed": ["envoy-gateway-system"],
    }
    return KyvernoArgs(**{**fields, **changed})


def expressions(spec: dict[str, Any]) -> str:
    return " ".join(validation["expression"] for validation in spec["validations"])


@pytest.mark.parametrize(("mode", "action", "failure"), [("audit", "Audit", "Ignore"), ("enforce", "Deny", "Fail")])
def test_auditing_refuses_nothing_even_where_kyverno_fails(mode: str, action: str, failure: str) -> None:
    args = arguments(settings=Admission.model_validate({"mode": mode, "public_key": KEY}))
    specs = kyverno.policies(args, REGISTRY).values()
    assert {(*spec["validationActions"], spec["failurePolicy"]) for spec in specs} == {(action, failure)}
    signed = kyverno.signatures(args, REGISTRY)
    assert signed is not None
    assert signed["webhookConfiguration"]["failurePolicy"] == failure
    (rule,) = signed["rules"]
    assert [checked["failureAction"] for checked in rule["verifyImages"]] == [action.replace("Deny", "Enforce")]


def test_what_is_not_the_platforms_or_makes_its_nodes_is_left_alone() -> None:
    for spec in kyverno.policies(arguments(), REGISTRY).values():
        conditions = {condition["name"]: condition["expression"] for condition in spec["matchConditions"]}
        assert "'app.kubernetes.io/managed-by'" in conditions["ours"]
        assert "['karpenter', 'kyverno']" in conditions["not-exempt"]
        assert "deletionTimestamp" in conditions["kept"]
    expected = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["karpenter"]}
    selector = kyverno.values(arguments(), "m", [])["config"]["webhooks"]["namespaceSelector"]["matchExpressions"]
    assert expected in selector
    assert {"key": "app.kubernetes.io/managed-by", "operator": "In", "values": ["falaj"]} in selector


def test_policies_on_pods_also_hold_for_what_makes_pods() -> None:
    """Kyverno derives the others from a policy that matches pods alone, and by nothing but conditions."""
    for name, spec in kyverno.policies(arguments(), REGISTRY).items():
        if name == "falaj-exposure" or name == "falaj-debug-images":
            continue
        assert set(spec["matchConstraints"]) == {"resourceRules"}
        (rule,) = spec["matchConstraints"]["resourceRules"]
        assert rule["resources"] == ["pods"]
        assert rule["apiGroups"] == [""]
        # Derived, "object.metadata" would be that of the pods' template, and an error where there is none.
        assert not [found for found in spec["matchConditions"] if re.search(r"\bobject\.metadata", found["expression"])]


def test_digests_are_asked_for_once_the_lock_has_them() -> None:
    without = expressions(kyverno.policies(arguments(locked=False), REGISTRY)["falaj-images"])
    locked = expressions(kyverno.policies(arguments(), REGISTRY)["falaj-images"])
    own = f"!c.image.startsWith('{REGISTRY}/falaj/') || c.image.contains('@sha256:')"
    assert own in locked
    assert own not in without
    assert f"c.image.startsWith('{REGISTRY}/')" in without


def test_signatures_are_checked_with_the_stacks_key_and_no_server_outside() -> None:
    assert kyverno.signatures(arguments(), REGISTRY) is None
    spec = kyverno.signatures(arguments(settings=Admission(public_key=KEY)), REGISTRY)
    assert spec is not None
    (rule,) = spec["rules"]
    (checked,) = rule["verifyImages"]
    assert checked["imageReferences"] == [f"{REGISTRY}/*"]
    assert checked["required"] is True
    ((entry,),) = [attestor["entries"] for attestor in checked["attestors"]]
    assert entry["keys"]["publicKeys"] == KEY
    assert entry["keys"]["rekor"]["ignoreTlog"] is True
    assert entry["keys"]["ctlog"]["ignoreSCT"] is True
    assert rule["exclude"]["any"][0]["resources"]["namespaces"] == ["karpenter", "kyverno"]
    (matched,) = rule["match"]["any"]
    assert matched["resources"]["namespaceSelector"]["matchLabels"] == {"app.kubernetes.io/managed-by": "falaj"}


def test_the_clouds_registry_is_read_only_where_signatures_are_asked_for() -> None:
    repositories = ["arn:aws:ecr:me-central-1:444455556666:repository/falaj/*"]
    assert kyverno.rights(arguments(repositories=repositories)) == []
    granted = kyverno.rights(arguments(settings=Admission(public_key=KEY), repositories=repositories))
    assert {resource for right in granted for resource in right.resources} == {"*", *repositories}
    for right in granted:
        narrow(right, "kyverno")


def test_policies_come_after_the_engine(install: Callable[..., Any]) -> None:
    tried = install(lambda cluster, opts: Kyverno("kyverno", cluster, arguments(), opts))
    for name in kyverno.policies(arguments(), REGISTRY):
        assert tried.before(name) == {"kyverno"}
    assert tried.cluster.namespaces["kyverno"].webhooks == (9443,)
    values = tried.find("kyverno").inputs["values"]
    assert values["existingImagePullSecrets"] == ["registry"]


def test_a_sites_own_engine_takes_the_policies(install: Callable[..., Any]) -> None:
    program = lambda cluster, opts: Kyverno("kyverno", cluster, arguments(), opts)  # noqa: E731
    tried = install(program, frozenset({"kyverno"}))
    kinds = [resource.type for resource in tried.graph.resources]
    assert "kubernetes:helm.sh/v4:Chart" not in kinds
    assert tried.before("falaj-images") == set()
    images = expressions(tried.find("falaj-images").inputs["spec"])
    assert f"startsWith('{REGISTRY}/')" in images
