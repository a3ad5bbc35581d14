"""cert-manager, External Secrets and Envoy Gateway."""

from collections.abc import Callable
from typing import Any

import pytest

from infra.addons import cert_manager, envoy_gateway, external_secrets
from infra.config.services import Acme, Authority, Public
from tests.infra.variations import document

ZONE = "Z0123456789ABCDEF"


def public(**tls: Any) -> Public:
    found = document("prod")["gateway"]["public"]
    return Public.model_validate({**found, "tls": tls} if tls else found)


def certificates(cluster: Any, found: Public, opts: Any) -> None:
    assert isinstance(found.tls, Acme | Authority)
    manager = cert_manager.CertManager("cert", cluster, found, opts=opts)
    cert_manager.GatewayIssuer(
        "issuer", cluster, found.tls, [manager.ready] if manager.ready else [], "me-central-1", opts
    )


def test_the_issuer_waits_for_the_webhook_and_its_secret(install: Callable[..., Any]) -> None:
    tried = install(lambda cluster, opts: certificates(cluster, public(), opts))
    assert tried.before("cert-manager") == {"namespace-cert-manager"}
    assert tried.before("gateway") == {"cert-manager", "secret-cert-manager-falaj-issuing-authority"}
    assert tried.find("gateway").inputs["spec"] == {"ca": {"secretName": "falaj-issuing-authority"}}
    assert tried.find("cert-manager").inputs["version"].startswith("v1.")


def test_dns_challenges_may_write_nothing_but_their_own_records(install: Callable[..., Any]) -> None:
    acme = public(kind="acme", email="pki@example.ae", dns_zone=ZONE)
    tried = install(lambda cluster, opts: certificates(cluster, acme, opts))
    (identity,) = tried.cluster.identities
    assert identity.account == tried.find("cert-manager").inputs["values"]["serviceAccount"]["name"]
    writing = [right for right in identity.permissions if "route53:ChangeResourceRecordSets" in right.actions]
    assert [(right.resources, right.condition) for right in writing] == [
        (
            [f"arn:aws:route53:::hostedzone/{ZONE}"],
            {"ForAllValues:StringEquals": {"route53:ChangeResourceRecordSetsRecordTypes": ["TXT"]}},
        )
    ]
    assert "identity-cert-manager-cert-manager" in tried.before("cert-manager")
    (solver,) = tried.find("gateway").inputs["spec"]["acme"]["solvers"]
    assert solver["dns01"]["route53"] == {"hostedZoneID": ZONE, "region": "me-central-1"}


def test_the_authority_never_speaks_acme() -> None:
    authority = Authority(kind="authority", secret="falaj/ca")
    assert "acme" not in cert_manager.issuer(authority, None, "falaj-ca")
    acme = Acme(kind="acme", email="pki@example.ae", dns_zone=ZONE)
    assert cert_manager.issuer(acme, "me-central-1", None)["acme"]["server"].startswith("https://")


@pytest.mark.parametrize("part", ["cert-manager", "external-secrets", "envoy-gateway"])
def test_what_the_site_runs_is_not_installed(part: str, install: Callable[..., Any]) -> None:
    def program(cluster: Any, opts: Any) -> None:
        cert_manager.CertManager("cert", cluster, public(), opts=opts)
        external_secrets.ExternalSecrets("secrets", cluster, opts=opts)
        envoy_gateway.EnvoyGateway("envoy", cluster, opts=opts)

    charts = {"cert-manager", "external-secrets", "envoy-gateway"}
    tried = install(program, frozenset({part}))
    found = {resource.name for resource in tried.graph.resources if resource.type.endswith("helm.sh/v4:Chart")}
    assert found == charts - {part}


def test_all_images_come_from_inside_the_country() -> None:
    assert cert_manager.values("mirror/quay.io", 1)["imageRegistry"] == "mirror/quay.io"
    assert envoy_gateway.values("mirror/docker.io", 1)["global"]["imageRegistry"] == "mirror/docker.io"
    secrets = external_secrets.values("mirror/ghcr.io", 1)
    images = [part["image"]["repository"] for part in (secrets, secrets["webhook"], secrets["certController"])]
    assert set(images) == {"mirror/ghcr.io/external-secrets/external-secrets"}


def test_the_class_waits_for_the_controller_with_its_certificates(install: Callable[..., Any]) -> None:
    tried = install(lambda cluster, opts: envoy_gateway.EnvoyGateway("envoy", cluster, opts=opts))
    chart = tried.find("envoy-gateway").inputs
    assert chart["includeHooks"] is True
    assert tried.before("gateway-class") == {"envoy-gateway"}


def test_more_than_one_replica_survives_a_drained_node() -> None:
    assert cert_manager.values("r", 2)["webhook"]["podDisruptionBudget"] == {"enabled": True}
    assert external_secrets.values("r", 1)["webhook"]["podDisruptionBudget"]["enabled"] is False
    assert external_secrets.values("r", 2)["leaderElect"] is True
