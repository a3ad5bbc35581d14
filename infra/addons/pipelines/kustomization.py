"""Kubeflow Pipelines' own manifests with our changes, as one kustomization.

It names folders of the upstream's manifests and says what differs here; nothing of them is copied. Left out are
the database and object store that they would bring, what serves version 1 of the pipelines alone (the cache's
webhook, the metadata writer, the viewers) and the containers that do nothing but wait.

Values that only the deployment knows stand in the ConfigMap `pipeline-install-config`, which the manifests read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.pins import pins
from infra.addons.chart import Values, requests
from infra.addons.pods import RESTRICTED, pull, secret_variables
from infra.config.platform import Pipelines
from infra.substrates.base import SecretKey
from infra.substrates.cluster import USER, Placement

INSTALL = "pipeline-install-config"
SETTINGS = "pipeline-settings"
"""ConfigMap of files: the configuration of the API server and of PgBouncer."""
OBJECTS = "pipeline-objects"
"""ConfigMap of the variables by which clients of the object store find it."""
DATABASE = "mysql-secret"
AUTHORITIES = "/authorities"
RUNNER = "pipeline-runner"
_KFP_PARTS = ("base/pipeline/cluster-scoped", "base/pipeline", "base/metadata/base")
_ARGO_PARTS = ("base/crds/minimal", "base/workflow-controller", "namespace-install/workflow-controller-rbac")
_GHCR = (
    "kfp-api-server",
    "kfp-persistence-agent",
    "kfp-scheduled-workflow-controller",
    "kfp-frontend",
    "kfp-metadata-envoy",
)
_MLMD = "tfx-oss-public/ml_metadata_store_server"
_BOUNCER = r"""umask 077
quoted() { printf '%s' "$1" | sed 's/"/""/g'; }
printf '"%s" "%s"\n' "$(quoted "$PGUSER")" "$(quoted "$PGPASSWORD")" > /run/bouncer/users
exec /usr/sbin/pgbouncer /etc/falaj/pgbouncer.ini"""
_UNUSED: Mapping[str, Sequence[str]] = {
    "apps/v1 Deployment": ("metadata-writer", "ml-pipeline-viewer-crd", "ml-pipeline-visualizationserver"),
    "v1 Service": ("ml-pipeline-visualizationserver",),
    "v1 ServiceAccount": (
        "kubeflow-pipelines-container-builder",
        "kubeflow-pipelines-metadata-writer",
        "kubeflow-pipelines-viewer",
        "ml-pipeline-viewer-crd-service-account",
        "ml-pipeline-visualizationserver",
    ),
    # Ours hold what these would, and what only the deployment knows.
    "v1 ConfigMap": ("kfp-launcher", "kubeflow-pipelines-public", "workflow-controller-configmap"),
    "rbac.authorization.k8s.io/v1 Role": (
        "kubeflow-pipelines-metadata-writer-role",
        "kubeflow-pipelines-public",
        "ml-pipeline-viewer-controller-role",
    ),
    "rbac.authorization.k8s.io/v1 RoleBinding": (
        "kubeflow-pipelines-metadata-writer-binding",
        "kubeflow-pipelines-public",
        "ml-pipeline-viewer-crd-binding",
    ),
    "scheduling.k8s.io/v1 PriorityClass": ("workflow-controller",),
    "apiextensions.k8s.io/v1 CustomResourceDefinition": ("viewers.kubeflow.org",),
}


@dataclass(frozen=True, kw_only=True)
class Kustomization:
    """What the manifests are changed by.

    Attributes:
        kfp: Where the folder `manifests/kustomize` of Kubeflow Pipelines is.
        argo: Where the folder `manifests` of Argo Workflows is.
        registries: By upstream: gcr.io, ghcr.io and quay.io.
        image: The platform's own, which has PgBouncer.
        objects: Secret variables of clients of the object store.
        metadata: Secret variables of the metadata store: PGUSER and PGPASSWORD.
        files: Volumes and mounts of the files that the stores' clients read.
        pull_secrets: Names, in the namespace.
    """

    kfp: str
    argo: str
    namespace: str
    settings: Pipelines
    registries: Mapping[str, str]
    image: str
    objects: Mapping[str, SecretKey]
    metadata: Mapping[str, SecretKey]
    metadata_database: str
    files: tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]]
    placement: Placement
    pull_secrets: Sequence[str]

    def document(self) -> Values:
        """The kustomization, as `kustomize build` takes it."""
        return {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": self.namespace,
            "resources": [
                *(_below(self.kfp, part) for part in _KFP_PARTS),
                *(_below(self.argo, part) for part in _ARGO_PARTS),
            ],
            "images": self._images(),
            "patches": [
                {"target": target, "patch": json.dumps(patch, indent=1, sort_keys=True)}
                for target, patch in self._patches()
            ],
        }

    def _images(self) -> list[dict[str, str]]:
        renamed = [(f"ghcr.io/kubeflow/{name}", f"{self.registries['ghcr.io']}/kubeflow/{name}") for name in _GHCR]
        renamed.append((f"gcr.io/{_MLMD}", f"{self.registries['gcr.io']}/{_MLMD}"))
        controller = "argoproj/workflow-controller"
        version = pins().manifest("argo-workflows").version
        return [
            *({"name": name, "newName": new} for name, new in renamed),
            {
                "name": f"quay.io/{controller}",
                "newName": f"{self.registries['quay.io']}/{controller}",
                "newTag": version,
            },
        ]

    def _patches(self) -> list[tuple[dict[str, str], Any]]:
        removed = [
            ({"kind": kind.split()[1], "name": f"^{name}$"}, _removal(kind, name))
            for kind, names in _UNUSED.items()
            for name in names
        ]
        changed = {
            "ml-pipeline": self._api_server(),
            "ml-pipeline-persistenceagent": self._persistence_agent(),
            "ml-pipeline-scheduledworkflow": self._scheduler(),
            "ml-pipeline-ui": self._ui(),
            "metadata-grpc-deployment": self._metadata(),
            "metadata-envoy-deployment": {
                "automountServiceAccountToken": False,
                "containers": [{"name": "container", "resources": requests("20m", "128Mi")}],
            },
            "workflow-controller": self._workflow_controller(),
        }
        everywhere = {
            **self.placement.document(),
            "imagePullSecrets": pull(self.pull_secrets),
            "priorityClassName": "falaj-service",
        }
        return [
            *removed,
            *(
                ({"kind": "Deployment", "name": f"^{name}$"}, _deployment(name, {**everywhere, **spec}))
                for name, spec in changed.items()
            ),
            *(({"kind": "Role", "name": f"^{name}$"}, _rules(rules)) for name, rules in roles().items()),
        ]

    def _api_server(self) -> Values:
        ghcr = self.registries["ghcr.io"]
        version = pins().manifest("kubeflow-pipelines").version
        environment = [
            _value("PUBLISH_LOGS", "false"),
            _value("OBJECTSTORECONFIG_SECURE", "true"),
            _configured("OBJECTSTORECONFIG_HOST", "objectsHost"),
            _configured("OBJECTSTORECONFIG_PORT", "objectsPort"),
            _configured("OBJECTSTORECONFIG_REGION", "objectsRegion"),
            _configured("OBJECTSTORECONFIG_PIPELINEPATH", "objectsPath"),
            # Empty, they leave it to the pod's identity, or to the variables of a site's keys.
            _value("OBJECTSTORECONFIG_ACCESSKEY", ""),
            _value("OBJECTSTORECONFIG_SECRETACCESSKEY", ""),
            _value("DBCONFIG_MYSQLCONFIG_EXTRAPARAMS", json.dumps({"tls": "true"})),
            _value("SSL_CERT_DIR", f"/etc/ssl/certs:{AUTHORITIES}"),
            _value("V2_DRIVER_IMAGE", f"{ghcr}/kubeflow/kfp-driver:{version}"),
            _value("V2_LAUNCHER_IMAGE", f"{ghcr}/kubeflow/kfp-launcher:{version}"),
            _configured("COMPILED_PIPELINE_SPEC_PATCH", "workflowPatch"),
            # It does not start without an address for version 1's visualizations; nothing listens there.
            _value("ML_PIPELINE_VISUALIZATIONSERVER_SERVICE_HOST", "localhost"),
            _value("ML_PIPELINE_VISUALIZATIONSERVER_SERVICE_PORT", "9"),
            *secret_variables(self.objects),
        ]
        volumes, mounts = self.files
        container = {
            "name": "ml-pipeline-api-server",
            # Without the samples, whose images would come from outside.
            "command": ["/bin/apiserver", "--config=/config", "-logtostderr=true", "--logLevel=info"],
            "envFrom": [{"configMapRef": {"name": OBJECTS}}],
            "env": environment,
            "resources": requests("250m", "1Gi"),
            "volumeMounts": [
                *mounts,
                {"name": "authorities", "mountPath": AUTHORITIES, "readOnly": True},
                # The configuration in the image would call an MLflow that is not there.
                {"name": "settings", "mountPath": "/config", "readOnly": True},
                {"mountPath": "/etc/mlflow-tracking-ca", "$patch": "delete"},
            ],
        }
        authority = {
            "name": "authorities",
            "image": self.image,
            "command": ["/bin/sh", "-ec", f'test -z "$MYSQL_SSL_CA" || cp "$MYSQL_SSL_CA" {AUTHORITIES}/mysql.crt'],
            "env": [_configured("MYSQL_SSL_CA", "mysqlAuthority")],
            "resources": requests("10m", "64Mi"),
            "securityContext": {**RESTRICTED, "runAsUser": USER},
            "volumeMounts": [*mounts, {"name": "authorities", "mountPath": AUTHORITIES}],
        }
        return {
            "initContainers": [_removed("wait-for-database"), _removed("wait-for-metadata-grpc"), authority],
            "containers": [container],
            "volumes": [
                *volumes,
                {"name": "authorities", "emptyDir": {"sizeLimit": "1Mi"}},
                {"name": "settings", "configMap": {"name": SETTINGS, "items": [_item("config.json")]}},
                {"name": "mlflow-tracking-ca", "$patch": "delete"},
            ],
            "securityContext": {"fsGroup": USER},
        }

    def _persistence_agent(self) -> Values:
        seconds = str(86_400 * self.settings.run_days)
        container = {
            "name": "ml-pipeline-persistenceagent",
            "env": [_value("TTL_SECONDS_AFTER_WORKFLOW_FINISH", seconds)],
            "resources": requests("50m", "512Mi"),
        }
        return {"initContainers": [_removed("wait-for-ml-pipeline")], "containers": [container]}

    def _scheduler(self) -> Values:
        container = {"name": "ml-pipeline-scheduledworkflow", "resources": requests("20m", "256Mi")}
        return {"initContainers": [_removed("wait-for-ml-pipeline")], "containers": [container]}

    def _ui(self) -> Values:
        environment = [
            # Keys of MinIO are not used; an S3 client takes the pod's identity, or a site's keys.
            _removed("MINIO_ACCESS_KEY"),
            _removed("MINIO_SECRET_KEY"),
            _removed("MINIO_NAMESPACE"),
            _removed("VIEWER_TENSORBOARD_POD_TEMPLATE_SPEC_PATH"),
            _configured("AWS_S3_ENDPOINT", "objectsHost"),
            _value("ALLOW_CUSTOM_VISUALIZATIONS", "false"),
            _value("ARGO_ARCHIVE_ARTIFACTORY", "s3"),
            _configured("ARGO_ARCHIVE_BUCKETNAME", "bucketName"),
            _configured("ARGO_KEYFORMAT", "logsFormat"),
            _value("ML_PIPELINE_SERVICE_HOST", "ml-pipeline"),
            _value("ML_PIPELINE_SERVICE_PORT", "8888"),
            _value("METADATA_ENVOY_SERVICE_SERVICE_HOST", "metadata-envoy-service"),
            # Signs links to a TensorBoard that no one can start here; without it, the text in the source would.
            {
                "name": "TENSORBOARD_PROXY_SIGNING_SECRET",
                "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}},
            },
            _configured("NODE_EXTRA_CA_CERTS", "objectsAuthority"),
            *secret_variables(self.objects),
        ]
        volumes, mounts = self.files
        container = {
            "name": "ml-pipeline-ui",
            "envFrom": [{"configMapRef": {"name": OBJECTS}}],
            "env": environment,
            "resources": requests("20m", "256Mi"),
            "volumeMounts": list(mounts),
        }
        return {"containers": [container], "volumes": list(volumes), "securityContext": {"fsGroup": USER}}

    def _metadata(self) -> Values:
        """The metadata store speaks no TLS to PostgreSQL, and verifies none to MySQL: PgBouncer in its pod does."""
        volumes, mounts = self.files
        bouncer = {
            "name": "bouncer",
            "image": self.image,
            "restartPolicy": "Always",
            "command": ["/bin/sh", "-ec", _BOUNCER],
            "env": secret_variables(self.metadata),
            "resources": requests("10m", "32Mi"),
            "securityContext": {**RESTRICTED, "runAsUser": USER},
            "volumeMounts": [
                *mounts,
                {"name": "settings", "mountPath": "/etc/falaj", "readOnly": True},
                {"name": "users", "mountPath": "/run/bouncer"},
            ],
        }
        user = {name: value for name, value in self.metadata.items() if name == "PGUSER"}
        store = {
            "name": "container",
            "args": [
                "--grpc_port=8080",
                "--metadata_source_config_type=postgresql",
                "--postgres_config_host=127.0.0.1",
                "--postgres_config_port=5432",
                f"--postgres_config_dbname={self.metadata_database}",
                "--postgres_config_user=$(PGUSER)",
                "--postgres_config_skip_db_creation=true",
                "--enable_database_upgrade=true",
                "--grpc_channel_arguments=grpc.max_metadata_size=16384,"
                "grpc.max_receive_message_length=104857600,grpc.max_send_message_length=104857600",
            ],
            "env": [{"$patch": "replace"}, *secret_variables(user)],
            "resources": requests("50m", "256Mi"),
        }
        return {
            "initContainers": [_removed("wait-for-database"), bouncer],
            "containers": [store],
            "volumes": [
                *volumes,
                {"name": "settings", "configMap": {"name": SETTINGS, "items": [_item("pgbouncer.ini")]}},
                {"name": "users", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            ],
            "securityContext": {"fsGroup": USER},
        }

    def _workflow_controller(self) -> Values:
        version = pins().manifest("argo-workflows").version
        container = {
            "name": "workflow-controller",
            "args": [
                "--configmap=workflow-controller-configmap",
                f"--executor-image={self.registries['quay.io']}/argoproj/argoexec:{version}",
                "--namespaced",
            ],
            "env": [
                # A node that is taken back is no failure of the step.
                _value("TRANSIENT_ERROR_PATTERN", "(?i)(node shutdown|node is shutting down|preempt|evict|pod deleted)")
            ],
            "resources": requests("50m", "512Mi"),
            "securityContext": RESTRICTED,
        }
        return {"containers": [container], "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}


def roles() -> dict[str, list[dict[str, list[str]]]]:
    """Roles that are narrower here than upstream: a step can create no pod, and nobody reads all secrets."""
    own = "argoproj.io"
    return {
        RUNNER: [
            _rule("", ["configmaps"], ["get"], ["kfp-launcher"]),
            _rule("", ["pods"], ["get"]),
            _rule("", ["persistentvolumeclaims"], ["create", "delete", "get"]),
            _rule(own, ["workflowtaskresults"], ["create", "patch"]),
        ],
        "ml-pipeline-ui": [
            _rule("", ["pods", "pods/log"], ["get"]),
            _rule("", ["events"], ["list"]),
            _rule(own, ["workflows"], ["get", "list"]),
        ],
    }


def _rule(group: str, resources: list[str], verbs: list[str], names: list[str] | None = None) -> dict[str, list[str]]:
    rule = {"apiGroups": [group], "resources": resources, "verbs": verbs}
    return rule | ({"resourceNames": names} if names else {})


def _rules(rules: list[dict[str, list[str]]]) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": "/rules", "value": rules}]


def _below(source: str, part: str) -> str:
    """A folder below a source, which may be an address with a tag."""
    address, mark, tag = source.partition("?")
    return f"{address}/{part}{mark}{tag}"


def _deployment(name: str, spec: Mapping[str, Any]) -> Values:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"template": {"spec": dict(spec)}},
    }


def _removal(kind: str, name: str) -> Values:
    version, kind = kind.split()
    return {"$patch": "delete", "apiVersion": version, "kind": kind, "metadata": {"name": name}}


def _removed(name: str) -> dict[str, str]:
    return {"name": name, "$patch": "delete"}


def _value(name: str, value: str) -> dict[str, Any]:
    return {"name": name, "value": value, "valueFrom": None}


def _configured(name: str, key: str) -> dict[str, Any]:
    return {"name": name, "value": None, "valueFrom": {"configMapKeyRef": {"name": INSTALL, "key": key}}}


def _item(file: str) -> dict[str, str]:
    return {"key": file, "path": file}
