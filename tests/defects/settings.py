"""What an operator writes into the stack's file."""

from tests.defects.model import PROD, SITE, SMB, Defect, all_of
from tests.policies.mutations.world import say, unsay

WHOLE = {
    "churn": {
        "versions": {
            "v1": {
                "repository": "churn/1",
                "weight": 100,
                "replicas": {"minimum": 2, "maximum": 40},
                "size": {"cpu": 4, "memory_mib": 4096},
            }
        }
    }
}

PLACES = [
    Defect("zone-not-there", "The region has no such zone", SMB, say("substrate zones", ["mec1-az1", "mec1-az4"])),
    Defect(
        "zone-by-letter",
        "A zone by its letter, which is another zone in each account",
        SMB,
        say("substrate zones", ["me-central-1a", "mec1-az2"]),
    ),
    Defect(
        "type-not-in-zone",
        "GPU machines in a zone that offers none",
        PROD,
        say("substrate nodes inference-gpu zones", ["mec1-az3"]),
        "https://github.com/aws/karpenter-provider-aws/issues/3218",
    ),
    Defect(
        "type-not-in-region",
        "A type of machine that the region does not offer",
        PROD,
        say("substrate nodes pipelines instance_types", ["g4dn.xlarge"]),
    ),
    Defect(
        "database-class-not-offered",
        "A class of database that the region does not offer",
        SMB,
        say("substrate stores postgresql instance_class", "db.m6i.large"),
    ),
    Defect(
        "cache-type-not-offered",
        "A type of cache that the region does not offer",
        SMB,
        say("substrate stores cache node_type", "cache.t4g.small"),
    ),
    Defect(
        "search-type-not-offered",
        "A type of OpenSearch node that the region does not offer",
        PROD,
        say("substrate search instance_type", "c4.large.search"),
    ),
    Defect(
        "one-zone",
        "One zone: neither EKS nor a database's subnet group takes it",
        SMB,
        say("substrate zones", ["mec1-az1"]),
    ),
    Defect(
        "arm-without-images",
        "A pool of arm64 for services whose images are for amd64 alone",
        PROD,
        say("substrate nodes services instance_types", ["m7g.xlarge", "m7g.2xlarge"]),
    ),
    Defect(
        "mixed-architectures",
        "arm64 and amd64 in one pool",
        PROD,
        say("substrate nodes pipelines instance_types", ["m7i.xlarge", "m7g.xlarge"]),
    ),
]
ADDRESSES = [
    Defect(
        "services-overlap-network",
        "Services of the cluster have the network's addresses",
        SMB,
        say("substrate cluster service_cidr", "10.20.128.0/20"),
    ),
    Defect(
        "network-too-small",
        "A network in which the subnets have no room",
        SMB,
        say("substrate network cidr", "10.20.0.0/24"),
    ),
    Defect(
        "pods-without-addresses",
        "More pods than the subnets hold, in prefixes of 16 addresses",
        SMB,
        say("substrate cluster pods", 5000),
    ),
    Defect("host-bits", "A network with host bits", SMB, say("substrate network cidr", "10.20.0.1/16")),
    Defect(
        "no-way-out",
        "No NAT, and no endpoints of the services that nodes need",
        SMB,
        say("substrate network nat", "none"),
    ),
    Defect(
        "services-public",
        "Services of the cluster have public addresses",
        SMB,
        say("substrate cluster service_cidr", "8.8.8.0/24"),
    ),
]
IDENTITY = [
    Defect("account-as-number", "The account's number without quotes", SMB, say("substrate account_id", 111122223334)),
    Defect(
        "role-of-other-account",
        "The administrators' role is of another account",
        SMB,
        say("substrate account_id", "999999999999"),
    ),
    Defect(
        "nobody-administers", "No one may administer the cluster", PROD, say("substrate cluster access 0 level", "view")
    ),
    Defect(
        "vault-in-clear",
        "The secret store is asked without TLS",
        SITE,
        say("substrate secrets server", "http://vault.example.ae"),
    ),
]
SHAPE = [
    Defect("misspelt-key", "A key that does not exist", SMB, say("mlfow", {})),
    Defect("port-taken", "Two services on one port", SMB, say("mlflow port", 6566)),
    Defect("minimum-above-maximum", "More replicas at least than at most", PROD, say("inference replicas minimum", 30)),
    Defect(
        "registry-with-scheme",
        "The mirror of images is named by a URL",
        SITE,
        say("sources images", "https://registry.example.ae/falaj"),
    ),
    Defect("schedule-of-six-fields", "A schedule with seconds", PROD, say("cluster_backup schedule", "0 30 20 * * *")),
    Defect(
        "hostname-with-underscore",
        "A host name that no authority certifies",
        SMB,
        say("gateway public hostname", "ml_platform.example.ae"),
    ),
]
FIT = [
    Defect("pool-not-there", "A service on a pool that is not there", PROD, say("inference pool", "fast")),
    Defect("pool-for-others", "Training on a pool that is not for it", PROD, say("training pool", "pipelines")),
    Defect(
        "pod-larger-than-node",
        "A pod that no machine of its pool holds",
        PROD,
        say("inference size", {"cpu": 16, "memory_mib": 131072}),
    ),
    Defect("gpus-unseen", "A pool with GPUs, and nothing that shows them to pods", PROD, unsay("gpu")),
    Defect(
        "pool-without-limit",
        "A pool that may not have one machine",
        PROD,
        say("substrate nodes pipelines limits cpu", 4),
    ),
    Defect(
        "quota-below-worker", "A quota in which one worker does not fit", PROD, say("training quota memory_gib", 64)
    ),
    Defect(
        "quota-below-workers", "A quota in which the workers of one job do not fit", PROD, say("training quota cpu", 24)
    ),
    Defect(
        "quota-below-users", "A quota in which the notebooks of all users do not fit", PROD, say("notebooks users", 100)
    ),
    Defect(
        "quota-below-models", "A quota in which the replicas of a model do not fit", PROD, say("serving models", WHOLE)
    ),
    Defect("quota-below-executors", "A quota in which a Spark job does not fit", PROD, say("spark executors", 60)),
    Defect(
        "more-gpus-than-there-are",
        "Training on more GPUs than the site has",
        SITE,
        all_of(say("training workers", 8), say("training quota", {"cpu": 500, "memory_gib": 2000, "gpus": 32})),
    ),
    Defect(
        "more-replicas-than-room",
        "Replicas for which the site's machines have no room",
        SITE,
        say("feature_server", {"replicas": {"minimum": 400, "maximum": 500}}),
    ),
    Defect(
        "connections-above-database",
        "A small database, and replicas whose connections it does not hold",
        PROD,
        all_of(
            say("substrate stores postgresql instance_class", "db.t3.micro"),
            say("feature_server replicas maximum", 100),
        ),
    ),
    Defect(
        "account-quota",
        "A pool that may grow beyond any account's quota of vCPUs",
        PROD,
        say("substrate nodes pipelines limits cpu", 100_000),
    ),
    Defect(
        "disk-shrinks",
        "A database that may grow to less than it has",
        PROD,
        say("substrate stores postgresql max_storage_gib", 50),
    ),
]
PARTS = [
    Defect(
        "challenge-without-zone", "A certificate by DNS, and no DNS zone", SMB, unsay("gateway public tls dns_zone")
    ),
    Defect(
        "challenge-on-site",
        "A certificate by Route 53 on a site",
        SITE,
        say("gateway public tls", {"kind": "acme", "email": "a@example.ae", "dns_zone": "Z0123456789ABCDEF"}),
    ),
    Defect(
        "alert-to-no-one",
        "Warnings go to no one",
        SMB,
        say("prometheus routes", [{"kind": "sns", "severities": ["critical"]}]),
    ),
    Defect(
        "topic-on-site",
        "Alerts go to a topic of AWS on a site",
        SITE,
        say("prometheus routes", [{"kind": "sns", "severities": ["critical", "warning"]}]),
    ),
    Defect(
        "mail-without-server",
        "Alerts by mail, and no mail server",
        SITE,
        say("prometheus routes", [{"kind": "email", "to": "a@example.ae"}]),
    ),
    Defect("budget-to-no-one", "A budget of which no one is told", SMB, unsay("governance contacts finance")),
    Defect(
        "budget-in-dirhams",
        "A budget in a currency that the account is not billed in",
        SMB,
        say("governance budget monthly_aed", 8000),
    ),
    Defect("logs-to-nowhere", "Logs go to a domain that is not there", PROD, unsay("substrate search")),
    Defect("runs-without-database", "Pipelines without their database", PROD, unsay("substrate stores mysql")),
    Defect("features-without-cache", "Feature lookups without a cache", PROD, unsay("substrate stores cache")),
    Defect(
        "no-storage-class", "Volumes of no storage class on a site", SITE, say("substrate stores storage_class", "")
    ),
]
