"""Time the check beside checkov on the same manifests: `python benchmarks/policies/beside_checkov.py --checkov FILE`.

The manifests are a service as the platform makes it (Deployment, Service, ServiceAccount, autoscaler, disruption
budget, network policy), as often as it takes, one in ten with a fault. Both programs run from their start, reading
the file, with all their rules on Kubernetes, and write JSON. checkov has an environment of its own: its
dependencies are not ours.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from timing import timed

from falaj.commands.plan import GOLDENS

NAME = "app.kubernetes.io/name"
KINDS = (
    "Deployment",
    "Service",
    "ServiceAccount",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    "NetworkPolicy",
)


def service() -> list[dict[str, Any]]:
    """The objects of one service of the stack onprem, whose values are all known."""
    golden = json.loads((GOLDENS / "onprem.json").read_text())
    found = [one["inputs"] for one in golden["resources"] if one["type"].startswith("kubernetes:")]
    named = [one for one in found if one.get("kind") in KINDS and "mlflow" in one["metadata"]["name"]]
    return sorted(named, key=lambda one: KINDS.index(one["kind"]))


def _labelled(index: int) -> Callable[[Any], Any]:
    """Gives each label of the service's name, and each selector of it, the number of the copy."""

    def labelled(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: f"{item}-{index}" if key == NAME and isinstance(item, str) else labelled(item)
                for key, item in value.items()
            }
        return [labelled(item) for item in value] if isinstance(value, list) else value

    return labelled


def manifest(count: int) -> str:
    """At least `count` objects, each service with labels of its own; every tenth Deployment is privileged."""
    base, objects = service(), []
    for index in range(-(-count // len(base))):
        for one in map(_labelled(index), base):
            one["metadata"]["name"] += f"-{index}"
            if one["kind"] == "Deployment" and index % 10 == 0:
                one["spec"]["template"]["spec"]["containers"][0]["securityContext"]["privileged"] = True
            objects.append(one)
    return yaml.dump_all(objects, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper))


def main() -> None:
    """Print a table of both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkov", type=Path, help="The program checkov, from an environment of its own.")
    parser.add_argument("--objects", type=int, nargs="+", default=[100, 1000, 10_000])
    arguments = parser.parse_args()
    falaj = str(Path(sys.executable).with_name("falaj"))
    columns = ["s", "CPU s", "judgements", "privileged found"]
    print("| objects | " + " | ".join(f"{name}, {one}" for name in ("falaj", "checkov") for one in columns) + " |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "manifest.yaml"
        for count in arguments.objects:
            file.write_text(manifest(count))
            wall, cpu, text = timed([falaj, "check", str(file), "--format", "json"])
            (outcome,) = json.loads(text)
            rule = {one["urn"] for one in outcome["findings"] if one["rule"] == "pod-privileged"}
            row = [outcome["resources"], f"{wall:.1f}", f"{cpu:.1f}", sum(outcome["counts"].values()), len(rule)]
            if arguments.checkov:
                command = [
                    str(arguments.checkov),
                    "-f",
                    str(file),
                    "--framework",
                    "kubernetes",
                    "-o",
                    "json",
                    "--quiet",
                ]
                wall, cpu, text = timed([*command, "--skip-download"])
                summary = json.loads(text)
                other = {
                    one["resource"] for one in summary["results"]["failed_checks"] if one["check_id"] == "CKV_K8S_16"
                }
                judged = summary["summary"]["passed"] + summary["summary"]["failed"]
                row += [f"{wall:.1f}", f"{cpu:.1f}", judged, len(other)]
            print("| " + " | ".join(str(cell) for cell in row) + " |", flush=True)


if __name__ == "__main__":
    main()
