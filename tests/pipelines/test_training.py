"""The training pipeline as a cluster gets it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler

from components.image import IMAGE
from pipelines.training import KEY_MOUNT, KEY_SECRET, training

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


def test_ingest_alone_reads_the_key_of_pseudonyms(documents: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert set(documents[1]) == {"exec-ingest"}
    (secret,) = documents[1]["exec-ingest"]["secretAsVolume"]
    assert (secret["secretName"], secret["mountPath"]) == (KEY_SECRET, KEY_MOUNT)


def test_a_stack_names_the_image_in_its_own_registry() -> None:
    environment = os.environ | {"FALAJ_IMAGE": "registry.example.ae/falaj/platform@sha256:0"}
    program = "from components.image import IMAGE; print(IMAGE)"
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=GOLDEN.parents[1], env=environment, check=True, capture_output=True
    )
    assert found.stdout.decode().strip() == "registry.example.ae/falaj/platform@sha256:0"
