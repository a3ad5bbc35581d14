"""Whether an account is large enough for a stack: what it needs of the service quotas, and what they are.

New accounts often have no GPU at all, and a pool that may not grow only shows once pods wait. Roles that AWS
makes for its own services are here too: in an account where a service was never used, they are missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from core.errors import ServiceError
from infra.config import Aws, StackConfig
from infra.config.nodes import Capacity
from infra.config.offerings import offering
from infra.substrates.aws.ask import ask

Family = Literal["standard", "g", "p"]
_VCPUS: Mapping[tuple[Capacity, Family], tuple[str, str]] = {
    ("on-demand", "standard"): ("L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"),
    ("on-demand", "g"): ("L-DB2E81BA", "Running On-Demand G and VT instances"),
    ("on-demand", "p"): ("L-417A185B", "Running On-Demand P instances"),
    ("spot", "standard"): ("L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests"),
    ("spot", "g"): ("L-3819A6DF", "All G and VT Spot Instance Requests"),
    ("spot", "p"): ("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests"),
}
"""Code and name of the quota that counts the virtual CPUs of running machines."""
_SPOT_P5 = ("L-C4BD4855", "All P5 Spot Instance Requests")


@dataclass(frozen=True, kw_only=True)
class Need:
    """What a stack needs of a quota when it has grown to its limits.

    Attributes:
        service: As Service Quotas calls it.
        code: Of the quota.
        setting: Where the stack's file says so.
    """

    service: str
    code: str
    name: str
    amount: float
    setting: str


@dataclass(frozen=True, kw_only=True)
class Shortfall:
    """A quota that is smaller than what the stack needs; other stacks in the account take their part too."""

    need: Need
    applied: float

    def __str__(self) -> str:
        need = self.need
        return (
            f"{need.name} ({need.service} {need.code}) is {self.applied:g}, and the stack may need {need.amount:g}: "
            f"ask for more in Service Quotas, or lower {need.setting}"
        )


def needs(settings: StackConfig, aws: Aws) -> list[Need]:
    """What the stack needs of each quota, sorted by service and code."""
    found = [*_machines(aws), *_network(aws), *_stores(aws)]
    found.append(_need("eks", "L-1194D53C", "Clusters", 1, "substrate.cluster"))
    if settings.gateway.public is not None:
        name = "Network Load Balancers per Region"
        found.append(_need("elasticloadbalancing", "L-69A177A2", name, 1, "gateway.public"))
    return sorted(found, key=lambda need: (need.service, need.code))


def service_roles(aws: Aws) -> Mapping[str, str]:
    """Roles that must be there before the stack, by name, with the service that each is for.

    AWS makes most by itself when a service is first used. These are needed before: a key's policy names the first,
    Karpenter may not make the second, and a search domain inside a network waits for the third.
    """
    found = {"AWSServiceRoleForAutoScaling": "autoscaling.amazonaws.com"}
    if any("spot" in pool.capacity for pool in aws.nodes.values()):
        found["AWSServiceRoleForEC2Spot"] = "spot.amazonaws.com"
    if aws.search is not None:
        found["AWSServiceRoleForAmazonOpenSearchService"] = "opensearchservice.amazonaws.com"
    return found


def shortfalls(wanted: Sequence[Need], client: Any) -> list[Shortfall]:
    """The quotas that are too small.

    Args:
        client: boto3's client of `service-quotas`, in the stack's region.

    Raises:
        ServiceError: Service Quotas cannot be reached, or refuses.
    """
    found = [(need, _applied(need, client)) for need in wanted]
    return [Shortfall(need=need, applied=applied) for need, applied in found if applied < need.amount]


def missing_roles(wanted: Mapping[str, str], client: Any) -> list[str]:
    """What is wrong with the services' own roles, each with the command that mends it.

    Args:
        client: boto3's client of `iam`.

    Raises:
        ServiceError: IAM cannot be reached, or refuses.
    """
    found = []
    for name, service in wanted.items():
        if ask(f"role {name}", partial(client.get_role, RoleName=name), "NoSuchEntity") is None:
            command = f"aws iam create-service-linked-role --aws-service-name {service}"
            found.append(f"role {name} is missing, as in an account that never used {service}: run `{command}`")
    return found


def _machines(aws: Aws) -> Iterator[Need]:
    """Virtual CPUs by family: each pool may be all of one capacity, and of one of its families, at its limit."""
    wanted: dict[tuple[str, str], tuple[float, list[str]]] = {}

    def add(capacity: Capacity, instance_types: Sequence[str], cpus: float, setting: str) -> None:
        for quota in {_quota(capacity, name) for name in instance_types}:
            total, settings = wanted.get(quota, (0.0, []))
            wanted[quota] = (total + cpus, [*settings, setting])

    largest = max(offering(name).cpu for name in aws.system.instance_types)
    add("on-demand", aws.system.instance_types, aws.system.maximum * largest, "substrate.system.maximum")
    for name, pool in aws.nodes.items():
        for capacity in pool.capacity:
            add(capacity, pool.instance_types, pool.limits.cpu, f"substrate.nodes.{name}.limits.cpu")
    for (code, title), (cpus, settings) in wanted.items():
        yield _need("ec2", code, title, cpus, ", ".join(settings))


def _quota(capacity: Capacity, instance_type: str) -> tuple[str, str]:
    family: Family = "g" if instance_type[0] == "g" else "p" if instance_type[0] == "p" else "standard"
    if capacity == "spot" and instance_type.startswith("p5"):
        return _SPOT_P5
    return _VCPUS[capacity, family]


def _network(aws: Aws) -> Iterator[Need]:
    gateways = {"none": 0, "single": 1, "per-zone": len(aws.zones)}[aws.network.nat]
    yield _need("vpc", "L-F678F1CE", "VPCs per Region", 1, "substrate.network")
    yield _need("vpc", "L-A4707A72", "Internet gateways per Region", 1, "substrate.network")
    endpoints = len(aws.network.endpoints)
    yield _need("vpc", "L-29B6F2EB", "Interface VPC endpoints per VPC", endpoints, "substrate.network.endpoints")
    if gateways:
        yield _need("vpc", "L-FE5A380F", "NAT gateways per Availability Zone", 1, "substrate.network.nat")
        yield _need("ec2", "L-0263D0A3", "EC2-VPC Elastic IPs", gateways, "substrate.network.nat")


def _stores(aws: Aws) -> Iterator[Need]:
    stores = aws.stores
    databases = [database for database in (stores.postgresql, stores.mysql) if database is not None]
    yield _need("rds", "L-7B6409FD", "DB instances", len(databases), "substrate.stores")
    storage = sum(database.max_storage_gib for database in databases)
    yield _need("rds", "L-7ADDB58A", "Total storage for all DB instances", storage, "substrate.stores: max_storage_gib")
    if stores.cache is not None:
        nodes = stores.cache.shards * (stores.cache.replicas + 1)
        yield _need("elasticache", "L-DFE45DF3", "Nodes per Region", nodes, "substrate.stores.cache")


def _need(service: str, code: str, name: str, amount: float, setting: str) -> Need:
    return Need(service=service, code=code, name=name, amount=amount, setting=setting)


def _applied(need: Need, client: Any) -> float:
    """The account's own value, or the one that all accounts begin with."""
    quota = f"quota {need.service} {need.code}"
    for look in (client.get_service_quota, client.get_aws_default_service_quota):
        question = partial(look, ServiceCode=need.service, QuotaCode=need.code)
        answer = ask(quota, question, "NoSuchResourceException")
        if answer is not None:
            return float(answer["Quota"]["Value"])
    raise ServiceError(f"{quota} ({need.name}) is unknown in the region")
