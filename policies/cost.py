"""What a graph costs a month, from a price file: an estimate, with all that it assumes in sight."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import ConfigError
from policies.graph import Graph
from policies.model import Resource, Unknown

PRICES = Path(__file__).parent / "prices" / "me-central-1.yaml"
_SIZES = {"medium": 0.5, "large": 1.0, "xlarge": 2.0}
_VCPU_OF_LARGE = 2
_GPUS = {"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}
_BY_USE = {
    "aws:cfg/recorder:Recorder": "AWS Config, by change",
    "aws:cloudtrail/trail:Trail": "CloudTrail, by data event",
    "aws:guardduty/detector:Detector": "GuardDuty, by event and virtual CPU",
    "aws:inspector2/enabler:Enabler": "Inspector, by image and machine",
    "aws:securityhub/account:Account": "Security Hub, by check",
    "kubernetes:gateway.envoyproxy.io/v1alpha1:EnvoyProxy": "the gateway's load balancer, by connection",
}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Model):
    """Where prices come from, as of which day, and whether they were compared with it since."""

    title: str
    date: date
    checked: bool


class Assumption(_Model):
    """What a bill depends on beside the graph."""

    value: float = Field(ge=0)
    unit: str
    why: str


class Price(_Model):
    """One price. `scaled` is a figure of us-east-1, which the factor makes one of the region."""

    usd: float = Field(ge=0)
    per: str
    source: str
    basis: Literal["stated", "scaled"]


class _Factor(_Model):
    value: float = Field(gt=0)
    why: str


class Prices(_Model):
    """The whole file."""

    currency: Literal["USD"]
    region: str
    factor: _Factor
    sources: Mapping[str, Source]
    assumptions: Mapping[str, Assumption]
    prices: Mapping[str, Price]

    def of(self, item: str) -> float | None:
        """USD of an item in the region; None where the file has no price of it."""
        price = self.prices.get(item)
        if price is None:
            return None
        return price.usd if price.basis == "stated" else price.usd * self.factor.value

    def assume(self, name: str) -> float:
        """The value of an assumption."""
        return self.assumptions[name].value


@dataclass(frozen=True, kw_only=True)
class Line:
    """One position of the bill.

    Attributes:
        component: Name of the part of the stack that it belongs to.
        quantity: How much of the item a month, in the price's unit.
        assumes: Names of the assumptions in the quantity.
    """

    urn: str
    component: str
    item: str
    tags: Mapping[str, str]
    quantity: float
    unit: str
    monthly: float
    assumes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """Something that the estimate takes for granted: a figure, or prices and how much of the sum rests on them."""

    what: str
    value: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The bill of a month.

    Attributes:
        by_use: What costs by use, and is not in the sum.
        unpriced: Items that the price file lacks.
    """

    lines: tuple[Line, ...]
    by_use: tuple[str, ...]
    unpriced: tuple[str, ...]
    prices: Prices

    @property
    def monthly(self) -> float:
        """USD a month."""
        return math.fsum(line.monthly for line in self.lines)

    def by(self, key: Callable[[Line], str]) -> dict[str, float]:
        """USD a month by a property of lines, the dearest first."""
        found: dict[str, float] = {}
        for line in self.lines:
            found[key(line)] = found.get(key(line), 0.0) + line.monthly
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def assumed(self) -> list[Assumed]:
        """All that the sum rests on beside the graph: figures of use, and prices that no source confirms."""
        names = sorted({name for line in self.lines for name in line.assumes})
        found = [
            Assumed(what=name.replace("_", " "), value=f"{one.value:g} {one.unit}", why=one.why)
            for name, one in ((name, self.prices.assumptions[name]) for name in names)
        ]
        scaled = [line for line in self.lines if self.prices.prices[line.item].basis == "scaled"]
        if scaled:
            value = f"{self.prices.factor.value:g}, on {math.fsum(line.monthly for line in scaled):,.0f} USD"
            found.append(Assumed(what="factor on us-east-1", value=value, why=self.prices.factor.why))
        for name, part in self.by(lambda line: self.prices.prices[line.item].source).items():
            source = self.prices.sources[name]
            if not source.checked:
                why = f"Not compared with a price list since {source.date.isoformat()}."
                found.append(Assumed(what=source.title, value=f"{part:,.0f} USD", why=why))
        return found


@functools.cache
def read_prices(override: Path | None = None) -> Prices:
    """The price file, with single entries replaced by those of another.

    Raises:
        ConfigError: One of them is not valid; the message names the file and the key.
    """
    document = _yaml(PRICES)
    if override is not None:
        changed = _yaml(override)
        for key, value in changed.items():
            merged = isinstance(value, Mapping) and isinstance(document.get(key), Mapping)
            document[key] = {**document[key], **value} if merged else value
    try:
        prices = Prices.model_validate(document)
    except ValidationError as error:
        faults = [f"  {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
        raise ConfigError(f"{override or PRICES} is not a price file:\n" + "\n".join(faults)) from error
    for name, price in prices.prices.items():
        if price.source not in prices.sources:
            raise ConfigError(f"{override or PRICES}: prices.{name} names the source {price.source}: add it to sources")
    return prices


def _yaml(file: Path) -> dict[str, Any]:
    try:
        document = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"the price file {file} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"the price file {file} holds no mapping: see {PRICES.name} for an example")
    return document


def estimate(graph: Graph, prices: Prices | None = None) -> Estimate:
    """The bill of a graph on AWS; other substrates are paid for elsewhere, and cost nothing here."""
    known = prices or read_prices()
    lines: list[Line] = []
    missing: set[str] = set()
    common = _default_tags(graph)
    for kind, position in _POSITIONS.items():
        for resource in graph.of(kind):
            try:
                used = list(position(resource, graph, known))
            except Unknown as unknown:
                missing.add(f"{resource.name}: {unknown}")
                continue
            for item, quantity, assumes in used:
                usd = known.of(item)
                if usd is None:
                    missing.add(item)
                elif quantity:
                    lines.append(
                        Line(
                            urn=resource.urn,
                            component=_component(resource, graph),
                            item=item,
                            tags={**common, **_tags(resource)},
                            quantity=quantity,
                            unit=known.prices[item].per,
                            monthly=usd * quantity,
                            assumes=assumes,
                        )
                    )
    by_use = tuple(sorted(words for kind, words in _BY_USE.items() if graph.of(kind) and graph.of("aws:*")))
    return Estimate(lines=tuple(lines), by_use=by_use, unpriced=tuple(sorted(missing)), prices=known)


_Used = Iterator[tuple[str, float, tuple[str, ...]]]


def _default_tags(graph: Graph) -> dict[str, str]:
    for provider in graph.of("pulumi:providers:aws"):
        found = (provider.inputs.get("defaultTags") or {}).get("tags")
        if isinstance(found, Mapping):
            return {str(key): str(value) for key, value in found.items()}
    return {}


def _tags(resource: Resource) -> dict[str, str]:
    found = resource.inputs.get("tags") or (resource.inputs.get("spec") or {}).get("tags") or {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, Mapping) else {}


def _component(resource: Resource, graph: Graph) -> str:
    owner = next((one for one in graph.ancestors(resource) if one.type.startswith("falaj:")), None)
    return owner.name if owner else "stack"


def _hour(prices: Prices, count: float = 1.0) -> float:
    return prices.assume("hours") * count


def machine(kind: str) -> tuple[str, float]:
    """The item of an EC2 type, and how many of it the type is."""
    family, _, size = kind.partition(".")
    if family.startswith("g"):
        return f"ec2:{kind}", 1.0
    factor = _SIZES.get(size) or (2.0 * float(size.removesuffix("xlarge")) if size[:1].isdigit() else 1.0)
    return f"ec2:{family}", factor


def _node_group(resource: Resource, graph: Graph, prices: Prices) -> _Used:
    count = float(resource.value("scalingConfig.desiredSize", 0))
    kinds = [str(one) for one in resource.each("instanceTypes")]
    item, factor = machine(kinds[0])
    yield item, _hour(prices, count * factor), ("hours",)
    for template in graph.targets(resource, "launchTemplate"):
        size = template.value("blockDeviceMappings.ebs.volumeSize", 0)
        yield "ebs:gp3", count * float(size), ()


def _pool(resource: Resource, graph: Graph, prices: Prices) -> _Used:
    """A share of the ceiling, as machines of the cheapest type that the pool may hold."""
    requirements = {
        str(one.get("key")): [str(value) for value in one.get("values") or ()]
        for one in resource.each("spec.template.spec.requirements")
        if isinstance(one, Mapping)
    }
    kinds = requirements.get("node.kubernetes.io/instance-type", [])
    limits = resource.value("spec.limits", {})
    spot = "spot" in requirements.get("karpenter.sh/capacity-type", [])
    if not kinds:
        raise Unknown("it names no machines")
    cheapest = min(kinds, key=lambda kind: (_unit_price(kind, prices), kind))
    item, factor = machine(cheapest)
    gpus = float(limits.get("nvidia.com/gpu", 0))
    if cheapest.startswith("g"):
        share = "gpu_utilisation"
        count = (gpus or 1.0) / _GPUS.get(cheapest.partition(".")[2], 1)
    else:
        name = str((resource.inputs.get("metadata") or {}).get("name"))
        share = (
            "batch_utilisation" if spot or name in ("pipelines", "notebooks", "training") else "services_utilisation"
        )
        count = float(limits.get("cpu", 0)) / (_VCPU_OF_LARGE * factor)
    running = count * prices.assume(share)
    paid = running
    assumes = ["hours", share]
    if spot:
        part = prices.assume("spot_share")
        paid = running * (part * prices.assume("spot_price") + 1 - part)
        assumes += ["spot_share", "spot_price"]
    yield item, _hour(prices, paid * factor), tuple(assumes)
    reference = resource.value("spec.template.spec.nodeClassRef.name")
    for node_class in graph.of("kubernetes:karpenter.k8s.aws/v1:EC2NodeClass"):
        if (node_class.inputs.get("metadata") or {}).get("name") == reference:
            size = str(node_class.value("spec.blockDeviceMappings.ebs.volumeSize", "0Gi")).removesuffix("Gi")
            yield "ebs:gp3", running * float(size), (share,)


def _unit_price(kind: str, prices: Prices) -> float:
    """USD an hour of as much of a machine as its item counts: the size large, or one GPU."""
    item, _ = machine(kind)
    price = prices.of(item)
    if price is None:
        return math.inf
    return price / _GPUS.get(kind.partition(".")[2], 1) if kind.startswith("g") else price


def _cluster(resource: Resource, _graph: Graph, prices: Prices) -> _Used:
    extended = resource.value("upgradePolicy.supportType", "EXTENDED") == "EXTENDED"
    yield (
        ("eks:extended" if extended and resource.value("version") in _PAST_SUPPORT else "eks:standard"),
        _hour(prices),
        ("hours",),
    )


_PAST_SUPPORT = ("1.29", "1.30", "1.31", "1.32")
"""Versions past EKS's standard support in November 2026, which cost six times as much."""


def _nat(_resource: Resource, _graph: Graph, prices: Prices) -> _Used:
    yield "nat:hour", _hour(prices), ("hours",)
    yield "nat:gib", prices.assume("nat_gib"), ("nat_gib",)


def _endpoint(resource: Resource, _graph: Graph, prices: Prices) -> _Used:
    if resource.value("vpcEndpointType", "Gateway") == "Interface":
        yield "endpoint:interface", _hour(prices, float(len(resource.inputs.get("subnetIds") or [1]))), ("hours",)


def _address(_resource: Resource, _graph: Graph, prices: Prices) -> _Used:
    yield "address:public", _hour(prices), ("hours",)


def _database(resource: Resource, _graph: Graph, prices: Prices) -> _Used:
    copies = 2.0 if resource.value("multiAz") is True else 1.0
    yield f"rds:{resource.value('instanceClass')}", _hour(prices, copies), ("hours",)
    yield "rds:gp3", copies * float(resource.value("allocatedStorage", 0)), ()


def _cache(resource: Resource, _graph: Graph, prices: Prices) -> _Used:
    shards = float(resource.value("numNodeGroups", 1))
    nodes = shards * (1.0 + float(resource.value("replicasPerNodeGroup", 0)))
    cheaper = prices.of("cache:valkey") if resource.value("engine") == "valkey" else 1.0
    yield f"cache:{resource.value('nodeType')}", _hour(prices, nodes * (cheaper or 1.0)), ("hours",)


def _brokers(resource: Resource, _graph: Graph, prices: Prices) -> _Used:
    count = float(resource.value("numberOfBrokerNodes", 0))
    yield f"msk:{resource.value('brokerNodeGroupInfo.instanceType')}", _hour(prices, count), ("hours",)
    size = resource.value("brokerNodeGroupInfo.storageInfo.ebsStorageInfo.volumeSize", 0)
    yield "msk:storage", count * float(size), ()


def _search(resource: Resource, _graph: Graph, prices: Prices) -> _Used:
    count = float(resource.value("clusterConfig.instanceCount", 1))
    yield f"search:{resource.value('clusterConfig.instanceType')}", _hour(prices, count), ("hours",)
    yield "search:gp3", count * float(resource.value("ebsOptions.volumeSize", 0)), ()


def _assumed(item: str, name: str) -> Callable[[Resource, Graph, Prices], _Used]:
    def position(_resource: Resource, _graph: Graph, prices: Prices) -> _Used:
        yield item, prices.assume(name), (name,)

    return position


def _each(item: str) -> Callable[[Resource, Graph, Prices], _Used]:
    def position(_resource: Resource, _graph: Graph, _prices: Prices) -> _Used:
        yield item, 1.0, ()

    return position


def _instance(resource: Resource, _graph: Graph, prices: Prices) -> _Used:
    item, factor = machine(str(resource.value("instanceType")))
    yield item, _hour(prices, factor), ("hours",)


_POSITIONS: Mapping[str, Callable[[Resource, Graph, Prices], _Used]] = {
    "aws:backup/vault:Vault": _assumed("backup:storage", "backup_gib"),
    "aws:cloudwatch/logGroup:LogGroup": _assumed("logs:gib", "log_gib"),
    "aws:cloudwatch/metricAlarm:MetricAlarm": _each("alarm:month"),
    "aws:ec2/eip:Eip": _address,
    "aws:ec2/instance:Instance": _instance,
    "aws:ec2/natGateway:NatGateway": _nat,
    "aws:ec2/vpcEndpoint:VpcEndpoint": _endpoint,
    "aws:ecr/repository:Repository": _assumed("ecr:storage", "registry_gib"),
    "aws:eks/cluster:Cluster": _cluster,
    "aws:eks/nodeGroup:NodeGroup": _node_group,
    "aws:elasticache/replicationGroup:ReplicationGroup": _cache,
    "aws:kms/key:Key": _each("kms:key"),
    "aws:msk/cluster:Cluster": _brokers,
    "aws:opensearch/domain:Domain": _search,
    "aws:rds/instance:Instance": _database,
    "aws:s3/bucket:Bucket": _assumed("s3:standard", "bucket_gib"),
    "aws:secretsmanager/secret:Secret": _each("secret:month"),
    "kubernetes:karpenter.sh/v1:NodePool": _pool,
}
