import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.errors import ConfigError
from core.platform import Platform
from infra.addons.pipelines import kustomization, settings
from infra.addons.pipelines.component import CONNECTIONS, KEY_FILE, STEP_WRITES, Pipelines, PipelinesArgs, namespace
from infra.config.nodes import Taint
from infra.config.platform import Pipelines as Settings
from infra.config.platform import Quota
from infra.config.services import Size
from infra.substrates.base import PIPELINE_ARTIFACTS, PSEUDONYM_KEY, SecretKey
from infra.substrates.cluster import Placement
from pipelines.training import KEY_MOUNT, KEY_SECRET

SETTINGS = Settings(pool="pipelines", gpu_pool="gpu", step=Size(cpu=1, memory_mib=2048), run_days=3)
PLATFORM = Platform(
    mlflow_url="http://mlflow.falaj.svc.cluster.local:5000",
    runtime_url="http://inference.falaj.svc.cluster.local:8085",
    feature_store=settings.FILES,
    offline_store="s3://features",
    profiles="s3://profiles",
    model_repository="s3://models",
    pseudonym_key_file="/var/run/secrets/falaj/key",
    audit_log="s3://audit",
    lineage_log="s3://lineage",
)


@pytest.fixture
def installed(install: Callable[..., Any], tmp_path: Path) -> Any:
    def program(cluster: Any, opts: Any) -> None:
        args = PipelinesArgs(
            settings=SETTINGS,
            platform=PLATFORM,
            services=["mlflow", "inference"],
            files={"feature_store.yaml": "project: falaj\n"},
            folder=tmp_path / "pipelines",
        )
        Pipelines("pipelines", cluster, args, cluster.secret("monitoring", "ready", {}), opts)

    return install(program)


@pytest.fixture
def document(installed: Any, tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((tmp_path / "pipelines" / "kustomization.yaml").read_text())
    return found


def _patch(document: dict[str, Any], name: str) -> dict[str, Any]:
    for each in document["patches"]:
        if each["target"] == {"kind": "Deployment", "name": f"^{name}$"}:
            patch = json.loads(each["patch"])
            if "$patch" not in patch:
                found: dict[str, Any] = patch["spec"]["template"]["spec"]
                return found
    raise AssertionError(name)


def _config(installed: Any, name: str) -> dict[str, str]:
    found: dict[str, str] = installed.find(f"pipelines/{name}").inputs["data"]
    return found


def test_the_upstream_is_named_at_its_pins_and_brings_no_store(document: dict[str, Any]) -> None:
    assert all("?ref=" in resource for resource in document["resources"])
    assert not any(
        word in resource for resource in document["resources"] for word in ("seaweedfs", "mysql", "postgresql", "cache")
    )


def test_vendored_manifests_are_named_by_relative_paths() -> None:
    assert kustomization._below("../../vendor/manifests/argo-workflows", "base") == (
        "../../vendor/manifests/argo-workflows/base"
    )


def test_all_images_come_from_inside_the_country(document: dict[str, Any]) -> None:
    assert all(image["newName"].startswith("mirror.example.ae/") for image in document["images"])
    named = [
        value
        for patch in document["patches"]
        for value in json.dumps(json.loads(patch["patch"])).split('"')
        if "/kfp-" in value or "argoexec" in value or "falaj/platform" in value
    ]
    assert len(named) == 5
    assert all("mirror.example.ae/" in value for value in named)


def test_no_key_of_the_object_store_is_given_to_the_servers_but_a_sites_own(document: dict[str, Any]) -> None:
    (server,) = _patch(document, "ml-pipeline")["containers"]
    variables = {variable["name"]: variable for variable in server["env"]}
    assert variables["OBJECTSTORECONFIG_ACCESSKEY"]["value"] == ""
    assert variables["OBJECTSTORECONFIG_SECRETACCESSKEY"]["value"] == ""
    assert variables["AWS_ACCESS_KEY_ID"]["valueFrom"]["secretKeyRef"] == {"name": "falaj-aws", "key": "access-key"}


def test_both_databases_are_reached_over_verified_tls(installed: Any, document: dict[str, Any]) -> None:
    (server,) = _patch(document, "ml-pipeline")["containers"]
    variables = {variable["name"]: variable for variable in server["env"]}
    assert json.loads(variables["DBCONFIG_MYSQLCONFIG_EXTRAPARAMS"]["value"]) == {"tls": "true"}
    ini = _config(installed, "pipeline-settings")["pgbouncer.ini"]
    assert "server_tls_sslmode = verify-full" in ini
    assert "host=postgresql.example.ae port=5432" in ini
    assert "listen_addr = 127.0.0.1" in ini


def test_a_step_may_neither_start_pods_nor_read_secrets() -> None:
    rules = kustomization.roles()["pipeline-runner"]
    allowed = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    assert ("pods", "create") not in allowed
    assert not any(resource == "secrets" for resource, _ in allowed)
    assert not any(
        resource == "secrets" for rule in kustomization.roles()["ml-pipeline-ui"] for resource in rule["resources"]
    )


def test_steps_get_the_platform_and_their_stores_and_the_key_by_name_alone(installed: Any) -> None:
    assert _config(installed, "falaj-platform")["FALAJ_MLFLOW_URL"] == PLATFORM.mlflow_url
    assert _config(installed, "falaj-platform")["AWS_REGION"] == "me-central-1"
    pod = json.loads(json.loads(_config(installed, "pipeline-install-config")["workflowPatch"])["podSpecPatch"])
    (main,) = pod["containers"]
    assert {"configMapRef": {"name": "falaj-platform"}} in main["envFrom"]
    assert "pseudonym" not in json.dumps(pod)
    assert installed.cluster.secrets[f"pipelines/{KEY_SECRET}"] == {"key": "key"}
    assert f"{KEY_MOUNT}/key" == KEY_FILE


def test_the_identity_of_steps_is_what_the_components_use(installed: Any) -> None:
    (runner,) = [identity for identity in installed.cluster.identities if identity.account == "pipeline-runner"]
    assert PSEUDONYM_KEY in runner.reads
    assert set(runner.writes) == set(STEP_WRITES)
    assert runner.pods == settings.STEP
    (interface,) = [identity for identity in installed.cluster.identities if identity.account == "ml-pipeline-ui"]
    assert (interface.reads, interface.writes) == ([PIPELINE_ARTIFACTS], ())


def test_the_manifests_come_after_all_that_their_pods_read(installed: Any) -> None:
    before = installed.before("kubeflow-pipelines")
    assert {"namespace-pipelines", "identity-pipelines-pipeline-runner", "pipelines/kfp-launcher"} <= before
    assert {"secret-pipelines-mysql-secret", "pipelines/steps-runs-in"} <= before


def test_nothing_but_the_gateway_reaches_the_interface(installed: Any) -> None:
    assert not any(connection.callee == {"app": "ml-pipeline-ui"} for connection in CONNECTIONS)
    assert installed.cluster.namespaces["pipelines"].isolated
    (route,) = installed.cluster.routes
    assert (route.prefixes, route.rewrite, route.who) == (["/pipeline/"], None, "users")
    (backend,) = route.backends
    assert (backend.pods, backend.pod_port) == ({"app": "ml-pipeline-ui"}, 3000)


def test_the_quota_of_steps_is_beside_that_of_the_servers() -> None:
    found = namespace(SETTINGS)
    assert found.quota == Quota(cpu=18, memory_gib=70, pods=120)
    assert found.container == SETTINGS.step


def test_a_step_may_run_on_either_pool_and_only_a_gpu_s_tolerates_the_gpu() -> None:
    cpu = Placement(node_selector={"pool": "pipelines"}, tolerations=[Taint("pool", "pipelines")])
    gpu = Placement(
        node_selector={"pool": "gpu"}, tolerations=[Taint("pool", "gpu"), Taint("nvidia.com/gpu", "present")]
    )
    patch = json.loads(settings.workflow_patch(cpu, gpu, {}, ([], []), ["registry"]))
    required = patch["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    values = [term["matchExpressions"][0]["values"] for term in required["nodeSelectorTerms"]]
    assert values == [["pipelines"], ["gpu"]]
    assert [toleration["value"] for toleration in patch["tolerations"]] == ["gpu", "pipelines"]
    assert patch["imagePullSecrets"] == [{"name": "registry"}]


def test_pods_of_runs_go_after_the_days_that_the_stack_says(document: dict[str, Any]) -> None:
    (agent,) = _patch(document, "ml-pipeline-persistenceagent")["containers"]
    assert agent["env"][0]["value"] == str(3 * 86_400)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, {"useSDKCreds": True}),
        (
            {
                "AWS_ACCESS_KEY_ID": SecretKey(secret="falaj/objects", key="access-key"),
                "AWS_SECRET_ACCESS_KEY": SecretKey(secret="falaj/objects", key="secret-key"),
            },
            {"accessKeySecret": {"name": "falaj-objects", "key": "access-key"}},
        ),
    ],
)
def test_logs_go_to_the_store_with_the_pods_identity_or_the_sites_keys(
    keys: dict[str, SecretKey], expected: dict[str, Any]
) -> None:
    found = settings.workflows("bucket", "pipelines", "s3.example.ae", "9000", "me", keys, None, 3)
    store = json.loads(found["artifactRepository"])["s3"]
    assert store["endpoint"] == "s3.example.ae:9000"
    assert expected.items() <= store.items()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"AWS_REGION": "me-central-1"}, ("s3.me-central-1.amazonaws.com", "")),
        ({"AWS_ENDPOINT_URL_S3": "https://s3.example.ae:9000/"}, ("s3.example.ae", "9000")),
    ],
)
def test_the_store_is_found_from_what_its_clients_are_told(
    environment: dict[str, str], expected: tuple[str, str]
) -> None:
    assert settings.endpoint(environment) == expected


def test_artifacts_need_an_object_store() -> None:
    with pytest.raises(ConfigError, match="give the stack one"):
        settings.bucket("/var/artifacts")
