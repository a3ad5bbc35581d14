"""The one schema of every stack: what `stacks/Pulumi.<stack>.yaml` holds under `falaj:stack`.

`python -m infra.config > stacks/schema.json` writes the JSON schema that editors complete from. A
service that is absent from a stack is not deployed there.
"""

import json
import sys
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import ConfigError

KEY = "stack"
"""The key under which a stack's file holds its configuration, in the project's namespace."""

Port = Annotated[int, Field(ge=1024, le=65535)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Local(_Model):
    """Processes on this machine, all on the loopback interface."""

    kind: Literal["local"]


class Gateway(_Model):
    """Envoy: the one address in front of all services."""

    port: Port = 8080
    max_body_bytes: Annotated[int, Field(ge=1024)] = 32 << 20
    """Largest request that inference and the feature server are given; artifacts are not limited."""
    max_connections: Annotated[int, Field(ge=1)] = 4096
    """Connections and requests that may be under way to one service; more are refused with 503."""


class Mlflow(_Model):
    """MLflow: experiment tracking, model registry and artifacts."""

    port: Port = 5000


class FeatureServer(_Model):
    """Feast's feature server."""

    port: Port = 6566
    registry_ttl_seconds: Annotated[int, Field(ge=1)] = 5
    """How long the server may answer from an older registry after a pipeline registered features."""


class Inference(_Model):
    """The KServe inference runtime."""

    http_port: Port = 8085
    grpc_port: Port = 8086
    grace_seconds: Annotated[int, Field(ge=1)] = 30
    """How long requests under way may take to finish when the runtime is stopped."""


class Prometheus(_Model):
    """Prometheus: metrics of all services, and the rules in monitoring/alerts."""

    port: Port = 9090
    retention: Annotated[str, Field(pattern=r"^\d+[hdwy]$")] = "15d"
    scrape_seconds: Annotated[int, Field(ge=1)] = 5


class StackConfig(_Model):
    """Everything that differs between environments."""

    substrate: Local
    gateway: Gateway
    mlflow: Mlflow | None = None
    feature_server: FeatureServer | None = None
    inference: Inference | None = None
    prometheus: Prometheus | None = None

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        owners: dict[int, str] = {}
        for key, port in self.ports().items():
            if port in owners:
                raise ValueError(f"{key} and {owners[port]} are both {port}: give one of them another port")
            owners[port] = key
        return self

    @model_validator(mode="after")
    def _inference_has_features(self) -> Self:
        if self.inference is not None and self.feature_server is None:
            raise ValueError("inference looks features up by id: it needs feature_server")
        return self

    def ports(self) -> dict[str, int]:
        """Every port by its key, such as `inference.http_port`."""
        return {
            f"{service}.{field}": value
            for service, settings in self
            if isinstance(settings, BaseModel)
            for field, value in settings
            if field == "port" or field.endswith("_port")
        }


def parse_config(document: object, stack: str) -> StackConfig:
    """Validate what a stack's file holds.

    Raises:
        ConfigError: The message names the file and each key at fault.
    """
    file = f"stacks/Pulumi.{stack}.yaml"
    if document is None:
        raise ConfigError(f"{file} has no falaj:{KEY}: see stacks/Pulumi.local.yaml for an example")
    try:
        return StackConfig.model_validate(document)
    except ValidationError as error:
        faults = [
            f"  falaj:{KEY}{''.join(f'.{part}' for part in fault['loc'])}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        ]
        raise ConfigError(f"{file} is not valid:\n" + "\n".join(faults)) from error


def schema() -> dict[str, Any]:
    """The JSON schema of a stack's file."""
    stack = StackConfig.model_json_schema(ref_template="#/$defs/{model}")
    definitions = stack.pop("$defs")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"config": {"type": "object", "properties": {f"falaj:{KEY}": stack}}},
        "$defs": definitions,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
