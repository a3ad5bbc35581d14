"""Models, compiled pipelines and data contracts: PDPL articles 4 to 6, 18 and 21, GDPR 22 and 35."""

from typing import Any

from tests.policies.mutations.world import (
    PROD,
    SITE,
    SMB,
    Change,
    Document,
    Mutation,
    World,
    days_ago,
    erase,
    lose,
    put,
    say,
    text,
    within,
    write,
)

CONTRACT, PIPELINE, MODEL = "datasets/employment/contract.yaml", "pipelines/training.yaml", "inference-service.yaml"
EXECUTORS = "deploymentSpec executors"
INGEST, TRAIN = f"{EXECUTORS} exec-ingest container", f"{EXECUTORS} exec-train container"
PLATFORM = "platforms kubernetes deploymentSpec executors exec-ingest"
PREDICTOR = "spec predictor"
SERVED = f"{PREDICTOR} model"
IMAGE = "444455556666.dkr.ecr.me-central-1.amazonaws.com/falaj/falaj/platform"
DIGEST = "@sha256:" + "5f" * 32


def _contract(name: str, control: str, what: str, change: Change) -> Mutation:
    return Mutation(name, control, what, (CONTRACT,), change)


def _pipeline(name: str, control: str, what: str, change: Change) -> Mutation:
    return Mutation(name, control, what, (PIPELINE,), change)


def _model(name: str, control: str, what: str, change: Change) -> Mutation:
    return Mutation(name, control, what, (MODEL,), change)


def _gpus(count: int) -> Document:
    return {
        "accelerator": {
            "count": str(count),
            "type": "nvidia.com/gpu",
            "resourceCount": str(count),
            "resourceType": "nvidia.com/gpu",
        }
    }


def _installs(world: World) -> None:
    container = world.documents[0]["deploymentSpec"]["executors"]["exec-train"]["container"]
    container["command"] = [
        "sh",
        "-c",
        'python3 -m pip install "lightgbm==4.6.0" && exec "$0" "$@"',
        *container["command"],
    ]


def _importer(world: World) -> None:
    world.documents[0]["deploymentSpec"]["executors"]["exec-import"] = {
        "importer": {
            "artifactUri": {"constant": "gs://models-eu/base"},
            "typeSchema": {"schemaTitle": "system.Model", "schemaVersion": "0.0.1"},
        }
    }


def _insensitive(world: World) -> None:
    for column in world.documents[0]["columns"].values():
        column.pop("sensitive", None)


def _impersonal(world: World) -> None:
    for column in world.documents[0]["columns"].values():
        column.pop("personal", None)
        column.pop("sensitive", None)


def _high_impact(review: bool) -> Change:
    return write("automated_decision", {"high_impact": True, "human_review": review})


def _variable(name: str, value: str) -> Change:
    def change(world: World) -> None:
        world.documents[0]["spec"]["predictor"]["model"]["env"].append({"name": name, "value": value})

    return change


def _custom(container: Document) -> Change:
    def change(world: World) -> None:
        predictor = world.documents[0]["spec"]["predictor"]
        del predictor["model"]
        predictor["containers"] = [container]

    return change


def _caching(document: Any) -> None:
    document["spec"]["templateDefaults"]["memoize"] = {"key": "{{inputs.parameters.data}}", "maxAge": "720h"}


CONTRACTS = [
    _contract(
        "contract-without-basis", "pdpl-4", "Nothing says on what ground people's data are used", erase("lawful_basis")
    ),
    _contract(
        "contract-basis-unknown", "pdpl-4", "The ground is none that the law knows", write("lawful_basis", "curiosity")
    ),
    _contract(
        "contract-consent-not-proved", "pdpl-6", "Consent is the ground, and no register is named", erase("consent")
    ),
    _contract(
        "contract-consent-abroad",
        "pdpl-22",
        "The register of consents is abroad",
        write("consent source", "https://consent.example.com/register.parquet"),
    ),
    _contract(
        "contract-consent-foreign-cloud",
        "pdpl-22",
        "The register of consents is in another cloud's store",
        write("consent source", "gs://consent-eu/register.parquet"),
    ),
    _contract(
        "contract-without-retention", "pdpl-5", "Nothing says how long people's data are kept", erase("retention")
    ),
    _contract(
        "contract-retention-for-ever",
        "pdpl-5",
        "People's data are kept for a hundred years",
        write("retention days", 36500),
    ),
    _contract("contract-without-purpose", "pdpl-5", "Nothing says what the data are for", erase("purpose")),
    _contract(
        "contract-without-assessment", "pdpl-21", "Sensitive data are used, and no impact was assessed", erase("dpia")
    ),
    _contract(
        "contract-assessment-expired",
        "gdpr-35",
        "The impact assessment is out of date",
        write("dpia expires", days_ago(1)),
    ),
    _contract(
        "contract-assessment-unnamed", "pdpl-21", "The impact assessment has no reference", write("dpia reference", "")
    ),
    _contract(
        "contract-decides-alone", "pdpl-18", "A decision with high impact has no human review", _high_impact(False)
    ),
    _contract(
        "contract-decides-alone-unsaid",
        "gdpr-22",
        "Nothing says whether a human reviews decisions",
        erase("automated_decision human_review"),
    ),
    _contract(
        "contract-impact-unsaid",
        "pdpl-18",
        "Nothing says whether decisions have high impact",
        erase("automated_decision"),
    ),
    _contract("contract-without-owner", "pdpl-7-8", "No one answers for the data", erase("owner")),
    _contract(
        "contract-owner-without-contact",
        "pdpl-7-8",
        "Who answers for the data cannot be reached",
        erase("owner contact"),
    ),
    _contract(
        "contract-without-fairness",
        "cbuae-ai-fairness",
        "Groups of people are named, and no limit of bias",
        erase("fairness"),
    ),
    _contract(
        "contract-fairness-without-limits", "cbuae-ai-fairness", "No bias is too much", write("fairness limits", {})
    ),
    _contract(
        "contract-fairness-meaningless",
        "cbuae-ai-fairness",
        "Any bias is within its limit",
        write("fairness limits equal_opportunity_difference", 1.0),
    ),
    _contract(
        "contract-sensitive-unmarked", "gdpr-9", "Race, sex and disability are not marked as sensitive", _insensitive
    ),
    _contract("contract-personal-unmarked", "iso-5.34", "Nothing about people is marked as personal", _impersonal),
    _contract("contract-without-quality", "iso-8.28", "A model of any quality is deployed", erase("quality")),
    _contract(
        "contract-without-drift", "cbuae-ai-fairness", "Nothing notices that the world has changed", erase("drift")
    ),
    Mutation(
        "contract-health-kept-too-short",
        "health-retention",
        "Health data are kept for five years alone",
        (PROD, SITE),
        say("policies", {"profiles": ["health"]}),
    ),
]
PIPELINES = [
    _pipeline(
        "pipeline-image-foreign",
        "cis-eks-5.1.4",
        "A step runs an image of a public registry",
        write(f"{TRAIN} image", f"docker.io/library/python{DIGEST}"),
    ),
    _pipeline(
        "pipeline-image-latest",
        "iso-5.21",
        "A step runs whatever image is newest",
        write(f"{TRAIN} image", f"{IMAGE}:latest"),
    ),
    _pipeline(
        "pipeline-image-without-tag", "iso-5.21", "A step names no version of its image", write(f"{TRAIN} image", IMAGE)
    ),
    _pipeline(
        "pipeline-results-cached",
        "pdpl-13-17",
        "Results with personal data are cached, and outlive erasure",
        write("root dag tasks ingest cachingOptions enableCache", True),
    ),
    _pipeline(
        "pipeline-gpu-above-quota", "iso-8.6", "A step asks for sixteen GPUs", write(f"{TRAIN} resources", _gpus(16))
    ),
    _pipeline("pipeline-installs", "iso-5.21", "A step installs a package while it runs", _installs),
    _pipeline(
        "pipeline-root-foreign",
        "pdpl-22",
        "Artifacts of runs go to another cloud's store",
        write("defaultPipelineRoot", "gs://pipelines-eu/runs"),
    ),
    _pipeline(
        "pipeline-root-region",
        "pdpl-22",
        "Artifacts of runs go to Frankfurt",
        write("defaultPipelineRoot", "s3://runs?region=eu-central-1&endpoint=s3.eu-central-1.amazonaws.com"),
    ),
    _pipeline(
        "pipeline-data-foreign",
        "pdpl-22",
        "The data come from abroad unless someone says otherwise",
        write("root inputDefinitions parameters data_uri defaultValue", "https://data.example.com/people.parquet"),
    ),
    _pipeline("pipeline-import-foreign", "pdpl-22", "A model is brought from another cloud's store", _importer),
    _pipeline(
        "pipeline-step-region",
        "pdpl-22",
        "A step works with the clouds of another region",
        write(f"{INGEST} env", [{"name": "AWS_REGION", "value": "eu-central-1"}]),
    ),
    _pipeline(
        "pipeline-secret-in-clear",
        "iso-5.17",
        "A password is written in a step",
        write(f"{INGEST} env", [{"name": "DB_PASSWORD", "value": "Korrekt-Pferd-7731-Batterie"}]),
    ),
    _pipeline(
        "pipeline-telemetry",
        "iso-8.12",
        "A step reports its use to a library's makers",
        write(f"{TRAIN} env", [{"name": "MLFLOW_DISABLE_TELEMETRY", "value": "false"}]),
    ),
    _pipeline(
        "pipeline-root-user",
        "iso-8.9",
        "A step runs as root",
        write(f"{PLATFORM} securityContext", {"runAsUser": "0"}, document=1),
    ),
    _pipeline(
        "pipeline-secret-as-variable",
        "cis-eks-4.4.1",
        "The key of the pseudonyms is a variable, and not a file",
        write(
            f"{PLATFORM} secretAsEnv",
            [{"secretName": "falaj-pseudonym-key", "keyToEnv": [{"secretKey": "key", "envVar": "PSEUDONYM_KEY"}]}],
            document=1,
        ),
    ),
    Mutation(
        "pipelines-default-account",
        "cis-eks-4.1.5",
        "Steps run as the default account",
        (PROD, SITE),
        text(
            "k8s/core/v1:ConfigMap",
            "pipelines/pipeline-settings",
            "data config.json",
            '"DEFAULTPIPELINERUNNERSERVICEACCOUNT": "pipeline-runner"',
            '"DEFAULTPIPELINERUNNERSERVICEACCOUNT": "default"',
        ),
    ),
    Mutation(
        "pipelines-results-memoized",
        "pdpl-13-17",
        "Every step's result is kept for the next run",
        (PROD, SITE),
        within("k8s/core/v1:ConfigMap", "pipelines/workflow-controller-configmap", "data workflowDefaults", _caching),
    ),
]
MODELS = [
    _model(
        "model-storage-foreign-cloud",
        "pdpl-22",
        "A model is loaded from another cloud's store",
        write(f"{SERVED} storageUri", "gs://models-eu/churn"),
    ),
    _model(
        "model-storage-abroad",
        "pdpl-22",
        "A model is loaded from a store in Frankfurt",
        write(f"{SERVED} storageUri", "https://models.s3.eu-central-1.amazonaws.com/churn"),
    ),
    _model(
        "model-storages-abroad",
        "pdpl-22",
        "One of several places of a model is abroad",
        write(
            f"{PREDICTOR} storageUris",
            [{"uri": "https://models.s3.eu-central-1.amazonaws.com/base", "mountPath": "/mnt/base"}],
        ),
    ),
    _model(
        "model-storage-hub",
        "iso-5.21",
        "A model is loaded from a public hub",
        write(f"{SERVED} storageUri", "hf://example/churn"),
    ),
    _model(
        "model-repository-abroad",
        "pdpl-22",
        "The runtime's own model store is abroad",
        write(f"{SERVED} env 0 value", "gs://models-eu/churn"),
    ),
    _model(
        "model-endpoint-abroad",
        "pdpl-22",
        "The model's clients use the object store of Frankfurt",
        _variable("AWS_ENDPOINT_URL_S3", "https://s3.eu-central-1.amazonaws.com"),
    ),
    _model(
        "model-region-abroad",
        "pdpl-22",
        "The model works with the clouds of another region",
        _variable("AWS_REGION", "eu-central-1"),
    ),
    _model(
        "model-password-in-clear",
        "iso-5.17",
        "A password is written in a variable of the model",
        _variable("DB_PASSWORD", "Korrekt-Pferd-7731-Batterie"),
    ),
    _model(
        "model-logger-abroad",
        "pdpl-22",
        "Requests, with personal data, are logged abroad",
        write(f"{PREDICTOR} logger", {"mode": "all", "url": "https://logs.example.com/inference"}),
    ),
    _model(
        "model-without-runtime", "iso-8.32", "No runtime is named: whichever fits is taken", erase(f"{SERVED} runtime")
    ),
    _model(
        "model-sleeps", "iso-8.14", "The model has no replica until someone asks", write(f"{PREDICTOR} minReplicas", 0)
    ),
    _model(
        "model-without-limits",
        "iso-8.6",
        "The model may take all memory of its node",
        erase(f"{SERVED} resources limits"),
    ),
    _model(
        "model-without-ceiling",
        "iso-8.6",
        "The model may have any number of replicas",
        erase(f"{PREDICTOR} maxReplicas"),
    ),
    _model(
        "model-default-account",
        "cis-eks-4.1.5",
        "The model runs as the default account",
        erase(f"{PREDICTOR} serviceAccountName"),
    ),
    _model(
        "model-with-token",
        "cis-eks-4.1.6",
        "The model has a token of the cluster",
        write(f"{PREDICTOR} automountServiceAccountToken", True),
    ),
    _model(
        "model-root", "iso-8.9", "The model runs as root", write(f"{PREDICTOR} securityContext runAsNonRoot", False)
    ),
    _model(
        "model-host-network",
        "cis-eks-4.2.4",
        "The model has its node's network",
        write(f"{PREDICTOR} hostNetwork", True),
    ),
    _model(
        "model-host-folder",
        "iso-8.9",
        "The model has a folder of its node",
        write(f"{PREDICTOR} volumes", [{"name": "node", "hostPath": {"path": "/var"}}]),
    ),
    _model(
        "model-gpu-by-default",
        "iso-8.6",
        "A model whose runtime has no use for it takes a GPU",
        write(f"{SERVED} resources limits nvidia.com/gpu", "1"),
    ),
    _model(
        "model-default-namespace",
        "cis-eks-4.5.3",
        "The model is in the default namespace",
        write("metadata namespace", "default"),
    ),
    _model(
        "model-exposed",
        "iso-8.22",
        "The model is published without the gateway's sign-in",
        erase("metadata labels networking.kserve.io/visibility"),
    ),
    _model(
        "model-image-foreign",
        "cis-eks-5.1.4",
        "A model brings its own server from a public registry",
        _custom(
            {
                "name": "kserve-container",
                "image": "docker.io/example/server:1.0",
                "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["BOTH"]},
                    "readOnlyRootFilesystem": True,
                    "runAsNonRoot": True,
                },
            }
        ),
    ),
    _model(
        "model-image-privileged",
        "cis-eks-4.2.1",
        "A model's own server has all of its node",
        _custom({"name": "kserve-container", "image": f"{IMAGE}{DIGEST}", "securityContext": {"privileged": True}}),
    ),
    _model(
        "model-transformer-foreign",
        "cis-eks-5.1.4",
        "What prepares requests is of a public registry",
        write(
            "spec transformer", {"containers": [{"name": "kserve-container", "image": "docker.io/example/prepare:1"}]}
        ),
    ),
    _model(
        "model-without-card",
        "cbuae-ai-inventory",
        "The model has no card",
        erase("metadata annotations falaj.ae/model-card"),
    ),
    _model(
        "model-explainer-abroad",
        "iso-8.12",
        "The explainer asks a service abroad",
        write(
            "spec explainer",
            {
                "containers": [
                    {
                        "name": "kserve-container",
                        "image": f"{IMAGE}{DIGEST}",
                        "env": [{"name": "ENDPOINT", "value": "https://explain.example.com/v1"}],
                    }
                ]
            },
        ),
    ),
    Mutation(
        "runtime-chosen-by-itself",
        "iso-8.32",
        "A runtime takes any model that names none",
        (PROD, SITE),
        put(
            "k8s/serving.kserve.io/v1alpha1:ClusterServingRuntime",
            "falaj-onnx",
            "spec supportedModelFormats 0 autoSelect",
            True,
        ),
    ),
    Mutation(
        "runtime-log-abroad",
        "pdpl-22",
        "Requests to models are logged in another cloud's store",
        (PROD, SITE),
        put(
            "k8s/serving.kserve.io/v1alpha1:ClusterServingRuntime",
            "falaj-onnx",
            "spec containers 0 args 2",
            "--inference-log=gs://logs-eu/inference",
        ),
    ),
    Mutation(
        "models-without-limit-of-requests",
        "iso-8.6",
        "A caller may ask models without limit",
        (SMB, PROD, SITE),
        lose("k8s/gateway.envoyproxy.io/v1alpha1:BackendTrafficPolicy", "v2", "spec rateLimit"),
    ),
    Mutation(
        "models-any-size-of-requests",
        "iso-8.6",
        "A request may be of any size",
        (PROD, SITE),
        lose("k8s/gateway.envoyproxy.io/v1alpha1:BackendTrafficPolicy", "v2", "spec requestBuffer"),
    ),
]
