"""Secrets Manager: secrets that the stack makes, and who reads those that it names."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import iam, secretsmanager

from infra.config.model import DataClass
from infra.substrates.aws.account import Account, policy
from infra.substrates.aws.pods import fitted, pod_role
from infra.substrates.base import PSEUDONYM_KEY

OPERATOR = "external-secrets"
"""Namespace and service account of the controller of External Secrets."""
_POLICY_LENGTH = 128
_SUFFIX = "-??????"
"""Secrets Manager ends the ARN of each secret with six characters of its own."""


def empty_secret(
    name: str,
    description: str,
    account: Account,
    key: pulumi.Input[str],
    parent: pulumi.Resource,
    data_class: DataClass = "platform",
) -> secretsmanager.Secret:
    """The secret `falaj-<stack>/<name>`, whose value this program never knows."""
    return secretsmanager.Secret(
        name,
        name=secret_name(account, name),
        description=description,
        kms_key_id=key,
        recovery_window_in_days=30 if account.protect else 7,
        tags=account.tags(data_class),
        opts=account.kept(parent),
    )


def secret_name(account: Account, name: str) -> str:
    """Name of a secret of the stack's own."""
    return f"{account.prefix}/{name}"


@dataclass(frozen=True, kw_only=True)
class SecretsArgs:
    """What the secrets are made of.

    Attributes:
        cluster: Name of the cluster that External Secrets runs in.
        keys: ARN of the key of each class whose secrets it may meet.
    """

    account: Account
    cluster: pulumi.Input[str]
    keys: Mapping[DataClass, pulumi.Input[str]]


class Secrets(pulumi.ComponentResource):
    """Keys of the stack's own, and the identity of External Secrets.

    It reads each secret that something in the cluster names, and no other. `ready` must be there before its pods
    start: they learn of their role when they are created. `random` are the secrets that are to hold a random key.
    """

    def __init__(self, name: str, args: SecretsArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("falaj:aws:Secrets", name, None, opts)
        account = args.account
        self._account = account
        self._granted = dict[str, pulumi.Resource]()
        self.random: Mapping[str, secretsmanager.Secret] = {
            PSEUDONYM_KEY.name: empty_secret(
                PSEUDONYM_KEY.name, "Key of the pseudonyms", account, args.keys["raw"], self, "raw"
            )
        }
        through = {"StringEquals": {"kms:ViaService": f"secretsmanager.{account.region}.amazonaws.com"}}
        decrypt = {"Effect": "Allow", "Action": ["kms:Decrypt"], "Resource": list(args.keys.values())}
        made = pod_role(OPERATOR, OPERATOR, [{**decrypt, "Condition": through}], account, args.cluster, self)
        self._role, self.ready = made.role, made.ready
        self.register_outputs({})

    def grant(self, secret: str) -> pulumi.Resource:
        """Let it read the secret called `secret`; what asks for it depends on this."""
        if secret not in self._granted:
            statement = {
                "Effect": "Allow",
                "Action": ["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"],
                "Resource": [self._account.arn("secretsmanager", f"secret:{secret}{_SUFFIX}")],
            }
            self._granted[secret] = iam.RolePolicy(
                secret,
                # IAM takes no slash, and a secret has no plus.
                name=fitted(f"secret+{secret.replace('/', '+')}", _POLICY_LENGTH),
                role=self._role.name,
                policy=policy([statement]),
                opts=ResourceOptions(parent=self),
            )
        return self._granted[secret]
