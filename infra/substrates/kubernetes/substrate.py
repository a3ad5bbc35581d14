"""A Kubernetes cluster as a substrate: services become workloads of it, stores and identities come from outside."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pulumi
from pulumi import ResourceOptions
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import ConfigMap, LimitRange, Namespace, ResourceQuota, Service, ServiceAccount
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pulumi_kubernetes.networking.v1 import NetworkPolicy
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget
from pulumi_kubernetes.scheduling.v1 import PriorityClass

from core.errors import ConfigError
from core.images import lock
from core.pins import Chart, Image, Manifest, pins
from infra.addons import envoy_gateway
from infra.config.nodes import GPU_RESOURCE, Role
from infra.config.platform import Sources
from infra.config.services import Gateway, Public
from infra.substrates.base import GatewaySpec, Probe, Resources, SecretKey, Store, Workload
from infra.substrates.cluster import (
    TENANT,
    Access,
    Backend,
    ChartSource,
    ClusterRoute,
    IdentitySpec,
    NamespaceSpec,
    Placement,
    object_name,
)
from infra.substrates.kubernetes import gateway, policies
from infra.substrates.kubernetes.bindings import IdentityBinder, StoreBinding, StoreBindings
from infra.substrates.kubernetes.placement import Pools, check_fit, placement
from infra.substrates.kubernetes.workload import (
    CONFIGURATION,
    SCRATCH,
    labels,
    merge,
    pod,
    priority_class,
    secret_keys,
)

PLATFORM = NamespaceSpec(name="falaj")
"""Where our own services and the gateway's objects live."""
MONITORING = "monitoring"
"""The namespace that Prometheus scrapes from."""
SECRET_STORE = "falaj"  # noqa: S105
_SECRETS_OPERATOR = "external-secrets"
"""The part that brings secrets: namespaces of what comes before it get none."""
_PRIORITIES = {"system": 1_000_000, "service": 100_000, "batch": 100}


@dataclass(frozen=True, kw_only=True)
class World:
    """What the cluster stands in.

    Attributes:
        registry: Host and path, inside the country, below which every image lies by its upstream name.
        pull_secret: In the stack's secret store; None where nodes may pull by themselves.
        secret_provider: Of External Secrets' store; None where someone else puts secrets into namespaces.
        secret_access: Lets that store's reader at one secret; None where it may read all by itself.
        control_plane: Networks that the API servers call webhooks from.
        load_balancer: Annotations of the gateway's Service.
        health_checks: Networks that the load balancer looks after the gateway from, where it has addresses of its own.
        vendor: Folder of vendored charts and manifests.
    """

    name: pulumi.Input[str]
    provider: pulumi.ProviderResource
    stores: StoreBindings
    identities: IdentityBinder
    pools: Pools
    sources: Sources
    registry: str
    pull_secret: str | None
    secret_provider: Mapping[str, Any] | None
    storage_class: str
    control_plane: Sequence[pulumi.Input[str]]
    load_balancer: Mapping[str, str]
    health_checks: Sequence[str] = ()
    secret_access: Callable[[str], pulumi.Resource] | None = None
    installed: Sequence[str] = ()
    vendor: str = "vendor"


@dataclass(frozen=True)
class _Entrance:
    """The open gateway, and what must let a request through before a route takes it."""

    parent: pulumi.Resource
    policies: Sequence[pulumi.Resource]


class KubernetesSubstrate(pulumi.ComponentResource):
    """The cluster. `run` places a service on it, and the rest is what addons ask of it."""

    def __init__(
        self,
        name: str,
        world: World,
        settings: Gateway,
        scrape_seconds: int | None,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("falaj:kubernetes:Substrate", name, None, opts)
        self._world = world
        self._settings = settings
        self._scrape_seconds = scrape_seconds
        self._namespaces = dict[str, tuple[NamespaceSpec, Namespace]]()
        self._secrets = dict[tuple[str, str], tuple[Mapping[str, str], pulumi.Resource]]()
        self._workloads = dict[str, Workload]()
        self._parts = dict[str, Sequence[pulumi.Resource]]()
        self._routes = dict[str, ClusterRoute]()
        self._entrance: _Entrance | None = None
        self._priorities = {
            priority: PriorityClass(
                priority_class(priority),
                metadata=ObjectMetaArgs(name=priority_class(priority)),
                value=value,
                global_default=False,
                opts=self._options(self),
            )
            for priority, value in _PRIORITIES.items()
        }
        self.register_outputs({})

    @property
    def listen(self) -> str:
        return "0.0.0.0"  # noqa: S104  # A pod's own address; policies say who may connect.

    @property
    def provider(self) -> pulumi.ProviderResource:
        return self._world.provider

    @property
    def name(self) -> pulumi.Input[str]:
        return self._world.name

    @property
    def storage_class(self) -> str:
        return self._world.storage_class

    def installed(self, part: str) -> bool:
        return part in self._world.installed

    def provides(self, part: str, *resources: pulumi.Resource) -> None:
        """Custom resources of a part are created after `resources`.

        What `foundation` provides (nodes and load balancers) goes before each namespace asked for from then on, so
        that a destroy takes the namespaces, with their volumes and load balancers, while its controllers still run.
        """
        self._parts[part] = resources

    def uri(self, store: Store) -> str:
        return self._world.stores.bind(store).uri

    def file_path(self, workload: str, name: str) -> str:
        return str(CONFIGURATION / workload / name)

    def scratch(self, workload: str) -> str:
        return str(SCRATCH / workload)

    def url(self, prefix: str, service: str) -> str:
        if service not in self._workloads:
            raise ConfigError(f"{service} is not deployed before what calls it at {prefix or '/'}: add it to the stack")
        port = next(iter(self._workloads[service].ports.values()))
        return f"http://{object_name(service)}.{PLATFORM.name}.svc.cluster.local:{port.number}"

    def hosts(self, service: str) -> list[str]:
        public = self.public_url("").removeprefix("https://")
        return [public, f"{public}:*", f"{object_name(service)}.{PLATFORM.name}.svc.cluster.local:*"]

    def public_url(self, prefix: str) -> str:
        if self._settings.public is None:
            raise ConfigError("gateway.public is absent, and a cluster's gateway is public: add it")
        return f"https://{self._settings.public.hostname}{prefix}".rstrip("/")

    def namespace(self, spec: NamespaceSpec) -> pulumi.Resource:
        if spec.name in self._namespaces:
            known, made = self._namespaces[spec.name]
            if known != spec:
                raise ConfigError(f"namespace {spec.name} is asked for with two specifications: use one of them")
            return made
        level = {f"pod-security.kubernetes.io/{mode}": spec.security for mode in ("enforce", "audit", "warn")}
        whose = {"app.kubernetes.io/managed-by": "falaj"} | ({TENANT: "true"} if spec.quota is not None else {})
        made = Namespace(
            spec.name,
            metadata=ObjectMetaArgs(name=spec.name, labels={**level, **whose}),
            opts=ResourceOptions.merge(
                self._options(self), ResourceOptions(depends_on=list(self._parts.get("foundation", ())))
            ),
        )
        self._namespaces[spec.name] = (spec, made)
        options = self._options(made)
        strict = spec.quota is not None or spec == PLATFORM
        NetworkPolicy(
            f"{spec.name}/default",
            metadata=ObjectMetaArgs(name="default", namespace=spec.name),
            spec=cast(Any, policies.denied() if strict else policies.closed()),
            opts=options,
        )
        within = [] if spec.isolated or spec == PLATFORM else [spec.name]
        callers = [policies.peer(caller) for caller in (*within, *spec.callers)]
        if callers:
            NetworkPolicy(
                f"{spec.name}/callers",
                metadata=ObjectMetaArgs(name="callers", namespace=spec.name),
                spec=cast(Any, policies.ingress({}, callers, [])),
                opts=options,
            )
        if spec.webhooks:
            servers = [{"ipBlock": {"cidr": cidr}} for cidr in self._world.control_plane]
            NetworkPolicy(
                f"{spec.name}/webhooks",
                metadata=ObjectMetaArgs(name="webhooks", namespace=spec.name),
                spec=cast(Any, policies.ingress({}, servers, spec.webhooks)),
                opts=options,
            )
        if spec.quota is not None:
            self._limit(spec, options)
        return made

    def chart(self, pin: Chart) -> ChartSource:
        sources = self._world.sources
        if sources.vendored:
            return ChartSource(chart=f"{self._world.vendor}/charts/{pin.name}", version=None, repository=None)
        if sources.charts is not None:
            return ChartSource(chart=pin.name, version=pin.version, repository=f"{sources.charts}/{pin.name}")
        if pin.oci is not None:
            return ChartSource(chart=pin.oci, version=pin.version, repository=None)
        return ChartSource(chart=pin.name, version=pin.version, repository=pin.repository)

    def manifest(self, pin: Manifest, folder: str = "") -> str:
        if not self._world.sources.vendored:
            return pin.address(folder)
        return f"{self._world.vendor}/manifests/{pin.name}/{folder}".rstrip("/")

    def image(self, pin: Image) -> str:
        return f"{self._world.registry}/{lock().reference(pin)}"

    def registry(self, upstream: str) -> str:
        return f"{self._world.registry}/{upstream}"

    def identity(self, spec: IdentitySpec) -> pulumi.Resource:
        """Give the rights, and let the namespace's pods out to the stores that they are for."""
        made = self._world.identities.bind(spec, self)
        known, namespace = self._known(spec.namespace)
        rules = _ways_out([self._world.stores.bind(store) for store in (*spec.reads, *spec.writes)])
        # Where pods may go out anyway, a policy that lets them out somewhere would close all the rest.
        if rules and (known.quota is not None or known == PLATFORM):
            NetworkPolicy(
                f"{spec.namespace}/{spec.account}-stores",
                metadata={"name": f"{spec.account}-stores", "namespace": spec.namespace},
                spec=cast(Any, policies.egress(spec.pods, rules)),
                opts=self._options(namespace),
            )
        return made or namespace

    def secret(self, namespace: str, name: str, keys: Mapping[str, str], called: str | None = None) -> pulumi.Resource:
        _, within = self._known(namespace)
        called = called or object_name(name)
        if self._world.secret_provider is None:
            return within
        if (namespace, called) in self._secrets:
            known, made = self._secrets[namespace, called]
            if known != keys:
                raise ConfigError(f"secret {name} is asked for in namespace {namespace} with two sets of keys: use one")
            return made
        granted = [self._world.secret_access(name)] if self._world.secret_access is not None else []
        data = [
            {"secretKey": key, "remoteRef": {"key": name, "property": value}} for key, value in sorted(keys.items())
        ]
        made = self._custom(
            f"{namespace}/{called}",
            "external-secrets.io/v1",
            "ExternalSecret",
            {
                "refreshInterval": "1h",
                "secretStoreRef": {"kind": "ClusterSecretStore", "name": SECRET_STORE},
                "target": {
                    "name": called,
                    "creationPolicy": "Owner",
                    "template": {"type": _secret_type(keys)},
                },
                "data": data,
            },
            within,
            namespace=namespace,
            depends_on=[self._secret_store(), *granted],
        )
        self._secrets[namespace, called] = (keys, made)
        return made

    def access(self, stores: Sequence[Store]) -> Access:
        environment = dict[str, pulumi.Input[str]]()
        secrets = dict[str, SecretKey]()
        files = dict[str, SecretKey]()
        for binding in (self._world.stores.bind(store) for store in stores):
            merge("these stores", environment, binding.environment)
            merge("these stores", secrets, binding.secrets)
            files.update({file.path: file.value for file in binding.files})
        return Access(environment=environment, secrets=secrets, files=files)

    @property
    def control_plane(self) -> Sequence[pulumi.Input[str]]:
        return self._world.control_plane

    def connect(self, namespace: str, pods: Mapping[str, str], services: Sequence[str]) -> None:
        _, within = self._known(namespace)
        for service in services:
            self.url("", service)
            numbers = [port.number for port in self._workloads[service].ports.values()]
            there = policies.peer(PLATFORM.name, labels(service))
            for where, name, document in (
                (
                    namespace,
                    f"to-{object_name(service)}",
                    policies.egress(pods, [{"to": [there], "ports": policies.ports(numbers)}]),
                ),
                (
                    PLATFORM.name,
                    f"{object_name(service)}-{namespace}",
                    policies.ingress(labels(service), [policies.peer(namespace, pods)], numbers),
                ),
            ):
                NetworkPolicy(
                    f"{where}/{name}",
                    metadata=ObjectMetaArgs(name=name, namespace=where),
                    spec=cast(Any, document),
                    opts=ResourceOptions.merge(
                        self._options(within), ResourceOptions(depends_on=[self.namespace(PLATFORM)])
                    ),
                )

    def pull_secrets(self, namespace: NamespaceSpec) -> list[str]:
        name = self._world.pull_secret
        if name is None:
            return []
        self.namespace(namespace)
        if _SECRETS_OPERATOR in self._parts:
            self.secret(namespace.name, name, {".dockerconfigjson": ".dockerconfigjson"})
        return [object_name(name)]

    def route(self, route: ClusterRoute) -> None:
        for other in self._routes.values():
            shared = {*_paths(other)} & {*_paths(route)}
            if other.name == route.name or shared:
                raise ConfigError(
                    f"the routes {other.name} and {route.name} share {', '.join(sorted(shared)) or 'a name'}: "
                    "give one of them other prefixes and another name"
                )
        self._routes[route.name] = route
        if self._entrance is not None:
            self._open(route, self._entrance)

    def placement(self, role: Role, pool: str | None = None) -> Placement:
        return placement(self._world.pools, role, pool)

    def run(self, workload: Workload, parent: pulumi.Resource) -> pulumi.Resource:
        check_fit(self._world.pools, workload.role, workload.pool, workload.name, workload.resources)
        name = object_name(workload.name)
        namespace = self.namespace(PLATFORM)
        metadata = ObjectMetaArgs(name=name, namespace=PLATFORM.name, labels=labels(workload.name))
        options = ResourceOptions.merge(self._options(parent), ResourceOptions(depends_on=[namespace]))
        bindings = [self._world.stores.bind(store) for store in (*workload.reads, *workload.writes)]
        account = ServiceAccount(name, metadata=metadata, automount_service_account_token=False, opts=options)
        identity = IdentitySpec(namespace=PLATFORM.name, account=name, reads=workload.reads, writes=workload.writes)
        needs: list[pulumi.Resource] = [account, self._priorities[workload.priority]]
        needs += [resource for binding in bindings for resource in binding.depends_on]
        bound = self._world.identities.bind(identity, parent)
        needs += [bound] if bound is not None else []
        wanted = secret_keys(workload, bindings)
        if self._world.pull_secret is not None:
            wanted.setdefault(self._world.pull_secret, set()).add(".dockerconfigjson")
        needs += self._pod_secrets(wanted)
        if workload.files:
            data = {file.name: file.content for file in workload.files}
            needs.append(ConfigMap(name, metadata=metadata, data=data, opts=options))
        needs += self._connections(workload, bindings, options)
        template = pod(
            workload,
            image=self.image(pins().image("platform-gpu" if workload.resources.gpus else "platform")),
            bindings=bindings,
            placement=self.placement(workload.role, workload.pool),
            pull_secret=self._world.pull_secret,
        )
        scaled = workload.max_replicas > workload.replicas
        deployment = Deployment(
            name,
            metadata=metadata,
            spec=cast(
                Any,
                {
                    **({} if scaled else {"replicas": workload.replicas}),
                    "selector": {"matchLabels": labels(workload.name)},
                    "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                    "revisionHistoryLimit": 3,
                    "template": template,
                },
            ),
            opts=ResourceOptions.merge(options, ResourceOptions(depends_on=needs)),
        )
        self._expose(workload, metadata, options)
        if scaled:
            self._scale(workload, metadata, options)
        self._workloads[workload.name] = workload
        return deployment

    def gateway(self, spec: GatewaySpec, parent: pulumi.Resource) -> Workload:
        public = self._public()
        namespace = self.namespace(PLATFORM)
        secrets = [self.secret(PLATFORM.name, public.oidc.client_secret, {"client-secret": "client-secret"})]
        if public.tls.kind == "certificate":
            secrets.append(self.secret(PLATFORM.name, public.tls.secret, {"tls.crt": "tls.crt", "tls.key": "tls.key"}))
        else:
            request = gateway.certificate_request(public)
            secrets.append(
                self._ours(gateway.NAME, gateway.CERTIFICATES_API, "Certificate", request, parent, [namespace])
            )
        parameters = self._ours(
            gateway.NAME,
            gateway.ENVOY_API,
            "EnvoyProxy",
            gateway.proxy(
                self._settings,
                public,
                self.placement("services"),
                self._world.load_balancer,
                [] if self.installed("envoy-gateway") else self.pull_secrets(envoy_gateway.NAMESPACE),
            ),
            parent,
            [namespace],
        )
        opened = self._ours(
            gateway.NAME,
            gateway.GATEWAY_API,
            "Gateway",
            gateway.entrance(public),
            parent,
            [namespace, parameters, *secrets],
        )
        # No route is open before everyone who comes must sign in, nor after.
        made = [
            self._ours(gateway.NAME, gateway.ENVOY_API, kind, document, parent, [opened])
            for kind, document in (
                ("SecurityPolicy", gateway.sign_in(public)),
                ("ClientTrafficPolicy", gateway.connections()),
                ("EnvoyExtensionPolicy", gateway.secrecy()),
            )
        ]
        if not self.installed("envoy-gateway"):
            self._admit(
                gateway.DATA_PLANE,
                "entrance",
                gateway.PROXIES,
                [{"ipBlock": {"cidr": cidr}} for cidr in (*public.allow_from, *self._world.health_checks)],
                [gateway.PROXY_PORT],
            )
        for own in spec.routes:
            upstream = next(upstream for upstream in spec.upstreams if upstream.name == own.upstream)
            service = next(name for name, found in self._workloads.items() if upstream.port in found.ports.values())
            self.route(
                ClusterRoute(
                    name=gateway.route_name(own.prefix),
                    namespace=PLATFORM.name,
                    prefixes=[own.prefix],
                    backends=[Backend(service=object_name(service), port=upstream.port.number)],
                    rewrite=own.rewrite,
                    timeout_seconds=own.timeout_seconds,
                    limit_body=own.limit_body,
                    page=own.page,
                )
            )
        self._entrance = _Entrance(parent, made)
        for route in self._routes.values():
            self._open(route, self._entrance)
        self._welcome(public, self._entrance)
        return Workload(
            name=spec.name,
            command=(),
            ports={"http": spec.port},
            readiness=Probe(port="http", path="/"),
            resources=Resources(cpu=0.25, memory_mib=256),
        )

    def _public(self) -> Public:
        if self._settings.public is None:
            raise ConfigError("gateway.public is absent, and a cluster's gateway is public: add it")
        return self._settings.public

    def _open(self, route: ClusterRoute, entrance: _Entrance) -> None:
        """Make a route, after all that limits it and lets it through."""
        public = self._public()
        needs = [*entrance.policies]
        within = (entrance.parent, entrance.policies)
        if route.who == "administrators":
            policy = gateway.restriction(route.name, public)
            needs.append(self._ours(route.name, gateway.ENVOY_API, "SecurityPolicy", policy, *within))
        limits = gateway.limits(route, self._settings, public.allow_from)
        needs.append(self._ours(route.name, gateway.ENVOY_API, "BackendTrafficPolicy", limits, *within))
        if route.namespace != PLATFORM.name:
            _, away = self._known(route.namespace)
            needs.append(
                self._custom(
                    f"{route.namespace}/{route.name}",
                    gateway.GRANTS_API,
                    "ReferenceGrant",
                    gateway.grant(route, PLATFORM.name),
                    entrance.parent,
                    namespace=route.namespace,
                    depends_on=[away],
                )
            )
            proxies = [policies.peer(gateway.DATA_PLANE, gateway.PROXIES)]
            for backend in route.backends:
                name = f"{route.name}-{backend.service}-gateway"
                self._admit(route.namespace, name, backend.pods, proxies, [backend.pod_port or backend.port])
        document = gateway.route(route, public.hostname, PLATFORM.name)
        self._ours(route.name, gateway.GATEWAY_API, "HTTPRoute", document, entrance.parent, needs)

    def _welcome(self, public: Public, entrance: _Entrance) -> None:
        """The page at `/`, and the paths that sign in and out, which no service answers."""
        routes = [route for route in self._routes.values() if route.page]
        pages = gateway.home_page(sorted(route.prefixes[0] for route in routes))
        page = self._ours(gateway.HOME, gateway.ENVOY_API, "HTTPRouteFilter", pages, entrance.parent, entrance.policies)
        home = gateway.home_route(public.hostname)
        self._ours(gateway.HOME, gateway.GATEWAY_API, "HTTPRoute", home, entrance.parent, [page])

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
        return self._custom(name, version, kind, spec, parent, namespace=PLATFORM.name, depends_on=needs)

    def _admit(
        self,
        namespace: str,
        name: str,
        pods: Mapping[str, str],
        sources: Sequence[Mapping[str, Any]],
        ports: Sequence[int | str],
    ) -> None:
        _, made = self._known(namespace)
        NetworkPolicy(
            f"{namespace}/{name}",
            metadata=ObjectMetaArgs(name=name, namespace=namespace),
            spec=cast(Any, policies.ingress(pods, sources, ports)),
            opts=self._options(made),
        )

    def _connections(
        self, workload: Workload, bindings: Sequence[StoreBinding], options: ResourceOptions
    ) -> list[pulumi.Resource]:
        """Policies of a workload's pods: the gateway and Prometheus in, stores and the services that it calls out."""
        name = object_name(workload.name)
        numbers = [port.number for port in workload.ports.values()]
        sources = [policies.peer(gateway.DATA_PLANE, gateway.PROXIES)]
        documents = {f"{name}-gateway": policies.ingress(labels(workload.name), sources, numbers)}
        if workload.metrics_path is not None and self._scrape_seconds is not None:
            scraper = [policies.peer(MONITORING, {"app.kubernetes.io/name": "prometheus"})]
            documents[f"{name}-metrics"] = policies.ingress(labels(workload.name), scraper, numbers[:1])
        rules = _ways_out(bindings)
        for callee in workload.connects:
            self.url("", callee)
            called = [port.number for port in self._workloads[callee].ports.values()]
            rules.append({"to": [policies.peer(PLATFORM.name, labels(callee))], "ports": policies.ports(called)})
            documents[f"{object_name(callee)}-{name}"] = policies.ingress(
                labels(callee), [policies.peer(PLATFORM.name, labels(workload.name))], called
            )
        if rules:
            documents[f"{name}-out"] = policies.egress(labels(workload.name), rules)
        return [
            NetworkPolicy(
                f"{PLATFORM.name}/{policy}",
                metadata=ObjectMetaArgs(name=policy, namespace=PLATFORM.name),
                spec=cast(Any, document),
                opts=options,
            )
            for policy, document in documents.items()
        ]

    def _expose(self, workload: Workload, metadata: ObjectMetaArgs, options: ResourceOptions) -> None:
        name = object_name(workload.name)
        ports = [
            {
                "name": port,
                "port": spec.number,
                "targetPort": port,
                "appProtocol": "kubernetes.io/h2c" if spec.protocol == "http2" else "http",
            }
            for port, spec in workload.ports.items()
        ]
        Service(
            name, metadata=metadata, spec=cast(Any, {"selector": labels(workload.name), "ports": ports}), opts=options
        )
        PodDisruptionBudget(
            name,
            metadata=metadata,
            spec=cast(Any, {"maxUnavailable": 1, "selector": {"matchLabels": labels(workload.name)}}),
            opts=options,
        )
        if workload.metrics_path is not None and self._scrape_seconds is not None:
            endpoint = {
                "port": next(iter(workload.ports)),
                "path": workload.metrics_path,
                "interval": f"{self._scrape_seconds}s",
            }
            self._custom(
                name,
                "monitoring.coreos.com/v1",
                "ServiceMonitor",
                {"selector": {"matchLabels": labels(workload.name)}, "endpoints": [endpoint]},
                options.parent or self,
                namespace=PLATFORM.name,
                depends_on=[self.namespace(PLATFORM)],
            )

    def _scale(self, workload: Workload, metadata: ObjectMetaArgs, options: ResourceOptions) -> None:
        # Imported where it is needed: most small stacks have one replica of each service.
        from pulumi_kubernetes.autoscaling.v2 import HorizontalPodAutoscaler

        target = {"type": "Utilization", "averageUtilization": workload.target_cpu}
        HorizontalPodAutoscaler(
            object_name(workload.name),
            metadata=metadata,
            spec=cast(
                Any,
                {
                    "scaleTargetRef": {
                        "apiVersion": "apps/v1",
                        "kind": "Deployment",
                        "name": object_name(workload.name),
                    },
                    "minReplicas": workload.replicas,
                    "maxReplicas": workload.max_replicas,
                    "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
                },
            ),
            opts=options,
        )

    def _pod_secrets(self, wanted: Mapping[str, set[str]]) -> list[pulumi.Resource]:
        return [
            self.secret(PLATFORM.name, secret, {key: key for key in sorted(keys)})
            for secret, keys in sorted(wanted.items())
        ]

    def _limit(self, spec: NamespaceSpec, options: ResourceOptions) -> None:
        quota = spec.quota
        if quota is None:
            return
        ResourceQuota(
            f"{spec.name}/quota",
            metadata=ObjectMetaArgs(name="quota", namespace=spec.name),
            spec=cast(
                Any,
                {
                    "hard": {
                        "requests.cpu": str(quota.cpu),
                        "requests.memory": f"{quota.memory_gib}Gi",
                        f"requests.{GPU_RESOURCE}": str(quota.gpus),
                        "pods": str(quota.pods),
                        "services.loadbalancers": "0",
                        "services.nodeports": "0",
                    }
                },
            ),
            opts=options,
        )
        # A GPU is never given by default: whoever needs one asks for it.
        given = spec.container
        default = {
            "type": "Container",
            "default": {"cpu": "1", "memory": "1Gi"}
            if given is None
            else {"cpu": f"{round(2000 * given.cpu)}m", "memory": f"{given.memory_mib}Mi"},
            "defaultRequest": {"cpu": "100m", "memory": "256Mi"}
            if given is None
            else {"cpu": f"{round(1000 * given.cpu)}m", "memory": f"{given.memory_mib}Mi"},
        }
        LimitRange(
            f"{spec.name}/defaults",
            metadata=ObjectMetaArgs(name="defaults", namespace=spec.name),
            spec=cast(Any, {"limits": [default]}),
            opts=options,
        )

    def _secret_store(self) -> pulumi.Resource:
        key = ("", SECRET_STORE)
        if key not in self._secrets:
            provider = {"provider": dict(self._world.secret_provider or {})}
            made = self._custom(SECRET_STORE, "external-secrets.io/v1", "ClusterSecretStore", provider, self)
            self._secrets[key] = ({}, made)
        return self._secrets[key][1]

    def _custom(
        self,
        name: str,
        version: str,
        kind: str,
        spec: Mapping[str, Any],
        parent: pulumi.Resource,
        *,
        namespace: str | None = None,
        depends_on: Sequence[pulumi.Resource] = (),
    ) -> CustomResource:
        """A custom resource, after the part that knows its kind."""
        owners = {
            "cert-manager.io": "cert-manager",
            "external-secrets.io": "external-secrets",
            "gateway.networking.k8s.io": "envoy-gateway",
            "gateway.envoyproxy.io": "envoy-gateway",
            "monitoring.coreos.com": "prometheus-operator",
        }
        needs = [*depends_on, *self._parts.get(owners[version.partition("/")[0]], ())]
        metadata = ObjectMetaArgs(name=name.rpartition("/")[2], namespace=namespace)
        return CustomResource(
            name,
            api_version=version,
            kind=kind,
            metadata=metadata,
            spec=dict(spec),
            opts=ResourceOptions.merge(self._options(parent), ResourceOptions(depends_on=needs)),
        )

    def _known(self, namespace: str) -> tuple[NamespaceSpec, Namespace]:
        if namespace not in self._namespaces:
            raise ConfigError(f"namespace {namespace} is used before it is asked for: call Cluster.namespace first")
        return self._namespaces[namespace]

    def _options(self, parent: pulumi.Resource) -> ResourceOptions:
        return ResourceOptions(parent=parent, provider=self._world.provider)


def _ways_out(bindings: Sequence[StoreBinding]) -> list[dict[str, Any]]:
    """The rules for the stores' addresses, each once."""
    found: list[dict[str, Any]] = []
    for rule in (policies.to(destination) for binding in bindings for destination in binding.destinations):
        if rule not in found:
            found.append(rule)
    return found


def _paths(route: ClusterRoute) -> list[str]:
    """The prefixes of a route, as they are compared."""
    return [prefix.rstrip("/") or "/" for prefix in route.prefixes]


def _secret_type(keys: Mapping[str, str]) -> str:
    """What Kubernetes calls a secret with these keys; it refuses a certificate or a registry's sign-in without."""
    if set(keys) == {".dockerconfigjson"}:
        return "kubernetes.io/dockerconfigjson"
    return "kubernetes.io/tls" if set(keys) == {"tls.crt", "tls.key"} else "Opaque"
