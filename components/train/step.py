"""Train: tune a torch model and a tree-based baseline alike, compare them fold by fold, keep the better one."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from sklearn.model_selection import StratifiedKFold

from components.modelling import saved
from components.modelling.matrix import Floats, is_holdout, matrix, read_training, target
from components.modelling.metrics import PRIMARY, Interval, Values, fold_interval, primary
from components.modelling.network import layout
from components.modelling.saved import Kind
from components.train.learner import Fitted, Learner, Parameters
from components.train.perceptron import PerceptronLearner, device
from components.train.trees import BoostingLearner
from core.contract import DataContract, Task
from core.errors import ConfigError, DataError

logger = logging.getLogger("falaj.train")

TUNING_ROWS = 20_000
"""Trials see no more rows than this; the folds and the final fit see all."""
TUNING_FOLDS = 4
"""One of so many parts of the tuning rows scores a trial."""
LEAST_OF_A_CLASS = 5
"""Fewer would leave none to some part of a fit."""
STRATA = 10
"""A regression's folds are balanced over so many quantiles of the target."""


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Trial(_Report):
    """One draw of parameters, and the primary metric it reached on the tuning split."""

    parameters: dict[str, int | float]
    value: float


class Candidate(_Report):
    """One kind of model: how it was tuned, and what it reached on each fold."""

    trials: tuple[Trial, ...]
    parameters: dict[str, int | float]
    folds: tuple[float, ...]
    mean: Interval
    rounds: tuple[int, ...]
    """Epochs or trees until early stopping, on each fold."""


class TrainReport(_Report):
    """What was trained, and how the winner was chosen. Nothing here has seen the held-out rows."""

    rows: int
    holdout_rows: int
    tuning_rows: int
    seed: int
    device: str
    metric: str
    candidates: dict[Kind, Candidate]
    difference: Interval
    """The torch model's primary metric minus the baseline's, paired by fold."""
    winner: Kind
    rounds: int
    """Epochs or trees of the final fit."""
    seconds: float

    @property
    def verdict(self) -> str:
        """One sentence on the comparison, for people."""
        difference = self.difference
        if difference.low is not None and difference.low > 0:
            finding = "the torch model is better than the tree-based baseline"
        elif difference.high is not None and difference.high < 0:
            finding = "the tree-based baseline is better than the torch model"
        else:
            finding = "the folds do not tell the torch model and the tree-based baseline apart"
        return (
            f"{finding}: the mean difference in {self.metric} is {difference.value:+.4f}, 95% confidence interval "
            f"{difference.low:+.4f} to {difference.high:+.4f}; {self.winner} has the higher mean and was kept"
        )


def train(
    contract: DataContract,
    training: Path,
    trials: int,
    seed: int,
    out_model: Path,
    out_predictions: Path,
    out_report: Path,
) -> TrainReport:
    """Tune, cross-validate and fit. The same inputs give the same files on the same kind of machine.

    Args:
        training: Parquet with all columns of the contract.
        trials: Parameter draws for each kind of model; >= 1.
        seed: Seed of every random choice but the hold-out split, which no seed moves.
        out_model: Folder for the winner; see components.modelling.saved.
        out_predictions: Parquet: the entity, `fold`, `target`, and the out-of-fold predictions `torch` and `trees`.
        out_report: TrainReport as JSON.

    Raises:
        ConfigError: `trials` is not positive.
        ContractError: A code of a category is too large for float32.
        DataError: The training frame is unusable, or too small for the folds.
    """
    if trials < 1:
        raise ConfigError(f"trials is {trials}: set it to at least 1 (`falaj run --trials`)")
    started = time.monotonic()
    frame = read_training(contract, training)
    held_out = is_holdout(contract, frame[contract.entity])
    if not held_out.any():
        raise DataError(f"none of the {len(frame)} rows is held out: bring more data, or raise training.holdout")
    held_x, frame = matrix(contract, frame[held_out]), frame[~held_out]
    rows = _rows(contract, frame, contract.training.folds, seed)
    tuning_frame = frame.sample(min(len(frame), TUNING_ROWS), random_state=seed).sort_index()
    tuning = _rows(contract, tuning_frame, TUNING_FOLDS, seed)
    logger.info("%s rows train in %s folds, %s are held out; %s", len(frame), rows.count, len(held_x), device())

    torch_model = PerceptronLearner(contract.task, layout(contract))
    baseline = BoostingLearner(contract.task)
    candidates: dict[Kind, Candidate] = {}
    predictions: dict[Kind, Values] = {}
    for learner in (torch_model, baseline):
        history = _tune(learner, tuning, trials, seed)
        candidates[learner.kind], predictions[learner.kind] = _cross_validate(learner, rows, history, seed)
    paired = zip(candidates[torch_model.kind].folds, candidates[baseline.kind].folds, strict=True)
    difference = fold_interval([ours - theirs for ours, theirs in paired], rows.test_share)
    winner: Learner = torch_model if difference.value > 0 else baseline
    chosen = candidates[winner.kind]
    rounds = max(1, round(float(np.mean(chosen.rounds))))
    logger.info("%s: final fit on all %s rows, %s rounds", winner.kind, len(frame), rounds)
    model = winner.fit(rows.x, rows.y, chosen.parameters, seed, rounds)

    out_model.mkdir(parents=True, exist_ok=True)
    model.save(out_model)
    saved.write_holdout(out_model, model.predict(held_x))
    pd.DataFrame(
        {contract.entity: frame[contract.entity].to_numpy(), "fold": rows.folds, "target": rows.y}
        | {str(kind): values for kind, values in predictions.items()}
    ).to_parquet(out_predictions, index=False)
    report = TrainReport(
        rows=len(frame),
        holdout_rows=len(held_x),
        tuning_rows=len(tuning_frame),
        seed=seed,
        device=str(device()),
        metric=PRIMARY[contract.task],
        candidates=candidates,
        difference=difference,
        winner=winner.kind,
        rounds=rounds,
        seconds=time.monotonic() - started,
    )
    out_report.write_text(report.model_dump_json(indent=2) + "\n")
    logger.info("%s", report.verdict)
    return report


def assign_folds(contract: DataContract, frame: pd.DataFrame, folds: int, seed: int) -> NDArray[np.int64]:
    """(n,): the fold that tests each row, balanced over the target; all rows of an entity share theirs.

    Raises:
        DataError: There are too few entities, or too few of one class.
    """
    y = target(contract, frame)
    codes, entities = pd.factorize(frame[contract.entity])
    mean = np.bincount(codes, y, minlength=len(entities)) / np.bincount(codes, minlength=len(entities))
    if contract.task is Task.BINARY_CLASSIFICATION:
        strata = (mean >= 0.5).astype(np.int64)
        smallest = min(int((y == 0).sum()), int((y == 1).sum()), *np.bincount(strata, minlength=2).tolist())
    else:
        strata = mean.argsort(kind="stable").argsort() * STRATA // max(len(mean), 1)
        smallest = len(mean) // STRATA if len(np.unique(y)) > 1 else 0
    if smallest < max(folds, LEAST_OF_A_CLASS):
        raise DataError(
            f"the training rows are too few or too uniform for {folds} folds: bring more data, "
            "or lower training.folds in the contract"
        )
    fold = np.empty(len(entities), dtype=np.int64)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for index, (_, test) in enumerate(splitter.split(strata[:, None], strata)):
        fold[test] = index
    return fold[codes]


@dataclass(frozen=True)
class _Rows:
    """x (n, columns), y (n,), and which fold tests each row."""

    task: Task
    x: Floats
    y: Values
    folds: NDArray[np.int64]

    @property
    def count(self) -> int:
        return int(self.folds.max()) + 1

    @property
    def test_share(self) -> float:
        return 1 / (self.count - 1)

    def score(self, learner: Learner, parameters: Parameters, seed: int, fold: int) -> tuple[Fitted, Values, float]:
        """Train without a fold and score it: the model, its predictions there, and the primary metric."""
        test = self.folds == fold
        model = learner.fit(self.x[~test], self.y[~test], parameters, seed, None)
        predicted = model.predict(self.x[test])
        return model, predicted, primary(self.task, self.y[test], predicted)


def _rows(contract: DataContract, frame: pd.DataFrame, folds: int, seed: int) -> _Rows:
    return _Rows(
        contract.task, matrix(contract, frame), target(contract, frame), assign_folds(contract, frame, folds, seed)
    )


def _tune(learner: Learner, rows: _Rows, trials: int, seed: int) -> tuple[Trial, ...]:
    history: list[Trial] = []

    def objective(draw: optuna.Trial) -> float:
        parameters = learner.suggest(draw)
        _, _, value = rows.score(learner, parameters, seed, fold=0)
        history.append(Trial(parameters=parameters, value=value))
        best = max(trial.value for trial in history)
        logger.info(
            "%s: trial %s of %s: %s %.4f, best %.4f",
            learner.kind,
            len(history),
            trials,
            PRIMARY[rows.task],
            value,
            best,
        )
        return value

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial(learner.defaults)
    study.optimize(objective, n_trials=trials)
    return tuple(history)


def _cross_validate(learner: Learner, rows: _Rows, history: tuple[Trial, ...], seed: int) -> tuple[Candidate, Values]:
    parameters = max(history, key=lambda trial: trial.value).parameters
    predictions, scores, rounds = np.empty(len(rows.y)), [], []
    for fold in range(rows.count):
        model, predictions[rows.folds == fold], value = rows.score(learner, parameters, seed, fold)
        scores.append(value)
        rounds.append(model.rounds)
        logger.info("%s: fold %s: %s %.4f, %s rounds", learner.kind, fold + 1, PRIMARY[rows.task], value, model.rounds)
    candidate = Candidate(
        trials=history,
        parameters=parameters,
        folds=tuple(scores),
        mean=fold_interval(scores, rows.test_share),
        rounds=tuple(rounds),
    )
    return candidate, predictions
