"""An existing cluster with the site's stores, from its section of the stack's file."""

from typing import Any

import pulumi
from pulumi import ResourceOptions
from pulumi_kubernetes.provider import Provider

from infra.config import Kubernetes, StackConfig
from infra.config.kubernetes import VaultBackend
from infra.substrates.cluster import object_name
from infra.substrates.kubernetes.site import SiteBindings, SiteIdentities
from infra.substrates.kubernetes.substrate import KubernetesSubstrate, World

_OPERATOR = "external-secrets"


class Site(pulumi.ComponentResource):
    """The connection to the cluster; everything in it comes through this provider."""

    def __init__(self, name: str, settings: Kubernetes) -> None:
        super().__init__("falaj:kubernetes:Site", name)
        self.provider = Provider(
            "cluster",
            kubeconfig=settings.kubeconfig,
            context=settings.context,
            enable_server_side_apply=True,
            opts=ResourceOptions(parent=self),
        )
        self.register_outputs({})


def site_cluster(settings: StackConfig, site: Kubernetes) -> KubernetesSubstrate:
    """The substrate of a site."""
    connection = Site("site", site)
    world = World(
        name=site.context,
        provider=connection.provider,
        stores=SiteBindings(site.stores),
        identities=SiteIdentities(),
        pools=site.nodes,
        sources=settings.sources,
        registry=settings.sources.images or site.images,
        pull_secret=site.image_pull,
        secret_provider=_vault(site.secrets) if isinstance(site.secrets, VaultBackend) else None,
        storage_class=site.stores.storage_class,
        control_plane=site.control_plane,
        load_balancer=site.load_balancer,
        installed=site.installed,
        tags=settings.tags(),
        protect=settings.protect,
    )
    scrape = settings.prometheus.scrape_seconds if settings.prometheus else None
    return KubernetesSubstrate("kubernetes", world, settings.gateway, scrape, ResourceOptions(parent=connection))


def _vault(vault: VaultBackend) -> dict[str, Any]:
    """The provider of External Secrets' store: https://external-secrets.io/latest/provider/hashicorp-vault/."""
    account = {"name": _OPERATOR, "namespace": _OPERATOR}
    provider: dict[str, Any] = {
        "server": vault.server,
        "path": vault.path,
        "version": "v2",
        "auth": {"kubernetes": {"mountPath": vault.mount, "role": vault.role, "serviceAccountRef": account}},
    }
    if vault.authority is not None:
        authority = {"type": "Secret", "namespace": _OPERATOR, "name": object_name(vault.authority), "key": "ca.crt"}
        provider["caProvider"] = authority
    return {"vault": provider}
