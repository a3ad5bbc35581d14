"""The copies of the account."""

import datetime as dt

from verify.account import Account
from verify.asked import Each, UnaskedError
from verify.declared import Declared, Inputs, known

_HOURS = 50
"""Two nights, and the time that a copy takes."""


def test_vault(each: Each, declared: Declared, aws: Account) -> None:
    """The vault is there, encrypted by a key of the stack's own."""
    each(
        declared.values("aws:backup/vault:Vault", "name"),
        lambda name: aws.own_key(aws("backup").describe_backup_vault(BackupVaultName=name).get("EncryptionKeyArn")),
    )


def test_locked(each: Each, declared: Declared, aws: Account) -> None:
    """Copies cannot be deleted before their time, and are not kept beyond it."""

    def judge(inputs: Inputs) -> list[str]:
        found = aws("backup").describe_backup_vault(BackupVaultName=inputs["backupVaultName"])
        pairs = (("MinRetentionDays", "minRetentionDays"), ("MaxRetentionDays", "maxRetentionDays"))
        return [
            *([] if found.get("Locked") else ["is not locked"]),
            *(
                f"{live} is {found.get(live)}, not {inputs[key]}"
                for live, key in pairs
                if found.get(live) != inputs[key]
            ),
        ]

    each(declared.of("aws:backup/vaultLockConfiguration:VaultLockConfiguration"), judge)


def test_plan(each: Each, declared: Declared, aws: Account) -> None:
    """Copies are made when declared, of what is declared."""

    def judge(inputs: Inputs) -> list[str]:
        listed = aws.every("backup", "list_backup_plans", "BackupPlansList")
        found = next((one for one in listed if one["BackupPlanName"] == inputs["name"]), None)
        if found is None:
            return ["is missing"]
        plan = aws("backup").get_backup_plan(BackupPlanId=found["BackupPlanId"])["BackupPlan"]
        live = {rule["RuleName"]: rule for rule in plan["Rules"]}
        selections = aws.every(
            "backup", "list_backup_selections", "BackupSelectionsList", BackupPlanId=found["BackupPlanId"]
        )
        faults = [
            f"{rule['ruleName']} runs at {live.get(rule['ruleName'], {}).get('ScheduleExpression')}"
            for rule in inputs["rules"]
            if live.get(rule["ruleName"], {}).get("ScheduleExpression") != rule["schedule"]
        ]
        return [*faults, *([] if selections else ["copies nothing"])]

    plans = declared.of("aws:backup/plan:Plan")
    each({name: inputs for name, inputs in plans.items() if known(inputs["name"])}, judge)


def test_recent(each: Each, declared: Declared, aws: Account) -> None:
    """There is a recent copy of every database."""
    vaults = declared.values("aws:backup/vault:Vault", "name")
    operation = "list_recovery_points_by_backup_vault"
    points = [
        point for vault in vaults for point in aws.every("backup", operation, "RecoveryPoints", BackupVaultName=vault)
    ]

    def judge(name: str) -> str | None:
        made = [
            point["CreationDate"]
            for point in points
            if point["ResourceArn"].endswith(f":db:{name}") and point["Status"] == "COMPLETED"
        ]
        if made:
            return None if _recent(max(made)) else f"was last copied at {max(made):%Y-%m-%d %H:%M}"
        instance = aws("rds").describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]
        if _recent(instance["InstanceCreateTime"]):
            raise UnaskedError("it is younger than the first copy")
        return "has no copy in the vault"

    each(declared.values("aws:rds/instance:Instance", "identifier") if vaults else [], judge)


def test_no_copies_elsewhere(each: Each, declared: Declared, aws: Account) -> None:
    """No plan copies to a vault of another region or account."""

    def judge(name: str) -> list[str]:
        listed = aws.every("backup", "list_backup_plans", "BackupPlansList")
        ids = [one["BackupPlanId"] for one in listed if one["BackupPlanName"] == name]
        rules = [rule for one in ids for rule in aws("backup").get_backup_plan(BackupPlanId=one)["BackupPlan"]["Rules"]]
        return [
            f"copies to {copy['DestinationBackupVaultArn']}"
            for rule in rules
            for copy in rule.get("CopyActions", [])
            if copy["DestinationBackupVaultArn"].split(":")[3] != aws.region
        ]

    each(declared.values("aws:backup/plan:Plan", "name"), judge)


def _recent(time: dt.datetime) -> bool:
    return dt.datetime.now(dt.UTC) - time < dt.timedelta(hours=_HOURS)
