"""Nothing is reached from where it need not be."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from policies import iam, pods
from policies.conditions import absent, is_true, not_true
from policies.controls import ACCESS, NETWORK
from policies.graph import Graph
from policies.model import Faults, Judge, Resource, Rule, Severity, is_unknown

_HIGH, _CRITICAL, _MEDIUM, _LOW = Severity.HIGH, Severity.CRITICAL, Severity.MEDIUM, Severity.LOW
_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
_WORLD = ("0.0.0.0/0", "::/0")
_RULES = (
    "aws:ec2/securityGroup:SecurityGroup",
    "aws:ec2/securityGroupRule:SecurityGroupRule",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
)
_ADMIN_PORTS = (22, 3389, 5432, 3306, 6379, 9092, 9094, 9200, 2379, 10250)
_WHY_OPEN = "What the whole internet can reach, it tries."


@dataclass(frozen=True)
class _Ingress:
    """One way in: by which protocol, at which ports (None for all), from which addresses."""

    protocol: str
    low: float | None
    high: float | None
    cidrs: tuple[str, ...]

    @property
    def everything(self) -> bool:
        return self.protocol in ("-1", "all")


def _ingress(resource: Resource) -> list[_Ingress]:
    inputs = resource.inputs
    if resource.type.startswith("aws:vpc/"):
        return [_way(inputs, "ipProtocol", [inputs.get("cidrIpv4"), inputs.get("cidrIpv6")])]
    if resource.type == "aws:ec2/securityGroupRule:SecurityGroupRule":
        return [_way(inputs, "protocol", _cidrs(inputs))] if inputs.get("type") == "ingress" else []
    listed = inputs.get("ingress") or ()
    return [_way(one, "protocol", _cidrs(one)) for one in listed if isinstance(one, Mapping)]


def _cidrs(rule: Mapping[str, Any]) -> list[Any]:
    return [*(rule.get("cidrBlocks") or ()), *(rule.get("ipv6CidrBlocks") or ())]


def _way(rule: Mapping[str, Any], protocol: str, blocks: list[Any]) -> _Ingress:
    low, high = (
        float(value) if isinstance(value, int | float) else None for value in (rule.get("fromPort"), rule.get("toPort"))
    )
    return _Ingress(str(rule.get(protocol)), low, high, tuple(str(block) for block in blocks if block is not None))


def _open_ingress(resource: Resource, _graph: Graph) -> Faults:
    for rule in _ingress(resource):
        for block in rule.cidrs:
            if block in _WORLD or _wide(block):
                yield f"it lets {block} in"


def _wide(block: str) -> bool:
    if is_unknown(block):
        return False
    try:
        network = ipaddress.ip_network(block)
    except ValueError:
        return False
    return network.prefixlen < (8 if network.version == 4 else 32)


def _admin_ports(resource: Resource, _graph: Graph) -> Faults:
    for rule in _ingress(resource):
        outside = [block for block in rule.cidrs if not is_unknown(block) and not _private(block)]
        if outside and rule.everything:
            yield "it lets every protocol in from public addresses"
        elif outside and rule.low is not None and rule.high is not None:
            found = [str(port) for port in _ADMIN_PORTS if rule.low <= port <= rule.high]
            if found:
                yield f"it lets public addresses in at port {', '.join(found)}"


def _private(block: str) -> bool:
    try:
        return ipaddress.ip_network(block).is_private
    except ValueError:
        return False


def _all_ports(resource: Resource, _graph: Graph) -> Faults:
    for rule in _ingress(resource):
        if not rule.cidrs:
            continue
        if rule.everything:
            yield "it lets every protocol and port in from addresses"
        elif rule.low is not None and rule.high is not None and rule.high - rule.low > 1000:
            yield f"it lets {rule.high - rule.low + 1:g} ports in from addresses"


def _described(resource: Resource, _graph: Graph) -> Faults:
    if str(resource.inputs.get("description") or "") in ("", "Managed by Pulumi", "Managed by Terraform"):
        yield "it does not say what it is for"


def _closed_default(resource: Resource, graph: Graph) -> Faults:
    closed = [
        one
        for one in graph.attached(resource, "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup", "vpcId")
        if not one.inputs.get("ingress") and not one.inputs.get("egress")
    ]
    if not closed:
        yield "its default group is not closed, and what names no group gets it"


def _flow_logs(resource: Resource, graph: Graph) -> Faults:
    if not graph.attached(resource, "aws:ec2/flowLog:FlowLog", "vpcId"):
        yield "it has no flow log"


def _endpoints(resource: Resource, graph: Graph) -> Faults:
    services = [
        str(one.inputs.get("serviceName", ""))
        for one in graph.attached(resource, "aws:ec2/vpcEndpoint:VpcEndpoint", "vpcId")
    ]
    for service in ("s3", "ecr.api", "ecr.dkr", "kms", "sts"):
        if not any(one.endswith(f".{service}") for one in services):
            yield f"it has no endpoint of {service}, so that requests leave it"


def _endpoint_policy(resource: Resource, _graph: Graph) -> Faults:
    if resource.value("vpcEndpointType", "Gateway") != "Gateway":
        return
    found = iam.document(resource, "policy")
    if found is None:
        yield "it has no policy, so that it leads to every bucket of the world"
    for statement in iam.statements(found):
        anything = any(one == "*" for one in statement.resources)
        bounded = statement.conditioned_on(
            "aws:principalaccount", "aws:resourceaccount", "aws:principalorgid", "aws:resourceorgid"
        )
        if statement.allows and anything and not bounded:
            yield "its policy leads to every bucket of the world"


def _public_subnets(graph: Graph) -> set[str]:
    """URNs of subnets whose table leads to an internet gateway."""
    public: set[str] = set()
    for table in graph.of("aws:ec2/routeTable:RouteTable"):
        routes = [route.inputs for route in graph.attached(table, "aws:ec2/route:Route", "routeTableId")]
        routes += [route for route in table.inputs.get("routes") or () if isinstance(route, dict)]
        if not any(route.get("gatewayId") for route in routes):
            continue
        for association in graph.attached(table, "aws:ec2/routeTableAssociation:RouteTableAssociation", "routeTableId"):
            public |= {subnet.urn for subnet in graph.targets(association, "subnetId")}
    return public


def _subnets_of(resource: Resource, graph: Graph) -> list[Resource]:
    """Subnets in which something stands, through its subnet group where it has one."""
    found: list[Resource] = []
    for key in ("dbSubnetGroupName", "subnetGroupName"):
        groups = graph.targets(resource, key)
        for kind in ("aws:rds/subnetGroup:SubnetGroup", "aws:elasticache/subnetGroup:SubnetGroup"):
            groups += (
                graph.named(kind, "name", resource.inputs.get(key)) if not groups and key in resource.inputs else []
            )
        for group in groups:
            found += graph.targets(group, "subnetIds")
    for key in ("vpcConfig", "subnetIds", "brokerNodeGroupInfo", "vpcOptions", "subnetId"):
        found += [one for one in graph.targets(resource, key) if one.type == "aws:ec2/subnet:Subnet"]
    return found


def _in_public_subnet(resource: Resource, graph: Graph) -> Faults:
    public = _public_subnets(graph)
    for subnet in _subnets_of(resource, graph):
        if subnet.urn in public:
            yield f"it stands in {subnet.name}, which the internet reaches"


def _has_groups(resource: Resource, _graph: Graph) -> Faults:
    keys = (
        "vpcSecurityGroupIds",
        "securityGroupIds",
        "brokerNodeGroupInfo.securityGroups",
        "vpcOptions.securityGroupIds",
    )
    if not any(resource.has(key) for key in keys):
        yield "it names no security group, so that it gets the default one"


def _store_callers(resource: Resource, graph: Graph) -> Faults:
    """Only groups may reach a store: an address range lets in whatever gets an address of it."""
    for key in ("vpcSecurityGroupIds", "securityGroupIds"):
        for group in graph.targets(resource, key):
            rules = [group, *graph.attached(group, _RULES[1], "securityGroupId")]
            rules += graph.attached(group, _RULES[2], "securityGroupId")
            if any(rule.cidrs for one in rules for rule in _ingress(one)):
                yield f"its group {group.name} lets addresses in, and not groups alone"


def _eks_public(resource: Resource, graph: Graph) -> Faults:
    # The provider's default is open: both an absent value and an absent list are the whole internet.
    if resource.value("vpcConfig.endpointPublicAccess", True) is False:
        return
    blocks = resource.each("vpcConfig.publicAccessCidrs")
    if not blocks or any(block in _WORLD or _wide(str(block)) for block in blocks):
        yield "the internet reaches its API"
    elif graph.settings.production:
        yield "its API has a public endpoint, in production"


def _metadata(path: str, tokens: str, hops: str) -> Judge:
    def judge(resource: Resource, _graph: Graph) -> Faults:
        if resource.value(f"{path}.{tokens}") != "required":
            yield "the first version of the metadata service answers, without a token"
        if int(resource.value(f"{path}.{hops}", 1)) > 1:
            yield "pods reach the node's metadata service, and with it the node's role"

    return judge


def _load_balancer(resource: Resource, _graph: Graph) -> Faults:
    if resource.value("spec.type") == "LoadBalancer":
        ranges = resource.each("spec.loadBalancerSourceRanges")
        internal = (resource.inputs.get("metadata") or {}).get("annotations") or {}
        scheme = internal.get("service.beta.kubernetes.io/aws-load-balancer-scheme")
        if not ranges and scheme != "internal":
            yield "its load balancer takes everyone in"
        if any(block in _WORLD for block in ranges):
            yield "its load balancer takes everyone in"
    if resource.value("spec.type") == "NodePort":
        yield "it is open on every node"
    if resource.has("spec.externalIPs"):
        yield "it takes addresses that are not its own (CVE-2020-8554)"


def _entrance(resource: Resource, graph: Graph) -> Faults:
    if resource.value("spec.provider.kubernetes.envoyService.type", "LoadBalancer") != "LoadBalancer":
        return
    ranges = resource.each("spec.provider.kubernetes.envoyService.loadBalancerSourceRanges")
    annotations = resource.value("spec.provider.kubernetes.envoyService.annotations", {})
    scheme = annotations.get("service.beta.kubernetes.io/aws-load-balancer-scheme")
    if scheme == "internet-facing" and graph.settings.internal:
        yield "it faces the internet, and the stack's file says that it is internal"
    if not ranges:
        yield "its load balancer takes everyone in"
    if any(block in _WORLD or _wide(str(block)) for block in ranges):
        yield "its load balancer takes everyone in"


def _signed_in(resource: Resource, graph: Graph) -> Faults:
    name = (resource.inputs.get("metadata") or {}).get("name")
    for policy in graph.of("kubernetes:gateway.envoyproxy.io/v1alpha1:SecurityPolicy"):
        targets = [one for one in policy.each("spec.targetRefs") if isinstance(one, dict)]
        if any(one.get("kind") == "Gateway" and one.get("name") == name for one in targets) and policy.has("spec.jwt"):
            return
    yield "no SecurityPolicy asks who comes in"


def _denied_by_default(resource: Resource, _graph: Graph) -> Faults:
    if resource.value("spec.authorization.defaultAction") != "Deny":
        yield "who is signed in may do everything: authorization.defaultAction is not Deny"


def _selected(resource: Resource, graph: Graph) -> Faults:
    space = pods.namespace(resource)
    mine = (resource.inputs.get("spec") or {}).get("template") or {}
    found = (mine.get("metadata") or {}).get("labels") or {}
    directions: set[str] = set()
    for policy in graph.selecting(_POLICY, "podSelector", space, found):
        directions |= set((policy.inputs.get("spec") or {}).get("policyTypes") or ("Ingress",))
        if directions >= {"Ingress", "Egress"}:
            return
    for direction in ("Ingress", "Egress"):
        if direction not in directions:
            yield f"no NetworkPolicy limits its {direction.lower()}"


def _namespace_default(resource: Resource, graph: Graph) -> Faults:
    name = (resource.inputs.get("metadata") or {}).get("name")
    directions: set[str] = set()
    for policy in pods.of_namespace(_POLICY, name, graph):
        selector = policy.inputs.get("spec") or {}
        if not selector.get("podSelector"):
            directions |= set(selector.get("policyTypes") or ("Ingress",))
    # What controllers of third parties talk to is theirs to know; pods that people start are held.
    people = pods.label(resource, "falaj.ae/tenant") == "true"
    for direction in ("Ingress", "Egress") if people else ("Ingress",):
        if direction not in directions:
            yield f"no NetworkPolicy of all its pods limits their {direction.lower()}"


def _wide_policy(resource: Resource, _graph: Graph) -> Faults:
    spec = resource.inputs.get("spec") or {}
    for rule in spec.get("ingress") or ():
        if rule == {} or (isinstance(rule, dict) and not rule.get("from") and not rule.get("ports")):
            yield "it lets everyone in at every port"
        for peer in (rule or {}).get("from") or ():
            if ((peer or {}).get("ipBlock") or {}).get("cidr") in _WORLD:
                yield "it lets the internet in"
            everyone = (peer or {}).get("namespaceSelector") == {} and not (peer or {}).get("podSelector")
            if everyone and pods.namespace(resource) == "falaj":
                yield "it lets pods of every namespace in"
    for rule in spec.get("egress") or ():
        if rule == {} or (isinstance(rule, dict) and not rule.get("to") and not rule.get("ports")):
            yield "it lets its pods out to everything"
        for peer in (rule or {}).get("to") or ():
            block = (peer or {}).get("ipBlock") or {}
            if block.get("cidr") in _WORLD and not (rule or {}).get("ports"):
                yield "it lets its pods out to the internet at every port"


def _egress_metadata(resource: Resource, _graph: Graph) -> Faults:
    for rule in (resource.inputs.get("spec") or {}).get("egress") or ():
        for peer in (rule or {}).get("to") or ():
            block = (peer or {}).get("ipBlock") or {}
            text = str(block.get("cidr") or "")
            if is_unknown(text) or not text:
                continue
            network = ipaddress.ip_network(text, strict=False)
            address = ipaddress.ip_address("169.254.169.254")
            covered = network.version == 4 and address in network
            spared = any(address in ipaddress.ip_network(one) for one in block.get("except") or () if "." in str(one))
            if covered and not spared and network.prefixlen >= 16:
                yield "its pods reach the node's metadata service"


RULES: tuple[Rule, ...] = (
    Rule(
        id="ingress-world",
        title="No security group lets the internet in",
        severity=_CRITICAL,
        types=_RULES,
        why=_WHY_OPEN,
        remedy="Name the networks that need access: gateway.public.allow_from in stacks/Pulumi.<stack>.yaml.",
        controls=NETWORK,
        judge=_open_ingress,
        known_as=("CKV_AWS_260", "CKV_AWS_277"),
    ),
    Rule(
        id="ingress-administration",
        title="Ports of administration and stores are closed to public addresses",
        severity=_CRITICAL,
        types=_RULES,
        why="Shells and databases are what is tried first.",
        remedy="Remove the rule from infra/substrates/aws/network.py: people come through the "
        "gateway and Session Manager.",
        controls=NETWORK,
        judge=_admin_ports,
        known_as=("CKV_AWS_24", "CKV_AWS_25"),
    ),
    Rule(
        id="ingress-all-ports",
        title="Security groups name their ports",
        severity=_HIGH,
        types=_RULES,
        why="A port that is open by accident is found by those who look.",
        remedy="Name one port a rule in infra/substrates/aws/network.py.",
        controls=NETWORK,
        judge=_all_ports,
    ),
    Rule(
        id="group-described",
        title="Security groups and their rules say what they are for",
        severity=_LOW,
        types=_RULES,
        why="A rule that no one understands is never removed.",
        remedy="Add a description in infra/substrates/aws.",
        controls=NETWORK,
        judge=_described,
        known_as=("CKV_AWS_23",),
    ),
    Rule(
        id="vpc-default-group",
        title="The default group of a network is closed",
        severity=_MEDIUM,
        types=("aws:ec2/vpc:Vpc",),
        why="What names no group gets the default one, which lets everything within it talk.",
        remedy="Leave DefaultSecurityGroup without rules in infra/substrates/aws/network.py.",
        controls=NETWORK,
        judge=_closed_default,
        known_as=("CKV2_AWS_12",),
    ),
    Rule(
        id="vpc-flow-logs",
        title="Networks log who talks to whom",
        severity=_HIGH,
        types=("aws:ec2/vpc:Vpc",),
        why="After a breach it is the record of what went where.",
        remedy="Set substrate.network.flow_logs in stacks/Pulumi.<stack>.yaml.",
        controls=("pdpl-9", "iso-8.15", "iso-8.20", "ia-t3.6.2", "gdpr-33"),
        judge=_flow_logs,
        known_as=("CKV2_AWS_11",),
    ),
    Rule(
        id="vpc-endpoints",
        title="Stores, keys and images are reached without leaving the network",
        severity=_MEDIUM,
        types=("aws:ec2/vpc:Vpc",),
        why="What leaves the network is seen and cut by others.",
        remedy="Add them to substrate.network.endpoints in stacks/Pulumi.<stack>.yaml.",
        controls=NETWORK,
        judge=_endpoints,
    ),
    Rule(
        id="endpoint-policy",
        title="The way to the object store leads to the stack's account alone",
        severity=_HIGH,
        types=("aws:ec2/vpcEndpoint:VpcEndpoint",),
        why="Without a policy a pod can copy data into a bucket of anyone.",
        remedy="Leave the policy of the endpoint s3 in infra/substrates/aws/network.py.",
        controls=("pdpl-22", "iso-8.12", "ia-t7.6.4", "gdpr-32"),
        judge=_endpoint_policy,
    ),
    Rule(
        id="subnet-public-addresses",
        title="Subnets give out no public addresses",
        severity=_HIGH,
        types=("aws:ec2/subnet:Subnet",),
        why=_WHY_OPEN,
        remedy="Leave map_public_ip_on_launch false in infra/substrates/aws/network.py.",
        controls=NETWORK,
        judge=not_true("mapPublicIpOnLaunch"),
        known_as=("CKV_AWS_130",),
    ),
    Rule(
        id="instance-public-address",
        title="Machines have no public address",
        severity=_HIGH,
        types=(
            "aws:ec2/instance:Instance",
            "aws:ec2/launchTemplate:LaunchTemplate",
            "kubernetes:karpenter.k8s.aws/v1:EC2NodeClass",
        ),
        why=_WHY_OPEN,
        remedy="Remove associate_public_ip_address in infra/substrates/aws.",
        controls=NETWORK,
        judge=lambda resource, _graph: (
            ["associatePublicIpAddress is true"]
            if "true"
            in (
                str(resource.value("spec.associatePublicIPAddress", "")).lower(),
                str(resource.value("associatePublicIpAddress", "")).lower(),
                str(resource.value("networkInterfaces.associatePublicIpAddress", "")).lower(),
            )
            else []
        ),
        known_as=("CKV_AWS_88",),
    ),
    Rule(
        id="store-public-subnet",
        title="No store, broker or node stands where the internet reaches",
        severity=_CRITICAL,
        types=(
            "aws:ec2/instance:Instance",
            "aws:eks/cluster:Cluster",
            "aws:eks/nodeGroup:NodeGroup",
            "aws:elasticache/replicationGroup:ReplicationGroup",
            "aws:msk/cluster:Cluster",
            "aws:opensearch/domain:Domain",
            "aws:rds/instance:Instance",
        ),
        why="One wrong rule of a group would then open it.",
        remedy="Use the tiers isolated or private of substrate.network in infra/substrates/aws.",
        controls=(*NETWORK, "cis-eks-5.4.3"),
        judge=_in_public_subnet,
    ),
    Rule(
        id="store-groups",
        title="Stores name their security group",
        severity=_HIGH,
        types=(
            "aws:elasticache/replicationGroup:ReplicationGroup",
            "aws:msk/cluster:Cluster",
            "aws:opensearch/domain:Domain",
            "aws:rds/instance:Instance",
        ),
        why="What names none gets the network's default group.",
        remedy="Leave the group in infra/substrates/aws/databases.py or cache.py.",
        controls=NETWORK,
        judge=_has_groups,
    ),
    Rule(
        id="store-callers",
        title="Stores let groups in, not address ranges",
        severity=_HIGH,
        types=("aws:elasticache/replicationGroup:ReplicationGroup", "aws:rds/instance:Instance"),
        why="A range lets in whatever gets an address of it.",
        remedy="Name the cluster's group in infra/substrates/aws/databases.py or cache.py.",
        controls=NETWORK,
        judge=_store_callers,
    ),
    Rule(
        id="rds-private",
        title="Databases have no public address",
        severity=_CRITICAL,
        types=("aws:rds/instance:Instance", "aws:rds/clusterInstance:ClusterInstance"),
        why=_WHY_OPEN,
        remedy="Leave publicly_accessible false in infra/substrates/aws/databases.py.",
        controls=NETWORK,
        judge=not_true("publiclyAccessible"),
        known_as=("CKV_AWS_17",),
    ),
    Rule(
        id="msk-private",
        title="Brokers have no public address",
        severity=_CRITICAL,
        types=("aws:msk/cluster:Cluster",),
        why=_WHY_OPEN,
        remedy="Remove public_access in infra/substrates/aws.",
        controls=NETWORK,
        judge=lambda resource, _graph: (
            ["publicAccess is on"]
            if resource.value("brokerNodeGroupInfo.connectivityInfo.publicAccess.type", "DISABLED") != "DISABLED"
            else []
        ),
        known_as=("CKV_AWS_291",),
    ),
    Rule(
        id="msk-authenticated",
        title="Clients of brokers say who they are",
        severity=_HIGH,
        types=("aws:msk/cluster:Cluster",),
        why="Without it every pod that reaches the port reads every topic.",
        remedy="Set client_authentication in infra/substrates/aws.",
        controls=ACCESS,
        judge=lambda resource, _graph: (
            ["clients need not say who they are"]
            if resource.value("clientAuthentication.unauthenticated") is True
            or not any(
                resource.value(f"clientAuthentication.{kind}") is True
                or resource.has(f"clientAuthentication.{kind}.certificateAuthorityArns")
                for kind in ("sasl.iam", "sasl.scram", "tls")
            )
            else []
        ),
    ),
    Rule(
        id="search-private",
        title="Search domains are in the network",
        severity=_CRITICAL,
        types=("aws:opensearch/domain:Domain",),
        why=_WHY_OPEN,
        remedy="Set vpc_options in infra/substrates/aws.",
        controls=NETWORK,
        judge=lambda resource, _graph: [] if resource.has("vpcOptions.subnetIds") else ["vpcOptions is absent"],
        known_as=("CKV_AWS_137",),
    ),
    Rule(
        id="eks-private-endpoint",
        title="The cluster's API is reached from within the network",
        severity=_HIGH,
        types=("aws:eks/cluster:Cluster",),
        why="Otherwise nodes talk to it over the internet.",
        remedy="Leave endpoint_private_access true in infra/substrates/aws/cluster.py.",
        controls=(*NETWORK, "cis-eks-5.4.2"),
        judge=is_true("vpcConfig.endpointPrivateAccess"),
    ),
    Rule(
        id="eks-public-endpoint",
        title="The cluster's API is closed to the internet",
        severity=_CRITICAL,
        types=("aws:eks/cluster:Cluster",),
        why=_WHY_OPEN,
        remedy="Set substrate.cluster.public_from in stacks/Pulumi.<stack>.yaml: empty in production, "
        "else your networks.",
        controls=(*NETWORK, "cis-eks-5.4.1", "cis-eks-5.4.2"),
        judge=_eks_public,
        known_as=("CKV_AWS_38", "CKV_AWS_39"),
    ),
    Rule(
        id="instance-metadata",
        title="Machines give credentials to those with a token, and not to pods",
        severity=_HIGH,
        types=("aws:ec2/launchTemplate:LaunchTemplate", "aws:ec2/instance:Instance"),
        why="A request that a service is tricked into would get the node's credentials.",
        remedy="Leave http_tokens required and the hop limit 1 in infra/substrates/aws/cluster.py.",
        controls=ACCESS,
        judge=_metadata("metadataOptions", "httpTokens", "httpPutResponseHopLimit"),
        known_as=("CKV_AWS_79", "CKV_AWS_341"),
    ),
    Rule(
        id="node-class-metadata",
        title="Nodes that Karpenter makes give no credentials to pods",
        severity=_HIGH,
        types=("kubernetes:karpenter.k8s.aws/v1:EC2NodeClass",),
        why="A request that a service is tricked into would get the node's credentials.",
        remedy="Leave httpTokens required and the hop limit 1 in the node classes: infra/addons/karpenter.py.",
        controls=ACCESS,
        judge=_metadata("spec.metadataOptions", "httpTokens", "httpPutResponseHopLimit"),
    ),
    Rule(
        id="node-no-ssh",
        title="No one signs in to nodes",
        severity=_HIGH,
        types=("aws:eks/nodeGroup:NodeGroup",),
        why="What is changed by hand on a node is in no record.",
        remedy="Remove remote_access from the node group in infra/substrates/aws/cluster.py.",
        controls=ACCESS,
        judge=absent("remoteAccess"),
        known_as=("CKV_AWS_100",),
    ),
    Rule(
        id="service-exposure",
        title="No service but the gateway is open to the outside",
        severity=_HIGH,
        types=("kubernetes:core/v1:Service",),
        why="Only the gateway asks who comes in.",
        remedy="Make it a ClusterIP and give it a route: infra/services.",
        controls=NETWORK,
        judge=_load_balancer,
    ),
    Rule(
        id="gateway-sources",
        title="The gateway lets named networks in",
        severity=_HIGH,
        types=("kubernetes:gateway.envoyproxy.io/v1alpha1:EnvoyProxy",),
        why=_WHY_OPEN,
        remedy="Set gateway.public.allow_from in stacks/Pulumi.<stack>.yaml.",
        controls=NETWORK,
        judge=_entrance,
    ),
    Rule(
        id="gateway-sign-in",
        title="The gateway asks everyone who they are",
        severity=_CRITICAL,
        types=("kubernetes:gateway.networking.k8s.io/v1:Gateway",),
        why="Behind it are services that trust it.",
        remedy="Set gateway.public.oidc in stacks/Pulumi.<stack>.yaml.",
        controls=("pdpl-20", "iso-8.5", "ia-t5.2.2", "gdpr-32"),
        judge=_signed_in,
    ),
    Rule(
        id="gateway-authorization",
        title="Who is signed in may do what groups say, and nothing else",
        severity=_HIGH,
        types=("kubernetes:gateway.envoyproxy.io/v1alpha1:SecurityPolicy",),
        why="An issuer knows many people, and few of them should be here.",
        remedy="Set gateway.public.oidc.users and administrators in stacks/Pulumi.<stack>.yaml.",
        controls=ACCESS,
        judge=_denied_by_default,
    ),
    Rule(
        id="pod-network-policy",
        title="A NetworkPolicy limits who each service talks to",
        severity=_HIGH,
        types=("kubernetes:apps/v1:Deployment", "kubernetes:apps/v1:StatefulSet"),
        why="A pod that is taken over reaches all that the network lets it.",
        remedy="Declare what the workload reads and connects to: infra/services.",
        controls=(*NETWORK, "cis-eks-4.3.2", "cis-eks-5.4.4"),
        judge=_selected,
    ),
    Rule(
        id="namespace-network-policy",
        title="In every namespace what is not allowed is refused",
        severity=_HIGH,
        types=("kubernetes:core/v1:Namespace",),
        why="A pod that no policy selects may talk to everyone.",
        remedy="Make the namespace by cluster.namespace(…), which adds a policy of all pods.",
        controls=(*NETWORK, "cis-eks-4.3.2", "cis-eks-5.4.4"),
        judge=_namespace_default,
        known_as=("CKV2_K8S_6",),
    ),
    Rule(
        id="network-policy-width",
        title="Network policies name peers and ports",
        severity=_MEDIUM,
        types=("kubernetes:networking.k8s.io/v1:NetworkPolicy",),
        why="An empty rule allows everything.",
        remedy="Name whom and at which port: infra/substrates/kubernetes/policies.py.",
        controls=NETWORK,
        judge=_wide_policy,
    ),
    Rule(
        id="network-policy-metadata",
        title="Pods are not let out to the node's metadata service",
        severity=_HIGH,
        types=("kubernetes:networking.k8s.io/v1:NetworkPolicy",),
        why="It gives out the node's credentials.",
        remedy="Remove 169.254.0.0/16 from the policy: Pod Identity's agent is 169.254.170.23.",
        controls=ACCESS,
        judge=_egress_metadata,
    ),
)
