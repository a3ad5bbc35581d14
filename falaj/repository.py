"""What the model repository of an environment holds."""

from pathlib import Path

from pydantic import ValidationError

from core.errors import ConfigError
from core.model_spec import LIVE_FILE, SPEC_FILE, Live, ModelSpec
from core.platform import Environment


def models(running: Environment) -> list[str]:
    """Names of the models that have a live version, sorted."""
    root = Path(running.platform.model_repository)
    return sorted(file.parent.name for file in root.glob(f"*/{LIVE_FILE}"))


def live(running: Environment, model: str) -> Live:
    """Which version of `model` answers.

    Raises:
        ConfigError: The model was never deployed, or its record is damaged.
    """
    file = Path(running.platform.model_repository) / model / LIVE_FILE
    try:
        return Live.model_validate_json(file.read_bytes())
    except FileNotFoundError as error:
        known = ", ".join(models(running)) or "none yet"
        raise ConfigError(f"no model {model} is deployed (deployed: {known}): train one with `falaj run`") from error
    except (OSError, ValidationError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error


def spec(running: Environment, model: str, version: int | None = None) -> ModelSpec:
    """The specification of one version, by default the live one.

    Raises:
        ConfigError: There is no such version.
    """
    version = version or live(running, model).live
    file = Path(running.platform.model_repository) / model / str(version) / SPEC_FILE
    try:
        return ModelSpec.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigError(
            f"{model} has no version {version} in {running.platform.model_repository}: {error}"
        ) from error


def infer_url(running: Environment, model: str, version: int | None = None) -> str:
    """Where requests to `model` go; without a version, to the live one."""
    return f"{running.platform.runtime_url}/v2/models/{model}" + (f"/versions/{version}" if version else "") + "/infer"
