"""Run a pipeline on this machine with kfp.local: the same components, each in a process of its own."""

import argparse
from pathlib import Path

from kfp import local

from pipelines.training import training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder that the steps' artifacts are written below")
    parser.add_argument("--contract", required=True, help="path or URI of the data contract")
    parser.add_argument("--data", required=True, help="path or URI of a CSV or Parquet file")
    parser.add_argument("--trials", type=int, required=True, help="hyperparameter trials for each kind of model")
    parser.add_argument("--seed", type=int, required=True, help="seed of every random choice")
    arguments = parser.parse_args()
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(arguments.root),
        workspace_root=str(arguments.root / "workspace"),
        raise_on_error=True,
    )
    training(contract_uri=arguments.contract, data_uri=arguments.data, trials=arguments.trials, seed=arguments.seed)


if __name__ == "__main__":
    main()
