"""Every stack from nothing to destroyed, by the command itself."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.plan import read_stack, stacks
from tools.build import BIN, ROOT

_PATH = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])
_PROGRAMS = (
    "pulumi",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kwok",
    "etcd",
    "helm",
    "kustomize",
)
_STEPS = ["up from nothing", "up again", "a setting changed", "altered by hand", "destroy"]


@pytest.mark.timeout(2400)
@pytest.mark.skipif(
    any(shutil.which(name, path=_PATH) is None for name in _PROGRAMS),
    reason="no engine or no control plane on this machine: `python -m tools.build engine rehearsal`",
)
@pytest.mark.parametrize("stack", stacks(ROOT))
def test_a_stack_goes_through(stack: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [Path(sys.prefix) / "bin" / "falaj", "rehearse", stack, "--json"],
        cwd=ROOT,
        env=os.environ | {"FALAJ_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    counts = {stage["name"]: stage["counts"] for stage in found["stages"]}
    assert [name for name in counts if name in _STEPS] == _STEPS
    made = counts["up from nothing"]["create"]
    assert counts["up again"] == {"same": made}
    assert counts["destroy"] == {"delete": made}
    assert counts["a setting changed"]["update"] <= 5, "more than what depends on a few settings changed"
    assert "not asked" not in found["notes"], "the policy pack was not asked"
    if read_stack(ROOT, stack)["falaj:stack"].get("protect", False):
        assert counts["destroy, refused"] == {}
        assert counts["owner changed, protection lifted"]["update"] > 1
    assert f"nothing is left of {made} resources" in done.stderr
