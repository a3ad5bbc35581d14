"""The provider `aws`: each type of resource as the calls that the real provider makes."""

from rehearsal.aws import cluster, identity, network, operations, storage, stores

KINDS = network.KINDS | identity.KINDS | storage.KINDS | cluster.KINDS | stores.KINDS | operations.KINDS
"""By the type's token."""
