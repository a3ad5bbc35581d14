"""The databases of the account."""

from typing import Any

from verify.account import Account
from verify.asked import Each
from verify.declared import Declared, Inputs, known

_INSTANCE = "aws:rds/instance:Instance"
_TLS = {"rds.force_ssl": "1", "require_secure_transport": "1"}


def test_available(each: Each, declared: Declared, aws: Account) -> None:
    """Every database is there, and available."""

    def judge(inputs: Inputs) -> str | None:
        status = _live(aws, inputs)["DBInstanceStatus"]
        return None if status == "available" else f"is {status}"

    each(_instances(declared), judge)


def test_private(each: Each, declared: Declared, aws: Account) -> None:
    """No database is reached from outside the network."""
    each(
        _instances(declared),
        lambda inputs: "is publicly accessible" if _live(aws, inputs).get("PubliclyAccessible") else None,
    )


def test_encrypted(each: Each, declared: Declared, aws: Account) -> None:
    """Every database is encrypted by a key of the stack's own."""

    def judge(inputs: Inputs) -> str | None:
        found = _live(aws, inputs)
        return aws.own_key(found.get("KmsKeyId")) if found.get("StorageEncrypted") else "is not encrypted"

    each(_instances(declared), judge)


def test_backups(each: Each, declared: Declared, aws: Account) -> None:
    """Every database is copied each day, and the copies are kept for as long as declared."""

    def judge(inputs: Inputs) -> str | None:
        days, wanted = _live(aws, inputs).get("BackupRetentionPeriod", 0), inputs["backupRetentionPeriod"]
        return None if days == wanted > 0 else f"keeps {days} days instead of {wanted}"

    each(_instances(declared), judge)


def test_protected(each: Each, declared: Declared, aws: Account) -> None:
    """No database that is declared so can be deleted by mistake."""

    def judge(inputs: Inputs) -> str | None:
        return None if _live(aws, inputs).get("DeletionProtection") else "can be deleted"

    each({name: found for name, found in _instances(declared).items() if found.get("deletionProtection")}, judge)


def test_zones(each: Each, declared: Declared, aws: Account) -> None:
    """Every database that is declared so has a standby in another zone."""

    def judge(inputs: Inputs) -> str | None:
        return None if _live(aws, inputs).get("MultiAZ") else "is in one zone"

    each({name: found for name, found in _instances(declared).items() if found.get("multiAz")}, judge)


def test_tls(each: Each, declared: Declared, aws: Account) -> None:
    """Every database refuses what comes without TLS."""

    def judge(name: str) -> str | None:
        found = aws.every("rds", "describe_db_parameters", "Parameters", DBParameterGroupName=name)
        live = {one["ParameterName"]: str(one.get("ParameterValue")).upper() for one in found}
        on = [key for key in _TLS if live.get(key) in ("1", "ON", "TRUE")]
        return None if on else "neither rds.force_ssl nor require_secure_transport is on"

    each(declared.values("aws:rds/parameterGroup:ParameterGroup", "name"), judge)


def test_parameters_in_force(each: Each, declared: Declared, aws: Account) -> None:
    """Every database runs with the declared parameters, and waits for no restart."""

    def judge(inputs: Inputs) -> list[str]:
        groups = {one["DBParameterGroupName"]: one for one in _live(aws, inputs).get("DBParameterGroups", [])}
        wanted = inputs["parameterGroupName"]
        if wanted not in groups:
            return [f"runs with {', '.join(groups)} instead of {wanted}"]
        status = groups[wanted]["ParameterApplyStatus"]
        return [] if status == "in-sync" else [f"its parameters are {status}"]

    each(_instances(declared), judge)


def test_logs(each: Each, declared: Declared, aws: Account) -> None:
    """Every database exports the declared logs."""

    def judge(inputs: Inputs) -> list[str]:
        live = _live(aws, inputs).get("EnabledCloudwatchLogsExports", [])
        return [f"does not export {name}" for name in inputs["enabledCloudwatchLogsExports"] if name not in live]

    each(
        {name: found for name, found in _instances(declared).items() if found.get("enabledCloudwatchLogsExports")},
        judge,
    )


def test_passwords(each: Each, declared: Declared, aws: Account) -> None:
    """The first user's password is made and rotated by RDS, and encrypted by a key of the stack's own."""

    def judge(inputs: Inputs) -> str | None:
        secret = _live(aws, inputs).get("MasterUserSecret")
        return aws.own_key(secret.get("KmsKeyId")) if secret else "RDS does not manage its password"

    each({name: found for name, found in _instances(declared).items() if found.get("manageMasterUserPassword")}, judge)


def test_version(each: Each, declared: Declared, aws: Account) -> None:
    """Every database runs the declared version of its engine."""

    def judge(inputs: Inputs) -> str | None:
        live, wanted = str(_live(aws, inputs)["EngineVersion"]), str(inputs["engineVersion"])
        return None if live == wanted or live.startswith(f"{wanted}.") else f"runs {live} instead of {wanted}"

    each(_instances(declared), judge)


def _instances(declared: Declared) -> dict[str, Inputs]:
    return {name: inputs for name, inputs in declared.of(_INSTANCE).items() if known(inputs.get("identifier"))}


def _live(aws: Account, inputs: Inputs) -> dict[str, Any]:
    found: dict[str, Any] = aws("rds").describe_db_instances(DBInstanceIdentifier=inputs["identifier"])["DBInstances"][
        0
    ]
    return found
