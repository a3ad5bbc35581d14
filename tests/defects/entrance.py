"""The gateway, its certificate and its routes; metrics and alerts; charts and images."""

from typing import Any

from tests.defects.model import PROD, SITE, Defect, Document, document_of, unlist
from tests.policies.mutations.world import lose, put, remove, text

ROUTE, GATEWAY = "k8s/gateway.networking.k8s.io/v1:HTTPRoute", "k8s/gateway.networking.k8s.io/v1:Gateway"
CERTIFICATE, TRAFFIC = "k8s/cert-manager.io/v1:Certificate", "k8s/gateway.envoyproxy.io/v1alpha1:BackendTrafficPolicy"
CHART, DEPLOYMENT = "k8s/helm.sh/v4:Chart", "k8s/apps/v1:Deployment"
MONITOR = "k8s/monitoring.coreos.com/v1:ServiceMonitor"
RULES = "values additionalPrometheusRulesMap"
DASHBOARD = "k8s/core/v1:ConfigMap"
FIRST = "spec template spec containers 0"
OURS = "444455556666.dkr.ecr.me-central-1.amazonaws.com/falaj"


def _rule(change: Any) -> Any:
    """Change the first alert of our services."""
    return document_of(CHART, "monitoring", f"{RULES} services groups 0 rules 0", change)


def _severity(rule: Document) -> None:
    rule["labels"]["severity"] = "page"


def _no_severity(rule: Document) -> None:
    del rule["labels"]["severity"]


def _metric(rule: Document) -> None:
    rule["expr"] = "falaj_request_total == 0"


def _syntax(rule: Document) -> None:
    rule["expr"] = "sum by (job (up == 0"


def _window(rule: Document) -> None:
    rule["for"] = "5 minutes"


ROUTES = [
    Defect(
        "route-to-no-service",
        "A route to a service that is not there",
        PROD,
        put(ROUTE, "mlflow", "spec rules 0 backendRefs 0 name", "mlflow-server"),
    ),
    Defect(
        "route-to-no-port",
        "A route to a port that the service does not have",
        PROD,
        put(ROUTE, "mlflow", "spec rules 0 backendRefs 0 port", 5001),
    ),
    Defect(
        "two-routes-on-a-path",
        "Two routes on one path: the older one wins",
        PROD,
        put(ROUTE, "feast", "spec rules 0 matches 0 path value", "/mlflow"),
    ),
    Defect(
        "host-not-in-certificate",
        "A host that the certificate does not name",
        PROD,
        put(CERTIFICATE, "falaj", "spec dnsNames", ["mlops.example.ae"]),
    ),
    Defect(
        "route-of-another-host",
        "A route for a host that the gateway does not listen for",
        PROD,
        put(ROUTE, "mlflow", "spec hostnames", ["mlflow.example.ae"]),
    ),
    Defect(
        "certificate-elsewhere",
        "The gateway's certificate is in another secret",
        PROD,
        put(CERTIFICATE, "falaj", "spec secretName", "falaj-tls"),
    ),
    Defect(
        "issuer-not-there",
        "A certificate by an issuer that is not there",
        PROD,
        put(CERTIFICATE, "falaj", "spec issuerRef name", "letsencrypt"),
    ),
    Defect(
        "issuer-of-namespace",
        "A certificate by an issuer of the namespace, where there is one of the cluster",
        PROD,
        put(CERTIFICATE, "falaj", "spec issuerRef kind", "Issuer"),
    ),
    Defect(
        "route-of-no-gateway",
        "A route of a gateway that is not there",
        PROD,
        put(ROUTE, "mlflow", "spec parentRefs 0 name", "gateway"),
    ),
    Defect(
        "grant-missing",
        "A route into another namespace that does not grant it",
        PROD,
        remove("k8s/gateway.networking.k8s.io/v1beta1:ReferenceGrant", "pipelines/pipelines"),
    ),
    Defect(
        "grant-of-another",
        "A namespace grants routes to another service",
        PROD,
        put(
            "k8s/gateway.networking.k8s.io/v1beta1:ReferenceGrant",
            "pipelines/pipelines",
            "spec to 0 name",
            "ml-pipeline",
        ),
    ),
    Defect(
        "gateway-sooner-than-runtime",
        "The gateway gives up before the runtime may",
        PROD,
        put(ROUTE, "v2", "spec rules 0 timeouts request", "1s"),
    ),
    Defect(
        "limits-of-no-route",
        "Limits of a route that is not there",
        PROD,
        put(TRAFFIC, "mlflow", "spec targetRefs 0 name", "mlflow-server"),
    ),
    Defect(
        "class-not-there",
        "A gateway of a class that is not there",
        PROD,
        put(GATEWAY, "falaj", "spec gatewayClassName", "envoy"),
    ),
    Defect(
        "gateway-of-no-settings",
        "A gateway with settings that are not there",
        PROD,
        put(GATEWAY, "falaj", "spec infrastructure parametersRef name", "proxy"),
    ),
    Defect(
        "sign-in-without-secret",
        "Sign-in with a secret that is not there",
        PROD,
        put("k8s/gateway.envoyproxy.io/v1alpha1:SecurityPolicy", "falaj", "spec oidc clientSecret name", "oidc"),
    ),
    Defect(
        "no-share-of-requests",
        "A route all of whose targets get nothing",
        PROD,
        put(ROUTE, "mlflow", "spec rules 0 backendRefs 0 weight", 0),
    ),
]
WATCHED = [
    Defect(
        "monitor-of-none",
        "Metrics of a service that is not there",
        PROD,
        put(MONITOR, "inference", "spec selector matchLabels app.kubernetes.io/name", "inference-runtime"),
    ),
    Defect(
        "monitor-of-no-port",
        "Metrics on a port that the service does not have",
        PROD,
        put(MONITOR, "inference", "spec endpoints 0 port", "metrics"),
    ),
    Defect(
        "monitors-unread",
        "Prometheus reads monitors with a label that ours do not have",
        PROD,
        put(CHART, "monitoring", "values prometheus prometheusSpec serviceMonitorSelectorNilUsesHelmValues", True),
    ),
    Defect("severity-unrouted", "An alert that no route takes", PROD, _rule(_severity)),
    Defect("severity-missing", "An alert without a severity", PROD, _rule(_no_severity)),
    Defect(
        "receiver-missing",
        "A route to no receiver",
        PROD,
        unlist(CHART, "monitoring", "values alertmanager config receivers", lambda one: one["name"] == "route-0"),
    ),
    Defect(
        "mounted-nowhere",
        "Alertmanager mounts a secret that is not there",
        PROD,
        put(CHART, "monitoring", "values alertmanager alertmanagerSpec secrets", ["on-call"]),
    ),
    Defect("alert-on-no-metric", "An alert on a metric that no one exports", PROD, _rule(_metric)),
    Defect("alert-no-expression", "An alert whose expression does not parse", PROD, _rule(_syntax)),
    Defect("alert-window-misspelt", "An alert over a time that is none", PROD, _rule(_window)),
    Defect(
        "panel-on-no-metric",
        "A panel on a metric that no one exports",
        PROD,
        text(
            DASHBOARD,
            "monitoring/dashboard-serving",
            "data serving.json",
            "falaj_inference_requests_total",
            "falaj_inference_request_total",
        ),
    ),
    Defect(
        "panel-no-json",
        "A dashboard that is no JSON",
        PROD,
        text(
            DASHBOARD, "monitoring/dashboard-serving", "data serving.json", '"uid": "falaj-serving",', '"uid": falaj,'
        ),
    ),
]
IMAGES = [
    Defect(
        "image-from-outside",
        "An image from a registry outside",
        PROD,
        put(DEPLOYMENT, "mlflow", f"{FIRST} image", "docker.io/library/python:3.12-slim"),
    ),
    Defect(
        "tag-not-locked",
        "A version of our image that was never made",
        PROD,
        put(DEPLOYMENT, "mlflow", f"{FIRST} image", f"{OURS}/falaj/platform:0.2.0"),
    ),
    Defect(
        "image-without-tag",
        "An image without a version",
        PROD,
        put(DEPLOYMENT, "mlflow", f"{FIRST} image", f"{OURS}/falaj/platform"),
    ),
    Defect(
        "repository-missing",
        "An image of a repository that the registry does not have",
        PROD,
        put(DEPLOYMENT, "mlflow", f"{FIRST} image", f"{OURS}/falaj/tracking:0.1.0"),
    ),
    Defect(
        "repository-gone",
        "An image that the registry has no repository for",
        PROD,
        remove("ecr/repository:Repository", "docker.io/envoyproxy/envoy"),
    ),
    Defect(
        "chart-version-not-there",
        "A version of a chart that there is not",
        PROD,
        put(CHART, "cert-manager", "version", "v1.99.0"),
    ),
    Defect(
        "chart-value-misspelt",
        "A value that the chart does not know",
        PROD,
        put(CHART, "cert-manager", "values replicaCounts", 2),
    ),
    Defect(
        "chart-registry-misspelt",
        "A chart whose images are pulled from a registry that is none",
        PROD,
        put(CHART, "kyverno", "values global image registry", "registry.example.com"),
    ),
    Defect(
        "image-of-another-account",
        "An image of another account's registry",
        PROD,
        put(
            DEPLOYMENT,
            "mlflow",
            f"{FIRST} image",
            "111122223333.dkr.ecr.me-central-1.amazonaws.com/falaj/falaj/platform:0.1.0",
        ),
    ),
    Defect(
        "site-image-from-outside",
        "A site without internet pulls from outside",
        SITE,
        put(DEPLOYMENT, "mlflow", f"{FIRST} image", "quay.io/falaj/platform:0.1.0"),
    ),
    Defect(
        "definitions-left-out",
        "A chart that is installed without its definitions",
        PROD,
        lose(CHART, "cert-manager", "values crds"),
    ),
]
