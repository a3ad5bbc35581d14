"""ECR: every image comes from inside the region."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi import ResourceOptions
from pulumi_aws import ecr, iam

from core.errors import ConfigError
from infra.config.aws import Registry as RegistryConfig
from infra.substrates.aws.account import Account, policy, trust

_ANONYMOUS = ("public.ecr.aws", "quay.io", "registry.k8s.io")
"""Upstream registries that ECR fetches from without a sign-in; images of others are always copied."""
_FETCHED = tuple(f"{host}/" for host in _ANONYMOUS)
_PREFIX_LENGTH = 30


@dataclass(frozen=True, kw_only=True)
class RegistryArgs:
    """What a registry is made of.

    Attributes:
        repositories: Names of the images that are copied here or made by the stack.
        key: ARN of the key of the images.
    """

    account: Account
    settings: RegistryConfig
    repositories: Sequence[str]
    key: pulumi.Input[str]


class Registry(pulumi.ComponentResource):
    """Repositories whose tags never move, encrypted and scanned. None is public.

    Raises:
        ConfigError: ECR takes no prefix as long as one of those that it would fetch to.
    """

    def __init__(self, name: str, args: RegistryArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("falaj:aws:Registry", name, None, opts)
        account, settings = args.account, args.settings
        options = ResourceOptions(parent=self)
        enhanced = settings.scan == "enhanced"
        everything = ecr.RegistryScanningConfigurationRuleRepositoryFilterArgs(filter="*", filter_type="WILDCARD")
        ecr.RegistryScanningConfiguration(
            name,
            scan_type="ENHANCED" if enhanced else "BASIC",
            rules=[
                ecr.RegistryScanningConfigurationRuleArgs(
                    scan_frequency="CONTINUOUS_SCAN" if enhanced else "SCAN_ON_PUSH", repository_filters=[everything]
                )
            ],
            opts=options,
        )
        fetches = settings.mode == "pull-through"
        copied = [image for image in args.repositories if not (fetches and image.startswith(_FETCHED))]
        for image in sorted(set(copied)):
            repository = ecr.Repository(
                image,
                name=f"{settings.prefix}/{image}",
                image_tag_mutability="IMMUTABLE",
                image_scanning_configuration=ecr.RepositoryImageScanningConfigurationArgs(scan_on_push=True),
                encryption_configurations=[
                    ecr.RepositoryEncryptionConfigurationArgs(encryption_type="KMS", kms_key=args.key)
                ],
                force_delete=not account.protect,
                tags=account.tags("artifacts"),
                opts=account.kept(self),
            )
            ecr.LifecyclePolicy(image, repository=repository.name, policy=expiry(settings.untagged_days), opts=options)
        if fetches:
            self._fetch(args)
        self.host = f"{account.id}.dkr.ecr.{account.region}.amazonaws.com"
        self.register_outputs({})

    def _fetch(self, args: RegistryArgs) -> None:
        """Let ECR fetch from upstream; what it creates is as protected as what the stack creates."""
        account, settings = args.account, args.settings
        options = ResourceOptions(parent=self)
        role = iam.Role(
            "registry",
            name=f"{account.prefix}-registry",
            assume_role_policy=trust("ecr.amazonaws.com", account),
            opts=options,
        )
        repositories = account.arn("ecr", f"repository/{settings.prefix}/*")
        actions = ["ecr:CreateRepository", "ecr:ReplicateImage", "ecr:TagResource"]
        uses = ["kms:CreateGrant", "kms:DescribeKey", "kms:RetireGrant"]
        allowed = iam.RolePolicy(
            "registry",
            name="registry",
            role=role.name,
            policy=policy(
                [
                    {"Effect": "Allow", "Action": actions, "Resource": [repositories]},
                    {"Effect": "Allow", "Action": uses, "Resource": [args.key]},
                ]
            ),
            opts=options,
        )
        template = ecr.RepositoryCreationTemplate(
            "fetched",
            prefix=settings.prefix,
            applied_fors=["PULL_THROUGH_CACHE"],
            custom_role_arn=role.arn,
            image_tag_mutability="IMMUTABLE",
            encryption_configurations=[
                ecr.RepositoryCreationTemplateEncryptionConfigurationArgs(encryption_type="KMS", kms_key=args.key)
            ],
            lifecycle_policy=expiry(settings.untagged_days),
            resource_tags=account.tags("artifacts"),
            opts=ResourceOptions(parent=self, depends_on=[allowed]),
        )
        for upstream in _ANONYMOUS:
            # As images are called everywhere else: by the whole name that they have upstream.
            prefix = f"{settings.prefix}/{upstream}"
            if len(prefix) > _PREFIX_LENGTH:
                longest = _PREFIX_LENGTH - max(len(name) for name in _ANONYMOUS) - 1
                raise ConfigError(
                    f"substrate.registry.prefix is {settings.prefix}, and with an upstream's name ECR takes "
                    f"{_PREFIX_LENGTH} letters: shorten it to {longest}, or set substrate.registry.mode to mirror"
                )
            ecr.PullThroughCacheRule(
                upstream,
                ecr_repository_prefix=prefix,
                upstream_registry_url=upstream,
                opts=ResourceOptions(parent=self, depends_on=[template]),
            )


def expiry(days: int) -> str:
    """Images without a tag end after `days`."""
    selection = {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": days}
    rule = {"rulePriority": 1, "selection": selection, "action": {"type": "expire"}}
    return json.dumps({"rules": [{**rule, "description": "Images that no tag names"}]})
