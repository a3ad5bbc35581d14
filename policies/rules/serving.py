"""Models that answer, pipelines that train them, and the contracts that say what data may be used for."""

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from core.contract import FAIRNESS_METRICS, Task, parse_contract
from core.errors import ContractError
from policies import pods
from policies.controls import (
    AUTOMATED,
    AVAILABILITY,
    COST,
    HARDENING,
    IMPACT,
    LAWFUL,
    LOGGING,
    MODELS,
    RETENTION,
    SUPPLY,
    TRANSFER,
)
from policies.graph import Graph
from policies.model import Faults, Resource, Rule, Severity, Unknown
from policies.pipelines import PIPELINE, executors, platform, tasks
from policies.places import foreign_host, host, inside, region_abroad, storage_abroad, urls

_HIGH, _CRITICAL, _MEDIUM, _LOW = Severity.HIGH, Severity.CRITICAL, Severity.MEDIUM, Severity.LOW
_MODEL = "kubernetes:serving.kserve.io/v1beta1:InferenceService"
_GRAPH = "kubernetes:serving.kserve.io/v1alpha1:InferenceGraph"
_RUNTIMES = (
    "kubernetes:serving.kserve.io/v1alpha1:ClusterServingRuntime",
    "kubernetes:serving.kserve.io/v1alpha1:ServingRuntime",
)
CONTRACT = "falaj:file:Contract"
HIGH_IMPACT = "falaj.ae/high-impact"
"""Annotation of a model whose answers have a significant effect on people: `true`."""
HUMAN_REVIEW = "falaj.ae/human-review"
"""Annotation that says who reviews such answers: a team or a queue."""
MODEL_CARD = "falaj.ae/model-card"
"""Annotation with the digest of the model card: `sha256:` and 64 digits."""
_FRAMEWORKS = (
    "sklearn",
    "xgboost",
    "tensorflow",
    "pytorch",
    "triton",
    "onnx",
    "huggingface",
    "pmml",
    "lightgbm",
    "paddle",
)
_GPU = "nvidia.com/gpu"
_CPU_RUNTIME = "falaj-onnx"
"""Our runtime without CUDA: infra/addons/models.py."""
_TOLD = re.compile(r"(?:\.defaultValue|\.constant|\.env\[\d+\]\.value)$")
"""Where a compiled pipeline holds what its steps are told, and not their source."""
_HEALTH_YEARS = 25


def _predictor(resource: Resource) -> Mapping[str, Any]:
    found = (resource.inputs.get("spec") or {}).get("predictor")
    return found if isinstance(found, Mapping) else {}


def _storage(resource: Resource, graph: Graph) -> Faults:
    for path, text in resource.texts():
        key = path.rpartition(".")[2]
        if not (key == "storageUri" or ".storageUris" in f".{path}" or key == "uri"):
            continue
        reason = storage_abroad(text, graph.settings)
        if reason:
            yield f"{path}: {reason}"
        for scheme, rest in urls(text):
            buckets = {one.inputs.get("bucket") for one in graph.of("aws:s3/bucket:Bucket")}
            if scheme == "s3" and buckets and rest.partition("/")[0] not in buckets:
                yield f"{path} names a bucket that is not of this stack"


def _hub(resource: Resource, _graph: Graph) -> Faults:
    for path, text in resource.texts():
        if "hf://" in text or any(foreign_host(host(rest)) for _, rest in urls(text)):
            yield f"{path} is an address of a hub, so that its model is whatever is there on the day"
        if text.startswith(("--model_id=", "--model-id=", "--model_name=")) and "/" in text and "/mnt/" not in text:
            yield f"{path} names a model of a hub"


def _runtime(resource: Resource, graph: Graph) -> Faults:
    predictor = _predictor(resource)
    model = predictor.get("model")
    known = {(one.inputs.get("metadata") or {}).get("name") for kind in _RUNTIMES for one in graph.of(kind)}
    if isinstance(model, Mapping):
        runtime = model.get("runtime")
        if not runtime:
            yield "it names no runtime, so that whichever comes first is used"
        elif known and runtime not in known:
            yield f"its runtime {runtime} is not one of the stack's"
    for framework in _FRAMEWORKS:
        if framework in predictor:
            yield f"it uses the framework {framework}, whose runtime is chosen by the cluster"


def _replicas(resource: Resource, graph: Graph) -> Faults:
    predictor = _predictor(resource)
    least = predictor.get("minReplicas", 1)
    if graph.settings.production and int(least) < 2 and not graph.settings.may_sleep:
        yield f"minReplicas is {least}: while one restarts, no one answers"
    most = predictor.get("maxReplicas")
    if most is None or int(most) == 0:
        yield "maxReplicas is absent, so that it grows without an end"


def _limits(resource: Resource, _graph: Graph) -> Faults:
    for pod in pods.pods(resource):
        for container in pod.containers():
            given = (container.spec.get("resources") or {}).get("limits") or {}
            if "memory" not in given:
                yield f"{container.name}: nothing limits its memory"


def _inner(resource: Resource, _graph: Graph) -> Faults:
    if pods.label(resource, "networking.kserve.io/visibility") != "cluster-local":
        yield "it has an address of its own outside the cluster, where no one asks who comes in"


def _logger(resource: Resource, graph: Graph) -> Faults:
    for part in ("predictor", "transformer", "explainer"):
        logger = ((resource.inputs.get("spec") or {}).get(part) or {}).get("logger") or {}
        for _, rest in urls(str(logger.get("url", ""))):
            if not inside(host(rest), graph.settings):
                yield f"requests to its {part} are sent to a host that is not in the country"


def _impact(resource: Resource, _graph: Graph) -> Faults:
    if pods.annotation(resource, HIGH_IMPACT) != "true":
        return
    spec = resource.inputs.get("spec") or {}
    if not pods.annotation(resource, HUMAN_REVIEW):
        yield f"its decisions have a significant effect on people, and {HUMAN_REVIEW} names no one who reviews them"
    if not spec.get("explainer"):
        yield "its decisions have a significant effect on people, and nothing explains them: explainer is absent"
    if not ((spec.get("predictor") or {}).get("logger") or {}).get("url"):
        yield "its decisions have a significant effect on people, and are not recorded: logger is absent"


def _card(resource: Resource, _graph: Graph) -> Faults:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", pods.annotation(resource, MODEL_CARD) or ""):
        yield f"the annotation {MODEL_CARD} has no digest of a model card"


def _model_account(resource: Resource, _graph: Graph) -> Faults:
    if _predictor(resource).get("serviceAccountName") in (None, "", "default"):
        yield "it has the namespace's default service account, so the rights of every model"


def _model_token(resource: Resource, graph: Graph) -> Faults:
    for pod in pods.pods(resource):
        given = pod.spec.get("automountServiceAccountToken")
        account = pods.account(resource, pod, graph) if given is None else None
        if given is not False and (account is None or account.value("automountServiceAccountToken") is not False):
            yield f"its {pod.place.rpartition('.')[2]} has a token of the cluster's API, where models have no rights"


def _model_gpu(resource: Resource, _graph: Graph) -> Faults:
    model = _predictor(resource).get("model")
    if not isinstance(model, Mapping) or model.get("runtime") != _CPU_RUNTIME:
        return
    if any(_GPU in (model.get("resources") or {}).get(part, {}) for part in ("limits", "requests")):
        yield f"it takes a GPU, which its runtime {_CPU_RUNTIME} does not use"


def _multi_model(resource: Resource, _graph: Graph) -> Faults:
    if resource.value("spec.multiModel") is True:
        yield "models of several use cases share one process and its memory"


def _auto_select(resource: Resource, _graph: Graph) -> Faults:
    for one in resource.each("spec.supportedModelFormats"):
        if isinstance(one, Mapping) and one.get("autoSelect") is True:
            yield "it is chosen for models that do not name it"


def _root(resource: Resource, graph: Graph) -> Faults:
    root = resource.inputs.get("defaultPipelineRoot")
    if isinstance(root, str):
        reason = storage_abroad(root, graph.settings)
        if reason:
            yield f"its artifacts are kept abroad: {reason}"
        for scheme, rest in urls(root):
            buckets = {one.inputs.get("bucket") for one in graph.of("aws:s3/bucket:Bucket")}
            if scheme == "s3" and buckets and rest.partition("/")[0] not in buckets:
                yield "its artifacts are kept in a bucket that is not of this stack"


def _step_addresses(resource: Resource, graph: Graph) -> Faults:
    for path, text in resource.texts():
        if _TOLD.search(path) and storage_abroad(text, graph.settings):
            yield f"{path} is an address abroad: {storage_abroad(text, graph.settings)}"
            continue
        for scheme, rest in urls(text):
            if scheme in ("gs", "hf", "wasbs", "abfss"):
                yield f"{path} is a storage address abroad"
            elif scheme in ("s3", "http", "https") and foreign_host(host(rest)):
                yield f"{path} is an address abroad: {foreign_host(host(rest))}"


def _step_regions(resource: Resource, graph: Graph) -> Faults:
    substrate = graph.settings.substrate
    if substrate is not None and substrate.kind != "aws":
        return  # Stores of other makers want a region's name in signatures and mean nothing by it.
    for name, container in executors(resource):
        for variable in container.get("env") or ():
            region = region_abroad(str(variable.get("value", "")))
            if region is None or urls(str(variable.get("value", ""))):
                continue
            if substrate is None:
                raise Unknown("what a region's name means depends on the stack that it runs in: name one by --stack")
            yield f"step {name}: {variable.get('name')} is {region}"


def _step_user(resource: Resource, _graph: Graph) -> Faults:
    for name, executor in platform(resource).items():
        context = (executor or {}).get("securityContext") or {}
        # 64-bit numbers are texts in the JSON of a message.
        if str(context.get("runAsUser", "")) == "0" or str(context.get("runAsGroup", "")) == "0":
            yield f"step {name} runs as root"
        if context.get("runAsNonRoot") is False:
            yield f"step {name} may run as root"


def _cache(resource: Resource, _graph: Graph) -> Faults:
    for name, task in tasks(resource):
        if (task.get("cachingOptions") or {}).get("enableCache") is True:
            yield f"step {name} keeps its results in a cache, which no retention and no erasure reaches"


def _gpus(resource: Resource, _graph: Graph) -> Faults:
    for name, container in executors(resource):
        accelerator = (container.get("resources") or {}).get("accelerator") or {}
        count = accelerator.get("resourceCount") or accelerator.get("count") or 0
        if str(count).isdigit() and int(count) > 8:
            yield f"step {name} asks for {count} GPUs, more than a node has"
        kind = accelerator.get("resourceType") or accelerator.get("type")
        if kind not in (None, _GPU):
            yield f"step {name} asks for {kind}, which no node has"


def _step_packages(resource: Resource, _graph: Graph) -> Faults:
    for name, container in executors(resource):
        words = " ".join(str(word) for word in [*(container.get("command") or ()), *(container.get("args") or ())])
        if re.search(r"\bpip3?\s+install\b|-m pip install", words):
            yield f"step {name} installs packages when it starts, which no one has reviewed"


def _consent_inputs(resource: Resource, _graph: Graph) -> Faults:
    """A pipeline that takes data takes the contract with basis, consent and impact assessment too."""
    inputs = ((resource.inputs.get("root") or {}).get("inputDefinitions") or {}).get("parameters") or {}
    takes = [name for name in inputs if re.search(r"(^|_)(data|dataset|records?|input)(_|$)", name)]
    if takes and not any("contract" in name for name in inputs):
        yield f"it takes {takes[0]} and no contract: nothing says what the data may be used for"


def _step_secrets(resource: Resource, _graph: Graph) -> Faults:
    for name, container in executors(resource):
        for variable in container.get("env") or ():
            if isinstance(variable, Mapping) and variable.get("value"):
                words = str(variable.get("name", "")).upper()
                if re.search(r"(PASSWORD|SECRET_KEY|ACCESS_KEY|API_KEY|TOKEN)$", words):
                    yield f"step {name}: {variable.get('name')} is written in clear"
    for name, executor in platform(resource).items():
        for secret in (executor or {}).get("secretAsEnv") or ():
            if isinstance(secret, Mapping):
                yield f"step {name} gets a secret as a variable, which its children and its logs see"


def _contract_valid(resource: Resource, _graph: Graph) -> Faults:
    import yaml

    try:
        parse_contract(
            yaml.dump(dict(resource.inputs), Dumper=yaml.CSafeDumper, sort_keys=False), resource.place or resource.name
        )
    except ContractError as error:
        for line in str(error).splitlines()[1:] or [str(error)]:
            yield line.strip()


def _columns(resource: Resource) -> dict[str, Mapping[str, Any]]:
    found = resource.inputs.get("columns")
    return (
        {str(name): one for name, one in found.items() if isinstance(one, Mapping)}
        if isinstance(found, Mapping)
        else {}
    )


def _personal(resource: Resource) -> bool:
    return resource.inputs.get("lawful_basis") != "not_personal"


def _sensitive(resource: Resource) -> bool:
    return any(one.get("sensitive") is True for one in _columns(resource).values())


def _basis(resource: Resource, _graph: Graph) -> Faults:
    if not resource.inputs.get("lawful_basis"):
        yield "no lawful basis is named"
    if resource.inputs.get("lawful_basis") == "legitimate_interests":
        yield "legitimate interests is no basis of UAE law (PDPL 4), though of GDPR: name the basis in both"


def _consent(resource: Resource, graph: Graph) -> Faults:
    if resource.inputs.get("lawful_basis") != "consent":
        return
    source = (resource.inputs.get("consent") or {}).get("source")
    if not source:
        yield "consent is its basis, and no register of consents is named"
    elif storage_abroad(str(source), graph.settings):
        yield f"the register of consents is abroad: {storage_abroad(str(source), graph.settings)}"


def _dpia(resource: Resource, graph: Graph) -> Faults:
    assessment = resource.inputs.get("dpia")
    high = (resource.inputs.get("automated_decision") or {}).get("high_impact") is True
    if not isinstance(assessment, Mapping):
        if _sensitive(resource) or high:
            yield "data are sensitive, or decisions have a significant effect, and no impact assessment is named"
        return
    if not str(assessment.get("reference") or "").strip():
        yield "its impact assessment has no reference, so that no one can find it"
    expires = _date(assessment.get("expires"))
    if expires is None:
        yield "its impact assessment has no day on which it must be made again"
    elif expires <= graph.today:
        yield f"its impact assessment is out of date since {expires.isoformat()}"
    elif expires > graph.today + timedelta(days=3 * 366):
        yield f"its impact assessment is in date until {expires.isoformat()}, more than three years"


def _date(value: object) -> date | None:
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        return None


def _review(resource: Resource, _graph: Graph) -> Faults:
    decision = resource.inputs.get("automated_decision")
    if not isinstance(decision, Mapping):
        yield "it does not say whether decisions about people follow from it"
    elif decision.get("high_impact") is True and decision.get("human_review") is not True:
        yield "decisions have a significant effect on people, and no person reviews them"


def _kept(resource: Resource, graph: Graph) -> Faults:
    days = (resource.inputs.get("retention") or {}).get("days")
    if not isinstance(days, int) or days < 1:
        yield "it does not say for how long data are kept"
        return
    if "health" in graph.settings.policies.profiles and days < _HEALTH_YEARS * 365:
        yield f"data are kept for {days} days, and health data for {_HEALTH_YEARS} years at least"
    elif _personal(resource) and days > 10 * 366 and "health" not in graph.settings.policies.profiles:
        yield f"personal data are kept for {days} days, more than ten years"


def _purpose(resource: Resource, _graph: Graph) -> Faults:
    purpose = resource.inputs.get("purpose") or {}
    if not (isinstance(purpose, Mapping) and purpose.get("id") and purpose.get("description")):
        yield "it does not say what the data may be used for"
    owner = resource.inputs.get("owner") or {}
    if not (isinstance(owner, Mapping) and owner.get("team") and owner.get("contact")):
        yield "no one answers for it"


_UNBOUNDED = FAIRNESS_METRICS[Task.REGRESSION]
"""Measures of fairness in the unit of the target; the others are differences of rates."""


def _fair(resource: Resource, _graph: Graph) -> Faults:
    columns = _columns(resource)
    groups = [name for name, one in columns.items() if one.get("role") == "group"]
    people = _personal(resource) and any(one.get("personal") or one.get("sensitive") for one in columns.values())
    if people and not groups:
        yield "data are about people, and no column is a group over which fairness is judged"
    limits = (resource.inputs.get("fairness") or {}).get("limits") or {}
    if groups and not limits:
        yield "no limit says how much groups may differ"
    for name, limit in limits.items():
        if name not in _UNBOUNDED and limit >= 1:
            yield f"{name} is limited to {limit}, and is never more than 1: any difference is within it"


def _gates(resource: Resource, _graph: Graph) -> Faults:
    if not resource.inputs.get("quality"):
        yield "no gate of quality, so that every model would be promoted"
    if not (resource.inputs.get("drift") or {}).get("limit"):
        yield "no limit of drift, so that no one is told when the world has changed"


_MARKS = re.compile(
    r"(^|_)(sex|gender|race|ethnic\w*|religio\w*|disab\w*|health\w*|diagnos\w*|biometric\w*|genetic\w*|crimin\w*|"
    r"politic\w*|nationality|emirates_id|passport\w*)(_|$)",
    re.IGNORECASE,
)


def _marked(resource: Resource, _graph: Graph) -> Faults:
    for name, one in _columns(resource).items() if _personal(resource) else ():
        words = f"{name}_{str(one.get('description', '')).replace(' ', '_')}"
        if _MARKS.search(words) and not (one.get("sensitive") or one.get("personal")):
            yield f"column {name} is marked neither personal nor sensitive"
        if one.get("role") == "entity" and _personal(resource) and not one.get("personal", False):
            yield f"column {name} identifies people, and is not marked personal"


RULES: tuple[Rule, ...] = (
    Rule(
        id="model-storage",
        title="Models are read from the stack's own stores",
        severity=_CRITICAL,
        types=(_MODEL,),
        why="A model holds what it learnt, and learns nothing from abroad.",
        remedy="Set storageUri to the artifacts bucket of the stack, or a claim.",
        controls=TRANSFER,
        judge=_storage,
    ),
    Rule(
        id="model-hub",
        title="No model is fetched from a hub",
        severity=_CRITICAL,
        types=(_MODEL, *_RUNTIMES),
        why="What is there on the day is what answers, and the hub learns who asks.",
        remedy="Register the model, and set storageUri to the artifacts bucket of the stack.",
        controls=(*SUPPLY, "pdpl-22"),
        judge=_hub,
    ),
    Rule(
        id="model-runtime",
        title="Models name a runtime of the stack",
        severity=_HIGH,
        types=(_MODEL,),
        why="A runtime that the cluster chooses is not the one that the model was tested with.",
        remedy="Set spec.predictor.model.runtime to falaj-onnx.",
        controls=SUPPLY,
        judge=_runtime,
    ),
    Rule(
        id="model-replicas",
        title="In production a model answers while one of it restarts, and does not grow without an end",
        severity=_MEDIUM,
        types=(_MODEL,),
        why="Decisions wait for it.",
        remedy="Set minReplicas to 2 or more and maxReplicas; serving.scale_to_zero in "
        "stacks/Pulumi.<stack>.yaml permits less.",
        controls=(*AVAILABILITY, *COST),
        judge=_replicas,
    ),
    Rule(
        id="model-limits",
        title="Models' memory is limited",
        severity=_MEDIUM,
        types=(_MODEL,),
        why="One would stop the others.",
        remedy="Set resources.limits.memory.",
        controls=(*COST, *AVAILABILITY),
        judge=_limits,
    ),
    Rule(
        id="model-visibility",
        title="Models are reached through the gateway alone",
        severity=_HIGH,
        types=(_MODEL, _GRAPH),
        why="Only the gateway asks who comes in.",
        remedy="Set the label networking.kserve.io/visibility to cluster-local.",
        controls=("pdpl-20", "iso-8.20", "ia-t4.5.1", "gdpr-32"),
        judge=_inner,
    ),
    Rule(
        id="model-log",
        title="Requests to models are logged in the country",
        severity=_CRITICAL,
        types=(_MODEL,),
        why="A request holds a person's data.",
        remedy="Set logger.url to a service of the cluster.",
        controls=(*TRANSFER, *LOGGING),
        judge=_logger,
    ),
    Rule(
        id="model-high-impact",
        title="Decisions with a significant effect are reviewed, explained and recorded",
        severity=_CRITICAL,
        types=(_MODEL,),
        why="People may object to decisions that a machine alone takes (PDPL 18).",
        remedy=f"Set the annotation {HUMAN_REVIEW}, an explainer and a logger.",
        controls=AUTOMATED,
        judge=_impact,
    ),
    Rule(
        id="model-card",
        title="Each model has a card",
        severity=_MEDIUM,
        types=(_MODEL,),
        why="It says for what the model is good, for whom it is worse, and who answers for it.",
        remedy=f"Set the annotation {MODEL_CARD} to the digest that the registry shows for the version.",
        controls=MODELS,
        judge=_card,
    ),
    Rule(
        id="model-account",
        title="Each model has a service account of its own",
        severity=_MEDIUM,
        types=(_MODEL,),
        why="Rights of one would be rights of all.",
        remedy="Set spec.predictor.serviceAccountName.",
        controls=("pdpl-20", "iso-5.15", "ia-t5.2.2", "cis-eks-5.2.1"),
        judge=_model_account,
    ),
    Rule(
        id="model-token",
        title="Models have no token of the cluster's API",
        severity=_MEDIUM,
        types=(_MODEL,),
        why="A token helps only who takes the model over.",
        remedy="Set spec.predictor.automountServiceAccountToken to false.",
        controls=(*HARDENING, "cis-eks-4.1.6"),
        judge=_model_token,
        known_as=("CKV_K8S_38",),
    ),
    Rule(
        id="model-gpu",
        title="A model that takes a GPU has a runtime that uses it",
        severity=_MEDIUM,
        types=(_MODEL,),
        why="GPUs cost the most, and others wait for them.",
        remedy=f"Remove {_GPU} from resources, or set spec.predictor.model.runtime to {_CPU_RUNTIME}-gpu.",
        controls=COST,
        judge=_model_gpu,
    ),
    Rule(
        id="runtime-one-model",
        title="A runtime serves one model a process",
        severity=_MEDIUM,
        types=_RUNTIMES,
        why="Use cases would read each other's memory.",
        remedy="Leave multiModel false: infra/addons/kserve.py.",
        controls=HARDENING,
        judge=_multi_model,
    ),
    Rule(
        id="runtime-chosen",
        title="A runtime serves models that name it",
        severity=_LOW,
        types=_RUNTIMES,
        why="A runtime that the cluster chooses is not the one that the model was tested with.",
        remedy="Leave autoSelect false: infra/addons/kserve.py.",
        controls=SUPPLY,
        judge=_auto_select,
    ),
    Rule(
        id="pipeline-root",
        title="Artifacts of runs are kept in the stack's own stores",
        severity=_CRITICAL,
        types=(PIPELINE,),
        why="Artifacts hold training data and models.",
        remedy="Remove pipeline_root from the pipeline: the stack's own is the default.",
        controls=TRANSFER,
        judge=_root,
    ),
    Rule(
        id="pipeline-address",
        title="Steps are told addresses in the country",
        severity=_CRITICAL,
        types=(PIPELINE,),
        why="What a step is told to talk to, it sends data to.",
        remedy="Remove the address from the pipeline or its step.",
        controls=TRANSFER,
        judge=_step_addresses,
    ),
    Rule(
        id="pipeline-region",
        title="Steps are told no region abroad",
        severity=_CRITICAL,
        types=(PIPELINE,),
        why="What a step writes goes to the region that it is told.",
        remedy="Remove the variable from the step: the platform tells each step where it is.",
        controls=TRANSFER,
        judge=_step_regions,
    ),
    Rule(
        id="pipeline-user",
        title="No step is root",
        severity=_HIGH,
        types=(PIPELINE,),
        why="Root in a container is root on the node after one fault.",
        remedy="Remove kubernetes.set_security_context, or name a user other than 0.",
        controls=HARDENING,
        judge=_step_user,
        known_as=("CKV_K8S_23",),
    ),
    Rule(
        id="pipeline-cache",
        title="Results of steps are not cached",
        severity=_HIGH,
        types=(PIPELINE,),
        why="A cache holds personal data past their retention, and a withdrawal of consent does not reach it.",
        remedy="Call set_caching_options(False) on the step.",
        controls=RETENTION,
        judge=_cache,
    ),
    Rule(
        id="pipeline-gpus",
        title="Steps ask for GPUs that there are",
        severity=_MEDIUM,
        types=(PIPELINE,),
        why="A run that can never start holds its quota.",
        remedy="Set the accelerator of the step to nvidia.com/gpu, at most 8.",
        controls=COST,
        judge=_gpus,
    ),
    Rule(
        id="pipeline-packages",
        title="Steps install nothing when they start",
        severity=_HIGH,
        types=(PIPELINE,),
        why="What is installed was neither reviewed nor locked, and comes from abroad.",
        remedy="Put the package into uv.lock and the image; remove packages_to_install, and pass "
        "install_kfp_package=False.",
        controls=SUPPLY,
        judge=_step_packages,
    ),
    Rule(
        id="pipeline-contract",
        title="A pipeline that takes data takes their contract",
        severity=_HIGH,
        types=(PIPELINE,),
        why="The contract says what the data may be used for, on which basis, and until when.",
        remedy="Add a parameter contract_uri, and let the first step read it.",
        controls=LAWFUL,
        judge=_consent_inputs,
    ),
    Rule(
        id="pipeline-secrets",
        title="Steps get secrets as files",
        severity=_HIGH,
        types=(PIPELINE,),
        why="A variable is seen by children, crash reports and logs.",
        remedy="Use kubernetes.use_secret_as_volume.",
        controls=("pdpl-20", "iso-5.17", "ia-t5.2.2", "cis-eks-4.4.1"),
        judge=_step_secrets,
    ),
    Rule(
        id="contract-valid",
        title="The contract is one",
        severity=_CRITICAL,
        types=(CONTRACT,),
        why="Validation, gates, retention and the model card follow from it.",
        remedy="Correct the key that the message names: docs/data-contract.md.",
        controls=LAWFUL,
        judge=_contract_valid,
    ),
    Rule(
        id="contract-basis",
        title="Data are used on a basis in law",
        severity=_CRITICAL,
        types=(CONTRACT,),
        why="Without consent or another basis processing is forbidden (PDPL 4).",
        remedy="Set lawful_basis in the contract.",
        controls=LAWFUL,
        judge=_basis,
    ),
    Rule(
        id="contract-consent",
        title="Consent is on record",
        severity=_CRITICAL,
        types=(CONTRACT,),
        why="The controller must be able to prove it, and it can be withdrawn at any time (PDPL 6).",
        remedy="Set consent.source in the contract to a file in the country.",
        controls=LAWFUL,
        judge=_consent,
    ),
    Rule(
        id="contract-dpia",
        title="The impact assessment is there, and in date",
        severity=_HIGH,
        types=(CONTRACT,),
        why="Sensitive data and profiling need one before they are used (PDPL 21).",
        remedy="Make the assessment again, and set dpia in the contract.",
        controls=IMPACT,
        judge=_dpia,
    ),
    Rule(
        id="contract-review",
        title="People review decisions with a significant effect",
        severity=_CRITICAL,
        types=(CONTRACT,),
        why="People may object to decisions that a machine alone takes (PDPL 18).",
        remedy="Set automated_decision.human_review to true in the contract.",
        controls=AUTOMATED,
        judge=_review,
    ),
    Rule(
        id="contract-retention",
        title="Data are kept for a time that the contract says",
        severity=_HIGH,
        types=(CONTRACT,),
        why="Personal data are kept no longer than their purpose needs (PDPL 5).",
        remedy="Set retention.days in the contract.",
        controls=(*RETENTION, "health-retention"),
        judge=_kept,
    ),
    Rule(
        id="contract-purpose",
        title="The purpose is said, and someone answers for it",
        severity=_HIGH,
        types=(CONTRACT,),
        why="Data are used for the purpose that they were collected for (PDPL 5).",
        remedy="Set purpose and owner in the contract.",
        controls=("pdpl-5", "pdpl-7-8", "iso-5.34", "gdpr-5", "gdpr-30"),
        judge=_purpose,
    ),
    Rule(
        id="contract-fairness",
        title="Models about people are judged by groups",
        severity=_HIGH,
        types=(CONTRACT,),
        why="A model can be right on average and wrong for some.",
        remedy="Give columns the role group, and set fairness.limits in the contract.",
        controls=MODELS,
        judge=_fair,
    ),
    Rule(
        id="contract-gates",
        title="Gates of quality and drift are set",
        severity=_MEDIUM,
        types=(CONTRACT,),
        why="Otherwise any model is promoted, and stays.",
        remedy="Set quality and drift in the contract.",
        controls=MODELS,
        judge=_gates,
    ),
    Rule(
        id="contract-marked",
        title="Personal and sensitive columns are marked",
        severity=_HIGH,
        types=(CONTRACT,),
        why="What is not marked is neither hashed nor watched.",
        remedy="Set personal or sensitive on the column in the contract.",
        controls=("pdpl-20", "iso-8.11", "ia-t1.3.1", "gdpr-9"),
        judge=_marked,
    ),
)
