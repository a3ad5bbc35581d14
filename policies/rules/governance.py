"""What is not technical: who answers, what was assessed, what it may cost, and that it goes on."""

from collections.abc import Iterator
from typing import Any

from policies import pods
from policies.conditions import at_least, both, in_production, is_true
from policies.controls import AVAILABILITY, COST, IMPACT, MONITORING, RECORDS
from policies.cost import estimate
from policies.graph import Graph
from policies.model import Faults, Resource, Rule, Severity, Unknown
from policies.rules.keeping import DEFAULT_TAGS
from policies.rules.residency import STACK

_HIGH, _CRITICAL, _MEDIUM, _LOW = Severity.HIGH, Severity.CRITICAL, Severity.MEDIUM, Severity.LOW
_DATABASE = "aws:rds/instance:Instance"
_CACHE = "aws:elasticache/replicationGroup:ReplicationGroup"
_POOL = "kubernetes:karpenter.sh/v1:NodePool"
_NODES = "aws:eks/nodeGroup:NodeGroup"
_FILE = "in stacks/Pulumi.<stack>.yaml"
_GPU = "nvidia.com/gpu"


def _officer(_resource: Resource, graph: Graph) -> Faults:
    governance = graph.settings.governance
    if governance is not None and governance.sensitive_data and not governance.contacts.data_protection_officer:
        yield "data are sensitive, and there is no data protection officer"


def _record(_resource: Resource, graph: Graph) -> Faults:
    governance = graph.settings.governance
    if governance is not None and not governance.record_of_processing:
        raise Unknown("governance.record_of_processing is absent: the controller has to show the entry")
    return []


def _assessed(_resource: Resource, graph: Graph) -> Faults:
    governance = graph.settings.governance
    if governance is None or not governance.sensitive_data:
        return
    if governance.dpia is None:
        raise Unknown("governance.dpia is absent: the controller has to show the assessment; contracts name their own")
    if governance.dpia.expires <= graph.today:
        yield f"the impact assessment is out of date since {governance.dpia.expires.isoformat()}"


def _window(_resource: Resource, graph: Graph) -> Faults:
    governance = graph.settings.governance
    if governance is not None and governance.breach_notification_hours > 72:
        yield f"a breach would be told after {governance.breach_notification_hours} hours, later than 72"


def _within_budget(_resource: Resource, graph: Graph) -> Faults:
    substrate, governance = graph.settings.substrate, graph.settings.governance
    if substrate is None or substrate.kind != "aws":
        return
    budget = governance.budget if governance else None
    if budget is None:
        yield "it has no budget: governance.budget is absent"
        return
    bill = estimate(graph)
    if bill.monthly > budget.monthly_usd:
        yield f"it is estimated at {bill.monthly:,.0f} USD a month, above its budget of {budget.monthly_usd:,.0f}"
    for item in bill.unpriced:
        yield f"what it costs cannot be told: there is no price of {item}"


def _budget_told(_resource: Resource, graph: Graph) -> Faults:
    substrate, governance = graph.settings.substrate, graph.settings.governance
    if substrate is None or substrate.kind != "aws" or governance is None or governance.budget is None:
        return
    for budget in graph.of("aws:budgets/budget:Budget"):
        if (
            budget.has("notifications")
            and float(budget.value("limitAmount", 0)) <= governance.budget.monthly_usd + 0.01
        ):
            return
    yield "no one is told when its budget is spent"


def _jumps(_resource: Resource, graph: Graph) -> Faults:
    substrate, governance = graph.settings.substrate, graph.settings.governance
    if substrate is None or substrate.kind != "aws" or governance is None or governance.budget is None:
        return
    if not any(one.has("subscribers") for one in graph.of("aws:costexplorer/anomalySubscription:AnomalySubscription")):
        yield "no one is told when a day costs much more than those before"


def _ceiling(resource: Resource, _graph: Graph) -> Faults:
    limits = resource.value("spec.limits", {})
    for key in ("cpu", "memory"):
        if key not in limits:
            yield f"nothing limits its {key}, so that it grows without an end"
    kinds = _pool_offers(resource).get("node.kubernetes.io/instance-type", [])
    if any(kind.startswith(("g5", "g6", "p4", "p5")) for kind in kinds) and _GPU not in limits:
        yield "nothing limits its GPUs, which cost most"


def _pool_offers(resource: Resource) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in resource.each("spec.template.spec.requirements"):
        if isinstance(one, dict) and one.get("operator") == "In":
            found[str(one.get("key"))] = [str(value) for value in one.get("values") or ()]
    return found


def _gpu_taint(resource: Resource, _graph: Graph) -> Faults:
    kinds = _pool_offers(resource).get("node.kubernetes.io/instance-type", [])
    taints = [one.get("key") for one in resource.each("spec.template.spec.taints") if isinstance(one, dict)]
    if any(kind.startswith(("g5", "g6", "p4", "p5")) for kind in kinds) and _GPU not in taints:
        yield "pods that need no GPU run on its nodes, which cost most"


def _pool_zones(resource: Resource, graph: Graph) -> Faults:
    offers = _pool_offers(resource)
    zones = offers.get("topology.k8s.aws/zone-id", [])
    if not zones:
        yield "it names no zone by id: a zone's name means another zone in each account"
    if "topology.kubernetes.io/zone" in offers:
        yield "it names zones by name, which means another zone in each account"
    gpus = any(kind.startswith("g") for kind in offers.get("node.kubernetes.io/instance-type", []))
    if len(zones) == 1 and graph.settings.production and not gpus and len(graph.settings.zones) > 1:
        yield "all its nodes are in one zone"
    foreign = [zone for zone in zones if not zone.startswith("mec1-")]
    if foreign:
        yield f"{foreign[0]} is not a zone of the region"


def _lifetime(resource: Resource, _graph: Graph) -> Faults:
    found = str(resource.value("spec.template.spec.expireAfter", "720h"))
    hours = int(found[:-1]) if found.endswith("h") and found[:-1].isdigit() else None
    if found == "Never" or (hours is not None and hours > 720):
        yield "its nodes live for more than a month, and get no corrections"


def _gpu_zones(resource: Resource, _graph: Graph) -> Faults:
    offers = _pool_offers(resource)
    kinds = offers.get("node.kubernetes.io/instance-type", [])
    zones = set(offers.get("topology.k8s.aws/zone-id", []))
    if (
        kinds
        and all(kind.startswith(("g5.", "g6.", "g6e.")) for kind in kinds)
        and not zones & {"mec1-az1", "mec1-az2"}
    ):
        yield "no zone that it names has its machines: GPUs are in mec1-az1 and mec1-az2"


def _pool_spot(resource: Resource, graph: Graph) -> Faults:
    capacity = _pool_offers(resource).get("karpenter.sh/capacity-type", [])
    labels = str(resource.inputs.get("metadata"))
    if graph.settings.production and capacity == ["spot"] and any(role in labels for role in ("services", "inference")):
        yield "services run on spot alone, which can end at any minute"


def _offered(resource: Resource, _graph: Graph) -> Faults:
    absent = ("g4dn", "p4", "inf", "trn", "c7g.", "c6i.", "m6a")
    kinds = _pool_offers(resource).get("node.kubernetes.io/instance-type", [])
    kinds += [str(one) for one in resource.inputs.get("instanceTypes") or ()]
    if isinstance(resource.inputs.get("instanceType"), str):
        kinds.append(resource.inputs["instanceType"])
    for kind in kinds:
        if kind.startswith(absent):
            yield f"the region has no {kind}"


def _subnet_zones(resource: Resource, graph: Graph) -> Faults:
    subnets = [one for key in ("vpcConfig", "subnetIds") for one in graph.targets(resource, key)]
    zones = {str(one.inputs.get("availabilityZoneId") or one.inputs.get("availabilityZone")) for one in subnets}
    if subnets and len(zones) < 2:
        yield "all its subnets are in one zone"


def _system_zones(_resource: Resource, graph: Graph) -> Faults:
    """All node groups together: one group a zone is as good as one group over zones."""
    subnets = [one for group in graph.of(_NODES) for one in graph.targets(group, "subnetIds")]
    if not subnets:
        raise Unknown("its subnets are not of this stack")
    if len({str(one.inputs.get("availabilityZoneId") or one.inputs.get("availabilityZone")) for one in subnets}) < 2:
        yield "what starts all other nodes is in one zone, and is lost with it"


def _proxies(resource: Resource, _graph: Graph) -> Faults:
    found = resource.value("spec.provider.kubernetes", {})
    scaled = (found.get("envoyHpa") or {}).get("minReplicas")
    count = scaled or (found.get("envoyDeployment") or {}).get("replicas") or 1
    if int(count) < 2:
        yield "there may be one proxy: while it restarts, no one comes in"


def _placed(resource: Resource, _graph: Graph) -> Faults:
    """Nodes with GPUs keep others away by a taint: what asks for one without tolerating it waits for ever."""
    for pod in pods.pods(resource):
        asking = [one.name for one in pod.containers() if _asks(one.spec.get("resources") or {})]
        if asking and not any(_tolerates(one) for one in pod.spec.get("tolerations") or ()):
            yield f"{asking[0]} asks for a GPU, and is not let onto the nodes that have them: it needs none, or waits"


def _asks(resources: dict[str, Any]) -> bool:
    return any(_GPU in (resources.get(part) or {}) for part in ("limits", "requests"))


def _tolerates(toleration: Any) -> bool:
    key = toleration.get("key")
    return key == _GPU or (not key and toleration.get("operator") == "Exists")


def _machine_tags(resource: Resource, _graph: Graph) -> Faults:
    tags = resource.value("spec.tags", {})
    missing = [key for key in DEFAULT_TAGS if not tags.get(key)]
    if missing:
        yield f"its machines get no tag {', '.join(missing)}"


def _zone_ids(resource: Resource, _graph: Graph) -> Faults:
    if not resource.has("availabilityZoneId"):
        yield "its zone is not named by id: a zone's name means another zone in each account"


_SCALERS = {
    "kubernetes:autoscaling/v2:HorizontalPodAutoscaler": ("minReplicas", 1, "maxReplicas", 1),
    "kubernetes:keda.sh/v1alpha1:ScaledObject": ("minReplicaCount", 0, "maxReplicaCount", 100),
}
"""What says how many pods there are: in which field the least and the most, and what each is where nothing says so."""


def _spare(resource: Resource, graph: Graph) -> Faults:
    """In production a server has more than one pod, by itself or by its autoscaler."""
    metadata = resource.inputs.get("metadata") or {}
    replicas = (resource.inputs.get("spec") or {}).get("replicas")
    key = pods.namespace(resource), str(metadata.get("name"))
    for kind, (least, default, _, _) in _SCALERS.items():
        for scaler in graph.found(kind, _scaled, key):
            replicas = (scaler.inputs.get("spec") or {}).get(least, default)
    if int(1 if replicas is None else replicas) < 2:
        yield "there is one of it: while it restarts, no one answers"
    if ((resource.inputs.get("spec") or {}).get("strategy") or {}).get("type") == "Recreate":
        yield "all of it stops before the next version starts: its strategy is Recreate"


def _scaled(scaler: Resource) -> Iterator[tuple[str | None, str]]:
    target = (scaler.inputs.get("spec") or {}).get("scaleTargetRef") or {}
    yield pods.namespace(scaler), str(target.get("name"))


def _disruption(resource: Resource, graph: Graph) -> Faults:
    found = ((resource.inputs.get("spec") or {}).get("template") or {}).get("metadata") or {}
    budgets = graph.selecting(
        "kubernetes:policy/v1:PodDisruptionBudget", "selector", pods.namespace(resource), found.get("labels")
    )
    if any(budget.has("spec.selector") for budget in budgets):
        return
    yield "no PodDisruptionBudget: a drain of nodes may stop all of it at once"


def _blocking(resource: Resource, _graph: Graph) -> Faults:
    spec = resource.inputs.get("spec") or {}
    if spec.get("maxUnavailable") in (0, "0", "0%") or spec.get("minAvailable") == "100%":
        yield "it lets no pod go, so that nodes can never be replaced"


def _spread(resource: Resource, _graph: Graph) -> Faults:
    for pod in pods.pods(resource):
        keys = {
            one.get("topologyKey") for one in pod.spec.get("topologySpreadConstraints") or () if isinstance(one, dict)
        }
        if "topology.kubernetes.io/zone" not in keys and not (pod.spec.get("affinity") or {}).get("podAntiAffinity"):
            yield "its pods may all be in one zone"


def _copies(resource: Resource, _graph: Graph) -> Faults:
    if int(resource.value("replicasPerNodeGroup", 1)) < 1:
        yield "its shards have no copies"
    if resource.value("multiAzEnabled", True) is not True:
        yield "its copies may be in one zone"


def _grows(resource: Resource, _graph: Graph) -> Faults:
    if float(resource.value("maxAllocatedStorage", 0)) <= float(resource.value("allocatedStorage", 0)):
        yield "it stops when its disk is full: maxAllocatedStorage is not above allocatedStorage"


def _gateways_used(resource: Resource, graph: Graph) -> Faults:
    if not graph.referring(resource, "aws:ec2/route:Route", "natGatewayId"):
        yield "no route leads to it, so that another zone's carries all"


def _scaler(resource: Resource, _graph: Graph) -> Faults:
    spec = resource.inputs.get("spec") or {}
    least, fewest, most, ceiling = _SCALERS[resource.type]
    if int(spec.get(most, ceiling)) < int(spec.get(least, fewest)):
        yield f"{most} is below {least}"


RULES: tuple[Rule, ...] = (
    Rule(
        id="governance-officer",
        title="Where data are sensitive, there is a data protection officer",
        severity=_HIGH,
        types=(STACK,),
        why="The law asks for one (PDPL 10), and people need someone to turn to.",
        remedy=f"Set governance.contacts.data_protection_officer {_FILE}.",
        controls=("pdpl-10-12", "gdpr-37"),
        judge=_officer,
    ),
    Rule(
        id="governance-record",
        title="The stack is in the record of processing",
        severity=_MEDIUM,
        types=(STACK,),
        why="The controller keeps a record of what it processes, why, and who sees it (PDPL 7).",
        remedy=f"Set governance.record_of_processing {_FILE}.",
        controls=RECORDS,
        judge=_record,
    ),
    Rule(
        id="governance-dpia",
        title="The impact assessment of the stack is in date",
        severity=_HIGH,
        types=(STACK,),
        why="It is made again as what it assessed changes (PDPL 21).",
        remedy=f"Make the assessment again, and set governance.dpia {_FILE}.",
        controls=IMPACT,
        judge=_assessed,
    ),
    Rule(
        id="governance-breach-window",
        title="A breach is told within 72 hours",
        severity=_MEDIUM,
        types=(STACK,),
        why="It is what GDPR asks; whether UAE rules that fix it were issued is unclear.",
        remedy=f"Set governance.breach_notification_hours to 72 or less {_FILE}.",
        controls=MONITORING,
        judge=_window,
    ),
    Rule(
        id="cost-budget",
        title="The stack is estimated within its budget",
        severity=_MEDIUM,
        types=(STACK,),
        why="What is too dear is turned off, and with it what it watched.",
        remedy=f"Choose less, or raise governance.budget.monthly_usd {_FILE}: `falaj cost <stack>` shows what costs. "
        "Add a price that is missing to policies/prices/me-central-1.yaml.",
        controls=COST,
        judge=_within_budget,
    ),
    Rule(
        id="cost-alerts",
        title="Someone is told as the budget is spent",
        severity=_MEDIUM,
        types=(STACK,),
        why="A mistake of a night costs more than a year.",
        remedy=f"Set governance.budget {_FILE}.",
        controls=COST,
        judge=_budget_told,
    ),
    Rule(
        id="cost-jumps",
        title="Someone is told when a day costs much more than those before",
        severity=_MEDIUM,
        types=(STACK,),
        why="What someone else runs in the account is seen on its bill first.",
        remedy=f"Set governance.budget.anomaly_usd {_FILE}; leave the subscription in infra/substrates/aws/alarms.py.",
        controls=(*COST, *MONITORING),
        judge=_jumps,
    ),
    Rule(
        id="cost-gpu-placed",
        title="What asks for a GPU is let onto the nodes that have them",
        severity=_MEDIUM,
        types=pods.ALL,
        why="A service that needs none waits for one that others could use.",
        remedy=f"Remove {_GPU} from its resources, or place it by cluster.placement(…) on a pool with GPUs.",
        controls=COST,
        judge=_placed,
    ),
    Rule(
        id="machine-tags",
        title="Machines that Karpenter makes say who answers for them, who pays, and their purpose",
        severity=_MEDIUM,
        types=("kubernetes:karpenter.k8s.aws/v1:EC2NodeClass",),
        why="The provider's own tags are not on what a controller makes.",
        remedy="Leave the account's tags on the class: infra/addons/karpenter.py.",
        controls=(*RECORDS, *COST),
        judge=_machine_tags,
    ),
    Rule(
        id="cost-ceiling",
        title="Pools of nodes have a ceiling",
        severity=_MEDIUM,
        types=(_POOL,),
        why="A loop that makes pods makes nodes.",
        remedy=f"Set substrate.nodes.<pool>.limits {_FILE}.",
        controls=COST,
        judge=_ceiling,
    ),
    Rule(
        id="cost-gpu-taint",
        title="Nodes with GPUs run what needs GPUs",
        severity=_MEDIUM,
        types=(_POOL,),
        why="They cost the most.",
        remedy="Leave the taint nvidia.com/gpu on the pool: infra/addons/karpenter.py.",
        controls=COST,
        judge=_gpu_taint,
    ),
    Rule(
        id="zone-ids-pool",
        title="Pools of nodes name zones by id",
        severity=_MEDIUM,
        types=(_POOL,),
        why="Zones of the region can be impaired for months; by id one knows which they are.",
        remedy=f"Set substrate.zones {_FILE}.",
        controls=AVAILABILITY,
        judge=_pool_zones,
    ),
    Rule(
        id="zone-ids-subnet",
        title="Subnets name zones by id",
        severity=_MEDIUM,
        types=("aws:ec2/subnet:Subnet",),
        why="Zones of the region can be impaired for months; by id one knows which they are.",
        remedy=f"Set substrate.zones {_FILE}.",
        controls=AVAILABILITY,
        judge=_zone_ids,
    ),
    Rule(
        id="zones-two",
        title="The cluster has two zones or more",
        severity=_HIGH,
        types=("aws:eks/cluster:Cluster", "aws:rds/subnetGroup:SubnetGroup", "aws:elasticache/subnetGroup:SubnetGroup"),
        why="A zone can be lost.",
        remedy=f"Set substrate.zones {_FILE}.",
        controls=AVAILABILITY,
        judge=_subnet_zones,
    ),
    Rule(
        id="machines-offered",
        title="The region offers the machines that are asked for",
        severity=_MEDIUM,
        types=(_POOL, _NODES, "aws:ec2/instance:Instance"),
        why="A pool whose machines do not exist never has a node.",
        remedy=f"Choose from infra/data/me-central-1.json: substrate.nodes.<pool>.instance_types {_FILE}.",
        controls=AVAILABILITY,
        judge=_offered,
    ),
    Rule(
        id="machines-in-zone",
        title="Zones that are named have the GPUs that are asked for",
        severity=_MEDIUM,
        types=(_POOL,),
        why="A pool whose machines do not exist never has a node.",
        remedy=f"Set substrate.nodes.<pool>.zones {_FILE}.",
        controls=AVAILABILITY,
        judge=_gpu_zones,
    ),
    Rule(
        id="nodes-replaced",
        title="Nodes are replaced every month",
        severity=_MEDIUM,
        types=(_POOL,),
        why="A node that lives on gets no corrections.",
        remedy="Leave expireAfter in infra/addons/karpenter.py.",
        controls=("iso-8.8", "ia-t7.7.1"),
        judge=_lifetime,
    ),
    Rule(
        id="services-on-demand",
        title="In production services do not run on spot alone",
        severity=_MEDIUM,
        types=(_POOL,),
        why="All of them can be taken within two minutes.",
        remedy=f"Add on-demand to substrate.nodes.<pool>.capacity {_FILE}.",
        controls=AVAILABILITY,
        judge=_pool_spot,
    ),
    Rule(
        id="rds-standby",
        title="In production a database has a standby in another zone",
        severity=_HIGH,
        types=(_DATABASE,),
        why="A zone can be lost.",
        remedy=f"Set substrate.stores.postgresql.multi_az to true {_FILE}, or record an exception in exceptions/.",
        controls=AVAILABILITY,
        judge=in_production(is_true("multiAz")),
        known_as=("CKV_AWS_157",),
    ),
    Rule(
        id="cache-failover",
        title="In production a cache has a replica that takes over",
        severity=_MEDIUM,
        types=(_CACHE,),
        why="Without the online store models answer worse, or not.",
        remedy=f"Set substrate.stores.cache.replicas to 1 or more {_FILE}, or record an exception in exceptions/.",
        controls=AVAILABILITY,
        judge=in_production(both(is_true("automaticFailoverEnabled"), _copies)),
        known_as=("CKV2_AWS_50",),
    ),
    Rule(
        id="rds-grows",
        title="Disks of databases grow by themselves",
        severity=_MEDIUM,
        types=(_DATABASE,),
        why="A full disk stops it.",
        remedy=f"Set substrate.stores.postgresql.max_storage_gib {_FILE}.",
        controls=AVAILABILITY,
        judge=_grows,
    ),
    Rule(
        id="nat-used",
        title="Each zone's way out is used",
        severity=_LOW,
        types=("aws:ec2/natGateway:NatGateway",),
        why="A zone whose way out is another's is lost with it.",
        remedy="Lead each zone's route to its own gateway: infra/substrates/aws/network.py.",
        controls=(*AVAILABILITY, *COST),
        judge=_gateways_used,
    ),
    Rule(
        id="nodes-spare",
        title="The system's nodes are two or more",
        severity=_HIGH,
        types=(_NODES,),
        why="While one is replaced, nothing could be scheduled.",
        remedy=f"Set substrate.system.minimum to 2 or more {_FILE}.",
        controls=AVAILABILITY,
        judge=at_least("scalingConfig.minSize", 2),
    ),
    Rule(
        id="nodes-zones",
        title="In production the system's nodes are in two zones or more",
        severity=_HIGH,
        types=(_NODES,),
        why="They start all other nodes, and a zone can be lost.",
        remedy=f"Set substrate.zones {_FILE}.",
        controls=AVAILABILITY,
        judge=in_production(_system_zones),
    ),
    Rule(
        id="gateway-spare",
        title="In production the gateway has two proxies or more",
        severity=_HIGH,
        types=("kubernetes:gateway.envoyproxy.io/v1alpha1:EnvoyProxy",),
        why="While one restarts, another lets people and programs in.",
        remedy=f"Set gateway.replicas.minimum to 2 or more {_FILE}, or record an exception in exceptions/.",
        controls=AVAILABILITY,
        judge=in_production(_proxies),
    ),
    Rule(
        id="search-zones",
        title="In production a search domain spans zones",
        severity=_MEDIUM,
        types=("aws:opensearch/domain:Domain",),
        why="A zone can be lost.",
        remedy=f"Set substrate.search.instances to 2 or more {_FILE}.",
        controls=AVAILABILITY,
        judge=in_production(is_true("clusterConfig.zoneAwarenessEnabled")),
    ),
    Rule(
        id="brokers-spare",
        title="Brokers are two or more",
        severity=_MEDIUM,
        types=("aws:msk/cluster:Cluster",),
        why="While one is replaced, no one could write.",
        remedy=f"Set substrate.kafka.brokers_per_zone {_FILE}.",
        controls=AVAILABILITY,
        judge=at_least("numberOfBrokerNodes", 2),
    ),
    Rule(
        id="service-spare",
        title="In production there is more than one of each service",
        severity=_MEDIUM,
        types=pods.SERVERS,
        why="While one restarts, another answers.",
        remedy=f"Set replicas.minimum to 2 or more in the service's section {_FILE}, or record an "
        f"exception in exceptions/.",
        controls=AVAILABILITY,
        judge=in_production(_spare),
    ),
    Rule(
        id="service-disruption",
        title="A drain of nodes leaves some of each service",
        severity=_MEDIUM,
        types=pods.SERVERS,
        why="Nodes are replaced every day.",
        remedy="Leave the PodDisruptionBudget in infra/substrates/kubernetes/substrate.py.",
        controls=AVAILABILITY,
        judge=in_production(_disruption),
    ),
    Rule(
        id="disruption-possible",
        title="Nodes can be replaced",
        severity=_MEDIUM,
        types=("kubernetes:policy/v1:PodDisruptionBudget",),
        why="A node that cannot be drained is never mended.",
        remedy="Set maxUnavailable to 1: infra/substrates/kubernetes/substrate.py.",
        controls=AVAILABILITY,
        judge=_blocking,
    ),
    Rule(
        id="service-spread",
        title="Services are spread over zones",
        severity=_LOW,
        types=pods.SERVERS,
        why="A zone can be lost.",
        remedy="Leave topologySpreadConstraints in infra/substrates/kubernetes/workload.py.",
        controls=AVAILABILITY,
        judge=_spread,
    ),
    Rule(
        id="scaler-range",
        title="Autoscalers have a range",
        severity=_LOW,
        types=tuple(_SCALERS),
        why="One that cannot grow does nothing.",
        remedy=f"Set replicas in the service's section {_FILE}.",
        controls=(*AVAILABILITY, *COST),
        judge=_scaler,
    ),
)
