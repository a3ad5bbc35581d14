"""JupyterHub: notebooks with the platform's own packages, for people who sign in at the stack's issuer.

The hub signs people in by itself: it is the one thing that notebooks may call here, so that a name in a header
could be anyone's. The issuer must know `https://<hostname>/notebooks/hub/oauth_callback` as an address to return to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_random import Provider, RandomBytes

from core.pins import pins
from infra.addons.chart import Values, install, requests
from infra.config.nodes import GPU_RESOURCE
from infra.config.platform import Notebooks as Settings
from infra.config.platform import Quota
from infra.config.services import Oidc, Public
from infra.substrates.cluster import USER, Backend, Cluster, ClusterRoute, NamespaceSpec, Placement, object_name

NAME = "notebooks"
PREFIX = f"/{NAME}/"
_OWN = Quota(cpu=1, memory_gib=2, pods=5)
"""What the hub and its proxy need beside the quota of the notebooks."""
_HUB = {"app": "jupyterhub", "component": "hub"}
_PROXY = {"app": "jupyterhub", "component": "proxy"}
_NOTEBOOK = {"app": "jupyterhub", "component": "singleuser-server"}
_HOME = "/home/falaj"
_AUTHORITY = "/etc/falaj-authorities/ca.crt"
_NOWHERE = {
    "cloudMetadataServer": False,
    "dnsPortsCloudMetadataServer": False,
    "dnsPortsKubeSystemNamespace": True,
    "dnsPortsPrivateIPs": False,
    "nonPrivateIPs": False,
    "privateIPs": False,
}
_DISCOVERY = """import json
import urllib.request

with urllib.request.urlopen(ISSUER + "/.well-known/openid-configuration", timeout=30) as answer:
    found = json.load(answer)
c.GenericOAuthenticator.authorize_url = found["authorization_endpoint"]
c.GenericOAuthenticator.token_url = found["token_endpoint"]
c.GenericOAuthenticator.userdata_url = found["userinfo_endpoint"]
"""


@dataclass(frozen=True, kw_only=True)
class NotebooksArgs:
    """What a stack says of its notebooks.

    Attributes:
        services: Names of our workloads that notebooks may call.
        entrance: Networks of the gateway's load balancer, through which notebooks reach all else.
    """

    settings: Settings
    public: Public
    services: Sequence[str]
    entrance: Sequence[pulumi.Input[str]] = ()


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What the hub would make anew at each update if it were not given: hexadecimal, 32 bytes each."""

    proxy: pulumi.Input[str]
    cookies: pulumi.Input[str]
    state: pulumi.Input[str]


@dataclass(frozen=True, kw_only=True)
class Images:
    """Full names of images, and the registry that stands for quay.io."""

    notebook: str
    gpu: str
    quay: str


def namespace(settings: Settings) -> NamespaceSpec:
    """Where hub, proxy and notebooks run; none reaches another but where the chart's own policies let it."""
    quota = Quota(
        cpu=settings.quota.cpu + _OWN.cpu,
        memory_gib=settings.quota.memory_gib + _OWN.memory_gib,
        gpus=settings.quota.gpus,
        pods=settings.quota.pods + _OWN.pods,
    )
    return NamespaceSpec(name=NAME, quota=quota, isolated=True, data_class="curated")


def sign_in(public: Public) -> Values:
    """Configuration of the authenticator: members of the platform's groups, by the issuer's claims."""
    oidc: Oidc = public.oidc
    return {
        "client_id": oidc.client_id,
        "oauth_callback_url": f"https://{public.hostname}{PREFIX}hub/oauth_callback",
        "scope": list(oidc.scopes),
        "username_claim": oidc.user_claim,
        "manage_groups": True,
        "auth_state_groups_key": f"oauth_user.{oidc.groups_claim}",
        "allowed_groups": sorted({*oidc.users, *oidc.administrators}),
        "admin_groups": list(oidc.administrators),
        "login_service": "the platform's sign-in",
        "auto_login": True,
        # The hub's client does not look where SSL_CERT_FILE says.
        **({"http_request_kwargs": {"ca_certs": _AUTHORITY}} if oidc.authority else {}),
    }


def profiles(settings: Settings, images: Images, gpu: Placement | None) -> list[Values]:
    """What a person chooses from."""
    size = settings.notebook
    found: list[Values] = [
        {
            "display_name": f"CPU: {size.cpu:g} cores, {size.memory_mib} MiB",
            "slug": "cpu",
            "default": True,
        }
    ]
    if gpu is not None:
        where = gpu.document()
        found.append(
            {
                "display_name": f"GPU: one, with {size.cpu:g} cores, {size.memory_mib} MiB",
                "slug": "gpu",
                "kubespawner_override": {
                    "image": images.gpu,
                    "extra_resource_limits": {GPU_RESOURCE: "1"},
                    "extra_resource_guarantees": {GPU_RESOURCE: "1"},
                    "node_selector": where["nodeSelector"],
                    "tolerations": where["tolerations"],
                },
            }
        )
    return found


def values(
    args: NotebooksArgs,
    images: Images,
    tokens: Tokens,
    storage_class: str,
    places: Mapping[str, Placement],
    pull_secrets: Sequence[str],
) -> Values:
    """Values of the chart.

    Args:
        places: Of `services`, `cpu` and, where there are notebooks with a GPU, `gpu`.
    """
    settings, size = args.settings, args.settings.notebook
    servers, cpu = places["services"].document(), places["cpu"].document()
    name, _, tag = images.notebook.rpartition(":")
    oidc = args.public.oidc
    return {
        "imagePullSecrets": list(pull_secrets),
        "hub": {
            "baseUrl": PREFIX,
            "image": {"name": f"{images.quay}/jupyterhub/k8s-hub"},
            "cookieSecret": tokens.cookies,
            "activeServerLimit": settings.users,
            **servers,
            "resources": requests("50m", "512Mi"),
            "db": {"type": "sqlite-pvc", "pvc": {"storageClassName": storage_class, "storage": "1Gi"}},
            "containerSecurityContext": {"runAsNonRoot": True, "readOnlyRootFilesystem": True},
            "config": {
                "JupyterHub": {"authenticator_class": "generic-oauth", "admin_access": False},
                "GenericOAuthenticator": sign_in(args.public),
                "CryptKeeper": {"keys": [tokens.state]},
                "KubeSpawner": _spawner(),
            },
            "extraConfig": {"issuer": _discovery(oidc.issuer)},
            "extraEnv": {
                "OAUTH_CLIENT_SECRET": {
                    "valueFrom": {"secretKeyRef": {"name": object_name(oidc.client_secret), "key": "client-secret"}}
                },
                **({"SSL_CERT_FILE": _AUTHORITY} if oidc.authority else {}),
            },
            "extraVolumes": [
                {"name": "tmp", "emptyDir": {}},
                *(
                    [{"name": "authority", "secret": {"secretName": object_name(oidc.authority)}}]
                    if oidc.authority
                    else []
                ),
            ],
            "extraVolumeMounts": [
                {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
                *(
                    [{"name": "authority", "mountPath": "/etc/falaj-authorities", "readOnly": True}]
                    if oidc.authority
                    else []
                ),
            ],
            # The issuer and the cluster's API may be anywhere; the machine's own metadata may not be asked.
            "networkPolicy": {"egressAllowRules": {**_NOWHERE, "nonPrivateIPs": True, "privateIPs": True}},
        },
        "proxy": {
            "secretToken": tokens.proxy,
            "service": {"type": "ClusterIP"},
            "chp": {
                "image": {"name": f"{images.quay}/jupyterhub/configurable-http-proxy"},
                **servers,
                "resources": requests("20m", "128Mi"),
                # The gateway alone is let in, by its own policy.
                "networkPolicy": {"allowedIngressPorts": [], "egressAllowRules": _NOWHERE},
                # It has no account of its own, and calls no API.
                "extraPodSpec": {"automountServiceAccountToken": False},
            },
        },
        "singleuser": {
            "image": {"name": name, "tag": tag},
            **{"nodeSelector": cpu["nodeSelector"], "extraTolerations": cpu["tolerations"]},
            "cpu": {"guarantee": size.cpu, "limit": 2 * size.cpu},
            "memory": {"guarantee": f"{size.memory_mib}M", "limit": f"{size.memory_mib}M"},
            "uid": USER,
            "fsGid": USER,
            # No file of the image names the user.
            "extraEnv": {"HOME": _HOME, "USER": "falaj"},
            "storage": {
                "capacity": f"{settings.home_gib}Gi",
                "homeMountPath": _HOME,
                "dynamic": {"storageClass": storage_class},
            },
            # It would need a privileged container; the policy keeps notebooks from the address.
            "cloudMetadata": {"blockWithIptables": False},
            "networkPolicy": {"egress": _entrance(args.entrance), "egressAllowRules": _NOWHERE},
            "profileList": profiles(settings, images, places.get("gpu")),
        },
        "cull": {"timeout": 60 * settings.idle_minutes, "every": 300},
        "scheduling": {
            "userScheduler": {"enabled": False},
            "userPlaceholder": {"enabled": False},
            **{
                pods: {"tolerations": [], "nodeAffinity": {"matchNodePurpose": "ignore"}}
                for pods in ("corePods", "userPods")
            },
        },
        "prePuller": {"hook": {"enabled": False}, "continuous": {"enabled": False}},
    }


def _spawner() -> Values:
    """Where notebooks lie, and what the security level `restricted` asks of a pod, beside what the chart says."""
    return {
        # The image's own folder is read-only.
        "notebook_dir": _HOME,
        "pod_security_context": {"fsGroup": USER, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "container_security_context": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
        },
        "extra_pod_config": {"enableServiceLinks": False, "priorityClassName": "falaj-batch"},
    }


def _discovery(issuer: str) -> str:
    return _DISCOVERY.replace("ISSUER", repr(issuer.rstrip("/")))


def _entrance(networks: Sequence[pulumi.Input[str]]) -> list[dict[str, Any]]:
    """The way to the gateway: its own pods, and the addresses by which it is known outside."""
    peers: list[dict[str, Any]] = [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "envoy-gateway-system"}},
            "podSelector": {"matchLabels": {"gateway.envoyproxy.io/owning-gateway-name": "falaj"}},
        }
    ]
    rules: list[dict[str, Any]] = [{"to": peers, "ports": [{"protocol": "TCP", "port": 10443}]}]
    if networks:
        blocks = [{"ipBlock": {"cidr": network}} for network in networks]
        rules.append({"to": blocks, "ports": [{"protocol": "TCP", "port": 443}]})
    return rules


class Notebooks(pulumi.ComponentResource):
    """The hub behind the gateway, at `/notebooks/`."""

    def __init__(
        self, name: str, cluster: Cluster, args: NotebooksArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:addons:Notebooks", name, None, opts)
        settings, oidc = args.settings, args.public.oidc
        found = namespace(settings)
        cluster.namespace(found)
        before = [cluster.secret(NAME, oidc.client_secret, {"client-secret": "client-secret"})]
        if oidc.authority is not None:
            before.append(cluster.secret(NAME, oidc.authority, {"ca.crt": "ca.crt"}))
        places = {"services": cluster.placement("services"), "cpu": cluster.placement("notebooks", settings.pool)}
        if settings.gpu_pool is not None:
            places["gpu"] = cluster.placement("notebooks", settings.gpu_pool)
        images = Images(
            notebook=cluster.image(pins().image("platform")),
            gpu=cluster.image(pins().image("platform-gpu")),
            quay=cluster.registry("quay.io"),
        )
        chart = values(args, images, self._tokens(), cluster.storage_class, places, cluster.pull_secrets(found))
        install("jupyterhub", cluster, found, chart, parent=self, depends_on=before)
        cluster.connect(NAME, _NOTEBOOK, args.services)
        backend = Backend(service="proxy-public", port=80, pods=_PROXY, pod_port=8000)
        cluster.route(
            ClusterRoute(
                name=NAME,
                namespace=NAME,
                prefixes=[PREFIX],
                backends=[backend],
                timeout_seconds=None,
                limit_body=False,
                websockets=True,
                page=True,
            )
        )
        self.register_outputs({})

    def _tokens(self) -> Tokens:
        """Made once, and encrypted in the state: no one signs in with them."""
        provider = Provider("notebooks-random", opts=pulumi.ResourceOptions(parent=self))
        options = pulumi.ResourceOptions(parent=self, provider=provider)

        def token(kind: str) -> pulumi.Output[str]:
            made: pulumi.Output[str] = RandomBytes(f"notebooks-{kind}", length=32, opts=options).hex
            return made

        return Tokens(proxy=token("proxy"), cookies=token("cookies"), state=token("state"))
