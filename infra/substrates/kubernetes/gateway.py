"""The gateway as objects of the Gateway API and Envoy Gateway, from the routes that the local Envoy has too.

People sign in at the issuer, programs bring a token of it; either must belong to one of the groups.
https://gateway.envoyproxy.io/docs/api/extension_types/
"""

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from infra.addons import envoy_gateway
from infra.addons.cert_manager import ISSUER
from infra.config.services import Gateway, Oidc, Public
from infra.substrates.cluster import ClusterRoute, Placement, object_name

NAME = envoy_gateway.CLASS
"""Of the Gateway, which has the name of its class."""
DATA_PLANE = envoy_gateway.NAMESPACE.name
"""The namespace in which the controller runs the proxies."""
PROXY_PORT = 10_443
"""Where the proxies listen for 443: the controller adds 10000 to ports that only root may open."""
PROXIES = {"gateway.envoyproxy.io/owning-gateway-name": NAME}
"""Labels that the controller gives to the proxies' pods."""
GATEWAY_API = "gateway.networking.k8s.io/v1"
ENVOY_API = "gateway.envoyproxy.io/v1alpha1"
CERTIFICATES_API = "cert-manager.io/v1"
GRANTS_API = "gateway.networking.k8s.io/v1beta1"
USER_HEADER = "X-Falaj-User"
"""Tells a backend who signed in. What a caller sends by this name never gets past the listener."""
HOME = "home"
"""Names the page that lists the others."""
_CALLBACK = "/oauth2/callback"
_LOGOUT = "/logout"
_SCRIPTS = "cors|no-cors|same-origin|websocket"
"""What browsers say of a request that opens no page."""
_SESSION = "__Host-falaj-session"
"""Cookie with the ID token; browsers take one of this prefix from this host alone, over TLS."""
_SESSIONS = (
    *("OauthHMAC-", "OauthExpires-", "OauthNonce-", "CodeVerifier-"),
    *("AccessToken-", "RefreshToken-", "__Host-falaj-"),
)
"""How the names of all cookies begin that the sign-in sets."""
_STRIP = """
local own = {%s}
function envoy_on_request(handle)
  local headers = handle:headers()
  local kept = {}
  for index = 0, headers:getNumValues("cookie") - 1 do
    for cookie in string.gmatch(headers:getAtIndex("cookie", index), "[^;%%s][^;]*") do
      local passed = true
      for _, prefix in ipairs(own) do
        if string.sub(cookie, 1, #prefix) == prefix then passed = false end
      end
      if passed then table.insert(kept, cookie) end
    end
  end
  headers:remove("cookie")
  if #kept > 0 then headers:add("cookie", table.concat(kept, "; ")) end
end
"""
_GATEWAY_REF = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": NAME}
_RETRY_ON = ["connect-failure", "refused-stream", "reset-before-request"]
"""Only failures before the service saw the request, so that a retry can never do a thing twice."""


def proxy(
    settings: Gateway,
    public: Public,
    placement: Placement,
    annotations: Mapping[str, str],
    pull_secrets: Sequence[str],
) -> dict[str, Any]:
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
    # The proxies fetch the issuer's keys and trade codes for tokens there.
    mounted = [envoy_gateway.trust(public.oidc.authority)] if public.oidc.authority else []
    deployment: dict[str, Any] = {
        "pod": {
            **placement.document(),
            "imagePullSecrets": [{"name": name} for name in pull_secrets],
            "volumes": [volume for volume, _ in mounted],
        },
        "container": {
            "volumeMounts": [mount for _, mount in mounted],
            "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"cpu": "2", "memory": "512Mi"}},
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
                # Only what this program writes into its own namespace may open a path.
                "allowedRoutes": {"namespaces": {"from": "Same"}},
            }
        ],
    }


def certificate(public: Public) -> str:
    """The Kubernetes secret that holds the gateway's certificate."""
    return object_name(public.tls.secret) if public.tls.kind == "certificate" else f"{NAME}-certificate"


def certificate_request(public: Public) -> dict[str, Any]:
    """The spec of Certificate: cert-manager makes and renews the secret."""
    return {
        "secretName": certificate(public),
        "issuerRef": {"group": CERTIFICATES_API.partition("/")[0], "kind": "ClusterIssuer", "name": ISSUER},
        "dnsNames": [public.hostname],
        "usages": ["digital signature", "server auth"],
        "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
    }


def sign_in(public: Public) -> dict[str, Any]:
    """The spec of SecurityPolicy for the whole gateway: a known caller of one of the groups, or nothing."""
    oidc: Oidc = public.oidc
    return {
        "targetRefs": [_GATEWAY_REF],
        "oidc": {
            "provider": {"issuer": oidc.issuer},
            "clientID": oidc.client_id,
            "clientSecret": {"name": object_name(oidc.client_secret)},
            "scopes": list(oidc.scopes),
            "redirectURL": f"https://{public.hostname}{_CALLBACK}",
            "logoutPath": _LOGOUT,
            "cookieNames": {"idToken": _SESSION},
            # A page of elsewhere that posts here does so without the session.
            "cookieConfig": {"sameSite": "Lax"},
            "forwardAccessToken": False,
            "passThroughAuthHeader": True,
            # A script or program is told 401; only a page that a person opens leads to the issuer.
            "denyRedirect": {
                "headers": [{"name": "Sec-Fetch-Mode", "type": "RegularExpression", "value": _SCRIPTS}],
            },
        },
        "jwt": _tokens(oidc),
        "authorization": _members(oidc, [*oidc.users, *oidc.administrators]),
    }


def restriction(name: str, public: Public) -> dict[str, Any]:
    """The spec of SecurityPolicy that leaves one route to administrators; all else is the gateway's own policy."""
    return {
        "targetRefs": [_route_ref(name)],
        "mergeType": "StrategicMerge",
        # The API refuses a claim whose provider is not in the same object, although the merge would bring it.
        "jwt": _tokens(public.oidc),
        "authorization": _members(public.oidc, public.oidc.administrators),
    }


def _tokens(oidc: Oidc) -> dict[str, Any]:
    """Where tokens are, and whose: a program's in the header Authorization, a person's ID token in the session."""
    provider = {
        "name": "issuer",
        "issuer": oidc.issuer,
        "audiences": list(dict.fromkeys([oidc.client_id, oidc.audience or oidc.client_id])),
        "remoteJWKS": {"uri": oidc.jwks},
        "extractFrom": {"headers": [{"name": "Authorization", "valuePrefix": "Bearer "}], "cookies": [_SESSION]},
        "claimToHeaders": [{"claim": oidc.user_claim, "header": USER_HEADER}],
    }
    return {"providers": [provider]}


def _members(oidc: Oidc, groups: Sequence[str]) -> dict[str, Any]:
    claim = {"name": oidc.groups_claim, "valueType": "StringArray", "values": list(dict.fromkeys(groups))}
    return {
        "defaultAction": "Deny",
        "rules": [
            {"name": "groups", "action": "Allow", "principal": {"jwt": {"provider": "issuer", "claims": [claim]}}}
        ],
    }


def connections() -> dict[str, Any]:
    """The spec of ClientTrafficPolicy: what callers must speak, and what every answer tells their browsers."""
    answers = {
        "Strict-Transport-Security": "max-age=31536000",
        "X-Content-Type-Options": "nosniff",
        # Pipelines and notebooks show parts of their own pages in frames.
        "X-Frame-Options": "SAMEORIGIN",
        "Referrer-Policy": "same-origin",
    }
    return {
        "targetRefs": [_GATEWAY_REF],
        "tls": {"minVersion": "1.2", "alpnProtocols": ["h2", "http/1.1"]},
        "headers": {
            "withUnderscoresAction": "RejectRequest",
            "earlyRequestHeaders": {"remove": [USER_HEADER]},
            "lateResponseHeaders": {"set": [{"name": name, "value": value} for name, value in answers.items()]},
        },
        "timeout": {
            "http": {
                "requestHeadersReceivedTimeout": "10s",
                "requestReceivedTimeout": "0s",
                "idleTimeout": "3600s",
            }
        },
    }


def secrecy() -> dict[str, Any]:
    """The spec of EnvoyExtensionPolicy: no backend sees the session of who calls it.

    The sign-in passes its cookies on, the ID token in clear. Whoever runs a notebook could act as everyone that
    opens a link to it.
    """
    code = _STRIP % ", ".join(f'"{prefix}"' for prefix in _SESSIONS)
    return {"targetRefs": [_GATEWAY_REF], "lua": [{"type": "Inline", "inline": code}]}


def route_name(prefix: str) -> str:
    """The name of a route's objects, from its prefix."""
    return object_name(prefix.strip("/").replace(".", "-")) or "root"


def route(found: ClusterRoute, hostname: str, namespace: str) -> dict[str, Any]:
    """The spec of HTTPRoute.

    Args:
        namespace: Of the HTTPRoute itself.
    """
    rules = [rule for prefix in found.prefixes for rule in _rules(found, prefix, namespace)]
    return {"parentRefs": [{"name": NAME}], "hostnames": [hostname], "rules": rules}


def _rules(found: ClusterRoute, written: str, namespace: str) -> list[dict[str, Any]]:
    prefix = written.rstrip("/") or "/"
    away = {} if found.namespace == namespace else {"namespace": found.namespace}
    # The gateway has seen who calls; what runs behind it could act as the caller with the token.
    headers: dict[str, Any] = {"remove": ["Authorization"]}
    if found.headers:
        headers["set"] = [{"name": name, "value": value} for name, value in sorted(found.headers.items())]
    filters: list[dict[str, Any]] = [{"type": "RequestHeaderModifier", "requestHeaderModifier": headers}]
    if found.rewrite is not None:
        path = {"type": "ReplacePrefixMatch", "replacePrefixMatch": found.rewrite}
        filters.append({"type": "URLRewrite", "urlRewrite": {"path": path}})
    timeout = 0 if found.websockets else found.timeout_seconds or 0
    rules: list[dict[str, Any]] = [
        {
            "matches": [{"path": {"type": "PathPrefix", "value": prefix}}],
            "filters": filters,
            "backendRefs": [
                {"name": backend.service, "port": backend.port, "weight": backend.weight, **away}
                for backend in found.backends
            ],
            "timeouts": {"request": f"{timeout}s"},
        }
    ]
    if found.page and written.endswith("/") and prefix != "/":
        # Whoever leaves out the slash at the end of a page's address means the page.
        redirect = {"path": {"type": "ReplaceFullPath", "replaceFullPath": written}, "statusCode": 302}
        rules.append(
            {
                "matches": [{"path": {"type": "Exact", "value": prefix}}],
                "filters": [{"type": "RequestRedirect", "requestRedirect": redirect}],
            }
        )
    return rules


def home_route(hostname: str) -> dict[str, Any]:
    """The spec of HTTPRoute of the first page, and of the paths that sign in and out: the gateway answers them all."""
    answer = {"group": ENVOY_API.partition("/")[0], "kind": "HTTPRouteFilter", "name": HOME}
    return {
        "parentRefs": [{"name": NAME}],
        "hostnames": [hostname],
        "rules": [
            {
                "matches": [{"path": {"type": "Exact", "value": path}} for path in ("/", _CALLBACK, _LOGOUT)],
                "filters": [{"type": "ExtensionRef", "extensionRef": answer}],
            }
        ],
    }


def home_page(pages: Sequence[str]) -> dict[str, Any]:
    """The spec of HTTPRouteFilter that answers with links to the paths `pages`."""
    links = "".join(f'<li><a href="{html.escape(page)}">{html.escape(page.strip("/"))}</a></li>' for page in pages)
    body = f'<!doctype html><html lang="en"><title>Falaj</title><h1>Falaj</h1><ul>{links}</ul></html>'
    content = {"type": "Inline", "inline": f'{body}<p><a href="{_LOGOUT}">Sign out</a></p>'}
    return {"directResponse": {"contentType": "text/html; charset=utf-8", "statusCode": 200, "body": content}}


def grant(found: ClusterRoute, namespace: str) -> dict[str, Any]:
    """The spec of ReferenceGrant: routes of `namespace` may lead to the route's Services."""
    return {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": namespace}],
        "to": [
            {"group": "", "kind": "Service", "name": service}
            for service in sorted({backend.service for backend in found.backends})
        ],
    }


def limits(found: ClusterRoute, settings: Gateway, sources: Sequence[str]) -> dict[str, Any]:
    """The spec of BackendTrafficPolicy: what one route takes of its service.

    Args:
        sources: Networks of the callers, each of whose addresses has a rate of its own.
    """
    spec: dict[str, Any] = {
        "targetRefs": [_route_ref(found.name)],
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
    if found.websockets:
        spec["httpUpgrade"] = [{"type": "websocket"}]
        spec["timeout"] = {"http": {"streamIdleTimeout": "3600s"}}
    elif found.limit_body:
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


def _route_ref(name: str) -> dict[str, str]:
    return {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": name}


def _share(settings: Gateway) -> int:
    return math.ceil((settings.requests_per_second or 0) / settings.replicas.minimum)


def _quantity(size: int) -> str:
    return f"{size >> 20}Mi" if size % (1 << 20) == 0 else str(size)
