"""The machines of the rehearsal's cluster, in the place of EKS, Karpenter and the storage drivers.

`python -m rehearsal.kubernetes.machines KUBECONFIG AWS SITE` follows the managed groups of the account at the address
AWS and the NodePools of the API server, adds nodes for pods that find none, and makes volumes. SITE is a JSON file
with `nodes`, `zones` and `storage_class` of a site that has its nodes already, or `{}`. It prints a line once these
are there, and ends with the process that started it.
"""

import json
import logging
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from botocore.exceptions import ClientError

from core.errors import FalajError
from rehearsal.kubernetes.api import Api, Manifest
from rehearsal.kubernetes.cloud import GROUP, Account, Pool, of_site
from rehearsal.kubernetes.nodes import DRAIN, Machine
from rehearsal.kubernetes.provisioning import Provisioner, rooms, used
from rehearsal.kubernetes.readiness import REFUSED
from rehearsal.kubernetes.volumes import provide

_FULL = (
    "it is a daemon and can run on its own node alone, which is full: where its chart is installed, set "
    "priorityClassName to system-node-critical, so that others give way"
)
_LOG = logging.getLogger(__name__)
_TICK_SECONDS = 0.5
_ACCOUNT_SECONDS = 2.0
_JUDGED = re.compile(r"^\d+/(\d+) nodes are available")
_HOPE_SECONDS = 3.0
_MOST_HOPES = 4


class Machines:
    """Nodes as they come and go."""

    def __init__(self, api: Api, account: Account) -> None:
        self._api, self._account = api, account
        self._count = 0
        self._asked_account = self._asked_pools = -_ACCOUNT_SECONDS
        self._pools: list[Pool] = []
        self._hopes: dict[tuple[str, str], float] = {}
        self._told: dict[str, str] = {}

    def site(self, site: Mapping[str, Any]) -> None:
        """Make what a site has before anything is deployed there."""
        for name, machine in of_site(site.get("nodes", {}), site.get("zones", [])):
            self._api.create(machine.node(name))
        if "storage_class" in site:
            self._api.create(
                {
                    "apiVersion": "storage.k8s.io/v1",
                    "kind": "StorageClass",
                    "metadata": {"name": site["storage_class"]},
                    "provisioner": "site.example.ae/storage",
                    "volumeBindingMode": "WaitForFirstConsumer",
                }
            )

    def step(self) -> None:
        """Look once at what there is, and do what follows from it."""
        if time.monotonic() - self._asked_account > _ACCOUNT_SECONDS:
            self._follow_groups()
            self._asked_account = time.monotonic()
        self._drain()
        provide(self._api)
        pending = self._pending()
        for pod in pending:
            if _daemon(pod):
                self._tell(pod, _FULL)
        others = [pod for pod in pending if not _daemon(pod)]
        if others:
            self._grow(others)

    def _follow_groups(self) -> None:
        wanted = self._account.groups()
        there = {item["metadata"]["name"]: item for item in self._api.items("v1", "Node", labelSelector=GROUP)}
        for name in wanted.keys() - there.keys():
            self._add(name, wanted[name])
        for name in there.keys() - wanted.keys():
            _LOG.info("the group of %s is gone or smaller: its pods go, then it", name)
            self._empty(name)
            self._api.remove(there[name])

    def _drain(self) -> None:
        for node in self._api.items("v1", "Node"):
            if "deletionTimestamp" in node["metadata"] and DRAIN in node["metadata"].get("finalizers", []):
                self._empty(node["metadata"]["name"])
                self._api.patch(node, {"metadata": {"finalizers": None}})

    def _empty(self, node: str) -> None:
        for pod in self._api.items("v1", "Pod", fieldSelector=f"spec.nodeName={node}"):
            self._api.remove(pod)

    def _pending(self) -> list[Manifest]:
        found = self._api.items("v1", "Pod", fieldSelector="status.phase=Pending,spec.nodeName=")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"] and _unplaced(pod)]

    def _grow(self, pending: Sequence[Manifest]) -> None:
        nodes = self._api.items("v1", "Node")
        there = rooms(nodes, self._api.items("v1", "Pod"))
        now = time.monotonic()
        if now - self._asked_pools > _ACCOUNT_SECONDS:
            self._pools, self._asked_pools = self._account.pools(self._api), now
        daemons = [item["spec"]["template"]["spec"] for item in self._api.items("apps/v1", "DaemonSet")]
        judged = {pod["metadata"]["uid"]: _judged(pod) for pod in pending}

        def spent(uid: str, node: str) -> bool:
            hoped = self._hopes.get((uid, node))
            return hoped is not None and now - hoped > _HOPE_SECONDS and judged[uid] >= len(there)

        given_up = [
            pod for pod in pending if sum(spent(pod["metadata"]["uid"], room.name) for room in there) >= _MOST_HOPES
        ]
        others = [pod for pod in pending if pod not in given_up]
        plan = Provisioner(self._pools, there, used(self._pools, nodes), daemons).plan(others, spent)
        for uid, node in plan.awaited.items():
            self._hopes.setdefault((uid, node), now)
        for machine in plan.launches:
            self._count += 1
            self._add(f"{machine.source.replace(' ', '-')}-{self._count}", machine)
        for pod in others:
            if (why := plan.refused.get(pod["metadata"]["uid"])) is not None:
                self._refuse(pod, why)
        for pod in given_up:
            self._tell(pod, "nodes with room for it are there, and what else it asks for keeps it from them")

    def _refuse(self, pod: Manifest, why: str) -> None:
        if self._pools:
            self._tell(pod, why)
        elif not self._api.items("v1", "Node", labelSelector=GROUP):
            self._tell(pod, "the site's nodes are all there (falaj:stack.substrate.nodes)")
        # Else the pools of the program are still to come.

    def _add(self, name: str, machine: Machine) -> None:
        _LOG.info("%s joins, of %s: %s", name, machine.source, dict(machine.labels))
        self._api.create(machine.node(name))

    def _tell(self, pod: Manifest, why: str) -> None:
        """Leave an event at a pod, where it is not there yet."""
        metadata = pod["metadata"]
        if self._told.get(metadata["uid"]) == why:
            return
        self._told[metadata["uid"]] = why
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        named = {"namespace": metadata["namespace"], "name": f"{metadata['name']}.{time.monotonic_ns():x}"}
        involved = {key: metadata[key] for key in ("namespace", "name", "uid")}
        _LOG.info("no node for %s/%s: %s", metadata["namespace"], metadata["name"], why)
        self._api.create(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": named,
                "involvedObject": {"apiVersion": "v1", "kind": "Pod", **involved},
                "type": "Warning",
                "reason": REFUSED,
                "message": why,
                "firstTimestamp": now,
                "lastTimestamp": now,
            }
        )


def _daemon(pod: Manifest) -> bool:
    return any(owner["kind"] == "DaemonSet" for owner in pod["metadata"].get("ownerReferences", []))


def _unplaced(pod: Manifest) -> bool:
    return any(
        condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable"
        for condition in pod.get("status", {}).get("conditions") or []
    )


def _judged(pod: Manifest) -> int:
    """How many nodes there were when the scheduler last found none for a pod."""
    for condition in pod["status"]["conditions"]:
        found = _JUDGED.match(condition.get("message", "")) if condition["type"] == "PodScheduled" else None
        if found:
            return int(found[1])
    return 0


def main() -> None:
    """Follow the cluster until the process that started this one ends."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    kubeconfig, url, site = sys.argv[1:]
    started = os.getppid()
    with closing(Api(Path(kubeconfig))) as api:
        machines = Machines(api, Account(url))
        machines.site(json.loads(Path(site).read_text()))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while os.getppid() == started:
            try:
                machines.step()
            except (FalajError, ClientError, httpx.HTTPError) as error:
                # An object may be gone or changed since it was looked at: the next look tells.
                _LOG.info("%s", error)
            time.sleep(_TICK_SECONDS)


if __name__ == "__main__":
    main()
