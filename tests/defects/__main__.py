"""`python -m tests.defects`: try all defects, say what no stage caught, and write `docs/defects.md`."""

import os
import sys
import tempfile
from pathlib import Path

from tests.defects.catalogue import DEFECTS
from tests.defects.rehearsed import rehearsed
from tests.defects.suite import Defects
from tests.defects.table import FILE, document
from tests.policies.mutations.suite import Suite
from tests.policies.mutations.world import ROOT
from tools.build import BIN

with tempfile.TemporaryDirectory() as name:
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])
    with rehearsed(Path(name), path) as last:
        tried = Defects(Suite(Path(name), files=False), Path(name), last)
        results = [tried.run(one) for one in DEFECTS]
for one in results:
    if one.stage is None:
        sys.stdout.write(f"nothing caught {one.defect.id}: {one.defect.what}\n")
FILE.write_text(document(results))
sys.stdout.write(f"wrote {FILE.relative_to(ROOT)}\n")
