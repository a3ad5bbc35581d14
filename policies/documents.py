"""Plain resources from plain data: the plan of a stack, a manifest, a compiled pipeline, a data contract."""

import json
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from core.errors import DataError
from policies.graph import Graph
from policies.model import Resource
from policies.pipelines import PIPELINE
from policies.rules.residency import STACK
from policies.rules.serving import CONTRACT
from policies.settings import Settings, read_settings


def stack_graph(
    stack: str, resources: Iterable[Resource], section: Mapping[str, Any], contracts: Iterable[Resource], today: date
) -> Graph:
    """The graph of a stack: what its program declares, its file, and the contracts of what it is for.

    Args:
        section: What the stack's file holds under `falaj:stack`.
        contracts: As `contracts` reads them.

    Raises:
        ConfigError: The section has a value that it cannot have.
    """
    place = f"stacks/Pulumi.{stack}.yaml"
    file = Resource(urn=f"urn:file:{place}", type=STACK, name=place, inputs=section, place=place)
    return Graph([*resources, file, *contracts], read_settings(section, stack), today)


def contracts(root: Path) -> list[Resource]:
    """The data contracts of a repository: `datasets/*/contract.yaml`.

    Raises:
        DataError: One of them cannot be read; the message names the line.
    """
    return [
        _file_resource(file.relative_to(root), line, CONTRACT, str(document.get("name")), document)
        for file in sorted(root.glob("datasets/*/contract.yaml"))
        for line, document in _documents(file)
    ]


def read_plan(plan: Mapping[str, Any]) -> list[Resource]:
    """The resources of `{"resources": [{"urn", "type", "name", "inputs"…}]}`, as `falaj plan --json` has them."""
    return [from_plan(one) for one in plan["resources"]]


def from_plan(document: Mapping[str, Any]) -> Resource:
    """One resource of a plan."""
    return Resource(
        urn=document["urn"],
        type=document["type"],
        name=document["name"],
        inputs=plain_inputs(document["type"], document.get("inputs") or {}),
        parent=document.get("parent"),
        provider=document.get("provider"),
        options=document.get("options") or {},
        dependencies=tuple(document.get("dependencies") or ()),
        property_dependencies={key: tuple(urns) for key, urns in (document.get("property_dependencies") or {}).items()},
    )


def plain_inputs(kind: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    """The inputs of a resource; those of a provider are text, and what is JSON in them is read."""
    if not kind.startswith("pulumi:providers:"):
        return inputs
    return {key: _read(value) for key, value in inputs.items()}


def _read(value: Any) -> Any:
    if not isinstance(value, str) or value[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def file_graph(file: Path, settings: Settings, today: date) -> Graph:
    """The graph of a file: Kubernetes objects, a compiled pipeline, a data contract, or a plan in JSON.

    Raises:
        DataError: It cannot be read, or is none of these; the message names the line.
    """
    documents = _documents(file)
    if len(documents) == 1 and isinstance(documents[0][1].get("resources"), list) and "stack" in documents[0][1]:
        plan = documents[0][1]
        try:
            return Graph(read_plan(plan), settings, today)
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{file} is not a plan ({error!r}): write it again by `falaj plan <stack> --json`"
            ) from error
    resources: list[Resource] = []
    pipeline: dict[str, Any] | None = None
    for line, document in documents:
        if "pipelineInfo" in document:
            pipeline = dict(document)
            if "root" not in document or "deploymentSpec" not in document:
                lost = "root" if "root" not in document else "deploymentSpec"
                raise DataError(f"{file}:{line}: the pipeline has no {lost}, its end is missing: compile it again")
            resources.append(_file_resource(file, line, PIPELINE, str(document["pipelineInfo"].get("name")), pipeline))
        elif "platforms" in document and pipeline is not None:
            pipeline["platforms"] = document["platforms"]
        elif {"columns", "task"} <= document.keys() or "lawful_basis" in document:
            resources.append(_file_resource(file, line, CONTRACT, str(document.get("name")), document))
        else:
            resources += _objects(file, line, document)
    return Graph(resources, settings, today)


def _objects(file: Path, line: int, document: Mapping[str, Any]) -> list[Resource]:
    if document.get("kind") == "List" and isinstance(document.get("items"), list):
        return [one for item in document["items"] if isinstance(item, Mapping) for one in _objects(file, line, item)]
    version, kind = document.get("apiVersion"), document.get("kind")
    if not isinstance(version, str) or not isinstance(kind, str):
        raise DataError(
            f"{file}:{line}: this is no Kubernetes object (apiVersion and kind), no compiled pipeline (pipelineInfo), "
            "no data contract (columns and task) and no plan (stack and resources): name another file"
        )
    metadata = document.get("metadata")
    name = metadata.get("name", "") if isinstance(metadata, Mapping) else ""
    space = metadata.get("namespace", "") if isinstance(metadata, Mapping) else ""
    group = version if "/" in version else f"core/{version}"
    return [
        _file_resource(file, line, f"kubernetes:{group}:{kind}", f"{space}/{name}" if space else str(name), document)
    ]


def _file_resource(file: Path, line: int, kind: str, name: str, inputs: Mapping[str, Any]) -> Resource:
    return Resource(
        urn=f"urn:file:{file}:{line}:{kind}::{name}", type=kind, name=name, inputs=inputs, place=f"{file}:{line}"
    )


def _documents(file: Path) -> list[tuple[int, dict[str, Any]]]:
    """The documents of a file with the lines on which they begin."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    if file.suffix == ".json":
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"{file}:{error.lineno}: not JSON: {error.msg}. Write the file again") from error
        listed = found if isinstance(found, list) else [found]
        return [(1, _mapping(file, 1, one)) for one in listed]
    loader: Any = yaml.CSafeLoader(text)
    documents: list[tuple[int, dict[str, Any]]] = []
    try:
        while loader.check_node():
            node = loader.get_node()
            line = node.start_mark.line + 1
            value = loader.construct_document(node)
            if value is not None:
                documents.append((line, _mapping(file, line, value)))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or str(error)
        raise DataError(f"{file}:{line}: not YAML: {problem}. Mend the line, or write the file again") from error
    finally:
        loader.dispose()
    if not documents:
        raise DataError(f"{file} is empty: write it again")
    return documents


def _mapping(file: Path, line: int, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataError(
            f"{file}:{line}: there should be a mapping, and not {type(value).__name__}: write the file again"
        )
    return value
