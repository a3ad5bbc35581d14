"""Who reaches whom."""

from typing import Any

from tests.defects.model import PROD, Defect, all_of, document_of, early, unlist
from tests.policies.mutations.world import add, lose, put, remove

SUBNET, RULE, ROUTE = "ec2/subnet:Subnet", "ec2/securityGroupRule:SecurityGroupRule", "ec2/route:Route"
ASSOCIATION = "ec2/routeTableAssociation:RouteTableAssociation"
POLICY = "k8s/networking.k8s.io/v1:NetworkPolicy"
ZONES = ("mec1-az1", "mec1-az2", "mec1-az3")
_AGAIN = {
    "type": "ingress",
    "protocol": "tcp",
    "fromPort": 443,
    "toPort": 443,
    "description": "Once more",
    "securityGroupId": "<aws:ec2/securityGroup:SecurityGroup::endpoints.id>",
    "cidrBlocks": ["10.50.0.0/16"],
}


def _told(env: list[Any]) -> None:
    env.append({"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow.falaj.svc.cluster.local:5000"})


def _to(port: int) -> Any:
    return lambda rule: any(one["port"] == port for one in rule["ports"])


CLOUD = [
    Defect(
        "subnets-overlap",
        "Two subnets share addresses",
        PROD,
        put(SUBNET, "private-mec1-az2", "cidrBlock", "10.50.16.0/20"),
    ),
    Defect(
        "subnet-outside",
        "A subnet outside its network",
        PROD,
        put(SUBNET, "private-mec1-az2", "cidrBlock", "10.51.0.0/19"),
    ),
    Defect("subnet-unrouted", "A subnet with no route table of its own", PROD, remove(ASSOCIATION, "private-mec1-az2")),
    Defect("zone-without-way-out", "One zone's machines have no way out", PROD, remove(ROUTE, "private-mec1-az1")),
    Defect(
        "gateway-behind-itself",
        "A NAT gateway in a subnet that goes out through it",
        PROD,
        put("ec2/natGateway:NatGateway", "nat-mec1-az1", "subnetId", "<aws:ec2/subnet:Subnet::private-mec1-az1.id>"),
    ),
    Defect(
        "names-off",
        "Endpoints have private names, and the network none",
        PROD,
        put("ec2/vpc:Vpc", "vpc", "enableDnsHostnames", False),
    ),
    Defect("endpoints-closed", "No one may reach the endpoints", PROD, remove(RULE, "endpoints")),
    Defect("database-closed", "No one may reach the database", PROD, remove(RULE, "postgresql-cluster-5432")),
    Defect(
        "database-by-another-port",
        "The database is open on a port that it does not listen on",
        PROD,
        all_of(
            put(RULE, "postgresql-cluster-5432", "fromPort", 5433), put(RULE, "postgresql-cluster-5432", "toPort", 5433)
        ),
    ),
    Defect(
        "rule-twice",
        "One rule of a security group twice: the second is refused",
        PROD,
        add(RULE, "endpoints-again", _AGAIN),
        "https://github.com/hashicorp/terraform-provider-aws/issues/12450",
    ),
    Defect(
        "rule-to-no-one",
        "A rule of a security group that no one has",
        PROD,
        put(RULE, "cache-cluster-6379", "securityGroupId", "sg-0123456789abcdef0"),
    ),
    Defect(
        "balancer-finds-no-subnet",
        "No subnet is marked for load balancers",
        PROD,
        all_of(*[lose(SUBNET, f"private-{zone}", "tags kubernetes.io/role/internal-elb") for zone in ZONES]),
    ),
    Defect(
        "karpenter-finds-no-subnet",
        "No subnet is marked for machines",
        PROD,
        all_of(*[lose(SUBNET, f"private-{zone}", "tags karpenter.sh/discovery") for zone in ZONES]),
        "https://github.com/aws/karpenter-provider-aws/issues/7469",
    ),
    Defect(
        "flow-log-to-nowhere",
        "The network's log goes to a group that is not there",
        PROD,
        put(
            "ec2/flowLog:FlowLog",
            "flow-logs",
            "logDestination",
            "arn:aws:logs:me-central-1:444455556666:log-group:/falaj-prod/flow",
        ),
    ),
    Defect(
        "nat-before-internet",
        "A NAT gateway before the network is joined to the internet",
        PROD,
        early("ec2/natGateway:NatGateway", "nat-mec1-az1", "::internet"),
    ),
    Defect(
        "names-of-rules",
        "A rule whose description the API does not take",
        PROD,
        put(RULE, "endpoints", "description", "الشبكة إلى خدمات المنطقة"),
    ),
]
POLICIES = [
    Defect(
        "call-not-let-in",
        "A service is told of another that no policy lets it call",
        PROD,
        document_of("k8s/apps/v1:Deployment", "feature-server", "spec template spec containers 0 env", _told),
    ),
    Defect("call-not-let-out", "A service that may call no one", PROD, remove(POLICY, "falaj/inference-out")),
    Defect(
        "call-to-another-port",
        "A call is let out to a port that no one listens on",
        PROD,
        put(POLICY, "falaj/inference-out", "spec egress 2 ports 0 port", 6567),
    ),
    Defect(
        "names-not-asked",
        "DNS is forgotten: no pod finds any other",
        PROD,
        lose(POLICY, "falaj/default", "spec egress"),
    ),
    Defect(
        "names-by-udp-alone",
        "DNS by UDP alone: long answers are cut",
        PROD,
        unlist(POLICY, "falaj/default", "spec egress 0 ports", lambda port: port["protocol"] == "TCP"),
    ),
    Defect(
        "database-not-let-out",
        "A service may not call its database",
        PROD,
        unlist(POLICY, "falaj/mlflow-out", "spec egress", _to(5432)),
    ),
    Defect(
        "cache-not-let-out",
        "A service may not call its cache",
        PROD,
        unlist(POLICY, "falaj/feature-server-out", "spec egress", _to(6379)),
    ),
    Defect(
        "stores-not-let-out",
        "A service may not call the object store",
        PROD,
        unlist(POLICY, "falaj/inference-out", "spec egress", _to(443)),
    ),
    Defect(
        "credentials-not-let-out",
        "A service may not call the agent that hands it its role",
        PROD,
        unlist(POLICY, "falaj/inference-out", "spec egress", _to(80)),
    ),
    Defect(
        "metrics-not-let-in", "No one may read a service's metrics", PROD, remove(POLICY, "falaj/inference-metrics")
    ),
    Defect(
        "gateway-not-let-in",
        "The gateway may not call a service that it leads to",
        PROD,
        remove(POLICY, "falaj/mlflow-gateway"),
    ),
    Defect(
        "webhook-not-let-in", "The API server may not call a webhook", PROD, remove(POLICY, "cert-manager/webhooks")
    ),
    Defect(
        "webhook-by-another-port",
        "The API server may call a webhook on a port that it does not listen on",
        PROD,
        put(POLICY, "cert-manager/webhooks", "spec ingress 0 ports 0 port", 9443),
    ),
    Defect(
        "policy-for-no-pod",
        "A policy that selects no pod: the pods that it was for may call no one",
        PROD,
        put(POLICY, "falaj/inference-out", "spec podSelector matchLabels app.kubernetes.io/name", "inference-runtime"),
    ),
    Defect(
        "policy-for-no-caller",
        "A policy that lets in pods that are not there",
        PROD,
        put(
            POLICY,
            "falaj/inference-metrics",
            "spec ingress 0 from 0 podSelector matchLabels app.kubernetes.io/name",
            "prometheus-server",
        ),
    ),
    Defect(
        "policy-in-no-namespace",
        "A policy that lets in a namespace that is not there",
        PROD,
        put(
            POLICY,
            "falaj/inference-metrics",
            "spec ingress 0 from 0 namespaceSelector matchLabels kubernetes.io/metadata.name",
            "prometheus",
        ),
    ),
]
