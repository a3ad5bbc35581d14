"""What the rules need to know of a stack beside its resources: the part of its file that is about policy.

The same text that the program reads, `falaj:stack` of `stacks/Pulumi.<stack>.yaml`, read for these few keys.
Whether the rest of it is valid is the program's business.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import ConfigError

Profile = Literal["adgm", "bank", "difc", "health"]
"""Laws beside the federal ones that a stack can be under."""
PROFILES: tuple[Profile, ...] = ("adgm", "bank", "difc", "health")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Policies(_Section):
    """How the rules are applied.

    Attributes:
        advisory: Rules that report and let pass; all others fail the check.
        profiles: Laws of free zones and sectors.
        domains: Domains whose hosts the site confirms to stand in the country.
    """

    advisory: tuple[str, ...] = ()
    profiles: tuple[Profile, ...] = ()
    domains: tuple[str, ...] = ("ae",)


class _Budget(_Section):
    monthly_usd: float


class _Dpia(_Section):
    reference: str
    expires: date


class _Contacts(_Section):
    operations: str
    security: str
    data_protection_officer: str | None = None


class Governance(_Section):
    """Who answers for the stack."""

    sensitive_data: bool = True
    contacts: _Contacts
    record_of_processing: str | None = None
    dpia: _Dpia | None = None
    budget: _Budget | None = None
    breach_notification_hours: int = 72


class _Admission(_Section):
    public_key: str | None = None
    replicas: int = 1


class _Security(_Section):
    trail: bool = True
    config_recorder: bool = True
    guardduty: bool = True
    security_hub: bool = True
    inspector: bool = False


class _Buckets(_Section):
    audit_lock: str = "GOVERNANCE"


class _Stores(_Section):
    buckets: _Buckets = _Buckets()


class _Access(_Section):
    role: str
    level: str


class _Cluster(_Section):
    access: tuple[_Access, ...] = ()


class _Substrate(_Section):
    kind: Literal["local", "aws", "kubernetes"]
    account_id: str | None = None
    region: str = "me-central-1"
    country: str = "AE"
    images: str | None = None
    zones: tuple[str, ...] = ()
    security: _Security = _Security()
    cluster: _Cluster | None = None
    stores: _Stores = _Stores()


class _Public(_Section):
    internal: bool = True


class _Gateway(_Section):
    public: _Public | None = None


class _Logging(_Section):
    destination: str


class _Serving(_Section):
    scale_to_zero: bool = False


class _Sources(_Section):
    images: str | None = None


class Settings(_Section):
    """What `check` needs of a stack; a file that belongs to no stack gets `Settings()`."""

    stack: str = ""
    environment: str = "production"
    substrate: _Substrate | None = None
    governance: Governance | None = None
    admission: _Admission | None = None
    serving: _Serving | None = None
    logging: _Logging | None = None
    gateway: _Gateway | None = None
    sources: _Sources = _Sources()
    policies: Policies = Field(default_factory=Policies)

    @property
    def file(self) -> str:
        """The stack's file."""
        return f"stacks/Pulumi.{self.stack or '<stack>'}.yaml"

    @property
    def production(self) -> bool:
        """Whether loss or leak would reach people outside."""
        return self.environment == "production"

    @property
    def sensitive(self) -> bool:
        """Whether data are sensitive personal data, or people are profiled."""
        return self.governance is None or self.governance.sensitive_data

    @property
    def zones(self) -> tuple[str, ...]:
        """Zones of the stack."""
        return self.substrate.zones if self.substrate else ()

    @property
    def internal(self) -> bool:
        """Whether the gateway is for the site's own networks."""
        return self.gateway is not None and self.gateway.public is not None and self.gateway.public.internal

    @property
    def audit_lock(self) -> str:
        """The mode in which the audit log is locked."""
        return self.substrate.stores.buckets.audit_lock if self.substrate else "GOVERNANCE"

    @property
    def administrators(self) -> frozenset[str]:
        """Roles that the file lets administer the cluster."""
        cluster = self.substrate.cluster if self.substrate else None
        return frozenset(one.role for one in cluster.access if one.level == "administer") if cluster else frozenset()

    @property
    def may_sleep(self) -> bool:
        """Whether a model that no one asks may have no replica."""
        return self.serving is not None and self.serving.scale_to_zero

    @property
    def delegated(self) -> frozenset[str]:
        """Watchmen that the stack leaves to its organisation."""
        watchmen = self.substrate.security if self.substrate else _Security()
        return frozenset(name for name, own in watchmen if not own)

    @property
    def registries(self) -> tuple[str, ...]:
        """Registries whose images may run, with what follows the host; empty where the stack names none."""
        found = [self.sources.images]
        if self.substrate is not None:
            found.append(self.substrate.images)
            if self.substrate.kind == "aws" and self.substrate.account_id:
                found.append(f"{self.substrate.account_id}.dkr.ecr.{self.substrate.region}.amazonaws.com")
        return tuple(registry.rstrip("/") for registry in found if registry)


def read_settings(section: object, stack: str) -> Settings:
    """What a stack's file holds under `falaj:stack`.

    Raises:
        ConfigError: A key that the rules need has a value that it cannot have.
    """
    if not isinstance(section, Mapping):
        raise ConfigError(f"stacks/Pulumi.{stack}.yaml has no falaj:stack: see stacks/Pulumi.local.yaml for an example")
    plain: dict[str, Any] = {"environment": "local", **section, "stack": stack}
    try:
        return Settings.model_validate(plain)
    except ValidationError as error:
        faults = [f"  {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise ConfigError(f"stacks/Pulumi.{stack}.yaml is not valid:\n" + "\n".join(faults)) from error
