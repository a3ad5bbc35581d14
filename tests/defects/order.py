"""What comes before what: races, which come true on a first deployment alone."""

from tests.defects.model import PROD, Defect, all_of, early
from tests.policies.mutations.world import put, remove

ADMINISTRATORS = "AccessPolicyAssociation::platform-administrators"
CHART, DEPLOYMENT = "k8s/helm.sh/v4:Chart", "k8s/apps/v1:Deployment"

CLUSTER = [
    Defect(
        "before-its-namespace",
        "An object does not wait for its namespace",
        PROD,
        early("k8s/core/v1:Service", "inference", "Namespace::falaj"),
    ),
    Defect("in-no-namespace", "A namespace that is not there", PROD, remove("k8s/core/v1:Namespace", "serving")),
    Defect(
        "before-its-definition",
        "An object does not wait for the chart that defines its kind",
        PROD,
        early("k8s/monitoring.coreos.com/v1:ServiceMonitor", "inference", "Chart::monitoring"),
    ),
    Defect("defined-by-no-one", "A kind that no chart defines", PROD, remove(CHART, "envoy-gateway")),
    Defect(
        "before-its-certificate",
        "A webhook does not wait for who makes its certificate",
        PROD,
        early(CHART, "aws-load-balancer-controller", "Chart::cert-manager"),
        "https://github.com/kubernetes-sigs/aws-load-balancer-controller/issues/2604",
    ),
    Defect(
        "before-its-secret",
        "A service does not wait for its secret",
        PROD,
        early(DEPLOYMENT, "feature-server", "ExternalSecret::falaj/falaj-prod-cache"),
    ),
    Defect(
        "before-its-identity",
        "A pod does not wait for its role: it starts without, and stays so",
        PROD,
        early(DEPLOYMENT, "inference", "PodIdentityAssociation::falaj-inference"),
    ),
    Defect(
        "before-its-config",
        "A service does not wait for its ConfigMap",
        PROD,
        early(DEPLOYMENT, "feature-server", "ConfigMap::feature-server"),
    ),
    Defect(
        "before-its-account",
        "A service does not wait for its service account",
        PROD,
        early(DEPLOYMENT, "inference", "ServiceAccount::inference"),
    ),
    Defect(
        "before-its-priority",
        "A service does not wait for its priority",
        PROD,
        early(DEPLOYMENT, "inference", "PriorityClass::falaj-service"),
    ),
    Defect(
        "store-before-controller",
        "The secret store does not wait for its controller",
        PROD,
        early("k8s/external-secrets.io/v1:ClusterSecretStore", "falaj", "Chart::external-secrets"),
    ),
    Defect(
        "policies-before-kyverno",
        "Policies of admission do not wait for their engine",
        PROD,
        early("k8s/policies.kyverno.io/v1:ValidatingPolicy", "falaj-images", "Chart::kyverno"),
    ),
    Defect(
        "pool-before-its-class",
        "A pool does not wait for its class of machines",
        PROD,
        early("k8s/karpenter.sh/v1:NodePool", "inference-gpu", "EC2NodeClass::inference-gpu-class"),
    ),
    Defect(
        "issuer-before-its-secret",
        "The authority does not wait for its pair of keys",
        PROD,
        early(
            "k8s/cert-manager.io/v1:ClusterIssuer", "gateway", "ExternalSecret::cert-manager/falaj-issuing-authority"
        ),
    ),
    Defect(
        "gateway-before-balancers",
        "The gateway's load balancer is asked for before its controller is there, and on a destroy outlives it",
        PROD,
        early("k8s/gateway.networking.k8s.io/v1:GatewayClass", "gateway-class", "Chart::envoy-gateway"),
        "https://github.com/hashicorp/terraform-provider-helm/issues/474",
    ),
    Defect(
        "chart-before-its-namespace",
        "A chart does not wait for its namespace",
        PROD,
        early(CHART, "karpenter", "Namespace::karpenter"),
    ),
    Defect(
        "chart-before-its-identity",
        "A controller does not wait for its role",
        PROD,
        early(CHART, "karpenter", "PodIdentityAssociation::karpenter-karpenter"),
    ),
    Defect(
        "chart-before-its-secret",
        "A chart does not wait for the secret that it mounts",
        PROD,
        early(CHART, "monitoring", "ExternalSecret::monitoring/falaj-on-call"),
    ),
    Defect(
        "binding-before-its-role",
        "A binding does not wait for its role",
        PROD,
        early("k8s/rbac.authorization.k8s.io/v1:RoleBinding", "spark/pipeline-runner", "Role::spark/pipeline-runner"),
    ),
]
CLOUD = [
    Defect(
        "names-before-machines",
        "DNS does not wait for machines: the addon stays degraded",
        PROD,
        early("eks/addon:Addon", "coredns", "NodeGroup::system"),
        "https://github.com/terraform-aws-modules/terraform-aws-eks/issues/3001",
    ),
    Defect(
        "machines-before-network",
        "Machines do not wait for the pods' network, and never become ready",
        PROD,
        early("eks/nodeGroup:NodeGroup", "system", "Addon::vpc-cni"),
        "https://github.com/pulumi/pulumi-eks/issues/1819",
    ),
    Defect(
        "machines-before-rights",
        "Machines do not wait for the rights of their role",
        PROD,
        early("eks/nodeGroup:NodeGroup", "system", "RolePolicyAttachment::AmazonEKSWorkerNodeMinimalPolicy"),
    ),
    Defect(
        "cluster-before-rights",
        "The cluster does not wait for the rights of its role",
        PROD,
        early("eks/cluster:Cluster", "cluster", "RolePolicyAttachment::cluster"),
    ),
    Defect(
        "cluster-before-its-log",
        "The cluster makes its log group itself, and ours clashes with it",
        PROD,
        early("eks/cluster:Cluster", "cluster", "LogGroup::cluster"),
    ),
    Defect(
        "database-before-its-log",
        "The database makes its log group itself, and ours clashes with it",
        PROD,
        early("rds/instance:Instance", "postgresql", "LogGroup::postgresql-postgresql"),
    ),
    Defect(
        "cluster-before-access",
        "What deploys into the cluster does not wait until it may",
        PROD,
        all_of(
            early("pulumi:providers:kubernetes", "cluster", ADMINISTRATORS),
            early("eks/nodeGroup:NodeGroup", "system", ADMINISTRATORS),
        ),
    ),
    Defect(
        "trail-before-policy",
        "The trail does not wait until its bucket lets it in",
        PROD,
        early("cloudtrail/trail:Trail", "trail", "BucketPolicy::audit"),
    ),
    Defect(
        "recorder-before-channel",
        "The recorder is started before it has a channel",
        PROD,
        early("cfg/recorderStatus:RecorderStatus", "config", "DeliveryChannel::config"),
    ),
    Defect(
        "channel-before-recorder",
        "A channel before its recorder",
        PROD,
        early("cfg/deliveryChannel:DeliveryChannel", "config", "Recorder::config"),
    ),
    Defect(
        "lock-before-versions",
        "A lock on objects before the bucket keeps versions",
        PROD,
        early("s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration", "audit", "BucketVersioning::audit"),
    ),
    Defect(
        "policy-before-block",
        "A bucket's policy and its public access block at once: one of them conflicts",
        PROD,
        early("s3/bucketPolicy:BucketPolicy", "audit", "BucketPublicAccessBlock::audit"),
    ),
    Defect(
        "search-before-its-log",
        "OpenSearch does not wait until it may write its log",
        PROD,
        early("opensearch/domain:Domain", "search", "LogResourcePolicy::search"),
        "https://github.com/hashicorp/terraform-provider-aws/issues/14497",
    ),
    Defect(
        "backup-before-rights",
        "A backup does not wait for the rights of its role",
        PROD,
        early("backup/selection:Selection", "stores", "RolePolicyAttachment::AWSBackupServiceRolePolicyForBackup"),
    ),
    Defect(
        "association-before-rights",
        "A role is handed to pods before it has its rights",
        PROD,
        early("eks/podIdentityAssociation:PodIdentityAssociation", "serving-models", "RolePolicy::serving-models"),
    ),
    Defect(
        "named-before-there",
        "A database names subnets by text, and does not wait for them",
        PROD,
        early("rds/instance:Instance", "postgresql", "SubnetGroup::postgresql"),
    ),
    Defect(
        "addon-of-no-cluster",
        "An addon names its cluster by text, and does not wait for it",
        PROD,
        all_of(early("eks/addon:Addon", "vpc-cni", "Cluster::cluster")),
    ),
    Defect(
        "rule-of-no-queue",
        "Events are sent to a queue that is not there",
        PROD,
        all_of(
            put(
                "cloudwatch/eventTarget:EventTarget",
                "interruption-spot",
                "arn",
                "arn:aws:sqs:me-central-1:444455556666:falaj-prod-interruption",
            )
        ),
    ),
]
