"""What must be true of an account before a stack is brought up in it, asked of the account itself."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from infra.config import Aws, StackConfig
from infra.config.services import Acme
from infra.substrates.aws.ask import ask
from infra.substrates.aws.quotas import missing_roles, needs, service_roles, shortfalls


def obstacles(settings: StackConfig, aws: Aws, secrets: Sequence[str], client: Callable[[str], Any]) -> Iterator[str]:
    """What would stop the stack, each with its remedy.

    Args:
        secrets: Names of the secrets that people put into Secrets Manager.
        client: boto3's client of a service, in the stack's region.

    Raises:
        ServiceError: The account cannot be asked.
    """

    account = ask("who is asking", lambda: str(client("sts").get_caller_identity()["Account"]))
    if account != aws.account_id:
        yield f"these credentials are of account {account}, and substrate.account_id is {aws.account_id}: sign in there"
        return
    yield from _zones(aws, client("ec2"))
    yield from (str(found) for found in shortfalls(needs(settings, aws), client("service-quotas")))
    yield from missing_roles(service_roles(aws), client("iam"))
    yield from _roles(aws, client("iam"))
    yield from _secrets(secrets, client("secretsmanager"))
    public = settings.gateway.public
    if public is not None and isinstance(public.tls, Acme):
        yield from _hosted_zone(public.tls.dns_zone, public.hostname, client("route53"))


def _zones(aws: Aws, ec2: Any) -> Iterator[str]:
    """Zones that are there for this account, and machines that they offer today."""
    answer = ask("zones", partial(ec2.describe_availability_zones, AllAvailabilityZones=True))
    states = {zone["ZoneId"]: zone["State"] for zone in answer["AvailabilityZones"]}
    for zone in aws.zones:
        if states.get(zone) != "available":
            yield f"zone {zone} is {states.get(zone, 'not there')} for this account: take it out of substrate.zones"
    pools = {"substrate.system": aws.system} | {f"substrate.nodes.{name}": pool for name, pool in aws.nodes.items()}
    for key, pool in pools.items():
        offered: dict[str, set[str]] = {}
        pages = ec2.get_paginator("describe_instance_type_offerings").paginate(
            LocationType="availability-zone-id",
            Filters=[{"Name": "instance-type", "Values": list(pool.instance_types)}],
        )
        for page in ask("offered machines", partial(list, pages)):
            for found in page["InstanceTypeOfferings"]:
                offered.setdefault(found["InstanceType"], set()).add(found["Location"])
        for name in pool.instance_types:
            missing = [zone for zone in aws.zones_of(pool) if zone not in offered.get(name, set())]
            if missing:
                yield f"{name} is not offered in {', '.join(missing)} today: change {key}.instance_types or its zones"


def _roles(aws: Aws, iam: Any) -> Iterator[str]:
    named = {entry.role: "substrate.cluster.access" for entry in aws.cluster.access}
    named |= dict.fromkeys(aws.keys.administrators, "substrate.keys.administrators")
    named |= {aws.deploy_role: "substrate.deploy_role"} if aws.deploy_role else {}
    for arn, key in sorted(named.items()):
        if not ask(f"role {arn}", partial(iam.get_role, RoleName=arn.rpartition("/")[2]), "NoSuchEntity"):
            yield f"{arn} is not there: make the role, or change {key}"


def _secrets(names: Sequence[str], manager: Any) -> Iterator[str]:
    for name in names:
        absent = "ResourceNotFoundException"
        if not ask(f"secret {name}", partial(manager.describe_secret, SecretId=name), absent):
            yield f"secret {name} is not in Secrets Manager: put it there; `falaj preflight` says what it holds"


def _hosted_zone(zone: str, hostname: str, route53: Any) -> Iterator[str]:
    found = ask(f"hosted zone {zone}", partial(route53.get_hosted_zone, Id=zone), "NoSuchHostedZone")
    if not found:
        yield f"hosted zone {zone} is not there: change gateway.public.tls.dns_zone"
        return
    domain = found["HostedZone"]["Name"].rstrip(".")
    if hostname != domain and not hostname.endswith(f".{domain}"):
        yield f"hosted zone {zone} is {domain}, and gateway.public.hostname {hostname} is not below it: change one"
