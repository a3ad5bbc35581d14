"""The gateway and its routes: nothing is reached from outside but through it, and by no one who has not signed in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from core.errors import ConfigError
from infra.config.services import Gateway, Public
from infra.substrates.cluster import ClusterRoute, Placement
from infra.substrates.kubernetes import gateway, policies
from infra.substrates.kubernetes.namespaces import PLATFORM, Namespaces
from infra.substrates.kubernetes.objects import Objects
from infra.substrates.kubernetes.secrets import Secrets


@dataclass(frozen=True, kw_only=True)
class Proxies:
    """The gateway's proxies.

    Attributes:
        installed: Whether the site already runs Envoy Gateway, and limits itself who reaches its proxies.
        load_balancer: Annotations of their Service.
        health_checks: Networks that the load balancer looks after them from, where it has addresses of its own.
    """

    installed: bool
    placement: Placement
    load_balancer: Mapping[str, str]
    health_checks: Sequence[str]
    pull_secrets: Sequence[str]


class Entrance:
    """Collects routes until the gateway opens, and opens later ones at once."""

    def __init__(self, objects: Objects, namespaces: Namespaces, secrets: Secrets, settings: Gateway) -> None:
        self._objects, self._namespaces, self._secrets, self._settings = objects, namespaces, secrets, settings
        self._routes = dict[str, ClusterRoute]()
        self._parent: pulumi.Resource | None = None
        self._policies: Sequence[pulumi.Resource] = ()

    @property
    def public(self) -> Public:
        """How it is reached.

        Raises:
            ConfigError: The stack does not say.
        """
        if self._settings.public is None:
            raise ConfigError("gateway.public is absent, and a cluster's gateway is public: add it")
        return self._settings.public

    def route(self, route: ClusterRoute) -> None:
        """Lead paths to a namespace, as `Cluster.route`."""
        for other in self._routes.values():
            shared = {*_paths(other)} & {*_paths(route)}
            if other.name == route.name or shared:
                raise ConfigError(
                    f"the routes {other.name} and {route.name} share {', '.join(sorted(shared)) or 'a name'}: "
                    "give one of them other prefixes and another name"
                )
        self._routes[route.name] = route
        if self._parent is not None:
            self._lead(route, self._parent)

    def open(self, proxies: Proxies, routes: Sequence[ClusterRoute], parent: pulumi.Resource) -> None:
        """Make the gateway, then all its routes and the page that lists them.

        Args:
            routes: Those of our own services, beside what was collected.
        """
        public, namespace = self.public, self._namespaces.make(PLATFORM)
        needs: list[pulumi.Resource] = [
            namespace,
            self._ours(
                gateway.NAME,
                gateway.ENVOY_API,
                "EnvoyProxy",
                gateway.proxy(
                    self._settings, public, proxies.placement, proxies.load_balancer, list(proxies.pull_secrets)
                ),
                parent,
                [namespace],
            ),
            *self._certificate(public, namespace, parent),
        ]
        entrance = gateway.entrance(public)
        opened = self._ours(gateway.NAME, gateway.GATEWAY_API, "Gateway", entrance, parent, needs)
        # No route is open before everyone who comes must sign in, nor after.
        self._policies = [
            self._ours(gateway.NAME, gateway.ENVOY_API, kind, document, parent, [opened])
            for kind, document in (
                ("SecurityPolicy", gateway.sign_in(public)),
                ("ClientTrafficPolicy", gateway.connections()),
                ("EnvoyExtensionPolicy", gateway.secrecy()),
            )
        ]
        if not proxies.installed:
            sources = [{"ipBlock": {"cidr": cidr}} for cidr in (*public.allow_from, *proxies.health_checks)]
            self._admit(gateway.DATA_PLANE, "entrance", gateway.PROXIES, sources, [gateway.PROXY_PORT])
        for own in routes:
            self.route(own)
        self._parent = parent
        for route in self._routes.values():
            self._lead(route, parent)
        self._welcome(parent)

    def _certificate(
        self, public: Public, namespace: pulumi.Resource, parent: pulumi.Resource
    ) -> list[pulumi.Resource]:
        """What the gateway signs in with, and its certificate."""
        found = [self._secrets.bring(PLATFORM.name, public.oidc.client_secret, {"client-secret": "client-secret"})]
        if public.tls.kind == "certificate":
            keys = {"tls.crt": "tls.crt", "tls.key": "tls.key"}
            return [*found, self._secrets.bring(PLATFORM.name, public.tls.secret, keys)]
        request = gateway.certificate_request(public)
        return [
            *found,
            self._ours(gateway.NAME, gateway.CERTIFICATES_API, "Certificate", request, parent, [namespace]),
        ]

    def _lead(self, route: ClusterRoute, parent: pulumi.Resource) -> None:
        """Make a route, after all that limits it and lets it through."""
        public = self.public
        needs = [*self._policies]
        if route.who == "administrators":
            policy = gateway.restriction(route.name, public)
            needs.append(self._ours(route.name, gateway.ENVOY_API, "SecurityPolicy", policy, parent, self._policies))
        limits = gateway.limits(route, self._settings, public.allow_from)
        needs.append(self._ours(route.name, gateway.ENVOY_API, "BackendTrafficPolicy", limits, parent, self._policies))
        if route.namespace != PLATFORM.name:
            _, away = self._namespaces.known(route.namespace)
            needs.append(
                self._objects.custom(
                    f"{route.namespace}/{route.name}",
                    gateway.GRANTS_API,
                    "ReferenceGrant",
                    gateway.grant(route, PLATFORM.name),
                    parent,
                    namespace=route.namespace,
                    needs=[away],
                )
            )
            proxies = [policies.peer(gateway.DATA_PLANE, gateway.PROXIES)]
            for backend in route.backends:
                name = f"{route.name}-{backend.service}-gateway"
                self._admit(route.namespace, name, backend.pods, proxies, [backend.pod_port or backend.port])
        document = gateway.route(route, public.hostname, PLATFORM.name)
        self._ours(route.name, gateway.GATEWAY_API, "HTTPRoute", document, parent, needs)

    def _welcome(self, parent: pulumi.Resource) -> None:
        """The page at `/`, and the paths that sign in and out, which no service answers."""
        prefixes = sorted(route.prefixes[0] for route in self._routes.values() if route.page)
        pages = gateway.home_page(prefixes)
        page = self._ours(gateway.HOME, gateway.ENVOY_API, "HTTPRouteFilter", pages, parent, self._policies)
        home = gateway.home_route(self.public.hostname)
        self._ours(gateway.HOME, gateway.GATEWAY_API, "HTTPRoute", home, parent, [page])

    def _ours(
        self,
        name: str,
        version: str,
        kind: str,
        spec: Mapping[str, Any],
        parent: pulumi.Resource,
        needs: Sequence[pulumi.Resource],
    ) -> CustomResource:
        """A custom resource of the gateway, in our own namespace."""
        return self._objects.custom(name, version, kind, spec, parent, namespace=PLATFORM.name, needs=needs)

    def _admit(
        self,
        namespace: str,
        name: str,
        pods: Mapping[str, str],
        sources: Sequence[Mapping[str, Any]],
        ports: Sequence[int | str],
    ) -> None:
        _, made = self._namespaces.known(namespace)
        self._objects.policy(namespace, name, policies.ingress(pods, sources, ports), made)


def _paths(route: ClusterRoute) -> list[str]:
    """The prefixes of a route, as they are compared."""
    return [prefix.rstrip("/") or "/" for prefix in route.prefixes]
