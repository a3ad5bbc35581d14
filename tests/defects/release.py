"""What is sound by itself and not where its former self is, and what is never rid of."""

from tests.defects.model import PROD, SITE, Defect, Document, all_of, document_of
from tests.policies.mutations.world import add, put, unprotect

_DEPLOYMENT, _JOB, _STATEFUL = "k8s/apps/v1:Deployment", "k8s/batch/v1:Job", "k8s/apps/v1:StatefulSet"
_BINDING = "k8s/rbac.authorization.k8s.io/v1:RoleBinding"
_CHART = "k8s/helm.sh/v4:Chart"
_LABELS = {"app.kubernetes.io/name": "index", "app.kubernetes.io/part-of": "falaj"}
_IMAGE = "444455556666.dkr.ecr.me-central-1.amazonaws.com/falaj/falaj/platform:0.1.0"


def _index() -> Document:
    """A workload with a volume of its own, as a release might add one."""
    claim = {"accessModes": ["ReadWriteOnce"], "storageClassName": "encrypted"}
    security = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "index",
        "image": _IMAGE,
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": security,
    }
    pod = {
        "automountServiceAccountToken": False,
        "priorityClassName": "falaj-service",
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "index", "namespace": "falaj"},
        "spec": {
            "serviceName": "mlflow",
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": pod},
            "volumeClaimTemplates": [
                {"metadata": {"name": "data"}, "spec": {**claim, "resources": {"requests": {"storage": "10Gi"}}}}
            ],
        },
    }


_SPEC = "spec template spec"
RELEASES = [
    Defect(
        "selector-changed",
        "A release gives a service's pods another label, and selects them by it: all of them stop first",
        PROD,
        later=all_of(
            put(_DEPLOYMENT, "mlflow", "spec selector matchLabels app.kubernetes.io/version", "2"),
            put(_DEPLOYMENT, "mlflow", "spec template metadata labels app.kubernetes.io/version", "2"),
        ),
    ),
    Defect(
        "claim-template-changed",
        "A release asks for larger volumes of what has its own: it stops, and its volumes stay as they are",
        PROD,
        add(_STATEFUL, "index", _index()),
        later=put(_STATEFUL, "index", "spec volumeClaimTemplates 0 spec resources requests storage", "20Gi"),
    ),
    Defect(
        "job-told-otherwise",
        "A release changes what a job is told, under its name: it runs once more",
        PROD,
        later=put(_JOB, "databases", f"{_SPEC} terminationGracePeriodSeconds", 60),
    ),
    Defect(
        "priority-changed",
        "A release gives a priority another value, which it keeps for ever",
        PROD,
        later=put("k8s/scheduling.k8s.io/v1:PriorityClass", "falaj-batch", "value", 200),
    ),
    Defect(
        "role-of-binding-changed",
        "A release binds an account to another role, and it has neither meanwhile",
        PROD,
        later=document_of(
            _BINDING,
            "spark/pipeline-runner",
            "roleRef",
            lambda found: found.update(kind="ClusterRole", name="view"),
        ),
    ),
    Defect(
        "address-taken-away",
        "A release takes a service's address away, which its callers hold",
        PROD,
        later=put("k8s/core/v1:Service", "mlflow", "spec clusterIP", "None"),
    ),
    Defect(
        "disk-type-changed",
        "A release changes what volumes are made of, which those that are there never become",
        PROD,
        later=put("k8s/storage.k8s.io/v1:StorageClass", "encrypted", "parameters type", "io2"),
    ),
    Defect(
        "master-renamed",
        "A release gives the database's master another name: an empty database comes in its place",
        PROD,
        later=put("rds/instance:Instance", "postgresql", "username", "master"),
    ),
    Defect(
        "loki-volume-grown",
        "A release asks for larger volumes of a chart's StatefulSet, which takes none",
        SITE,
        later=put(_CHART, "loki", "values singleBinary persistence size", "40Gi"),
    ),
    Defect(
        "prometheus-volume-shrunk",
        "A release asks for smaller volumes of metrics, and no volume shrinks",
        SITE,
        later=put(
            _CHART,
            "monitoring",
            "values prometheus prometheusSpec storageSpec volumeClaimTemplate spec resources requests storage",
            "50Gi",
        ),
    ),
]
ENDS = [
    Defect(
        "finalizer-of-no-one",
        "An object has a finalizer that no one takes away: a destroy waits for ever",
        PROD,
        put("k8s/core/v1:ConfigMap", "inference", "metadata finalizers", ["example.ae/kept"]),
    ),
    Defect(
        "namespace-of-a-finalizer",
        "A namespace has a finalizer that no one takes away",
        SITE,
        put("k8s/core/v1:Namespace", "notebooks", "metadata finalizers", ["example.ae/kept"]),
    ),
    Defect(
        "volumes-not-protected",
        "A destroy takes a namespace whose pods keep data in volumes",
        SITE,
        unprotect("k8s/core/v1:Namespace", "monitoring"),
    ),
]
