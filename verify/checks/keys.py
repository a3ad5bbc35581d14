"""The keys of the account."""

import json
from typing import Any

from verify.account import Account
from verify.asked import Each
from verify.declared import Declared

_ALIAS = "aws:kms/alias:Alias"


def test_usable(each: Each, declared: Declared, aws: Account) -> None:
    """Every key is there, enabled, and not about to be deleted."""

    def judge(alias: str) -> str | None:
        state = _key(aws, alias)["KeyState"]
        return None if state == "Enabled" else f"is {state}"

    each(declared.values(_ALIAS, "name"), judge)


def test_rotation(each: Each, declared: Declared, aws: Account) -> None:
    """Every key is replaced by a new one each year."""

    def judge(alias: str) -> str | None:
        status = aws("kms").get_key_rotation_status(KeyId=_key(aws, alias)["KeyId"])
        return None if status["KeyRotationEnabled"] else "is not rotated"

    each(declared.values(_ALIAS, "name"), judge)


def test_of_this_region(each: Each, declared: Declared, aws: Account) -> None:
    """No key can be copied to another region."""
    each(
        declared.values(_ALIAS, "name"),
        lambda alias: "is of several regions" if _key(aws, alias).get("MultiRegion") else None,
    )


def test_own(each: Each, declared: Declared, aws: Account) -> None:
    """Every key is managed by the account, with material that AWS made."""

    def judge(alias: str) -> list[str]:
        key = _key(aws, alias)
        manager, origin = key.get("KeyManager", "CUSTOMER"), key.get("Origin", "AWS_KMS")
        return [
            *([] if manager == "CUSTOMER" else [f"is managed by {manager}"]),
            *([] if origin == "AWS_KMS" else [f"its material is {origin}"]),
        ]

    each(declared.values(_ALIAS, "name"), judge)


def test_policies(each: Each, declared: Declared, aws: Account) -> None:
    """No key's policy lets in everyone, or an account that is not the stack's."""

    def judge(alias: str) -> list[str]:
        policy = json.loads(aws("kms").get_key_policy(KeyId=_key(aws, alias)["KeyId"], PolicyName="default")["Policy"])
        return foreign(policy, aws.ids)

    each(declared.values(_ALIAS, "name"), judge)


def foreign(policy: dict[str, Any], accounts: list[str]) -> list[str]:
    """Principals of a policy's permissions that are not of these accounts, and are let in without a condition."""
    faults: list[str] = []
    for statement in policy["Statement"]:
        principal = statement.get("Principal")
        if statement["Effect"] != "Allow" or principal is None:
            continue
        named = principal if isinstance(principal, str) else principal.get("AWS", [])
        for one in [named] if isinstance(named, str) else named:
            if one == "*" and not statement.get("Condition"):
                faults.append(f"statement {statement.get('Sid')} lets in everyone")
            elif one != "*" and not any(account in one for account in accounts):
                faults.append(f"statement {statement.get('Sid')} lets in {one}")
    return faults


def _key(aws: Account, alias: str) -> dict[str, Any]:
    found: dict[str, Any] = aws("kms").describe_key(KeyId=alias)["KeyMetadata"]
    return found
