"""The EKS cluster, as AWS knows it."""

from typing import Any

from verify.account import Account
from verify.asked import Each, UnaskedError
from verify.declared import Declared, Inputs, known

_CLUSTER = "aws:eks/cluster:Cluster"


def test_active(each: Each, declared: Declared, aws: Account) -> None:
    """The cluster is there, active, and of the declared version."""

    def judge(inputs: Inputs) -> list[str]:
        found = _live(aws, inputs)
        return [
            *([] if found["status"] == "ACTIVE" else [f"is {found['status']}"]),
            *([] if found["version"] == inputs["version"] else [f"is {found['version']}, not {inputs['version']}"]),
        ]

    each(declared.of(_CLUSTER), judge)


def test_endpoint(each: Each, declared: Declared, aws: Account) -> None:
    """The API server is reached from outside the network only where, and from where, it is declared."""

    def judge(inputs: Inputs) -> list[str]:
        live, wanted = _live(aws, inputs)["resourcesVpcConfig"], inputs["vpcConfig"]
        faults = [] if live.get("endpointPrivateAccess") else ["is not reached from inside the network"]
        if live.get("endpointPublicAccess") and not wanted.get("endpointPublicAccess"):
            faults.append("is reached from outside the network")
        allowed = set(wanted.get("publicAccessCidrs") or [])
        if live.get("endpointPublicAccess") and (more := set(live.get("publicAccessCidrs") or []) - allowed):
            faults.append(f"is reached from {', '.join(sorted(more))}")
        return faults

    each(declared.of(_CLUSTER), judge)


def test_logs(each: Each, declared: Declared, aws: Account) -> None:
    """All logs of the control plane are kept."""

    def judge(inputs: Inputs) -> list[str]:
        setups = _live(aws, inputs).get("logging", {}).get("clusterLogging", [])
        on = {kind for setup in setups if setup["enabled"] for kind in setup["types"]}
        return [f"{kind} is not kept" for kind in inputs["enabledClusterLogTypes"] if kind not in on]

    each(declared.of(_CLUSTER), judge)


def test_secrets(each: Each, declared: Declared, aws: Account) -> None:
    """Kubernetes' secrets are encrypted by a key of the stack's own."""

    def judge(inputs: Inputs) -> str | None:
        for found in _live(aws, inputs).get("encryptionConfig", []):
            if "secrets" in found["resources"]:
                return aws.own_key(found["provider"]["keyArn"])
        return "they are not encrypted by a key of the stack's own"

    each(declared.of(_CLUSTER), judge)


def test_sign_in(each: Each, declared: Declared, aws: Account) -> None:
    """Who may sign in is said by access entries alone, and whoever made the cluster is no administrator by that."""

    def judge(inputs: Inputs) -> str | None:
        mode = _live(aws, inputs).get("accessConfig", {}).get("authenticationMode")
        if mode is None:
            raise UnaskedError("the answer says nothing of it")
        return None if mode == "API" else f"the mode is {mode}"

    each(declared.of(_CLUSTER), judge)


def test_entries(each: Each, declared: Declared, aws: Account) -> None:
    """No role may sign in to the cluster that is not declared to."""
    wanted = set(declared.values("aws:eks/accessEntry:AccessEntry", "principalArn"))
    nodes = {f"role/{name}" for name in declared.values("aws:iam/role:Role", "name")}

    def judge(inputs: Inputs) -> list[str]:
        found = aws.every("eks", "list_access_entries", "accessEntries", clusterName=inputs["name"])
        return [
            f"{arn} is not declared"
            for arn in found
            if arn not in wanted and arn.split(":", 5)[5] not in nodes and "/aws-service-role/" not in arn
        ]

    each(declared.of(_CLUSTER), judge)


def test_protected(each: Each, declared: Declared, aws: Account) -> None:
    """The cluster that is declared so cannot be deleted by mistake."""

    def judge(inputs: Inputs) -> str | None:
        found = _live(aws, inputs).get("deletionProtection")
        if found is None:
            raise UnaskedError("the answer says nothing of it")
        return None if found else "can be deleted"

    each({name: inputs for name, inputs in declared.of(_CLUSTER).items() if inputs.get("deletionProtection")}, judge)


def test_addons(each: Each, declared: Declared, aws: Account) -> None:
    """Every addon is active, in the declared version."""

    def judge(inputs: Inputs) -> list[str]:
        found = aws("eks").describe_addon(clusterName=inputs["clusterName"], addonName=inputs["addonName"])["addon"]
        wanted = inputs.get("addonVersion")
        faults = [] if found["status"] == "ACTIVE" else [f"is {found['status']}"]
        return [*faults, *([] if found["addonVersion"] == wanted else [f"is {found['addonVersion']}, not {wanted}"])]

    each(
        {name: inputs for name, inputs in declared.of("aws:eks/addon:Addon").items() if known(inputs["addonName"])},
        judge,
    )


def test_node_groups(each: Each, declared: Declared, aws: Account) -> None:
    """The first nodes are there, and healthy."""

    def judge(inputs: Inputs) -> list[str]:
        found = aws("eks").describe_nodegroup(clusterName=inputs["clusterName"], nodegroupName=inputs["nodeGroupName"])
        group = found["nodegroup"]
        issues = group.get("health", {}).get("issues", [])
        faults = [] if group["status"] == "ACTIVE" else [f"is {group['status']}"]
        return [*faults, *(f"{issue['code']}: {issue['message']}" for issue in issues)]

    each(declared.of("aws:eks/nodeGroup:NodeGroup"), judge)


def test_pod_identities(each: Each, declared: Declared, aws: Account) -> None:
    """No service account has a role in the account that is not declared."""
    wanted = {
        (inputs["namespace"], inputs["serviceAccount"])
        for inputs in declared.of("aws:eks/podIdentityAssociation:PodIdentityAssociation").values()
    }
    wanted |= {
        ("kube-system", association["serviceAccount"])
        for inputs in declared.of("aws:eks/addon:Addon").values()
        for association in inputs.get("podIdentityAssociations") or []
    }

    def judge(inputs: Inputs) -> list[str]:
        found = aws.every("eks", "list_pod_identity_associations", "associations", clusterName=inputs["name"])
        live = {(one["namespace"], one["serviceAccount"]) for one in found}
        addons = {one for one in wanted if one[0] == "kube-system"}
        return [
            *(f"{'/'.join(one)} is not declared" for one in sorted(live - wanted)),
            *(f"{'/'.join(one)} has none" for one in sorted(wanted - addons - live)),
        ]

    each(declared.of(_CLUSTER), judge)


def _live(aws: Account, inputs: Inputs) -> dict[str, Any]:
    found: dict[str, Any] = aws("eks").describe_cluster(name=inputs["name"])["cluster"]
    return found
