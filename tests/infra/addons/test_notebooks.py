from collections.abc import Callable
from typing import Any

import pytest

from infra.addons import notebooks
from infra.addons.notebooks import Images, Notebooks, NotebooksArgs, Tokens, values
from infra.config.nodes import Taint
from infra.config.platform import Notebooks as Settings
from infra.config.platform import Quota
from infra.config.services import Certificate, Oidc, Public
from infra.substrates.cluster import Placement

PUBLIC = Public(
    hostname="ml.example.ae",
    tls=Certificate(kind="certificate", secret="falaj/certificate"),
    oidc=Oidc(
        issuer="https://login.example.ae/realms/example",
        jwks="https://login.example.ae/certs",
        client_id="falaj",
        client_secret="falaj/oidc",
        authority="site-authority",
        users=("data-scientists",),
        administrators=("platform-administrators",),
    ),
    allow_from=("10.0.0.0/8",),
)
SETTINGS = Settings(
    pool="general", gpu_pool="gpu", users=20, idle_minutes=30, quota=Quota(cpu=40, memory_gib=160, gpus=1)
)
ARGS = NotebooksArgs(settings=SETTINGS, public=PUBLIC, services=["mlflow"], entrance=["10.50.0.0/16"])
IMAGES = Images(notebook="m/falaj/platform:1@sha256:0", gpu="m/falaj/platform-gpu:1", quay="m/quay.io")
PLACES = {
    "services": Placement(node_selector={"pool": "services"}, tolerations=[]),
    "cpu": Placement(node_selector={"pool": "general"}, tolerations=[]),
    "gpu": Placement(node_selector={"pool": "gpu"}, tolerations=[Taint("nvidia.com/gpu", "present")]),
}


@pytest.fixture
def found() -> dict[str, Any]:
    return values(ARGS, IMAGES, Tokens(proxy="a", cookies="b", state="c"), "encrypted", PLACES, ["registry"])


@pytest.fixture
def installed(install: Callable[..., Any]) -> Any:
    return install(lambda cluster, opts: Notebooks("notebooks", cluster, ARGS, opts))


def test_people_sign_in_at_the_issuer_and_no_header_is_believed(found: dict[str, Any]) -> None:
    config = found["hub"]["config"]
    assert config["JupyterHub"]["authenticator_class"] == "generic-oauth"
    assert config["GenericOAuthenticator"]["allowed_groups"] == ["data-scientists", "platform-administrators"]
    assert config["GenericOAuthenticator"]["admin_groups"] == ["platform-administrators"]
    assert config["GenericOAuthenticator"]["oauth_callback_url"] == (
        "https://ml.example.ae/notebooks/hub/oauth_callback"
    )
    assert "client_secret" not in config["GenericOAuthenticator"]
    secret = found["hub"]["extraEnv"]["OAUTH_CLIENT_SECRET"]["valueFrom"]["secretKeyRef"]
    assert secret == {"name": "falaj-oidc", "key": "client-secret"}


def test_the_issuers_addresses_are_asked_of_the_issuer(found: dict[str, Any]) -> None:
    program = found["hub"]["extraConfig"]["issuer"]
    compile(program, "issuer", "exec")
    assert "'https://login.example.ae/realms/example' + \"/.well-known/openid-configuration\"" in program
    assert found["hub"]["config"]["GenericOAuthenticator"]["http_request_kwargs"] == {
        "ca_certs": found["hub"]["extraEnv"]["SSL_CERT_FILE"]
    }


def test_administrators_do_not_enter_the_notebooks_of_others(found: dict[str, Any]) -> None:
    assert found["hub"]["config"]["JupyterHub"]["admin_access"] is False


def test_a_notebook_reaches_the_gateway_and_names_alone(found: dict[str, Any]) -> None:
    network = found["singleuser"]["networkPolicy"]
    assert [rule for rule, allowed in network["egressAllowRules"].items() if allowed] == ["dnsPortsKubeSystemNamespace"]
    to = [peer for rule in network["egress"] for peer in rule["to"]]
    assert [peer["ipBlock"]["cidr"] for peer in to if "ipBlock" in peer] == ["10.50.0.0/16"]
    assert [rule["ports"][0]["port"] for rule in network["egress"]] == [10443, 443]
    assert found["singleuser"]["cloudMetadata"]["blockWithIptables"] is False


def test_no_notebook_reaches_another_s(installed: Any) -> None:
    assert installed.cluster.namespaces["notebooks"].isolated


def test_a_notebook_is_restricted_and_has_an_encrypted_home(found: dict[str, Any]) -> None:
    spawner = found["hub"]["config"]["KubeSpawner"]
    assert spawner["container_security_context"]["capabilities"] == {"drop": ["ALL"]}
    assert spawner["pod_security_context"]["runAsNonRoot"] is True
    assert found["singleuser"]["storage"]["dynamic"] == {"storageClass": "encrypted"}
    assert found["hub"]["db"]["pvc"]["storageClassName"] == "encrypted"


def test_the_image_is_put_together_as_it_was(found: dict[str, Any]) -> None:
    image = found["singleuser"]["image"]
    assert f"{image['name']}:{image['tag']}" == IMAGES.notebook


def test_limits_are_those_of_the_stack(found: dict[str, Any]) -> None:
    assert found["hub"]["activeServerLimit"] == 20
    assert found["cull"]["timeout"] == 1800
    assert notebooks.namespace(SETTINGS).quota == Quota(cpu=41, memory_gib=162, gpus=1, pods=105)


def test_a_gpu_is_a_choice_where_there_is_a_pool_of_them(found: dict[str, Any]) -> None:
    cpu, gpu = found["singleuser"]["profileList"]
    assert cpu["default"] is True
    assert gpu["kubespawner_override"]["image"] == IMAGES.gpu
    assert gpu["kubespawner_override"]["node_selector"] == {"pool": "gpu"}
    assert len(notebooks.profiles(SETTINGS, IMAGES, None)) == 1


def test_only_the_gateway_reaches_the_proxy(found: dict[str, Any], installed: Any) -> None:
    assert found["proxy"]["service"] == {"type": "ClusterIP"}
    assert found["proxy"]["chp"]["networkPolicy"]["allowedIngressPorts"] == []
    (route,) = installed.cluster.routes
    assert (route.prefixes, route.websockets) == (["/notebooks/"], True)


def test_tokens_are_made_once_and_shown_to_no_one(installed: Any) -> None:
    given = installed.find("jupyterhub").inputs["values"]
    assert given["proxy"]["secretToken"] == given["hub"]["cookieSecret"] == "[secret]"
    assert given["hub"]["config"]["CryptKeeper"]["keys"] == ["[secret]"]
    lengths = [installed.find(f"notebooks-{kind}").inputs["length"] for kind in ("proxy", "cookies", "state")]
    assert lengths == [32, 32, 32]


def test_the_hub_comes_after_the_secret_that_it_signs_in_with(installed: Any) -> None:
    assert {"secret-notebooks-falaj-oidc", "secret-notebooks-site-authority"} <= installed.before("jupyterhub")
