"""Pods with more than they need, and what runs: ISO 27001 A.8.9, CIS EKS 4.2; the supply chain: A.5.21."""

from typing import Any

from tests.policies.mutations.world import (
    BOTH,
    CLOUD,
    PROD,
    SITE,
    Change,
    Document,
    Mutation,
    World,
    add,
    append,
    lose,
    put,
    remove,
    remove_all,
    set_at,
    text,
)

DEPLOYMENT, JOB, CHART = "k8s/apps/v1:Deployment", "k8s/batch/v1:Job", "k8s/helm.sh/v4:Chart"
RUNTIME = "k8s/serving.kserve.io/v1alpha1:ClusterServingRuntime"
TRAINING = "k8s/trainer.kubeflow.org/v1alpha1:ClusterTrainingRuntime"
NAMESPACE, POLICY = "k8s/core/v1:Namespace", "k8s/policies.kyverno.io/v1:ValidatingPolicy"
SIGNATURES = "k8s/kyverno.io/v1:ClusterPolicy"
POOL, MACHINE = "k8s/karpenter.sh/v1:NodePool", "k8s/karpenter.k8s.aws/v1:EC2NodeClass"
IMAGES = "ecr/repository:Repository"
POD, CONTAINER = "spec template spec", "spec template spec containers 0"
WORKER = "spec template spec replicatedJobs 0 template spec template spec"
LEVEL = "metadata labels pod-security.kubernetes.io/enforce"
DIGEST = "@sha256:" + "5f" * 32


def _service(path: str, value: Any) -> Change:
    return put(DEPLOYMENT, "inference", path, value)


def _types(name: str, *types: str, arch: str | None = None) -> Change:
    def change(world: World) -> None:
        for one in world.inputs(POOL, name)["spec"]["template"]["spec"]["requirements"]:
            if one["key"] == "node.kubernetes.io/instance-type":
                one["values"] = list(types)
            if one["key"] == "kubernetes.io/arch" and arch:
                one["values"] = [arch]

    return change


def _in_zone(name: str, zone: str) -> Change:
    def change(world: World) -> None:
        for one in world.inputs(POOL, name)["spec"]["template"]["spec"]["requirements"]:
            if one["key"] == "topology.k8s.aws/zone-id":
                one["values"] = [zone]

    return change


def _untainted(world: World) -> None:
    spec = world.inputs(POOL, "inference-gpu")["spec"]["template"]["spec"]
    spec["taints"] = [one for one in spec["taints"] if one["key"] != "nvidia.com/gpu"]


def _unscanned(world: World) -> None:
    world.remove("ecr/registryScanningConfiguration:RegistryScanningConfiguration", "registry")
    set_at(world.inputs(IMAGES, "docker.io/grafana/grafana"), "imageScanningConfiguration scanOnPush", False)


def _debug_pod() -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "debug", "namespace": "default"},
        "spec": {
            "containers": [
                {
                    "name": "debug",
                    "image": "docker.io/library/busybox:latest",
                    "command": ["sleep"],
                    "securityContext": {"privileged": True},
                }
            ]
        },
    }


HARDENING = [
    Mutation(
        "pod-privileged",
        "cis-eks-4.2.1",
        "A service has all of its node",
        BOTH,
        _service(f"{CONTAINER} securityContext privileged", True),
    ),
    Mutation(
        "pod-gains-rights",
        "cis-eks-4.2.5",
        "A process may gain rights",
        BOTH,
        _service(f"{CONTAINER} securityContext allowPrivilegeEscalation", True),
    ),
    Mutation(
        "pod-gains-rights-by-default",
        "cis-eks-4.2.5",
        "Nothing keeps a process from gaining rights",
        BOTH,
        lose(DEPLOYMENT, "mlflow", f"{CONTAINER} securityContext allowPrivilegeEscalation"),
    ),
    Mutation(
        "pod-root",
        "iso-8.9",
        "A service runs as root",
        BOTH,
        lambda world: world.inputs(DEPLOYMENT, "inference")["spec"]["template"]["spec"]["securityContext"].update(
            runAsUser=0, runAsNonRoot=False
        ),
    ),
    Mutation(
        "pod-may-be-root",
        "iso-8.9",
        "Nothing keeps a service from being root",
        BOTH,
        lose(DEPLOYMENT, "feature-server", f"{POD} securityContext runAsNonRoot"),
    ),
    Mutation(
        "container-root",
        "iso-8.9",
        "A container is root in a pod that is not",
        (PROD,),
        _service(f"{CONTAINER} securityContext runAsUser", 0),
    ),
    Mutation(
        "pod-host-network",
        "cis-eks-4.2.4",
        "A service has its node's network",
        BOTH,
        _service(f"{POD} hostNetwork", True),
    ),
    Mutation(
        "pod-host-processes",
        "cis-eks-4.2.2",
        "A service sees its node's processes",
        BOTH,
        _service(f"{POD} hostPID", True),
    ),
    Mutation(
        "pod-host-memory",
        "cis-eks-4.2.3",
        "A service shares memory with its node",
        BOTH,
        _service(f"{POD} hostIPC", True),
    ),
    Mutation(
        "pod-host-folder",
        "iso-8.9",
        "A service has a folder of its node",
        BOTH,
        append(DEPLOYMENT, "inference", f"{POD} volumes", {"name": "node", "hostPath": {"path": "/"}}),
    ),
    Mutation(
        "pod-host-port",
        "iso-8.9",
        "A service has a port of its node",
        BOTH,
        _service(f"{CONTAINER} ports 0 hostPort", 8085),
    ),
    Mutation(
        "pod-capability",
        "iso-8.9",
        "A process has rights of the system",
        BOTH,
        _service(f"{CONTAINER} securityContext capabilities add", ["SYS_ADMIN"]),
    ),
    Mutation(
        "pod-capabilities-kept",
        "iso-8.9",
        "A process keeps the rights that engines give",
        BOTH,
        lose(DEPLOYMENT, "inference", f"{CONTAINER} securityContext capabilities"),
    ),
    Mutation(
        "pod-system-calls-open",
        "iso-8.9",
        "No system call is refused",
        BOTH,
        _service(f"{POD} securityContext seccompProfile type", "Unconfined"),
    ),
    Mutation(
        "pod-system-calls-unsaid",
        "iso-8.9",
        "No filter of system calls is named",
        BOTH,
        lose(DEPLOYMENT, "mlflow", f"{POD} securityContext seccompProfile"),
    ),
    Mutation(
        "pod-root-writable",
        "iso-8.9",
        "A process may change its own image",
        BOTH,
        _service(f"{CONTAINER} securityContext readOnlyRootFilesystem", False),
    ),
    Mutation(
        "pod-kernel-settings",
        "iso-8.9",
        "A pod changes settings of the kernel",
        (PROD,),
        _service(f"{POD} securityContext sysctls", [{"name": "kernel.msgmax", "value": "65536"}]),
    ),
    Mutation(
        "pod-processes-of-node",
        "iso-8.9",
        "A container sees the unmasked /proc",
        (PROD,),
        _service(f"{CONTAINER} securityContext procMount", "Unmasked"),
    ),
    Mutation(
        "init-container-privileged",
        "cis-eks-4.2.1",
        "A container that runs first has all of its node",
        BOTH,
        _service(
            f"{POD} initContainers",
            [
                {
                    "name": "prepare",
                    "image": f"444455556666.dkr.ecr.me-central-1.amazonaws.com/falaj/prepare{DIGEST}",
                    "securityContext": {"privileged": True},
                }
            ],
        ),
    ),
    Mutation(
        "pod-without-requests",
        "iso-8.6",
        "A service does not say what it needs",
        BOTH,
        lose(DEPLOYMENT, "inference", f"{CONTAINER} resources requests"),
    ),
    Mutation(
        "pod-without-limits",
        "iso-8.6",
        "A service may take all memory of its node",
        BOTH,
        lose(DEPLOYMENT, "inference", f"{CONTAINER} resources limits"),
    ),
    Mutation(
        "pod-never-judged-alive",
        "iso-8.14",
        "A service that hangs is not restarted",
        BOTH,
        lose(DEPLOYMENT, "inference", f"{CONTAINER} livenessProbe"),
    ),
    Mutation(
        "pod-never-judged-ready",
        "iso-8.14",
        "A service gets requests before it can answer",
        BOTH,
        lose(DEPLOYMENT, "feature-server", f"{CONTAINER} readinessProbe"),
    ),
    Mutation(
        "pod-default-namespace",
        "cis-eks-4.5.3",
        "A service is in the default namespace",
        BOTH,
        put(DEPLOYMENT, "mlflow", "metadata namespace", "default"),
    ),
    Mutation(
        "bare-pod",
        "cis-eks-4.2.1",
        "A pod for a look around is left behind",
        BOTH,
        add("k8s/core/v1:Pod", "default/debug", _debug_pod()),
    ),
    Mutation(
        "job-privileged",
        "cis-eks-4.2.1",
        "The job that makes databases has all of its node",
        CLOUD,
        put(JOB, "databases", f"{CONTAINER} securityContext privileged", True),
    ),
    Mutation(
        "job-root",
        "iso-8.9",
        "The job that makes databases is root",
        CLOUD,
        put(JOB, "databases", f"{POD} securityContext runAsNonRoot", False),
    ),
    Mutation(
        "job-default-account",
        "cis-eks-4.1.5",
        "The job that makes databases runs as the default account",
        CLOUD,
        lose(JOB, "databases", f"{POD} serviceAccountName"),
    ),
    Mutation(
        "runtime-root",
        "iso-8.9",
        "Models run as root",
        BOTH,
        put(RUNTIME, "falaj-onnx", "spec containers 0 securityContext runAsNonRoot", False),
    ),
    Mutation(
        "runtime-gains-rights",
        "cis-eks-4.2.5",
        "Models may gain rights",
        BOTH,
        put(RUNTIME, "falaj-onnx", "spec containers 0 securityContext allowPrivilegeEscalation", True),
    ),
    Mutation(
        "runtime-without-limits",
        "iso-8.6",
        "A model may take all memory of its node",
        BOTH,
        lose(RUNTIME, "falaj-onnx", "spec containers 0 resources limits"),
    ),
    Mutation(
        "training-privileged",
        "cis-eks-4.2.1",
        "Training has all of its node",
        (PROD, SITE),
        put(TRAINING, "falaj-torch", f"{WORKER} containers 0 securityContext privileged", True),
    ),
    Mutation(
        "training-root",
        "iso-8.9",
        "Training runs as root",
        (PROD, SITE),
        put(TRAINING, "falaj-torch", f"{WORKER} containers 0 securityContext runAsUser", 0),
    ),
    Mutation(
        "namespace-level-privileged",
        "cis-eks-4.2.1",
        "The namespace of models lets anything run",
        BOTH,
        put(NAMESPACE, "serving", LEVEL, "privileged"),
    ),
    Mutation(
        "namespace-level-unsaid",
        "cis-eks-4.2.1",
        "The namespace of our services has no level",
        BOTH,
        lose(NAMESPACE, "falaj", LEVEL),
    ),
    Mutation(
        "namespace-level-baseline",
        "cis-eks-4.2.5",
        "The namespace of pipelines lets root run",
        BOTH,
        put(NAMESPACE, "pipelines", LEVEL, "baseline"),
    ),
    Mutation(
        "tenant-without-quota",
        "cis-eks-4.5.1",
        "A tenant may take the whole cluster",
        BOTH,
        remove("k8s/core/v1:ResourceQuota", "pipelines/quota"),
    ),
    Mutation(
        "tenant-may-be-exposed",
        "iso-8.22",
        "A tenant may make load balancers",
        BOTH,
        put("k8s/core/v1:ResourceQuota", "serving/quota", "spec hard services.loadbalancers", "5"),
    ),
    Mutation(
        "tenant-without-defaults",
        "iso-8.6",
        "Pods of a tenant have no limits by default",
        BOTH,
        remove("k8s/core/v1:LimitRange", "pipelines/defaults"),
    ),
    Mutation("admission-policies-gone", "iso-8.9", "Nothing is refused by the cluster", BOTH, remove_all(POLICY)),
    Mutation(
        "admission-of-images-gone", "cis-eks-5.1.4", "The cluster runs any image", BOTH, remove(POLICY, "falaj-images")
    ),
    Mutation(
        "admission-of-isolation-gone",
        "cis-eks-4.2.1",
        "The cluster runs pods with parts of their node",
        BOTH,
        remove(POLICY, "falaj-isolation"),
    ),
    Mutation(
        "admission-reports-alone",
        "iso-8.9",
        "What is wrong is reported, and runs",
        BOTH,
        put(POLICY, "falaj-isolation", "spec validationActions", ["Audit"]),
    ),
    Mutation(
        "admission-fails-open",
        "iso-8.9",
        "While the judge is away anything may run",
        BOTH,
        put(POLICY, "falaj-images", "spec failurePolicy", "Ignore"),
    ),
    Mutation(
        "admission-excepts-freely",
        "iso-8.9",
        "Anyone may except themselves from admission",
        BOTH,
        put(CHART, "kyverno", "values features policyExceptions enabled", True),
    ),
    Mutation(
        "admission-skips-models",
        "iso-8.9",
        "Pods of models are not judged",
        BOTH,
        lambda world: world.inputs(CHART, "kyverno")["values"]["config"]["webhooks"]["namespaceSelector"][
            "matchExpressions"
        ][1]["values"].append("serving"),
    ),
    Mutation(
        "admission-limits-fail-open",
        "iso-8.6",
        "While the judge is away training has no ceiling",
        (PROD, SITE),
        put(
            "k8s/admissionregistration.k8s.io/v1:ValidatingAdmissionPolicy",
            "training/training-workers",
            "spec failurePolicy",
            "Ignore",
        ),
    ),
    Mutation(
        "admission-limits-warn-alone",
        "iso-8.6",
        "Training above its ceiling is warned of alone",
        (PROD, SITE),
        put(
            "k8s/admissionregistration.k8s.io/v1:ValidatingAdmissionPolicyBinding",
            "training/training-workers",
            "spec validationActions",
            ["Warn"],
        ),
    ),
    Mutation(
        "admission-limits-not-bound",
        "iso-8.6",
        "The ceiling of training is bound to nothing",
        (PROD, SITE),
        remove("k8s/admissionregistration.k8s.io/v1:ValidatingAdmissionPolicyBinding", "training/training-workers"),
    ),
    Mutation(
        "notebooks-root",
        "iso-8.9",
        "Notebooks run as root",
        (PROD, SITE),
        put(CHART, "jupyterhub", "values singleuser uid", 0),
    ),
    Mutation(
        "notebooks-gain-rights",
        "cis-eks-4.2.5",
        "Notebooks may gain rights",
        (PROD, SITE),
        put(
            CHART,
            "jupyterhub",
            "values hub config KubeSpawner container_security_context allowPrivilegeEscalation",
            True,
        ),
    ),
    Mutation(
        "steps-root",
        "iso-8.9",
        "Steps of pipelines run as root",
        BOTH,
        put(
            "k8s/core/v1:ConfigMap",
            "pipelines/pipeline-install-config",
            "data defaultSecurityContextRunAsNonRoot",
            "false",
        ),
    ),
    Mutation(
        "chart-privileged",
        "cis-eks-4.2.1",
        "A third party's part has all of its node",
        BOTH,
        put(CHART, "velero", "values containerSecurityContext privileged", True),
    ),
    Mutation(
        "web-hook-fails-open",
        "iso-8.9",
        "A web hook of ours is skipped while it is away",
        BOTH,
        add(
            "k8s/admissionregistration.k8s.io/v1:ValidatingWebhookConfiguration",
            "models",
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": "ValidatingWebhookConfiguration",
                "metadata": {"name": "models"},
                "webhooks": [
                    {
                        "name": "models.falaj.ae",
                        "failurePolicy": "Ignore",
                        "sideEffects": "None",
                        "admissionReviewVersions": ["v1"],
                        "clientConfig": {"service": {"name": "models", "namespace": "serving"}},
                        "rules": [
                            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                        ],
                    }
                ],
            },
        ),
    ),
]
MACHINES = [
    Mutation(
        "pool-without-ceiling", "iso-8.6", "A pool may grow without end", CLOUD, lose(POOL, "services", "spec limits")
    ),
    Mutation(
        "pool-without-gpu-ceiling",
        "iso-8.6",
        "A pool may take any number of GPUs",
        (PROD,),
        lose(POOL, "training-gpu", "spec limits nvidia.com/gpu"),
    ),
    Mutation("pool-gpu-not-tainted", "iso-8.6", "Any pod may take a machine with GPUs", (PROD,), _untainted),
    Mutation(
        "pool-gpu-by-default",
        "iso-8.6",
        "Services run on machines with GPUs",
        CLOUD,
        _types("services", "g6.xlarge", arch="amd64"),
    ),
    Mutation(
        "service-takes-gpu",
        "iso-8.6",
        "A service that needs no GPU takes one",
        (PROD, SITE),
        lambda world: world.inputs(DEPLOYMENT, "mlflow")["spec"]["template"]["spec"]["containers"][0]["resources"][
            "limits"
        ].update({"nvidia.com/gpu": "1"}),
    ),
    Mutation(
        "pool-type-not-in-zone",
        "iso-8.14",
        "A pool asks for a machine that its zone does not have",
        (PROD,),
        _in_zone("training-gpu", "mec1-az3"),
    ),
    Mutation(
        "pool-type-not-in-region",
        "iso-8.14",
        "A pool asks for a machine that the region does not have",
        CLOUD,
        _types("services", "c7g.xlarge", arch="arm64"),
    ),
    Mutation(
        "pool-machines-never-renewed",
        "iso-8.8",
        "Machines are never replaced by patched ones",
        CLOUD,
        put(POOL, "services", "spec template spec expireAfter", "Never"),
    ),
    Mutation(
        "pool-image-unpinned",
        "iso-8.32",
        "Machines take whatever image is newest",
        CLOUD,
        put(MACHINE, "services-class", "spec amiSelectorTerms 0 alias", "al2023@latest"),
    ),
    Mutation(
        "cluster-version-unsupported",
        "iso-8.8",
        "The cluster's version has no support",
        CLOUD,
        put("eks/cluster:Cluster", "cluster", "version", "1.28"),
    ),
    Mutation(
        "cluster-addon-unpinned",
        "iso-8.32",
        "A part of the cluster changes by itself",
        CLOUD,
        lose("eks/addon:Addon", "vpc-cni", "addonVersion"),
    ),
    Mutation(
        "database-not-patched",
        "iso-8.8",
        "The database gets no patches",
        CLOUD,
        put("rds/instance:Instance", "postgresql", "autoMinorVersionUpgrade", False),
    ),
]
SUPPLY = [
    Mutation(
        "image-docker-hub",
        "cis-eks-5.1.4",
        "A service runs an image of a public registry",
        BOTH,
        _service(f"{CONTAINER} image", "docker.io/library/python:3.13.1"),
    ),
    Mutation(
        "image-latest",
        "iso-5.21",
        "A service runs whatever image is newest",
        BOTH,
        text(DEPLOYMENT, "inference", f"{CONTAINER} image", ":0.1.0", ":latest"),
    ),
    Mutation(
        "image-without-tag",
        "iso-5.21",
        "A service names no version of its image",
        BOTH,
        text(DEPLOYMENT, "mlflow", f"{CONTAINER} image", ":0.1.0", ""),
    ),
    Mutation(
        "image-of-another-account",
        "cis-eks-5.1.4",
        "A service runs an image of another account",
        CLOUD,
        _service(f"{CONTAINER} image", f"999988887777.dkr.ecr.me-central-1.amazonaws.com/falaj/platform{DIGEST}"),
    ),
    Mutation(
        "image-of-registry-with-like-name",
        "cis-eks-5.1.4",
        "A registry's name begins like ours",
        (SITE,),
        _service(f"{CONTAINER} image", f"registry.example.ae.evil.example/falaj/platform{DIGEST}"),
    ),
    Mutation(
        "init-image-foreign",
        "cis-eks-5.1.4",
        "A container that runs first is of a public registry",
        BOTH,
        _service(f"{POD} initContainers", [{"name": "wait", "image": f"quay.io/example/wait{DIGEST}"}]),
    ),
    Mutation(
        "runtime-image-foreign",
        "cis-eks-5.1.4",
        "Models run in an image of a public registry",
        BOTH,
        put(RUNTIME, "falaj-onnx", "spec containers 0 image", "docker.io/kserve/sklearnserver:v0.20.0"),
    ),
    Mutation(
        "training-image-foreign",
        "cis-eks-5.1.4",
        "Training runs in an image of a public registry",
        (PROD, SITE),
        put(TRAINING, "falaj-torch", f"{WORKER} containers 0 image", "docker.io/pytorch/pytorch:2.9.0"),
    ),
    Mutation(
        "job-image-foreign",
        "cis-eks-5.1.4",
        "The job that makes databases is of a public registry",
        CLOUD,
        put(JOB, "databases", f"{CONTAINER} image", "docker.io/library/postgres:17"),
    ),
    Mutation(
        "chart-image-foreign",
        "cis-eks-5.1.4",
        "A third party's part is of a public registry",
        BOTH,
        lambda world: set_at(world.inputs(CHART, "monitoring"), "values grafana image registry", "docker.io"),
    ),
    Mutation(
        "chart-image-repository-foreign",
        "cis-eks-5.1.4",
        "Another part is of a public registry",
        BOTH,
        put(CHART, "external-secrets", "values image repository", "ghcr.io/external-secrets/external-secrets"),
    ),
    Mutation(
        "chart-image-latest",
        "iso-5.21",
        "A third party's part is whatever is newest",
        BOTH,
        put(CHART, "velero", "values image tag", "latest"),
    ),
    Mutation("chart-unpinned", "iso-8.32", "A chart names no version", CLOUD, lose(CHART, "kyverno", "version")),
    Mutation(
        "chart-range", "iso-8.32", "A chart names a range of versions", CLOUD, put(CHART, "velero", "version", ">=12")
    ),
    Mutation(
        "chart-plain-http",
        "iso-5.21",
        "A chart is fetched in clear",
        CLOUD,
        put(CHART, "opencost", "repositoryOpts repo", "http://opencost.github.io/opencost-helm-chart"),
    ),
    Mutation(
        "images-mutable",
        "iso-8.28",
        "A tag may be pushed over",
        CLOUD,
        put(IMAGES, "docker.io/grafana/grafana", "imageTagMutability", "MUTABLE"),
    ),
    Mutation(
        "images-not-scanned",
        "cis-eks-5.1.1",
        "An image is not scanned, neither when it comes nor later",
        CLOUD,
        _unscanned,
    ),
    Mutation(
        "images-public",
        "iso-5.21",
        "A registry of ours is public",
        (PROD,),
        add("ecrpublic/repository:Repository", "platform", {"repositoryName": "falaj-platform"}),
    ),
    Mutation(
        "admission-of-digests-loosened",
        "iso-5.21",
        "The cluster runs images named by latest",
        BOTH,
        lambda world: world.inputs(POLICY, "falaj-images")["spec"]["validations"].pop(),
    ),
    Mutation(
        "signatures-not-asked",
        "iso-5.21",
        "The cluster runs images that no one signed",
        (PROD,),
        remove(SIGNATURES, "falaj-signatures"),
    ),
    Mutation(
        "signatures-let-pass",
        "iso-5.21",
        "Images without a signature are reported, and run",
        (PROD,),
        put(SIGNATURES, "falaj-signatures", "spec rules 0 verifyImages 0 failureAction", "Audit"),
    ),
    Mutation(
        "signatures-of-another",
        "iso-5.21",
        "Images are run that someone else signed",
        (PROD,),
        put(
            SIGNATURES,
            "falaj-signatures",
            "spec rules 0 verifyImages 0 attestors 0 entries 0 keys publicKeys",
            "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYI\n-----END PUBLIC KEY-----\n",
        ),
    ),
    Mutation(
        "signatures-of-some",
        "iso-5.21",
        "Signatures are asked for of another registry's images alone",
        (PROD,),
        put(SIGNATURES, "falaj-signatures", "spec rules 0 verifyImages 0 imageReferences", ["ghcr.io/*"]),
    ),
    Mutation(
        "scanner-gone",
        "iso-8.8",
        "Machines and images are not scanned for known faults",
        (PROD,),
        remove("inspector2/enabler:Enabler", "inspector"),
    ),
    Mutation(
        "scanner-without-images",
        "iso-8.8",
        "Images are not scanned for known faults",
        (PROD,),
        put("inspector2/enabler:Enabler", "inspector", "resourceTypes", ["EC2"]),
    ),
]
