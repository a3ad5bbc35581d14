"""What a pod reads and writes on AWS, its role must allow: the objects, and the key that encrypts them.

The roles are derived from the same declarations. This looks at the result: at the addresses that the containers
are really told, and at the documents that their roles really have.
"""

import fnmatch
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infra.checks.objects import Objects
from infra.checks.objects import statements as statements_of

_BUCKET = re.compile(r"s3://(?P<bucket>[a-z0-9.-]+)/(?P<prefix>[A-Za-z0-9._-]+)")
Statement = Mapping[str, Any]


def rights(objects: Objects) -> Iterator[str]:
    """Pods whose role lacks what their addresses need; none on a cluster without roles."""
    if not objects.named("aws:eks/cluster:Cluster"):
        return
    granted = _granted(objects)
    keys = _keys(objects)
    yield from _fetched(objects, granted)
    for pod in objects.pods:
        needed = sorted({(m["bucket"], m["prefix"]) for text in pod.texts() for m in _BUCKET.finditer(text)})
        if not needed:
            continue
        account = pod.spec.get("serviceAccountName", "default")
        statements = granted.get((pod.namespace, account))
        if statements is None:
            yield f"{pod.owner} uses s3://{needed[0][0]}, and the service account {account} has no role"
            continue
        for bucket, prefix in needed:
            if not _allows(statements, "s3:GetObject", f"arn:aws:s3:::{bucket}/{prefix}/x"):
                yield f"{pod.owner} uses s3://{bucket}/{prefix}, and its role may not read there"
            if not _allows(statements, "s3:ListBucket", f"arn:aws:s3:::{bucket}"):
                yield f"{pod.owner} uses s3://{bucket}/{prefix}, and its role may not list it"
            if bucket not in keys:
                yield f"{pod.owner} uses s3://{bucket}, which is not a bucket of the stack"
            elif not _allows(statements, "kms:Decrypt", keys[bucket]):
                yield f"{pod.owner} uses s3://{bucket}, and its role may not decrypt with that bucket's key"


def _fetched(objects: Objects, granted: Mapping[tuple[str, str], Sequence[Statement]]) -> Iterator[str]:
    """Secrets that are fetched for pods: whoever fetches them must be allowed to read and to decrypt them."""
    fetcher = granted.get(("external-secrets", "external-secrets"), [])
    (provider,) = objects.named("pulumi:providers:aws")
    region, (account,) = provider.inputs["region"], json.loads(provider.inputs["allowedAccountIds"])
    own = {secret.inputs.get("name"): secret for secret in objects.named("aws:secretsmanager/secret:Secret")}
    wanted = sorted(
        {
            entry["remoteRef"]["key"]
            for found in objects.of("ExternalSecret").values()
            for entry in found.inputs["spec"].get("data", [])
        }
    )
    here = f"arn:aws:secretsmanager:{region}:{account}"
    for name in wanted:
        if not _allows(fetcher, "secretsmanager:GetSecretValue", f"{here}:secret:{name}-abcdef"):
            yield f"the secret {name} is asked for, and external-secrets may not read it"
        key = own[name].inputs.get("kmsKeyId") if name in own else None
        if key is not None and not _allows(fetcher, "kms:Decrypt", key):
            yield f"the secret {name} is asked for, and external-secrets may not use its key"


def _granted(objects: Objects) -> dict[tuple[str, str], list[Statement]]:
    """The statements of each service account's role."""
    roles = {role.urn: role for role in objects.named("aws:iam/role:Role")}
    documents: dict[str, list[Statement]] = {}
    for policy in objects.named("aws:iam/rolePolicy:RolePolicy"):
        for urn in policy.property_dependencies.get("role", ()):
            documents.setdefault(urn, []).extend(statements_of(policy.inputs["policy"]))
    found: dict[tuple[str, str], list[Statement]] = {}
    for link in objects.named("aws:eks/podIdentityAssociation:PodIdentityAssociation"):
        for urn in link.property_dependencies.get("roleArn", ()):
            if urn in roles:
                found[link.inputs["namespace"], link.inputs["serviceAccount"]] = documents.get(urn, [])
    return found


def _keys(objects: Objects) -> dict[str, str]:
    """The key that each bucket encrypts with, by the bucket's name."""
    names: dict[str, str] = {bucket.urn: bucket.inputs["bucket"] for bucket in objects.named("aws:s3/bucket:Bucket")}
    found: dict[str, str] = {}
    for encryption in objects.graph.resources:
        if "ServerSideEncryptionConfiguration" not in encryption.type:
            continue
        key = encryption.inputs["rules"][0]["applyServerSideEncryptionByDefault"]["kmsMasterKeyId"]
        for urn in encryption.property_dependencies.get("bucket", ()):
            if urn in names:
                found[names[urn]] = key
    return found


def _allows(statements: Sequence[Statement], action: str, resource: str) -> bool:
    return any(
        statement["Effect"] == "Allow"
        and any(fnmatch.fnmatchcase(action, pattern) for pattern in _list(statement["Action"]))
        and any(
            pattern == resource or fnmatch.fnmatchcase(resource, pattern) for pattern in _list(statement["Resource"])
        )
        for statement in statements
    )


def _list(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value
