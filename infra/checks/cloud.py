"""The network of AWS: every address has its place, every store is open to those who call it, and to no port else."""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from infra.checks.objects import Objects, selects
from infra.plan import Resource

_SUBNET = "aws:ec2/subnet:Subnet"
_LISTENERS: Mapping[str, tuple[str, int | None]] = {
    "aws:rds/instance:Instance": ("vpcSecurityGroupIds", None),
    "aws:elasticache/replicationGroup:ReplicationGroup": ("securityGroupIds", None),
    "aws:opensearch/domain:Domain": ("vpcOptions", 443),
    "aws:ec2/vpcEndpoint:VpcEndpoint": ("securityGroupIds", 443),
}
"""Types that listen, the input that refers to their security groups, and the port; None where `port` says it."""
_BALANCER, _INTERNAL = "aws-load-balancer-controller", "kubernetes.io/role/internal-elb"


def cloud(objects: Objects) -> Iterator[str]:
    """Subnets without place or way, doors that are closed, rules that are refused."""
    yield from _subnets(objects)
    yield from _ways(objects)
    yield from _doors(objects)
    yield from _rules(objects)
    yield from _marks(objects)
    for network in objects.named("aws:ec2/vpc:Vpc"):
        private = any(one.inputs.get("privateDnsEnabled") for one in objects.named("aws:ec2/vpcEndpoint:VpcEndpoint"))
        if private and not (network.inputs.get("enableDnsHostnames") and network.inputs.get("enableDnsSupport")):
            yield f"Vpc {network.name} has endpoints with private names, and no names: set enable_dns_hostnames"


def _subnets(objects: Objects) -> Iterator[str]:
    networks = {network.urn: network for network in objects.named("aws:ec2/vpc:Vpc")}
    seen: dict[str, ipaddress.IPv4Network] = {}
    for subnet in objects.named(_SUBNET):
        cidr = ipaddress.IPv4Network(subnet.inputs["cidrBlock"])
        for urn in subnet.property_dependencies.get("vpcId", ()):
            whole = networks[urn].inputs["cidrBlock"]
            if not cidr.subnet_of(ipaddress.IPv4Network(whole)):
                yield f"Subnet {subnet.name} is {cidr}, which is outside the network's {whole}"
        for name, other in seen.items():
            if cidr.overlaps(other):
                yield f"the subnets {name} and {subnet.name} overlap: {other} and {cidr}"
        seen[subnet.name] = cidr


def _ways(objects: Objects) -> Iterator[str]:
    """Subnets without a route table, and NAT gateways where nothing leads to the internet."""
    tables: dict[str, tuple[str, ...]] = {}
    for link in objects.named("aws:ec2/routeTableAssociation:RouteTableAssociation"):
        for urn in link.property_dependencies.get("subnetId", ()):
            tables[urn] = link.property_dependencies.get("routeTableId", ())
    for subnet in objects.named(_SUBNET):
        if subnet.urn not in tables:
            yield f"Subnet {subnet.name} has no route table: nothing leads out of it"
    outward = {
        urn
        for route in objects.named("aws:ec2/route:Route")
        if "gatewayId" in route.inputs
        for urn in route.property_dependencies.get("routeTableId", ())
    }
    by_id = {f"<{_SUBNET}::{subnet.name}.id>": subnet.urn for subnet in objects.named(_SUBNET)}
    for gateway in objects.named("aws:ec2/natGateway:NatGateway"):
        if not outward & set(tables.get(by_id.get(gateway.inputs["subnetId"], ""), ())):
            yield f"NatGateway {gateway.name} is in a subnet from which nothing leads to the internet"


def _doors(objects: Objects) -> Iterator[str]:
    rules = _ingress(objects)
    for kind, (key, known) in _LISTENERS.items():
        for listener in objects.named(kind):
            port = known if known is not None else listener.inputs.get("port")
            groups = [
                urn for urn in listener.property_dependencies.get(key, ()) if "securityGroup:SecurityGroup" in urn
            ]
            opened = any(
                rule.inputs["fromPort"] <= port <= rule.inputs["toPort"]
                for urn in groups
                for rule in rules.get(urn, [])
            )
            if groups and isinstance(port, int) and not opened:
                yield f"{kind.rpartition(':')[2]} {listener.name} listens on {port}, and no rule of its groups lets in"


def _ingress(objects: Objects) -> dict[str, list[Resource]]:
    found: dict[str, list[Resource]] = {}
    for rule in objects.named("aws:ec2/securityGroupRule:SecurityGroupRule"):
        if rule.inputs["type"] == "ingress":
            for urn in rule.property_dependencies.get("securityGroupId", ()):
                found.setdefault(urn, []).append(rule)
    return found


def _rules(objects: Objects) -> Iterator[str]:
    seen: dict[str, str] = {}
    for rule in objects.named("aws:ec2/securityGroupRule:SecurityGroupRule"):
        said = {key: value for key, value in rule.inputs.items() if key != "description"}
        told = {key: rule.property_dependencies.get(key) for key in ("sourceSecurityGroupId",)}
        key = repr(sorted((said | told).items(), key=str))
        if key in seen:
            yield f"the security group rules {seen[key]} and {rule.name} are the same: EC2 refuses the second"
        seen[key] = rule.name


def _marks(objects: Objects) -> Iterator[str]:
    """Tags by which controllers find their subnets."""
    tags: list[Mapping[str, str]] = [subnet.inputs.get("tags") or {} for subnet in objects.named(_SUBNET)]
    charts = [one.inputs["chart"] for one in objects.named("kubernetes:helm.sh/v4:Chart")]
    if any(chart.endswith(_BALANCER) for chart in charts) and not any(_INTERNAL in found for found in tags):
        yield f"no subnet has the tag {_INTERNAL}, by which {_BALANCER} finds its own"
    for _, node_class in sorted(objects.of("EC2NodeClass").items()):
        terms: list[Mapping[str, Any]] = node_class.inputs["spec"].get("subnetSelectorTerms", [])
        for term in terms:
            if "tags" in term and not any(selects({"matchLabels": term["tags"]}, found) for found in tags):
                yield f"EC2NodeClass {node_class.name} looks for subnets by {term['tags']}, and none has that"
        if not node_class.inputs["spec"].get("amiSelectorTerms"):
            yield f"EC2NodeClass {node_class.name} names no image: set amiSelectorTerms"
