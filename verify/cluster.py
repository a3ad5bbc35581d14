"""The API server of a stack, asked for each kind once."""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from kubernetes import config
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

from core.errors import ConfigError
from verify.asked import UnaskedError
from verify.declared import Declared, Inputs

Manifest = dict[str, Any]
OURS = ("app.kubernetes.io/managed-by", "falaj")
"""The label of the stack's own namespaces."""
LEVEL = "pod-security.kubernetes.io/enforce"
_SIMULATED = "kwok.x-k8s.io/node"
"""Annotation of a node that only says that it runs pods."""
_TIMEOUT_SECONDS = 60
_FORBIDDEN = 403
_NOT_FOUND = 404


class Cluster:
    """The API server of a kubeconfig.

    Attributes:
        server: Its address.
    """

    def __init__(self, kubeconfig: Path | None, context: str | None) -> None:
        """Take the file, or the one that KUBECONFIG names; its current context where none is given.

        Raises:
            ConfigError: There is no such file or context.
        """
        try:
            self._api = config.new_client_from_config(str(kubeconfig) if kubeconfig else None, context)
        except ConfigException as error:
            raise ConfigError(f"no kubeconfig for the stack's cluster ({error}): give --kubeconfig") from error
        self.server: str = self._api.configuration.host
        self._kinds: dict[str, dict[str, Any]] = {}
        self._listed: dict[tuple[str, str], list[Manifest]] = {}

    @cached_property
    def version(self) -> str:
        """Of the API server.

        Raises:
            ConfigError: It does not answer, or knows no such user.
        """
        try:
            return str(self._call("GET", "/version")["gitVersion"])
        except (ApiException, HTTPError, ConfigException) as error:
            raise ConfigError(f"the API server {self.server} does not answer: {error}") from error

    def every(self, version: str, kind: str) -> list[Manifest]:
        """All objects of a kind in all namespaces.

        Raises:
            UnaskedError: There is no such kind, or no right to list it.
        """
        key = (version, kind)
        if key not in self._listed:
            try:
                answer = self._call("GET", f"{_prefix(version)}/{self._resource(version, kind)['name']}")
            except ApiException as error:
                if error.status != _FORBIDDEN:
                    raise
                raise UnaskedError(f"no right to list {kind} of {version}") from error
            self._listed[key] = [{"apiVersion": version, "kind": kind} | item for item in answer["items"]]
        return self._listed[key]

    def found(self, version: str, kind: str) -> dict[tuple[str, str], Manifest]:
        """The same by namespace and name."""
        return {(_namespace(item), item["metadata"]["name"]): item for item in self.every(version, kind)}

    def live(self, inputs: Inputs) -> Manifest | None:
        """The object that a declared one became; None where it is not there."""
        metadata = inputs["metadata"]
        every = self.found(inputs["apiVersion"], inputs["kind"])
        return every.get((metadata.get("namespace", ""), metadata["name"])) or every.get(("", metadata["name"]))

    def would_take(self, manifest: Manifest) -> str | None:
        """Why the API server would refuse an object; None where it would take it. Nothing is made.

        Raises:
            UnaskedError: No right to make one.
        """
        version, kind = manifest["apiVersion"], manifest["kind"]
        place = (
            f"{_prefix(version)}/namespaces/{manifest['metadata']['namespace']}/{self._resource(version, kind)['name']}"
        )
        try:
            self._call("POST", place, {"dryRun": "All"}, manifest)
        except ApiException as error:
            message = str(json.loads(error.body or "{}").get("message", error.reason))
            if error.status == _FORBIDDEN and "cannot create resource" in message:
                raise UnaskedError(f"no right to try a {kind}") from error
            return message
        return None

    @cached_property
    def namespaces(self) -> dict[str, Manifest]:
        """The stack's own, by name."""
        key, value = OURS
        found = self.every("v1", "Namespace")
        return {item["metadata"]["name"]: item for item in found if _labels(item).get(key) == value}

    def in_namespaces(self, version: str, kind: str, level: str | None = None) -> dict[str, Manifest]:
        """Objects in the stack's own namespaces, by namespace and name.

        Args:
            level: Only namespaces that enforce this Pod Security Standard.
        """
        wanted = {name for name, item in self.namespaces.items() if level in (None, _labels(item).get(LEVEL))}
        found = self.every(version, kind)
        return {f"{_namespace(item)}/{item['metadata']['name']}": item for item in found if _namespace(item) in wanted}

    @cached_property
    def nodes(self) -> list[Manifest]:
        """Nodes that pods are put on.

        Raises:
            UnaskedError: There is none, so that nothing becomes ready.
        """
        found = self.every("v1", "Node")
        if not found:
            raise UnaskedError("the cluster has no nodes, and nothing becomes ready there")
        return found

    @cached_property
    def machines(self) -> list[Manifest]:
        """Nodes that run what is put on them.

        Raises:
            UnaskedError: There is none, so that no controller acts and no endpoint answers.
        """
        found = [item for item in self.nodes if _SIMULATED not in item["metadata"].get("annotations", {})]
        if not found:
            raise UnaskedError("the nodes are simulated: no operator acts and no endpoint answers")
        return found

    def _resource(self, version: str, kind: str) -> dict[str, Any]:
        key = f"{version}/{kind}"
        if key not in self._kinds:
            try:
                found = self._call("GET", _prefix(version))["resources"]
            except ApiException as error:
                if error.status != _NOT_FOUND:
                    raise
                found = []
            for resource in found:
                if "/" not in resource["name"]:
                    self._kinds[f"{version}/{resource['kind']}"] = resource
        if key not in self._kinds:
            raise UnaskedError(f"the API server knows no {kind} of {version}")
        return self._kinds[key]

    def _call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Manifest | None = None
    ) -> dict[str, Any]:
        answer = self._api.call_api(
            path,
            method,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=_TIMEOUT_SECONDS,
        )
        found: dict[str, Any] = json.loads(answer[0].data)
        return found


def condition(item: Manifest, kind: str) -> str | None:
    """Why a condition of an object's status does not hold; None where it does."""
    for found in item.get("status", {}).get("conditions") or []:
        if found.get("type") == kind:
            if found.get("status") == "True":
                return None
            return f"{kind} is {found.get('status')}: {found.get('reason', '')} {found.get('message', '')}".rstrip(": ")
    return f"its status says nothing of {kind}"


def namespaced(declared: Declared, kind: str) -> dict[str, Inputs]:
    """Declared objects of a kind by namespace and name."""
    return {
        "/".join(part for part in (inputs["metadata"].get("namespace"), inputs["metadata"]["name"]) if part): inputs
        for inputs in declared.of(kind).values()
    }


def _prefix(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _namespace(item: Manifest) -> str:
    return str(item["metadata"].get("namespace", ""))


def _labels(item: Manifest) -> dict[str, str]:
    return item["metadata"].get("labels") or {}
