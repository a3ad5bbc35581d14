"""Nothing of the platform reports its use to anyone: the libraries' own switches, in one place."""

import os

SILENT = {
    "NML_DISABLE_USAGE_LOGGING": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "FEAST_USAGE": "False",
    "ORT_DISABLE_TELEMETRY": "1",
}


def silence() -> None:
    """Set the switches for this process and its children; to be called before such a library is imported."""
    os.environ.update(SILENT)
