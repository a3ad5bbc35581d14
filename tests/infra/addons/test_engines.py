"""Kubeflow Trainer and the Spark operator."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from infra.addons import rights, spark, trainer
from infra.addons.limits import Rule, binding, policy
from infra.config.nodes import Taint
from infra.config.platform import Quota, Spark, Training
from infra.config.services import Size
from infra.substrates.base import RAW, SecretKey
from infra.substrates.cluster import Access, Placement

QUOTA = Quota(cpu=64, memory_gib=512, gpus=4)
TRAINING = Training(pool="gpu", workers=4, worker=Size(cpu=12, memory_mib=98_304, gpus=1), quota=QUOTA)
SPARK = Spark(pool="pipelines", executors=8, executor=Size(cpu=4, memory_mib=22_528))
PLACE = Placement(node_selector={"falaj.ae/pool": "gpu"}, tolerations=[Taint("nvidia.com/gpu", "present")])
ACCESS = Access(
    environment={"AWS_REGION": "me-central-1"},
    secrets={"AWS_ACCESS_KEY_ID": SecretKey(secret="falaj/objects", key="access-key")},
    files={"/etc/falaj-authorities/objects.crt": SecretKey(secret="site-authority", key="ca.crt")},
)


@pytest.fixture
def trained(install: Callable[..., Any]) -> Any:
    return install(lambda cluster, opts: trainer.Trainer("trainer", cluster, TRAINING, ["mlflow"], 2, opts))


@pytest.fixture
def sparked(install: Callable[..., Any]) -> Any:
    return install(lambda cluster, opts: spark.Spark("spark", cluster, SPARK, 1, opts))


def _worker(image: str = "m/falaj/platform-gpu:1") -> dict[str, Any]:
    spec = trainer.runtime(image, TRAINING.worker, 4, PLACE, ACCESS, ["registry"])
    (job,) = spec["template"]["spec"]["replicatedJobs"]
    found: dict[str, Any] = job["template"]["spec"]["template"]["spec"]
    return found


def test_a_worker_runs_in_our_image_on_its_pool_with_its_gpu(trained: Any) -> None:
    spec = trained.find(trainer.RUNTIME).inputs["spec"]
    assert spec["mlPolicy"] == {"numNodes": 4, "torch": {}}
    (job,) = spec["template"]["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"falaj.ae/pool": "gpu"}
    (container,) = pod["containers"]
    assert container["image"].startswith("mirror.example.ae/falaj/platform-gpu")
    assert container["resources"]["limits"] == {"memory": "98304Mi", "nvidia.com/gpu": "1"}


def test_a_worker_without_gpus_takes_the_smaller_image(install: Callable[..., Any]) -> None:
    settings = TRAINING.model_copy(update={"worker": Size(cpu=2, memory_mib=4096)})
    tried = install(lambda cluster, opts: trainer.Trainer("trainer", cluster, settings, [], 1, opts))
    (job,) = tried.find(trainer.RUNTIME).inputs["spec"]["template"]["spec"]["replicatedJobs"]
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    assert "platform-gpu" not in container["image"]
    assert "nvidia.com/gpu" not in container["resources"]["requests"]


def test_a_worker_is_restricted_and_has_no_token() -> None:
    pod = _worker()
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {"name": "AWS_REGION", "value": "me-central-1"} in container["env"]
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {
        "/tmp",  # noqa: S108
        "/dev/shm",  # noqa: S108
        "/etc/falaj-authorities",
    }


def test_the_runtime_comes_after_the_controllers_and_all_that_its_pods_read(trained: Any) -> None:
    before = trained.before(trainer.RUNTIME)
    assert {"kubeflow-trainer", "identity-training-trainer", "training/trainer", "secret-training-falaj-aws"} <= before


def test_workers_reach_each_other_and_the_services_that_the_stack_names(trained: Any) -> None:
    rule = trained.find("training/workers-out").inputs["spec"]["egress"]
    assert rule == [{"to": [{"podSelector": {"matchLabels": {}}}]}]
    assert trained.cluster.connections == [("training", {}, ["mlflow"])]


@pytest.mark.parametrize(
    ("values", "images"),
    [
        (trainer.values("m/ghcr.io", "m/registry.k8s.io", PLACE, 1), ["m/ghcr.io", "m/registry.k8s.io/jobset/jobset"]),
        (spark.values("m/ghcr.io", PLACE, 1), ["m/ghcr.io"]),
    ],
)
def test_all_images_come_from_inside_the_country(values: dict[str, Any], images: list[str]) -> None:
    found = [values["image"]["registry"]]
    found += [values["jobset"]["image"]["repository"]] if "jobset" in values else []
    assert found == images


def test_a_spark_job_is_shown_whole(sparked: Any) -> None:
    document = yaml.safe_load(sparked.find(f"spark/{spark.EXAMPLE}").inputs["data"]["application.yaml"])
    spec = document["spec"]
    assert spec["image"].startswith("mirror.example.ae/docker.io/apache/spark:")
    assert spec["driver"]["serviceAccount"] == spark.ACCOUNT
    assert spec["executor"]["nodeSelector"] == {"falaj.ae/pool": "pipelines"}
    assert spec["executor"]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    # With the tenth that Spark adds, an executor is as large as the stack says.
    assert round(int(spec["executor"]["memory"].removesuffix("m")) * 1.1) <= SPARK.executor.memory_mib


def test_the_operator_acts_in_the_namespace_of_jobs_alone(sparked: Any) -> None:
    values = sparked.find("spark-operator").inputs["values"]
    assert values["spark"]["jobNamespaces"] == ["spark"]
    assert "namespace-spark" in sparked.before("spark-operator")
    (identity,) = sparked.cluster.identities
    assert (identity.account, tuple(identity.reads)) == ("spark", (RAW,))


def test_drivers_alone_call_the_clusters_api(sparked: Any) -> None:
    spec = sparked.find("spark/drivers-api").inputs["spec"]
    assert spec["podSelector"] == {"matchLabels": {"spark-role": "driver"}}


@pytest.mark.parametrize("engine", ["training", "spark"])
def test_steps_of_pipelines_may_submit_jobs_and_nothing_else(engine: str, trained: Any, sparked: Any) -> None:
    tried = trained if engine == "training" else sparked
    role = tried.find(f"{engine}/pipeline-runner")
    binding_ = [r for r in tried.graph.resources if r.name == role.name and "subjects" in r.inputs]
    assert binding_[0].inputs["subjects"] == [
        {"kind": "ServiceAccount", "name": "pipeline-runner", "namespace": "pipelines"}
    ]
    resources = {name for rule in rights.rules("group", ["jobs"]) for name in rule["resources"]}
    assert resources == {"jobs", "pods", "pods/log"}


def test_what_is_refused_says_which_setting_to_change() -> None:
    for rule in (*trainer.most(4), *spark.most(4)):
        assert " of the stack" in rule.message
    spec = policy("group", ["v1"], ["jobs"], [Rule(expression="true", message="why")])
    assert spec["failurePolicy"] == "Fail"
    assert binding("jobs", trainer.jobs(TRAINING))["matchResources"] == {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "training"}}
    }
