"""What runs is what was reviewed: images, charts, nodes and engines are named exactly and come from here."""

import re
from collections.abc import Iterator

from policies import pods
from policies.conditions import among, forbidden, is_true, not_true, present
from policies.controls import CHANGE, COST, SUPPLY
from policies.graph import Graph
from policies.model import Faults, Resource, Rule, Severity, Unknown, is_unknown
from policies.pipelines import PIPELINE, executors

_HIGH, _CRITICAL, _MEDIUM = Severity.HIGH, Severity.CRITICAL, Severity.MEDIUM
_SUPPORTED = (33, 36)
"""Minor versions of Kubernetes in EKS's standard support in November 2026: the oldest, the newest known."""
_REPOSITORY = "aws:ecr/repository:Repository"
_CHART = "kubernetes:helm.sh/v4:Chart"
_MOVING = frozenset({"latest", "main", "master", "edge", "nightly", "dev"})
"""Tags that mean another image tomorrow."""
_IMAGES = (*pods.ALL, PIPELINE, _CHART)
_SCANNED = ("EC2", "ECR")
"""What Inspector is to scan: machines, images."""


def images(resource: Resource) -> Iterator[tuple[str, str]]:
    """Each image that a resource runs, with whose it is. Of a chart, what its values say as one text."""
    if resource.type == PIPELINE:
        for name, step in executors(resource):
            if isinstance(step.get("image"), str):
                yield name, step["image"]
        return
    if resource.type == _CHART:
        for path, text in resource.texts():
            key = path.rpartition(".")[2]
            if key == "image" and "/" in text and not path.startswith("values.global"):
                yield path, text
        return
    for pod in pods.pods(resource):
        for container in pod.containers():
            image = container.spec.get("image")
            if isinstance(image, str):
                yield container.name, image


def _registry(resource: Resource, graph: Graph) -> Faults:
    allowed = graph.settings.registries
    for name, image in images(resource):
        if is_unknown(image):
            raise Unknown(f"the image of {name} is known only once it exists")
        if not allowed:
            if graph.settings.stack:
                return
            raise Unknown("the registry depends on the stack that it runs in: name one by --stack")
        if not any(image == registry or image.startswith(f"{registry}/") for registry in allowed):
            yield f"{name}: its image is not from {' or '.join(allowed)}"


def _latest(resource: Resource, _graph: Graph) -> Faults:
    for name, image in images(resource):
        tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
        if "@sha256:" in image or (not tag and resource.type == _CHART):
            continue  # A chart writes the tag beside its image.
        if not tag or tag in _MOVING:
            yield f"{name}: its image is named by {tag or 'no tag'}, which moves"
    for path, text in resource.texts() if resource.type == _CHART else ():
        if path.rpartition(".")[2].lower().endswith("tag") and text in _MOVING:
            yield f"{path} is {text}, which moves"


def _fixed(resource: Resource, graph: Graph) -> Faults:
    immutable = [one for one in graph.of(_REPOSITORY) if one.inputs.get("imageTagMutability") == "IMMUTABLE"]
    for name, image in images(resource):
        digest = re.search(r"@sha256:([0-9a-f]*)$", image)
        if digest:
            if len(digest[1]) != 64:
                yield f"{name}: its digest is not one"
            continue
        if resource.type == _CHART:
            continue
        if any(f"/{one.inputs.get('name')}:" in image for one in immutable):
            continue
        raise Unknown(
            f"the image of {name} has no digest, and only its registry knows whether tags can move: `falaj vendor`"
        )


def _pull(resource: Resource, _graph: Graph) -> Faults:
    for pod in pods.pods(resource):
        for container in pod.containers():
            if container.spec.get("imagePullPolicy") == "Never":
                yield f"{container.name}: it runs what happens to be on the node"


def _scanned(resource: Resource, graph: Graph) -> Faults:
    if resource.value("imageScanningConfiguration.scanOnPush") is True:
        return
    for one in graph.of("aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration"):
        if one.value("scanType") in ("BASIC", "ENHANCED") and one.has("rules"):
            return
    yield "its images are not looked through for weaknesses"


def _chart(resource: Resource, _graph: Graph) -> Faults:
    chart = str(resource.value("chart", ""))
    vendored = chart.startswith(("vendor/", "./")) or chart.endswith(".tgz")
    version = str(resource.value("version", ""))
    if not vendored and not re.fullmatch(r"v?[0-9]+\.[0-9]+\.[0-9]+([-+].*)?", version):
        yield "its version is not exact"
    for address in (chart, str(resource.value("repositoryOpts.repo", ""))):
        if address.startswith("http://"):
            yield "it is fetched without TLS"
    if resource.value("verify") is False or resource.value("plainHttp") is True:
        yield "it is fetched without verification"


def _remote(resource: Resource, _graph: Graph) -> Faults:
    for path, text in resource.texts():
        key = path.rpartition(".")[2]
        if key.partition("[")[0] not in ("directory", "files", "file", "url"):
            continue
        if text.startswith("http://"):
            yield f"{path} is fetched without TLS"
        exact = re.search(r"[?&]ref=(v?[0-9]+\.[0-9]+(\.[0-9]+)?\S*|[0-9a-f]{40})", text)
        if text.startswith(("https://", "git::", "github.com/")) and not exact:
            yield f"{path} names no exact version"


def _addon(resource: Resource, _graph: Graph) -> Faults:
    if not resource.has("addonVersion"):
        yield "its version is whatever EKS thinks best on the day"


def _supported(resource: Resource, _graph: Graph) -> Faults:
    found = re.fullmatch(r"1\.([0-9]+)", str(resource.value("version", "")))
    if found is None:
        yield "its version is whatever EKS thinks best on the day"
    elif int(found[1]) < _SUPPORTED[0]:
        yield f"1.{found[1]} is out of standard support"


def _machine_image(resource: Resource, _graph: Graph) -> Faults:
    for term in resource.each("spec.amiSelectorTerms"):
        alias = str(term.get("alias", "")) if isinstance(term, dict) else ""
        if alias.endswith("@latest"):
            yield "its nodes get whatever image is newest on the day"


def _signed(_resource: Resource, graph: Graph) -> Faults:
    """Where a key that signs images is named, a ClusterPolicy asks for its signatures on all of the registry."""
    admission = graph.settings.admission
    if admission is None or admission.public_key is None:
        return
    key = "".join(admission.public_key.split())
    asked = [
        one
        for policy in graph.of("kubernetes:kyverno.io/v1:ClusterPolicy")
        for one in policy.each("spec.rules.verifyImages")
        if isinstance(one, dict) and key in "".join(str(one).replace("\\n", "").split())
    ]
    if not asked:
        yield "images are to be signed, and nothing asks for signatures"
    for registry in graph.settings.registries if asked else ():
        if not any(str(place).startswith(registry) for one in asked for place in one.get("imageReferences") or ()):
            yield f"nothing asks for signatures of images of {registry}"
    for one in asked:
        if graph.settings.production and one.get("failureAction") != "Enforce":
            yield "images without a signature are let pass: failureAction is not Enforce"
        if one.get("required") is False:
            yield "images without a signature are let pass: required is false"


def _enforced(resource: Resource, graph: Graph) -> Faults:
    actions = resource.each("spec.validationActions")
    if graph.settings.production and "Deny" not in actions:
        yield "it lets pass what it forbids: validationActions lacks Deny"
    if str(resource.value("spec.failurePolicy", "Fail")) != "Fail":
        yield "it lets everything pass while it is down: failurePolicy is not Fail"


def _admission(_resource: Resource, graph: Graph) -> Faults:
    """A cluster of the platform has policies of what may run."""
    if graph.of("kubernetes:policies.kyverno.io/*"):
        return
    if graph.settings.production:
        yield "nothing in the cluster refuses what these rules refuse here"


_REFUSED = {
    "hostNetwork": "parts of their node",
    "hostPath": "folders of their node",
    "allowPrivilegeEscalation": "rights that they gain",
    "capabilities": "capabilities",
    "runAsNonRoot": "root",
    "seccompProfile": "unfiltered system calls",
    "image": "images from elsewhere",
    "requests": "no requests",
    "LoadBalancer": "services open to the outside",
}


def _refuses(_resource: Resource, graph: Graph) -> Faults:
    """Where there are policies of what may run, together they ask for all that these rules ask of pods."""
    found = graph.of("kubernetes:policies.kyverno.io/*")
    text = " ".join(str(one.inputs) for one in found)
    for field, what in _REFUSED.items() if found else ():
        if field not in text:
            yield f"no policy in the cluster refuses pods with {what} ({field})"


def _images_refused(_resource: Resource, graph: Graph) -> Faults:
    """Where there are policies of what may run, they judge the registry and the version of every container's image."""
    found = graph.of("kubernetes:policies.kyverno.io/v1:ValidatingPolicy")
    for kind, whose in (("pods", "pods"), ("pods/ephemeralcontainers", "containers that are added to debug")):
        asked = [
            str(expression)
            for policy in found
            if kind in policy.each("spec.matchConstraints.resourceRules.resources")
            for expression in policy.each("spec.validations.expression")
            if ".image" in str(expression)
        ]
        registries = graph.settings.registries
        if found and not any(f"startsWith('{one}/" in text for text in asked for one in registries):
            yield f"no policy in the cluster asks from which registry images of {whose} come"
        if found and not any("latest" in text for text in asked):
            yield f"no policy in the cluster asks for a version of images of {whose}"


def _weaknesses(_resource: Resource, graph: Graph) -> Faults:
    """Where the stack's file names a scanner, it is there, and scans machines and images alike."""
    substrate = graph.settings.substrate
    if substrate is None or substrate.kind != "aws":
        return
    enabled = graph.of("aws:inspector2/enabler:Enabler")
    missing = [kind for kind in _SCANNED if not any(kind in one.each("resourceTypes") for one in enabled)]
    if missing and not substrate.security.inspector and graph.settings.production:
        raise Unknown("substrate.security.inspector is false: the organisation has to show its own scanner of machines")
    if missing and substrate.security.inspector:
        yield f"nothing scans {' and '.join(missing)} for known weaknesses"


RULES: tuple[Rule, ...] = (
    Rule(
        id="image-registry",
        title="Images come from the stack's own registry",
        severity=_CRITICAL,
        types=_IMAGES,
        why="What a registry abroad serves no one here has looked at, and it learns who runs what.",
        remedy="Mirror it there, by `falaj vendor`, and name it by cluster.image(…): "
        "substrate.images or sources.images in "
        "stacks/Pulumi.<stack>.yaml is the registry.",
        controls=(*SUPPLY, "pdpl-22", "cis-eks-5.1.4"),
        judge=_registry,
    ),
    Rule(
        id="image-moving-tag",
        title="Images are named by a version or a digest",
        severity=_HIGH,
        types=_IMAGES,
        why="What `latest` is changes without a review.",
        remedy="Pin it in pins.yaml.",
        controls=SUPPLY,
        judge=_latest,
        known_as=("CKV_K8S_14",),
    ),
    Rule(
        id="image-fixed",
        title="A name of an image always means the same image",
        severity=_HIGH,
        types=_IMAGES,
        why="Whoever can push a tag again can run anything.",
        remedy="Lock digests by `falaj vendor`, or leave the repositories IMMUTABLE in "
        "infra/substrates/aws/registry.py.",
        controls=SUPPLY,
        judge=_fixed,
        known_as=("CKV_K8S_43",),
    ),
    Rule(
        id="image-pull-policy",
        title="Nodes do not run what happens to lie there",
        severity=_MEDIUM,
        types=pods.ALL,
        why="An image that someone left on a node is run unseen.",
        remedy="Remove imagePullPolicy Never.",
        controls=SUPPLY,
        judge=_pull,
        known_as=("CKV_K8S_15",),
    ),
    Rule(
        id="image-signed",
        title="Where images are signed, the cluster asks for signatures",
        severity=_HIGH,
        types=("pulumi:providers:kubernetes",),
        why="A signature that no one checks proves nothing.",
        remedy="Set admission.public_key and mode in stacks/Pulumi.<stack>.yaml.",
        controls=SUPPLY,
        judge=_signed,
    ),
    Rule(
        id="admission",
        title="The cluster refuses what these rules refuse",
        severity=_HIGH,
        types=("pulumi:providers:kubernetes",),
        why="Not everything that runs there comes from this program.",
        remedy="Set admission in stacks/Pulumi.<stack>.yaml.",
        controls=SUPPLY,
        judge=_admission,
    ),
    Rule(
        id="admission-complete",
        title="The cluster's policies leave nothing out",
        severity=_HIGH,
        types=("pulumi:providers:kubernetes",),
        why="What no policy refuses there, a rule that refuses it here does not stop.",
        remedy="Leave all policies in infra/addons/kyverno.py.",
        controls=SUPPLY,
        judge=_refuses,
    ),
    Rule(
        id="admission-images",
        title="The cluster refuses images from elsewhere, and those that may be another tomorrow",
        severity=_HIGH,
        types=("pulumi:providers:kubernetes",),
        why="What people and controllers start there, no rule here has seen.",
        remedy="Leave falaj-images and falaj-debug-images in infra/addons/kyverno.py.",
        controls=(*SUPPLY, "cis-eks-5.1.4"),
        judge=_images_refused,
    ),
    Rule(
        id="admission-enforced",
        title="In production, admission policies refuse",
        severity=_HIGH,
        types=("kubernetes:policies.kyverno.io/v1:ValidatingPolicy",),
        why="A policy that lets pass protects nothing.",
        remedy="Set admission.mode to enforce in stacks/Pulumi.<stack>.yaml.",
        controls=SUPPLY,
        judge=_enforced,
    ),
    Rule(
        id="ecr-immutable",
        title="Tags of images never move",
        severity=_HIGH,
        types=(_REPOSITORY, "aws:ecr/repositoryCreationTemplate:RepositoryCreationTemplate"),
        why="Whoever can push a tag again can run anything.",
        remedy="Leave IMMUTABLE in infra/substrates/aws/registry.py.",
        controls=SUPPLY,
        judge=among("imageTagMutability", "IMMUTABLE", "IMMUTABLE_WITH_EXCLUSION"),
        known_as=("CKV_AWS_51",),
    ),
    Rule(
        id="ecr-scanned",
        title="Images are looked through for weaknesses",
        severity=_MEDIUM,
        types=(_REPOSITORY,),
        why="Weaknesses are known long before they are used.",
        remedy="Set substrate.registry.scan in stacks/Pulumi.<stack>.yaml.",
        controls=(*SUPPLY, "cis-eks-5.1.1"),
        judge=_scanned,
        known_as=("CKV_AWS_163",),
    ),
    Rule(
        id="ecr-private",
        title="No image is public",
        severity=_CRITICAL,
        types=("aws:ecrpublic/repository:Repository", "aws:ecrpublic/repositoryPolicy:RepositoryPolicy"),
        why="An image holds code, and can hold models.",
        remedy="Use a private repository: infra/substrates/aws/registry.py.",
        controls=("pdpl-22", "iso-8.12", "ia-t7.6.4"),
        judge=forbidden("a public repository is served to everyone, from abroad"),
        known_as=("CKV_AWS_32",),
    ),
    Rule(
        id="chart-exact",
        title="Charts are of an exact version, fetched with TLS",
        severity=_HIGH,
        types=("kubernetes:helm.sh/v4:Chart", "kubernetes:helm.sh/v3:Chart", "kubernetes:helm.sh/v3:Release"),
        why="What a range means changes without a review.",
        remedy="Pin it in pins.yaml and install it by install(…): infra/addons/chart.py.",
        controls=(*SUPPLY, *CHANGE),
        judge=_chart,
    ),
    Rule(
        id="manifest-exact",
        title="Manifests from elsewhere are of an exact version",
        severity=_HIGH,
        types=("kubernetes:kustomize/v2:Directory", "kubernetes:yaml/v2:ConfigFile", "kubernetes:yaml/v2:ConfigGroup"),
        why="What a branch means changes without a review.",
        remedy="Pin it in pins.yaml.",
        controls=(*SUPPLY, *CHANGE),
        judge=_remote,
    ),
    Rule(
        id="eks-addon-exact",
        title="Parts of the cluster are of an exact version",
        severity=_MEDIUM,
        types=("aws:eks/addon:Addon",),
        why="What EKS thinks best changes without a review.",
        remedy="Pin it in pins.yaml: eks_addons.",
        controls=(*SUPPLY, *CHANGE),
        judge=_addon,
    ),
    Rule(
        id="eks-supported",
        title="The cluster's version is supported",
        severity=_HIGH,
        types=("aws:eks/cluster:Cluster",),
        why="Weaknesses of what is out of support are not mended.",
        remedy="Set versions.kubernetes in pins.yaml.",
        controls=SUPPLY,
        judge=_supported,
        known_as=("CKV_AWS_339",),
    ),
    Rule(
        id="eks-standard-support",
        title="The cluster does not stay on a version past its standard support",
        severity=_MEDIUM,
        types=("aws:eks/cluster:Cluster",),
        why="EKS's own choice is extended support: an old version, at six times the price.",
        remedy="Set substrate.cluster.extended_support to false in stacks/Pulumi.<stack>.yaml, or record an exception "
        "in exceptions/ until the version is raised.",
        controls=(*SUPPLY, *COST),
        judge=among("upgradePolicy.supportType", "STANDARD"),
    ),
    Rule(
        id="node-image-exact",
        title="Nodes start from an exact image",
        severity=_MEDIUM,
        types=("kubernetes:karpenter.k8s.aws/v1:EC2NodeClass",),
        why="What is newest changes without a review.",
        remedy="Pin it in pins.yaml: versions.node_image.",
        controls=(*SUPPLY, *CHANGE),
        judge=_machine_image,
    ),
    Rule(
        id="rds-minor-upgrades",
        title="Databases get corrections by themselves",
        severity=_MEDIUM,
        types=("aws:rds/instance:Instance",),
        why="Known weaknesses wait for no release.",
        remedy="Leave auto_minor_version_upgrade true in infra/substrates/aws/databases.py.",
        controls=SUPPLY,
        judge=lambda resource, _graph: (
            ["autoMinorVersionUpgrade is false"] if resource.value("autoMinorVersionUpgrade", True) is not True else []
        ),
        known_as=("CKV_AWS_226",),
    ),
    Rule(
        id="scan-registry",
        title="The registry scans whatever is pushed",
        severity=_MEDIUM,
        types=("aws:ecr/registryScanningConfiguration:RegistryScanningConfiguration",),
        why="A repository that someone adds is scanned too.",
        remedy="Leave the rule in infra/substrates/aws/registry.py.",
        controls=(*SUPPLY, "cis-eks-5.1.1"),
        judge=present("rules"),
    ),
    Rule(
        id="weaknesses-scanned",
        title="Machines and images are scanned for known weaknesses",
        severity=_MEDIUM,
        types=("pulumi:providers:aws",),
        why="A weakness becomes known long after what has it was started.",
        remedy="Set substrate.security.inspector to true in stacks/Pulumi.<stack>.yaml, or show the organisation's.",
        controls=(*SUPPLY, "cis-eks-5.1.1"),
        judge=_weaknesses,
    ),
    Rule(
        id="server-side-apply",
        title="Two programs that change one object see each other",
        severity=_MEDIUM,
        types=("pulumi:providers:kubernetes",),
        why="Otherwise the later one silently undoes the earlier.",
        remedy="Leave enable_server_side_apply true on the provider: infra/substrates/kubernetes/cluster.py.",
        controls=CHANGE,
        judge=is_true("enableServerSideApply"),
    ),
    Rule(
        id="provider-deletes",
        title="The program does not replace objects of others",
        severity=_MEDIUM,
        types=("pulumi:providers:kubernetes",),
        why="What someone else made is not ours to delete.",
        remedy="Remove deleteUnreachable from the provider: infra/substrates/kubernetes/cluster.py.",
        controls=CHANGE,
        judge=not_true("deleteUnreachable"),
    ),
)
