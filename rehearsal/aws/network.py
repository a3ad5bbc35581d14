"""EC2: networks and what nodes start from."""

from typing import Any

from rehearsal.aws.kind import Kind, Read, Step

_ARN = "arn:aws:ec2:{region}:{account}"


def _described(plural: str, parameter: str, *without: str) -> Read:
    return Read(
        operation=f"Describe{plural}", template={parameter: ["{id}"]}, path=f"{plural}[0]", without=("State", *without)
    )


def _rule(properties: dict[str, Any]) -> None:
    """EC2 has rules in lists of ranges and groups, each with its description."""
    permission: dict[str, Any] = {"ipProtocol": properties.pop("protocol")}
    permission |= {key: properties.pop(key) for key in ("fromPort", "toPort")}
    described = {"description": properties.pop("description", None)}
    if "sourceSecurityGroupId" in properties:
        permission["userIdGroupPairs"] = [{"groupId": properties.pop("sourceSecurityGroupId")} | described]
    if "cidrBlocks" in properties:
        permission["ipRanges"] = [{"cidrIp": block} | described for block in properties.pop("cidrBlocks")]
    properties["ipPermissions"] = [permission]
    properties["direction"] = properties.pop("type").capitalize()


_ATTRIBUTE = "ModifyVpcAttribute"
KINDS = {
    "aws:ec2/vpc:Vpc": Kind(
        service="ec2",
        create=Step(operation="CreateVpc", takes=["cidrBlock"]),
        identifier="=answer.Vpc.VpcId",
        tags="specification:vpc",
        after=[
            Step(
                operation=_ATTRIBUTE,
                template={"VpcId": "{id}", "EnableDnsSupport": {"Value": "{enableDnsSupport}"}},
                when="enableDnsSupport",
            ),
            Step(
                operation=_ATTRIBUTE,
                template={"VpcId": "{id}", "EnableDnsHostnames": {"Value": "{enableDnsHostnames}"}},
                when="enableDnsHostnames",
            ),
            Step(
                operation="DescribeRouteTables",
                template={
                    "Filters": [
                        {"Name": "vpc-id", "Values": ["{id}"]},
                        {"Name": "association.main", "Values": ["true"]},
                    ]
                },
            ),
        ],
        replaced=["cidrBlock"],
        outputs={
            "arn": f"{_ARN}:vpc/{{id}}",
            "defaultRouteTableId": "=last.RouteTables[0].RouteTableId",
            "mainRouteTableId": "=last.RouteTables[0].RouteTableId",
        },
        read=_described("Vpcs", "VpcIds"),
        delete=[Step(operation="DeleteVpc", template={"VpcId": "{id}"})],
    ),
    "aws:ec2/subnet:Subnet": Kind(
        service="ec2",
        create=Step(operation="CreateSubnet", takes=["vpcId", "cidrBlock", "availabilityZoneId"]),
        identifier="=answer.Subnet.SubnetId",
        tags="specification:subnet",
        after=[
            Step(
                operation="ModifySubnetAttribute",
                template={"SubnetId": "{id}", "MapPublicIpOnLaunch": {"Value": "{mapPublicIpOnLaunch}"}},
                # moto gives the first subnet of a zone public addresses unless it is told otherwise.
                when="mapPublicIpOnLaunch != null",
            ),
        ],
        replaced=["vpcId", "cidrBlock", "availabilityZoneId"],
        outputs={"arn": f"{_ARN}:subnet/{{id}}", "availabilityZone": "=answer.Subnet.AvailabilityZone"},
        read=_described("Subnets", "SubnetIds", "AvailableIpAddressCount"),
        delete=[Step(operation="DeleteSubnet", template={"SubnetId": "{id}"})],
    ),
    "aws:ec2/internetGateway:InternetGateway": Kind(
        service="ec2",
        create=Step(operation="CreateInternetGateway"),
        identifier="=answer.InternetGateway.InternetGatewayId",
        tags="specification:internet-gateway",
        after=[Step(operation="AttachInternetGateway", takes=["vpcId"], template={"InternetGatewayId": "{id}"})],
        outputs={"arn": f"{_ARN}:internet-gateway/{{id}}"},
        read=_described("InternetGateways", "InternetGatewayIds"),
        delete=[
            Step(operation="DetachInternetGateway", template={"InternetGatewayId": "{id}", "VpcId": "{vpcId}"}),
            Step(operation="DeleteInternetGateway", template={"InternetGatewayId": "{id}"}),
        ],
    ),
    "aws:ec2/eip:Eip": Kind(
        service="ec2",
        create=Step(operation="AllocateAddress", takes=["domain"]),
        identifier="=answer.AllocationId",
        tags="specification:elastic-ip",
        replaced=["domain"],
        outputs={"allocationId": "{id}", "publicIp": "=answer.PublicIp"},
        read=Read(
            operation="DescribeAddresses",
            template={"AllocationIds": ["{id}"]},
            path="Addresses[0]",
            without=[
                "AssociationId",
                "NetworkInterfaceId",
                "InstanceId",
                "PrivateIpAddress",
                "NetworkInterfaceOwnerId",
            ],
        ),
        delete=[Step(operation="ReleaseAddress", template={"AllocationId": "{id}"})],
    ),
    "aws:ec2/natGateway:NatGateway": Kind(
        service="ec2",
        create=Step(operation="CreateNatGateway", takes=["allocationId", "subnetId"]),
        identifier="=answer.NatGateway.NatGatewayId",
        tags="specification:natgateway",
        replaced=["allocationId", "subnetId"],
        read=Read(
            operation="DescribeNatGateways",
            template={"NatGatewayIds": ["{id}"]},
            path="NatGateways[?State!='deleted']|[0]",
        ),
        delete=[Step(operation="DeleteNatGateway", template={"NatGatewayId": "{id}"})],
    ),
    "aws:ec2/routeTable:RouteTable": Kind(
        service="ec2",
        create=Step(operation="CreateRouteTable", takes=["vpcId"]),
        identifier="=answer.RouteTable.RouteTableId",
        tags="specification:route-table",
        replaced=["vpcId"],
        outputs={"arn": f"{_ARN}:route-table/{{id}}"},
        read=_described("RouteTables", "RouteTableIds", "Routes", "Associations"),
        delete=[Step(operation="DeleteRouteTable", template={"RouteTableId": "{id}"})],
    ),
    "aws:ec2/defaultRouteTable:DefaultRouteTable": Kind(
        service="ec2",
        create=Step(operation="DescribeRouteTables", template={"RouteTableIds": ["{defaultRouteTableId}"]}),
        identifier="{defaultRouteTableId}",
        ignored=["routes"],
        read=_described("RouteTables", "RouteTableIds", "Associations"),
    ),
    "aws:ec2/route:Route": Kind(
        service="ec2",
        create=Step(operation="CreateRoute", takes=None),
        identifier="r-{routeTableId}-{destinationCidrBlock}",
        replaced=["routeTableId", "destinationCidrBlock"],
        update=[
            Step(
                operation="ReplaceRoute",
                takes=["gatewayId", "natGatewayId"],
                template={"RouteTableId": "{routeTableId}", "DestinationCidrBlock": "{destinationCidrBlock}"},
            )
        ],
        read=Read(
            operation="DescribeRouteTables",
            template={"RouteTableIds": ["{routeTableId}"]},
            path="RouteTables[0].Routes[?DestinationCidrBlock=='{destinationCidrBlock}']|[0]",
            without=["State"],
        ),
        delete=[
            Step(
                operation="DeleteRoute",
                template={"RouteTableId": "{routeTableId}", "DestinationCidrBlock": "{destinationCidrBlock}"},
            )
        ],
    ),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": Kind(
        service="ec2",
        create=Step(operation="AssociateRouteTable", takes=None),
        identifier="=answer.AssociationId",
        replaced=["subnetId", "routeTableId"],
        read=Read(
            operation="DescribeRouteTables",
            template={"RouteTableIds": ["{routeTableId}"]},
            path="RouteTables[0].Associations[?RouteTableAssociationId=='{id}']|[0]",
        ),
        delete=[Step(operation="DisassociateRouteTable", template={"AssociationId": "{id}"})],
    ),
    "aws:ec2/securityGroup:SecurityGroup": Kind(
        service="ec2",
        create=Step(
            operation="CreateSecurityGroup", takes=["description", "vpcId"], template={"GroupName": "{autoname}"}
        ),
        identifier="=answer.GroupId",
        tags="specification:security-group",
        after=[
            Step(operation="DescribeSecurityGroups", template={"GroupIds": ["{id}"]}),
            # A new group lets everything out; the provider takes that away, so that only what is declared is let.
            Step(
                operation="RevokeSecurityGroupEgress",
                template={"GroupId": "{id}", "IpPermissions": "=last.SecurityGroups[0].IpPermissionsEgress"},
                when="last.SecurityGroups[0].IpPermissionsEgress",
            ),
        ],
        replaced=["description", "vpcId"],
        outputs={"arn": f"{_ARN}:security-group/{{id}}", "name": "{autoname}"},
        read=_described("SecurityGroups", "GroupIds", "IpPermissions", "IpPermissionsEgress"),
        delete=[Step(operation="DeleteSecurityGroup", template={"GroupId": "{id}"})],
    ),
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup": Kind(
        service="ec2",
        create=Step(
            operation="DescribeSecurityGroups",
            template={
                "Filters": [{"Name": "vpc-id", "Values": ["{vpcId}"]}, {"Name": "group-name", "Values": ["default"]}]
            },
        ),
        identifier="=answer.SecurityGroups[0].GroupId",
        ignored=["ingress", "egress"],
        after=[
            Step(
                operation=f"RevokeSecurityGroup{direction}",
                template={"GroupId": "{id}", "IpPermissions": f"=answer.SecurityGroups[0].{permissions}"},
                when=f"answer.SecurityGroups[0].{permissions}",
            )
            for direction, permissions in (("Ingress", "IpPermissions"), ("Egress", "IpPermissionsEgress"))
        ],
        replaced=["vpcId"],
        read=_described("SecurityGroups", "GroupIds"),
    ),
    "aws:ec2/securityGroupRule:SecurityGroupRule": Kind(
        service="ec2",
        create=Step(
            operation="AuthorizeSecurityGroup{direction}",
            takes=["ipPermissions"],
            template={"GroupId": "{securityGroupId}"},
        ),
        identifier="=answer.SecurityGroupRules[0].SecurityGroupRuleId",
        ignored=["direction"],
        prepare=_rule,
        replaced=["type", "protocol", "fromPort", "toPort", "sourceSecurityGroupId", "cidrBlocks", "securityGroupId"],
        outputs={"securityGroupRuleId": "{id}"},
        read=Read(
            operation="DescribeSecurityGroupRules",
            template={"Filters": [{"Name": "group-id", "Values": ["{securityGroupId}"]}]},
            path="SecurityGroupRules[?SecurityGroupRuleId=='{id}']|[0]",
        ),
        delete=[
            Step(
                operation="RevokeSecurityGroup{direction}",
                takes=["ipPermissions"],
                template={"GroupId": "{securityGroupId}"},
            )
        ],
    ),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Kind(
        service="ec2",
        create=Step(operation="CreateVpcEndpoint", takes=None),
        identifier="=answer.VpcEndpoint.VpcEndpointId",
        renames={"policy": "PolicyDocument"},
        tags="specification:vpc-endpoint",
        update=[
            Step(
                operation="ModifyVpcEndpoint", takes=["policy", "privateDnsEnabled"], template={"VpcEndpointId": "{id}"}
            )
        ],
        replaced=["serviceName", "vpcId", "vpcEndpointType"],
        outputs={"arn": f"{_ARN}:vpc-endpoint/{{id}}", "state": "available"},
        read=Read(
            operation="DescribeVpcEndpoints",
            template={"VpcEndpointIds": ["{id}"]},
            path="VpcEndpoints[?State!='deleted']|[0]",
            without=["State"],
        ),
        delete=[Step(operation="DeleteVpcEndpoints", template={"VpcEndpointIds": ["{id}"]})],
    ),
    "aws:ec2/flowLog:FlowLog": Kind(
        service="ec2",
        create=Step(
            operation="CreateFlowLogs", takes=None, template={"ResourceIds": ["{vpcId}"], "ResourceType": "VPC"}
        ),
        identifier="=answer.FlowLogIds[0]",
        renames={"iamRoleArn": "DeliverLogsPermissionArn"},
        ignored=["vpcId"],
        tags="specification:vpc-flow-log",
        replaced=["iamRoleArn", "logDestination", "logDestinationType", "trafficType", "vpcId"],
        read=_described("FlowLogs", "FlowLogIds"),
        delete=[Step(operation="DeleteFlowLogs", template={"FlowLogIds": ["{id}"]})],
    ),
    "aws:ec2/launchTemplate:LaunchTemplate": Kind(
        service="ec2",
        create=Step(
            operation="CreateLaunchTemplate",
            takes=["blockDeviceMappings", "metadataOptions", "monitoring", "tagSpecifications"],
            template={"LaunchTemplateName": "{name}"},
            nested="LaunchTemplateData",
        ),
        identifier="=answer.LaunchTemplate.LaunchTemplateId",
        ignored=["updateDefaultVersion"],
        replaced=["name"],
        prepare=lambda properties: properties.update(
            tagSpecifications=[
                {
                    "resourceType": item["resourceType"],
                    "tags": [{"key": key, "value": value} for key, value in item["tags"].items()],
                }
                for item in properties.get("tagSpecifications", [])
            ]
        ),
        update=[
            Step(
                operation="CreateLaunchTemplateVersion",
                takes=["blockDeviceMappings", "metadataOptions", "monitoring", "tagSpecifications"],
                template={"LaunchTemplateId": "{id}"},
                nested="LaunchTemplateData",
            )
        ],
        outputs={
            "arn": f"{_ARN}:launch-template/{{id}}",
            "latestVersion": "=answer.LaunchTemplate.LatestVersionNumber",
            "defaultVersion": "=answer.LaunchTemplate.DefaultVersionNumber",
        },
        read=_described("LaunchTemplates", "LaunchTemplateIds"),
        delete=[Step(operation="DeleteLaunchTemplate", template={"LaunchTemplateId": "{id}"})],
    ),
}
