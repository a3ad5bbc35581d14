"""The provider `kubernetes`. `python -m rehearsal.kubernetes.provider` serves it to the engine."""

import copy
import functools
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
from pulumi.runtime.proto import provider_pb2, resource_pb2, resource_pb2_grpc

from core.pins import pins
from rehearsal.kubernetes.api import Api, Manifest, UnknownKindError
from rehearsal.kubernetes.charts import NotVendoredError, chart, defined_groups, kustomization
from rehearsal.kubernetes.readiness import settle
from rehearsal.notes import folder, note
from rehearsal.protocol import (
    Difference,
    Found,
    Made,
    NotFoundError,
    NotReadyError,
    Provider,
    ProviderError,
    Values,
    changed,
    decode,
    encode,
    serve,
)
from rehearsal.servers import KUBECONFIG

ROOT = Path(__file__).resolve().parents[2]
NOT_RENDERED = "not rendered, since it is not vendored (run `falaj vendor`)"
INVENTED_LABEL = "falaj.ae/rehearsal"
INVENTED = "of a kind that nothing vendored defines: any fields were accepted"
_CHART, _DIRECTORY = "kubernetes:helm.sh/v4:Chart", "kubernetes:kustomize/v2:Directory"
_DEFINITION = "CustomResourceDefinition"
_ESTABLISHED_SECONDS = 300
_DEFINED_SECONDS = 5
_FIXED = {
    "kubernetes:apps/v1:Deployment": ("selector",),
    "kubernetes:apps/v1:DaemonSet": ("selector",),
    "kubernetes:apps/v1:StatefulSet": (
        "selector",
        "serviceName",
        "volumeClaimTemplates",
        "podManagementPolicy",
        "revisionHistoryLimit",
    ),
    "kubernetes:batch/v1:Job": ("selector", "template", "completions", "parallelism"),
    "kubernetes:core/v1:ResourceQuota": ("scopes",),
    "kubernetes:core/v1:Service": ("clusterIP",),
}
"""Fields of `spec` for which the real provider makes a new object, mostly since the API server takes no other value.

https://github.com/pulumi/pulumi-kubernetes/blob/master/provider/pkg/provider/diff.go
"""
_RENEWED = {
    "kubernetes:core/v1:ConfigMap": ("data", "binaryData", "immutable"),
    "kubernetes:core/v1:PersistentVolumeClaim": ("spec",),
    "kubernetes:core/v1:Secret": ("type", "stringData", "data", "immutable"),
    "kubernetes:storage.k8s.io/v1:StorageClass": ("parameters", "provisioner"),
    "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding": ("roleRef",),
    "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding": ("roleRef",),
}
"""The same for fields beside `spec`."""


class KubernetesProvider(Provider):
    """Server-side apply to the rehearsal's API server, whatever cluster the program names: that one is not there."""

    constructs = True

    def __init__(self) -> None:
        self._api = Api(folder() / KUBECONFIG)
        self._defining = threading.Lock()

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def configure(self, settings: Mapping[str, str]) -> None:
        if settings.get("enableServerSideApply", "true") != "true":
            raise ProviderError("the rehearsal applies on the server's side: set enable_server_side_apply=True")

    def check(self, kind: str, inputs: Values) -> list[str]:
        if kind.endswith("Patch"):
            return [f"the rehearsal has no {kind}: it patches nothing that others made"]
        return [] if isinstance(inputs.get("kind"), str) else [f"{kind} has no kind"]

    def difference(self, kind: str, before: Values, outputs: Values, inputs: Values) -> Difference:  # noqa: ARG002
        found = changed(before, inputs)
        old, new = before.get("spec") or {}, inputs.get("spec") or {}
        replaced = found & set(_RENEWED.get(kind, ()))
        if any(old.get(key) != new.get(key) for key in _FIXED.get(kind, ())):
            replaced.add("spec")
        first, second = before.get("metadata", {}), inputs.get("metadata", {})
        if any(first.get(key) != second.get(key) for key in ("name", "namespace")):
            replaced.add("metadata")
        return Difference(changed=found, replaced=replaced, delete_first=True)

    def create(self, kind: str, name: str, inputs: Values) -> Made:  # noqa: ARG002
        manifest = copy.deepcopy(inputs)
        metadata = manifest.setdefault("metadata", {})
        metadata.setdefault("name", f"{name}-{secrets.token_hex(4)[:7]}")
        self._define(manifest)
        try:
            self._api.get(manifest)
        except NotFoundError:
            live = self._api.apply(manifest)
        else:
            raise ProviderError(f"{manifest['kind']} {metadata.get('namespace', '')}/{metadata['name']} exists already")
        namespace = live["metadata"].get("namespace")
        return Made(id=f"{namespace}/{metadata['name']}" if namespace else metadata["name"], outputs=_noted(live))

    def read(self, kind: str, identifier: str, inputs: Values, outputs: Values) -> Found:  # noqa: ARG002
        try:
            live = _noted(self._api.get(_addressed(inputs, outputs)))
        except UnknownKindError as error:
            raise NotFoundError(str(error)) from error
        return Found(inputs=_observed(inputs, outputs, live), outputs=live)

    def update(self, kind: str, identifier: str, before: Values, outputs: Values, inputs: Values) -> Values:  # noqa: ARG002
        return _noted(self._api.apply(_addressed(inputs, outputs)))

    def settle(self, kind: str, outputs: Values, seconds: float) -> Values:  # noqa: ARG002
        try:
            if outputs["kind"] == _DEFINITION:
                self._established(self._api.get(outputs))
            return settle(self._api, outputs, folder().name, seconds)
        except NotReadyError:
            raise
        except ProviderError as error:
            # It is there, whatever kept us from looking at it.
            raise NotReadyError(str(error), outputs) from error

    def delete(self, kind: str, identifier: str, inputs: Values, outputs: Values) -> None:  # noqa: ARG002
        self._api.delete(_addressed(inputs, outputs))

    def construct(self, request: Any) -> provider_pb2.ConstructResponse:
        inputs = decode(request.inputs)
        with grpc.insecure_channel(request.monitorEndpoint, options=_MESSAGES) as channel:
            monitor = resource_pb2_grpc.ResourceMonitorStub(channel)
            component = monitor.RegisterResource(
                resource_pb2.RegisterResourceRequest(type=request.type, name=request.name, parent=request.parent)
            )
            try:
                objects = self._rendered(request.type, request.name, inputs)
            except NotVendoredError as error:
                note(NOT_RENDERED, str(error))
                objects = []
            self._register(monitor, request, component.urn, objects)
            monitor.RegisterResourceOutputs(
                resource_pb2.RegisterResourceOutputsRequest(urn=component.urn, outputs=encode({}))
            )
        return provider_pb2.ConstructResponse(urn=component.urn, state=encode({}))

    def _rendered(self, kind: str, name: str, inputs: Values) -> list[Manifest]:
        if kind == _CHART:
            objects = chart(name, inputs, ROOT, pins().versions.kubernetes, self._api.versions())
        elif kind == _DIRECTORY:
            objects = kustomization(Path(inputs["directory"]), ROOT)
        else:
            raise ProviderError(f"the rehearsal has no {kind}")
        namespaced = {
            item["spec"]["names"]["kind"]: item["spec"]["scope"] == "Namespaced"
            for item in objects
            if item["kind"] == _DEFINITION
        }
        for item in objects:
            if self._namespaced(item, namespaced):
                item["metadata"].setdefault("namespace", inputs.get("namespace", "default"))
        return objects

    def _namespaced(self, item: Manifest, defined: Mapping[str, bool]) -> bool:
        if item["kind"] in defined:
            return defined[item["kind"]]
        try:
            return bool(self._api.resource(item["apiVersion"], item["kind"])["namespaced"])
        except UnknownKindError:
            return True

    def _register(self, monitor: Any, request: Any, parent: str, objects: list[Manifest]) -> None:
        """As the real provider orders them: definitions and namespaces, then all else at once."""
        first = [item for item in objects if item["kind"] in (_DEFINITION, "Namespace")]
        rest = [item for item in objects if item not in first]
        before = [*request.dependencies]
        answers = [monitor.RegisterResource.future(_child(request, parent, item, before)) for item in first]
        before += [answer.result().urn for answer in answers]
        answers = [monitor.RegisterResource.future(_child(request, parent, item, before)) for item in rest]
        for answer in answers:
            answer.result()

    def _define(self, manifest: Manifest) -> None:
        """Have the kind of an object: where nothing vendored defines it, as one that takes any fields."""
        version, kind = manifest["apiVersion"], manifest["kind"]
        try:
            self._api.resource(version, kind)
            return
        except UnknownKindError as unknown:
            group = version.partition("/")[0]
            if group in _groups():
                # A definition that has just come may be some moments from being served.
                self._wait(version, kind, unknown)
                return
        with self._defining:
            try:
                self._api.resource(version, kind)
            except UnknownKindError:
                definition = _permissive(version, kind, namespaced="namespace" in manifest["metadata"])
                self._api.apply(definition, force=True)
                self._established(definition)
                note(INVENTED, f"{kind} of {version}")
        self._wait(version, kind, None)

    def _wait(self, version: str, kind: str, error: UnknownKindError | None) -> None:
        last = time.monotonic() + _DEFINED_SECONDS
        while True:
            try:
                self._api.resource(version, kind)
            except UnknownKindError as unknown:
                if time.monotonic() > last:
                    raise error or unknown from None
                time.sleep(0.3)
            else:
                return

    def _established(self, definition: Manifest) -> None:
        if self._served(definition["spec"]):
            return
        last = time.monotonic() + _ESTABLISHED_SECONDS
        while time.monotonic() < last:
            conditions = self._api.get(definition).get("status", {}).get("conditions") or []
            state = {condition["type"]: condition for condition in conditions}
            if state.get("Established", {}).get("status") == "True":
                return
            if state.get("NamesAccepted", {}).get("status") == "False":
                raise ProviderError(f"{definition['metadata']['name']}: {state['NamesAccepted'].get('message')}")
            time.sleep(0.2)
        raise ProviderError(f"{definition['metadata']['name']} is not established after {_ESTABLISHED_SECONDS} s")

    def _served(self, spec: Values) -> bool:
        """Whether a definition's kind is soon there: a short answer, where definitions are long ones."""
        version = next(each["name"] for each in spec["versions"] if each["served"])
        try:
            self._wait(f"{spec['group']}/{version}", spec["names"]["kind"], None)
        except UnknownKindError:
            return False
        return True


_MESSAGES = [("grpc.max_receive_message_length", 1 << 28), ("grpc.max_send_message_length", 1 << 28)]


@functools.cache
def _groups() -> set[str]:
    return defined_groups(ROOT)


def _child(request: Any, parent: str, item: Manifest, before: list[str]) -> resource_pb2.RegisterResourceRequest:
    version = item["apiVersion"] if "/" in item["apiVersion"] else f"core/{item['apiVersion']}"
    metadata = item["metadata"]
    named = f"{metadata['namespace']}/{metadata['name']}" if "namespace" in metadata else metadata["name"]
    return resource_pb2.RegisterResourceRequest(
        type=f"kubernetes:{version}:{item['kind']}",
        name=f"{request.name}:{named}",
        parent=parent,
        custom=True,
        object=encode(item),
        provider=request.providers["kubernetes"],
        dependencies=before,
        acceptSecrets=False,
        version="",
    )


def _permissive(version: str, kind: str, *, namespaced: bool) -> Manifest:
    group, _, name = version.partition("/")
    lower = kind.lower()
    plural = f"{lower[:-1]}ies" if lower.endswith("y") else f"{lower}es" if lower.endswith("s") else f"{lower}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": _DEFINITION,
        "metadata": {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, a rehearsal's"},
            "labels": {INVENTED_LABEL: "invented"},
        },
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural, "singular": lower},
            "scope": "Namespaced" if namespaced else "Cluster",
            "versions": [{"name": name, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def _addressed(inputs: Values, outputs: Values) -> Manifest:
    """The inputs with the name that the object got."""
    found = copy.deepcopy(inputs)
    metadata = found.setdefault("metadata", {})
    for key in ("name", "namespace"):
        if key in outputs.get("metadata", {}):
            metadata[key] = outputs["metadata"][key]
    return found


def _noted(live: Manifest) -> Manifest:
    """An object as the state keeps it: of a definition's long schemas, a digest, which tells when they change."""
    if live["kind"] != _DEFINITION:
        return live
    versions = hashlib.sha256(json.dumps(live["spec"]["versions"], sort_keys=True).encode()).hexdigest()
    return live | {"spec": live["spec"] | {"versions": versions}}


def _observed(inputs: Any, recorded: Any, live: Any) -> Any:
    """The inputs as the cluster has them: where `live` is as `recorded`, spelt as declared, else as it is now."""
    if isinstance(inputs, dict) and isinstance(live, dict):
        known = recorded if isinstance(recorded, dict) else {}
        return {
            key: _observed(value, known.get(key), live.get(key))
            for key, value in inputs.items()
            if key in live or key not in known
        }
    if isinstance(inputs, list) and isinstance(live, list) and len(inputs) == len(live):
        known_items = recorded if isinstance(recorded, list) and len(recorded) == len(live) else [None] * len(live)
        return [_observed(*items) for items in zip(inputs, known_items, live, strict=True)]
    return inputs if recorded == live else live


if __name__ == "__main__":
    serve(KubernetesProvider())
