"""KFP shell of the train step."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train(
    trials: int,
    seed: int,
    run_id: str,
    contract: dsl.Input[dsl.Artifact],
    training: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    predictions: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.Artifact],
    mlflow_run: dsl.OutputPath(str),  # type: ignore[valid-type]
) -> None:
    """Tune and train, and record it in MLflow; see components.train.step.train."""
    import time
    from contextlib import suppress
    from pathlib import Path

    from components.shell import running
    from components.tracking import open_run, tracking
    from components.train import step
    from core.contract import load_contract
    from core.errors import ServiceError

    agreed = load_contract(contract.path)
    with running("train", run_id, agreed.name, ["training"], ["model", "predictions"]) as platform:
        # Asked first: minutes of training are not to be lost to a server that is down.
        with tracking(platform.mlflow_url) as client:
            run = open_run(client, agreed.name, run_id)
        out = Path(model.path), Path(predictions.path), Path(report.path)
        try:
            result = step.train(agreed, Path(training.path), trials, seed, *out)
        except BaseException:
            with suppress(ServiceError), tracking(platform.mlflow_url) as client:
                client.set_terminated(run, "FAILED")
            raise
        with tracking(platform.mlflow_url) as client:
            from mlflow.entities import Metric, Param

            now = int(time.time() * 1000)
            metrics = [
                Metric(f"{kind}_trial_{result.metric}", trial.value, now, number)
                for kind, candidate in result.candidates.items()
                for number, trial in enumerate(candidate.trials, start=1)
            ]
            metrics += [
                Metric(f"{kind}_fold_{result.metric}", value, now, number)
                for kind, candidate in result.candidates.items()
                for number, value in enumerate(candidate.folds, start=1)
            ]
            winner = result.candidates[result.winner]
            parameters = {
                "model": result.winner,
                "trials": trials,
                "seed": seed,
                "rows": result.rows,
                "holdout_rows": result.holdout_rows,
                "rounds": result.rounds,
                "device": result.device,
                **{f"{result.winner}_{name}": value for name, value in winner.parameters.items()},
            }
            client.log_batch(run, metrics, [Param(name, str(value)) for name, value in parameters.items()])
            client.log_text(run, result.model_dump_json(indent=2), "train/report.json")
        Path(mlflow_run).write_text(run)
