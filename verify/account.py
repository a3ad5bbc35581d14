"""The AWS account of a stack, asked by the credentials of this shell."""

import json
import os
from collections.abc import Mapping
from functools import cache, cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from core.errors import ConfigError
from verify.declared import Declared

_CONNECT_SECONDS = 10
_READ_SECONDS = 60


class Account:
    """Clients of the services, in the stack's region.

    Attributes:
        region: That the stack's provider is bound to.
        ids: Accounts that it may use.
        tags: That every resource bears.
    """

    def __init__(self, declared: Declared, session: boto3.Session | None = None) -> None:
        """Read the provider of a stack that has anything on AWS; `session` is that of this shell by default."""
        provider = next(iter(declared.of("pulumi:providers:aws").values()), {})
        self._declared = declared
        self.region = str(provider.get("region", ""))
        self.ids: list[str] = _parsed(provider.get("allowedAccountIds"), [])
        tags: dict[str, dict[str, str]] = _parsed(provider.get("defaultTags"), {})
        self.tags: Mapping[str, str] = tags.get("tags", {})
        self._session = session or boto3.Session(region_name=self.region)

    @property
    def emulated(self) -> bool:
        """Whether another server plays AWS."""
        return bool(os.environ.get("AWS_ENDPOINT_URL"))

    @cached_property
    def id(self) -> str:
        """Of the credentials.

        Raises:
            ConfigError: There are none that AWS knows, or they are of an account that the stack does not use.
        """
        try:
            found = str(self("sts").get_caller_identity()["Account"])
        except (ClientError, BotoCoreError) as error:
            raise ConfigError(f"AWS cannot be asked by the credentials of this shell: {error}") from error
        if self.ids and found not in self.ids:
            raise ConfigError(
                f"the credentials are of account {found}, and {self._declared.stack} is in {', '.join(self.ids)}: "
                "sign in to that one"
            )
        return found

    @cache  # noqa: B019 - an account lives as long as the checks
    def __call__(self, service: str, region: str | None = None) -> Any:
        """The client of a service; typed by its name, which is one of several here."""
        settings = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 4},
        )
        unnamed: Any = self._session.client
        return unnamed(service, region_name=region or self.region, config=settings)

    def every(self, service: str, operation: str, key: str, **request: Any) -> list[Any]:
        """All pages of what an operation lists under `key`."""
        client = self(service)
        if not client.can_paginate(operation):
            return list(getattr(client, operation)(**request)[key])
        pages = client.get_paginator(operation).paginate(**request)
        return [item for page in pages for item in page.get(key, [])]

    @cached_property
    def keys(self) -> dict[str, str]:
        """ARNs of the stack's own keys, by the last part of their alias: the class of the data."""
        found: dict[str, str] = {}
        for alias in self._declared.values("aws:kms/alias:Alias", "name"):
            key = self("kms").describe_key(KeyId=alias)["KeyMetadata"]
            found[alias.rpartition("/")[2]] = str(key["Arn"])
        return found

    def own_key(self, arn: str | None) -> str | None:
        """Why what a key encrypts is not encrypted by one of the stack's own."""
        if not arn:
            return "is not encrypted by a key of the stack's own"
        if arn in self.keys.values() or arn.rpartition("/")[2] in {
            key.rpartition("/")[2] for key in self.keys.values()
        }:
            return None
        return f"is encrypted by {arn}, which is none of the stack's keys"


def _parsed(value: Any, otherwise: Any) -> Any:
    """An input of a provider, which the engine keeps as JSON text."""
    if value is None:
        return otherwise
    return json.loads(value) if isinstance(value, str) else value
