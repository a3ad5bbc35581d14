"""What a policy document grants. The knowledge of actions and escalation paths is cloudsplaining's."""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from policies.graph import Graph
from policies.model import Resource, Unknown, is_unknown

logging.getLogger("policy_sentry").setLevel(logging.ERROR)
logging.getLogger("cloudsplaining").setLevel(logging.ERROR)

IDENTITY: Mapping[str, str] = {
    "aws:iam/groupPolicy:GroupPolicy": "policy",
    "aws:iam/policy:Policy": "policy",
    "aws:iam/rolePolicy:RolePolicy": "policy",
    "aws:iam/userPolicy:UserPolicy": "policy",
}
"""Types that hold the rights of an identity, and the input that does."""
OWNED: Mapping[str, str] = {
    "aws:backup/vaultPolicy:VaultPolicy": "policy",
    "aws:ecr/registryPolicy:RegistryPolicy": "policy",
    "aws:ecr/repositoryPolicy:RepositoryPolicy": "policy",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "policy",
    "aws:ec2/vpcEndpointPolicy:VpcEndpointPolicy": "policy",
    "aws:efs/fileSystemPolicy:FileSystemPolicy": "policy",
    "aws:kms/key:Key": "policy",
    "aws:kms/keyPolicy:KeyPolicy": "policy",
    "aws:lambda/permission:Permission": "policy",
    "aws:opensearch/domain:Domain": "accessPolicies",
    "aws:opensearch/domainPolicy:DomainPolicy": "accessPolicies",
    "aws:s3/bucketPolicy:BucketPolicy": "policy",
    "aws:secretsmanager/secret:Secret": "policy",
    "aws:secretsmanager/secretPolicy:SecretPolicy": "policy",
    "aws:sns/topicPolicy:TopicPolicy": "policy",
    "aws:sqs/queuePolicy:QueuePolicy": "policy",
}
"""Types that say who may use a resource, and the input that does."""
ROLE = "aws:iam/role:Role"


class Malformed(Exception):  # noqa: N818 - a fault of the document, not of the program
    """A policy document cannot be read."""


@dataclass(frozen=True)
class Statement:
    """One statement; each part as a list, however it was written.

    Attributes:
        principals: By kind, such as `AWS` or `Service`; `{"*": ["*"]}` for anyone.
        condition: By operator and key; keys are lower case.
    """

    allows: bool
    actions: tuple[str, ...]
    not_actions: tuple[str, ...]
    resources: tuple[str, ...]
    not_resources: tuple[str, ...]
    principals: Mapping[str, tuple[str, ...]]
    condition: Mapping[str, Mapping[str, tuple[str, ...]]]

    @property
    def anyone(self) -> bool:
        """Whether its principal is everyone."""
        return any("*" in names for names in self.principals.values())

    def conditioned_on(self, *keys: str) -> bool:
        """Whether its condition asks for one of `keys`, lower case, to have a value."""
        return any(
            key in block and not operator.lower().startswith(("null", "stringnot", "arnnot"))
            for operator, block in self.condition.items()
            for key in keys
        )


def document(resource: Resource, key: str) -> Mapping[str, Any] | None:
    """The policy document in an input; None where there is none.

    Raises:
        Unknown: It is known only once the resource exists.
        Malformed: It is not a policy document.
    """
    value = resource.inputs.get(key)
    if value in (None, ""):
        return None
    if is_unknown(value) or not isinstance(value, str | Mapping):
        raise Unknown(f"{key} is known only once it exists")
    return parse(value) if isinstance(value, str) else _checked(value)


def statements(found: Mapping[str, Any] | None) -> list[Statement]:
    """Its statements."""
    if found is None:
        return []
    listed = found["Statement"]
    return [_statement(one) for one in (listed if isinstance(listed, list) else [listed])]


@lru_cache(maxsize=4096)
def parse(text: str) -> Mapping[str, Any]:
    """The policy document in a text; equal texts are read once.

    Raises:
        Malformed: It is not a policy document.
    """
    try:
        return _checked(json.loads(text))
    except json.JSONDecodeError as error:
        raise Malformed("the policy is not JSON") from error


def _checked(value: Any) -> Mapping[str, Any]:
    listed = value.get("Statement") if isinstance(value, Mapping) else None
    listed = listed if isinstance(listed, list) else [listed]
    if not all(isinstance(one, Mapping) and one.get("Effect") in ("Allow", "Deny") for one in listed):
        raise Malformed("the policy has a statement without Effect")
    if not all("Action" in one or "NotAction" in one for one in listed):
        raise Malformed("the policy has a statement without Action")
    checked: Mapping[str, Any] = value
    return checked


def _list(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(str(item) for item in value) if isinstance(value, list) else (str(value),)


def _statement(one: Mapping[str, Any]) -> Statement:
    principal = one.get("Principal")
    if isinstance(principal, Mapping):
        principals = {kind: _list(names) for kind, names in principal.items()}
    else:
        principals = {"*": ("*",)} if principal == "*" else {}
    if "NotPrincipal" in one and one["Effect"] == "Allow":
        principals = {"*": ("*",)}
    condition = {
        operator: {key.lower(): _list(values) for key, values in block.items()}
        for operator, block in (one.get("Condition") or {}).items()
    }
    return Statement(
        allows=one["Effect"] == "Allow",
        actions=_list(one.get("Action")),
        not_actions=_list(one.get("NotAction")),
        resources=_list(one.get("Resource")),
        not_resources=_list(one.get("NotResource")),
        principals=principals,
        condition=condition,
    )


@dataclass(frozen=True)
class Granted:
    """What a document grants, as cloudsplaining reads it; lists are sorted.

    Attributes:
        escalation: Known ways to more rights, by name.
        exfiltration: Actions that read stored data of everyone.
        credentials: Actions that hand out credentials.
        unbounded: Actions that change things, on every resource, without a condition.
        rights: Actions that change rights, on every resource, without a condition.
        services: Services of which it grants every action.
    """

    escalation: tuple[str, ...]
    exfiltration: tuple[str, ...]
    credentials: tuple[str, ...]
    unbounded: tuple[str, ...]
    rights: tuple[str, ...]
    services: tuple[str, ...]


def granted(found: Mapping[str, Any]) -> Granted:
    """Analyse a document; equal documents are analysed once."""
    return _granted(json.dumps(found, sort_keys=True))


@lru_cache(maxsize=4096)
def _granted(text: str) -> Granted:
    from cloudsplaining.scan.policy_document import PolicyDocument  # half a second: only where there are policies

    policy = PolicyDocument(json.loads(text))
    return Granted(
        escalation=tuple(sorted({str(one["type"]) for one in policy.allows_privilege_escalation})),
        exfiltration=tuple(sorted(policy.allows_data_exfiltration_actions)),
        credentials=tuple(sorted(policy.credentials_exposure)),
        unbounded=tuple(sorted(set(policy.infrastructure_modification))),
        rights=tuple(sorted(set(policy.permissions_management_without_constraints))),
        services=tuple(sorted(policy.service_wildcard)),
    )


def of_role(role: Resource, graph: Graph) -> Mapping[str, Any]:
    """All that a role may do by the policies of the stack, as one document: paths can need two policies.

    Raises:
        Unknown: One of its policies is known only once it exists.
        Malformed: One of them cannot be read.
    """
    listed: list[Any] = []
    for found in _documents(role, graph):
        if found is not None:
            listed += found["Statement"] if isinstance(found["Statement"], list) else [found["Statement"]]
    return {"Version": "2012-10-17", "Statement": listed}


def _documents(role: Resource, graph: Graph) -> Iterator[Mapping[str, Any] | None]:
    for inline in role.inputs.get("inlinePolicies") or ():
        if isinstance(inline, Mapping) and isinstance(inline.get("policy"), str):
            yield parse(inline["policy"])
    for policy in graph.attached(role, "aws:iam/rolePolicy:RolePolicy", "role"):
        yield document(policy, "policy")
    for attachment in graph.attached(role, "aws:iam/rolePolicyAttachment:RolePolicyAttachment", "role"):
        for policy in graph.targets(attachment, "policyArn"):
            if policy.type in IDENTITY:
                yield document(policy, IDENTITY[policy.type])
