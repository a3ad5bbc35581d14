"""Puts a version live, and takes it back, without a dropped or wrong request.

The runtime loads and warms a version before it answers, and the one before stays in memory: a rollback is a switch
of a pointer. On disk the newest `KEPT_VERSIONS` are kept, and always the live and the previous one.
"""

import logging
import time
from pathlib import Path

import httpx

from core.errors import ServiceError
from core.model_spec import Live
from serving.store import ModelStore, open_models

KEPT_VERSIONS = 5
_LOAD_SECONDS = 120.0
"""Loading, optimising and warming up a large graph takes its time."""

_FOLLOW_SECONDS = 30.0
_PAUSE_SECONDS = 0.5
_ANSWERS = 3
"""Answers of the new version in a row that count as all runtimes' answer."""

logger = logging.getLogger("falaj.rollout")


def deploy(repository: str, model: str, version: int, source_folder: str | Path, runtime_url: str) -> Live:
    """Copy a version into the repository, and let it answer.

    Args:
        repository: The runtime's model repository.
        version: Its number in the registry.
        source_folder: An exported model: model.onnx and model.json.
        runtime_url: The runtime, or a gateway in front of it.

    Returns:
        The versions that are live and previous now.

    Raises:
        ServiceError: The version cannot be served, or the runtime cannot be reached. What answered before does still,
            and is what the repository names.
    """
    store = open_models(repository)
    with store.locked(model):
        before = store.live(model)
        added = store.add(model, version, Path(source_folder))
        if before is None:
            after = Live(live=version)
        elif before.live == version:
            after = before
        else:
            after = Live(live=version, previous=before.live)
        try:
            _switch(store, model, before, after, runtime_url)
        except ServiceError:
            if added and not _named(store.live(model), version):
                store.remove(model, version)
            raise
        _prune(store, model, after)
    return after


def rollback(repository: str, model: str, runtime_url: str) -> Live:
    """Let the previous version answer again; the one that answered becomes the previous one.

    Raises:
        ServiceError: There is no previous version, or the runtime refuses or cannot be reached; nothing has changed.
    """
    store = open_models(repository)
    with store.locked(model):
        before = store.live(model)
        if before is None or before.previous is None:
            raise ServiceError(f"{model} has no previous version to go back to")
        after = Live(live=before.previous, previous=before.live)
        _switch(store, model, before, after, runtime_url)
    return after


def _named(live: Live | None, version: int) -> bool:
    return live is not None and version in (live.live, live.previous)


def _switch(store: ModelStore, model: str, before: Live | None, after: Live, runtime_url: str) -> None:
    store.write_live(model, after)
    try:
        _load(model, runtime_url)
        _check_answers(model, after.live, runtime_url)
    except ServiceError:
        store.write_live(model, before)
        _restore(model, before, runtime_url)
        raise
    logger.info("%s: version %d answers, version %s is kept warm", model, after.live, after.previous)


def _load(model: str, runtime_url: str) -> None:
    response = _request("POST", f"{runtime_url}/v2/repository/models/{model}/load")
    if response.status_code != 200:
        raise ServiceError(f"the runtime at {runtime_url} refused to load {model}: {_reason(response)}")


def _check_answers(model: str, version: int, runtime_url: str) -> None:
    """Of several runtimes behind one address one was told to load; the others follow the repository by themselves."""
    deadline = time.monotonic() + _FOLLOW_SECONDS
    answers = 0
    while answers < _ANSWERS:
        response = _request("GET", f"{runtime_url}/v2/models/{model}")
        found = response.json()["versions"][0] if response.status_code == 200 else _reason(response)
        if found == str(version):
            answers += 1
        elif time.monotonic() > deadline:
            raise ServiceError(
                f"the runtime at {runtime_url} loaded {model}, yet answers with {found}, not {version}: "
                "does it read the same FALAJ_MODEL_REPOSITORY?"
            )
        else:
            answers = 0
            time.sleep(_PAUSE_SECONDS)


def _restore(model: str, before: Live | None, runtime_url: str) -> None:
    """A runtime that timed out may switch after all: it is told to go back. One that is gone reads the files."""
    try:
        if before is not None:
            _load(model, runtime_url)
        else:
            _request("POST", f"{runtime_url}/v2/repository/models/{model}/unload")
    except ServiceError as error:
        logger.warning("%s: the former version was restored on disk; the runtime: %s", model, error)


def _request(method: str, url: str) -> httpx.Response:
    try:
        return httpx.request(method, url, timeout=_LOAD_SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        raise ServiceError(
            f"the runtime cannot be reached at {url} ({type(error).__name__}): see `falaj status`; nothing was changed"
        ) from error


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, LookupError, TypeError):
        return f"status {response.status_code}"


def _prune(store: ModelStore, model: str, live: Live) -> None:
    kept = {*store.versions(model)[-KEPT_VERSIONS:], live.live, live.previous}
    for version in store.versions(model):
        if version not in kept:
            store.remove(model, version)
            logger.info("%s: version %d was removed from the model repository", model, version)
