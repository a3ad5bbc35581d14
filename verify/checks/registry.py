"""The registry of images."""

import json
from typing import Any

from verify.account import Account
from verify.asked import Each
from verify.checks.keys import foreign
from verify.declared import Declared

_REPOSITORY = "aws:ecr/repository:Repository"


def test_immutable(each: Each, declared: Declared, aws: Account) -> None:
    """No tag of an image can be moved to another."""

    def judge(name: str) -> str | None:
        found = _live(aws, name)["imageTagMutability"]
        return None if found.startswith("IMMUTABLE") else f"tags are {found}"

    each(declared.values(_REPOSITORY, "name"), judge)


def test_scanned(each: Each, declared: Declared, aws: Account) -> None:
    """Every image is scanned when it is pushed."""

    def judge(name: str) -> str | None:
        return None if _live(aws, name).get("imageScanningConfiguration", {}).get("scanOnPush") else "is not scanned"

    each(declared.values(_REPOSITORY, "name"), judge)


def test_encrypted(each: Each, declared: Declared, aws: Account) -> None:
    """Every repository is encrypted by a key of the stack's own."""
    each(
        declared.values(_REPOSITORY, "name"),
        lambda name: aws.own_key(_live(aws, name).get("encryptionConfiguration", {}).get("kmsKey")),
    )


def test_closed(each: Each, declared: Declared, aws: Account) -> None:
    """No repository is open to another account."""

    def judge(name: str) -> list[str]:
        try:
            policy = aws("ecr").get_repository_policy(repositoryName=name)["policyText"]
        except aws("ecr").exceptions.RepositoryPolicyNotFoundException:
            return []
        return foreign(json.loads(policy), aws.ids)

    each(declared.values(_REPOSITORY, "name"), judge)


def _live(aws: Account, name: str) -> dict[str, Any]:
    found: dict[str, Any] = aws("ecr").describe_repositories(repositoryNames=[name])["repositories"][0]
    return found
