"""The address plan of a stack's network, as data: what the network is made from and validated by."""

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from infra.config.model import Cidr, Model
from infra.config.offerings import ZONES, ZoneId

Tier = Literal["public", "private", "isolated"]
Endpoint = Literal[
    "autoscaling",
    "ec2",
    "ecr.api",
    "ecr.dkr",
    "eks",
    "eks-auth",
    "elasticloadbalancing",
    "guardduty-data",
    "kms",
    "logs",
    "monitoring",
    "rds",
    "secretsmanager",
    "sqs",
    "ssm",
    "sts",
]
"""Services with an interface endpoint. S3 has a gateway endpoint, which costs nothing and is always there."""
_NODE_ENDPOINTS: tuple[Endpoint, ...] = (
    "ec2",
    "ecr.api",
    "ecr.dkr",
    "eks",
    "eks-auth",
    "elasticloadbalancing",
    "kms",
    "logs",
    "secretsmanager",
    "sqs",
    "ssm",
    "sts",
)
"""What nodes and controllers call: without NAT there is no other way to it."""
_RESERVED = 5
"""Addresses that AWS keeps in every subnet."""


class Subnets(Model):
    """Prefix length of each zone's subnets. A zone keeps its range whichever others are in use."""

    public: Annotated[int, Field(ge=17, le=28)] = 24
    """Load balancers and NAT gateways."""
    private: Annotated[int, Field(ge=17, le=28)] = 19
    """Nodes and pods."""
    isolated: Annotated[int, Field(ge=17, le=28)] = 22
    """Databases and caches: no route out."""


class Network(Model):
    """The VPC."""

    cidr: Annotated[Cidr, Field(examples=["10.20.0.0/16"])] = "10.20.0.0/16"
    """Must not overlap networks that it is ever to be connected with."""
    subnets: Subnets = Subnets()
    nat: Literal["none", "single", "per-zone"] = "single"
    """One NAT gateway is the cheapest; one a zone survives the loss of a zone; none needs every endpoint."""
    endpoints: tuple[Endpoint, ...] = ("ecr.api", "ecr.dkr", "kms", "logs", "sts")
    """Interface endpoints, each billed by the hour and zone."""
    flow_logs: Literal["all", "reject"] = "all"
    """Which traffic the flow logs keep. `reject` costs less and shows less."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        length = ipaddress.ip_network(self.cidr).prefixlen
        if not 16 <= length <= 24:
            raise ValueError(f"cidr is a /{length}: a VPC has /16 to /24 here, such as 10.20.0.0/16")
        self.plan(ZONES)
        return self

    @model_validator(mode="after")
    def _has_a_way_out(self) -> Self:
        missing = [endpoint for endpoint in _NODE_ENDPOINTS if endpoint not in self.endpoints]
        if self.nat == "none" and missing:
            raise ValueError(f"nat is none, so nodes need the endpoints {', '.join(missing)}: add them to endpoints")
        return self

    def plan(self, zones: tuple[ZoneId, ...]) -> Mapping[Tier, Mapping[ZoneId, str]]:
        """The CIDR of each subnet, by tier and zone.

        The larger subnets come first, so that none leaves a gap; each zone has a slot of its own in every
        tier whether it is in use or not, so that a zone can be left and entered again.

        Raises:
            ValueError: The subnets of three zones do not fit the VPC.
        """
        vpc = ipaddress.IPv4Network(self.cidr)
        lengths: dict[Tier, int] = {
            "private": self.subnets.private,
            "isolated": self.subnets.isolated,
            "public": self.subnets.public,
        }
        start = int(vpc.network_address)
        found: dict[Tier, dict[ZoneId, str]] = {}
        for tier, length in sorted(lengths.items(), key=lambda item: item[1]):
            size = 1 << (32 - length)
            found[tier] = {
                zone: f"{ipaddress.IPv4Address(start + slot * size)}/{length}"
                for slot, zone in enumerate(ZONES)
                if zone in zones
            }
            start += len(ZONES) * size
        if start > int(vpc.broadcast_address) + 1:
            raise ValueError(
                f"the subnets of {len(ZONES)} zones do not fit {self.cidr}: widen cidr, or give subnets longer prefixes"
            )
        return found

    def addresses(self, tier: Tier) -> int:
        """Addresses that one zone's subnet of `tier` has for use."""
        length: int = getattr(self.subnets, tier)
        return (1 << (32 - length)) - _RESERVED
