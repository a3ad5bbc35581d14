"""AWS Backup: what can be restored when an instance, or who deletes one, fails."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import backup, iam

from core.errors import ConfigError
from infra.config.aws import Vault as VaultConfig
from infra.substrates.aws.account import Account, policy, trust

_MANAGED = "arn:aws:iam::aws:policy/service-role"
_START_MINUTES = 60
_COMPLETE_MINUTES = 480


@dataclass(frozen=True, kw_only=True)
class BackupArgs:
    """What the vault is made of.

    Attributes:
        resources: ARNs of what is backed up, by name.
        key: ARN of the vault's key.
    """

    account: Account
    settings: VaultConfig
    resources: Mapping[str, pulumi.Input[str]]
    key: pulumi.Input[str]


class Backup(pulumi.ComponentResource):
    """A vault, locked where the settings say so, and copies into it by plan; none is copied out of it."""

    def __init__(self, name: str, args: BackupArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("falaj:aws:Backup", name, None, opts)
        account, settings = args.account, args.settings
        options = ResourceOptions(parent=self)
        vault = backup.Vault(
            "vault",
            name=account.prefix,
            kms_key_arn=args.key,
            force_destroy=False,
            tags=account.tags("platform"),
            opts=account.kept(self),
        )
        if settings.lock:
            backup.VaultLockConfiguration(
                "vault",
                backup_vault_name=vault.name,
                min_retention_days=settings.keep_days,
                max_retention_days=settings.keep_days,
                changeable_for_days=settings.lock_grace_days,
                opts=options,
            )
        copies = {
            "Sid": "StaysHere",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "backup:CopyFromBackupVault",
            "Resource": "*",
        }
        backup.VaultPolicy("vault", backup_vault_name=vault.name, policy=policy([copies]), opts=options)
        role = iam.Role(
            "backup",
            name=f"{account.prefix}-backup",
            assume_role_policy=trust("backup.amazonaws.com", account),
            opts=options,
        )
        rights = [
            iam.RolePolicyAttachment(managed, role=role.name, policy_arn=f"{_MANAGED}/{managed}", opts=options)
            for managed in ("AWSBackupServiceRolePolicyForBackup", "AWSBackupServiceRolePolicyForRestores")
        ]
        plan = backup.Plan(
            "daily",
            name=account.prefix,
            rules=[
                backup.PlanRuleArgs(
                    rule_name="daily",
                    target_vault_name=vault.name,
                    schedule=schedule(settings.schedule),
                    start_window=_START_MINUTES,
                    completion_window=_COMPLETE_MINUTES,
                    lifecycle=backup.PlanRuleLifecycleArgs(delete_after=settings.keep_days),
                )
            ],
            opts=options,
        )
        backup.Selection(
            "stores",
            name=f"{account.prefix}-stores",
            plan_id=plan.id,
            iam_role_arn=role.arn,
            resources=[args.resources[resource] for resource in sorted(args.resources)],
            opts=ResourceOptions(parent=self, depends_on=rights),
        )
        self.register_outputs({"vault": vault.arn})


def schedule(cron: str) -> str:
    """A five-field cron expression as AWS writes it: six fields, and `?` in one of the two for days.

    AWS counts weekdays from 1, and cron from 0.

    Raises:
        ConfigError: It names days of the month and of the week, which AWS cannot.
    """
    minute, hour, day, month, weekday = cron.split()
    if weekday == "*":
        return f"cron({minute} {hour} {day} {month} ? *)"
    if day != "*":
        raise ConfigError(f"substrate.backup.schedule is {cron}: name days of the month or of the week, not both")
    shifted = re.sub(r"(?<!/)[0-7]", lambda mark: str(int(mark[0]) % 7 + 1), weekday)
    return f"cron({minute} {hour} ? {month} {shifted} *)"
