"""A Kubernetes cluster as a substrate: services become workloads of it, stores and identities come from outside."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pulumi
from pulumi import ResourceOptions
from pulumi_kubernetes.apps.v1 import Deployment
from pulumi_kubernetes.core.v1 import ConfigMap, Service, ServiceAccount
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs
from pulumi_kubernetes.policy.v1 import PodDisruptionBudget
from pulumi_kubernetes.scheduling.v1 import PriorityClass

from core.errors import ConfigError
from core.images import lock
from core.pins import Chart, Image, Manifest, pins
from infra.addons import envoy_gateway
from infra.config.nodes import Role
from infra.config.platform import Sources
from infra.config.services import Gateway
from infra.substrates.base import GatewaySpec, Probe, Resources, Route, SecretKey, Store, Workload
from infra.substrates.cluster import (
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
from infra.substrates.kubernetes.entrance import Entrance, Proxies
from infra.substrates.kubernetes.namespaces import PLATFORM, Namespaces
from infra.substrates.kubernetes.objects import Objects
from infra.substrates.kubernetes.placement import Pools, check_fit, placement
from infra.substrates.kubernetes.secrets import Secrets
from infra.substrates.kubernetes.workload import (
    CONFIGURATION,
    SCRATCH,
    labels,
    merge,
    pod,
    priority_class,
    secret_keys,
)

MONITORING = "monitoring"
"""The namespace that Prometheus scrapes from."""
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
        tags: Of everything in the stack.
        protect: Whether the engine deletes nothing that holds data.
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
    tags: Mapping[str, str] = field(default_factory=dict)
    protect: bool = False


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
        self._scrape_seconds = scrape_seconds
        self._objects = Objects(world.provider)
        self._namespaces = Namespaces(self._objects, self, world.control_plane, world.tags, protect=world.protect)
        self._secrets = Secrets(self._objects, self._namespaces, self, world.secret_provider, world.secret_access)
        self._entrance = Entrance(self._objects, self._namespaces, self._secrets, settings)
        self._workloads = dict[str, Workload]()
        self._priorities = {
            priority: PriorityClass(
                priority_class(priority),
                metadata=ObjectMetaArgs(name=priority_class(priority)),
                value=value,
                global_default=False,
                opts=self._objects.options(self),
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
        self._objects.provides(part, resources)

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
        return f"https://{self._entrance.public.hostname}{prefix}".rstrip("/")

    def namespace(self, spec: NamespaceSpec) -> pulumi.Resource:
        return self._namespaces.make(spec)

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
        known, namespace = self._namespaces.known(spec.namespace)
        rules = _ways_out([self._world.stores.bind(store) for store in (*spec.reads, *spec.writes)])
        # Where pods may go out anyway, a policy that lets them out somewhere would close all the rest.
        if rules and (known.quota is not None or known == PLATFORM):
            allowed = policies.egress(spec.pods, rules)
            self._objects.policy(spec.namespace, f"{spec.account}-stores", allowed, namespace)
        return made or namespace

    def secret(self, namespace: str, name: str, keys: Mapping[str, str], called: str | None = None) -> pulumi.Resource:
        return self._secrets.bring(namespace, name, keys, called)

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
        _, within = self._namespaces.known(namespace)
        for service in services:
            self.url("", service)
            numbers = [port.number for port in self._workloads[service].ports.values()]
            there = policies.peer(PLATFORM.name, labels(service))
            out = policies.egress(pods, [{"to": [there], "ports": policies.ports(numbers)}])
            into = policies.ingress(labels(service), [policies.peer(namespace, pods)], numbers)
            ours = [self.namespace(PLATFORM)]
            self._objects.policy(namespace, f"to-{object_name(service)}", out, within, ours)
            self._objects.policy(PLATFORM.name, f"{object_name(service)}-{namespace}", into, within, ours)

    def pull_secrets(self, namespace: NamespaceSpec) -> list[str]:
        name = self._world.pull_secret
        if name is None:
            return []
        self.namespace(namespace)
        if self._objects.has(_SECRETS_OPERATOR):
            self.secret(namespace.name, name, {".dockerconfigjson": ".dockerconfigjson"})
        return [object_name(name)]

    def route(self, route: ClusterRoute) -> None:
        self._entrance.route(route)

    def placement(self, role: Role, pool: str | None = None) -> Placement:
        return placement(self._world.pools, role, pool)

    def run(self, workload: Workload, parent: pulumi.Resource) -> pulumi.Resource:
        check_fit(self._world.pools, workload.role, workload.pool, workload.name, workload.resources)
        name = object_name(workload.name)
        namespace = self.namespace(PLATFORM)
        metadata = ObjectMetaArgs(name=name, namespace=PLATFORM.name, labels=labels(workload.name))
        options = self._objects.options(parent, [namespace])
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
        needs += self._connections(workload, bindings, parent)
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
            self._scale(workload, deployment, metadata, options)
        self._workloads[workload.name] = workload
        return deployment

    def gateway(self, spec: GatewaySpec, parent: pulumi.Resource) -> Workload:
        installed = self.installed("envoy-gateway")
        proxies = Proxies(
            installed=installed,
            placement=self.placement("services"),
            load_balancer=self._world.load_balancer,
            health_checks=self._world.health_checks,
            pull_secrets=[] if installed else self.pull_secrets(envoy_gateway.NAMESPACE),
        )
        self._entrance.open(proxies, [self._way(spec, prefix) for prefix in spec.routes], parent)
        return Workload(
            name=spec.name,
            command=(),
            ports={"http": spec.port},
            readiness=Probe(port="http", path="/"),
            resources=Resources(cpu=0.25, memory_mib=256),
        )

    def _way(self, spec: GatewaySpec, own: Route) -> ClusterRoute:
        """A route of one of our services as one of the cluster's."""
        upstream = next(upstream for upstream in spec.upstreams if upstream.name == own.upstream)
        service = next(name for name, found in self._workloads.items() if upstream.port in found.ports.values())
        return ClusterRoute(
            name=gateway.route_name(own.prefix),
            namespace=PLATFORM.name,
            prefixes=[own.prefix],
            backends=[Backend(service=object_name(service), port=upstream.port.number)],
            rewrite=own.rewrite,
            timeout_seconds=own.timeout_seconds,
            limit_body=own.limit_body,
            page=own.page,
        )

    def _connections(
        self, workload: Workload, bindings: Sequence[StoreBinding], parent: pulumi.Resource
    ) -> list[pulumi.Resource]:
        """Policies of a workload's pods: the gateway and Prometheus in, its stores out."""
        name = object_name(workload.name)
        numbers = [port.number for port in workload.ports.values()]
        sources = [policies.peer(gateway.DATA_PLANE, gateway.PROXIES)]
        documents = {f"{name}-gateway": policies.ingress(labels(workload.name), sources, numbers)}
        if workload.metrics_path is not None and self._scrape_seconds is not None:
            scraper = [policies.peer(MONITORING, {"app.kubernetes.io/name": "prometheus"})]
            documents[f"{name}-metrics"] = policies.ingress(labels(workload.name), scraper, numbers[:1])
        rules = _ways_out(bindings)
        if rules:
            documents[f"{name}-out"] = policies.egress(labels(workload.name), rules)
        return [
            self._objects.policy(PLATFORM.name, policy, document, parent, [self.namespace(PLATFORM)])
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
            self._objects.custom(
                name,
                "monitoring.coreos.com/v1",
                "ServiceMonitor",
                {"selector": {"matchLabels": labels(workload.name)}, "endpoints": [endpoint]},
                options.parent or self,
                namespace=PLATFORM.name,
                needs=[self.namespace(PLATFORM)],
            )

    def _scale(
        self, workload: Workload, deployment: pulumi.Resource, metadata: ObjectMetaArgs, options: ResourceOptions
    ) -> None:
        if workload.signals:
            self._objects.custom(
                object_name(workload.name),
                "keda.sh/v1alpha1",
                "ScaledObject",
                _scaled_object(workload),
                options.parent or self,
                namespace=PLATFORM.name,
                # KEDA refuses a trigger on the CPU of what is not there yet.
                needs=[self.namespace(PLATFORM), deployment],
            )
            return
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


def _scaled_object(workload: Workload) -> dict[str, Any]:
    """Specification of a ScaledObject. While Prometheus does not answer, the CPU alone may add replicas, and none are
    taken away: so does the autoscaler that KEDA makes of it."""
    name = object_name(workload.name)
    cpu = {"type": "cpu", "metricType": "Utilization", "metadata": {"value": str(workload.target_cpu)}}
    read = [
        {
            "type": "prometheus",
            "name": signal.name,
            "metricType": "AverageValue",
            "metadata": {
                "serverAddress": signal.server,
                "query": signal.query(PLATFORM.name, name),
                "threshold": signal.target,
            },
        }
        for signal in workload.signals
    ]
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicaCount": workload.replicas,
        "maxReplicaCount": workload.max_replicas,
        "triggers": [cpu, *read],
    }


def _ways_out(bindings: Sequence[StoreBinding]) -> list[dict[str, Any]]:
    """The rules for the stores' addresses, each once."""
    found: list[dict[str, Any]] = []
    for rule in (policies.to(destination) for binding in bindings for destination in binding.destinations):
        if rule not in found:
            found.append(rule)
    return found
