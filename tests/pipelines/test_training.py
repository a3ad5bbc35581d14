"""The training pipeline as a cluster gets it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler

from components.image import IMAGE
from core.platform import Platform
from pipelines.training import CONFIG_MAP, KEY_SECRET, training

GOLDEN = Path(__file__).resolve().parents[2] / "pipelines" / "training.yaml"
STEPS = {"ingest", "validate", "featurize", "train", "export", "evaluate", "register", "deploy"}
REGENERATE = "if this is meant: .venv/bin/kfp dsl compile --py pipelines/training.py --output pipelines/training.yaml"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("pipelines") / "training.yaml"
    compiler.Compiler().compile(training, str(file))
    return file.read_text()


@pytest.fixture(scope="module")
def documents(compiled: str) -> tuple[dict[str, Any], dict[str, Any]]:
    pipeline, platforms = yaml.safe_load_all(compiled)
    return pipeline, platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def test_the_compiled_pipeline_is_the_golden(compiled: str) -> None:
    assert compiled == GOLDEN.read_text(), REGENERATE


def test_every_step_runs_in_the_platforms_image_and_installs_nothing(
    documents: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    executors = documents[0]["deploymentSpec"]["executors"]
    assert {name.removeprefix("exec-") for name in executors} == STEPS
    for executor in executors.values():
        assert executor["container"]["image"] == IMAGE
        assert "pip install" not in " ".join(executor["container"]["command"])


def test_no_step_is_cached(documents: tuple[dict[str, Any], dict[str, Any]]) -> None:
    for task in documents[0]["root"]["dag"]["tasks"].values():
        assert not task["cachingOptions"].get("enableCache", False)


def test_nothing_is_published_before_it_is_validated(documents: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert "validate" in documents[0]["root"]["dag"]["tasks"]["featurize"]["dependentTasks"]


def test_every_step_knows_the_platform_and_ingest_alone_the_key(
    documents: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    for name, executor in documents[1].items():
        (config_map,) = executor["configMapAsEnv"]
        assert config_map["configMapName"] == CONFIG_MAP
        assert {each["envVar"] for each in config_map["keyToEnv"]} == set(Platform.variables())
        secrets = [each["secretName"] for each in executor.get("secretAsVolume", [])]
        assert secrets == ([KEY_SECRET] if name == "exec-ingest" else [])
