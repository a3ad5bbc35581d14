"""The one schema of every stack: what `stacks/Pulumi.<stack>.yaml` holds under `falaj:stack`.

`python -m infra.config > stacks/schema.json` writes the JSON schema that editors complete from. A
part that is absent from a stack is not deployed there.
"""

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from core.errors import ConfigError
from infra.config.aws import Aws
from infra.config.governance import Governance
from infra.config.kubernetes import Kubernetes
from infra.config.services import FeatureServer, Gateway, Inference, Mlflow, Prometheus
from infra.config.stack import Local, StackConfig

__all__ = [
    "KEY",
    "Aws",
    "FeatureServer",
    "Gateway",
    "Governance",
    "Inference",
    "Kubernetes",
    "Local",
    "Mlflow",
    "Prometheus",
    "StackConfig",
    "parse_config",
    "schema",
]

KEY = "stack"
"""The key under which a stack's file holds its configuration, in the project's namespace."""


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
        faults = [f"  {_place(fault)}: {_remedy(fault)}" for fault in error.errors()]
        raise ConfigError(f"{file} is not valid:\n" + "\n".join(faults)) from error


_UNIONS = {"substrate": {"local", "aws", "kubernetes"}, "tls": {"acme", "authority", "certificate"}}
_UNIONS["secrets"] = {"vault", "cluster"}


def _place(fault: ErrorDetails) -> str:
    """The key as a person finds it in the file: without the names of a union's members, which pydantic adds."""
    kept: list[str] = []
    above: int | str | None = None
    for part in fault["loc"]:
        if part not in _UNIONS.get(str(above), ()):
            kept.append(f"[{part}]" if isinstance(part, int) else f".{part}")
        above = part
    if fault["type"].startswith("union_tag"):
        kept.append(".kind")
    return f"falaj:{KEY}" + "".join(kept)


def _remedy(fault: ErrorDetails) -> str:
    match fault["type"]:
        case "extra_forbidden":
            return "there is no such key: remove it, or correct its spelling"
        case "missing":
            return "this is needed: add it"
        case _:
            return fault["msg"].removeprefix("Value error, ")


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
