"""What the tuning and the cross-validation ask of a kind of model."""

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from optuna import Trial

from components.modelling.matrix import Floats
from components.modelling.metrics import Values
from components.modelling.saved import Kind
from core.contract import Task

Parameters = dict[str, int | float]
THREADS = 1
"""Fixed, since the order of a parallel sum decides the last digits of a model; one, since models of this size gain
nothing from more, and threads that wait for one another starve on a busy machine."""
EARLY_STOPPING_SHARE = 0.1
"""Of the rows of a fit, the part that decides when to stop."""


class Fitted(Protocol):
    """A trained model."""

    @property
    def rounds(self) -> int:
        """Epochs or trees that it took."""

    def predict(self, x: Floats) -> Values:
        """(n, columns) to (n,): probabilities of the positive class, or predictions."""

    def save(self, folder: Path) -> None:
        """Write the model and its manifest; see components.modelling.saved."""


class Learner(Protocol):
    """A kind of model that can be tuned and fitted."""

    @property
    def kind(self) -> Kind: ...

    @property
    def defaults(self) -> Parameters:
        """Parameters that do well as a rule: the first trial."""

    def suggest(self, trial: Trial) -> Parameters:
        """Draw from the search space; the names are those of `defaults`."""

    def fit(self, x: Floats, y: Values, parameters: Parameters, seed: int, rounds: int | None) -> Fitted:
        """Train on all rows for `rounds`; where that is None, stop early by a part of the rows."""


def stopping_rows(task: Task, y: Values, seed: int) -> NDArray[np.bool_]:
    """(n,): the rows that early stopping looks at; of a classification the same share of each class."""
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(y), dtype=bool)
    strata = [y == 0, y == 1] if task is Task.BINARY_CLASSIFICATION else [np.ones(len(y), dtype=bool)]
    for stratum in strata:
        rows = np.flatnonzero(stratum)
        count = max(1, round(EARLY_STOPPING_SHARE * len(rows)))
        chosen[generator.choice(rows, size=count, replace=False)] = True
    return chosen
