"""How parts of the platform are set up: the gateway, notebooks, logs, stores and what watches them."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from policies import iam, pods
from policies.conditions import in_production
from policies.controls import (
    ACCESS,
    AUTHENTICATION,
    AVAILABILITY,
    COST,
    ERASURE,
    EVIDENCE,
    HARDENING,
    IN_TRANSIT,
    LOGGING,
    MODELS,
    MONITORING,
    NETWORK,
    RETENTION,
)
from policies.graph import Graph
from policies.model import Faults, Judge, Resource, Rule, Severity
from policies.places import host, urls

_HIGH, _CRITICAL, _MEDIUM = Severity.HIGH, Severity.CRITICAL, Severity.MEDIUM
_CHART = "kubernetes:helm.sh/v4:Chart"
_CONFIG = "kubernetes:core/v1:ConfigMap"
_GATEWAY = "kubernetes:gateway.networking.k8s.io/v1:Gateway"
_SIGN_IN = "kubernetes:gateway.envoyproxy.io/v1alpha1:SecurityPolicy"
_CLIENTS = "kubernetes:gateway.envoyproxy.io/v1alpha1:ClientTrafficPolicy"
_ROUTE = "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute"
_LIMITS = "kubernetes:gateway.envoyproxy.io/v1alpha1:BackendTrafficPolicy"
_DEPLOYMENT = "kubernetes:apps/v1:Deployment"
_GRPC = re.compile(r"^/[A-Za-z]\w*(?:\.[A-Za-z]\w*)+/?$")
"""How the path of a gRPC service begins; gRPC itself limits a message, to 4 MiB unless it is told otherwise."""
_USER_HEADER = "x-falaj-user"
_INSIDE = re.compile(
    r"(?:^[^.]+$|\.(?:svc|local|internal|localhost)$|^127\.|^10\.|^192\.168\.|^169\.254\.|^localhost$)"
)
_AUDIT_DELETES = ("s3:deleteobject", "s3:deleteobjectversion", "s3:bypassgovernanceretention", "s3:putobjectretention")


def _name(resource: Resource) -> str:
    return str((resource.inputs.get("metadata") or {}).get("name"))


def _values(resource: Resource, chart: str) -> Mapping[str, Any] | None:
    """The values of a chart of that name; None of any other."""
    if str(resource.inputs.get("chart") or "").rpartition("/")[2] != chart:
        return None
    found = resource.inputs.get("values")
    return found if isinstance(found, Mapping) else {}


def _at(values: Any, path: str) -> Any:
    for part in path.split("/"):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values


def _plain_http(resource: Resource, _graph: Graph) -> Faults:
    for path, text in resource.texts():
        if re.fullmatch(r"http://\S+", text) and ".annotations." not in f".{path}":
            for _, rest in urls(text):
                if not _INSIDE.search(host(rest)):
                    yield f"{path} is reached without TLS"


def _text_tls(resource: Resource, _graph: Graph) -> Faults:
    for path, text in resource.texts():
        if re.search(r"(?im)^\s*tls\.verify\s+off\b", text) or re.search(r"(?im)^\s*tls\s+off\b", text):
            yield f"{path.partition('.')[0]}: what it sends goes without TLS, or to whoever answers"
        for mode in re.findall(r"(?im)(?:server_tls_sslmode\s*=\s*|^PGSSLMODE=)(\S+)", text):
            if mode not in ("verify-full", "verify-ca"):
                yield f"{path.partition('.')[0]}: the database is not verified"
        if re.search(r"(?i)\bdisablessl\"?\s*:\s*\"?true", text):
            yield f"{path.partition('.')[0]}: the object store is reached without TLS"
    mode = (resource.inputs.get("data") or {}).get("PGSSLMODE") if resource.type == _CONFIG else None
    if mode not in (None, "verify-full", "verify-ca"):
        yield "PGSSLMODE does not verify the database"
    values = _values(resource, "loki")
    if values is not None and _at(values, "loki/storage/object_store/s3/insecure") is True:
        yield "the object store is reached without TLS"


def _certificate(resource: Resource, _graph: Graph) -> Faults:
    algorithm, size = (
        resource.value("spec.privateKey.algorithm", "RSA"),
        int(resource.value("spec.privateKey.size", 2048)),
    )
    if algorithm == "RSA" and size < 2048:
        yield f"its key is RSA of {size} bits"


def _route_origins(resource: Resource, _graph: Graph) -> Faults:
    for listener in resource.each("spec.listeners"):
        origin = _at(listener, "allowedRoutes/namespaces/from")
        if origin == "All":
            yield "routes of every namespace are taken"


def _grants(resource: Resource, graph: Graph) -> Faults:
    homes = {pods.namespace(one) for one in graph.of(_GATEWAY)}
    for origin in resource.each("spec.from"):
        if isinstance(origin, Mapping) and homes and origin.get("namespace") not in homes:
            yield f"routes of the namespace {origin.get('namespace')} lead to its services"


def _user_header(resource: Resource, _graph: Graph) -> Faults:
    removed = [str(one).lower() for one in resource.each("spec.headers.earlyRequestHeaders.remove")]
    if _USER_HEADER not in removed:
        yield "callers may say who they are by a header: X-Falaj-User is not removed"
    if resource.value("spec.headers.withUnderscoresAction", "RejectRequest") == "Allow":
        yield "callers may say who they are by another spelling of the header"


def _tokens(resource: Resource, _graph: Graph) -> Faults:
    if resource.value("spec.oidc.forwardAccessToken") is True:
        yield "services see the tokens of their callers"
    for provider in resource.each("spec.jwt.providers"):
        if isinstance(provider, Mapping) and not provider.get("audiences"):
            yield "tokens that were made for others are taken: a provider has no audiences"


def _sessions(resource: Resource, graph: Graph) -> Faults:
    """The gateway keeps its session cookies from services, and its administrators' pages from others."""
    if not any(policy.has("spec.oidc") for policy in graph.of(_SIGN_IN)):
        return
    kinds = "kubernetes:gateway.envoyproxy.io/v1alpha1:EnvoyExtensionPolicy"
    targets = [one for policy in graph.of(kinds) for one in policy.each("spec.targetRefs")]
    if not any(isinstance(one, Mapping) and one.get("name") == _name(resource) for one in targets):
        yield "services see the sessions of their callers"
    guarded = {
        one.get("name")
        for policy in graph.of(_SIGN_IN)
        for one in policy.each("spec.targetRefs")
        if isinstance(one, Mapping)
    }
    for route in graph.of(_ROUTE):
        if _name(route) in ("alertmanager", "prometheus") and _name(route) not in guarded:
            yield f"every user sees the pages of {_name(route)}, which are of administrators"


def _notebooks(resource: Resource, _graph: Graph) -> Faults:
    values = _values(resource, "jupyterhub")
    if values is None:
        return
    for rule in ("cloudMetadataServer", "privateIPs"):
        if _at(values, f"singleuser/networkPolicy/egressAllowRules/{rule}") is True:
            yield f"notebooks reach {rule}"
    config = _at(values, "hub/config") or {}
    for section in config.values():
        if isinstance(section, Mapping):
            if section.get("allow_all") is True:
                yield "anyone who is signed in may open a notebook"
            if section.get("authenticator_class") in ("dummy", "nullauthenticator", "null"):
                yield "notebooks take any name"
            if section.get("admin_access") is True:
                yield "administrators may open the notebooks of others"
    if _at(values, "singleuser/uid") == 0:
        yield "notebooks run as root"


def _network_policies(resource: Resource, _graph: Graph) -> Faults:
    if resource.value("addonName") == "vpc-cni" and not re.search(
        r"\"enableNetworkPolicy\"\s*:\s*\"true\"", str(resource.inputs.get("configurationValues") or "")
    ):
        yield "the network ignores policies: enableNetworkPolicy is not true"


def _audit_rights(resource: Resource, _graph: Graph) -> Faults:
    for statement in iam.statements(iam.document(resource, iam.IDENTITY[resource.type])):
        if not statement.allows:
            continue
        found = sorted({one for one in statement.actions if one.lower() in _AUDIT_DELETES})
        if any("bypassgovernance" in one.lower() for one in found):
            yield "it may go around the lock of records"
        if found and any(re.search(r"-audit(?:/|$)", one) for one in statement.resources):
            yield f"it may delete records of the audit log: {', '.join(found)}"


def _rights_change(resource: Resource, _graph: Graph) -> Faults:
    marks = re.compile(
        r"iam:(attach|put|detach|delete)(role|user|group)polic|iam:(create|set\w*)policyversion|iam:setdefaultpolicyversion|"
        r"iam:updateassumerolepolicy|iam:create(accesskey|user|loginprofile)|iam:updateloginprofile|iam:addusertogroup"
    )
    for statement in iam.statements(iam.document(resource, iam.IDENTITY[resource.type])):
        found = [one for one in statement.actions if statement.allows and marks.match(one.lower())]
        if found:
            yield f"it changes what others may do: {', '.join(sorted(found))}"


def _own_account(resource: Resource, graph: Graph) -> Faults:
    for policy in graph.attached(resource, "aws:s3/bucketPolicy:BucketPolicy", "bucket"):
        for statement in iam.statements(iam.document(policy, "policy")):
            asked = {key for operator, block in statement.condition.items() for key in block if "Not" in operator}
            if not statement.allows and statement.anyone and asked & {"aws:principalaccount", "aws:principalorgid"}:
                return
    yield "its policy does not refuse other accounts, whatever else lets them in"


def _secure_transport(resource: Resource, _graph: Graph) -> Faults:
    for statement in iam.statements(iam.document(resource, "policy")):
        asked = [
            values
            for block in statement.condition.values()
            for key, values in block.items()
            if key == "aws:securetransport"
        ]
        if not statement.allows and ("false",) in asked:
            return
    yield "its policy does not refuse requests without TLS"


def _brokers(resource: Resource, _graph: Graph) -> Faults:
    lines = re.findall(r"(?m)^\s*([a-z.]+)\s*=\s*(\S+)", str(resource.inputs.get("serverProperties") or ""))
    found = dict(lines)
    if int(found.get("default.replication.factor", 3)) < 2:
        yield "records have one copy"
    if found.get("unclean.leader.election.enable") == "true":
        yield "records may be lost when a broker is: unclean.leader.election.enable is true"
    if "-1" in (found.get("log.retention.ms"), found.get("log.retention.hours"), found.get("log.retention.minutes")):
        yield "records are kept for ever"


def _log_store(resource: Resource, _graph: Graph) -> Faults:
    values = _values(resource, "loki")
    if values is None:
        return
    if _at(values, "loki/compactor/retention_enabled") is not True:
        yield "logs are kept for ever: loki.compactor.retention_enabled is not true"
    if not _at(values, "loki/limits_config/retention_period"):
        yield "logs are kept for ever: loki.limits_config.retention_period is absent"


def _trail_of_steps(resource: Resource, _graph: Graph) -> Faults:
    data = resource.inputs.get("data") or {}
    if not any(key.startswith("FALAJ_") for key in data):
        return
    for key, what in (("FALAJ_AUDIT_LOG", "audit log"), ("FALAJ_LINEAGE_LOG", "lineage")):
        found = str(data.get(key) or "")
        if not found:
            yield f"steps keep no {what}: {key} is absent"
        elif "://" not in found:
            yield f"steps keep their {what} in a file of the pod: {key}"


def _answers(resource: Resource, _graph: Graph) -> Faults:
    for pod in pods.pods(resource):
        for container in pod.containers():
            words = [str(word) for key in ("command", "args") for word in container.spec.get(key) or ()]
            if "serving.runtime" in words and not any(word.startswith("--inference-log") for word in words):
                yield f"{container.name}: answers of models are not recorded: --inference-log is absent"


def _workflows(resource: Resource, _graph: Graph) -> Faults:
    data = resource.inputs.get("data") or {}
    if re.search(r"archiveLogs\"?\s*:\s*false", str(data.get("artifactRepository") or "")):
        yield "logs of steps are gone with their pods"
    defaults = data.get("workflowDefaults")
    if isinstance(defaults, str) and "ttlStrategy" not in defaults:
        yield "runs are kept for ever: workflowDefaults has no ttlStrategy"
    for key, value in data.items():
        if key.lower().endswith("runasnonroot") and value == "false":
            yield f"steps may be root: {key}"


def _backends(route: Resource) -> Iterator[Mapping[str, Any]]:
    """Services that a route leads to; none where the gateway itself answers."""
    for rule in route.each("spec.rules"):
        yield from (one for one in rule.get("backendRefs") or () if isinstance(one, Mapping))


def _limited(route: Resource, graph: Graph, what: str) -> bool:
    """Whether a policy on the route says how much of its service it takes."""
    found = graph.found(_LIMITS, _limits_of, (pods.namespace(route), _name(route)))
    return any(policy.has(f"spec.{what}") for policy in found)


def _limits_of(policy: Resource) -> Iterator[tuple[str | None, str]]:
    for one in policy.each("spec.targetRefs"):
        if isinstance(one, Mapping):
            yield pods.namespace(policy), str(one.get("name"))


def _request_rate(resource: Resource, graph: Graph) -> Faults:
    if any(_backends(resource)) and not _limited(resource, graph, "rateLimit"):
        yield "a caller may ask as often as it likes, and the others wait"


def _request_size(resource: Resource, graph: Graph) -> Faults:
    models = {_name(one) for one in graph.of(_DEPLOYMENT) if "serving.runtime" in _words(one)}
    to_models = any(
        str(one.get("name")) in models or str(one.get("name")).endswith("-predictor") for one in _backends(resource)
    )
    paths = [str(path) for path in resource.each("spec.rules.matches.path.value")]
    streams = bool(paths) and all(_GRPC.match(path) for path in paths)
    if to_models and not streams and not _limited(resource, graph, "requestBuffer"):
        yield "a request to a model may be of any size, and takes its memory"


def _words(resource: Resource) -> list[str]:
    return [str(w) for pod in pods.pods(resource) for one in pod.containers() for w in one.spec.get("command") or ()]


def _run_account(resource: Resource, _graph: Graph) -> Faults:
    text = (resource.inputs.get("data") or {}).get("config.json")
    if not isinstance(text, str) or "PipelineRunnerServiceAccount".lower() not in text.lower():
        return
    for key, value in json.loads(text).items():
        if key.lower() == "defaultpipelinerunnerserviceaccount" and value in ("", "default"):
            yield "steps run as the namespace's default account"


def _memoized(resource: Resource, _graph: Graph) -> Faults:
    text = (resource.inputs.get("data") or {}).get("workflowDefaults")
    defaults = json.loads(text) if isinstance(text, str) else {}
    listed = [_at(defaults, "spec/templateDefaults"), *(_at(defaults, "spec/templates") or ())]
    if any(_at(one, "memoize") for one in listed):
        yield "the result of each step is kept for other runs, where no retention and no erasure reaches"


def _shipping(_resource: Resource, graph: Graph) -> Faults:
    if graph.settings.logging is None:
        return
    if not any(_values(one, "fluent-bit") is not None for one in graph.of(_CHART)):
        yield "logs of pods are gone with their node: nothing ships them"


def _metrics(resource: Resource, graph: Graph) -> Faults:
    values = _values(resource, "kube-prometheus-stack")
    if values is None:
        return
    if "additionalPrometheusRulesMap" in values and not values["additionalPrometheusRulesMap"]:
        yield "there is no rule for alerts"
    spec = _at(values, "prometheus/prometheusSpec")
    if isinstance(spec, Mapping) and not spec.get("storageSpec") and graph.settings.production:
        yield "metrics are gone with the pod that holds them: storageSpec is absent"


def _watched(metric: str, what: str) -> Judge:
    def judge(_resource: Resource, graph: Graph) -> Faults:
        if not any(
            metric in str(one.inputs.get("metricName")) for one in graph.of("aws:cloudwatch/metricAlarm:MetricAlarm")
        ):
            yield f"nothing watches {what}"

    return judge


def _read_metrics(resource: Resource, graph: Graph) -> Faults:
    kinds = ("kubernetes:monitoring.coreos.com/v1:ServiceMonitor", "kubernetes:monitoring.coreos.com/v1:PodMonitor")
    if not graph.of(_CHART, *kinds):
        return
    if resource.type.endswith("ClusterServingRuntime"):
        # KServe's own label is on every pod of a model.
        if not any("serving.kserve.io/inferenceservice" in str(one.inputs) for one in graph.of(kinds[1])):
            yield "nothing reads the metrics of its models"
        return
    if "serving.runtime" not in _words(resource):
        return
    labels = _at(resource.inputs, "spec/template/metadata/labels") or {}
    for monitor in graph.of(kinds[0]):
        selected = _at(monitor.inputs, "spec/selector/matchLabels") or {}
        if selected and all(labels.get(key) == value for key, value in selected.items()):
            return
    yield "nothing reads its metrics"


def _disk_watched(resource: Resource, graph: Graph) -> Faults:
    for alarm in graph.of("aws:cloudwatch/metricAlarm:MetricAlarm"):
        mine = resource in graph.targets(alarm, "dimensions") or str(resource.inputs.get("identifier")) in str(
            alarm.inputs.get("dimensions")
        )
        if mine and alarm.inputs.get("metricName") == "FreeStorageSpace":
            return
    yield "nothing watches whether its disk fills"


def _queue_heard(resource: Resource, _graph: Graph) -> Faults:
    values = _values(resource, "karpenter")
    if values is not None and not _at(values, "settings/interruptionQueue"):
        yield "nodes are taken without a warning that anyone hears: settings.interruptionQueue is absent"


def _exempted(resource: Resource, graph: Graph) -> Faults:
    values = _values(resource, "kyverno")
    if values is None:
        return
    wanted = graph.settings.admission.replicas if graph.settings.admission else 1
    if int(_at(values, "admissionController/replicas") or 1) < wanted:
        yield f"it has fewer replicas than admission.replicas, {wanted}: while it restarts, nothing can be created"
    if _at(values, "features/policyExceptions/enabled") is True:
        yield "whoever may write an exception is free of every policy"
    people = {
        _name(one) for one in graph.of("kubernetes:core/v1:Namespace") if pods.label(one, "falaj.ae/tenant") == "true"
    }
    for one in _at(values, "config/webhooks/namespaceSelector/matchExpressions") or ():
        if isinstance(one, Mapping) and one.get("operator") == "NotIn" and people & set(one.get("values") or ()):
            yield "no policy holds in a namespace in which people start pods"


def _fails_open(resource: Resource, graph: Graph) -> Faults:
    kind = resource.type.rpartition(":")[2]
    if kind.endswith("Binding"):
        if graph.settings.production and "Deny" not in resource.each("spec.validationActions"):
            yield "it lets pass what it forbids: validationActions lacks Deny"
        return
    if kind == "ValidatingAdmissionPolicy":
        if resource.value("spec.failurePolicy", "Fail") != "Fail":
            yield "it lets everything pass where it fails: failurePolicy is not Fail"
        bound = [one.value("spec.policyName") for one in graph.of(f"{resource.type}Binding")]
        if _name(resource) not in bound:
            yield "nothing binds it, so that it holds nowhere"
        return
    if "Ignore" in resource.each("webhooks.failurePolicy"):
        yield "it lets everything pass while it is away: failurePolicy is Ignore"


def _rule(
    name: str,
    title: str,
    severity: Severity,
    why: str,
    remedy: str,
    controls: tuple[str, ...],
    judge: Judge,
    *types: str,
) -> Rule:
    return Rule(
        id=name, title=title, severity=severity, types=types, why=why, remedy=remedy, controls=controls, judge=judge
    )


_WHO = "Services trust what the gateway says of who is there."
_OPERATION = "infra/addons"

RULES: tuple[Rule, ...] = (
    _rule(
        "address-tls",
        "Addresses outside the cluster are reached over TLS",
        _HIGH,
        "On the way anyone between can read and change what is not encrypted.",
        "Name an address that begins with https.",
        IN_TRANSIT,
        _plain_http,
        "kubernetes:*",
    ),
    _rule(
        "settings-tls",
        "No setting turns TLS or its verification off",
        _HIGH,
        "TLS without verification talks to whoever answers.",
        f"Leave TLS and its verification on in the settings: {_OPERATION}.",
        IN_TRANSIT,
        _text_tls,
        _CONFIG,
        _CHART,
    ),
    _rule(
        "certificate-strength",
        "Keys of certificates are strong",
        _HIGH,
        "A weak key is computed from its certificate.",
        "Ask for ECDSA, or RSA of 2048 bits or more: infra/substrates/kubernetes/gateway.py.",
        IN_TRANSIT,
        _certificate,
        "kubernetes:cert-manager.io/v1:Certificate",
    ),
    _rule(
        "gateway-route-origins",
        "The gateway takes routes of namespaces that may have them",
        _HIGH,
        "Whoever can write a route can publish a service.",
        "Leave allowedRoutes with a selector: infra/substrates/kubernetes/gateway.py.",
        NETWORK,
        _route_origins,
        _GATEWAY,
    ),
    _rule(
        "gateway-grants",
        "Only the gateway's own routes lead into other namespaces",
        _HIGH,
        "A route of another would go around the gateway's rules.",
        "Name the gateway's namespace in the grant: infra/substrates/kubernetes/gateway.py.",
        NETWORK,
        _grants,
        "kubernetes:gateway.networking.k8s.io/v1beta1:ReferenceGrant",
    ),
    _rule(
        "gateway-user-header",
        "Callers cannot say who they are",
        _CRITICAL,
        _WHO,
        "Leave the removal of X-Falaj-User, and of underscores: infra/substrates/kubernetes/gateway.py.",
        AUTHENTICATION,
        _user_header,
        _CLIENTS,
    ),
    _rule(
        "gateway-tokens",
        "Tokens are made for the platform, and stay at the gateway",
        _HIGH,
        "A service that sees a token can be its owner elsewhere.",
        "Set gateway.public.oidc in stacks/Pulumi.<stack>.yaml; leave forwardAccessToken off.",
        AUTHENTICATION,
        _tokens,
        _SIGN_IN,
    ),
    _rule(
        "gateway-sessions",
        "Sessions stay at the gateway, and pages of administrators are theirs",
        _HIGH,
        "A service that sees a session can be its owner.",
        "Leave the extension policy and the policies of administrators' routes: "
        "infra/substrates/kubernetes/gateway.py.",
        AUTHENTICATION,
        _sessions,
        _GATEWAY,
    ),
    _rule(
        "gateway-request-rate",
        "In production callers may ask only so often",
        _MEDIUM,
        "One caller, by mistake or not, would take what is there for all.",
        "Set gateway.requests_per_second in stacks/Pulumi.<stack>.yaml.",
        (*COST, *AVAILABILITY),
        in_production(_request_rate),
        _ROUTE,
    ),
    _rule(
        "gateway-request-size",
        "A request to a model is of a size that its memory has room for",
        _MEDIUM,
        "A model holds the whole request while it answers.",
        "Leave limit_body of the route true: infra/substrates/cluster.py; gateway.max_body_bytes in "
        "stacks/Pulumi.<stack>.yaml is the limit.",
        (*COST, *AVAILABILITY),
        _request_size,
        _ROUTE,
    ),
    _rule(
        "notebooks-closed",
        "Notebooks are of people who may, and reach neither nodes nor each other",
        _HIGH,
        "A notebook runs whatever is written into it.",
        "Leave sign-in and network policy of notebooks: infra/addons/notebooks.py.",
        ACCESS,
        _notebooks,
        _CHART,
    ),
    _rule(
        "eks-network-policies",
        "The network keeps network policies",
        _HIGH,
        "Policies that no one keeps protect nothing.",
        "Leave enableNetworkPolicy of vpc-cni true: infra/substrates/aws/cluster.py.",
        (*NETWORK, "cis-eks-5.4.4"),
        _network_policies,
        "aws:eks/addon:Addon",
    ),
    _rule(
        "audit-rights",
        "No one may delete the audit log",
        _CRITICAL,
        "The first thing that an intruder deletes is the trail.",
        "Remove the action: infra/substrates/aws/identities.py gives none on the bucket audit.",
        EVIDENCE,
        _audit_rights,
        *iam.IDENTITY,
    ),
    _rule(
        "iam-rights-change",
        "No role changes what others may do",
        _CRITICAL,
        "Whoever may change rights has them.",
        "Remove the action: rights follow from what workloads declare.",
        ACCESS,
        _rights_change,
        *iam.IDENTITY,
    ),
    _rule(
        "s3-own-account",
        "Buckets refuse other accounts, whatever else lets them in",
        _HIGH,
        "One wrong statement elsewhere would open them.",
        "Leave the statement OwnAccount in infra/substrates/aws/buckets.py.",
        ACCESS,
        _own_account,
        "aws:s3/bucket:Bucket",
    ),
    _rule(
        "topic-tls",
        "Topics and queues refuse requests without TLS",
        _MEDIUM,
        "On the way anyone between can read and change what is not encrypted.",
        "Refuse aws:SecureTransport false in the policy: infra/substrates/aws.",
        IN_TRANSIT,
        _secure_transport,
        "aws:sns/topicPolicy:TopicPolicy",
        "aws:sqs/queuePolicy:QueuePolicy",
    ),
    _rule(
        "msk-configuration",
        "Brokers keep copies, and records end",
        _HIGH,
        "A broker can be lost, and records hold personal data.",
        "Leave the server properties in infra/substrates/aws.",
        (*AVAILABILITY, *RETENTION),
        _brokers,
        "aws:msk/configuration:Configuration",
    ),
    _rule(
        "log-store-retention",
        "Logs in the cluster end",
        _MEDIUM,
        "Logs hold identifiers, and are kept no longer than their purpose needs.",
        "Set governance.retention.logs in stacks/Pulumi.<stack>.yaml.",
        RETENTION,
        _log_store,
        _CHART,
    ),
    _rule(
        "steps-trail",
        "Steps keep their audit log and lineage in the store",
        _HIGH,
        "They are the evidence of what a model was made of, and by whom it was approved.",
        "Leave FALAJ_AUDIT_LOG and FALAJ_LINEAGE_LOG in the settings of steps: infra/parts.py.",
        EVIDENCE,
        _trail_of_steps,
        _CONFIG,
    ),
    _rule(
        "answers-recorded",
        "Answers of models are recorded",
        _HIGH,
        "People may ask how a decision about them came to be.",
        "Leave --inference-log in the command: infra/services/inference.py, infra/addons/kserve.py.",
        (*MODELS, *LOGGING),
        _answers,
        *pods.ALL,
    ),
    _rule(
        "runs-end",
        "Runs keep their logs, end, and are not root",
        _MEDIUM,
        "Logs of steps are evidence, and what is kept for ever is erased by no one.",
        "Set pipelines.run_days in stacks/Pulumi.<stack>.yaml; leave the settings in infra/addons/pipelines.",
        (*RETENTION, *LOGGING, *HARDENING),
        _workflows,
        _CONFIG,
    ),
    _rule(
        "runs-account",
        "Runs have a service account of their own",
        _MEDIUM,
        "What is given to the default account, every pod of the namespace has.",
        "Leave DEFAULTPIPELINERUNNERSERVICEACCOUNT in infra/addons/pipelines/settings.py.",
        (*HARDENING, "cis-eks-4.1.5"),
        _run_account,
        _CONFIG,
    ),
    _rule(
        "runs-not-memoized",
        "Results of steps are not kept for other runs",
        _HIGH,
        "A cache holds personal data past their retention, and a withdrawal of consent does not reach it.",
        "Remove memoize from the defaults of workflows: infra/addons/pipelines/settings.py.",
        (*ERASURE, *RETENTION),
        _memoized,
        _CONFIG,
    ),
    _rule(
        "logs-shipped",
        "Something ships the logs of pods",
        _HIGH,
        "What a pod said before it was stopped is lost with it.",
        "Set logging in stacks/Pulumi.<stack>.yaml.",
        LOGGING,
        _shipping,
        "pulumi:providers:kubernetes",
    ),
    _rule(
        "metrics-kept",
        "Metrics are kept, and rules make alerts of them",
        _MEDIUM,
        "What no one measured no one can explain.",
        "Set prometheus.storage_gib in stacks/Pulumi.<stack>.yaml; rules are in monitoring/alerts.",
        MONITORING,
        _metrics,
        _CHART,
    ),
    _rule(
        "metrics-read",
        "Metrics of models are read",
        _MEDIUM,
        "An answer that comes too late, or not, is seen by no one.",
        "Leave the monitors: infra/substrates/kubernetes/substrate.py, infra/addons/kserve.py.",
        MONITORING,
        _read_metrics,
        _DEPLOYMENT,
        "kubernetes:serving.kserve.io/v1alpha1:ClusterServingRuntime",
    ),
    _rule(
        "rds-disk-watched",
        "Someone is told before a database's disk is full",
        _MEDIUM,
        "A full disk stops it.",
        "Leave the alarm in infra/substrates/aws/alarms.py.",
        MONITORING,
        _disk_watched,
        "aws:rds/instance:Instance",
    ),
    _rule(
        "msk-watched",
        "Someone is told when brokers are away",
        _MEDIUM,
        "Records are lost where no one takes them.",
        "Leave the alarm in infra/substrates/aws/alarms.py.",
        MONITORING,
        _watched("Offline", "whether brokers are away"),
        "aws:msk/cluster:Cluster",
    ),
    _rule(
        "interruptions-heard",
        "Warnings that a node will be taken are heard",
        _MEDIUM,
        "Pods move in the two minutes before it, or are cut off.",
        "Leave settings.interruptionQueue in infra/addons/karpenter.py.",
        AVAILABILITY,
        _queue_heard,
        _CHART,
    ),
    _rule(
        "admission-exemptions",
        "Nothing is free of admission where people start pods",
        _HIGH,
        "An exemption is the way in.",
        "Leave the values in infra/addons/kyverno.py.",
        HARDENING,
        _exempted,
        _CHART,
    ),
    _rule(
        "admission-fails-closed",
        "What guards the cluster refuses where it fails",
        _HIGH,
        "Otherwise one need only make it fail.",
        "Set failurePolicy to Fail, and bind the policy with Deny: infra/addons/limits.py.",
        HARDENING,
        _fails_open,
        "kubernetes:admissionregistration.k8s.io/v1:ValidatingAdmissionPolicy",
        "kubernetes:admissionregistration.k8s.io/v1:ValidatingAdmissionPolicyBinding",
        "kubernetes:admissionregistration.k8s.io/v1:ValidatingWebhookConfiguration",
    ),
)
