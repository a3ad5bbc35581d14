"""EKS."""

from typing import Any

from rehearsal.aws.kind import Kind, Read, Step


def _cluster(properties: dict[str, Any]) -> None:
    properties["logging"] = {
        "clusterLogging": [{"types": properties.pop("enabledClusterLogTypes", []), "enabled": True}]
    }


_OF = {"clusterName": "{clusterName}"}
KINDS = {
    "aws:eks/cluster:Cluster": Kind(
        service="eks",
        create=Step(operation="CreateCluster", takes=None),
        identifier="{name}",
        renames={"vpcConfig": "resourcesVpcConfig"},
        tags="tags",
        prepare=_cluster,
        after=[
            Step(operation="DescribeSubnets", template={"SubnetIds": "=vpcConfig.subnetIds"}, service="ec2"),
            # EKS makes a group for nodes and control plane; the emulation names one that is nowhere.
            Step(
                operation="CreateSecurityGroup",
                template={
                    "GroupName": "eks-cluster-sg-{name}",
                    "Description": "EKS created security group",
                    "VpcId": "=last.Subnets[0].VpcId",
                },
                service="ec2",
            ),
        ],
        update=[
            Step(operation="UpdateClusterConfig", takes=[key], template={"name": "{id}"})
            for key in ("deletionProtection", "logging", "upgradePolicy", "vpcConfig", "accessConfig")
        ]
        + [Step(operation="UpdateClusterVersion", takes=["version"], template={"name": "{id}"})],
        replaced=["name", "roleArn", "kubernetesNetworkConfig", "encryptionConfig", "bootstrapSelfManagedAddons"],
        outputs={
            "arn": "arn:aws:eks:{region}:{account}:cluster/{name}",
            "endpoint": "=answer.cluster.endpoint",
            "certificateAuthority": {"data": "=answer.cluster.certificateAuthority.data"},
            "certificateAuthorities": [{"data": "=answer.cluster.certificateAuthority.data"}],
            "identities": [{"oidcs": [{"issuer": "=answer.cluster.identity.oidc.issuer"}]}],
            "vpcConfig": "=merge(vpcConfig, {clusterSecurityGroupId: last.GroupId})",
        },
        read=Read(operation="DescribeCluster", template={"name": "{id}"}, path="cluster"),
        delete=[
            Step(operation="DeleteCluster", template={"name": "{id}"}),
            Step(
                operation="DeleteSecurityGroup",
                template={"GroupId": "=outputs.vpcConfig.clusterSecurityGroupId"},
                service="ec2",
            ),
        ],
    ),
    "aws:eks/nodeGroup:NodeGroup": Kind(
        service="eks",
        create=Step(operation="CreateNodegroup", takes=None),
        identifier="{clusterName}:{nodeGroupName}",
        renames={"nodeGroupName": "nodegroupName", "nodeRoleArn": "nodeRole", "subnetIds": "subnets"},
        tags="tags",
        update=[
            Step(
                operation="UpdateNodegroupConfig",
                takes=["scalingConfig", "updateConfig"],
                template=_OF | {"nodegroupName": "{nodeGroupName}"},
            ),
            Step(
                operation="UpdateNodegroupVersion",
                takes=["version", "launchTemplate"],
                template=_OF | {"nodegroupName": "{nodeGroupName}"},
            ),
        ],
        replaced=[
            "clusterName",
            "nodeGroupName",
            "nodeRoleArn",
            "subnetIds",
            "instanceTypes",
            "amiType",
            "capacityType",
        ],
        outputs={"arn": "=answer.nodegroup.nodegroupArn", "status": "ACTIVE"},
        read=Read(operation="DescribeNodegroup", template=_OF | {"nodegroupName": "{nodeGroupName}"}, path="nodegroup"),
        delete=[Step(operation="DeleteNodegroup", template=_OF | {"nodegroupName": "{nodeGroupName}"})],
    ),
    "aws:eks/addon:Addon": Kind(
        service="eks",
        create=Step(operation="CreateAddon", takes=None),
        identifier="{clusterName}:{addonName}",
        renames={"resolveConflictsOnCreate": "resolveConflicts"},
        ignored=["resolveConflictsOnUpdate"],
        tags="tags",
        update=[
            Step(
                operation="UpdateAddon",
                takes=["addonVersion", "configurationValues", "podIdentityAssociations"],
                template=_OF | {"addonName": "{addonName}"},
            )
        ],
        replaced=["addonName", "clusterName"],
        outputs={"arn": "=answer.addon.addonArn"},
        read=Read(operation="DescribeAddon", template=_OF | {"addonName": "{addonName}"}, path="addon"),
        delete=[Step(operation="DeleteAddon", template=_OF | {"addonName": "{addonName}"})],
    ),
    "aws:eks/accessEntry:AccessEntry": Kind(
        service="eks",
        create=Step(operation="CreateAccessEntry", takes=None),
        identifier="{clusterName}:{principalArn}",
        tags="tags",
        replaced=["clusterName", "principalArn", "type"],
        outputs={"accessEntryArn": "=answer.accessEntry.accessEntryArn"},
        read=Read(
            operation="DescribeAccessEntry", template=_OF | {"principalArn": "{principalArn}"}, path="accessEntry"
        ),
        delete=[Step(operation="DeleteAccessEntry", template=_OF | {"principalArn": "{principalArn}"})],
    ),
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": Kind(
        service="eks",
        create=Step(operation="AssociateAccessPolicy", takes=None),
        identifier="{clusterName}#{principalArn}#{policyArn}",
        replaced=["clusterName", "principalArn", "policyArn", "accessScope"],
        read=Read(
            operation="ListAssociatedAccessPolicies",
            template=_OF | {"principalArn": "{principalArn}"},
            path="associatedAccessPolicies[?policyArn=='{policyArn}']|[0]",
        ),
        delete=[
            Step(
                operation="DisassociateAccessPolicy",
                template=_OF | {"principalArn": "{principalArn}", "policyArn": "{policyArn}"},
            )
        ],
    ),
    "aws:eks/podIdentityAssociation:PodIdentityAssociation": Kind(
        service="eks",
        create=Step(operation="CreatePodIdentityAssociation", takes=None),
        identifier="=answer.association.associationId",
        tags="tags",
        update=[
            Step(operation="UpdatePodIdentityAssociation", takes=["roleArn"], template=_OF | {"associationId": "{id}"})
        ],
        replaced=["clusterName", "namespace", "serviceAccount"],
        outputs={"associationArn": "=answer.association.associationArn", "associationId": "{id}"},
        read=Read(
            operation="DescribePodIdentityAssociation", template=_OF | {"associationId": "{id}"}, path="association"
        ),
        delete=[Step(operation="DeletePodIdentityAssociation", template=_OF | {"associationId": "{id}"})],
    ),
}
