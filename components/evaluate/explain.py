"""SHAP values of the exported graph, which is asked as any client would ask it."""

import os
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.evaluate.report import Explanation
from components.modelling.matrix import FEATURES, TEXT_FEATURES, Floats, matrix, numeric_features, text_features
from components.modelling.session import Session
from core.contract import DataContract

BACKGROUND = 25
PERMUTATIONS = 4
MOST_ROWS = 200
BUDGET = 1_000_000
"""Rows that the graph is asked for in all; with many features fewer rows are explained."""


def explain(contract: DataContract, session: Session, frame: pd.DataFrame, seed: int) -> Explanation:
    """Permutation SHAP (Lundberg and Lee 2017, arXiv:1705.07874) of a sample of rows.

    Absent features are drawn from a background sample, so strongly dependent features share what one
    of them says.

    Args:
        frame: (n, ...) with the features, n >= 1.
    """
    # Compiling shap's loops takes longer than running them as they are.
    os.environ.setdefault("NUMBA_DISABLE_JIT", "1")
    import shap

    evaluations = PERMUTATIONS * (2 * len(contract.features) + 1)
    wanted = max(1, min(MOST_ROWS, len(frame), BUDGET // (evaluations * BACKGROUND)))
    x = matrix(contract, frame)
    generator = np.random.default_rng(seed)
    rows = generator.choice(len(x), wanted, replace=False)
    background = generator.choice(len(x), min(BACKGROUND, len(x)), replace=False)
    explainer = shap.explainers.Permutation(
        lambda columns: session.predict(from_matrix(contract, np.asarray(columns, dtype=np.float32))),
        shap.maskers.Independent(x[background], max_samples=BACKGROUND),
        seed=seed,
    )
    values = explainer(x[rows], max_evals=evaluations, silent=True).values
    order = (*numeric_features(contract), *text_features(contract))
    importance = dict(zip(order, np.abs(values).mean(axis=0).tolist(), strict=True))
    return Explanation(
        rows=len(rows),
        background=len(background),
        importance=dict(sorted(importance.items(), key=lambda item: -item[1])),
    )


def from_matrix(contract: DataContract, x: Floats) -> dict[str, NDArray[Any]]:
    """The graph's inputs for rows of `components.modelling.matrix.matrix`."""
    numeric, text = numeric_features(contract), text_features(contract)
    inputs: dict[str, NDArray[Any]] = {}
    if numeric:
        inputs[FEATURES] = np.ascontiguousarray(x[:, : len(numeric)])
    if text:
        columns = []
        for index, values in enumerate(text.values()):
            # The last place stands for a string that is missing or unknown.
            position = np.nan_to_num(x[:, len(numeric) + index], nan=len(values)).astype(np.int64)
            columns.append(np.asarray([*values, ""], dtype=object)[position])
        inputs[TEXT_FEATURES] = np.stack(columns, axis=1)
    return inputs
