"""What is still there after a destroy. `python -m rehearsal.leftovers` asks AWS for each resource of its input."""

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import FalajError
from rehearsal.aws import KINDS
from rehearsal.aws.provider import SEEN, AwsProvider
from rehearsal.aws.trust import is_deleted
from rehearsal.kubernetes.api import Api
from rehearsal.kubernetes.provider import INVENTED_LABEL
from rehearsal.protocol import NotFoundError

_SETTLE_SECONDS = 30
_REGION = "me-central-1"
_OWN = {("v1", "Event"), ("events.k8s.io/v1", "Event"), ("coordination.k8s.io/v1", "Lease")}
"""Kinds that the cluster makes by itself, and forgets by itself."""


class Cluster:
    """All objects of a cluster, before and after."""

    def __init__(self, kubeconfig: Path) -> None:
        self._api = Api(kubeconfig)
        self._before = self._names()

    def close(self) -> None:
        """Close the connections."""
        self._api.close()

    def found(self) -> list[str]:
        """Objects that were not there before; those that others collect get a while."""
        last = time.monotonic() + _SETTLE_SECONDS
        while True:
            more = sorted(self._names() - self._before)
            if not more or time.monotonic() > last:
                return [" ".join(part for part in item if part) for item in more]
            time.sleep(1)

    def missing(self, resources: Iterable[Mapping[str, Any]]) -> list[str]:
        """URNs of those objects of a state that are not there."""
        gone: list[str] = []
        for resource in resources:
            if resource["type"].startswith("kubernetes:"):
                try:
                    self._api.get(resource["outputs"])
                except NotFoundError:
                    gone.append(resource["urn"])
        return gone

    def _names(self) -> set[tuple[str, str, str, str]]:
        return {
            (item["apiVersion"], item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"])
            for item in self._api.everything()
            if (item["apiVersion"], item["kind"]) not in _OWN
            and INVENTED_LABEL not in item["metadata"].get("labels", {})
            and not _serves(item)
            and not _aggregated(item)
        }


def _serves(item: Mapping[str, Any]) -> bool:
    """Whether an object only registers a group that definitions serve: the API server makes and removes these."""
    return "kube-aggregator.kubernetes.io/automanaged" in item["metadata"].get("labels", {})


def _aggregated(item: Mapping[str, Any]) -> bool:
    """Whether only the controller that sums up roles made it: it may be at it while a role is deleted."""
    managers = {entry["manager"] for entry in item["metadata"].get("managedFields", [])}
    return managers == {"clusterrole-aggregation-controller"}


def askable(resources: Iterable[Mapping[str, Any]]) -> list[str]:
    """URNs of those that AWS told something of when they were made."""
    return [resource["urn"] for resource in resources if SEEN in resource.get("outputs", {})]


def deletable(resources: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that the emulation can delete: of what it cannot, that it is still there says nothing."""
    return [resource for resource in resources if resource["type"] in KINDS and is_deleted(KINDS[resource["type"]])]


def cloud(resources: Sequence[Mapping[str, Any]], environment: Mapping[str, str]) -> list[str]:
    """Which of a state's resources AWS still knows.

    Args:
        environment: That of the engine, which says where AWS is.

    Raises:
        FalajError: It cannot be asked.
    """
    asked = [resource for resource in resources if resource["type"] in KINDS]
    done = subprocess.run(
        [sys.executable, "-m", "rehearsal.leftovers"],
        input=json.dumps(asked),
        env=dict(environment),
        cwd=Path(__file__).resolve().parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise FalajError(f"AWS was not asked what is left: {done.stderr.strip()}")
    found: list[str] = json.loads(done.stdout)
    return found


def main() -> None:
    provider = AwsProvider()
    provider.configure({"region": _REGION})
    left: list[str] = []
    for resource in json.load(sys.stdin):
        if KINDS[resource["type"]].read is None:
            continue
        try:
            looked = provider.looked(resource["type"], resource["id"], resource["inputs"], resource["outputs"])
        except NotFoundError:
            continue
        if looked is not None:
            left.append(resource["urn"])
    sys.stdout.write(json.dumps(left))


if __name__ == "__main__":
    main()
