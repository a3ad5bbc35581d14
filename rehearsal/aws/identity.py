"""IAM, KMS, Secrets Manager."""

from rehearsal.aws.kind import Kind, Read, Step

KINDS = {
    "aws:iam/role:Role": Kind(
        service="iam",
        create=Step(operation="CreateRole", takes=None),
        identifier="{name}",
        renames={"name": "RoleName", "assumeRolePolicy": "AssumeRolePolicyDocument"},
        tags="Tags",
        update=[
            Step(
                operation="UpdateAssumeRolePolicy",
                template={"RoleName": "{id}", "PolicyDocument": "{assumeRolePolicy}"},
                takes=["assumeRolePolicy"],
            ),
            Step(operation="UpdateRole", template={"RoleName": "{id}"}, takes=["description"]),
        ],
        replaced=["name"],
        outputs={"arn": "=answer.Role.Arn", "uniqueId": "=answer.Role.RoleId"},
        read=Read(operation="GetRole", template={"RoleName": "{id}"}, path="Role", without=["RoleLastUsed"]),
        delete=[Step(operation="DeleteRole", template={"RoleName": "{id}"})],
    ),
    "aws:iam/rolePolicy:RolePolicy": Kind(
        service="iam",
        create=Step(operation="PutRolePolicy", takes=None),
        identifier="{role}:{name}",
        renames={"role": "RoleName", "name": "PolicyName", "policy": "PolicyDocument"},
        update=[
            Step(operation="PutRolePolicy", template={"RoleName": "{role}", "PolicyName": "{name}"}, takes=["policy"])
        ],
        replaced=["role", "name"],
        read=Read(
            operation="GetRolePolicy", template={"RoleName": "{role}", "PolicyName": "{name}"}, path="PolicyDocument"
        ),
        delete=[Step(operation="DeleteRolePolicy", template={"RoleName": "{role}", "PolicyName": "{name}"})],
    ),
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": Kind(
        service="iam",
        create=Step(operation="AttachRolePolicy", takes=None),
        identifier="{autoname}",
        renames={"role": "RoleName"},
        replaced=["role", "policyArn"],
        read=Read(
            operation="ListAttachedRolePolicies",
            template={"RoleName": "{role}"},
            path="AttachedPolicies[?PolicyArn=='{policyArn}']|[0]",
        ),
        delete=[Step(operation="DetachRolePolicy", template={"RoleName": "{role}", "PolicyArn": "{policyArn}"})],
    ),
    "aws:iam/instanceProfile:InstanceProfile": Kind(
        service="iam",
        create=Step(operation="CreateInstanceProfile", template={"InstanceProfileName": "{name}"}),
        identifier="{name}",
        tags="Tags",
        after=[
            Step(operation="AddRoleToInstanceProfile", template={"InstanceProfileName": "{id}", "RoleName": "{role}"})
        ],
        replaced=["name"],
        outputs={"arn": "=answer.InstanceProfile.Arn"},
        read=Read(operation="GetInstanceProfile", template={"InstanceProfileName": "{id}"}, path="InstanceProfile"),
        delete=[
            Step(
                operation="RemoveRoleFromInstanceProfile",
                template={"InstanceProfileName": "{id}", "RoleName": "{role}"},
            ),
            Step(operation="DeleteInstanceProfile", template={"InstanceProfileName": "{id}"}),
        ],
    ),
    "aws:kms/key:Key": Kind(
        service="kms",
        create=Step(operation="CreateKey", takes=["description", "multiRegion", "policy"]),
        identifier="=answer.KeyMetadata.KeyId",
        ignored=["deletionWindowInDays"],
        tags="Tags",
        after=[
            Step(
                operation="EnableKeyRotation",
                takes=["rotationPeriodInDays"],
                template={"KeyId": "{id}"},
                when="enableKeyRotation",
            )
        ],
        update=[
            Step(operation="PutKeyPolicy", takes=["policy"], template={"KeyId": "{id}", "PolicyName": "default"}),
            Step(operation="UpdateKeyDescription", takes=["description"], template={"KeyId": "{id}"}),
        ],
        replaced=["multiRegion"],
        outputs={"arn": "=answer.KeyMetadata.Arn", "keyId": "{id}"},
        read=Read(operation="DescribeKey", template={"KeyId": "{id}"}, path="[KeyMetadata][?KeyState=='Enabled']|[0]"),
        delete=[
            Step(
                operation="ScheduleKeyDeletion",
                template={"KeyId": "{id}", "PendingWindowInDays": "{deletionWindowInDays}"},
            )
        ],
    ),
    "aws:kms/alias:Alias": Kind(
        service="kms",
        create=Step(operation="CreateAlias", takes=None),
        identifier="{name}",
        renames={"name": "AliasName"},
        update=[Step(operation="UpdateAlias", takes=["targetKeyId"], template={"AliasName": "{id}"})],
        replaced=["name"],
        outputs={"arn": "arn:aws:kms:{region}:{account}:{name}"},
        read=Read(operation="ListAliases", template={}, path="Aliases[?AliasName=='{id}']|[0]"),
        delete=[Step(operation="DeleteAlias", template={"AliasName": "{id}"})],
    ),
    "aws:secretsmanager/secret:Secret": Kind(
        service="secretsmanager",
        create=Step(operation="CreateSecret", takes=None),
        identifier="=answer.ARN",
        ignored=["recoveryWindowInDays"],
        tags="Tags",
        update=[Step(operation="UpdateSecret", takes=["description", "kmsKeyId"], template={"SecretId": "{id}"})],
        replaced=["name"],
        outputs={"arn": "{id}"},
        read=Read(
            operation="DescribeSecret",
            template={"SecretId": "{id}"},
            # One that is deleted can be had back for a while.
            path="[@][?!DeletedDate]|[0]",
            without=["VersionIdsToStages", "LastChangedDate", "LastAccessedDate"],
        ),
        delete=[
            Step(
                operation="DeleteSecret",
                template={"SecretId": "{id}", "RecoveryWindowInDays": "{recoveryWindowInDays}"},
            )
        ],
    ),
    "aws:secretsmanager/secretVersion:SecretVersion": Kind(
        service="secretsmanager",
        create=Step(operation="PutSecretValue", takes=None),
        identifier="=join('|', [answer.ARN, answer.VersionId])",
        replaced=["secretId", "secretString"],
        outputs={"arn": "=answer.ARN", "versionId": "=answer.VersionId"},
        read=Read(
            operation="DescribeSecret",
            template={"SecretId": "{secretId}"},
            path='[@][?!DeletedDate]|[0].VersionIdsToStages."{versionId}"',
        ),
    ),
}
