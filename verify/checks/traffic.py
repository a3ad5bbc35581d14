"""Who may connect to whom."""

from verify.asked import Each
from verify.cluster import Cluster, Manifest, namespaced
from verify.declared import Declared, Inputs, differences

_POLICY = ("networking.k8s.io/v1", "NetworkPolicy")
_ANYWHERE = ("0.0.0.0/0", "::/0")


def test_policies(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every declared network policy is there, as declared."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        return ["is missing"] if found is None else list(differences(inputs["spec"], found["spec"]))

    each(namespaced(declared, "networking.k8s.io:NetworkPolicy"), judge)


def test_denied_by_default(each: Each, declared: Declared, cluster: Cluster) -> None:
    """In every namespace traffic to pods is denied unless a policy allows it."""
    closed = {_namespace(item) for item in _policies(cluster).values() if _closes(item, "Ingress", "ingress")}
    each(
        [inputs["metadata"]["name"] for inputs in declared.of("core:Namespace").values()],
        lambda name: None if name in closed else "no policy denies all traffic to its pods",
    )


def test_let_out_by_policy_alone(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Where the stack declares it, pods connect to nothing but what a policy allows."""
    wanted = {
        inputs["metadata"]["namespace"]
        for inputs in declared.of("networking.k8s.io:NetworkPolicy").values()
        if not _selector(inputs["spec"]) and "Egress" in inputs["spec"]["policyTypes"]
    }
    bound = {
        _namespace(item)
        for item in _policies(cluster).values()
        if not _selector(item["spec"]) and "Egress" in item["spec"].get("policyTypes", [])
    }
    each(sorted(wanted), lambda name: None if name in bound else "no policy bounds what its pods connect to")


def test_nothing_undeclared_opens(each: Each, declared: Declared, cluster: Cluster) -> None:
    """No policy beside the declared ones lets anyone in, or lets pods out to anywhere."""
    own = set(namespaced(declared, "networking.k8s.io:NetworkPolicy"))

    def judge(item: Manifest) -> list[str]:
        spec = item["spec"]
        let_in = [rule for rule in spec.get("ingress") or [] if not rule.get("from") and not rule.get("ports")]
        let_out = [rule for rule in spec.get("egress") or [] if not rule.get("to") and not rule.get("ports")]
        blocks = [
            peer["ipBlock"]["cidr"]
            for rule in [*(spec.get("ingress") or []), *(spec.get("egress") or [])]
            for peer in [*(rule.get("from") or []), *(rule.get("to") or [])]
            if "ipBlock" in peer
        ]
        return [
            *(["lets anyone in on every port"] if let_in else []),
            *(["lets its pods out to anywhere"] if let_out else []),
            *(f"names {block}" for block in blocks if block in _ANYWHERE),
        ]

    each({name: item for name, item in _policies(cluster).items() if name not in own}, judge)


def test_one_entrance(each: Each, cluster: Cluster) -> None:
    """No Service but the gateway's is reached from outside the cluster."""

    def judge(item: Manifest) -> list[str]:
        kind = item["spec"].get("type", "ClusterIP")
        owner = (item["metadata"].get("labels") or {}).get("gateway.envoyproxy.io/owning-gateway-name")
        faults = [f"has the external address {address}" for address in item["spec"].get("externalIPs") or []]
        if kind == "NodePort" or (kind == "LoadBalancer" and owner is None):
            faults.append(f"is of type {kind}")
        return faults

    each(cluster.in_namespaces("v1", "Service"), judge)


def _policies(cluster: Cluster) -> dict[str, Manifest]:
    return cluster.in_namespaces(*_POLICY)


def _closes(item: Manifest, kind: str, rules: str) -> bool:
    spec = item["spec"]
    return not _selector(spec) and kind in spec.get("policyTypes", []) and not spec.get(rules)


def _selector(spec: Inputs) -> bool:
    selector = spec.get("podSelector") or {}
    return bool(selector.get("matchLabels") or selector.get("matchExpressions"))


def _namespace(item: Manifest) -> str:
    return str(item["metadata"]["namespace"])
