"""Kyverno: what may run at all in the platform's namespaces.

The namespaces' own pod security level refuses pods. The policies here also refuse what would make such pods, so
that an update fails where it is wrong, and ask for what no level asks: where images come from, who signed them,
what is requested, and that nothing but the gateway is exposed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi import ResourceOptions
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta.v1 import ObjectMetaArgs

from core.pins import pins
from infra.addons.chart import Values, install, requests
from infra.config.nodes import GPU_RESOURCE, GPU_TAINT
from infra.config.platform import Admission
from infra.substrates.cluster import TENANT, Cluster, IdentitySpec, NamespaceSpec, Permission

NAMESPACE = NamespaceSpec(name="kyverno", callers=("monitoring",), webhooks=(9443,))
ACCOUNT = "kyverno-admission-controller"
API = "policies.kyverno.io/v1"
_OURS = {"key": "app.kubernetes.io/managed-by", "value": "falaj"}
"""The label of every namespace that the platform makes."""
_ALL = "object.spec.containers + object.spec.?initContainers.orValue([]) + object.spec.?ephemeralContainers.orValue([])"


@dataclass(frozen=True, kw_only=True)
class KyvernoArgs:
    """What is asked of pods.

    Attributes:
        locked: Whether the image lock has digests of the platform's own images, which must then be named by them.
        exempt: Namespaces of what Kyverno itself needs in order to start, such as the maker of nodes.
        exposed: Namespaces whose Services may be load balancers: the gateway's.
        repositories: ARNs of the registry's repositories, where it wants the cloud's own sign-in.
    """

    settings: Admission
    locked: bool
    exempt: Sequence[str]
    exposed: Sequence[str]
    repositories: Sequence[pulumi.Input[str]] = ()


def values(args: KyvernoArgs, registry: str, pull_secrets: list[str]) -> Values:
    """Values of the chart.

    Args:
        registry: Stands for ghcr.io.
        pull_secrets: By which its own images are pulled, and signatures read.
    """
    replicas = args.settings.replicas
    selector = [
        {"key": _OURS["key"], "operator": "In", "values": [_OURS["value"]]},
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": sorted(args.exempt)},
    ]
    return {
        "fullnameOverride": "kyverno",
        "global": {
            "image": {"registry": registry},
            "imagePullSecrets": [{"name": name} for name in pull_secrets],
        },
        "existingImagePullSecrets": pull_secrets,
        # The others of a site's cluster are none of its business, even if it should be left behind.
        "config": {"webhooks": {"namespaceSelector": {"matchExpressions": selector}}, "preserve": False},
        # Hooks, which Pulumi does not run: there is nothing to migrate, and Kyverno clears up as it stops.
        "crds": {"migration": {"enabled": False}},
        "webhooksCleanup": {"enabled": False},
        "features": {
            "policyExceptions": {"enabled": False},
            "registryClient": {"credentialHelpers": ["default", "amazon"] if args.repositories else ["default"]},
        },
        "admissionController": {
            "replicas": replicas,
            "podDisruptionBudget": {"enabled": replicas > 1},
            "rbac": {"serviceAccount": {"name": ACCOUNT}},
            "container": {"resources": requests("100m", "512Mi")},
        },
        "reportsController": {"resources": requests("50m", "256Mi")},
        # Nothing is generated, changed or swept up.
        "backgroundController": {"enabled": False},
        "cleanupController": {"enabled": False},
    }


def policies(args: KyvernoArgs, registry: str) -> dict[str, Values]:
    """Specifications of the ValidatingPolicies, by name.

    Args:
        registry: Host and path below which every image lies.
    """
    images = [
        (
            f"variables.containers.all(c, c.image.startsWith('{registry}/'))",
            f"every image comes from {registry}: add it to the images that are mirrored there",
        ),
        (
            # What stands behind the last slash: a registry's port is no tag.
            "variables.containers.all(c, c.image.contains('@sha256:') || "
            "(c.image.split('/')[c.image.split('/').size() - 1].contains(':') && !c.image.endsWith(':latest')))",
            "an image is named by a version or a digest, not by latest",
        ),
    ]
    if args.locked:
        own = f"{registry}/{pins().image('platform').repository.partition('/')[0]}/"
        images.append(
            (
                f"variables.containers.all(c, !c.image.startsWith('{own}') || c.image.contains('@sha256:'))",
                "an image of the platform's own is named by its digest, as the image lock has it",
            )
        )
    return {
        "falaj-images": _pods(args, images),
        "falaj-debug-images": _pods(args, images, resource="pods/ephemeralcontainers"),
        "falaj-isolation": _pods(args, _ISOLATION, where=[_RESTRICTED]),
        # A tenant's namespace gives containers what they do not ask for, once they are pods.
        "falaj-requests": _pods(args, _REQUESTS, where=[_RESTRICTED, ("not-a-tenant", f"!({_TENANT[1]})")]),
        "falaj-tokens": _pods(args, _TOKENS),
        "falaj-gpus": _pods(args, _GPUS, where=[_TENANT]),
        "falaj-exposure": _policy(
            args, "services", _EXPOSURE, where=[("not-the-gateway", f"!({_name()} in {_list(args.exposed)})")]
        ),
    }


def signatures(args: KyvernoArgs, registry: str) -> Values | None:
    """Specification of the ClusterPolicy on signatures; None where they are not asked for.

    The newer kind for it, ImageValidatingPolicy, always asks Sigstore's servers first, which are outside the country;
    this one needs the key alone, and no transparency log.
    """
    key = args.settings.public_key
    if key is None:
        return None
    enforced = args.settings.mode == "enforce"
    attestor = {
        "publicKeys": key,
        "signatureAlgorithm": "sha256",
        "rekor": {"url": "", "ignoreTlog": True},
        "ctlog": {"ignoreSCT": True},
    }
    checked = {
        "imageReferences": [f"{registry}/*"],
        "failureAction": "Enforce" if enforced else "Audit",
        "required": True,
        "mutateDigest": False,
        # Images of others are named by a version, which the registry never lets change.
        "verifyDigest": False,
        "attestors": [{"count": 1, "entries": [{"keys": attestor}]}],
    }
    ours = {"kinds": ["Pod"], "namespaceSelector": {"matchLabels": {_OURS["key"]: _OURS["value"]}}}
    rule = {
        "name": "signed",
        "match": {"any": [{"resources": ours}]},
        "exclude": {"any": [{"resources": {"namespaces": sorted({*args.exempt, NAMESPACE.name})}}]},
        "verifyImages": [checked],
    }
    return {
        "background": False,
        "webhookConfiguration": {"failurePolicy": "Fail" if enforced else "Ignore", "timeoutSeconds": 30},
        "rules": [rule],
    }


def rights(args: KyvernoArgs) -> list[Permission]:
    """To read signatures from the cloud's registry; none where none are asked for."""
    if args.settings.public_key is None or not args.repositories:
        return []
    return [
        Permission(actions=["ecr:GetAuthorizationToken"], resources=["*"]),
        Permission(
            actions=["ecr:BatchGetImage", "ecr:DescribeImages", "ecr:GetDownloadUrlForLayer"],
            resources=list(args.repositories),
        ),
    ]


def _name() -> str:
    return "namespaceObject.metadata.name"


def _label(key: str) -> str:
    return f"namespaceObject.metadata.?labels[?'{key}'].orValue('')"


def _list(names: Sequence[str]) -> str:
    return "[" + ", ".join(f"'{name}'" for name in sorted(names)) + "]"


_RESTRICTED = ("restricted", f"{_label('pod-security.kubernetes.io/enforce')} == 'restricted'")
"""Namespaces of what manages nodes or reads volumes have another level, which says what they may do."""
_TENANT = ("tenant", f"{_label(TENANT)} == 'true'")
_ISOLATION = [
    (
        "!object.spec.?hostNetwork.orValue(false) && !object.spec.?hostPID.orValue(false) && "
        "!object.spec.?hostIPC.orValue(false)",
        "a pod has no part of its node: remove hostNetwork, hostPID and hostIPC",
    ),
    (
        "object.spec.?volumes.orValue([]).all(v, !has(v.hostPath))",
        "a pod has no part of its node: remove hostPath volumes",
    ),
    (
        "variables.containers.all(c, c.?ports.orValue([]).all(p, p.?hostPort.orValue(0) == 0))",
        "a pod has no part of its node: remove hostPort",
    ),
    (
        "variables.containers.all(c, !c.?securityContext.?privileged.orValue(false) && "
        "!c.?securityContext.?allowPrivilegeEscalation.orValue(true))",
        "a container gains no rights: set securityContext.allowPrivilegeEscalation to false",
    ),
    (
        "variables.containers.all(c, 'ALL' in c.?securityContext.?capabilities.?drop.orValue([]) && "
        "c.?securityContext.?capabilities.?add.orValue([]).all(a, a == 'NET_BIND_SERVICE'))",
        "a container has no capabilities: set securityContext.capabilities.drop to [ALL]",
    ),
    (
        "variables.containers.all(c, c.?securityContext.?runAsNonRoot"
        ".orValue(object.spec.?securityContext.?runAsNonRoot.orValue(false)) && "
        "c.?securityContext.?runAsUser.orValue(object.spec.?securityContext.?runAsUser.orValue(1)) != 0)",
        "a container is not root: set securityContext.runAsNonRoot to true, and a user",
    ),
    (
        "variables.containers.all(c, c.?securityContext.?seccompProfile.?type"
        ".orValue(object.spec.?securityContext.?seccompProfile.?type.orValue('')) in ['RuntimeDefault', 'Localhost'])",
        "a container's system calls are filtered: set securityContext.seccompProfile.type to RuntimeDefault",
    ),
]
_REQUESTS = [
    (
        "variables.containers.all(c, c.?resources.?requests[?'cpu'].hasValue() && "
        "c.?resources.?requests[?'memory'].hasValue())",
        "a container says what it needs: set resources.requests.cpu and memory",
    )
]
_TOKENS = [
    (
        "!(object.spec.?serviceAccountName.orValue('default') in ['', 'default']) || "
        "!object.spec.?automountServiceAccountToken.orValue(true)",
        "the default account has no token: name a serviceAccountName, or set automountServiceAccountToken to false",
    )
]
_GPUS = [
    (
        f"!object.spec.?tolerations.orValue([]).exists(t, t.?key.orValue('') in ['', '{GPU_TAINT}']) || "
        f"variables.containers.exists(c, c.?resources.?limits[?'{GPU_RESOURCE}'].hasValue())",
        f"a node with GPUs is for pods that use one: set resources.limits['{GPU_RESOURCE}'], or remove the toleration",
    )
]
_EXPOSURE = [
    (
        "!(object.spec.?type.orValue('ClusterIP') in ['LoadBalancer', 'NodePort'])",
        "only the gateway is exposed: make the Service a ClusterIP, and give it a route",
    ),
    ("object.spec.?externalIPs.orValue([]).size() == 0", "only the gateway is exposed: remove externalIPs"),
]


def _common(args: KyvernoArgs, resource: str, where: Sequence[tuple[str, str]] = ()) -> Values:
    """What all policies have in common: on what, and how strictly."""
    enforced = args.settings.mode == "enforce"
    conditions = [
        ("ours", f"{_label(_OURS['key'])} == '{_OURS['value']}'"),
        ("not-exempt", f"!({_name()} in {_list([*args.exempt, NAMESPACE.name])})"),
        # What is being deleted must get rid of its finalizers, whatever it is like. Written otherwise, Kyverno would
        # read the metadata of the pods' template instead, and fail where there is none.
        ("kept", "!object.?metadata.?deletionTimestamp.hasValue()"),
        *where,
    ]
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resource]}
    return {
        "validationActions": ["Deny"] if enforced else ["Audit"],
        "failurePolicy": "Fail" if enforced else "Ignore",
        "matchConstraints": {"resourceRules": [rule]},
        "matchConditions": [{"name": name, "expression": expression} for name, expression in conditions],
    }


def _policy(
    args: KyvernoArgs, resource: str, rules: Sequence[tuple[str, str]], where: Sequence[tuple[str, str]] = ()
) -> Values:
    validations = [{"expression": expression, "message": message} for expression, message in rules]
    return {**_common(args, resource, where), "validations": validations}


def _pods(
    args: KyvernoArgs,
    rules: Sequence[tuple[str, str]],
    where: Sequence[tuple[str, str]] = (),
    resource: str = "pods",
) -> Values:
    """A policy on pods, and by Kyverno itself on all that makes pods."""
    return {**_policy(args, resource, rules, where), "variables": [{"name": "containers", "expression": _ALL}]}


class Kyverno(pulumi.ComponentResource):
    """The engine, where the site has none, and the policies. `ready` is what each workload depends on."""

    ready: Sequence[pulumi.Resource]

    def __init__(self, name: str, cluster: Cluster, args: KyvernoArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("falaj:addons:Kyverno", name, None, opts)
        needs: list[pulumi.Resource] = []
        if not cluster.installed("kyverno"):
            cluster.namespace(NAMESPACE)
            if granted := rights(args):
                identity = IdentitySpec(namespace=NAMESPACE.name, account=ACCOUNT, permissions=granted)
                needs.append(cluster.identity(identity))
            chart = values(args, cluster.registry("ghcr.io"), list(cluster.pull_secrets(NAMESPACE)))
            needs = [install("kyverno", cluster, NAMESPACE, chart, parent=self, depends_on=needs)]
        registry = cluster.registry("").rstrip("/")
        specs = {key: (API, "ValidatingPolicy", spec) for key, spec in policies(args, registry).items()}
        signed = signatures(args, registry)
        if signed is not None:
            specs["falaj-signatures"] = ("kyverno.io/v1", "ClusterPolicy", signed)
        self.ready = [
            CustomResource(
                key,
                api_version=version,
                kind=kind,
                metadata=ObjectMetaArgs(name=key),
                spec=spec,
                opts=ResourceOptions(parent=self, provider=cluster.provider, depends_on=needs),
            )
            for key, (version, kind, spec) in specs.items()
        ]
        self.register_outputs({})
