"""EKS: control plane, access, the system's nodes and the pinned addons that nodes need."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import ec2, eks, iam

from core.errors import ConfigError
from core.pins import EksAddon, pins
from infra.config import Aws
from infra.config.nodes import LABEL
from infra.substrates.aws.account import Account, pod_trust, policy, trust
from infra.substrates.aws.logs import log_group
from infra.substrates.aws.network import Network

_LOGS = ("api", "audit", "authenticator", "controllerManager", "scheduler")
_BEFORE_NODES: tuple[EksAddon, ...] = ("eks-pod-identity-agent", "kube-proxy", "vpc-cni")
"""Daemons without which a node is not ready; the others need a node to run on."""
_MANAGED = "arn:aws:iam::aws:policy"
_ACCESS = "arn:aws:eks::aws:cluster-access-policy"
_DISK_ACTIONS = ("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKeyWithoutPlaintext")
_SETTINGS: Mapping[EksAddon, Mapping[str, Any]] = {
    "vpc-cni": {"enableNetworkPolicy": "true", "env": {"ENABLE_PREFIX_DELEGATION": "true", "WARM_PREFIX_TARGET": "1"}},
}


@dataclass(frozen=True, kw_only=True)
class EksArgs:
    """What a cluster is made of.

    Attributes:
        platform_key: ARN of the key of its secrets and disks.
        logs_key: ARN of the key of its logs.
    """

    account: Account
    settings: Aws
    network: Network
    platform_key: pulumi.Input[str]
    logs_key: pulumi.Input[str]


class Eks(pulumi.ComponentResource):
    """The cluster and what must run before anything else can.

    Raises:
        ConfigError: The role that deploys may not administer the cluster.
    """

    def __init__(self, name: str, args: EksArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("falaj:aws:Eks", name, None, opts)
        self._args = args
        self._opts = ResourceOptions(parent=self)
        role = args.settings.deploy_role
        if role and not any(
            entry.role == role and entry.level == "administer" and not entry.namespaces
            for entry in args.settings.cluster.access
        ):
            raise ConfigError(
                f"substrate.deploy_role {role} could install nothing: add it to substrate.cluster.access, administer"
            )
        self.name = args.account.prefix
        self.cluster = self._cluster()
        self.security_group = self.cluster.vpc_config.cluster_security_group_id.apply(lambda group: group or "")
        self.access = self._access()
        early = [self._addon(addon, []) for addon in _BEFORE_NODES]
        self.node_role, rights = self._node_role()
        # Nodes that Karpenter makes have the same role; it is given the profile, and so needs no rights in IAM.
        self.instance_profile = iam.InstanceProfile(
            "nodes", name=f"{args.account.prefix}-nodes", role=self.node_role.name, opts=self._opts
        )
        self.nodes = self._nodes([*early, *rights, *self.access])
        late = [addon for addon in pins().eks_addons if addon not in _BEFORE_NODES]
        self.addons = [*early, *(self._addon(addon, [self.nodes]) for addon in late)]
        self.register_outputs({"name": self.cluster.name, "endpoint": self.cluster.endpoint})

    @property
    def kubeconfig(self) -> pulumi.Output[str]:
        """Signs in by the caller's own role, or by the one that deploys; it holds no credential."""
        settings = self._args.settings
        command = ["eks", "get-token", "--cluster-name", self.name, "--region", settings.region]
        command += ["--role-arn", settings.deploy_role] if settings.deploy_role else []
        execute = {"apiVersion": "client.authentication.k8s.io/v1", "command": "aws", "args": command}
        server = {
            "server": self.cluster.endpoint,
            "certificate-authority-data": self.cluster.certificate_authority.data,
        }
        return pulumi.Output.json_dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": self.name, "cluster": server}],
                "users": [{"name": self.name, "user": {"exec": {**execute, "interactiveMode": "Never"}}}],
                "contexts": [{"name": self.name, "context": {"cluster": self.name, "user": self.name}}],
                "current-context": self.name,
            }
        )

    def _cluster(self) -> eks.Cluster:
        account, settings = self._args.account, self._args.settings.cluster
        path = f"/aws/eks/{self.name}/cluster"
        logs = log_group("cluster", path, account, self._args.logs_key, self)
        role = iam.Role(
            "cluster",
            name=f"{account.prefix}-cluster",
            assume_role_policy=trust("eks.amazonaws.com", account, account.cluster),
            opts=self._opts,
        )
        rights = iam.RolePolicyAttachment(
            "cluster", role=role.name, policy_arn=f"{_MANAGED}/AmazonEKSClusterPolicy", opts=self._opts
        )
        return eks.Cluster(
            "cluster",
            name=self.name,
            version=pins().versions.kubernetes,
            role_arn=role.arn,
            access_config=eks.ClusterAccessConfigArgs(
                authentication_mode="API", bootstrap_cluster_creator_admin_permissions=False
            ),
            bootstrap_self_managed_addons=False,
            deletion_protection=account.protect,
            enabled_cluster_log_types=list(_LOGS),
            encryption_config=eks.ClusterEncryptionConfigArgs(
                provider=eks.ClusterEncryptionConfigProviderArgs(key_arn=self._args.platform_key),
                resources=["secrets"],
            ),
            kubernetes_network_config=eks.ClusterKubernetesNetworkConfigArgs(
                ip_family="ipv4", service_ipv4_cidr=settings.service_cidr
            ),
            upgrade_policy=eks.ClusterUpgradePolicyArgs(
                support_type="EXTENDED" if settings.extended_support else "STANDARD"
            ),
            vpc_config=eks.ClusterVpcConfigArgs(
                subnet_ids=self._args.network.ids("private"),
                endpoint_private_access=True,
                endpoint_public_access=bool(settings.public_from),
                public_access_cidrs=list(settings.public_from) or None,
            ),
            tags=account.tags("platform"),
            opts=ResourceOptions.merge(account.kept(self), ResourceOptions(depends_on=[logs, rights])),
        )

    def _access(self) -> list[pulumi.Resource]:
        found: list[pulumi.Resource] = []
        for entry in self._args.settings.cluster.access:
            name = entry.role.rpartition(":role/")[2]
            made = eks.AccessEntry(
                name, cluster_name=self.cluster.name, principal_arn=entry.role, type="STANDARD", opts=self._opts
            )
            scope = eks.AccessPolicyAssociationAccessScopeArgs(
                type="namespace" if entry.namespaces else "cluster", namespaces=list(entry.namespaces) or None
            )
            found.append(
                eks.AccessPolicyAssociation(
                    name,
                    cluster_name=self.cluster.name,
                    principal_arn=entry.role,
                    policy_arn=f"{_ACCESS}/{access_policy(entry.level, entry.namespaces)}",
                    access_scope=scope,
                    opts=ResourceOptions(parent=self, depends_on=[made]),
                )
            )
        return found

    def _node_role(self) -> tuple[iam.Role, list[pulumi.Resource]]:
        """The role of all nodes, and its rights, without which none joins or leaves."""
        statement = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
        role = iam.Role(
            "nodes",
            name=f"{self._args.account.prefix}-nodes",
            assume_role_policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
            opts=self._opts,
        )
        rights: list[pulumi.Resource] = [
            iam.RolePolicyAttachment(managed, role=role.name, policy_arn=f"{_MANAGED}/{managed}", opts=self._opts)
            for managed in ("AmazonEKSWorkerNodeMinimalPolicy", "AmazonEC2ContainerRegistryPullOnly")
        ]
        return role, rights

    def _nodes(self, depends_on: Sequence[pulumi.Resource]) -> eks.NodeGroup:
        account, system = self._args.account, self._args.settings.system
        tags = {"Name": f"{account.prefix}-system"}
        disk = ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
            volume_size=system.disk_gib,
            volume_type="gp3",
            encrypted="true",
            kms_key_id=self._args.platform_key,
            delete_on_termination="true",
        )
        template = ec2.LaunchTemplate(
            "system",
            name=f"{account.prefix}-system",
            update_default_version=True,
            block_device_mappings=[ec2.LaunchTemplateBlockDeviceMappingArgs(device_name="/dev/xvda", ebs=disk)],
            metadata_options=ec2.LaunchTemplateMetadataOptionsArgs(
                http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
            ),
            monitoring=ec2.LaunchTemplateMonitoringArgs(enabled=True),
            tag_specifications=[
                ec2.LaunchTemplateTagSpecificationArgs(resource_type=kind, tags=tags) for kind in ("instance", "volume")
            ],
            opts=self._opts,
        )
        zones = self._args.settings.zones_of(system)
        return eks.NodeGroup(
            "system",
            cluster_name=self.cluster.name,
            node_group_name="system",
            node_role_arn=self.node_role.arn,
            subnet_ids=self._args.network.ids("private", zones),
            ami_type="AL2023_ARM_64_STANDARD" if system.arch == "arm64" else "AL2023_x86_64_STANDARD",
            capacity_type="ON_DEMAND",
            instance_types=list(system.instance_types),
            version=pins().versions.kubernetes,
            launch_template=eks.NodeGroupLaunchTemplateArgs(id=template.id, version=template.latest_version.apply(str)),
            scaling_config=eks.NodeGroupScalingConfigArgs(
                min_size=system.minimum, desired_size=system.minimum, max_size=system.maximum
            ),
            update_config=eks.NodeGroupUpdateConfigArgs(max_unavailable=1),
            labels={LABEL: "system"},
            tags=tags,
            opts=ResourceOptions(parent=self, depends_on=list(depends_on)),
        )

    def _addon(self, addon: EksAddon, depends_on: Sequence[pulumi.Resource]) -> eks.Addon:
        settings = _SETTINGS.get(addon)
        role = self._addon_role(addon)
        return eks.Addon(
            addon,
            addon_name=addon,
            addon_version=pins().eks_addons[addon],
            cluster_name=self.cluster.name,
            configuration_values=json.dumps(settings) if settings else None,
            pod_identity_associations=[role] if role else None,
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            opts=ResourceOptions(parent=self, depends_on=list(depends_on)),
        )

    def _addon_role(self, addon: EksAddon) -> eks.AddonPodIdentityAssociationArgs | None:
        known = {
            "vpc-cni": ("aws-node", "AmazonEKS_CNI_Policy"),
            "aws-ebs-csi-driver": ("ebs-csi-controller-sa", "service-role/AmazonEBSCSIDriverPolicy"),
        }
        if addon not in known:
            return None
        service_account, managed = known[addon]
        account = self._args.account
        role = iam.Role(
            addon,
            name=f"{account.prefix}-{addon}",
            assume_role_policy=pod_trust("kube-system", service_account, account),
            opts=self._opts,
        )
        iam.RolePolicyAttachment(addon, role=role.name, policy_arn=f"{_MANAGED}/{managed}", opts=self._opts)
        if addon == "aws-ebs-csi-driver":
            key = [self._args.platform_key]
            grants = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
            statements: list[dict[str, Any]] = [
                {"Effect": "Allow", "Action": list(_DISK_ACTIONS), "Resource": key},
                {"Effect": "Allow", "Action": ["kms:CreateGrant"], "Resource": key, "Condition": grants},
            ]
            iam.RolePolicy(addon, name="disks", role=role.name, policy=policy(statements), opts=self._opts)
        return eks.AddonPodIdentityAssociationArgs(role_arn=role.arn, service_account=service_account)


def access_policy(level: str, namespaces: Sequence[str]) -> str:
    """EKS's own policy for a level of access; over single namespaces no one administers the cluster."""
    if level == "administer":
        return "AmazonEKSAdminPolicy" if namespaces else "AmazonEKSClusterAdminPolicy"
    return {"edit": "AmazonEKSEditPolicy", "view": "AmazonEKSViewPolicy"}[level]
