"""The prediction that ends a first run: a real entity, answered by the live model through the gateway."""

import httpx
import pandas as pd

from core.contract import DataContract, load_contract
from core.errors import ServiceError
from core.platform import Environment
from falaj import console, environment, repository
from falaj.commands.predict import by_id

CANDIDATES = 50
"""How many entities are tried: those who did not consent have no features, and so no prediction."""


def show(running: Environment, name: str) -> None:
    """Predict for one of the newest entities and show what its record says.

    Raises:
        ServiceError: None of the candidates was answered.
    """
    contract = load_contract(environment.ROOT / "datasets" / name / "contract.yaml")
    newest = _newest(contract)
    spec = repository.spec(running, name)
    url = repository.infer_url(running, name)
    for entity, target in newest:
        response = httpx.post(url, json=by_id(spec, [entity]), timeout=30)
        if response.status_code == httpx.codes.NOT_FOUND:
            continue
        if response.status_code != httpx.codes.OK:
            raise ServiceError(f"the gateway answered {response.status_code}: {response.text[:200]}")
        answer = response.json()
        outputs = {output["name"]: output["data"][0] for output in answer["outputs"]}
        said = ", ".join(f"{key} {value:.3g}" for key, value in outputs.items())
        console.say(
            f"\n{contract.entity} {entity}: {said} (recorded: {_label(contract, target)}), "
            f"answered by {name} version {answer['model_version']} through {url}"
        )
        return
    raise ServiceError(f"none of {len(newest)} entities of {name} is in the feature store: see `falaj logs inference`")


def _newest(contract: DataContract) -> list[tuple[str, float]]:
    file = environment.home() / "data" / contract.name / "records.parquet"
    rows = pd.read_parquet(file, columns=[contract.entity, contract.event_time, contract.target])
    rows = rows.sort_values(contract.event_time).tail(CANDIDATES)
    return list(zip(rows[contract.entity].astype(str), rows[contract.target], strict=True))


def _label(contract: DataContract, target: float) -> str:
    return contract.columns[contract.target].labels.get(int(target), f"{target:.3g}")
