"""The roles of the account."""

from typing import Any

from verify.account import Account
from verify.asked import Each
from verify.checks.keys import foreign
from verify.declared import Declared

_ROLE = "aws:iam/role:Role"


def test_trust(each: Each, declared: Declared, aws: Account) -> None:
    """No role can be taken by everyone, or by an account that is not the stack's."""

    def judge(name: str) -> list[str]:
        return foreign(aws("iam").get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"], aws.ids)

    each(declared.values(_ROLE, "name"), judge)


def test_rights(each: Each, declared: Declared, aws: Account) -> None:
    """No role of the stack may do everything, or everything of a service."""

    def judge(name: str) -> list[str]:
        found: list[str] = []
        for policy in aws.every("iam", "list_role_policies", "PolicyNames", RoleName=name):
            document = aws("iam").get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
            found += [f"{policy} allows {action}" for action in _wide(document)]
        return found

    each(declared.values(_ROLE, "name"), judge)


def test_attached(each: Each, declared: Declared, aws: Account) -> None:
    """No role has a policy of AWS's or the account's that is not declared."""
    wanted: dict[str, set[str]] = {}
    for inputs in declared.of("aws:iam/rolePolicyAttachment:RolePolicyAttachment").values():
        wanted.setdefault(str(inputs["role"]).rpartition("::")[2].partition(".")[0], set()).add(inputs["policyArn"])
    names = {inputs["name"]: logical for logical, inputs in declared.of(_ROLE).items()}

    def judge(name: str) -> list[str]:
        listed = aws.every("iam", "list_attached_role_policies", "AttachedPolicies", RoleName=name)
        live = {policy["PolicyArn"] for policy in listed}
        own = wanted.get(names[name], set()) | wanted.get(name, set())
        return [
            *(f"has {arn}, which is not declared" for arn in sorted(live - own)),
            *(f"lacks {arn}" for arn in sorted(own - live)),
        ]

    each(declared.values(_ROLE, "name"), judge)


def _wide(document: dict[str, Any]) -> list[str]:
    statements = document["Statement"]
    found: list[str] = []
    for statement in [statements] if isinstance(statements, dict) else statements:
        actions = statement.get("Action", [])
        if statement["Effect"] == "Allow":
            named = [actions] if isinstance(actions, str) else actions
            found += [action for action in named if action == "*" or action.endswith(":*")]
    return found
