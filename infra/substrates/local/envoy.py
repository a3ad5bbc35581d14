"""Envoy's configuration from routes: https://www.envoyproxy.io/docs/envoy/latest/api-v3/api.

The bootstrap holds the listener; clusters and routes are files of their own that Envoy watches, so
that a service which moves to another port costs neither a restart nor a connection.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.substrates.base import Route, Upstream

HEALTH_PATH = "/healthz"
METRICS_PATH = "/stats/prometheus"
_ADMIN = "envoy_admin"
_TYPE = "type.googleapis.com/envoy"
_RETRY_ON = "connect-failure,refused-stream,reset-before-request"
"""Only failures before the service saw the request, so that a retry can never do a thing twice."""
_IDLE_SECONDS = 4
"""uvicorn closes an idle connection after 5 s; a request sent at that moment would be lost."""


def bootstrap(*, port: int, admin_socket: Path, clusters: Path, routes: Path, max_body_bytes: int) -> str:
    """The document that Envoy is started with, as JSON."""
    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "rds": {"route_config_name": "gateway", "config_source": _watched(routes)},
        "access_log": [_access_log()],
        "use_remote_address": True,
        "normalize_path": True,
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "request_headers_timeout": "10s",
        "stream_idle_timeout": "300s",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "http2_protocol_options": {"max_concurrent_streams": 1024},
        "http_filters": [
            {
                "name": "envoy.filters.http.buffer",
                "typed_config": {
                    "@type": f"{_TYPE}.extensions.filters.http.buffer.v3.Buffer",
                    "max_request_bytes": max_body_bytes,
                },
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"},
            },
        ],
    }
    listener = {
        "name": "gateway",
        "address": _address(port),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    return _json(
        {
            "node": {"id": "gateway", "cluster": "falaj"},
            "admin": {"address": {"pipe": {"path": str(admin_socket), "mode": 0o600}}},
            "dynamic_resources": {"cds_config": _watched(clusters)},
            "static_resources": {"listeners": [listener], "clusters": [_admin_cluster(admin_socket)]},
        }
    )


def clusters(upstreams: Sequence[Upstream], max_connections: int) -> str:
    """The services behind the gateway, as the JSON of a discovery response."""
    return _discovery("config.cluster.v3.Cluster", [_cluster(upstream, max_connections) for upstream in upstreams])


def routes(routes: Sequence[Route]) -> str:
    """Which path leads to which service, as the JSON of a discovery response."""
    answers: list[Mapping[str, Any]] = [
        {
            "match": {"path": HEALTH_PATH},
            "direct_response": {"status": 200, "body": {"inline_string": "ok\n"}},
        },
        {
            "match": {
                "path": METRICS_PATH,
                "headers": [{"name": ":method", "string_match": {"exact": "GET"}}],
            },
            "route": {"cluster": _ADMIN},
        },
    ]
    # Envoy takes the first match: a longer prefix must come before one that it begins with.
    ordered = sorted(routes, key=lambda route: (-len(route.prefix), route.prefix))
    # Whoever leaves out the slash at the end of a page's address means the page.
    slashes = [
        {"match": {"path": route.prefix.rstrip("/")}, "redirect": {"path_redirect": route.prefix}}
        for route in ordered
        if route.prefix.endswith("/") and route.page
    ]
    host = {"name": "gateway", "domains": ["*"], "routes": [*answers, *slashes, *map(_route, ordered)]}
    return _discovery("config.route.v3.RouteConfiguration", [{"name": "gateway", "virtual_hosts": [host]}])


def _route(route: Route) -> dict[str, Any]:
    endless = route.timeout_seconds is None
    action: dict[str, Any] = {
        "cluster": route.upstream,
        "timeout": f"{route.timeout_seconds or 0}s",
        "retry_policy": {
            "retry_on": _RETRY_ON,
            "num_retries": 5,
            "retry_back_off": {"base_interval": "0.1s", "max_interval": "2s"},
        },
    }
    if endless:
        action["idle_timeout"] = "0s"
    if route.rewrite is not None:
        action["prefix_rewrite"] = route.rewrite
    answer: dict[str, Any] = {"match": {"prefix": route.prefix}, "route": action}
    if not route.limit_body:
        answer["typed_per_filter_config"] = {
            "envoy.filters.http.buffer": {
                "@type": f"{_TYPE}.extensions.filters.http.buffer.v3.BufferPerRoute",
                "disabled": True,
            }
        }
    return answer


def _cluster(upstream: Upstream, max_connections: int) -> dict[str, Any]:
    http1: dict[str, Any] = {"http_protocol_options": {}}
    http2: dict[str, Any] = {"http2_protocol_options": {}}
    is_http2 = upstream.port.protocol == "http2"
    check: dict[str, Any] = {"http_health_check": {"path": upstream.health_path}}
    if is_http2:
        check = {"tcp_health_check": {}}
    return {
        "name": upstream.name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": _assignment(upstream.name, _address(upstream.port.number)),
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {"idle_timeout": f"{_IDLE_SECONDS}s"},
                "explicit_http_config": http2 if is_http2 else http1,
            }
        },
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": max_connections,
                    "max_pending_requests": max_connections,
                    "max_requests": max_connections,
                    "max_retries": max_connections,
                }
            ]
        },
        # With one instance the gateway still tries one that is thought to be down (Envoy's panic mode): it may
        # be back before the next check. The checks feed the alert rules.
        "health_checks": [
            {
                **check,
                "timeout": "5s",
                "interval": "5s",
                "no_traffic_interval": "5s",
                "unhealthy_interval": "1s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "always_log_health_check_failures": False,
            }
        ],
    }


def _admin_cluster(admin_socket: Path) -> dict[str, Any]:
    return {
        "name": _ADMIN,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": _assignment(_ADMIN, {"pipe": {"path": str(admin_socket)}}),
    }


def _access_log() -> dict[str, Any]:
    # Neither query strings nor bodies nor addresses: they may tell of a person.
    fields = {
        "time": "%START_TIME%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ)%",
        "protocol": "%PROTOCOL%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "upstream": "%UPSTREAM_CLUSTER%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "received_bytes": "%BYTES_RECEIVED%",
        "sent_bytes": "%BYTES_SENT%",
        "milliseconds": "%DURATION%",
    }
    return {
        "name": "envoy.access_loggers.stdout",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": fields},
        },
    }


def _watched(path: Path) -> dict[str, Any]:
    return {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _assignment(name: str, address: Mapping[str, Any]) -> dict[str, Any]:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}


def _discovery(kind: str, resources: Sequence[Mapping[str, Any]]) -> str:
    typed = [{"@type": f"{_TYPE}.{kind}", **resource} for resource in resources]
    return _json({"resources": typed})


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"
