"""What is stored is encrypted with the stack's own keys; what travels is encrypted with TLS."""

import re

from policies import iam, pods
from policies.conditions import among, at_least, both, is_true, present, when
from policies.controls import AT_REST, IN_TRANSIT, KEYS
from policies.graph import Graph
from policies.model import SECRET, Faults, Resource, Rule, Severity, is_unknown

_HIGH, _CRITICAL, _MEDIUM = Severity.HIGH, Severity.CRITICAL, Severity.MEDIUM
_BUCKET = "aws:s3/bucket:Bucket"
_WHY_KEY = "Only a key of one's own can be closed, audited and destroyed; Amazon's default keys cannot."
_WHY_TLS = "On the way anyone between can read and change what is not encrypted."
_PLAIN_SCHEMES = ("http", "redis", "mysql", "amqp", "ftp", "ldap", "mongodb")
_OWN_STORES = re.compile(r"\b(postgres(?:ql)?(?:\+\w+)?)://[^\s\"']+sslmode=(disable|allow|prefer|require)\b")


def _customer_key(resource: Resource, graph: Graph) -> Faults:
    found = graph.attached(
        resource,
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        "bucket",
    )
    if not found:
        yield "no encryption is configured for it"
    for one in found:
        if one.value("rules.applyServerSideEncryptionByDefault.sseAlgorithm") not in ("aws:kms", "aws:kms:dsse"):
            yield "its encryption is not aws:kms"
        elif not one.has("rules.applyServerSideEncryptionByDefault.kmsMasterKeyId"):
            yield "its encryption names no key, so that Amazon's default key is used"


def _denies(resource: Resource, graph: Graph, key: str, value: str) -> bool:
    """Whether the bucket's policy refuses everyone everything where a condition holds."""
    for policy in graph.attached(resource, "aws:s3/bucketPolicy:BucketPolicy", "bucket"):
        for statement in iam.statements(iam.document(policy, "policy")):
            whole = any(action in ("s3:*", "*") for action in statement.actions) and statement.anyone
            covers = any(one.endswith("/*") or one == "*" for one in statement.resources)
            asked = [values for block in statement.condition.values() for name, values in block.items() if name == key]
            if not statement.allows and whole and covers and (value,) in asked:
                return True
    return False


def _tls_only(resource: Resource, graph: Graph) -> Faults:
    if not _denies(resource, graph, "aws:securetransport", "false"):
        yield "its policy does not refuse requests without TLS"


def _modern_tls(resource: Resource, graph: Graph) -> Faults:
    if not _denies(resource, graph, "s3:tlsversion", "1.2"):
        yield "its policy does not refuse TLS before 1.2"


def _key_policy(resource: Resource, _graph: Graph) -> Faults:
    try:
        found = iam.document(resource, "policy")
    except iam.Malformed as fault:
        yield str(fault)
        return
    for statement in iam.statements(found):
        if statement.allows and statement.anyone and not statement.condition:
            yield "its policy lets everyone use it"


def _parameters(resource: Resource, graph: Graph) -> Faults:
    engine = str(resource.value("engine", ""))
    wanted = {"postgres": ("rds.force_ssl", ("1", "on")), "mysql": ("require_secure_transport", ("1", "ON", "on"))}
    if not engine.startswith(tuple(wanted)):
        return
    name, values = next(value for key, value in wanted.items() if engine.startswith(key))
    groups = graph.targets(resource, "parameterGroupName") or graph.named(
        "aws:rds/parameterGroup:ParameterGroup", "name", resource.inputs.get("parameterGroupName")
    )
    set_to = {
        str(one.get("name")): str(one.get("value"))
        for group in groups
        for one in group.inputs.get("parameters") or ()
        if isinstance(one, dict)
    }
    if set_to.get(name) not in values:
        yield f"its parameter group does not set {name}, so that connections without TLS are accepted"


_AUTHORITIES = ("rds-ca-rsa2048-g1", "rds-ca-rsa4096-g1", "rds-ca-ecc384-g1")


def _authority(resource: Resource, _graph: Graph) -> Faults:
    found = resource.value("caCertIdentifier")
    if found is not None and found not in _AUTHORITIES:
        yield "its certificate is of an authority that has lapsed"


def _password(resource: Resource, _graph: Graph) -> Faults:
    for key in ("password", "masterPassword", "authToken", "secretString", "masterUserPassword"):
        value = resource.inputs.get(key)
        if isinstance(value, str) and value != SECRET and not is_unknown(value):
            yield f"{key} is written in clear"


def _managed_password(resource: Resource, _graph: Graph) -> Faults:
    if not resource.has("manageMasterUserPassword") and not resource.has("replicateSourceDb"):
        yield "RDS does not hold the master password itself, so that it is in the stack's state"


def _ebs(resource: Resource, _graph: Graph) -> Faults:
    disks = [one.get("ebs") for one in resource.inputs.get("blockDeviceMappings") or () if isinstance(one, dict)]
    for disk in disks:
        if not isinstance(disk, dict) or str(disk.get("encrypted")).lower() != "true":
            yield "a disk is not encrypted"
        elif not disk.get("kmsKeyId"):
            yield "a disk is encrypted with Amazon's default key"
    if not disks:
        yield "it names no disk, so that the image's own is used, which is not encrypted"


def _node_class(resource: Resource, _graph: Graph) -> Faults:
    disks = [one.get("ebs") for one in resource.each("spec.blockDeviceMappings") if isinstance(one, dict)]
    for disk in disks:
        if not isinstance(disk, dict) or disk.get("encrypted") is not True:
            yield "a disk is not encrypted"
        elif not disk.get("kmsKeyID"):
            yield "a disk is encrypted with Amazon's default key"
    if not disks:
        yield "it names no disk, so that the image's own is used"


def _eks_secrets(resource: Resource, _graph: Graph) -> Faults:
    if not resource.has("encryptionConfig.provider.keyArn"):
        yield "encryptionConfig.provider.keyArn is absent"
    elif "secrets" not in resource.each("encryptionConfig.resources"):
        yield "encryptionConfig.resources lacks secrets"


def _msk_tls(resource: Resource, _graph: Graph) -> Faults:
    if resource.value("encryptionInfo.encryptionInTransit.clientBroker", "TLS") != "TLS":
        yield "clients may connect without TLS"
    if resource.value("encryptionInfo.encryptionInTransit.inCluster", True) is not True:
        yield "brokers talk to each other without TLS"


def _search_tls(resource: Resource, _graph: Graph) -> Faults:
    if resource.value("domainEndpointOptions.enforceHttps") is not True:
        yield "HTTP is not refused"
    if "TLS-1-2" not in str(resource.value("domainEndpointOptions.tlsSecurityPolicy", "")):
        yield "TLS before 1.2 is accepted"
    if resource.value("nodeToNodeEncryption.enabled") is not True:
        yield "nodes talk to each other without TLS"


def _storage_class(resource: Resource, _graph: Graph) -> Faults:
    if resource.value("provisioner") not in ("ebs.csi.aws.com", "efs.csi.aws.com", "kubernetes.io/aws-ebs"):
        return
    if str(resource.value("parameters.encrypted", "")).lower() != "true":
        yield "volumes are not encrypted"
    if not resource.has("parameters.kmsKeyId"):
        yield "volumes are encrypted with Amazon's default key"


def _listeners(resource: Resource, _graph: Graph) -> Faults:
    for listener in resource.each("spec.listeners"):
        if not isinstance(listener, dict):
            continue
        if listener.get("protocol") not in ("HTTPS", "TLS"):
            yield f"listener {listener.get('name')} takes {listener.get('protocol')}"
        elif not (listener.get("tls") or {}).get("certificateRefs"):
            yield f"listener {listener.get('name')} has no certificate"


def _balancer(resource: Resource, _graph: Graph) -> Faults:
    protocol = resource.value("protocol")
    redirects = [one.get("type") for one in resource.inputs.get("defaultActions") or () if isinstance(one, dict)]
    if protocol in ("HTTP", "TCP", "UDP") and redirects != ["redirect"]:
        yield f"it takes {protocol}"


def _client_tls(resource: Resource, _graph: Graph) -> Faults:
    low = str(resource.value("spec.tls.minVersion", "1.2"))
    if low not in ("1.2", "1.3"):
        yield f"TLS {low} is accepted"


def _database_clients(resource: Resource, _graph: Graph) -> Faults:
    for pod in pods.pods(resource):
        for container in pod.containers():
            values = {
                str(one.get("name")): one.get("value")
                for one in container.spec.get("env") or ()
                if isinstance(one, dict)
            }
            if "PGHOST" in values and values.get("PGSSLMODE") not in ("verify-full", "verify-ca"):
                yield f"{container.name} does not verify who its database is: PGSSLMODE is not verify-full"
            for name, value in values.items():
                if isinstance(value, str) and _OWN_STORES.search(value):
                    yield f"{container.name}: {name} does not verify who its database is"


def _cache_clients(resource: Resource, _graph: Graph) -> Faults:
    for path, text in resource.texts():
        for line in text.splitlines():
            connects = re.search(r"connection_string:\s*(\S*:\d+\S*)", line)
            if connects and "ssl=true" not in connects[1].lower():
                yield f"{path.partition('.')[0]}: the online store is reached without TLS"
        if re.search(r"\bredis://(?!localhost|127\.)[^\s]+", text):
            yield f"{path} reaches a cache without TLS"


def _verification(resource: Resource, _graph: Graph) -> Faults:
    for path, text in resource.texts():
        key = path.rpartition(".")[2].lower()
        if key in ("insecureskipverify", "insecure_skip_verify", "skipverify") and text.lower() == "true":
            yield f"{path} accepts any certificate"
    for path, value in _flags(resource.inputs):
        if value is True and path.rpartition(".")[2].lower() in (
            "insecureskipverify",
            "insecure_skip_verify",
            "skiptlsverify",
            "insecure_skip_tls_verify",
            "tlsinsecureskipverify",
            "insecureskiptlsverify",
        ):
            yield f"{path} accepts any certificate"


def _flags(value: object, path: str = "") -> list[tuple[str, bool]]:
    if isinstance(value, bool):
        return [(path, value)]
    if isinstance(value, dict):
        return [one for key, item in value.items() for one in _flags(item, f"{path}.{key}" if path else str(key))]
    if isinstance(value, list):
        return [one for index, item in enumerate(value) for one in _flags(item, f"{path}[{index}]")]
    return []


def _api_server(resource: Resource, _graph: Graph) -> Faults:
    if str(resource.value("clusterIdentifier", "")).startswith("http://"):
        yield "the API server is reached without TLS"
    config = str(resource.inputs.get("kubeconfig") or "")
    if re.search(r"insecure-skip-tls-verify\"?\s*:\s*true", config):
        yield "its kubeconfig accepts any certificate"


def _window(resource: Resource, graph: Graph) -> Faults:
    minimum = 30 if graph.settings.production else 7
    return at_least("deletionWindowInDays", minimum)(resource, graph)


RULES: tuple[Rule, ...] = (
    Rule(
        id="kms-rotation",
        title="Keys rotate",
        severity=_HIGH,
        types=("aws:kms/key:Key",),
        why="A key that never changes protects everything that was ever written with it.",
        remedy="Leave enable_key_rotation true in infra/substrates/aws/keys.py; the period is "
        "substrate.keys.rotation_days.",
        controls=KEYS,
        judge=when(
            lambda key, _graph: key.value("customerMasterKeySpec", "SYMMETRIC_DEFAULT") == "SYMMETRIC_DEFAULT",
            is_true("enableKeyRotation"),
        ),
        known_as=("CKV_AWS_7",),
    ),
    Rule(
        id="kms-rotation-period",
        title="Keys rotate at least once a year",
        severity=_MEDIUM,
        types=("aws:kms/key:Key",),
        why="The longer a period, the more one leaked key opens.",
        remedy="Set substrate.keys.rotation_days to 365 or less in stacks/Pulumi.<stack>.yaml.",
        controls=KEYS,
        judge=lambda resource, _graph: (
            [f"rotationPeriodInDays is {resource.value('rotationPeriodInDays')}, above 365"]
            if int(resource.value("rotationPeriodInDays", 365)) > 365
            else []
        ),
    ),
    Rule(
        id="kms-policy-everyone",
        title="No key is open to everyone",
        severity=_CRITICAL,
        types=("aws:kms/key:Key", "aws:kms/keyPolicy:KeyPolicy"),
        why="Whoever may use the key may read the data.",
        remedy="Name principals in infra/substrates/aws/keys.py.",
        controls=KEYS,
        judge=_key_policy,
        known_as=("CKV_AWS_33",),
    ),
    Rule(
        id="kms-deletion-window",
        title="The deletion of a key can be taken back for a month",
        severity=_HIGH,
        types=("aws:kms/key:Key",),
        why="With the key all that it encrypts is gone, copies included.",
        remedy="Set substrate.keys.deletion_days to 30 in stacks/Pulumi.<stack>.yaml (7 outside production).",
        controls=KEYS,
        judge=_window,
    ),
    Rule(
        id="kms-enabled",
        title="Keys are in use",
        severity=_MEDIUM,
        types=("aws:kms/key:Key",),
        why="A disabled key makes its data unreadable, and hides that it is needed.",
        remedy="Remove is_enabled from the key in infra/substrates/aws/keys.py.",
        controls=KEYS,
        judge=lambda resource, _graph: ["isEnabled is false"] if resource.value("isEnabled") is False else [],
    ),
    Rule(
        id="s3-customer-key",
        title="Buckets are encrypted with a key of the stack",
        severity=_HIGH,
        types=(_BUCKET,),
        why=_WHY_KEY,
        remedy="Configure aws:kms with a key of substrate.keys for it in infra/substrates/aws/buckets.py.",
        controls=AT_REST,
        judge=_customer_key,
        known_as=("CKV_AWS_145",),
    ),
    Rule(
        id="s3-tls",
        title="Buckets refuse requests without TLS",
        severity=_HIGH,
        types=(_BUCKET,),
        why=_WHY_TLS,
        remedy="Refuse aws:SecureTransport false in its policy: infra/substrates/aws/buckets.py.",
        controls=IN_TRANSIT,
        judge=_tls_only,
        known_as=("CKV_AWS_379",),
    ),
    Rule(
        id="s3-tls-version",
        title="Buckets refuse TLS before 1.2",
        severity=_MEDIUM,
        types=(_BUCKET,),
        why="Older versions are broken.",
        remedy="Refuse s3:TlsVersion below 1.2 in its policy: infra/substrates/aws/buckets.py.",
        controls=IN_TRANSIT,
        judge=_modern_tls,
    ),
    Rule(
        id="rds-encrypted",
        title="Databases are encrypted with a key of the stack",
        severity=_CRITICAL,
        types=("aws:rds/cluster:Cluster", "aws:rds/instance:Instance"),
        why=_WHY_KEY,
        remedy="Leave storage_encrypted true and kms_key_id set in infra/substrates/aws/databases.py.",
        controls=AT_REST,
        judge=both(is_true("storageEncrypted"), present("kmsKeyId")),
        known_as=("CKV_AWS_16", "CKV_AWS_327"),
    ),
    Rule(
        id="rds-tls",
        title="Databases refuse connections without TLS",
        severity=_HIGH,
        types=("aws:rds/instance:Instance",),
        why=_WHY_TLS,
        remedy="Set rds.force_ssl (PostgreSQL) or require_secure_transport (MySQL) in the parameter group: "
        "infra/substrates/aws/databases.py.",
        controls=IN_TRANSIT,
        judge=both(_parameters, _authority),
    ),
    Rule(
        id="rds-managed-password",
        title="No one knows the master password of a database",
        severity=_HIGH,
        types=("aws:rds/cluster:Cluster", "aws:rds/instance:Instance"),
        why="A password in the state can be read by everyone who can read the state.",
        remedy="Set manage_master_user_password and its key in infra/substrates/aws/databases.py.",
        controls=("pdpl-20", "iso-5.17", "ia-t5.2.2", "gdpr-32"),
        judge=_managed_password,
    ),
    Rule(
        id="secret-in-clear",
        title="No password is written in clear",
        severity=_CRITICAL,
        types=("aws:*",),
        why="What the program, the state and the log hold in clear is known to all who read one of them.",
        remedy="Make it a secret output, or let the service make it: infra/substrates/aws.",
        controls=("pdpl-20", "iso-5.17", "ia-t5.2.2", "gdpr-32"),
        judge=_password,
    ),
    Rule(
        id="cache-encrypted",
        title="Caches are encrypted with a key of the stack",
        severity=_HIGH,
        types=("aws:elasticache/replicationGroup:ReplicationGroup",),
        why="Online features are personal data, and snapshots hold them all.",
        remedy="Leave at_rest_encryption_enabled true and kms_key_id set in infra/substrates/aws/cache.py.",
        controls=AT_REST,
        judge=both(is_true("atRestEncryptionEnabled"), present("kmsKeyId")),
        known_as=("CKV_AWS_29", "CKV_AWS_191"),
    ),
    Rule(
        id="cache-tls",
        title="Caches refuse connections without TLS",
        severity=_HIGH,
        types=("aws:elasticache/replicationGroup:ReplicationGroup",),
        why=_WHY_TLS,
        remedy="Leave transit_encryption_enabled true and the mode required in infra/substrates/aws/cache.py.",
        controls=IN_TRANSIT,
        judge=both(
            is_true("transitEncryptionEnabled"),
            lambda resource, _graph: (
                ["transitEncryptionMode is preferred, so that TLS is optional"]
                if resource.value("transitEncryptionMode") == "preferred"
                else []
            ),
        ),
        known_as=("CKV_AWS_30",),
    ),
    Rule(
        id="ebs-encrypted",
        title="Disks of machines are encrypted with a key of the stack",
        severity=_HIGH,
        types=("aws:ec2/launchTemplate:LaunchTemplate",),
        why=_WHY_KEY,
        remedy="Leave encrypted true and kms_key_id set in infra/substrates/aws/cluster.py.",
        controls=AT_REST,
        judge=_ebs,
        known_as=("CKV_AWS_189",),
    ),
    Rule(
        id="node-class-encrypted",
        title="Disks of nodes that Karpenter makes are encrypted with a key of the stack",
        severity=_HIGH,
        types=("kubernetes:karpenter.k8s.aws/v1:EC2NodeClass",),
        why=_WHY_KEY,
        remedy="Leave encrypted true and kmsKeyID set in the node classes: infra/addons/karpenter.py.",
        controls=AT_REST,
        judge=_node_class,
    ),
    Rule(
        id="volume-encrypted",
        title="Volumes and file systems are encrypted with a key of the stack",
        severity=_HIGH,
        types=("aws:ebs/volume:Volume", "aws:efs/fileSystem:FileSystem"),
        why=_WHY_KEY,
        remedy="Set encrypted and kms_key_id in infra/substrates/aws.",
        controls=AT_REST,
        judge=both(is_true("encrypted"), present("kmsKeyId")),
        known_as=("CKV_AWS_3", "CKV_AWS_42", "CKV_AWS_184"),
    ),
    Rule(
        id="storage-class-encrypted",
        title="Volumes of pods are encrypted with a key of the stack",
        severity=_HIGH,
        types=("kubernetes:storage.k8s.io/v1:StorageClass",),
        why=_WHY_KEY,
        remedy="Set encrypted and kmsKeyId in the storage class of the substrate.",
        controls=AT_REST,
        judge=_storage_class,
    ),
    Rule(
        id="ecr-encrypted",
        title="Images are encrypted with a key of the stack",
        severity=_MEDIUM,
        types=("aws:ecr/repository:Repository", "aws:ecr/repositoryCreationTemplate:RepositoryCreationTemplate"),
        why="An image can hold models and code.",
        remedy="Leave the encryption KMS and its key set in infra/substrates/aws/registry.py.",
        controls=AT_REST,
        judge=both(among("encryptionConfigurations.encryptionType", "KMS"), present("encryptionConfigurations.kmsKey")),
        known_as=("CKV_AWS_136",),
    ),
    Rule(
        id="msk-encrypted",
        title="Brokers are encrypted with a key of the stack",
        severity=_HIGH,
        types=("aws:msk/cluster:Cluster",),
        why=_WHY_KEY,
        remedy="Set encryption_at_rest_kms_key_arn in infra/substrates/aws.",
        controls=AT_REST,
        judge=present("encryptionInfo.encryptionAtRestKmsKeyArn"),
        known_as=("CKV_AWS_81",),
    ),
    Rule(
        id="msk-tls",
        title="Brokers talk over TLS alone",
        severity=_HIGH,
        types=("aws:msk/cluster:Cluster",),
        why=_WHY_TLS,
        remedy="Set client_broker to TLS and in_cluster to true in infra/substrates/aws.",
        controls=IN_TRANSIT,
        judge=_msk_tls,
        known_as=("CKV_AWS_81",),
    ),
    Rule(
        id="search-encrypted",
        title="Search domains are encrypted with a key of the stack",
        severity=_HIGH,
        types=("aws:opensearch/domain:Domain",),
        why="Logs hold identifiers.",
        remedy="Set encrypt_at_rest and its key in infra/substrates/aws.",
        controls=AT_REST,
        judge=both(is_true("encryptAtRest.enabled"), present("encryptAtRest.kmsKeyId")),
        known_as=("CKV_AWS_5", "CKV_AWS_247"),
    ),
    Rule(
        id="search-tls",
        title="Search domains talk over TLS 1.2 alone",
        severity=_HIGH,
        types=("aws:opensearch/domain:Domain",),
        why=_WHY_TLS,
        remedy="Enforce HTTPS, a TLS 1.2 policy and node-to-node encryption in infra/substrates/aws.",
        controls=IN_TRANSIT,
        judge=_search_tls,
        known_as=("CKV_AWS_83", "CKV_AWS_6", "CKV_AWS_228"),
    ),
    Rule(
        id="secret-customer-key",
        title="Secrets are encrypted with a key of the stack",
        severity=_HIGH,
        types=("aws:secretsmanager/secret:Secret",),
        why=_WHY_KEY,
        remedy="Set kms_key_id on the secret in infra/substrates/aws.",
        controls=AT_REST,
        judge=present("kmsKeyId"),
        known_as=("CKV_AWS_149",),
    ),
    Rule(
        id="topic-customer-key",
        title="Topics are encrypted with a key of the stack",
        severity=_MEDIUM,
        types=("aws:sns/topic:Topic",),
        why="Alarms name what is wrong, and where.",
        remedy="Set kms_master_key_id in infra/substrates/aws/alarms.py.",
        controls=AT_REST,
        judge=present("kmsMasterKeyId"),
        known_as=("CKV_AWS_26",),
    ),
    Rule(
        id="queue-encrypted",
        title="Queues are encrypted",
        severity=_MEDIUM,
        types=("aws:sqs/queue:Queue",),
        why=_WHY_KEY,
        remedy="Set kms_master_key_id, or sqs_managed_sse_enabled, on the queue in infra/substrates/aws.",
        controls=AT_REST,
        judge=lambda resource, _graph: (
            []
            if resource.has("kmsMasterKeyId") or resource.value("sqsManagedSseEnabled") is True
            else ["neither kmsMasterKeyId nor sqsManagedSseEnabled is set"]
        ),
        known_as=("CKV_AWS_27",),
    ),
    Rule(
        id="log-group-customer-key",
        title="Log groups are encrypted with a key of the stack",
        severity=_MEDIUM,
        types=("aws:cloudwatch/logGroup:LogGroup",),
        why="Logs hold identifiers.",
        remedy="Set kms_key_id on the log group in infra/substrates/aws.",
        controls=AT_REST,
        judge=present("kmsKeyId"),
        known_as=("CKV_AWS_158",),
    ),
    Rule(
        id="trail-customer-key",
        title="The trail is encrypted with a key of the stack",
        severity=_HIGH,
        types=("aws:cloudtrail/trail:Trail",),
        why="It tells who did what, and so how to do it.",
        remedy="Set kms_key_id in infra/substrates/aws/audit.py.",
        controls=AT_REST,
        judge=present("kmsKeyId"),
        known_as=("CKV_AWS_35",),
    ),
    Rule(
        id="vault-customer-key",
        title="Backups are encrypted with a key of the stack",
        severity=_HIGH,
        types=("aws:backup/vault:Vault",),
        why="A backup is the data.",
        remedy="Set kms_key_arn in infra/substrates/aws/backup.py.",
        controls=AT_REST,
        judge=present("kmsKeyArn"),
        known_as=("CKV_AWS_166",),
    ),
    Rule(
        id="eks-secrets-key",
        title="Secrets of the cluster are encrypted with a key of the stack",
        severity=_HIGH,
        types=("aws:eks/cluster:Cluster",),
        why="Without it they lie readable in the cluster's own store.",
        remedy="Leave encryption_config in infra/substrates/aws/cluster.py.",
        controls=(*AT_REST, "cis-eks-5.3.1"),
        judge=_eks_secrets,
        known_as=("CKV_AWS_58",),
    ),
    Rule(
        id="gateway-https",
        title="The gateway takes HTTPS alone",
        severity=_CRITICAL,
        types=("kubernetes:gateway.networking.k8s.io/v1:Gateway",),
        why=_WHY_TLS,
        remedy="Set gateway.public.tls in stacks/Pulumi.<stack>.yaml.",
        controls=(*IN_TRANSIT, "cis-eks-5.4.5"),
        judge=_listeners,
    ),
    Rule(
        id="gateway-tls-version",
        title="The gateway refuses TLS before 1.2",
        severity=_MEDIUM,
        types=("kubernetes:gateway.envoyproxy.io/v1alpha1:ClientTrafficPolicy",),
        why="Older versions are broken.",
        remedy="Set spec.tls.minVersion to 1.2 in infra/substrates/kubernetes/gateway.py.",
        controls=IN_TRANSIT,
        judge=_client_tls,
    ),
    Rule(
        id="ingress-https",
        title="Ingresses and load balancers take HTTPS alone",
        severity=_HIGH,
        types=(
            "aws:lb/listener:Listener",
            "aws:alb/listener:Listener",
            "kubernetes:networking.k8s.io/v1:Ingress",
        ),
        why=_WHY_TLS,
        remedy="Use the platform's gateway: infra/services/gateway.py.",
        controls=(*IN_TRANSIT, "cis-eks-5.4.5"),
        judge=lambda resource, graph: (
            (["spec.tls is absent"] if not resource.has("spec.tls") else [])
            if resource.type.startswith("kubernetes:")
            else _balancer(resource, graph)
        ),
        known_as=("CKV_AWS_2",),
    ),
    Rule(
        id="database-client-tls",
        title="Clients verify who their database is",
        severity=_HIGH,
        types=pods.TYPES,
        why="TLS without verification talks to whoever answers.",
        remedy="Give verify-full and the authority: substrate.stores.postgresql.authority in "
        "stacks/Pulumi.<stack>.yaml, "
        "or infra/substrates/aws/stores.py.",
        controls=IN_TRANSIT,
        judge=_database_clients,
    ),
    Rule(
        id="cache-client-tls",
        title="Clients reach the cache over TLS",
        severity=_HIGH,
        types=("kubernetes:core/v1:ConfigMap", *pods.TYPES),
        why=_WHY_TLS,
        remedy="Leave ssl=true in the online store: infra/services/feature_server.py.",
        controls=IN_TRANSIT,
        judge=_cache_clients,
    ),
    Rule(
        id="certificates-verified",
        title="No client accepts any certificate",
        severity=_HIGH,
        types=("kubernetes:*",),
        why="TLS without verification talks to whoever answers.",
        remedy="Remove the flag, and name the authority that signed the certificate.",
        controls=IN_TRANSIT,
        judge=_verification,
    ),
    Rule(
        id="api-server-tls",
        title="The program verifies the cluster that it talks to",
        severity=_HIGH,
        types=("pulumi:providers:kubernetes",),
        why="It sends secrets to whoever answers.",
        remedy="Remove insecure-skip-tls-verify from the kubeconfig that substrate.kubeconfig names.",
        controls=IN_TRANSIT,
        judge=_api_server,
    ),
)
