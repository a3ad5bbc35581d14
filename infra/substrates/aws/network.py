"""VPC, subnets, routes and endpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import ec2, iam

from infra.config.network import Network as NetworkConfig
from infra.config.network import Tier
from infra.config.offerings import ZoneId
from infra.substrates.aws.account import Account, policy, trust
from infra.substrates.aws.logs import log_group

_ANYWHERE = "0.0.0.0/0"


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """What a network is made of.

    Attributes:
        cluster: Name of the cluster, whose load balancers and nodes find their subnets by tags.
        logs_key: ARN of the key of the flow logs.
    """

    account: Account
    settings: NetworkConfig
    zones: Sequence[ZoneId]
    cluster: str
    logs_key: pulumi.Input[str]


class Network(pulumi.ComponentResource):
    """The VPC. `subnets` has the ids by tier and zone."""

    def __init__(self, name: str, args: NetworkArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("falaj:aws:Network", name, None, opts)
        self._args = args
        self._opts = ResourceOptions(parent=self)
        prefix, cidr = args.account.prefix, args.settings.cidr
        self.vpc = ec2.Vpc(
            "vpc",
            cidr_block=cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags=args.account.tags("platform", Name=prefix),
            opts=args.account.kept(self),
        )
        ec2.DefaultSecurityGroup("closed", vpc_id=self.vpc.id, ingress=[], egress=[], opts=self._opts)
        # A subnet that someone adds by hand gets this table: it leads nowhere.
        ec2.DefaultRouteTable(
            "closed", default_route_table_id=self.vpc.default_route_table_id, routes=[], opts=self._opts
        )
        self.cidrs = args.settings.plan(tuple(args.zones))
        self.subnets: Mapping[Tier, Mapping[ZoneId, ec2.Subnet]] = {
            tier: {zone: self._subnet(tier, zone, block) for zone, block in zones.items()}
            for tier, zones in self.cidrs.items()
        }
        self.gateways: Mapping[ZoneId, ec2.NatGateway] = {}
        tables = self._routes()
        self._endpoints(tables)
        self._flow_logs()
        self.register_outputs({"vpc": self.vpc.id})

    def ids(self, tier: Tier, zones: Sequence[ZoneId] | None = None) -> list[pulumi.Output[str]]:
        """Ids of the subnets of a tier, in the order of the zones."""
        return [subnet.id for zone, subnet in self.subnets[tier].items() if zones is None or zone in zones]

    def security_group(
        self, name: str, description: str, parent: pulumi.Resource, callers: Mapping[str, pulumi.Input[str]], port: int
    ) -> ec2.SecurityGroup:
        """A group that lets `callers` (security groups by name) in at one port, and nothing out."""
        options = ResourceOptions(parent=parent)
        group = ec2.SecurityGroup(
            name,
            vpc_id=self.vpc.id,
            description=description,
            tags={"Name": f"{self._args.account.prefix}-{name}"},
            opts=options,
        )
        for caller, source in callers.items():
            ec2.SecurityGroupRule(
                f"{name}-{caller}-{port}",
                type="ingress",
                security_group_id=group.id,
                source_security_group_id=source,
                protocol="tcp",
                from_port=port,
                to_port=port,
                description=f"{caller} to {name}",
                opts=options,
            )
        return group

    def _subnet(self, tier: Tier, zone: ZoneId, block: str) -> ec2.Subnet:
        tags = {"Name": f"{self._args.account.prefix}-{tier}-{zone}", "falaj.ae/tier": tier}
        if tier == "public":
            tags["kubernetes.io/role/elb"] = "1"
        if tier == "private":
            tags |= {"kubernetes.io/role/internal-elb": "1", "karpenter.sh/discovery": self._args.cluster}
        return ec2.Subnet(
            f"{tier}-{zone}",
            vpc_id=self.vpc.id,
            availability_zone_id=zone,
            cidr_block=block,
            map_public_ip_on_launch=False,
            tags=tags,
            opts=self._opts,
        )

    def _routes(self) -> list[ec2.RouteTable]:
        """One table for all public subnets, one for all isolated ones, and one for each private one."""
        gateway = ec2.InternetGateway("internet", vpc_id=self.vpc.id, opts=self._opts)
        public = self._table("public", "public", list(self.subnets["public"]))
        ec2.Route(
            "public",
            route_table_id=public.id,
            destination_cidr_block=_ANYWHERE,
            gateway_id=gateway.id,
            opts=self._opts,
        )
        self.gateways = gateways = self._nat(gateway)
        tables = [public, self._table("isolated", "isolated", list(self.subnets["isolated"]))]
        for zone in self.subnets["private"]:
            table = self._table(f"private-{zone}", "private", [zone])
            tables.append(table)
            if gateways:
                ec2.Route(
                    f"private-{zone}",
                    route_table_id=table.id,
                    destination_cidr_block=_ANYWHERE,
                    nat_gateway_id=gateways.get(zone, next(iter(gateways.values()))).id,
                    opts=self._opts,
                )
        return tables

    def _table(self, name: str, tier: Tier, zones: Sequence[ZoneId]) -> ec2.RouteTable:
        tags = {"Name": f"{self._args.account.prefix}-{name}"}
        table = ec2.RouteTable(name, vpc_id=self.vpc.id, tags=tags, opts=self._opts)
        for zone in zones:
            subnet = self.subnets[tier][zone]
            ec2.RouteTableAssociation(f"{tier}-{zone}", route_table_id=table.id, subnet_id=subnet.id, opts=self._opts)
        return table

    def _nat(self, gateway: ec2.InternetGateway) -> dict[ZoneId, ec2.NatGateway]:
        zones = list(self.subnets["public"])
        wanted = {"none": [], "single": zones[:1], "per-zone": zones}[self._args.settings.nat]
        found: dict[ZoneId, ec2.NatGateway] = {}
        for zone in wanted:
            tags = {"Name": f"{self._args.account.prefix}-nat-{zone}"}
            address = ec2.Eip(f"nat-{zone}", domain="vpc", tags=tags, opts=self._opts)
            found[zone] = ec2.NatGateway(
                f"nat-{zone}",
                allocation_id=address.allocation_id,
                subnet_id=self.subnets["public"][zone].id,
                tags=tags,
                opts=ResourceOptions(parent=self, depends_on=[gateway]),
            )
        return found

    def _endpoints(self, tables: Sequence[ec2.RouteTable]) -> None:
        account = self._args.account
        service = f"com.amazonaws.{account.region}"
        ec2.VpcEndpoint(
            "s3",
            vpc_id=self.vpc.id,
            service_name=f"{service}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[table.id for table in tables],
            policy=policy(_object_access(account)),
            opts=self._opts,
        )
        if not self._args.settings.endpoints:
            return
        group = ec2.SecurityGroup(
            "endpoints",
            vpc_id=self.vpc.id,
            description="Interface endpoints, from the VPC alone",
            tags={"Name": f"{account.prefix}-endpoints"},
            opts=self._opts,
        )
        ec2.SecurityGroupRule(
            "endpoints",
            type="ingress",
            security_group_id=group.id,
            cidr_blocks=[self._args.settings.cidr],
            protocol="tcp",
            from_port=443,
            to_port=443,
            description="The VPC to the services of the region",
            opts=self._opts,
        )
        for endpoint in self._args.settings.endpoints:
            ec2.VpcEndpoint(
                endpoint,
                vpc_id=self.vpc.id,
                service_name=f"{service}.{endpoint}",
                vpc_endpoint_type="Interface",
                private_dns_enabled=True,
                subnet_ids=self.ids("private"),
                security_group_ids=[group.id],
                tags={"Name": f"{account.prefix}-{endpoint}"},
                opts=self._opts,
            )

    def _flow_logs(self) -> None:
        account = self._args.account
        group = log_group("flow-logs", f"/{account.prefix}/flow-logs", account, self._args.logs_key, self)
        role = iam.Role(
            "flow-logs",
            name=f"{account.prefix}-flow-logs",
            assume_role_policy=trust("vpc-flow-logs.amazonaws.com", account, account.arn("ec2", "vpc-flow-log/*")),
            opts=self._opts,
        )
        actions = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
        resource = account.arn("logs", f"log-group:/{account.prefix}/flow-logs:*")
        allowed = iam.RolePolicy(
            "flow-logs",
            name="flow-logs",
            role=role.name,
            policy=policy([{"Effect": "Allow", "Action": actions, "Resource": resource}]),
            opts=self._opts,
        )
        ec2.FlowLog(
            "flow-logs",
            vpc_id=self.vpc.id,
            traffic_type="ALL" if self._args.settings.flow_logs == "all" else "REJECT",
            log_destination_type="cloud-watch-logs",
            log_destination=group.arn,
            iam_role_arn=role.arn,
            opts=ResourceOptions(parent=self, depends_on=[allowed]),
        )


def _object_access(account: Account) -> list[dict[str, object]]:
    """This account's principals, and the layers of images, which ECR hands out by signed addresses of its own."""
    return [
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:PrincipalAccount": account.id}},
        },
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": f"arn:aws:s3:::prod-{account.region}-starport-layer-bucket/*",
        },
    ]
