"""Where a step or service finds the rest of the platform: read once from the environment.

The infrastructure sets the same variables in every environment: as the environment of processes
locally, as a ConfigMap on Kubernetes.
"""

import os
from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import ConfigError


class Platform(BaseModel):
    """Addresses of the platform's parts. A URI is a path of this machine or an address in a bucket, `s3://bucket/prefix`.

    Each field is set by the variable FALAJ_<FIELD>.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    mlflow_url: str
    runtime_url: str
    feature_store: str
    """Folder of feature_store.yaml."""
    offline_store: str
    """URI below which the offline features lie, one folder a contract."""
    profiles: str
    """URI below which the data profile of each contract's last valid run lies."""
    model_repository: str
    """URI of the runtime's model repository."""
    pseudonym_key_file: str
    audit_log: str
    """File, or address of a bucket's folder that nobody may remove objects from."""
    lineage_log: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the variables.

        Raises:
            ConfigError: A variable is missing; the message names it and the command that sets it.
        """
        fields = {field: environment[name] for name, field in cls.variables().items() if name in environment}
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            missing = ", ".join(f"FALAJ_{str(fault['loc'][0]).upper()}" for fault in error.errors())
            raise ConfigError(
                f"{missing} not set: start the platform with `falaj up`, and run steps with `falaj run`"
            ) from error

    @classmethod
    def variables(cls) -> dict[str, str]:
        """The name of each variable and the field that it sets."""
        return {f"FALAJ_{field.upper()}": field for field in cls.model_fields}

    def to_environment(self) -> dict[str, str]:
        """The variables that `from_environment` reads."""
        return {name: str(getattr(self, field)) for name, field in self.variables().items()}


class Service(BaseModel):
    """One running service of an environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    """Where a person or another service reaches it."""
    health: str
    """Answers 200 when it is ready."""
    log: str | None = None


class Environment(BaseModel):
    """What the infrastructure tells the command line of a running environment, as one JSON file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    platform: Platform
    services: dict[str, Service]
