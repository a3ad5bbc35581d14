"""What is there and not in the state: `python -m rehearsal.faults.strays` looks as a person would, and tidies up.

In AWS by the tags that the stack gives all it makes, and by the policies of its roles, which have no tags; in the
cluster by who manages an object.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

from core.errors import FalajError
from rehearsal.aws import KINDS
from rehearsal.aws.provider import AwsProvider
from rehearsal.kubernetes.api import MANAGER, Api
from rehearsal.kubernetes.provider import INVENTED_LABEL
from rehearsal.protocol import NotFoundError, ProviderError, Values

_REGION = "me-central-1"
_ROLE, _KEY = "aws:iam/role:Role", "aws:kms/key:Key"
_KUBERNETES = "kubernetes:"
_OWN = ":snapshot:rds:"
"""In ARNs of what AWS makes by itself and gives the tags of a database: its daily snapshots."""


@dataclass(frozen=True, kw_only=True)
class _Stray:
    """Something of AWS's that no resource of the state is.

    Attributes:
        id: As the provider would have it.
        outputs: What the provider would have to know beside it.
    """

    label: str
    id: str
    outputs: Values = field(default_factory=dict)


def cloud(
    resources: Sequence[Mapping[str, Any]],
    environment: Mapping[str, str],
    pending: Sequence[Mapping[str, Any]] = (),
) -> list[str]:
    """What AWS has of the stack that its state does not; with `pending`, what these made is deleted.

    Args:
        resources: The state.
        environment: That of the engine, which says where AWS is.
        pending: Resources whose creation did not end.

    Returns:
        What was found; with `pending`, what was deleted.

    Raises:
        FalajError: AWS cannot be asked.
    """
    ours = [resource for resource in resources if resource["type"].startswith(("aws:", "pulumi:providers:aws"))]
    done = subprocess.run(
        [sys.executable, "-m", "rehearsal.faults.strays"],
        input=json.dumps({"resources": ours, "pending": [each for each in pending if each["type"] in KINDS]}),
        env=dict(environment),
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise FalajError(f"AWS was not asked what it has: {done.stderr.strip()}")
    found: list[str] = json.loads(done.stdout)
    return found


def cluster(
    resources: Sequence[Mapping[str, Any]], api: Api, pending: Sequence[Mapping[str, Any]] = ()
) -> tuple[list[str], list[str]]:
    """What the cluster has of the stack that its state does not, and the other way round.

    What `pending` made is deleted first. An object of which nothing but its name was declared has no manager.
    """
    for resource in pending:
        if resource["type"].startswith(_KUBERNETES):
            api.delete(resource["inputs"])
    there = api.everything()
    held = {_name(resource["outputs"]) for resource in resources if _is_object(resource)}
    ours, all_names = {_name(item) for item in there if _is_ours(item)}, {_name(item) for item in there}
    return [" ".join(name) for name in sorted(ours - held)], [" ".join(name) for name in sorted(held - all_names)]


def _is_object(resource: Mapping[str, Any]) -> bool:
    return resource["type"].startswith(_KUBERNETES) and "kind" in resource.get("outputs", {})


def _is_ours(item: Mapping[str, Any]) -> bool:
    managers = {entry.get("manager") for entry in item["metadata"].get("managedFields", [])}
    return MANAGER in managers and INVENTED_LABEL not in item["metadata"].get("labels", {})


def _name(item: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """An object whatever the version of its group that it is asked for in."""
    group = item["apiVersion"].rpartition("/")[0]
    return group, item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _tagged(resources: Sequence[Mapping[str, Any]], known: set[str]) -> Iterator[_Stray]:
    """By https://docs.aws.amazon.com/resourcegroupstagging/latest/APIReference/API_GetResources.html."""
    make: Any = boto3.client
    pages = make("resourcegroupstaggingapi", region_name=_REGION).get_paginator("get_resources")
    for provider in resources:
        declared = provider["inputs"].get("defaultTags")
        if not provider["type"].startswith("pulumi:providers:") or not declared:
            continue
        filters = [{"Key": key, "Values": [value]} for key, value in json.loads(declared)["tags"].items()]
        for page in pages.paginate(TagFilters=filters):
            for found in page["ResourceTagMappingList"]:
                arn = found["ResourceARN"]
                last = arn.rpartition("/")[2].rpartition(":")[2]
                if arn not in known and last not in known and _OWN not in arn:
                    yield _Stray(label=arn, id=last)


def _inline(resources: Sequence[Mapping[str, Any]], known: set[str]) -> Iterator[_Stray]:
    make: Any = boto3.client
    pages = make("iam", region_name=_REGION).get_paginator("list_role_policies")
    for role in {resource["id"] for resource in resources if resource["type"] == _ROLE}:
        for page in pages.paginate(RoleName=role):
            for name in page["PolicyNames"]:
                if f"{role}:{name}" not in known:
                    yield _Stray(label=f"policy {name} of role {role}", id=f"{role}:{name}", outputs={"name": name})


def _ends(provider: AwsProvider, stray: _Stray) -> bool:
    """Whether it is a key that was deleted, which AWS keeps for some days."""
    if ":kms:" not in stray.label:
        return False
    try:
        provider.looked(_KEY, stray.id, {}, {})
    except NotFoundError:
        return True
    return False


def _made(provider: AwsProvider, resource: Mapping[str, Any], strays: Sequence[_Stray]) -> Iterator[_Stray]:
    """What the creation of a resource made before it was cut off."""
    kind, inputs = resource["type"], resource["inputs"]
    named = provider.identifier(kind, inputs)
    candidates = [_Stray(label=named, id=named)] if named else strays
    for candidate in candidates:
        try:
            if provider.looked(kind, candidate.id, inputs, candidate.outputs) is not None:
                yield candidate
        except ProviderError:
            continue


def main() -> None:
    asked = json.load(sys.stdin)
    resources = asked["resources"]
    provider = AwsProvider()
    provider.configure({"region": _REGION})
    known = {resource["id"] for resource in resources if "id" in resource}
    known |= {resource["outputs"]["arn"] for resource in resources if "arn" in resource.get("outputs", {})}
    found = [*_tagged(resources, known), *_inline(resources, known)]
    strays = [stray for stray in found if not _ends(provider, stray)]
    removed: list[str] = []
    for resource in asked["pending"]:
        for stray in _made(provider, resource, strays):
            provider.delete(resource["type"], stray.id, resource["inputs"], stray.outputs)
            removed.append(stray.label)
    sys.stdout.write(json.dumps(removed if asked["pending"] else [stray.label for stray in strays]))


if __name__ == "__main__":
    main()
