"""The gateway as objects of the Gateway API and Envoy Gateway, from the routes that the local Envoy has too.

People sign in at the issuer, programs bring a token of it; either must belong to one of the groups.
https://gateway.envoyproxy.io/docs/api/extension_types/
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.config.services import Gateway, Oidc, Public
from infra.substrates.base import Route
from infra.substrates.cluster import Placement
from infra.substrates.kubernetes.workload import object_name

NAME = "falaj"
"""Of the Gateway and its class."""
DATA_PLANE = "envoy-gateway-system"
"""The namespace in which the controller runs the proxies."""
PROXY_PORT = 10_443
"""Where the proxies listen for 443: the controller adds 10000 to ports that only root may open."""
PROXIES = {"gateway.envoyproxy.io/owning-gateway-name": NAME}
"""Labels that the controller gives to the proxies' pods."""
GATEWAY_API = "gateway.networking.k8s.io/v1"
ENVOY_API = "gateway.envoyproxy.io/v1alpha1"
ATTACHES = "falaj.ae/routes"
"""Label of the namespaces whose routes the gateway takes."""
_RETRY_ON = ["connect-failure", "refused-stream", "reset-before-request"]
"""Only failures before the service saw the request, so that a retry can never do a thing twice."""


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A port of a Kubernetes Service."""

    service: str
    port: int


def proxy(settings: Gateway, public: Public, placement: Placement, annotations: Mapping[str, str]) -> dict[str, Any]:
    """The spec of EnvoyProxy: how the proxies run, and who may connect to them."""
    replicas = settings.replicas
    if replicas.maximum > replicas.minimum:
        metric = {
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": replicas.target_cpu}},
        }
        scale = {
            "envoyHpa": {"minReplicas": replicas.minimum, "maxReplicas": replicas.maximum, "metrics": [metric]},
        }
    else:
        scale = {}
    deployment: dict[str, Any] = {
        "pod": placement.document(),
        "container": {
            "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "512Mi"}}
        },
    }
    if not scale:
        deployment["replicas"] = replicas.minimum
    return {
        "provider": {
            "type": "Kubernetes",
            "kubernetes": {
                "envoyDeployment": deployment,
                "envoyService": {
                    "type": "LoadBalancer",
                    "annotations": dict(annotations),
                    "externalTrafficPolicy": "Local",
                    "loadBalancerSourceRanges": list(public.allow_from),
                },
                "envoyPDB": {"maxUnavailable": 1},
                **scale,
            },
        },
        "shutdown": {"drainTimeout": "60s"},
    }


def entrance(public: Public) -> dict[str, Any]:
    """The spec of Gateway: HTTPS alone, at the public name."""
    return {
        "gatewayClassName": NAME,
        "infrastructure": {"parametersRef": {"group": ENVOY_API.partition("/")[0], "kind": "EnvoyProxy", "name": NAME}},
        "listeners": [
            {
                "name": "https",
                "protocol": "HTTPS",
                "port": 443,
                "hostname": public.hostname,
                "tls": {"mode": "Terminate", "certificateRefs": [{"kind": "Secret", "name": certificate(public)}]},
                "allowedRoutes": {
                    "namespaces": {"from": "Selector", "selector": {"matchLabels": {ATTACHES: "allowed"}}}
                },
            }
        ],
    }


def certificate(public: Public) -> str:
    """The Kubernetes secret that holds the gateway's certificate."""
    return object_name(public.tls.secret) if public.tls.kind == "certificate" else f"{NAME}-certificate"


def sign_in(public: Public) -> dict[str, Any]:
    """The spec of SecurityPolicy for the whole gateway: a known caller of one of the groups, or nothing."""
    oidc: Oidc = public.oidc
    groups = list(dict.fromkeys([*oidc.users, *oidc.administrators]))
    return {
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": NAME}],
        "oidc": {
            "provider": {"issuer": oidc.issuer},
            "clientID": oidc.client_id,
            "clientSecret": {"name": object_name(oidc.client_secret)},
            "redirectURL": f"https://{public.hostname}/oauth2/callback",
            "logoutPath": "/logout",
            "forwardAccessToken": True,
            "passThroughAuthHeader": True,
        },
        "jwt": {
            "providers": [
                {
                    "name": "issuer",
                    "issuer": oidc.issuer,
                    "audiences": [oidc.audience or oidc.client_id],
                    "remoteJWKS": {"uri": oidc.jwks},
                }
            ]
        },
        "authorization": {
            "defaultAction": "Deny",
            "rules": [
                {
                    "name": "groups",
                    "action": "Allow",
                    "principal": {
                        "jwt": {
                            "provider": "issuer",
                            "claims": [{"name": oidc.groups_claim, "valueType": "StringArray", "values": groups}],
                        }
                    },
                }
            ],
        },
    }


def connections() -> dict[str, Any]:
    """The spec of ClientTrafficPolicy: what callers must speak."""
    return {
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": NAME}],
        "tls": {"minVersion": "1.2", "alpnProtocols": ["h2", "http/1.1"]},
        "headers": {"withUnderscoresAction": "RejectRequest"},
        "timeout": {"http": {"requestReceivedTimeout": "0s", "idleTimeout": "3600s"}},
    }


def route_name(route: Route) -> str:
    """The name of a route's objects, from its prefix."""
    return object_name(route.prefix.strip("/").replace(".", "-")) or "root"


def route(found: Route, backend: Backend, hostname: str) -> dict[str, Any]:
    """The spec of HTTPRoute."""
    prefix = found.prefix.rstrip("/") or "/"
    rule: dict[str, Any] = {
        "matches": [{"path": {"type": "PathPrefix", "value": prefix}}],
        "backendRefs": [{"name": backend.service, "port": backend.port}],
        "timeouts": {"request": f"{found.timeout_seconds or 0}s"},
    }
    if found.rewrite is not None:
        path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": found.rewrite}
        rule["filters"] = [{"type": "URLRewrite", "urlRewrite": {"path": path}}]
    rules = [rule]
    if found.page and found.prefix.endswith("/") and prefix != "/":
        # Whoever leaves out the slash at the end of a page's address means the page.
        redirect = {"path": {"type": "ReplaceFullPath", "replaceFullPath": found.prefix}, "statusCode": 302}
        rules.append(
            {
                "matches": [{"path": {"type": "Exact", "value": prefix}}],
                "filters": [{"type": "RequestRedirect", "requestRedirect": redirect}],
            }
        )
    return {"parentRefs": [{"name": NAME}], "hostnames": [hostname], "rules": rules}


def limits(found: Route, settings: Gateway, sources: Sequence[str]) -> dict[str, Any]:
    """The spec of BackendTrafficPolicy: what one route takes of its service.

    Args:
        sources: Networks of the callers, each of whose addresses has a rate of its own.
    """
    spec: dict[str, Any] = {
        "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": route_name(found)}],
        "circuitBreaker": {
            "maxConnections": settings.max_connections,
            "maxPendingRequests": settings.max_connections,
            "maxParallelRequests": settings.max_connections,
        },
        "retry": {
            "numRetries": 5,
            "retryOn": {"triggers": _RETRY_ON},
            "perRetry": {"backOff": {"baseInterval": "100ms", "maxInterval": "2s"}},
        },
    }
    if found.limit_body:
        spec["requestBuffer"] = {"limit": _quantity(settings.max_body_bytes)}
    if settings.requests_per_second is not None:
        rules = [
            {
                "clientSelectors": [{"sourceCIDR": {"type": "Distinct", "value": source}}],
                # Each proxy counts for itself.
                "limit": {"requests": _share(settings), "unit": "Second"},
            }
            for source in sources
        ]
        spec["rateLimit"] = {"local": {"rules": rules}}
    return spec


def _share(settings: Gateway) -> int:
    return math.ceil((settings.requests_per_second or 0) / settings.replicas.minimum)


def _quantity(size: int) -> str:
    return f"{size >> 20}Mi" if size % (1 << 20) == 0 else str(size)
