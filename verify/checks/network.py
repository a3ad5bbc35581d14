"""The network of the account."""

from typing import Any

from verify.account import Account
from verify.asked import Each
from verify.declared import Declared, Inputs, known

_ANYWHERE = ("0.0.0.0/0", "::/0")


def test_network(each: Each, declared: Declared, aws: Account) -> None:
    """The network is there, with the declared range."""

    def judge(inputs: Inputs) -> str | None:
        live = _vpc(aws, inputs)
        if live is None:
            return "is missing"
        return None if live["CidrBlock"] == inputs["cidrBlock"] else f"is {live['CidrBlock']}"

    each(declared.of("aws:ec2/vpc:Vpc"), judge)


def test_subnets(each: Each, declared: Declared, aws: Account) -> None:
    """Every subnet is in its zone, and gives no machine a public address."""

    def judge(inputs: Inputs) -> list[str]:
        found = _one(aws, "describe_subnets", "Subnets", inputs["tags"]["Name"])
        if found is None:
            return ["is missing"]
        zone = found.get("AvailabilityZoneId")
        return [
            *([] if zone == inputs["availabilityZoneId"] else [f"is in {zone}, not {inputs['availabilityZoneId']}"]),
            *(["gives public addresses"] if found.get("MapPublicIpOnLaunch") else []),
        ]

    each(declared.of("aws:ec2/subnet:Subnet"), judge)


def test_isolated(each: Each, declared: Declared, aws: Account) -> None:
    """The subnets of the stores have no way out of the network."""

    def judge(inputs: Inputs) -> list[str]:
        found = _one(aws, "describe_route_tables", "RouteTables", inputs["tags"]["Name"])
        if found is None:
            return ["is missing"]
        ways = (
            "GatewayId",
            "NatGatewayId",
            "TransitGatewayId",
            "VpcPeeringConnectionId",
            "EgressOnlyInternetGatewayId",
        )
        return [
            f"{route.get('DestinationCidrBlock') or route.get('DestinationIpv6CidrBlock')} leads to {route[way]}"
            for route in found["Routes"]
            for way in ways
            if route.get(way) not in (None, "local") and not route[way].startswith("vpce-")
        ]

    tables = declared.of("aws:ec2/routeTable:RouteTable")
    each({name: inputs for name, inputs in tables.items() if name.startswith("isolated")}, judge)


def test_default_group(each: Each, declared: Declared, aws: Account) -> None:
    """The group that a machine gets without asking for one lets nothing in or out."""

    def judge(inputs: Inputs) -> list[str]:
        vpc = _vpc(aws, inputs)
        if vpc is None:
            return ["its network is missing"]
        groups = aws.every(
            "ec2",
            "describe_security_groups",
            "SecurityGroups",
            Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}, {"Name": "group-name", "Values": ["default"]}],
        )
        return [
            f"{group['GroupId']} lets {way}"
            for group in groups
            for way, key in (("in", "IpPermissions"), ("out", "IpPermissionsEgress"))
            if group.get(key)
        ]

    each(declared.of("aws:ec2/vpc:Vpc"), judge)


def test_groups(each: Each, declared: Declared, aws: Account) -> None:
    """No security group of the network lets in everyone."""

    def judge(inputs: Inputs) -> list[str]:
        vpc = _vpc(aws, inputs)
        if vpc is None:
            return ["its network is missing"]
        groups = aws.every(
            "ec2", "describe_security_groups", "SecurityGroups", Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
        )
        # The load balancer's own is made by its controller, and takes what the gateway is open to.
        return [
            f"{group['GroupName']} lets in {cidr} on {permission.get('FromPort', 'every port')}"
            for group in groups
            if not any(tag["Key"].startswith("elbv2.k8s.aws/") for tag in group.get("Tags", []))
            for permission in group.get("IpPermissions", [])
            for cidr in [
                *(one["CidrIp"] for one in permission.get("IpRanges", [])),
                *(one["CidrIpv6"] for one in permission.get("Ipv6Ranges", [])),
            ]
            if cidr in _ANYWHERE
        ]

    each(declared.of("aws:ec2/vpc:Vpc"), judge)


def test_flow_logs(each: Each, declared: Declared, aws: Account) -> None:
    """What flows through the network is recorded."""

    def judge(inputs: Inputs) -> str | None:
        vpc = _vpc(aws, next(iter(declared.of("aws:ec2/vpc:Vpc").values())))
        listed = aws("ec2").describe_flow_logs(
            Filters=[{"Name": "resource-id", "Values": [vpc["VpcId"] if vpc else ""]}]
        )
        live = [one for one in listed["FlowLogs"] if one["FlowLogStatus"] == "ACTIVE"]
        kinds = {one["TrafficType"] for one in live}
        return None if inputs["trafficType"] in kinds else f"{inputs['trafficType']} is not recorded"

    each(declared.of("aws:ec2/flowLog:FlowLog"), judge)


def test_endpoints(each: Each, declared: Declared, aws: Account) -> None:
    """AWS's services are reached without leaving the network: every declared endpoint is available."""

    def judge(inputs: Inputs) -> str | None:
        filters = [{"Name": "service-name", "Values": [inputs["serviceName"]]}]
        found = aws.every("ec2", "describe_vpc_endpoints", "VpcEndpoints", Filters=filters)
        states = {one["State"].lower() for one in found}
        return None if "available" in states else f"is {', '.join(sorted(states)) or 'missing'}"

    wanted = declared.of("aws:ec2/vpcEndpoint:VpcEndpoint")
    each({name: inputs for name, inputs in wanted.items() if known(inputs["serviceName"])}, judge)


def test_machines(each: Each, declared: Declared, aws: Account) -> None:
    """Machines answer questions for their role's credentials by sessions alone, and their disks are encrypted."""

    def judge(name: str) -> list[str]:
        listed = aws("ec2").describe_launch_template_versions(LaunchTemplateName=name, Versions=["$Default"])
        data = listed["LaunchTemplateVersions"][0]["LaunchTemplateData"]
        disks = [one.get("Ebs", {}) for one in data.get("BlockDeviceMappings", [])]
        return [
            *([] if data.get("MetadataOptions", {}).get("HttpTokens") == "required" else ["sessions are not required"]),
            *([] if disks and all(one.get("Encrypted") for one in disks) else ["a disk is not encrypted"]),
        ]

    each(declared.values("aws:ec2/launchTemplate:LaunchTemplate", "name"), judge)


def _vpc(aws: Account, inputs: Inputs) -> dict[str, Any] | None:
    return _one(aws, "describe_vpcs", "Vpcs", inputs["tags"]["Name"])


def _one(aws: Account, operation: str, key: str, name: str) -> dict[str, Any] | None:
    found = aws.every("ec2", operation, key, Filters=[{"Name": "tag:Name", "Values": [name]}])
    return found[0] if found else None
