"""What a cluster asks of the world around it: where stores are, and who may reach them.

`aws` answers with S3, RDS, ElastiCache and Pod Identity, `kubernetes` with the site's own servers. The
Kubernetes substrate takes both and knows neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pulumi

from infra.substrates.base import SecretKey, Store
from infra.substrates.cluster import IdentitySpec


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Addresses outside the cluster that pods may connect to, by TCP."""

    cidrs: Sequence[pulumi.Input[str]]
    ports: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class SecretFile:
    """One value of a secret in the stack's secret store, as a file in the container."""

    path: str
    value: SecretKey


@dataclass(frozen=True, kw_only=True)
class StoreBinding:
    """What a container needs in order to use a store.

    Attributes:
        uri: `s3://bucket/prefix`, a path, `postgresql+psycopg2:///database`, or `redis:` and Feast's connection
            string. Where only the deployment knows a part of it, it holds `${VARIABLE}` or leaves the part to
            variables that the client reads by itself (PGHOST, PGUSER, AWS_REGION…).
        environment: Variables of the container; stores of one server give the same ones.
        secrets: Variables whose values the secret store holds.
        files: Such as the certificate of a private authority, or a key.
        destinations: Where its pods must be let out to.
        depends_on: What must be there before the first connection.
    """

    uri: str
    environment: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    secrets: Mapping[str, SecretKey] = field(default_factory=dict)
    files: Sequence[SecretFile] = ()
    destinations: Sequence[Destination] = ()
    depends_on: Sequence[pulumi.Resource] = ()


class StoreBindings(Protocol):
    """Where the stores are."""

    def bind(self, store: Store) -> StoreBinding:
        """What is needed to use a store; the same answer each time.

        Raises:
            ConfigError: The stack has no such store.
        """


class IdentityBinder(Protocol):
    """Who may reach the stores."""

    def bind(self, identity: IdentitySpec, parent: pulumi.Resource, /) -> pulumi.Resource | None:
        """Give a service account exactly its declared rights; None where secrets alone decide.

        Raises:
            ConfigError: It asks for rights that this world cannot give.
        """
