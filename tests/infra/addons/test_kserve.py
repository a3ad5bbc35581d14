from collections.abc import Callable, Sequence
from typing import Any

import pytest

from core.errors import ConfigError
from infra.addons import kserve, models
from infra.config import parse_config
from infra.config.platform import ModelVersion, Serving
from infra.signals import runtime_signals
from infra.substrates.base import SecretKey, Signal
from infra.substrates.cluster import Access
from serving.runtime.settings import Settings
from tests.infra.variations import document

VERSIONS = {
    "v1": {"repository": "housing-1", "weight": 90, "replicas": {"minimum": 2, "maximum": 4}},
    "v2": {"repository": "housing-2", "weight": 10, "size": {"cpu": 2, "memory_mib": 4096, "gpus": 1}},
}
SERVING = {"gpu_pool": "gpu", "models": {"housing": {"versions": VERSIONS}}}


def served(install: Callable[..., Any], signals: Sequence[Signal] = (), **changes: Any) -> Any:
    settings = Serving.model_validate(SERVING | changes)

    def program(cluster: Any, opts: Any) -> None:
        certificates = cluster.secret("cert-manager", "ready", {})
        controller = kserve.KServe("kserve", cluster, "ml.example.ae", [certificates], opts)
        models.Models("models", cluster, settings, [controller.ready], certificates, signals, opts)

    return install(program)


def test_definitions_come_before_the_controller_and_the_controller_before_the_runtimes(
    install: Callable[..., Any],
) -> None:
    tried = served(install)
    assert {"kserve-crd", "secret-cert-manager-ready", "namespace-kserve"} <= tried.before("kserve-resources")
    for runtime, image in ((models.RUNTIME, "platform"), (models.GPU_RUNTIME, "platform-gpu")):
        assert tried.before(runtime) == {"kserve-resources"}
        (container,) = tried.find(runtime).inputs["spec"]["containers"]
        assert container["image"].startswith(f"mirror.example.ae/falaj/{image}:")
        assert tried.find(runtime).inputs["spec"]["imagePullSecrets"] == [{"name": "registry"}]


def test_a_version_waits_for_what_it_runs_by(install: Callable[..., Any]) -> None:
    before = served(install).before("housing-v1")
    assert {models.RUNTIME, models.GPU_RUNTIME, "identity-serving-models"} <= before


def test_weights_are_those_of_the_route_to_each_versions_service(install: Callable[..., Any]) -> None:
    tried = served(install)
    (route,) = tried.cluster.routes
    assert list(route.prefixes) == ["/serving/serving/housing/"]
    assert [(backend.service, backend.port, backend.weight) for backend in route.backends] == [
        ("housing-v1-predictor", 80, 90),
        ("housing-v2-predictor", 80, 10),
    ]
    assert route.backends[0].pods == {"app": "isvc.housing-v1-predictor"}
    (variable,) = tried.find("housing-v1").inputs["spec"]["predictor"]["model"]["env"]
    assert variable == {"name": "FALAJ_MODEL_REPOSITORY", "value": "s3://falaj-test-artifacts/models/housing-1"}


def test_versions_follow_their_cpu_unless_the_stack_says_by_what_else(install: Callable[..., Any]) -> None:
    version = served(install).find("housing-v1").inputs
    spec = version["spec"]["predictor"]
    assert (spec["scaleMetric"], spec["scaleTarget"]) == ("cpu", 70)
    assert "autoScaling" not in spec
    assert "annotations" not in version["metadata"]


def test_keda_scales_versions_by_the_stacks_signals_within_their_bounds(install: Callable[..., Any]) -> None:
    signals = runtime_signals(parse_config(document("prod"), "prod"))
    version = served(install, signals).find("housing-v1").inputs
    spec = version["spec"]["predictor"]
    assert version["metadata"]["annotations"] == {"serving.kserve.io/autoscalerClass": "keda"}
    # KServe refuses these two beside KEDA.
    assert not {"scaleMetric", "scaleTarget"} & spec.keys()
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 4)
    cpu, *read = spec["autoScaling"]["metrics"]
    assert cpu["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    for metric, signal in zip(read, signals, strict=True):
        assert metric["external"]["target"] == {"type": "Value", "value": signal.target}
        assert metric["external"]["metric"]["query"] == signal.query("serving", "housing-v1-predictor")


def test_a_version_names_its_card_and_has_no_address_of_its_own() -> None:
    version = ModelVersion(repository="housing-1", weight=100, card="sha256:" + "5f" * 32)
    described = models.metadata("housing", "v1", version)
    assert described.labels == {"networking.kserve.io/visibility": "cluster-local"}
    assert described.annotations == {"falaj.ae/model-card": version.card}
    assert models.metadata("housing", "v1", version.model_copy(update={"card": None})).annotations is None


def test_a_gpu_is_asked_for_where_a_version_has_one(install: Callable[..., Any]) -> None:
    tried = served(install)
    plain, accelerated = (tried.find(f"housing-{version}").inputs["spec"]["predictor"] for version in ("v1", "v2"))
    assert (plain["model"]["runtime"], accelerated["model"]["runtime"]) == (models.RUNTIME, models.GPU_RUNTIME)
    assert "nvidia.com/gpu" not in plain["model"]["resources"]["limits"]
    assert accelerated["model"]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert accelerated["nodeSelector"] == {"falaj.ae/pool": "gpu"}


def test_a_stack_without_gpus_has_no_runtime_for_them(install: Callable[..., Any]) -> None:
    tried = served(install, gpu_pool=None, models={})
    assert models.GPU_RUNTIME not in {resource.name for resource in tried.graph.resources}


def test_models_read_their_store_and_write_the_log_alone(install: Callable[..., Any]) -> None:
    (identity,) = served(install).cluster.identities
    assert [store.name for store in identity.reads] == ["models"]
    assert [store.name for store in identity.writes] == ["inference-log"]


@pytest.mark.parametrize("weights", [(90, 9), (100, 1), (0, 0)])
def test_weights_that_make_no_whole_are_refused(weights: tuple[int, int]) -> None:
    changed = document("onprem")
    versions = {
        version: VERSIONS[version] | {"weight": weight} for version, weight in zip(VERSIONS, weights, strict=True)
    }
    changed["serving"] |= {"models": {"housing": {"versions": versions}}}
    with pytest.raises(ConfigError, match=f"add up to {sum(weights)}"):
        parse_config(changed, "onprem")


def test_a_version_that_fits_no_node_is_refused() -> None:
    changed = document("onprem")
    large = VERSIONS["v1"] | {"weight": 100, "size": {"cpu": 64, "memory_mib": 1024}}
    changed["serving"] |= {"models": {"housing": {"versions": {"v1": large}}}}
    with pytest.raises(ConfigError, match=r"serving\.models\.housing\.versions\.v1\.size"):
        parse_config(changed, "onprem")


def test_models_are_reached_through_our_own_routes() -> None:
    controller = kserve.values("m/docker.io", "m/quay.io", "ml.example.ae")["kserve"]["controller"]
    assert controller["deploymentMode"] == "Standard"
    assert controller["gateway"]["disableIngressCreation"] is True
    assert controller["gateway"]["ingressGateway"]["enableGatewayApi"] is True


def test_all_images_come_from_inside_the_country() -> None:
    parts = kserve.values("m/docker.io", "m/quay.io", "ml.example.ae")["kserve"]
    images = [value for part in parts.values() for key, value in part.items() if key in ("image", "rbacProxyImage")]
    assert len(images) == 5
    assert all(image.startswith("m/") for image in images)


ACCESS = Access(
    environment={"AWS_REGION": "me-central-1", "AWS_CA_BUNDLE": "/etc/falaj-authorities/objects.crt"},
    secrets={"AWS_ACCESS_KEY_ID": SecretKey(secret="falaj/store", key="access-key")},
    files={"/etc/falaj-authorities/objects.crt": SecretKey(secret="authority", key="ca.crt")},
)


def test_the_runtime_fits_a_restricted_namespace() -> None:
    (container,) = models.runtime("m/falaj/platform:1", "cpu", "s3://log/log", ACCESS, [])["containers"]
    security = container["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}


def test_the_runtime_takes_the_settings_that_it_is_given() -> None:
    (container,) = models.runtime("m", "cuda", "s3://log/log", ACCESS, [])["containers"]
    assert container["command"] == ["python", "-m", "serving.runtime"]
    settings = Settings.parse(container["args"], {models.REPOSITORY: "s3://models/housing-1"})
    assert (settings.http_port, settings.model_repository) == (8080, "s3://models/housing-1")
    assert (settings.provider, settings.cpu_fallback) == ("cuda", False)
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert settings.log_spool is not None
    assert any(settings.log_spool.is_relative_to(folder) for folder in writable)


def test_the_stores_authority_is_where_the_client_looks() -> None:
    spec = models.runtime("m", "cuda", "s3://log/log", ACCESS, [])
    (container,) = spec["containers"]
    values = {entry["name"]: entry.get("value") for entry in container["env"]}
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert any(values["AWS_CA_BUNDLE"].startswith(f"{folder}/") for folder in mounted.values())
    assert mounted.keys() <= {volume["name"] for volume in spec["volumes"]}
