import json
from pathlib import Path

import pytest
import yaml

from core.errors import ConfigError
from infra.config import parse_config, schema

ROOT = Path(__file__).resolve().parents[2]
MINIMAL = {"substrate": {"kind": "local"}, "gateway": {}}


@pytest.mark.parametrize("file", sorted((ROOT / "stacks").glob("Pulumi.*.yaml")), ids=lambda file: file.name)
def test_every_stack_is_valid(file: Path) -> None:
    stack = file.name.split(".")[1]
    parse_config(yaml.safe_load(file.read_text())["config"]["falaj:stack"], stack)


def test_the_schema_file_is_what_the_classes_say() -> None:
    written = json.loads((ROOT / "stacks" / "schema.json").read_text())
    assert written == schema(), "run `python -m infra.config > stacks/schema.json`"


def test_an_absent_service_is_not_deployed() -> None:
    assert parse_config(MINIMAL, "local").mlflow is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mlfow": {}}, r"falaj:stack\.mlfow: Extra inputs"),
        ({"mlflow": {"port": 80}}, r"falaj:stack\.mlflow\.port: .*1024"),
        ({"mlflow": {"port": 8080}}, "mlflow.port and gateway.port are both 8080"),
        ({"inference": {}}, "needs feature_server"),
        ({"substrate": {"kind": "moon"}}, r"falaj:stack\.substrate\.kind"),
        ({"prometheus": {"retention": "forever"}}, r"falaj:stack\.prometheus\.retention"),
    ],
)
def test_a_fault_is_named_with_its_file_and_key(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config(MINIMAL | change, "local")
    assert "stacks/Pulumi.local.yaml" in str(caught.value)


def test_a_stack_without_configuration_is_told_where_it_goes() -> None:
    with pytest.raises(ConfigError, match=r"stacks/Pulumi\.dev\.yaml has no falaj:stack"):
        parse_config(None, "dev")
