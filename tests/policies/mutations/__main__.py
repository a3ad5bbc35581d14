"""`python -m tests.policies.mutations`: run the suite, say what nothing caught, and write `docs/mutations.md`."""

import sys

from tests.policies.mutations.suite import run_all
from tests.policies.mutations.table import FILE, ROOT, document, missed

suite, results = run_all()
for found in missed(results).values():
    for one in found:
        sys.stdout.write(f"nothing caught {one.mutation.id} in {one.subject}: {one.mutation.what}\n")
FILE.write_text(document(suite, results))
sys.stdout.write(f"wrote {FILE.relative_to(ROOT)}\n")
