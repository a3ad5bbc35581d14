"""KFP shell of the evaluate step."""

from kfp import dsl

from components.image import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate(
    mlflow_run: str,
    run_id: str,
    contract: dsl.Input[dsl.Artifact],
    onnx: dsl.Input[dsl.Model],
    training: dsl.Input[dsl.Dataset],
    predictions: dsl.Input[dsl.Dataset],
    train_report: dsl.Input[dsl.Artifact],
    report: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Judge the exported model, record it whether it passes or not; see components.evaluate.step.evaluate."""
    import time
    from pathlib import Path

    from components.evaluate import step
    from components.evaluate.report import REPORT_FILE, read_report
    from components.shell import running
    from components.tracking import tracking
    from core.audit import open_log
    from core.contract import load_contract
    from core.digest import file_digest
    from core.errors import GateError
    from core.model_spec import MODEL_FILE

    agreed = load_contract(contract.path)
    folder = Path(report.path)
    with running("evaluate", run_id, agreed.name, ["onnx", "training", "predictions"], ["report"]) as platform:
        refused: GateError | None = None
        try:
            step.evaluate(
                agreed,
                Path(onnx.path),
                Path(training.path),
                Path(predictions.path),
                Path(train_report.path),
                folder,
            )
        except GateError as error:
            refused = error
        found = read_report(folder)
        for name, interval in found.holdout.items():
            metrics.log_metric(name, interval.value)
        open_log(platform.audit_log).append(
            "gates.failed" if refused else "gates.passed",
            agreed.name,
            run=run_id,
            model=file_digest(Path(onnx.path) / MODEL_FILE),
            report=file_digest(folder / REPORT_FILE),
            gates=len(found.gates),
            failed="; ".join(gate.text for gate in found.failed) or None,
        )
        with tracking(platform.mlflow_url) as client:
            from mlflow.entities import Metric, RunTag

            now = int(time.time() * 1000)
            values = {f"holdout_{name}": interval.value for name, interval in found.holdout.items()}
            for fairness in found.fairness:
                for name, value in fairness.differences.items():
                    if value is not None:
                        values[f"{name}.{fairness.column}"] = value
            for latency in found.latency:
                values[f"latency_p50_us.batch_{latency.batch}"] = latency.p50_us
            client.log_batch(
                mlflow_run,
                [Metric(name, value, now, 0) for name, value in values.items()],
                tags=[RunTag("falaj.gates", "failed" if refused else "passed")],
            )
            client.log_artifacts(mlflow_run, str(folder), "evaluation")
            if refused:
                client.set_terminated(mlflow_run, "FAILED")
        if refused:
            raise refused
