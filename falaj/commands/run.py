"""`falaj run`: train, gate, register and deploy from a contract and its data."""

import datetime as dt
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from core.contract import load_contract
from core.digest import code_digest, environment_digest, file_digest
from core.errors import ConfigError, DataError
from core.platform import Environment
from falaj import console, environment, pipeline, repository

DATASETS = environment.ROOT / "datasets"


def run(
    dataset: Annotated[str, typer.Argument(help="A folder of datasets/, or the path of a contract.")] = "employment",
    data: Annotated[
        Path | None, typer.Option(help="CSV or Parquet file; a sample's own data is fetched where it is not given.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="Hyperparameter trials for each kind of model.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random choice.")] = 0,
    if_changed: Annotated[
        bool, typer.Option("--if-changed", help="Do nothing where the live model came from the same inputs.")
    ] = False,
) -> None:
    """Run the training pipeline: ingest, validate, featurize, train, export, evaluate, register, deploy."""
    running = environment.load()
    contract = _contract(dataset)
    name = load_contract(contract).name
    source = data or _fetched(contract.parent)
    if if_changed and _unchanged(running, name, contract, source):
        live = repository.live(running, name).live
        console.say(f"{name} version {live} is live and came from the same data, contract, code and environment")
        return
    folder = environment.home() / "local" / "runs" / name / dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%S%f")
    console.say(f"[bold]Training {name}[/] from {source}")
    pipeline.run(running, folder, contract, source, trials, seed)
    console.say(f"[green]{name} version {repository.live(running, name).live} is live[/]")


def _contract(dataset: str) -> Path:
    path = Path(dataset)
    if path.suffix in (".yaml", ".yml"):
        return path.resolve()
    contract = DATASETS / dataset / "contract.yaml"
    if not contract.is_file():
        known = ", ".join(sorted(file.parent.name for file in DATASETS.glob("*/contract.yaml")))
        raise ConfigError(
            f"no use case {dataset} in datasets/ (there are {known}): name one, or the path of a contract"
        )
    return contract


def _fetched(folder: Path) -> Path:
    """The sample's data file, fetched once."""
    data = environment.home() / "data" / folder.name / "records.parquet"
    if data.is_file():
        return data
    fetch = folder / "fetch.py"
    if not fetch.is_file():
        raise DataError(f"{folder} has no fetch.py that brings its data: give the file with --data")
    with console.working(f"Fetching the data of {folder.name}"):
        # The file appears only when it is whole, since the folder is renamed last.
        partial = data.parent.with_name(f"{data.parent.name}.partial")
        done = subprocess.run([sys.executable, str(fetch), str(partial)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise DataError(f"{fetch} failed:\n{done.stderr.strip()}")
        partial.rename(data.parent)
    return data


def _unchanged(running: Environment, name: str, contract: Path, data: Path) -> bool:
    if name not in repository.models(running):
        return False
    lineage = repository.spec(running, name).lineage
    return (lineage.contract, lineage.data, lineage.code, lineage.environment) == (
        file_digest(contract),
        file_digest(data),
        code_digest(),
        environment_digest(),
    )
