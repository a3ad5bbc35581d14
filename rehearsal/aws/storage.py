"""S3 and the registry of images."""

from rehearsal.aws.kind import AFTER, Kind, Read, Step


def _part(
    put: str,
    nested: str,
    get: str,
    path: str,
    delete: str | None,
    renames: dict[str, str] | None = None,
    more: dict[str, str] | None = None,
) -> Kind:
    """One of a bucket's settings, each a type of its own; `more` is what the provider adds by itself."""
    template = {"Bucket": "{bucket}"} | ({nested: more} if more else {})
    return Kind(
        service="s3",
        create=Step(operation=put, template=template, nested=nested, takes=None),
        identifier="{bucket}",
        renames=renames or {},
        ignored=["bucket"],
        update=[Step(operation=put, template=template, nested=nested, takes=None)],
        replaced=["bucket"],
        read=Read(operation=get, template={"Bucket": "{bucket}"}, path=path),
        delete=[Step(operation=delete, template={"Bucket": "{bucket}"})] if delete else [],
    )


KINDS = {
    "aws:s3/bucket:Bucket": Kind(
        service="s3",
        create=Step(
            operation="CreateBucket",
            template={
                "Bucket": "{bucket}",
                "ObjectLockEnabledForBucket": "{objectLockEnabled}",
                "CreateBucketConfiguration": {"LocationConstraint": "{region}"},
            },
        ),
        identifier="{bucket}",
        ignored=["forceDestroy"],
        tags=AFTER,
        replaced=["bucket", "objectLockEnabled"],
        outputs={
            "arn": "arn:aws:s3:::{bucket}",
            "region": "{region}",
            "bucketDomainName": "{bucket}.s3.amazonaws.com",
            "bucketRegionalDomainName": "{bucket}.s3.{region}.amazonaws.com",
        },
        read=Read(operation="GetBucketTagging", template={"Bucket": "{id}"}, path="TagSet"),
        delete=[Step(operation="DeleteBucket", template={"Bucket": "{id}"})],
    ),
    "aws:s3/bucketVersioning:BucketVersioning": _part("PutBucketVersioning", "", "GetBucketVersioning", "Status", None),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": _part(
        "PutBucketLifecycleConfiguration",
        "LifecycleConfiguration",
        "GetBucketLifecycleConfiguration",
        "Rules",
        "DeleteBucketLifecycle",
        {"id": "ID"},
    ),
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": _part(
        "PutObjectLockConfiguration",
        "ObjectLockConfiguration",
        "GetObjectLockConfiguration",
        "ObjectLockConfiguration",
        None,
        more={"ObjectLockEnabled": "Enabled"},
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _part(
        "PutBucketOwnershipControls",
        "OwnershipControls",
        "GetBucketOwnershipControls",
        "OwnershipControls",
        "DeleteBucketOwnershipControls",
    ),
    "aws:s3/bucketPolicy:BucketPolicy": _part("PutBucketPolicy", "", "GetBucketPolicy", "Policy", "DeleteBucketPolicy"),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _part(
        "PutPublicAccessBlock",
        "PublicAccessBlockConfiguration",
        "GetPublicAccessBlock",
        "PublicAccessBlockConfiguration",
        "DeletePublicAccessBlock",
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": _part(
        "PutBucketEncryption",
        "ServerSideEncryptionConfiguration",
        "GetBucketEncryption",
        "ServerSideEncryptionConfiguration",
        "DeleteBucketEncryption",
        {"kmsMasterKeyId": "KMSMasterKeyID"},
    ),
    "aws:ecr/repository:Repository": Kind(
        service="ecr",
        create=Step(operation="CreateRepository", takes=None),
        identifier="{name}",
        renames={"name": "repositoryName"},
        ignored=["forceDelete"],
        tags="tags",
        update=[
            Step(operation="PutImageTagMutability", takes=["imageTagMutability"], template={"repositoryName": "{id}"}),
            Step(
                operation="PutImageScanningConfiguration",
                takes=["imageScanningConfiguration"],
                template={"repositoryName": "{id}"},
            ),
        ],
        replaced=["name", "encryptionConfigurations"],
        outputs={
            "arn": "=answer.repository.repositoryArn",
            "repositoryUrl": "=answer.repository.repositoryUri",
            "registryId": "=answer.repository.registryId",
        },
        read=Read(operation="DescribeRepositories", template={"repositoryNames": ["{id}"]}, path="repositories[0]"),
        delete=[Step(operation="DeleteRepository", template={"repositoryName": "{id}", "force": "{forceDelete}"})],
    ),
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": Kind(
        service="ecr",
        create=Step(operation="PutLifecyclePolicy", takes=None),
        identifier="{repository}",
        renames={"policy": "lifecyclePolicyText", "repository": "repositoryName"},
        update=[Step(operation="PutLifecyclePolicy", takes=["policy"], template={"repositoryName": "{repository}"})],
        replaced=["repository"],
        read=Read(
            operation="GetLifecyclePolicy", template={"repositoryName": "{id}"}, path="@", without=["lastEvaluatedAt"]
        ),
        delete=[Step(operation="DeleteLifecyclePolicy", template={"repositoryName": "{id}"})],
    ),
    "aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration": Kind(
        service="ecr",
        create=Step(operation="PutRegistryScanningConfiguration", takes=None),
        identifier="{account}",
        update=[Step(operation="PutRegistryScanningConfiguration", takes=None)],
        read=Read(
            operation="GetRegistryScanningConfiguration", template={}, path="[scanningConfiguration][?rules]|[0]"
        ),
        delete=[Step(operation="PutRegistryScanningConfiguration", template={"scanType": "BASIC", "rules": []})],
    ),
}
