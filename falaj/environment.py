"""The local environment as the command line sees it."""

import os
from pathlib import Path

from pydantic import ValidationError

from core.errors import ConfigError
from core.platform import Environment

ROOT = Path(__file__).resolve().parent.parent


def home() -> Path:
    """Folder of everything that the local environment keeps; FALAJ_HOME moves it."""
    return Path(os.environ.get("FALAJ_HOME", ROOT / ".falaj")).resolve()


def load() -> Environment:
    """The running environment.

    Raises:
        ConfigError: None was started here.
    """
    file = home() / "local" / "platform.json"
    try:
        return Environment.model_validate_json(file.read_bytes())
    except FileNotFoundError as error:
        raise ConfigError("no local environment is up: start one with `make up`") from error
    except (OSError, ValidationError) as error:
        raise ConfigError(f"{file} cannot be read: run `falaj up` to write it again ({error})") from error
