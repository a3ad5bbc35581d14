"""The training pipeline: from a contract and its data to a live model.

The same definition runs on this machine under kfp.local and compiles for Kubeflow Pipelines.
"""

from kfp import dsl, kubernetes

from components.deploy.component import deploy
from components.evaluate.component import evaluate
from components.export.component import export
from components.featurize.component import featurize
from components.ingest.component import ingest
from components.register.component import register
from components.train.component import train
from components.validate.component import validate

KEY_SECRET = "falaj-pseudonym-key"  # noqa: S105 - the name of a Kubernetes secret
KEY_MOUNT = "/var/run/secrets/falaj"


@dsl.pipeline(name="training", description="Ingest, validate, featurize, train, export, evaluate, register and deploy.")
def training(contract_uri: str, data_uri: str, trials: int = 8, seed: int = 0) -> None:
    """Train one use case.

    Args:
        contract_uri: Path or URI of the data contract.
        data_uri: Path or URI of a CSV or Parquet file.
        trials: Hyperparameter trials for each kind of model; >= 1.
        seed: Seed of every random choice; the same inputs and seed give the same model.
    """
    run_id = dsl.PIPELINE_JOB_ID_PLACEHOLDER
    ingested = ingest(contract_uri=contract_uri, data_uri=data_uri, run_id=run_id)
    contract = ingested.outputs["contract"]
    validated = validate(contract=contract, records=ingested.outputs["records"], run_id=run_id)
    # Nothing reaches the feature store that was not validated, though no artifact says so.
    featurized = featurize(contract=contract, records=ingested.outputs["records"], run_id=run_id).after(validated)
    trained = train(contract=contract, training=featurized.outputs["training"], trials=trials, seed=seed, run_id=run_id)
    exported = export(
        contract=contract,
        model=trained.outputs["model"],
        training=featurized.outputs["training"],
        report_of_ingest=ingested.outputs["report"],
        mlflow_run=trained.outputs["mlflow_run"],
        run_id=run_id,
    )
    evaluated = evaluate(
        contract=contract,
        onnx=exported.outputs["onnx"],
        training=featurized.outputs["training"],
        predictions=trained.outputs["predictions"],
        train_report=trained.outputs["report"],
        mlflow_run=trained.outputs["mlflow_run"],
        run_id=run_id,
    )
    registered = register(
        contract=contract,
        onnx=exported.outputs["onnx"],
        evaluation=evaluated.outputs["report"],
        mlflow_run=trained.outputs["mlflow_run"],
        run_id=run_id,
    )
    deployed = deploy(
        contract=contract, onnx=exported.outputs["onnx"], version=registered.outputs["Output"], run_id=run_id
    )
    # Personal data must not outlive its retention in a cache. A cluster gives every step the platform's addresses
    # and access to its stores by itself; only the pseudonyms' key is for one step alone.
    for task in (ingested, validated, featurized, trained, exported, evaluated, registered, deployed):
        task.set_caching_options(False)
    kubernetes.use_secret_as_volume(ingested, secret_name=KEY_SECRET, mount_path=KEY_MOUNT)
