"""What is lost can be had back, and what is no longer needed is gone."""

import re

from policies.conditions import at_least, both, in_production, is_true, not_true
from policies.controls import BACKUP, CHANGE, ERASURE, RECORDS, RETENTION
from policies.graph import Graph
from policies.model import Faults, Resource, Rule, Severity
from policies.pods import annotation, label
from policies.rules.charts import CHART, label_of_place
from policies.rules.evidence import PERSONAL

_HIGH, _CRITICAL, _MEDIUM, _LOW = Severity.HIGH, Severity.CRITICAL, Severity.MEDIUM, Severity.LOW
_BUCKET = "aws:s3/bucket:Bucket"
_DATABASE = "aws:rds/instance:Instance"
_CACHE = "aws:elasticache/replicationGroup:ReplicationGroup"
_NAMESPACE = "kubernetes:core/v1:Namespace"
_MARK = "falaj.ae/"
"""Begins the labels of namespaces that say what tags say in AWS."""
_HOLDS_DATA = (
    "aws:cloudtrail/trail:Trail",
    "aws:backup/vault:Vault",
    "aws:efs/fileSystem:FileSystem",
    _CACHE,
    "aws:kms/key:Key",
    "aws:msk/cluster:Cluster",
    "aws:opensearch/domain:Domain",
    _DATABASE,
    _BUCKET,
    _NAMESPACE,
)
_TAGGED = (
    "aws:cloudwatch/logGroup:LogGroup",
    "aws:ecr/repository:Repository",
    _CACHE,
    "aws:msk/cluster:Cluster",
    "aws:opensearch/domain:Domain",
    _DATABASE,
    _BUCKET,
    "aws:secretsmanager/secret:Secret",
    CHART,
)
_CLASSES = ("raw", "curated", "features", "artifacts", "inference-log", "audit", "logs", "platform")
_STORAGE = ("storageClass", "storageClassName")
"""Values of charts that name what their volumes are made by."""
_LONGEST = 400
"""Days that a copy may be kept: a year, and a month to notice."""
DEFAULT_TAGS = ("owner", "cost-centre", "purpose", "environment")


def _days(resource: Resource) -> int | None:
    """The retention that its tag promises, in days."""
    tag = str((resource.inputs.get("tags") or {}).get("retention") or "")
    return int(tag[:-1]) if re.fullmatch(r"[0-9]+d", tag) else None


def _versions(resource: Resource, graph: Graph) -> Faults:
    found = graph.attached(resource, "aws:s3/bucketVersioning:BucketVersioning", "bucket")
    if not any(one.value("versioningConfiguration.status") == "Enabled" for one in found):
        yield "what is overwritten or deleted is lost: it keeps no versions"


def _lifecycle(resource: Resource, graph: Graph) -> list[Resource]:
    return graph.attached(resource, "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "bucket")


def _rules(resource: Resource, graph: Graph) -> list[dict[str, object]]:
    return [
        rule
        for one in _lifecycle(resource, graph)
        for rule in one.inputs.get("rules") or ()
        if isinstance(rule, dict) and rule.get("status") == "Enabled"
    ]


def _number(rule: dict[str, object], section: str, key: str) -> int | None:
    found = rule.get(section)
    value = found.get(key) if isinstance(found, dict) else None
    return int(value) if isinstance(value, int | float) else None


def _expires(resource: Resource, graph: Graph) -> Faults:
    whole = [rule for rule in _rules(resource, graph) if not _prefix(rule)]
    ends = [days for rule in whole if (days := _number(rule, "expiration", "days")) is not None]
    if not ends:
        yield "nothing in it ever expires"
        return
    promised = _days(resource)
    later = [
        days for rule in whole if (days := _number(rule, "noncurrentVersionExpiration", "noncurrentDays")) is not None
    ]
    last = min(ends) + (max(later) if later else 0)
    if promised is not None and last > promised:
        yield f"its objects are gone after {last} days, and its tag promises {promised}"


def _prefix(rule: dict[str, object]) -> str:
    found = rule.get("filter")
    return str((found or {}).get("prefix") or rule.get("prefix") or "") if isinstance(found, dict | None) else ""


def _old_versions(resource: Resource, graph: Graph) -> Faults:
    ends = [_number(rule, "noncurrentVersionExpiration", "noncurrentDays") for rule in _rules(resource, graph)]
    if not any(days is not None for days in ends):
        yield "versions of what was deleted are kept for ever, so that nothing is ever erased"


def _multipart(resource: Resource, graph: Graph) -> Faults:
    ends = [_number(rule, "abortIncompleteMultipartUpload", "daysAfterInitiation") for rule in _rules(resource, graph)]
    if not any(days is not None for days in ends):
        yield "pieces of broken uploads are kept, unseen, for ever"


def _erasable(resource: Resource, graph: Graph) -> Faults:
    kind = (resource.inputs.get("tags") or {}).get("data-class")
    locks = graph.attached(resource, "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration", "bucket")
    for lock in locks:
        if kind in PERSONAL and lock.value("rule.defaultRetention.mode") == "COMPLIANCE":
            yield "it holds personal data that no one can erase before the lock ends"
        elif kind in PERSONAL:
            yield "it holds personal data under a lock, which an erasure must break"


def _classified(resource: Resource, graph: Graph) -> Faults:
    if resource.type == CHART:
        keeps = any(path.rpartition(".")[2] in _STORAGE for path, _ in resource.texts())
        if keeps and label_of_place(resource, graph, f"{_MARK}data-class") not in _CLASSES:
            yield "it keeps data in volumes, and its namespace's label falaj.ae/data-class does not say which"
        return
    tags = resource.inputs.get("tags") or {}
    if tags.get("data-class") not in _CLASSES:
        yield "its tag data-class does not say what it holds"
    if _days(resource) is None:
        yield "its tag retention does not say how long"


def _default_tags(resource: Resource, _graph: Graph) -> Faults:
    if resource.type == _NAMESPACE:
        # What no label can hold is an annotation.
        marks = {key: label(resource, _MARK + key) or annotation(resource, _MARK + key) for key in DEFAULT_TAGS}
        unmarked = [_MARK + key for key, value in marks.items() if not value]
        if unmarked:
            yield f"it has no label {', '.join(unmarked)}"
        return
    tags = (resource.inputs.get("defaultTags") or {}).get("tags") or {}
    missing = [key for key in DEFAULT_TAGS if not tags.get(key)]
    if missing:
        yield f"resources get no tag {', '.join(missing)}"


def _log_end(resource: Resource, _graph: Graph) -> Faults:
    if not int(resource.value("retentionInDays", 0)):
        yield "it is kept for ever"


def _plan_covers(resource: Resource, graph: Graph) -> Faults:
    selected: set[str] = set()
    text = ""
    for selection in graph.of("aws:backup/selection:Selection"):
        selected |= {one.urn for one in graph.targets(selection, "resources")}
        text += str(selection.inputs.get("resources"))
    identifier = str(resource.inputs.get("identifier") or resource.name)
    if resource.urn not in selected and f":db:{identifier}" not in text and "'*'" not in text:
        yield "no backup plan covers it"


def _plan_keeps(resource: Resource, _graph: Graph) -> Faults:
    for rule in resource.inputs.get("rules") or ():
        days = (rule.get("lifecycle") or {}).get("deleteAfter") if isinstance(rule, dict) else None
        if not isinstance(days, int | float):
            yield "a rule keeps copies for ever"
        elif days < 7:
            yield f"a rule keeps copies for {days:g} days, less than a week"
        elif days > _LONGEST:
            yield f"a rule keeps copies for {days:g} days, long after the data are gone"
    if not resource.has("rules"):
        yield "it has no rule"


def _vault_copies(resource: Resource, graph: Graph) -> Faults:
    locks = graph.attached(resource, "aws:backup/vaultLockConfiguration:VaultLockConfiguration", "backupVaultName")
    named = graph.referring(resource, "aws:backup/vaultLockConfiguration:VaultLockConfiguration")
    literal = graph.named(
        "aws:backup/vaultLockConfiguration:VaultLockConfiguration", "backupVaultName", resource.inputs.get("name")
    )
    if not (locks or named or literal):
        yield "whoever gets in can delete every copy: it has no lock"
    if not graph.of("aws:backup/plan:Plan"):
        yield "nothing is copied into it: there is no plan"
    policies = graph.of("aws:backup/vaultPolicy:VaultPolicy")
    if not any("backup:CopyFromBackupVault" in str(one.inputs.get("policy")) for one in policies):
        yield "nothing keeps copies from being copied elsewhere: it has no policy that refuses it"


def _protected(resource: Resource, _graph: Graph) -> Faults:
    if resource.type == _NAMESPACE and not label(resource, f"{_MARK}data-class"):
        return
    if resource.options.get("protect") is not True:
        yield "the engine would delete it: it is not protected"


def _snapshot(resource: Resource, _graph: Graph) -> Faults:
    if resource.value("skipFinalSnapshot", False) is True:
        yield "it is deleted without a last snapshot"
    if resource.value("deleteAutomatedBackups") is True:
        yield "its backups are deleted with it"


def _schedules(_resource: Resource, graph: Graph) -> Faults:
    charts = [one for one in graph.of(CHART) if _velero(one) and one.has("values.schedules")]
    if not graph.of("kubernetes:velero.io/v1:Schedule") and not charts:
        yield "nothing copies the cluster's objects and volumes, so that no other cluster could take over"


def _velero(chart: Resource) -> bool:
    return str(chart.inputs.get("chart") or "").rpartition("/")[2] == "velero"


def _velero_end(resource: Resource, _graph: Graph) -> Faults:
    if resource.type == CHART:
        for name, schedule in (resource.value("values.schedules", {}) if _velero(resource) else {}).items():
            if not (schedule.get("template") or {}).get("ttl"):
                yield f"{name}: its copies are kept for Velero's default, which no one chose"
            if schedule.get("paused") is True or schedule.get("disabled") is True:
                yield f"{name}: it makes no copies"
            spaces = (schedule.get("template") or {}).get("includedNamespaces")
            if spaces and not {"*", "falaj"} & set(spaces):
                yield f"{name}: the namespace of the services is not among what it copies"
            hours = re.fullmatch(r"([0-9]+)h(?:0m0s)?", str((schedule.get("template") or {}).get("ttl")))
            if hours and int(hours[1]) > 24 * _LONGEST:
                yield f"{name}: its copies are kept long after the data are gone"
        return
    if resource.type.endswith(":BackupStorageLocation"):
        if resource.value("spec.accessMode", "ReadWrite") == "ReadOnly":
            yield "it takes no copies: accessMode is ReadOnly"
        return
    if not resource.has("spec.template.ttl"):
        yield "its copies are kept for Velero's default, which no one chose"
    if resource.value("spec.paused") is True:
        yield "it is paused"


def _untagged(resource: Resource, graph: Graph) -> Faults:
    if not graph.attached(resource, "aws:ecr/lifecyclePolicy:LifecyclePolicy", "repository"):
        yield "images that no tag names are kept for ever"


RULES: tuple[Rule, ...] = (
    Rule(
        id="s3-versions",
        title="Buckets keep what is overwritten or deleted, for a while",
        severity=_HIGH,
        types=(_BUCKET,),
        why="A wrong command deletes in a second what took years.",
        remedy="Leave the versioning in infra/substrates/aws/buckets.py.",
        controls=BACKUP,
        judge=_versions,
        known_as=("CKV_AWS_21",),
    ),
    Rule(
        id="s3-force-destroy",
        title="Buckets with objects cannot be deleted",
        severity=_HIGH,
        types=(_BUCKET,),
        why="One word in a program would delete all data.",
        remedy="Leave force_destroy false in infra/substrates/aws/buckets.py.",
        controls=BACKUP,
        judge=not_true("forceDestroy"),
    ),
    Rule(
        id="s3-expiry",
        title="What is in a bucket is gone by the day that its tag promises",
        severity=_HIGH,
        types=(_BUCKET,),
        why="Personal data are kept no longer than their purpose needs (PDPL 5).",
        remedy="Set governance.retention in stacks/Pulumi.<stack>.yaml; expiry and versions follow from it.",
        controls=RETENTION,
        judge=_expires,
    ),
    Rule(
        id="s3-old-versions",
        title="Versions of what was deleted end",
        severity=_HIGH,
        types=(_BUCKET,),
        why="An erasure is complete when the last version is gone.",
        remedy="Set substrate.stores.buckets.noncurrent_days in stacks/Pulumi.<stack>.yaml.",
        controls=ERASURE,
        judge=_old_versions,
    ),
    Rule(
        id="s3-multipart",
        title="Pieces of broken uploads end",
        severity=_LOW,
        types=(_BUCKET,),
        why="They hold data that no list shows.",
        remedy="Leave abort_incomplete_multipart_upload in infra/substrates/aws/buckets.py.",
        controls=ERASURE,
        judge=_multipart,
        known_as=("CKV_AWS_300",),
    ),
    Rule(
        id="s3-erasable",
        title="Personal data are under no lock",
        severity=_HIGH,
        types=(_BUCKET,),
        why="Who asks for erasure has a right to it (PDPL 15); what is locked cannot be erased.",
        remedy="Lock the bucket audit alone: infra/substrates/aws/buckets.py.",
        controls=ERASURE,
        judge=_erasable,
    ),
    Rule(
        id="data-classified",
        title="What holds data says which, and for how long",
        severity=_MEDIUM,
        types=_TAGGED,
        why="Keys, retention and rights follow from the class of data.",
        remedy="Give it account.tags(data_class) in infra/substrates/aws, or a chart's namespace a data_class "
        "in infra/addons.",
        controls=RECORDS,
        judge=_classified,
    ),
    Rule(
        id="owner-tags",
        title="Everything says who answers for it, who pays, and its purpose",
        severity=_MEDIUM,
        types=("pulumi:providers:aws", _NAMESPACE),
        why="What belongs to no one is looked after by no one.",
        remedy="Set governance.owner, cost_centre and purpose in stacks/Pulumi.<stack>.yaml.",
        controls=(*RECORDS, "iso-8.6"),
        judge=_default_tags,
    ),
    Rule(
        id="log-retention-end",
        title="Logs end",
        severity=_MEDIUM,
        types=("aws:cloudwatch/logGroup:LogGroup",),
        why="Logs hold identifiers, and are kept no longer than their purpose needs.",
        remedy="Set governance.retention.logs in stacks/Pulumi.<stack>.yaml.",
        controls=RETENTION,
        judge=_log_end,
        known_as=("CKV_AWS_66",),
    ),
    Rule(
        id="ecr-expiry",
        title="Images that no tag names end",
        severity=_LOW,
        types=("aws:ecr/repository:Repository",),
        why="They hold models that were withdrawn.",
        remedy="Set substrate.registry.untagged_days in stacks/Pulumi.<stack>.yaml.",
        controls=RETENTION,
        judge=_untagged,
    ),
    Rule(
        id="rds-backups",
        title="Databases can be restored to any moment of a week",
        severity=_HIGH,
        types=(_DATABASE, "aws:rds/cluster:Cluster"),
        why="A fault is often found days later.",
        remedy="Set substrate.stores.postgresql.backup_days in stacks/Pulumi.<stack>.yaml.",
        controls=BACKUP,
        judge=lambda resource, graph: (
            [] if resource.has("replicateSourceDb") else at_least("backupRetentionPeriod", 7)(resource, graph)
        ),
        known_as=("CKV_AWS_133",),
    ),
    Rule(
        id="rds-deletion-protection",
        title="Databases cannot be deleted by mistake",
        severity=_HIGH,
        types=(_DATABASE, "aws:rds/cluster:Cluster"),
        why="One wrong command would delete every registry.",
        remedy="Set protect to true in stacks/Pulumi.<stack>.yaml.",
        controls=(*BACKUP, *CHANGE),
        judge=in_production(is_true("deletionProtection")),
        known_as=("CKV_AWS_293",),
    ),
    Rule(
        id="rds-final-snapshot",
        title="A database leaves a last snapshot",
        severity=_MEDIUM,
        types=(_DATABASE, "aws:rds/cluster:Cluster"),
        why="What was deleted by mistake can be had back.",
        remedy="Set protect to true in stacks/Pulumi.<stack>.yaml.",
        controls=BACKUP,
        judge=in_production(_snapshot),
    ),
    Rule(
        id="rds-snapshot-tags",
        title="Snapshots say what they hold",
        severity=_LOW,
        types=(_DATABASE, "aws:rds/cluster:Cluster"),
        why="Retention and cost follow from tags.",
        remedy="Leave copy_tags_to_snapshot true in infra/substrates/aws/databases.py.",
        controls=RECORDS,
        judge=is_true("copyTagsToSnapshot"),
        known_as=("CKV2_AWS_60",),
    ),
    Rule(
        id="rds-in-backup-plan",
        title="A backup plan covers each database",
        severity=_HIGH,
        types=(_DATABASE,),
        why="Backups of RDS are gone with whoever may delete them; those of a locked vault are not.",
        remedy="Set substrate.backup in stacks/Pulumi.<stack>.yaml.",
        controls=BACKUP,
        judge=in_production(_plan_covers),
    ),
    Rule(
        id="backup-plan-keeps",
        title="Backup plans keep copies for a week or more, and not for ever",
        severity=_MEDIUM,
        types=("aws:backup/plan:Plan",),
        why="Copies are data, with a retention of their own.",
        remedy="Set substrate.backup.keep_days in stacks/Pulumi.<stack>.yaml.",
        controls=(*BACKUP, *RETENTION),
        judge=_plan_keeps,
    ),
    Rule(
        id="backup-vault-locked",
        title="Copies cannot be deleted before their time",
        severity=_HIGH,
        types=("aws:backup/vault:Vault",),
        why="Ransom is asked after the copies are gone.",
        remedy="Set substrate.backup.lock to true in stacks/Pulumi.<stack>.yaml.",
        controls=BACKUP,
        judge=in_production(_vault_copies),
    ),
    Rule(
        id="backup-vault-force-destroy",
        title="Vaults with copies cannot be deleted",
        severity=_HIGH,
        types=("aws:backup/vault:Vault",),
        why="One word in a program would delete all copies.",
        remedy="Leave force_destroy false in infra/substrates/aws/backup.py.",
        controls=BACKUP,
        judge=not_true("forceDestroy"),
    ),
    Rule(
        id="cache-snapshots",
        title="Online features are copied every day",
        severity=_MEDIUM,
        types=(_CACHE,),
        why="To fill the store again takes hours, in which models answer worse.",
        remedy="Set substrate.stores.cache.snapshot_days in stacks/Pulumi.<stack>.yaml.",
        controls=BACKUP,
        judge=at_least("snapshotRetentionLimit", 1),
        known_as=("CKV_AWS_134",),
    ),
    Rule(
        id="protected",
        title="In production the engine deletes nothing that holds data",
        severity=_HIGH,
        types=_HOLDS_DATA,
        why="A changed name in a program would replace a store by an empty one.",
        remedy="Set protect to true in stacks/Pulumi.<stack>.yaml.",
        controls=(*BACKUP, *CHANGE),
        judge=in_production(_protected),
    ),
    Rule(
        id="eks-deletion-protection",
        title="The cluster cannot be deleted by mistake",
        severity=_MEDIUM,
        types=("aws:eks/cluster:Cluster",),
        why="With it goes all that runs.",
        remedy="Set protect to true in stacks/Pulumi.<stack>.yaml.",
        controls=CHANGE,
        judge=in_production(is_true("deletionProtection")),
    ),
    Rule(
        id="cluster-backup",
        title="The cluster's objects and volumes are copied",
        severity=_HIGH,
        types=("aws:eks/cluster:Cluster", "kubernetes:velero.io/v1:BackupStorageLocation"),
        why="A zone, or the region, can be lost; another cluster in the country can then take over.",
        remedy="Set cluster_backup in stacks/Pulumi.<stack>.yaml.",
        controls=(*BACKUP, "iso-5.30", "ia-t9"),
        judge=in_production(_schedules),
    ),
    Rule(
        id="cluster-backup-kept",
        title="Copies of the cluster are made, and end",
        severity=_MEDIUM,
        types=(
            "kubernetes:velero.io/v1:BackupStorageLocation",
            "kubernetes:velero.io/v1:Schedule",
            CHART,
        ),
        why="Copies are data, with a retention of their own.",
        remedy="Set cluster_backup.keep_days in stacks/Pulumi.<stack>.yaml.",
        controls=(*BACKUP, *RETENTION),
        judge=both(_velero_end),
    ),
    Rule(
        id="ecr-force-delete",
        title="In production repositories with images cannot be deleted",
        severity=_MEDIUM,
        types=("aws:ecr/repository:Repository",),
        why="A running version could not be started again.",
        remedy="Set protect to true in stacks/Pulumi.<stack>.yaml.",
        controls=BACKUP,
        judge=in_production(not_true("forceDelete")),
    ),
    Rule(
        id="secret-recovery",
        title="A deleted secret can be had back",
        severity=_MEDIUM,
        types=("aws:secretsmanager/secret:Secret",),
        why="Without the key of the pseudonyms no subject is found again.",
        remedy="Leave recovery_window_in_days at 7 or more in infra/substrates/aws.",
        controls=BACKUP,
        judge=in_production(
            lambda resource, _graph: (
                ["it is deleted at once"] if int(resource.value("recoveryWindowInDays", 30)) < 7 else []
            )
        ),
    ),
)
