"""The HTTP endpoints of an environment on this machine."""

import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from core.model_spec import Live
from core.platform import Service
from verify.asked import Each, UnaskedError
from verify.local import Local

_SECONDS = 15
_SCRAPED_SECONDS = 60
"""Within which Prometheus reads everything once more: some times the local environment's interval."""


def test_healthy(each: Each, local: Local) -> None:
    """Every service answers 200 on its health endpoint."""
    each(
        {name: service.health for name, service in local.environment.services.items()},
        lambda url: _answered(_get(url), 200),
    )


def test_reached_through_the_gateway(each: Each, local: Local) -> None:
    """Every service answers 200 through the gateway."""

    def judge(service: Service) -> str | None:
        path = urlsplit(service.health).path.removeprefix(urlsplit(service.url).path)
        return _answered(_get(service.url + path), 200)

    each(local.environment.services, judge)


def test_unknown_paths(each: Each, local: Local) -> None:
    """A path that no service has is not found, and neither is the gateway's own administration."""
    paths = ("/no-such-service", "/quitquitquit", "/config_dump", "/clusters", "/logging")
    each(paths, lambda path: _answered(_get(local.gateway + path), 404))


def test_metrics_are_read_alone(each: Each, local: Local) -> None:
    """The gateway's metrics can be read, and nothing be posted there."""
    url = f"{local.gateway}/stats/prometheus"
    each({"GET": ("GET", 200), "POST": ("POST", 404)}, lambda how: _answered(_ask(how[0], url), how[1]))


def test_forged_headers(each: Each, local: Local) -> None:
    """A header with an underscore, which a service could take for another, is refused."""
    each(["X_Falaj_User"], lambda name: _answered(_get(f"{local.gateway}/healthz", {name: "someone"}), 400))


def test_request_ids(each: Each, local: Local) -> None:
    """Every answer carries the id of its request."""

    def judge(url: str) -> str | None:
        answered = _get(url, {"X-Request-Id": "falaj-verify"}).headers.get("x-request-id")
        return None if answered == "falaj-verify" else f"answered with the id {answered}"

    each({"gateway": f"{local.gateway}/v2/health/ready"}, judge)


def test_models_ready(each: Each, local: Local) -> None:
    """The live version of every model is ready."""
    runtime = local.environment.platform.runtime_url

    def judge(model: str) -> str | None:
        version = _live(local, model).live
        return _answered(_get(f"{runtime}/v2/models/{quote(model)}/versions/{version}/ready"), 200)

    each(models(local), judge)


def test_registry_agrees(each: Each, local: Local) -> None:
    """What is live is what the registry calls live."""
    place = f"{local.environment.platform.mlflow_url}/api/2.0/mlflow/registered-models/alias"

    def judge(model: str) -> str | None:
        answer = _get(place, name=model, alias="live")
        if answer.status_code != httpx.codes.OK:
            return f"the registry answered {answer.status_code}"
        registered, live = answer.json()["model_version"]["version"], _live(local, model).live
        return None if int(registered) == live else f"the registry says {registered}, and {live} answers"

    each(models(local), judge)


def test_watched(each: Each, local: Local) -> None:
    """Prometheus reads the metrics of all that it is to watch."""
    found = _read_since(local, datetime.now(UTC))
    each(
        {f"{target['labels']['job']} {target['scrapeUrl']}": target for target in found},
        lambda target: None if target["health"] == "up" else f"is {target['health']}: {target['lastError']}",
    )


def test_rules(each: Each, local: Local) -> None:
    """Every rule of Prometheus can be evaluated."""
    groups = _prometheus(local, "rules")["groups"]
    rules = {f"{group['name']}: {rule['name']}": rule for group in groups for rule in group["rules"]}
    each(rules, lambda rule: rule.get("lastError") if rule["health"] == "err" else None)


def test_no_alert(each: Each, local: Local) -> None:
    """No alert fires."""
    groups = _prometheus(local, "rules")["groups"]
    alerts = {rule["name"]: rule for group in groups for rule in group["rules"] if rule["type"] == "alerting"}
    each(alerts, lambda rule: "fires" if rule["state"] == "firing" else None)


def models(local: Local) -> list[str]:
    """Names of the models that have a live version."""
    return sorted(file.parent.name for file in (local.data / "models").glob("*/live.json"))


def _live(local: Local, model: str) -> Live:
    return Live.model_validate_json((local.data / "models" / model / "live.json").read_bytes())


def _read_since(local: Local, asked: datetime) -> list[dict[str, Any]]:
    """The targets; one that was down is read once more, since it may have come up after Prometheus."""
    until = time.monotonic() + _SCRAPED_SECONDS
    while True:
        found: list[dict[str, Any]] = _prometheus(local, "targets")["activeTargets"]
        stale = [one for one in found if one["health"] != "up" and datetime.fromisoformat(one["lastScrape"]) < asked]
        if not stale or time.monotonic() > until:
            return found
        time.sleep(1)


def _prometheus(local: Local, what: str) -> dict[str, Any]:
    service = local.environment.services.get("prometheus")
    if service is None:
        raise UnaskedError("the stack has no Prometheus")
    answer = _get(f"{service.url}/api/v1/{what}")
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()["data"]
    return found


def _get(url: str, headers: dict[str, str] | None = None, **query: str) -> httpx.Response:
    return _ask("GET", url, headers, **query)


def _ask(method: str, url: str, headers: dict[str, str] | None = None, **query: str) -> httpx.Response:
    with httpx.Client(timeout=_SECONDS, trust_env=False) as client:
        return client.request(method, url, headers=headers, params=query)


def _answered(answer: httpx.Response, expected: int) -> str | None:
    return None if answer.status_code == expected else f"answered {answer.status_code} instead of {expected}"
