"""Nothing is stored, copied, processed or reported outside the country."""

import re

from policies import pods
from policies.conditions import among, forbidden, not_true
from policies.controls import TRANSFER
from policies.graph import Graph
from policies.model import Faults, Judge, Resource, Rule, Severity, Unknown, is_unknown, leaves
from policies.pipelines import PIPELINE, executors
from policies.places import AWS, OTHERS, foreign_host, host, inside, region_abroad, storage_abroad, urls

_ARN = re.compile(r"\barn:aws[a-z-]*:([a-z0-9-]+):([a-z0-9-]+):([0-9]*):")
_ZONE = re.compile(r"^([a-z]{2}(?:-gov)?-[a-z]+-[0-9])[a-z]$")
STACK = "falaj:file:Stack"
"""The stack's file, as `policies.settings` reads it."""
_NATIVE = "aws:*"
_OBJECTS = "kubernetes:*"
_HERE = "substrate.region, me-central-1, in stacks/Pulumi.<stack>.yaml"
_DATA = (
    "kubernetes:*",
    "pulumi-python:dynamic/local:*",
)
_MOVERS: dict[str, str] = {
    "aws:cloudfront/distribution:Distribution": "caches what it serves all over the world",
    "aws:docdb/globalCluster:GlobalCluster": "is replicated between regions",
    "aws:dsql/clusterPeering:ClusterPeering": "is replicated between regions",
    "aws:dynamodb/globalTable:GlobalTable": "is replicated between regions",
    "aws:elasticache/globalReplicationGroup:GlobalReplicationGroup": "is replicated between regions",
    "aws:globalaccelerator/accelerator:Accelerator": "takes traffic in all over the world",
    "aws:globalaccelerator/customRoutingAccelerator:CustomRoutingAccelerator": "takes traffic in all over the world",
    "aws:kms/replicaExternalKey:ReplicaExternalKey": "is key material of another region",
    "aws:kms/replicaKey:ReplicaKey": "is key material of another region",
    "aws:memorydb/multiRegionCluster:MultiRegionCluster": "is replicated between regions",
    "aws:neptune/globalCluster:GlobalCluster": "is replicated between regions",
    "aws:rds/globalCluster:GlobalCluster": "is replicated between regions",
    "aws:rds/instanceAutomatedBackupsReplication:InstanceAutomatedBackupsReplication": (
        "copies backups to another region"
    ),
    "aws:redshift/snapshotCopy:SnapshotCopy": "copies snapshots to another region",
    "aws:s3control/multiRegionAccessPoint:MultiRegionAccessPoint": "is served from several regions",
}
_ABSENT: dict[str, str] = {
    "aws:auditmanager/*": "Audit Manager",
    "aws:codeartifact/*": "CodeArtifact",
    "aws:detective/*": "Detective",
    "aws:grafana/*": "Managed Grafana",
    "aws:macie2/*": "Macie",
    "aws:memorydb/*": "MemoryDB",
    "aws:opensearch/serverlessCollection:ServerlessCollection": "OpenSearch Serverless",
    "aws:s3/directoryBucket:DirectoryBucket": "S3 Express",
    "aws:securitylake/*": "Security Lake",
    "aws:signer/*": "Signer",
}


def _regions(resource: Resource, _graph: Graph) -> Faults:
    if resource.value("region") not in AWS:
        yield "its region is not me-central-1"


def _own_region(resource: Resource, _graph: Graph) -> Faults:
    found = resource.inputs.get("region")
    if is_unknown(found):
        raise Unknown("region is known only once it exists")
    if isinstance(found, str) and found not in AWS:
        yield f"region is {found}"
    served = re.match(r"com\.amazonaws\.([a-z0-9-]+)\.", str(resource.inputs.get("serviceName") or ""))
    if served and region_abroad(served[1], AWS):
        yield f"it leads to a service in {served[1]}"
    zone = resource.inputs.get("availabilityZone")
    if isinstance(zone, str) and (match := _ZONE.match(zone)) and match[1] not in AWS:
        yield f"availabilityZone is in {match[1]}"
    zone = resource.inputs.get("availabilityZoneId")
    if isinstance(zone, str) and not is_unknown(zone) and not zone.startswith("mec1-"):
        yield "availabilityZoneId is not one of mec1"


def _arns(resource: Resource, _graph: Graph) -> Faults:
    for path, text in resource.texts():
        for service, region, _ in _ARN.findall(text):
            if region_abroad(region, AWS):
                yield f"{path} names a resource of {service} in {region}"


def _hosts(resource: Resource, _graph: Graph) -> Faults:
    for path, text in resource.texts():
        if "amazonaws.com" not in text:
            continue
        for name in re.findall(r"[a-z0-9.-]*amazonaws\.com", text.lower()):
            reason = foreign_host(name.lstrip(".-"))
            if reason:
                yield f"{path} names a host of AWS: {reason}"


def _account(resource: Resource, graph: Graph) -> Faults:
    allowed = resource.each("allowedAccountIds")
    substrate = graph.settings.substrate
    if not allowed:
        yield "allowedAccountIds is empty, so that a wrong login would create everything in another account"
    elif substrate is not None and substrate.account_id and set(map(str, allowed)) != {substrate.account_id}:
        yield "allowedAccountIds is not the account of the stack"


def _replication(resource: Resource, graph: Graph) -> Faults:
    here = {bucket.inputs.get("bucket") for bucket in graph.of("aws:s3/bucket:Bucket")}
    for destination in resource.each("rules.destination.bucket"):
        name = str(destination).rpartition(":")[2]
        if name not in here:
            yield "it copies objects to a bucket that is not of this stack, so of a place that is not known"


def _legacy_replication(resource: Resource, _graph: Graph) -> Faults:
    if resource.has("replicationConfiguration"):
        yield "replicationConfiguration copies objects to another bucket"


def _backup_copies(resource: Resource, _graph: Graph) -> Faults:
    for vault in resource.each("rules.copyActions.destinationVaultArn"):
        match = _ARN.search(str(vault))
        if match is None or region_abroad(match[2], AWS):
            yield "a rule copies backups to a vault of another region"


def _registry_copies(resource: Resource, _graph: Graph) -> Faults:
    for region in resource.each("replicationConfiguration.rules.destinations.region"):
        if region not in AWS:
            yield f"images are copied to {region}"


def _listed(path: str, what: str) -> Judge:
    def judge(resource: Resource, _graph: Graph) -> Faults:
        for region in resource.each(path):
            if str(region) not in AWS:
                yield f"{what} in {region}"

    return judge


def _copies(resource: Resource, _graph: Graph) -> Faults:
    for key in ("sourceRegion", "sourceAmiRegion", "destinationRegion", "sourceDbSnapshotIdentifier"):
        region = region_abroad(str(resource.value(key, "")), AWS)
        if region:
            yield f"{key} is in {region}"


def _replica_of(resource: Resource, _graph: Graph) -> Faults:
    region = region_abroad(str(resource.inputs.get("replicateSourceDb") or ""), AWS)
    if region:
        yield f"it is a replica of a database in {region}"


def _peering(resource: Resource, _graph: Graph) -> Faults:
    region = resource.value("peerRegion")
    if region is not None and region not in AWS:
        yield f"it joins a network in {region}"


def _environment(resource: Resource) -> list[tuple[str, str]]:
    """Plain values of variables and words of commands, with where they are."""
    found = [(path, text) for path, text in leaves(resource.inputs.get("environment") or {}, "environment")]
    found += [(path, text) for path, text in leaves(resource.inputs.get("command") or [], "command")]
    for pod in pods.pods(resource):
        for container in pod.containers():
            for variable in container.spec.get("env") or ():
                if isinstance(variable, dict) and isinstance(variable.get("value"), str):
                    found.append((f"{container.name}: {variable.get('name')}", variable["value"]))
            for key in ("command", "args"):
                found += [(f"{container.name}: {key}", text) for _, text in leaves(container.spec.get(key) or [])]
    return found


def _sites(_resource: Resource, graph: Graph) -> Faults:
    substrate = graph.settings.substrate
    if substrate is not None and substrate.kind == "kubernetes" and substrate.country != "AE":
        yield "the site of the cluster is not in the country"


def _whole_addresses(resource: Resource, graph: Graph) -> Faults:
    """Texts that are an address and nothing else: what explains something holds more."""
    for path, text in resource.texts():
        if re.fullmatch(r"https?://\S+", text):
            for _, rest in urls(text):
                if not inside(host(rest), graph.settings):
                    yield f"{path} is an address outside the country, or of a domain that is not vouched for"


def _accelerated(resource: Resource, _graph: Graph) -> Faults:
    if resource.value("status") == "Enabled":
        yield "uploads go by edge locations abroad"


def _addresses(resource: Resource, graph: Graph) -> Faults:
    for where, text in _environment(resource):
        for _, rest in urls(text):
            if not inside(host(rest), graph.settings):
                yield f"{where} is an address outside the country, or of a domain that policies.domains does not name"


def _services(resource: Resource, _graph: Graph) -> Faults:
    for path, text in resource.texts():
        for scheme, rest in urls(text):
            reason = foreign_host(host(rest))
            if reason and scheme != "oci" and not _is_source(resource, path):
                yield f"{path} is an address abroad: {reason}"


def _is_source(resource: Resource, path: str) -> bool:
    """Whether a place says where code comes from, or explains something: no data goes there."""
    key = path.rpartition(".")[2].lower()
    annotated = ".annotations." in path or key in ("description", "summary", "documentation", "runbook_url")
    return annotated or (
        resource.type.startswith(("kubernetes:helm.sh/", "kubernetes:kustomize"))
        and key
        in (
            "repo",
            "chart",
            "directory",
        )
    )


def _storage(resource: Resource, graph: Graph) -> Faults:
    for path, text in resource.texts():
        for scheme, rest in urls(text):
            if scheme in ("gs", "hf", "wasbs", "abfss"):
                yield f"{path} is a storage address: {storage_abroad(f'{scheme}://{rest}', graph.settings)}"
            elif scheme in ("s3", "s3a"):
                buckets = {bucket.inputs.get("bucket") for bucket in graph.of("aws:s3/bucket:Bucket")}
                if buckets and rest.partition("/")[0] not in (buckets | {"symbol"}):
                    yield f"{path} names a bucket that is not of this stack, so of a place that is not known"


def _cr_hosts(*paths: str) -> Judge:
    def judge(resource: Resource, graph: Graph) -> Faults:
        for path in paths:
            for text in resource.each(path):
                for _, rest in urls(str(text)):
                    if not inside(host(rest), graph.settings):
                        yield f"{path} is an address outside the country, or of a domain that is not vouched for"

    return judge


def _secret_stores(resource: Resource, graph: Graph) -> Faults:
    region = resource.value("spec.provider.aws.region")
    if region is not None and region not in AWS:
        yield f"secrets are read from {region}"
    for provider in ("azurekv", "gcpsm", "akeyless", "doppler", "onepassword", "bitwardensecretsmanager", "infisical"):
        if resource.has(f"spec.provider.{provider}"):
            yield f"secrets are read from {provider}, which is not known to be in the country"
    for server in resource.each("spec.provider.vault.server"):
        for _, rest in urls(str(server)):
            if not inside(host(rest), graph.settings):
                yield "secrets are read from a Vault of a domain that policies.domains does not name"


def _vendor_silence(resource: Resource, _graph: Graph) -> Faults:
    for command, values in _commands(resource):
        for variable, value in _SILENT.items():
            program = variable.partition("_")[0].lower()
            # The image of steps is silent by itself: a step is judged by what it is told.
            asked = variable in values if resource.type == PIPELINE else program in command
            if asked and values.get(variable, "").lower() != value:
                yield f"{program} reports its use to its makers: {variable} is not {value}"


_SILENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "FEAST_USAGE": "false"}
"""Variables by which programs are kept from reporting."""


def _commands(resource: Resource) -> list[tuple[str, dict[str, str]]]:
    found: list[tuple[str, dict[str, str]]] = []
    if resource.type == "pulumi-python:dynamic/local:Process":
        words = resource.inputs.get("command") or [""]
        environment = resource.inputs.get("environment") or {}
        if isinstance(words, list) and isinstance(environment, dict):
            found.append((str(words[0]).rpartition("/")[2], {str(key): str(item) for key, item in environment.items()}))
    specs = [container.spec for pod in pods.pods(resource) for container in pod.containers()]
    if resource.type == PIPELINE:
        specs += [container for _, container in executors(resource)]
    for spec in specs:
        words = spec.get("command") or [""]
        values = {
            str(one.get("name")): str(one.get("value", "")) for one in spec.get("env") or () if isinstance(one, dict)
        }
        found.append((str(words[0] if isinstance(words, list) else words).rpartition("/")[2], values))
    return found


_HIGH, _CRITICAL = Severity.HIGH, Severity.CRITICAL
_WHY = "Personal data may leave the country only with adequacy or safeguards (PDPL 22, 23); law for banks, health and \
government data is stricter."

RULES: tuple[Rule, ...] = (
    Rule(
        id="residency-provider-region",
        title="AWS resources are created in me-central-1",
        severity=_CRITICAL,
        types=("pulumi:providers:aws",),
        why=_WHY,
        remedy=f"Set {_HERE}.",
        controls=TRANSFER,
        judge=_regions,
    ),
    Rule(
        id="residency-provider-account",
        title="Nothing can be created in another account",
        severity=_HIGH,
        types=("pulumi:providers:aws",),
        why="A wrong login would put data where no rule of this stack holds.",
        remedy="Set substrate.account_id in stacks/Pulumi.<stack>.yaml.",
        controls=TRANSFER,
        judge=_account,
    ),
    Rule(
        id="residency-resource-region",
        title="No resource overrides the region",
        severity=_CRITICAL,
        types=(_NATIVE,),
        why="Since version 7 of the AWS provider each resource can name a region of its own, whatever "
        "the provider says.",
        remedy=f"Remove region from the resource in infra/substrates/aws; the region is {_HERE}.",
        controls=TRANSFER,
        judge=_own_region,
    ),
    Rule(
        id="residency-arn",
        title="Nothing refers to a resource of another region",
        severity=_HIGH,
        types=(_NATIVE, _OBJECTS),
        why="A right, a copy or a log destination in another region lets data out.",
        remedy=f"Name a resource of {_HERE}.",
        controls=TRANSFER,
        judge=_arns,
    ),
    Rule(
        id="residency-endpoint",
        title="AWS is reached in the region",
        severity=_HIGH,
        types=("*",),
        why="A regional or global endpoint elsewhere takes requests, and what is in them, out of the country.",
        remedy=f"Use the endpoints of {_HERE}.",
        controls=TRANSFER,
        judge=_hosts,
    ),
    Rule(
        id="residency-bucket-copy",
        title="Objects are not copied to buckets elsewhere",
        severity=_CRITICAL,
        types=("aws:s3/bucketReplicationConfig:BucketReplicationConfig",),
        why=_WHY,
        remedy="Remove the replication, or copy to a bucket of this stack in infra/substrates/aws/buckets.py.",
        controls=TRANSFER,
        judge=_replication,
    ),
    Rule(
        id="residency-bucket-inline-copy",
        title="A bucket has no replication of its own",
        severity=_CRITICAL,
        types=("aws:s3/bucket:Bucket",),
        why="Replication written into the bucket escapes the rule on replications.",
        remedy="Remove replicationConfiguration from the bucket in infra/substrates/aws/buckets.py.",
        controls=TRANSFER,
        judge=_legacy_replication,
    ),
    Rule(
        id="residency-global-service",
        title="No service that spans regions",
        severity=_CRITICAL,
        types=tuple(_MOVERS),
        why=_WHY,
        remedy="Remove it from infra/substrates/aws: what must survive the region is backed up within the country.",
        controls=TRANSFER,
        judge=lambda resource, _graph: [f"it {_MOVERS[resource.type]}"],
    ),
    Rule(
        id="residency-absent-service",
        title="No service that the region lacks",
        severity=_HIGH,
        types=tuple(_ABSENT),
        why="What me-central-1 does not offer would have to be made in another region.",
        remedy="Use what the region has: see infra/data/me-central-1.json.",
        controls=TRANSFER,
        judge=forbidden("the region does not offer this service, so it would be elsewhere"),
    ),
    Rule(
        id="residency-key-regions",
        title="Keys belong to one region",
        severity=_CRITICAL,
        types=("aws:kms/key:Key", "aws:kms/externalKey:ExternalKey"),
        why="The material of a multi-region key can be copied abroad, and with it the means to read the data.",
        remedy="Leave multi_region false in infra/substrates/aws/keys.py.",
        controls=TRANSFER,
        judge=not_true("multiRegion"),
        known_as=("CKV_AWS_7",),
    ),
    Rule(
        id="residency-database-replica",
        title="No database is a replica of one abroad",
        severity=_CRITICAL,
        types=("aws:rds/instance:Instance", "aws:rds/cluster:Cluster"),
        why=_WHY,
        remedy="Remove replicateSourceDb in infra/substrates/aws/databases.py.",
        controls=TRANSFER,
        judge=_replica_of,
    ),
    Rule(
        id="residency-snapshot-copy",
        title="Snapshots and images are not copied between regions",
        severity=_CRITICAL,
        types=(
            "aws:ebs/snapshotCopy:SnapshotCopy",
            "aws:ec2/amiCopy:AmiCopy",
            "aws:rds/clusterSnapshotCopy:ClusterSnapshotCopy",
            "aws:rds/snapshotCopy:SnapshotCopy",
        ),
        why=_WHY,
        remedy="Remove the copy from infra/substrates/aws.",
        controls=TRANSFER,
        judge=_copies,
    ),
    Rule(
        id="residency-backup-copy",
        title="Backups are not copied out of the region",
        severity=_CRITICAL,
        types=("aws:backup/plan:Plan",),
        why=_WHY,
        remedy="Remove the copy action in infra/substrates/aws/backup.py.",
        controls=TRANSFER,
        judge=_backup_copies,
    ),
    Rule(
        id="residency-registry-copy",
        title="Images are not replicated to other regions",
        severity=_HIGH,
        types=("aws:ecr/replicationConfiguration:ReplicationConfiguration",),
        why="An image can hold models, and a model can hold personal data.",
        remedy="Remove the replication in infra/substrates/aws/registry.py.",
        controls=TRANSFER,
        judge=_registry_copies,
    ),
    Rule(
        id="residency-secret-copy",
        title="Secrets are not replicated to other regions",
        severity=_CRITICAL,
        types=("aws:secretsmanager/secret:Secret",),
        why="A secret abroad opens data here.",
        remedy="Remove replicas from the secret in infra/substrates/aws.",
        controls=TRANSFER,
        judge=_listed("replicas.region", "it is replicated"),
    ),
    Rule(
        id="residency-table-copy",
        title="Tables and file systems are not replicated to other regions",
        severity=_CRITICAL,
        types=(
            "aws:dynamodb/table:Table",
            "aws:dynamodb/tableReplica:TableReplica",
            "aws:efs/replicationConfiguration:ReplicationConfiguration",
        ),
        why=_WHY,
        remedy="Remove the replica from infra/substrates/aws.",
        controls=TRANSFER,
        judge=lambda resource, graph: [
            *(
                ["it is a replica of a table of another region"]
                if resource.type == "aws:dynamodb/tableReplica:TableReplica"
                else []
            ),
            *_listed("replicas.regionName", "it is replicated")(resource, graph),
            *_listed("destination.region", "it is replicated")(resource, graph),
        ],
    ),
    Rule(
        id="residency-peering",
        title="Networks are joined within the region",
        severity=_HIGH,
        types=(
            "aws:ec2/vpcPeeringConnection:VpcPeeringConnection",
            "aws:ec2transitgateway/peeringAttachment:PeeringAttachment",
        ),
        why="A network abroad that is joined to this one is a way out that no bucket policy sees.",
        remedy="Remove the peering, or join a network of me-central-1.",
        controls=TRANSFER,
        judge=_peering,
    ),
    Rule(
        id="residency-address",
        title="Services are told addresses in the country alone",
        severity=_HIGH,
        types=(*pods.ALL, "pulumi-python:dynamic/local:Process"),
        why="What a service is told to talk to, it sends data to.",
        remedy="Name a host in the country; where the site vouches for its domain, add it to policies.domains in "
        "stacks/Pulumi.<stack>.yaml.",
        controls=TRANSFER,
        judge=_addresses,
    ),
    Rule(
        id="residency-site",
        title="A cluster that a site runs stands in the country",
        severity=_CRITICAL,
        types=(STACK,),
        why=_WHY,
        remedy="Choose a site in the country: substrate.country in stacks/Pulumi.<stack>.yaml is AE.",
        controls=TRANSFER,
        judge=_sites,
    ),
    Rule(
        id="residency-setting-address",
        title="Settings name addresses in the country alone",
        severity=_HIGH,
        types=("kubernetes:core/v1:ConfigMap", "aws:*"),
        why="What a service is told to talk to, it sends data to.",
        remedy="Name a host in the country; where the site vouches for its domain, add it to policies.domains in "
        "stacks/Pulumi.<stack>.yaml.",
        controls=TRANSFER,
        judge=_whole_addresses,
    ),
    Rule(
        id="residency-acceleration",
        title="Buckets are not reached by edge locations",
        severity=_HIGH,
        types=("aws:s3/bucketAccelerateConfiguration:BucketAccelerateConfiguration",),
        why="Uploads would pass through machines abroad.",
        remedy="Remove it from infra/substrates/aws/buckets.py.",
        controls=TRANSFER,
        judge=_accelerated,
    ),
    Rule(
        id="residency-foreign-service",
        title="No telemetry, alert or data goes to services abroad",
        severity=_HIGH,
        types=_DATA,
        why="Logs, metrics, traces and alerts hold identifiers; hosted services keep them where they are.",
        remedy="Remove the address, or run the service in the country.",
        controls=TRANSFER,
        judge=_services,
    ),
    Rule(
        id="residency-storage",
        title="Data and models are stored in the stack's own stores",
        severity=_CRITICAL,
        types=_DATA,
        why=_WHY,
        remedy="Use one of the stack's buckets, or a volume: substrate.stores in stacks/Pulumi.<stack>.yaml.",
        controls=TRANSFER,
        judge=_storage,
    ),
    Rule(
        id="residency-secret-store",
        title="Secrets are read from a store in the country",
        severity=_HIGH,
        types=(
            "kubernetes:external-secrets.io/v1:ClusterSecretStore",
            "kubernetes:external-secrets.io/v1:SecretStore",
        ),
        why="Whoever holds the secrets can read the data.",
        remedy="Set substrate.secrets in stacks/Pulumi.<stack>.yaml to a store in the country.",
        controls=TRANSFER,
        judge=_secret_stores,
    ),
    Rule(
        id="residency-sign-in",
        title="People sign in at an issuer in the country",
        severity=Severity.MEDIUM,
        types=("kubernetes:gateway.envoyproxy.io/v1alpha1:SecurityPolicy",),
        why="An issuer learns who uses what and when: personal data of the staff.",
        remedy="Set gateway.public.oidc.issuer in stacks/Pulumi.<stack>.yaml to a host of the country.",
        controls=TRANSFER,
        judge=_cr_hosts("spec.oidc.provider.issuer", "spec.jwt.providers.remoteJWKS.uri", "spec.jwt.providers.issuer"),
    ),
    Rule(
        id="residency-metrics",
        title="Metrics and alerts are written within the country",
        severity=_HIGH,
        types=(
            "kubernetes:monitoring.coreos.com/v1:Prometheus",
            "kubernetes:monitoring.coreos.com/v1alpha1:AlertmanagerConfig",
            "kubernetes:helm.sh/v4:Chart",
        ),
        why="Labels and alerts hold names of use cases, services and people.",
        remedy="Set prometheus.routes in stacks/Pulumi.<stack>.yaml to receivers in the country.",
        controls=TRANSFER,
        judge=_cr_hosts(
            "spec.remoteWrite.url",
            "spec.receivers.webhookConfigs.url",
            "values.prometheus.prometheusSpec.remoteWrite.url",
            "values.alertmanager.config.receivers.webhook_configs.url",
        ),
    ),
    Rule(
        id="residency-vendor-telemetry",
        title="Programs do not report their use to their makers",
        severity=Severity.MEDIUM,
        types=(*pods.TYPES, PIPELINE, "pulumi-python:dynamic/local:Process"),
        why="Reports of use leave the country unseen.",
        remedy="Set the variable that the message names in the environment of the workload: infra/services.",
        controls=TRANSFER,
        judge=_vendor_silence,
    ),
    Rule(
        id="residency-backup-location",
        title="Copies of the cluster go to a store in the country",
        severity=_CRITICAL,
        types=("kubernetes:velero.io/v1:BackupStorageLocation",),
        why="A copy of the cluster holds its secrets and its volumes.",
        remedy="Set substrate.stores in stacks/Pulumi.<stack>.yaml to an object store in the country.",
        controls=TRANSFER,
        judge=lambda resource, graph: [
            *_cr_hosts("spec.config.s3Url", "spec.config.publicUrl")(resource, graph),
            *(
                [f"its region is {resource.value('spec.config.region')}"]
                if not resource.has("spec.config.s3Url") and resource.value("spec.config.region") not in AWS | OTHERS
                else []
            ),
        ],
    ),
    Rule(
        id="residency-subscription",
        title="Subscriptions and notifications stay in the region",
        severity=_HIGH,
        types=("aws:sns/topicSubscription:TopicSubscription",),
        why="What a topic carries goes to its subscribers, wherever they are.",
        remedy="Subscribe an address of a person, or a queue or function of me-central-1.",
        controls=TRANSFER,
        judge=among("protocol", "email", "email-json", "sms", "sqs", "lambda", "firehose"),
    ),
)
