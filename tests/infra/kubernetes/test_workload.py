from dataclasses import replace

import pytest

from core.errors import ConfigError
from infra.config.kubernetes import NodeSelection, SiteStores
from infra.substrates.base import Port, Probe, Resources, SecretKey, Store, Workload
from infra.substrates.cluster import Backend, ClusterRoute, IdentitySpec, Permission, Placement
from infra.substrates.kubernetes import gateway
from infra.substrates.kubernetes.bindings import SecretFile, StoreBinding
from infra.substrates.kubernetes.placement import check_fit, placement
from infra.substrates.kubernetes.site import SiteBindings, SiteIdentities
from infra.substrates.kubernetes.workload import pod, secret_keys
from tests.infra.variations import document

WORKLOAD = Workload(
    name="a_service",
    command=["serve"],
    ports={"http": Port(number=8000, setting="a.port")},
    readiness=Probe(port="http", path="/ready"),
    resources=Resources(cpu=0.5, memory_mib=512),
)
HERE = Placement(node_selector={"pool": "a"}, tolerations=[])


def made(workload: Workload = WORKLOAD, *bindings: StoreBinding) -> dict[str, object]:
    found = pod(workload, image="r/i:1", bindings=bindings, placement=HERE, pull_secret=None)
    return found["spec"]  # type: ignore[no-any-return]


def test_a_pod_can_do_nothing_that_it_need_not() -> None:
    spec = made()
    container = spec["containers"][0]  # type: ignore[index]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert "nvidia.com/gpu" not in container["resources"]["limits"]


def test_a_gpu_is_given_where_it_is_asked_for() -> None:
    container = made(replace(WORKLOAD, resources=Resources(cpu=1, memory_mib=512, gpus=2)))["containers"][0]  # type: ignore[index]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"


def test_stores_that_contradict_each_other_are_refused() -> None:
    bindings = [StoreBinding(uri="x", environment={"PGHOST": host}) for host in ("a", "b")]
    with pytest.raises(ConfigError, match="set PGHOST differently"):
        made(WORKLOAD, *bindings)
    secret = StoreBinding(uri="x", secrets={"PGHOST": SecretKey(secret="s", key="k")})
    with pytest.raises(ConfigError, match="both in clear and from a secret"):
        made(WORKLOAD, bindings[0], secret)


def test_files_of_several_secrets_share_a_folder() -> None:
    files = [SecretFile(path=f"/etc/c/{name}.crt", value=SecretKey(secret=name, key="ca.crt")) for name in ("a", "b")]
    binding = StoreBinding(uri="x", files=files)
    volumes = [volume for volume in made(WORKLOAD, binding, binding)["volumes"] if "projected" in volume]  # type: ignore[attr-defined]
    assert [source["secret"]["name"] for source in volumes[0]["projected"]["sources"]] == ["a", "b"]
    assert secret_keys(WORKLOAD, [binding]) == {"a": {"ca.crt"}, "b": {"ca.crt"}}


def selection(**changes: object) -> NodeSelection:
    return NodeSelection.model_validate(
        {"roles": ["services"], "selector": {"a": "b"}, "count": 1, "cpu": 4, "memory_gib": 8} | changes
    )


def test_pods_run_where_their_pool_is() -> None:
    pools = {"open": selection(), "other": selection(selector={"a": "b", "c": "d"}), "gpu": selection(gpus=1)}
    assert placement(pools, "services", None).node_selector == {"a": "b"}
    assert placement(pools, "services", "other").node_selector == {"a": "b", "c": "d"}
    assert [taint.key for taint in placement(pools, "services", "gpu").tolerations] == ["nvidia.com/gpu"]
    with pytest.raises(ConfigError, match="has the role training"):
        placement(pools, "training", None)


def test_a_pod_that_fits_no_node_is_refused() -> None:
    check_fit({"a": selection()}, "services", None, "x", Resources(cpu=4, memory_mib=8192))
    with pytest.raises(ConfigError, match=r"x asks for 5 CPU.*offers 4, 8192 and 0"):
        check_fit({"a": selection()}, "services", None, "x", Resources(cpu=5, memory_mib=1))


def test_a_sites_stores_keep_passwords_out_of_addresses() -> None:
    bindings = SiteBindings(SiteStores.model_validate(document("onprem")["substrate"]["stores"]))
    database = bindings.bind(Store("tracking", "database"))
    assert database.uri == "postgresql+psycopg:///tracking"
    assert database.environment["PGSSLMODE"] == "verify-full"
    assert bindings.bind(Store("raw", "folder", "raw")).uri == "s3://falaj-raw/raw"


def test_a_site_gives_no_rights_in_a_cloud() -> None:
    permission = Permission(actions=["s3:GetObject"], resources=["arn:aws:s3:::bucket/*"])
    identity = IdentitySpec(namespace="a", account="b", permissions=[permission])
    with pytest.raises(ConfigError, match="asks for rights in a cloud"):
        SiteIdentities().bind(identity, None)  # type: ignore[arg-type]


def test_a_page_is_found_without_its_slash() -> None:
    found = gateway.route(
        ClusterRoute(
            name="mlflow",
            namespace="falaj",
            prefixes=["/mlflow/"],
            backends=[Backend(service="mlflow", port=5000)],
            rewrite="/",
            timeout_seconds=None,
            page=True,
        ),
        "ml.example.ae",
        "falaj",
    )
    prefix, exact = found["rules"]
    assert prefix["timeouts"] == {"request": "0s"}
    assert exact["filters"][0]["requestRedirect"]["path"]["replaceFullPath"] == "/mlflow/"
