"""cert-manager: certificates of the gateway and of webhooks."""

from collections.abc import Sequence

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from infra.addons.chart import Values, install, requests
from infra.addons.pods import pull
from infra.config.services import Acme, Authority, Public
from infra.substrates.cluster import Cluster, IdentitySpec, NamespaceSpec, Permission, object_name

NAMESPACE = NamespaceSpec(name="cert-manager", callers=("monitoring",), webhooks=(10250,))
ISSUER = "gateway"
"""The ClusterIssuer of the gateway's certificate."""
_ACCOUNT = "cert-manager"


def values(registry: str, replicas: int, pull_secrets: Sequence[str] = ()) -> Values:
    """Values of the chart.

    Args:
        registry: Stands for quay.io.
        pull_secrets: Names of the secrets that the registry wants.
        replicas: Of the webhook, without which no certificate can be asked for, and of the controller.
    """
    return {
        "imageRegistry": registry,
        # Definitions that stay behind would keep their namespace's finalizers; a destroy leaves nothing.
        "crds": {"enabled": True, "keep": False},
        "replicaCount": replicas,
        "serviceAccount": {"name": _ACCOUNT},
        # Its lease would be in kube-system, where an addon has no business.
        "global": {"leaderElection": {"namespace": NAMESPACE.name}, "imagePullSecrets": pull(pull_secrets)},
        "resources": requests("20m", "128Mi"),
        "podDisruptionBudget": {"enabled": replicas > 1},
        "webhook": {
            "replicaCount": replicas,
            "podDisruptionBudget": {"enabled": replicas > 1},
            "resources": requests("10m", "64Mi"),
        },
        "cainjector": {"resources": requests("20m", "256Mi")},
        # A hook that Pulumi would not run: it waits for the webhook by itself.
        "startupapicheck": {"enabled": False},
    }


def issuer(tls: Acme | Authority, region: str | None, authority_secret: str | None) -> Values:
    """Specification of the gateway's ClusterIssuer.

    Args:
        region: Of the account with the DNS zone; for DNS-01 alone.
        authority_secret: The Kubernetes secret with the authority's pair.
    """
    if isinstance(tls, Authority):
        return {"ca": {"secretName": authority_secret}}
    solver: Values = {"dns01": {"route53": {"hostedZoneID": tls.dns_zone, "region": region}}}
    return {
        "acme": {
            "server": tls.server,
            "email": tls.email,
            "privateKeySecretRef": {"name": "acme-account"},
            "solvers": [solver],
        }
    }


def dns_rights(zone: str) -> list[Permission]:
    """What DNS-01 needs: to write the challenge into one zone, and to see that it has spread."""
    zone_arn = f"arn:aws:route53:::hostedzone/{zone}"
    return [
        Permission(actions=["route53:GetChange"], resources=["arn:aws:route53:::change/*"]),
        Permission(
            actions=["route53:ChangeResourceRecordSets"],
            resources=[zone_arn],
            condition={"ForAllValues:StringEquals": {"route53:ChangeResourceRecordSetsRecordTypes": ["TXT"]}},
        ),
        Permission(actions=["route53:ListResourceRecordSets"], resources=[zone_arn]),
    ]


class CertManager(pulumi.ComponentResource):
    """cert-manager. `ready` is what certificates depend on; None where the site runs it."""

    ready: pulumi.Resource | None

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        public: Public,
        replicas: int = 1,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("falaj:addons:CertManager", name, None, opts)
        before = [cluster.namespace(NAMESPACE)]
        if isinstance(public.tls, Acme):
            rights = dns_rights(public.tls.dns_zone)
            identity = IdentitySpec(namespace=NAMESPACE.name, account=_ACCOUNT, permissions=rights)
            before.append(cluster.identity(identity))
        self.ready = None
        if not cluster.installed("cert-manager"):
            settings = values(cluster.registry("quay.io"), replicas, cluster.pull_secrets(NAMESPACE))
            self.ready = install("cert-manager", cluster, NAMESPACE, settings, parent=self, depends_on=before)
        self.register_outputs({})


class GatewayIssuer(pulumi.ComponentResource):
    """Who signs the gateway's certificate. `ready` is what the certificate depends on.

    It is apart from cert-manager, which comes before the nodes and load balancers: an authority's pair is a secret,
    and what brings secrets runs on nodes.
    """

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        tls: Acme | Authority,
        manager: Sequence[pulumi.Resource],
        region: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`manager` is cert-manager, where the stack installs it."""
        super().__init__("falaj:addons:GatewayIssuer", name, None, opts)
        secret = None
        needs = list(manager)
        if isinstance(tls, Authority):
            keys = {"tls.crt": "tls.crt", "tls.key": "tls.key"}
            cluster.namespace(NAMESPACE)
            needs.append(cluster.secret(NAMESPACE.name, tls.secret, keys))
            secret = object_name(tls.secret)
        self.ready = CustomResource(
            ISSUER,
            api_version="cert-manager.io/v1",
            kind="ClusterIssuer",
            metadata=ObjectMetaArgs(name=ISSUER),
            spec=issuer(tls, region, secret),
            opts=pulumi.ResourceOptions(parent=self, provider=cluster.provider, depends_on=needs),
        )
        self.register_outputs({})
