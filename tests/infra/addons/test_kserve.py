from collections.abc import Callable
from typing import Any

from infra.addons import kserve


def test_definitions_come_before_the_controller_and_the_controller_before_the_runtime(
    install: Callable[..., Any],
) -> None:
    def program(cluster: Any, opts: Any) -> None:
        certificates = cluster.secret("cert-manager", "ready", {})
        kserve.KServe("kserve", cluster, "ml.example.ae", [certificates], opts)

    tried = install(program)
    assert {"kserve-crd", "secret-cert-manager-ready", "namespace-kserve"} <= tried.before("kserve-resources")
    assert tried.before(kserve.RUNTIME) == {"kserve-resources"}
    (container,) = tried.find(kserve.RUNTIME).inputs["spec"]["containers"]
    assert container["image"].startswith("mirror.example.ae/falaj/platform:")


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


def test_the_runtime_fits_a_restricted_namespace() -> None:
    (container,) = kserve.runtime("m/falaj/platform:1", ["registry"])["containers"]
    security = container["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert kserve.runtime("m", ["registry"])["imagePullSecrets"] == [{"name": "registry"}]
