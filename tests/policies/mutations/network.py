"""Who can reach what: PDPL article 20, ISO 27001 A.8.20 and A.8.22, UAE IA T4.5, CIS EKS 5.4."""

from tests.policies.mutations.world import (
    BOTH,
    CLOUD,
    PROD,
    Document,
    Mutation,
    add,
    append,
    lose,
    policy,
    put,
    remove,
    remove_all,
    within,
)

RULE, GROUP, SUBNET = "ec2/securityGroupRule:SecurityGroupRule", "ec2/securityGroup:SecurityGroup", "ec2/subnet:Subnet"
CLUSTER, POLICY = "eks/cluster:Cluster", "k8s/networking.k8s.io/v1:NetworkPolicy"
PUBLIC = "<aws:ec2/subnet:Subnet::public-mec1-az1.id>"
WORLD = "0.0.0.0/0"


def _open(group: str, port: int, **source: object) -> Document:
    made = {"type": "ingress", "protocol": "tcp", "fromPort": port, "toPort": port, "description": "For a test"}
    return {"securityGroupId": f"<aws:ec2/securityGroup:SecurityGroup::{group}.id>", **made, **source}


def _service(kind: str) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "mlflow-direct", "namespace": "falaj"},
        "spec": {"type": kind, "ports": [{"port": 5000}], "selector": {"app.kubernetes.io/name": "mlflow"}},
    }


def _enter(name: str, *callers: Document, space: str = "falaj") -> Document:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": space},
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": list(callers)} if callers else {}],
        },
    }


def _no_network_policy(document: Document) -> None:
    document["enableNetworkPolicy"] = "false"


MUTATIONS = [
    Mutation(
        "database-port-to-the-world",
        "pdpl-20",
        "Anyone may connect to PostgreSQL's port",
        CLOUD,
        add(RULE, "test", _open("postgresql", 5432, cidrBlocks=[WORLD])),
    ),
    Mutation(
        "database-port-to-the-world-ipv6",
        "pdpl-20",
        "Anyone may connect to PostgreSQL's port by IPv6",
        (PROD,),
        add(RULE, "test", _open("postgresql", 5432, ipv6CidrBlocks=["::/0"])),
    ),
    Mutation(
        "cache-port-opened",
        "iso-8.22",
        "The rule of the cache lets the world in",
        CLOUD,
        put(RULE, "cache-cluster-6379", "cidrBlocks", [WORLD]),
    ),
    Mutation(
        "ssh-to-the-world",
        "iso-8.20",
        "Anyone may try SSH",
        (PROD,),
        add(RULE, "test", _open("endpoints", 22, cidrBlocks=[WORLD])),
    ),
    Mutation(
        "half-of-the-world",
        "iso-8.20",
        "Half of all addresses may connect to Kafka",
        (PROD,),
        add(RULE, "test", _open("kafka", 9098, cidrBlocks=["0.0.0.0/1"])),
    ),
    Mutation(
        "group-opened-inline",
        "iso-8.22",
        "A security group itself lets the world in",
        CLOUD,
        put(
            GROUP,
            "mysql",
            "ingress",
            [{"protocol": "-1", "fromPort": 0, "toPort": 0, "cidrBlocks": [WORLD], "description": "all"}],
        ),
    ),
    Mutation(
        "new-rule-kind-opened",
        "iso-8.22",
        "A rule of the newer kind lets the world in",
        (PROD,),
        add(
            "vpc/securityGroupIngressRule:SecurityGroupIngressRule",
            "test",
            {
                "securityGroupId": "<aws:ec2/securityGroup:SecurityGroup::search.id>",
                "cidrIpv4": WORLD,
                "ipProtocol": "tcp",
                "fromPort": 443,
                "toPort": 443,
                "description": "For a test",
            },
        ),
    ),
    Mutation(
        "group-not-described",
        "iso-8.9",
        "A security group does not say what it is for",
        (PROD,),
        lose(GROUP, "kafka", "description"),
    ),
    Mutation(
        "default-group-open",
        "iso-8.22",
        "The default group lets its members talk",
        CLOUD,
        put(
            "ec2/defaultSecurityGroup:DefaultSecurityGroup",
            "closed",
            "ingress",
            [{"protocol": "-1", "self": True, "fromPort": 0, "toPort": 0}],
        ),
    ),
    Mutation(
        "default-group-not-closed",
        "iso-8.22",
        "The default group is as the provider makes it",
        CLOUD,
        remove("ec2/defaultSecurityGroup:DefaultSecurityGroup", "closed"),
    ),
    Mutation(
        "subnet-gives-addresses",
        "iso-8.20",
        "Machines of a private subnet get public addresses",
        CLOUD,
        put(SUBNET, "private-mec1-az1", "mapPublicIpOnLaunch", True),
    ),
    Mutation(
        "database-public",
        "pdpl-20",
        "The database has a public address",
        CLOUD,
        put("rds/instance:Instance", "postgresql", "publiclyAccessible", True),
    ),
    Mutation(
        "database-in-public-subnet",
        "iso-8.22",
        "The database is in a subnet with a way in from the internet",
        CLOUD,
        put("rds/subnetGroup:SubnetGroup", "postgresql", "subnetIds 0", PUBLIC),
    ),
    Mutation(
        "cache-in-public-subnet",
        "iso-8.22",
        "The cache is in a subnet with a way in from the internet",
        CLOUD,
        put("elasticache/subnetGroup:SubnetGroup", "cache", "subnetIds 0", PUBLIC),
    ),
    Mutation(
        "isolated-subnet-routed-out",
        "iso-8.22",
        "The subnets of databases get a way to the internet",
        CLOUD,
        add(
            "ec2/route:Route",
            "isolated",
            {
                "routeTableId": "<aws:ec2/routeTable:RouteTable::isolated.id>",
                "destinationCidrBlock": WORLD,
                "gatewayId": "<aws:ec2/internetGateway:InternetGateway::internet.id>",
            },
        ),
    ),
    Mutation(
        "nodes-in-public-subnet",
        "cis-eks-5.4.3",
        "System nodes are in a public subnet",
        CLOUD,
        put("eks/nodeGroup:NodeGroup", "system", "subnetIds 0", PUBLIC),
    ),
    Mutation(
        "nodes-with-public-address",
        "cis-eks-5.4.3",
        "Nodes of a pool get public addresses",
        CLOUD,
        put("k8s/karpenter.k8s.aws/v1:EC2NodeClass", "services-class", "spec associatePublicIPAddress", True),
    ),
    Mutation(
        "system-nodes-with-public-address",
        "cis-eks-5.4.3",
        "System nodes get public addresses",
        (PROD,),
        put(
            "ec2/launchTemplate:LaunchTemplate",
            "system",
            "networkInterfaces",
            [{"associatePublicIpAddress": "true", "deviceIndex": 0}],
        ),
    ),
    Mutation(
        "nodes-open-to-ssh",
        "iso-8.20",
        "Nodes take SSH from anywhere",
        CLOUD,
        put("eks/nodeGroup:NodeGroup", "system", "remoteAccess", {"ec2SshKey": "admin"}),
    ),
    Mutation(
        "cluster-public",
        "cis-eks-5.4.2",
        "The cluster's API answers the internet",
        (PROD,),
        put(CLUSTER, "cluster", "vpcConfig endpointPublicAccess", True),
    ),
    Mutation(
        "cluster-public-to-all",
        "cis-eks-5.4.1",
        "The cluster's API answers all addresses",
        (PROD,),
        lambda world: world.inputs(CLUSTER, "cluster")["vpcConfig"].update(
            endpointPublicAccess=True, publicAccessCidrs=[WORLD]
        ),
    ),
    Mutation(
        "cluster-not-private",
        "cis-eks-5.4.2",
        "Nodes reach the API by the internet alone",
        CLOUD,
        put(CLUSTER, "cluster", "vpcConfig endpointPrivateAccess", False),
    ),
    Mutation(
        "kafka-public",
        "iso-8.20",
        "Brokers have public addresses",
        (PROD,),
        put(
            "msk/cluster:Cluster",
            "kafka",
            "brokerNodeGroupInfo connectivityInfo",
            {"publicAccess": {"type": "SERVICE_PROVIDED_EIPS"}},
        ),
    ),
    Mutation(
        "search-public",
        "iso-8.20",
        "The log search is not in our network",
        (PROD,),
        lose("opensearch/domain:Domain", "search", "vpcOptions"),
    ),
    Mutation(
        "flow-logs-gone",
        "iso-8.15",
        "Nothing records who talked to whom",
        CLOUD,
        remove("ec2/flowLog:FlowLog", "flow-logs"),
    ),
    Mutation(
        "flow-logs-without-refusals",
        "iso-8.15",
        "Refused connections are not recorded",
        (PROD,),
        put("ec2/flowLog:FlowLog", "flow-logs", "trafficType", "ACCEPT"),
    ),
    Mutation(
        "object-endpoint-gone",
        "iso-8.22",
        "Data go to the object store by the internet",
        CLOUD,
        remove("ec2/vpcEndpoint:VpcEndpoint", "s3"),
    ),
    Mutation(
        "key-endpoint-gone",
        "iso-8.22",
        "Keys are asked for by the internet",
        CLOUD,
        remove("ec2/vpcEndpoint:VpcEndpoint", "kms"),
    ),
    Mutation(
        "image-endpoint-gone",
        "iso-8.22",
        "Images come by the internet",
        CLOUD,
        remove("ec2/vpcEndpoint:VpcEndpoint", "ecr.dkr"),
    ),
    Mutation(
        "identity-endpoint-gone",
        "iso-8.22",
        "Identities are asked for by the internet",
        CLOUD,
        remove("ec2/vpcEndpoint:VpcEndpoint", "sts"),
    ),
    Mutation(
        "object-endpoint-for-any-account",
        "ia-t7.6.4",
        "Data can be carried to anyone's bucket",
        CLOUD,
        put("ec2/vpcEndpoint:VpcEndpoint", "s3", "policy", policy(Principal="*", Action="s3:*", Resource="*")),
    ),
    Mutation(
        "gateway-to-the-internet",
        "iso-8.20",
        "The production gateway faces the internet",
        (PROD,),
        put(
            "k8s/gateway.envoyproxy.io/v1alpha1:EnvoyProxy",
            "falaj",
            "spec provider kubernetes envoyService annotations service.beta.kubernetes.io/aws-load-balancer-scheme",
            "internet-facing",
        ),
    ),
    Mutation(
        "gateway-for-all-addresses",
        "iso-8.20",
        "The gateway answers all addresses",
        CLOUD,
        put(
            "k8s/gateway.envoyproxy.io/v1alpha1:EnvoyProxy",
            "falaj",
            "spec provider kubernetes envoyService loadBalancerSourceRanges",
            [WORLD],
        ),
    ),
    Mutation(
        "gateway-for-any-namespace",
        "iso-8.22",
        "Any namespace may publish at the gateway",
        BOTH,
        put(
            "k8s/gateway.networking.k8s.io/v1:Gateway", "falaj", "spec listeners 0 allowedRoutes namespaces from", "All"
        ),
    ),
    Mutation(
        "service-load-balancer",
        "iso-8.22",
        "A service has a load balancer of its own",
        BOTH,
        add("k8s/core/v1:Service", "falaj/mlflow-direct", _service("LoadBalancer")),
    ),
    Mutation(
        "service-node-port",
        "iso-8.22",
        "A service is on a port of every node",
        BOTH,
        put("k8s/core/v1:Service", "mlflow", "spec type", "NodePort"),
    ),
    Mutation(
        "service-external-address",
        "iso-8.20",
        "A service claims an address from outside",
        BOTH,
        put("k8s/core/v1:Service", "inference", "spec externalIPs", ["203.0.113.7"]),
    ),
    Mutation(
        "ingress-without-tls",
        "cis-eks-5.4.5",
        "An entrance beside the gateway, without TLS",
        BOTH,
        add(
            "k8s/networking.k8s.io/v1:Ingress",
            "falaj/mlflow",
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "Ingress",
                "metadata": {"name": "mlflow", "namespace": "falaj"},
                "spec": {
                    "rules": [
                        {
                            "host": "mlflow.example.ae",
                            "http": {
                                "paths": [
                                    {
                                        "path": "/",
                                        "pathType": "Prefix",
                                        "backend": {"service": {"name": "mlflow", "port": {"number": 5000}}},
                                    }
                                ]
                            },
                        }
                    ]
                },
            },
        ),
    ),
    Mutation(
        "namespace-not-closed",
        "cis-eks-4.3.2",
        "The default policy of a namespace is gone",
        BOTH,
        remove(POLICY, "serving/default"),
    ),
    Mutation(
        "namespace-without-policies",
        "cis-eks-4.3.2",
        "A new namespace has no policy",
        BOTH,
        add(
            "k8s/core/v1:Namespace",
            "scratch",
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {
                    "name": "scratch",
                    "labels": {
                        "app.kubernetes.io/managed-by": "falaj",
                        "pod-security.kubernetes.io/audit": "restricted",
                        "pod-security.kubernetes.io/enforce": "restricted",
                        "pod-security.kubernetes.io/warn": "restricted",
                    },
                },
            },
        ),
    ),
    Mutation("no-network-policies", "cis-eks-4.3.2", "No namespace has a policy", BOTH, remove_all(POLICY)),
    Mutation(
        "namespace-open-to-all",
        "iso-8.22",
        "Everyone in the cluster reaches our services",
        BOTH,
        add(POLICY, "falaj/open", _enter("open")),
    ),
    Mutation(
        "namespace-open-to-namespaces",
        "iso-8.22",
        "Pods of every namespace reach our services",
        BOTH,
        add(POLICY, "falaj/open", _enter("open", {"namespaceSelector": {}})),
    ),
    Mutation(
        "namespace-open-to-addresses",
        "iso-8.20",
        "Any address reaches models",
        BOTH,
        add(POLICY, "serving/open", _enter("open", {"ipBlock": {"cidr": WORLD}}, space="serving")),
    ),
    Mutation(
        "steps-reach-everything",
        "ia-t7.6.4",
        "Steps may connect to any address and port",
        BOTH,
        add(
            POLICY,
            "pipelines/out",
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": "out", "namespace": "pipelines"},
                "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]},
            },
        ),
    ),
    Mutation(
        "default-policy-in-one-direction",
        "cis-eks-4.3.2",
        "The default policy closes what comes in alone",
        BOTH,
        put(POLICY, "pipelines/default", "spec policyTypes", ["Ingress"]),
    ),
    Mutation(
        "network-policies-not-enforced",
        "cis-eks-5.4.4",
        "The network ignores policies",
        CLOUD,
        within("eks/addon:Addon", "vpc-cni", "configurationValues", _no_network_policy),
    ),
    Mutation(
        "notebooks-reach-node-metadata",
        "iso-8.2",
        "Notebooks reach the identity of their node",
        (PROD,),
        put(
            "k8s/helm.sh/v4:Chart",
            "jupyterhub",
            "values singleuser networkPolicy egressAllowRules cloudMetadataServer",
            True,
        ),
    ),
    Mutation(
        "notebooks-reach-private-addresses",
        "iso-8.22",
        "Notebooks reach every private address",
        (PROD,),
        put("k8s/helm.sh/v4:Chart", "jupyterhub", "values singleuser networkPolicy egressAllowRules privateIPs", True),
    ),
    Mutation(
        "node-metadata-version-1",
        "iso-8.2",
        "The identity of system nodes can be had by a forged request",
        CLOUD,
        put("ec2/launchTemplate:LaunchTemplate", "system", "metadataOptions httpTokens", "optional"),
    ),
    Mutation(
        "node-metadata-for-pods",
        "iso-8.2",
        "Pods reach the identity of their node",
        CLOUD,
        put(
            "k8s/karpenter.k8s.aws/v1:EC2NodeClass", "services-class", "spec metadataOptions httpPutResponseHopLimit", 2
        ),
    ),
    Mutation(
        "pool-metadata-version-1",
        "iso-8.2",
        "The identity of a pool's nodes can be had by a forged request",
        CLOUD,
        put("k8s/karpenter.k8s.aws/v1:EC2NodeClass", "pipelines-class", "spec metadataOptions httpTokens", "optional"),
    ),
    Mutation(
        "route-to-another-namespace",
        "iso-8.22",
        "A namespace lets routes of any other lead to its services",
        (PROD,),
        append(
            "k8s/gateway.networking.k8s.io/v1beta1:ReferenceGrant",
            "monitoring/prometheus",
            "spec from",
            {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "notebooks"},
        ),
    ),
]
