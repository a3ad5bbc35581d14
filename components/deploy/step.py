"""Puts a registered model live on the runtime, and says so in the registry."""

import logging
from pathlib import Path

from components.tracking import tracking
from core.contract import DataContract
from core.errors import ServiceError
from core.model_spec import Live
from serving import rollout

LIVE_ALIAS = "live"
PREVIOUS_ALIAS = "previous"

logger = logging.getLogger("falaj.deploy")


def deploy(
    contract: DataContract, onnx: Path, version: int, model_repository: str, runtime_url: str, mlflow_url: str | None
) -> Live:
    """Let a version answer, keep the one before warm, and move the registry's aliases `live` and `previous`.

    Args:
        onnx: Folder with model.onnx and model.json.
        version: The registry's version of it.
        mlflow_url: The registry; None leaves it alone.

    Raises:
        ServiceError: The runtime refused or cannot be reached, and nothing changed; or the registry cannot be
            reached, and only its aliases did not change: run the step again.
    """
    live = rollout.deploy(model_repository, contract.name, version, onnx, runtime_url)
    if mlflow_url is not None:
        set_aliases(contract.name, live, mlflow_url)
    return live


def set_aliases(model: str, live: Live, mlflow_url: str) -> None:
    """Make the registry's aliases say what the runtime serves; a rollback needs it as well.

    Raises:
        ServiceError: The registry cannot be reached, or does not know the version.
    """
    try:
        with tracking(mlflow_url) as client:
            client.set_registered_model_alias(model, LIVE_ALIAS, str(live.live))
            if live.previous is not None:
                client.set_registered_model_alias(model, PREVIOUS_ALIAS, str(live.previous))
    except ServiceError as error:
        raise ServiceError(
            f"version {live.live} of {model} is live, yet the registry's aliases were not moved: {error}; "
            "run the step again"
        ) from error
    logger.info("%s: the registry's aliases are live %d, previous %s", model, live.live, live.previous)
