"""All defects by topic."""

from collections.abc import Mapping, Sequence

from tests.defects import cloud, entrance, network, order, program, release, rights, settings, workloads
from tests.defects.model import Defect

TOPICS: Mapping[str, Sequence[Defect]] = {
    "places": settings.PLACES,
    "addresses": settings.ADDRESSES,
    "accounts": settings.IDENTITY,
    "the form of the file": settings.SHAPE,
    "what fits": settings.FIT,
    "parts that need each other": settings.PARTS,
    "the program": program.DEFECTS,
    "rights": rights.RIGHTS,
    "keys": rights.KEYS,
    "rights of AWS's services": rights.SERVICES,
    "identities": rights.IDENTITIES,
    "the network": network.CLOUD,
    "network policies": network.POLICIES,
    "databases": cloud.DATABASES,
    "caches, search and streams": cloud.CACHES,
    "buckets, keys, logs and names": cloud.OBJECTS,
    "machines": cloud.MACHINES,
    "scheduling": workloads.SCHEDULING,
    "scaling and disruption": workloads.SCALING,
    "what objects refer to": workloads.REFERENCES,
    "what the API server asks": workloads.OBJECTS,
    "order in the cluster": order.CLUSTER,
    "order in the cloud": order.CLOUD,
    "a later release": release.RELEASES,
    "a destroy": release.ENDS,
    "the entrance": entrance.ROUTES,
    "metrics and alerts": entrance.WATCHED,
    "charts and images": entrance.IMAGES,
}
DEFECTS: Sequence[Defect] = [one for found in TOPICS.values() for one in found]
