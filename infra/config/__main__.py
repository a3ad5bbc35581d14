"""Writes the JSON schema to standard output."""

import json
import sys

from infra.config import schema

sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
