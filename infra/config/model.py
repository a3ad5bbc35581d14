"""What all sections of the schema share: the strict model and the kinds of value."""

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=1024, le=65535)]
Days = Annotated[int, Field(ge=1, le=36_500)]
Percent = Annotated[int, Field(ge=1, le=100)]
Gib = Annotated[int, Field(ge=1, le=65_536)]
Email = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", max_length=254)]
Name = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$")]
"""Lower-case letters, digits and hyphens, at most 32: fits every resource that is named after it."""
Hostname = Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$", max_length=253)]
HttpsUrl = Annotated[str, Field(pattern=r"^https://[^\s/?#]+[^\s?#]*$", max_length=2048)]
SecretName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9/_.-]{0,252}$")]
"""Name of a secret in the stack's secret store; its value never passes through this program.

Secrets Manager holds it on `aws`; on `kubernetes` the backend that `substrate.secrets` names.
"""
Duration = Annotated[str, Field(pattern=r"^[0-9]+[smhdwy]$")]
Cron = Annotated[str, Field(pattern=r"^\S+ \S+ \S+ \S+ \S+$")]
"""Five fields, in UTC."""
DataClass = Literal["raw", "curated", "features", "artifacts", "inference-log", "audit", "logs", "platform"]
"""Kinds of data that have a key, a retention and a tag of their own."""


def _cidr(text: str) -> str:
    network = ipaddress.ip_network(text)
    if network.version != 4:
        raise ValueError("write an IPv4 network, such as 10.20.0.0/16")
    return str(network)


def _narrow(text: str) -> str:
    if ipaddress.ip_network(text).prefixlen < 8:
        raise ValueError("this is open to the world: name the networks that need access")
    return text


Cidr = Annotated[str, AfterValidator(_cidr)]
"""An IPv4 network in CIDR notation, without host bits."""
AllowedCidr = Annotated[str, AfterValidator(_cidr), AfterValidator(_narrow)]
"""A network that is let in; never the whole internet."""


class Model(BaseModel):
    """Frozen, and strict about what it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def overlap(one: str, other: str) -> bool:
    """Whether two networks share an address."""
    return ipaddress.ip_network(one).overlaps(ipaddress.ip_network(other))


def duplicates(values: tuple[str, ...]) -> list[str]:
    """Values that occur more than once, sorted."""
    return sorted({value for value in values if values.count(value) > 1})
