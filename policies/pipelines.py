"""Compiled pipelines: their steps, and what each is told."""

from collections.abc import Mapping
from typing import Any

from policies.model import Resource

PIPELINE = "falaj:file:Pipeline"
"""A pipeline as KFP compiles it, with what it asks of the cluster under `platforms`."""


def executors(resource: Resource) -> list[tuple[str, Mapping[str, Any]]]:
    """The container of each step, by its executor; empty for what runs none, such as an importer."""
    listed = (resource.inputs.get("deploymentSpec") or {}).get("executors") or {}
    return [
        (str(name), executor.get("container") or {})
        for name, executor in listed.items()
        if isinstance(executor, Mapping)
    ]


def platform(resource: Resource) -> Mapping[str, Any]:
    """What a cluster is to give each step, by its executor."""
    found = ((resource.inputs.get("platforms") or {}).get("kubernetes") or {}).get("deploymentSpec") or {}
    listed = found.get("executors")
    return listed if isinstance(listed, Mapping) else {}


def tasks(resource: Resource) -> list[tuple[str, Mapping[str, Any]]]:
    """Each task with its name, also those of pipelines within the pipeline."""
    found: list[tuple[str, Mapping[str, Any]]] = []

    def collect(value: Any) -> None:
        if isinstance(value, Mapping):
            listed = value.get("tasks")
            if isinstance(listed, Mapping):
                found.extend((str(name), task) for name, task in listed.items() if isinstance(task, Mapping))
            for item in value.values():
                collect(item)

    collect({"root": resource.inputs.get("root"), "components": resource.inputs.get("components")})
    return found
