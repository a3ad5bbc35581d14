"""What the substrate `aws` tells third-party parts, in their own terms."""

from infra.addons.karpenter import KarpenterArgs
from infra.addons.load_balancers import LoadBalancersArgs
from infra.addons.logging import LogGroup, SearchDomain
from infra.addons.monitoring import Topic
from infra.config import Aws, StackConfig
from infra.parts import Surroundings
from infra.substrates.aws.logs import log_group
from infra.substrates.aws.substrate import AwsCluster
from infra.substrates.kubernetes.gateway import DATA_PLANE


def surroundings(settings: StackConfig, aws: Aws, cluster: AwsCluster) -> Surroundings:
    """What the account gives the parts of its cluster."""
    account, eks, logs_key = cluster.account, cluster.eks, cluster.keys.arn("logs")
    notices = cluster.interruptions
    tags = settings.tags() | account.tags("platform")
    machines = KarpenterArgs(
        cluster=eks.name,
        account=account.id,
        region=account.region,
        endpoint=eks.cluster.endpoint,
        node_role=eks.node_role.arn,
        instance_profile=eks.instance_profile.name,
        security_group=eks.security_group,
        queue=notices.queue.name,
        queue_arn=notices.queue.arn,
        queue_key=logs_key,
        disk_key=cluster.keys.arn("platform"),
        pools=aws.nodes,
        zones={name: aws.zones_of(pool) for name, pool in aws.nodes.items()},
        tags=tags,
        system_nodes=aws.system.minimum,
    )
    balancers = LoadBalancersArgs(
        cluster=eks.name,
        account=account.id,
        region=account.region,
        vpc=cluster.network.vpc.id,
        targets=[DATA_PLANE],
        tags=tags,
        system_nodes=aws.system.minimum,
    )
    return Surroundings(
        region=account.region,
        topic=Topic(arn=cluster.operations, key=logs_key, region=account.region),
        log_group=_log_group(settings, cluster),
        search=_search(cluster),
        repositories=[account.arn("ecr", f"repository/{aws.registry.prefix}/*")],
        snapshot_driver="ebs.csi.aws.com",
        nodes=(machines, notices.ready),
        balancers=balancers,
        entrance=list(cluster.network.cidrs["private"].values()),
        prepare=cluster.prepare,
    )


def _log_group(settings: StackConfig, cluster: AwsCluster) -> LogGroup | None:
    if settings.logging is None or settings.logging.destination != "cloudwatch":
        return None
    group = log_group("pods", f"/{cluster.account.prefix}/pods", cluster.account, cluster.keys.arn("logs"), cluster.eks)
    return LogGroup(name=group.name, arn=group.arn, region=cluster.account.region)


def _search(cluster: AwsCluster) -> SearchDomain | None:
    if cluster.search is None:
        return None
    return SearchDomain(host=cluster.search.endpoint, arn=cluster.search.arn, region=cluster.account.region)
