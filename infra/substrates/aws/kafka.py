"""MSK: a Kafka whose clients sign in with their roles."""

from dataclasses import dataclass

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import msk

from core.pins import pins
from infra.config.aws import Kafka as KafkaConfig
from infra.substrates.aws.account import Account
from infra.substrates.aws.logs import log_group
from infra.substrates.aws.network import Network

PORT = 9098
"""Of TLS with IAM, inside the VPC."""
_COPIES = 3


@dataclass(frozen=True, kw_only=True)
class KafkaArgs:
    """What a cluster of brokers is made of.

    Attributes:
        clients: Id of the security group that may connect.
        key: ARN of the key of its disks.
        logs_key: ARN of the key of its logs.
    """

    account: Account
    settings: KafkaConfig
    network: Network
    clients: pulumi.Input[str]
    key: pulumi.Input[str]
    logs_key: pulumi.Input[str]


class Kafka(pulumi.ComponentResource):
    """Brokers in every zone, over TLS alone, for roles that a policy lets in. `brokers` is where clients begin."""

    def __init__(self, name: str, args: KafkaArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("falaj:aws:Kafka", name, None, opts)
        account, settings = args.account, args.settings
        options = ResourceOptions(parent=self)
        subnets = args.network.ids("private")
        self.count = settings.brokers_per_zone * len(subnets)
        self.name = f"{account.prefix}-{name}"
        group = args.network.security_group(
            name, "Kafka, from the cluster alone", self, {"cluster": args.clients}, PORT
        )
        logs = log_group(name, f"/{account.prefix}/{name}", account, args.logs_key, self)
        configuration = msk.Configuration(
            name,
            name=self.name,
            kafka_versions=[pins().versions.kafka],
            server_properties=properties(self.count),
            opts=options,
        )
        disk = msk.ClusterBrokerNodeGroupInfoStorageInfoEbsStorageInfoArgs(volume_size=settings.storage_gib)
        self.cluster = msk.Cluster(
            name,
            cluster_name=self.name,
            kafka_version=pins().versions.kafka,
            number_of_broker_nodes=self.count,
            broker_node_group_info=msk.ClusterBrokerNodeGroupInfoArgs(
                instance_type=settings.instance_type,
                client_subnets=subnets,
                security_groups=[group.id],
                storage_info=msk.ClusterBrokerNodeGroupInfoStorageInfoArgs(ebs_storage_info=disk),
            ),
            client_authentication=msk.ClusterClientAuthenticationArgs(
                sasl=msk.ClusterClientAuthenticationSaslArgs(iam=True), unauthenticated=False
            ),
            configuration_info=msk.ClusterConfigurationInfoArgs(
                arn=configuration.arn, revision=configuration.latest_revision
            ),
            encryption_info=msk.ClusterEncryptionInfoArgs(
                encryption_at_rest_kms_key_arn=args.key,
                encryption_in_transit=msk.ClusterEncryptionInfoEncryptionInTransitArgs(
                    client_broker="TLS", in_cluster=True
                ),
            ),
            enhanced_monitoring="PER_BROKER",
            logging_info=msk.ClusterLoggingInfoArgs(
                broker_logs=msk.ClusterLoggingInfoBrokerLogsArgs(
                    cloudwatch_logs=msk.ClusterLoggingInfoBrokerLogsCloudwatchLogsArgs(
                        enabled=True, log_group=logs.name
                    )
                )
            ),
            tags=account.tags("platform"),
            opts=account.kept(self),
        )
        self.brokers = self.cluster.bootstrap_brokers_sasl_iam
        self.register_outputs({"brokers": self.brokers})


def properties(brokers: int) -> str:
    """The brokers' configuration: nothing is lost with one broker, and no topic is made by a misspelling.

    Args:
        brokers: With two, one may be lost for reading alone.
    """
    copies = min(_COPIES, brokers)
    values = {
        "auto.create.topics.enable": "false",
        "default.replication.factor": str(copies),
        "min.insync.replicas": str(max(1, copies - 1)),
        "offsets.topic.replication.factor": str(copies),
        "transaction.state.log.min.isr": str(max(1, copies - 1)),
        "transaction.state.log.replication.factor": str(copies),
        "unclean.leader.election.enable": "false",
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())
