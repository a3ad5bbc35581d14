"""What runs on the cluster, and what an API server, a scheduler and a kubelet ask of it."""

from typing import Any

from tests.defects.model import PROD, SITE, Defect, Document, all_of, document_of, unlist
from tests.policies.mutations.world import add, append, lose, put, remove

DEPLOYMENT, SCALER, BUDGET = (
    "k8s/apps/v1:Deployment",
    "k8s/autoscaling/v2:HorizontalPodAutoscaler",
    "k8s/policy/v1:PodDisruptionBudget",
)
SERVICE, CLAIM, CHART = "k8s/core/v1:Service", "k8s/core/v1:PersistentVolumeClaim", "k8s/helm.sh/v4:Chart"
SECRET, CONFIG = "k8s/external-secrets.io/v1:ExternalSecret", "k8s/core/v1:ConfigMap"
ACCOUNT = "k8s/core/v1:ServiceAccount"
POD = "spec template spec"
FIRST = f"{POD} containers 0"
FEATURES = {"app.kubernetes.io/name": "feature-server", "app.kubernetes.io/part-of": "falaj"}
INFERENCE = {"app.kubernetes.io/name": "inference", "app.kubernetes.io/part-of": "falaj"}


def _claim(storage: str, mode: str) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "scratch", "namespace": "falaj"},
        "spec": {"storageClassName": storage, "accessModes": [mode], "resources": {"requests": {"storage": "10Gi"}}},
    }


def _old(version: str, kind: str, spec: Document) -> Document:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "old", "namespace": "falaj"}, "spec": spec}


def _cron(name: str) -> Document:
    container = {"name": "clean", "image": "444455556666.dkr.ecr.me-central-1.amazonaws.com/falaj/falaj/platform:0.1.0"}
    job = {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": "falaj"},
        "spec": {"schedule": "0 1 * * *", "jobTemplate": {"spec": job}},
    }


def _budget(name: str) -> Document:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": "falaj"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": FEATURES}},
    }


def _same_key(volumes: list[Any]) -> None:
    (projected,) = [one["projected"] for one in volumes if "projected" in one]
    projected["sources"][0]["secret"]["items"][0]["key"] = "pseudonym"


def _alone(spec: Any) -> None:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": INFERENCE}}
    spec["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def _spread(constraint: Any) -> None:
    constraint["topologyKey"] = "topology.kubernetes.io/zones"
    constraint["whenUnsatisfiable"] = "DoNotSchedule"


def _secret_key(env: list[Any]) -> None:
    reference = next(one for one in env if one["name"] == "REDIS_PASSWORD")["valueFrom"]["secretKeyRef"]
    reference["key"] = "pasword"


def _twice(env: list[Any]) -> None:
    env.append({"name": "AWS_REGION", "value": "me-south-1"})


SCHEDULING = [
    Defect(
        "toleration-missing",
        "A pod that does not tolerate its pool",
        PROD,
        put(DEPLOYMENT, "inference", f"{POD} tolerations", []),
        "https://github.com/aws-ia/terraform-aws-eks-blueprints/issues/568",
    ),
    Defect(
        "selects-no-pool",
        "A pod for a pool that is not there",
        PROD,
        put(DEPLOYMENT, "inference", f"{POD} nodeSelector falaj.ae/pool", "inferences"),
    ),
    Defect(
        "pod-too-large",
        "A pod that no machine holds",
        PROD,
        all_of(
            put(DEPLOYMENT, "inference", f"{FIRST} resources requests memory", "900Gi"),
            put(DEPLOYMENT, "inference", f"{FIRST} resources limits memory", "900Gi"),
        ),
    ),
    Defect(
        "gpu-without-limit",
        "A GPU asked for, and no limit: the API refuses it",
        PROD,
        put(DEPLOYMENT, "inference", f"{FIRST} resources requests nvidia.com/gpu", "1"),
    ),
    Defect(
        "gpu-on-no-gpu-pool",
        "A GPU asked for on a pool without",
        PROD,
        all_of(
            put(DEPLOYMENT, "inference", f"{FIRST} resources requests nvidia.com/gpu", "1"),
            put(DEPLOYMENT, "inference", f"{FIRST} resources limits nvidia.com/gpu", "1"),
        ),
    ),
    Defect(
        "request-above-limit",
        "A request above its limit",
        PROD,
        put(DEPLOYMENT, "inference", f"{FIRST} resources requests cpu", "6000m"),
    ),
    Defect(
        "quota-without-defaults",
        "A quota, and no defaults: pods that ask for nothing are refused",
        PROD,
        remove("k8s/core/v1:LimitRange", "preparation/defaults"),
    ),
    Defect(
        "defaults-above-most",
        "Defaults above the most that the same range allows",
        PROD,
        put("k8s/core/v1:LimitRange", "preparation/defaults", "spec limits 0 max", {"memory": "512Mi"}),
    ),
    Defect(
        "range-below-request",
        "A pod asks for more than its namespace's range allows",
        PROD,
        put(
            "k8s/core/v1:LimitRange",
            "preparation/defaults",
            "spec limits 0",
            {"type": "Container", "max": {"memory": "128Mi"}, "default": {"memory": "128Mi"}},
        ),
    ),
    Defect(
        "quota-below-pod",
        "A quota below the pod that the namespace is for",
        PROD,
        put("k8s/core/v1:ResourceQuota", "preparation/quota", "spec hard requests.memory", "128Mi"),
    ),
    Defect(
        "spread-over-nothing",
        "Replicas must spread over a label that no machine has",
        PROD,
        document_of(DEPLOYMENT, "inference", f"{POD} topologySpreadConstraints 0", _spread),
    ),
    Defect(
        "alone-on-each-machine",
        "Each replica wants a machine of its own, and the site has fewer",
        SITE,
        document_of(DEPLOYMENT, "inference", POD, _alone),
    ),
    Defect(
        "priority-not-there",
        "A priority that is not there",
        PROD,
        put(DEPLOYMENT, "inference", f"{POD} priorityClassName", "falaj-services"),
    ),
    Defect(
        "machines-too-few",
        "More replicas than the site's machines hold",
        SITE,
        put(DEPLOYMENT, "mlflow", "spec replicas", 1000),
    ),
]
SCALING = [
    Defect(
        "scaler-without-requests",
        "Replicas follow the CPU, and no request says of what",
        PROD,
        lose(DEPLOYMENT, "feature-server", f"{FIRST} resources"),
    ),
    Defect(
        "scaler-of-nothing",
        "A scaler of a deployment that is not there",
        PROD,
        put(SCALER, "feature-server", "spec scaleTargetRef name", "features"),
    ),
    Defect(
        "scaler-upside-down",
        "More replicas at least than at most",
        PROD,
        put(SCALER, "feature-server", "spec minReplicas", 30),
    ),
    Defect(
        "scaler-against-program",
        "Replicas are set by a scaler and by the program",
        PROD,
        put(DEPLOYMENT, "feature-server", "spec replicas", 3),
    ),
    Defect(
        "budget-blocks-drains",
        "A budget that lets no pod go: no machine can be drained",
        PROD,
        put(BUDGET, "feature-server", "spec", {"minAvailable": 3, "selector": {"matchLabels": FEATURES}}),
    ),
    Defect(
        "two-budgets", "Two budgets for the same pods: evictions fail", PROD, add(BUDGET, "again", _budget("again"))
    ),
    Defect(
        "budget-for-none",
        "A budget that selects no pod",
        PROD,
        put(BUDGET, "feature-server", "spec selector matchLabels app.kubernetes.io/name", "features"),
    ),
    Defect(
        "rollout-stands-still",
        "A rollout that may neither add nor remove a pod",
        PROD,
        put(DEPLOYMENT, "feature-server", "spec strategy rollingUpdate maxSurge", 0),
    ),
    Defect(
        "stopped-too-soon",
        "A pod is killed before it has finished",
        PROD,
        put(DEPLOYMENT, "feature-server", f"{POD} terminationGracePeriodSeconds", 3),
    ),
]
REFERENCES = [
    Defect(
        "secret-key-misspelt",
        "A key that the secret does not have",
        PROD,
        document_of(DEPLOYMENT, "feature-server", f"{FIRST} env", _secret_key),
    ),
    Defect(
        "mounted-key-misspelt",
        "A mounted key that the secret does not have",
        PROD,
        document_of(DEPLOYMENT, "inference", f"{POD} volumes", _same_key),
    ),
    Defect("secret-missing", "A secret that nothing brings", PROD, remove(SECRET, "falaj/falaj-prod-cache")),
    Defect(
        "secret-of-no-store",
        "A secret from a store that is not there",
        PROD,
        put(SECRET, "falaj/falaj-prod-cache", "spec secretStoreRef name", "secrets"),
    ),
    Defect(
        "secret-not-in-store",
        "A secret that the store does not have",
        PROD,
        all_of(
            *[
                put(SECRET, "falaj/falaj-prod-cache", f"spec data {at} remoteRef key", "falaj-prod/redis")
                for at in (0, 1)
            ]
        ),
    ),
    Defect("config-missing", "A ConfigMap that is not there", PROD, remove(CONFIG, "feature-server")),
    Defect("account-missing", "A service account that is not there", PROD, remove(ACCOUNT, "mlflow")),
    Defect(
        "pull-secret-missing",
        "A registry's password that is not there",
        SITE,
        put(DEPLOYMENT, "mlflow", f"{POD} imagePullSecrets 0 name", "registries"),
    ),
    Defect(
        "mount-without-volume",
        "A mount without its volume",
        PROD,
        append(DEPLOYMENT, "mlflow", f"{FIRST} volumeMounts", {"mountPath": "/data", "name": "data"}),
    ),
    Defect(
        "class-missing",
        "A volume of a storage class that is not there",
        PROD,
        add(CLAIM, "scratch", _claim("fast", "ReadWriteOnce")),
    ),
    Defect(
        "many-writers",
        "A volume for many machines, of disks that go to one",
        PROD,
        add(CLAIM, "scratch", _claim("encrypted", "ReadWriteMany")),
    ),
    Defect(
        "class-missing-in-chart",
        "A chart's volume of a storage class that is not there",
        PROD,
        put(CHART, "monitoring", "values grafana persistence storageClassName", "gp2"),
    ),
    Defect(
        "many-writers-in-chart",
        "A chart's volume for many machines, of disks that go to one",
        PROD,
        put(CHART, "monitoring", "values grafana persistence accessModes", ["ReadWriteMany"]),
    ),
    Defect(
        "key-without-grant",
        "A storage class with a key that is not there",
        PROD,
        put(
            "k8s/storage.k8s.io/v1:StorageClass",
            "encrypted",
            "parameters kmsKeyId",
            "arn:aws:kms:me-central-1:444455556666:key/11111111-2222-3333-4444-555555555555",
        ),
    ),
]
OBJECTS = [
    Defect(
        "selector-of-others",
        "A deployment that does not select its own pods",
        PROD,
        put(DEPLOYMENT, "inference", "spec selector matchLabels app.kubernetes.io/name", "inference-runtime"),
    ),
    Defect(
        "service-of-none",
        "A service that selects no pod",
        PROD,
        put(SERVICE, "inference", "spec selector app.kubernetes.io/name", "inference-runtime"),
    ),
    Defect(
        "service-to-no-port",
        "A service to a port that no container has",
        PROD,
        put(SERVICE, "inference", "spec ports 0 targetPort", "web"),
    ),
    Defect(
        "service-port-twice",
        "A service with one port twice",
        PROD,
        put(SERVICE, "inference", "spec ports 1 port", 8085),
    ),
    Defect(
        "probe-of-no-port",
        "A probe on a port that no container has",
        PROD,
        put(DEPLOYMENT, "inference", f"{FIRST} readinessProbe httpGet port", "web"),
    ),
    Defect(
        "probe-of-another-port",
        "A probe on a port on which nothing listens",
        PROD,
        put(DEPLOYMENT, "inference", f"{FIRST} readinessProbe httpGet port", 9999),
    ),
    Defect(
        "command-on-another-port",
        "A service listens on another port than it says",
        PROD,
        put(DEPLOYMENT, "inference", f"{FIRST} command 6", "8087"),
    ),
    Defect(
        "port-name-too-long",
        "A port with a name of more than 15 characters",
        PROD,
        put(DEPLOYMENT, "inference", f"{FIRST} ports 0 name", "inference-runtime-http"),
    ),
    Defect(
        "variable-twice",
        "A variable twice: the last one counts",
        PROD,
        document_of(DEPLOYMENT, "feature-server", f"{FIRST} env", _twice),
    ),
    Defect(
        "variable-as-number",
        "A variable that is no text",
        PROD,
        put(DEPLOYMENT, "feature-server", f"{FIRST} env 9 value", 5432),
    ),
    Defect(
        "nowhere-to-write",
        "A read-only file system, and nowhere to write",
        PROD,
        unlist(DEPLOYMENT, "mlflow", f"{FIRST} volumeMounts", lambda one: one["name"] == "tmp"),
    ),
    Defect(
        "nobody-in-particular",
        "A pod that must not be root, and does not say who it is",
        PROD,
        all_of(
            lose(DEPLOYMENT, "mlflow", f"{POD} securityContext runAsUser"),
            lose(DEPLOYMENT, "mlflow", f"{POD} securityContext runAsGroup"),
        ),
    ),
    Defect(
        "privileged",
        "A privileged pod in a namespace that takes none",
        PROD,
        put(DEPLOYMENT, "mlflow", f"{FIRST} securityContext privileged", True),
    ),
    Defect(
        "restarts-a-job",
        "A job that always starts again: the API refuses it",
        PROD,
        put("k8s/batch/v1:Job", "databases", f"{POD} restartPolicy", "Always"),
    ),
    Defect(
        "cron-name-too-long",
        "A timed job with a name of more than 52 characters",
        PROD,
        add("k8s/batch/v1:CronJob", "clean", _cron("clean-up-after-the-runs-of-all-pipelines-of-all-teams")),
    ),
    Defect(
        "label-with-space",
        "A label that is none",
        PROD,
        put(DEPLOYMENT, "mlflow", "metadata labels app.kubernetes.io/part-of", "ml platform"),
    ),
    Defect(
        "name-with-underscore",
        "An object with a name that is none",
        PROD,
        put(SERVICE, "feature-server", "metadata name", "feature_server"),
    ),
    Defect(
        "service-name-too-long",
        "A service with a name of more than 63 characters",
        PROD,
        put(SERVICE, "inference", "metadata name", "inference-of-all-models-of-all-teams-of-the-emirate-of-abu-dhabi"),
    ),
    Defect(
        "quantity-misspelt",
        "A quantity in a unit that there is not",
        PROD,
        put(DEPLOYMENT, "mlflow", f"{FIRST} resources limits memory", "4096MB"),
    ),
    Defect(
        "config-too-large",
        "A ConfigMap of more than 1 MiB",
        PROD,
        put(CONFIG, "feature-server", "data rows.csv", "0123456789abcdef" * 70_000),
    ),
    Defect(
        "object-twice", "Two resources that are one object", PROD, put(SERVICE, "inference", "metadata name", "mlflow")
    ),
    Defect("field-misspelt", "A field that there is not", PROD, put(DEPLOYMENT, "mlflow", f"{POD} nodeSelectors", {})),
    Defect(
        "field-in-snake-case",
        "A field in the language's spelling, and not the API's",
        PROD,
        put("k8s/cert-manager.io/v1:Certificate", "falaj", "spec secret_name", "falaj"),
    ),
    Defect(
        "version-gone",
        "An object of a version of the API that is gone",
        PROD,
        add(
            "k8s/policy/v1beta1:PodDisruptionBudget",
            "old",
            _old(
                "policy/v1beta1", "PodDisruptionBudget", {"maxUnavailable": 1, "selector": {"matchLabels": INFERENCE}}
            ),
        ),
    ),
    Defect(
        "scaler-of-older-version",
        "A scaler of a version of the API that is gone",
        PROD,
        put(SCALER, "feature-server", "apiVersion", "autoscaling/v2beta2"),
    ),
    Defect(
        "scaler-of-older-target",
        "A scaler of a version of the API that its target never had",
        PROD,
        put(SCALER, "feature-server", "spec scaleTargetRef apiVersion", "apps/v1beta1"),
    ),
    Defect(
        "expression-broken",
        "A rule of admission that does not parse",
        PROD,
        put(
            "k8s/admissionregistration.k8s.io/v1:ValidatingAdmissionPolicy",
            "training/training-workers",
            "spec validations 0 expression",
            "object.spec.trainer.numNodes <= ",
        ),
    ),
    Defect(
        "binding-of-no-policy",
        "A rule of admission that is bound to nothing",
        PROD,
        put(
            "k8s/admissionregistration.k8s.io/v1:ValidatingAdmissionPolicyBinding",
            "training/training-workers",
            "spec policyName",
            "training-worker",
        ),
    ),
    Defect(
        "runtime-of-no-format",
        "A runtime of models that serves no format",
        PROD,
        lose("k8s/serving.kserve.io/v1alpha1:ClusterServingRuntime", "falaj-onnx", "spec supportedModelFormats"),
    ),
    Defect(
        "backup-to-no-bucket",
        "The cluster's copies go to a bucket that is not there",
        PROD,
        put("k8s/velero.io/v1:BackupStorageLocation", "default", "spec objectStorage bucket", "falaj-prod-backup"),
    ),
    Defect(
        "snapshots-of-no-driver",
        "Snapshots by a driver that is not there",
        PROD,
        put("k8s/snapshot.storage.k8s.io/v1:VolumeSnapshotClass", "snapshots", "driver", "efs.csi.aws.com"),
    ),
]
