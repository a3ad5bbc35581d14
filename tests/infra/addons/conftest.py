"""A cluster that notes what addons ask of it, and the graph that they make of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pytest
from pulumi import ResourceOptions

from core.errors import ConfigError
from core.pins import Chart, Image, Manifest
from infra.config.nodes import Role
from infra.plan import Graph, Resource, record
from infra.substrates.base import SecretKey, Store
from infra.substrates.cluster import Access, ChartSource, ClusterRoute, IdentitySpec, NamespaceSpec, Placement

_CREDENTIALS = {
    "AWS": {"AWS_ACCESS_KEY_ID": "access-key", "AWS_SECRET_ACCESS_KEY": "secret-key"},
    "MYSQL": {"MYSQL_USER": "username", "MYSQL_PASSWORD": "password"},
    "POSTGRESQL": {"PGUSER": "username", "PGPASSWORD": "password"},
}


@dataclass
class NotingCluster:
    """Each namespace, identity and secret is a resource of a package `site`, so that dependencies show in the graph."""

    provider: pulumi.ProviderResource
    site: ResourceOptions
    parts: frozenset[str] = frozenset()
    name: str = "falaj-test"
    storage_class: str = "encrypted"
    namespaces: dict[str, NamespaceSpec] = field(default_factory=dict)
    identities: list[IdentitySpec] = field(default_factory=list)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    routes: list[ClusterRoute] = field(default_factory=list)
    connections: list[tuple[str, dict[str, str], list[str]]] = field(default_factory=list)
    environment: Mapping[str, dict[str, str]] = field(
        default_factory=lambda: {
            "AWS": {"AWS_REGION": "me-central-1"},
            "MYSQL": {"MYSQL_HOST": "mysql.example.ae", "MYSQL_PORT": "3306"},
            "POSTGRESQL": {"PGHOST": "postgresql.example.ae", "PGPORT": "5432"},
        }
    )
    _made: dict[str, pulumi.Resource] = field(default_factory=dict)

    def namespace(self, spec: NamespaceSpec) -> pulumi.Resource:
        if self.namespaces.setdefault(spec.name, spec) != spec:
            raise ConfigError(f"the namespace {spec.name} was made otherwise")
        return self._once("Namespace", spec.name)

    def chart(self, pin: Chart) -> ChartSource:
        return ChartSource(
            chart=pin.oci or pin.name, version=pin.version, repository=None if pin.oci else pin.repository
        )

    def manifest(self, pin: Manifest, folder: str = "") -> str:
        return pin.address(folder)

    def image(self, pin: Image) -> str:
        return f"mirror.example.ae/{pin.repository}:{pin.version}"

    def registry(self, upstream: str) -> str:
        return f"mirror.example.ae/{upstream}"

    def identity(self, spec: IdentitySpec) -> pulumi.Resource:
        self.identities.append(spec)
        return self._once("Identity", f"{spec.namespace}-{spec.account}")

    def secret(self, namespace: str, name: str, keys: Mapping[str, str], called: str | None = None) -> pulumi.Resource:
        self.secrets[f"{namespace}/{called or name}"] = dict(keys)
        return self._once("Secret", f"{namespace}-{(called or name).replace('/', '-')}")

    def uri(self, store: Store) -> str:
        return {"folder": f"s3://falaj-test-{store.data_class}/{store.name}"}.get(store.kind, store.name)

    def access(self, stores: Sequence[Store]) -> Access:
        """As a site's stores answer."""
        environment: dict[str, pulumi.Input[str]] = {}
        secrets: dict[str, SecretKey] = {}
        files: dict[str, SecretKey] = {}
        for store in stores:
            if store.kind == "key":
                files[f"/etc/falaj-keys/{store.name}/key"] = SecretKey(secret=f"falaj/{store.name}", key="key")
                continue
            server = "AWS" if store.kind == "folder" else store.engine.upper()
            environment |= self.environment.get(server, {})
            for variable, key in _CREDENTIALS[server].items():
                secrets[variable] = SecretKey(secret=f"falaj/{server.lower()}", key=key)
            files[f"/etc/falaj-authorities/{server.lower()}.crt"] = SecretKey(secret="site-authority", key="ca.crt")
        return Access(environment=environment, secrets=secrets, files=files)

    @property
    def control_plane(self) -> list[str]:
        return ["10.50.0.0/24"]

    def connect(self, namespace: str, pods: Mapping[str, str], services: Sequence[str]) -> None:
        self.connections.append((namespace, dict(pods), list(services)))

    def placement(self, role: Role, pool: str | None = None) -> Placement:
        return Placement(node_selector={"falaj.ae/pool": pool or role}, tolerations=[])

    def pull_secrets(self, namespace: NamespaceSpec) -> list[str]:
        self.namespace(namespace)
        return ["registry"]

    def route(self, route: ClusterRoute) -> None:
        self.routes.append(route)

    def installed(self, part: str) -> bool:
        return part in self.parts

    def _once(self, kind: str, name: str) -> pulumi.Resource:
        key = f"{kind} {name}"
        if key not in self._made:
            self._made[key] = pulumi.CustomResource(f"site:index:{kind}", f"{kind.lower()}-{name}", {}, self.site)
        return self._made[key]


Install = Callable[[NotingCluster, ResourceOptions], object]


@dataclass(frozen=True)
class Tried:
    """What installing some addons made."""

    graph: Graph
    cluster: NotingCluster

    def find(self, name: str) -> Resource:
        """The resource called `name`."""
        return next(resource for resource in self.graph.resources if resource.name == name)

    def before(self, name: str) -> set[str]:
        """Names of all that `name` waits for, directly."""
        return {urn.rpartition("::")[2] for urn in self.find(name).dependencies}


@pytest.fixture
def install() -> Callable[..., Tried]:
    """Install addons on a noting cluster; `parts` are those that the site runs already."""

    def run(program: Install, parts: frozenset[str] = frozenset()) -> Tried:
        made: list[NotingCluster] = []

        def declare() -> None:
            from pulumi_kubernetes import Provider

            group = pulumi.ComponentResource("test:index:Group", "group")
            within = ResourceOptions(parent=group)
            provider = Provider("cluster", kubeconfig="{}", opts=within)
            site = ResourceOptions(parent=group, provider=pulumi.ProviderResource("site", "site", {}, within))
            made.append(NotingCluster(provider, site, parts))
            program(made[-1], within)

        graph = record("test", {}, declare)
        return Tried(graph, made[-1])

    return run
