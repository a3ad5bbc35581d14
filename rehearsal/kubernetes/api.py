"""What the provider asks of the API server."""

import ssl
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import httpx
import yaml

from rehearsal.kubernetes.transport import Transport
from rehearsal.protocol import NotFoundError, ProviderError

Manifest = dict[str, Any]
_TIMEOUT_SECONDS = 60
_GONE_SECONDS = 300
MANAGER = "pulumi-kubernetes"
_METADATA = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}


class UnknownKindError(ProviderError):
    """The API server has no such kind."""


class Api:
    """The API server of a kubeconfig with a token."""

    def __init__(self, kubeconfig: Path) -> None:
        known = yaml.safe_load(kubeconfig.read_text())
        cluster, user = known["clusters"][0]["cluster"], known["users"][0]["user"]
        self._http = httpx.Client(
            base_url=cluster["server"],
            headers={"Authorization": f"Bearer {user['token']}"},
            timeout=_TIMEOUT_SECONDS,
            transport=Transport(
                verify=ssl.create_default_context(cafile=cluster["certificate-authority"]),
                limits=httpx.Limits(max_connections=32),
                trust_env=False,
            ),
            trust_env=False,
        )
        self._kinds: dict[str, dict[str, dict[str, Any]]] = {}

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def resource(self, version: str, kind: str) -> dict[str, Any]:
        """Discovery's word on a kind: `name`, `namespaced`, `verbs`.

        Raises:
            UnknownKindError: There is none.
        """
        if kind not in self._kinds.get(version, {}):
            self._discover(version)
        if kind not in self._kinds[version]:
            raise UnknownKindError(f"the API server knows no {kind} of {version}: what defines it must come before")
        return self._kinds[version][kind]

    def versions(self) -> list[str]:
        """All groups with their versions and kinds, as charts ask for them."""
        groups = self._http.get("/apis").json()["groups"]
        names = ["v1", *(version["groupVersion"] for group in groups for version in group["versions"])]
        for name in names:
            self._discover(name)
        return names + [f"{name}/{kind}" for name in names for kind in self._kinds[name]]

    def _discover(self, version: str) -> None:
        answer = self._http.get(_prefix(version))
        found = answer.json().get("resources", []) if answer.status_code == httpx.codes.OK else []
        self._kinds[version] = {resource["kind"]: resource for resource in found if "/" not in resource["name"]}

    def get(self, manifest: Manifest) -> Manifest:
        """The object as it is.

        Raises:
            NotFoundError: There is none.
        """
        return self._answer(self._http.get(self._path(manifest)), manifest)

    def apply(self, manifest: Manifest, *, force: bool = False) -> Manifest:
        """Server-side apply; what another manager owns is a conflict, and a field that no schema has is refused."""
        parameters = {"fieldManager": MANAGER, "fieldValidation": "Strict", "force": str(force).lower()}
        answer = self._http.patch(
            self._path(manifest),
            params=parameters,
            json=manifest,
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        return self._answer(answer, manifest)

    def delete(self, manifest: Manifest) -> None:
        """Delete an object and wait until it is gone; what a controller makes anew under its name is another."""
        try:
            deleted = self.get(manifest)["metadata"]["uid"]
            self._answer(
                self._http.request(
                    "DELETE",
                    self._path(manifest),
                    json={"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"},
                ),
                manifest,
            )
            last = time.monotonic() + _GONE_SECONDS
            while time.monotonic() < last:
                left = self.get(manifest)
                if left["metadata"]["uid"] != deleted:
                    return
                time.sleep(0.2)
        except (NotFoundError, UnknownKindError):
            return
        conditions = left.get("status", {}).get("conditions") or []
        waits = [condition.get("message", "") for condition in conditions if condition.get("status") == "True"]
        held = ", ".join(left["metadata"].get("finalizers", [])) or "nothing"
        raise ProviderError(
            f"{_name(manifest)} is still there after {_GONE_SECONDS} s, held by {held}: {' '.join(waits)}"
        )

    def items(self, version: str, kind: str, namespace: str | None = None, **selectors: str) -> list[Manifest]:
        """Objects of a kind; none where there is no such kind.

        Args:
            namespace: Absent means all.
            selectors: `labelSelector` and `fieldSelector`.
        """
        try:
            name = self.resource(version, kind)["name"]
        except UnknownKindError:
            return []
        within = f"/namespaces/{namespace}" if namespace else ""
        answer = self._http.get(f"{_prefix(version)}{within}/{name}", params=selectors)
        if answer.is_error:
            raise ProviderError(f"{kind} of {version}: {answer.status_code}: {_message(answer)}")
        return [{"apiVersion": version, "kind": kind, **item} for item in answer.json().get("items") or []]

    def create(self, manifest: Manifest) -> Manifest:
        """Make an object, with its status where its kind takes that."""
        collection = self._path(manifest).rpartition("/")[0]
        return self._answer(self._http.post(collection, json=manifest), manifest)

    def patch(self, manifest: Manifest, change: Manifest) -> Manifest:
        """Change some fields of an object."""
        answer = self._http.patch(
            self._path(manifest), json=change, headers={"Content-Type": "application/merge-patch+json"}
        )
        return self._answer(answer, manifest)

    def remove(self, manifest: Manifest) -> None:
        """Delete an object at once, a pod without asking its node; one that is gone already is removed."""
        answer = self._http.request("DELETE", self._path(manifest), json={"gracePeriodSeconds": 0})
        if answer.status_code != httpx.codes.NOT_FOUND:
            self._answer(answer, manifest)

    def everything(self, without: Collection[str] = ("events",)) -> list[Manifest]:
        """All objects of all kinds, as kind, namespace and name."""
        found: list[Manifest] = []
        known: set[tuple[str, str]] = set()
        groups = self._http.get("/apis").json()["groups"]
        # The preferred version of a group is its first, and need not have all of its kinds.
        for version in ["v1", *(one["groupVersion"] for group in groups for one in group["versions"])]:
            self._discover(version)
            for resource in self._kinds[version].values():
                kind = (version.rpartition("/")[0], resource["kind"])
                if "list" not in resource["verbs"] or resource["name"] in without or kind in known:
                    continue
                known.add(kind)
                listed = self._http.get(f"{_prefix(version)}/{resource['name']}", headers=_METADATA).json()
                found += [
                    {"apiVersion": version, "kind": resource["kind"], "metadata": item["metadata"]}
                    for item in listed.get("items") or []
                ]
        return found

    def _path(self, manifest: Manifest) -> str:
        version, kind, metadata = manifest["apiVersion"], manifest["kind"], manifest["metadata"]
        resource = self.resource(version, kind)
        prefix = _prefix(version)
        if resource["namespaced"]:
            prefix += f"/namespaces/{metadata.get('namespace', 'default')}"
        return f"{prefix}/{resource['name']}/{metadata['name']}"

    def _answer(self, answer: httpx.Response, manifest: Manifest) -> Manifest:
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise NotFoundError(f"{_name(manifest)}: {_message(answer)}")
        if answer.is_error:
            raise ProviderError(f"{_name(manifest)}: {answer.status_code}: {_message(answer)}")
        found: Manifest = answer.json()
        found.get("metadata", {}).pop("managedFields", None)
        return found


def _prefix(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _name(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    return f"{manifest['kind']} {metadata.get('namespace', '')}/{metadata.get('name', '')}"


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError):
        return answer.text
