import itertools
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from components.image import IMAGE
from core.digest import ROOT
from core.errors import ConfigError
from core.pins import FILE, pins

TEXT = FILE.read_text()


def test_every_version_is_text_and_known_by_its_name() -> None:
    found = pins()
    assert found.chart("karpenter").oci == "oci://public.ecr.aws/karpenter/karpenter"
    assert found.chart("cert-manager").oci is None
    assert found.manifest("kubeflow-pipelines").address("env/platform-agnostic") == (
        "https://github.com/kubeflow/pipelines//manifests/kustomize/env/platform-agnostic?ref="
        + found.manifest("kubeflow-pipelines").version
    )


def test_a_bot_finds_every_version_of_others() -> None:
    lines = TEXT.splitlines()
    bare = [
        line.strip()
        for above, line in itertools.pairwise(lines)
        if re.match(r"\s+(version|kubernetes|python|[a-z-]+-[a-z-]+|coredns): \S", line)
        and "# renovate: datasource=" not in above
        and "falaj/" not in above
    ]
    assert bare == []


def test_charts_of_one_release_have_one_version() -> None:
    charts = pins().charts
    for prefix in ("kserve", "karpenter"):
        assert len({chart.version for name, chart in charts.items() if name.startswith(prefix)}) == 1


def test_training_and_serving_run_the_python_that_is_locked() -> None:
    found = pins()
    bounds = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert bounds.startswith(f">={found.versions.python}")
    assert found.image("python").version.startswith(f"{found.versions.python}-")
    assert f"{found.image('platform').repository}:{found.image('platform').version}" == IMAGE


def test_the_pipeline_backend_is_that_of_the_sdk() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    sdk = next(package["version"] for package in lock["package"] if package["name"] == "kfp")
    assert sdk.split(".")[:2] == pins().manifest("kubeflow-pipelines").version.split(".")[:2]


def test_an_unknown_pin_is_told_which_there_are() -> None:
    with pytest.raises(ConfigError, match=r"pins\.yaml has no charts\.moon: add it, or name one of aws-load-balancer"):
        pins().chart("moon")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"charts": {"moon": {"repository": "http://moon", "version": "1"}}}, r"charts\.moon\.repository"),
        ({"charts": {"moon": {"repository": "https://moon", "version": 1.0}}}, r"charts\.moon\.version"),
        ({"images": {"moon": {"repository": "moon/x", "version": ""}}}, r"images\.moon\.version"),
        ({"eks_addons": {"moon": "v1"}}, r"eks_addons\.moon"),
        ({"more": {}}, "more: Extra inputs"),
        ({"charts": None}, "cannot be read"),
    ],
)
def test_a_fault_is_named(change: dict[str, object], message: str, tmp_path: Path) -> None:
    file = tmp_path / "pins.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(TEXT) | change))
    with pytest.raises(ConfigError, match=message):
        pins(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pins\.yaml cannot be read"):
        pins(tmp_path / "pins.yaml")
