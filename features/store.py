"""The project's Feast store: opening it, and registering a contract in it."""

from pathlib import Path

from feast import FeatureStore
from feast.errors import EntityNotFoundException
from sqlalchemy.exc import OperationalError

from core.errors import ConfigError, ContractError
from features.definitions import Definitions


def open_store(folder: str | Path) -> FeatureStore:
    """Open the store that `feature_store.yaml` in `folder` describes.

    Raises:
        ConfigError: The file is missing, or Feast refuses it.
    """
    file = Path(folder) / "feature_store.yaml"
    if not file.is_file():
        raise ConfigError(f"{file} is missing: start the platform with `falaj up`, or mend FALAJ_FEATURE_STORE")
    try:
        return FeatureStore(repo_path=str(folder))
    except Exception as error:  # Feast raises what its many back ends raise
        raise ConfigError(f"{file} does not open a feature store: {error}") from error


def register(store: FeatureStore, defined: Definitions) -> None:
    """Register a contract's definitions; those of other contracts stay.

    Raises:
        ContractError: Another contract has an entity of this name with another type.
        ConfigError: The registry's database cannot be reached, or refuses the user.
    """
    try:
        _register(store, defined)
    except OperationalError as error:
        raise ConfigError(
            f"the feature registry cannot be used: {error.orig}; mend registry.path in feature_store.yaml, PGHOST, "
            "PGUSER and PGPASSWORD"
        ) from error


def _register(store: FeatureStore, defined: Definitions) -> None:
    try:
        known = store.get_entity(defined.entity.name)
    except EntityNotFoundException:
        known = None
    others = [view for view in store.list_feature_views() if view.name != defined.view.name]
    shared = any(defined.entity.name in view.entities for view in others)
    if known is not None and shared and known.value_type != defined.entity.value_type:
        raise ContractError(
            f"the entity {known.name} is {known.value_type.name} in another contract and "
            f"{defined.entity.value_type.name} in {defined.view.name}: rename one of the columns"
        )
    store.apply([defined.entity, defined.view, defined.service])
