"""The Pulumi program. It lies here since `main: infra` would put that folder itself on the module path."""

from pathlib import Path

from infra.program import deploy

deploy(Path(__file__).resolve().parent)
