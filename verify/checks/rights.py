"""Who may do what through the API server."""

from verify.asked import Each
from verify.cluster import Cluster, Manifest, namespaced
from verify.declared import Declared, Inputs, differences

_RBAC = "rbac.authorization.k8s.io/v1"
_STRANGERS = ("system:anonymous", "system:unauthenticated")
_OPEN_BY_DEFAULT = ("system:public-info-viewer",)
"""Kubernetes' own: the version and health of the API server."""
_RESTORER = "velero/velero"
"""Makes objects of every kind again, roles among them, which only who has all their rights may."""
_PUBLIC = ("kubeflow-trainer-public",)
"""Roles that are meant for everyone: this one reads the ConfigMap that tells the trainer's version."""
_OWN_OF_KUBERNETES = ("kubernetes.io/bootstrapping", "rbac-defaults")


def test_roles(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every declared role has its rules and no more."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        if found is None:
            return ["is missing"]
        more = len(found.get("rules") or []) - len(inputs["rules"])
        return [*differences(inputs["rules"], found.get("rules"), "rules"), *([f"has {more} more"] if more > 0 else [])]

    each(namespaced(declared, "rbac.authorization.k8s.io:Role"), judge)


def test_role_bindings(each: Each, declared: Declared, cluster: Cluster) -> None:
    """Every declared binding names its accounts and no more."""

    def judge(inputs: Inputs) -> list[str]:
        found = cluster.live(inputs)
        if found is None:
            return ["is missing"]
        wanted = {key: inputs[key] for key in ("roleRef", "subjects")}
        return list(differences(wanted, {key: found.get(key) for key in wanted}))

    each(namespaced(declared, "rbac.authorization.k8s.io:RoleBinding"), judge)


def test_no_strangers(each: Each, cluster: Cluster) -> None:
    """Who has not signed in has no right but to see that the API server is there."""

    def judge(item: Manifest) -> list[str]:
        named = [subject["name"] for subject in item.get("subjects") or [] if subject["name"] in _STRANGERS]
        return [f"gives rights to {name}" for name in named if item["metadata"]["name"] not in _OPEN_BY_DEFAULT]

    each(_bindings(cluster), judge)


def test_no_account_rules_the_cluster(each: Each, declared: Declared, cluster: Cluster) -> None:
    """No service account has all rights, but that of what brings a whole cluster back."""
    restores = "velero.io:BackupStorageLocation"
    allowed = {_RESTORER} if declared.of(restores) else set()

    def judge(item: Manifest) -> list[str]:
        if item["roleRef"]["name"] != "cluster-admin":
            return []
        named = [one for one in item.get("subjects") or [] if one["kind"] == "ServiceAccount"]
        accounts = {f"{one.get('namespace')}/{one['name']}" for one in named}
        return [f"gives all rights to {account}" for account in sorted(accounts - allowed)]

    each(_bindings(cluster), judge)


def test_default_accounts(each: Each, cluster: Cluster) -> None:
    """The default account of no namespace has a right of its own."""

    def judge(item: Manifest) -> list[str]:
        return [
            f"gives {item['roleRef']['name']} to the default account of {subject.get('namespace')}"
            for subject in item.get("subjects") or []
            if subject["kind"] == "ServiceAccount" and subject["name"] == "default"
        ]

    each(_bindings(cluster), judge)


def test_everyone_signed_in(each: Each, cluster: Cluster) -> None:
    """No binding but Kubernetes' own gives rights to all who have signed in, or to all accounts."""
    everyone = ("system:authenticated", "system:serviceaccounts")

    def judge(item: Manifest) -> list[str]:
        if item["roleRef"]["name"] in _PUBLIC:
            return []
        return [
            f"gives {item['roleRef']['name']} to {subject['name']}"
            for subject in item.get("subjects") or []
            if subject["kind"] == "Group" and subject["name"] in everyone
        ]

    key, value = _OWN_OF_KUBERNETES
    each(
        {
            name: item
            for name, item in _bindings(cluster).items()
            if (item["metadata"].get("labels") or {}).get(key) != value
        },
        judge,
    )


def _bindings(cluster: Cluster) -> dict[str, Manifest]:
    found = {}
    for kind in ("ClusterRoleBinding", "RoleBinding"):
        for (namespace, name), item in cluster.found(_RBAC, kind).items():
            found[f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"] = item
    return found
