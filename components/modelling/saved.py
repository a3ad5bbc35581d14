"""The folder in which train leaves its model: weights as tensors or as ONNX, never code.

`model.json` says which kind lies beside it: `weights.pt`, the state of a `Network`, or `trees.onnx`,
whose input `x` and output `y` are those of `Saved.predict`. `holdout.parquet` holds, in the column
`prediction`, what the trained model itself said of the held-out rows, in their order.
"""

import pickle
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from components.modelling.network import Architecture, Network
from core.errors import DataError

Kind = Literal["torch", "trees"]
KINDS: tuple[Kind, ...] = ("torch", "trees")
OPSETS = {"": 20, "ai.onnx.ml": 3}
"""Operator sets that all parts of an exported graph are written in."""
MANIFEST = "model.json"
WEIGHTS = "weights.pt"
TREES = "trees.onnx"
HOLDOUT = "holdout.parquet"


class Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    architecture: Architecture | None = None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")


def write_holdout(folder: Path, predictions: NDArray[np.float64]) -> None:
    pd.DataFrame({"prediction": predictions}).to_parquet(folder / HOLDOUT, index=False)


def load(folder: Path) -> tuple[Network | onnx.ModelProto, NDArray[np.float64]]:
    """The model of a folder, and its own predictions of the held-out rows, (n,) float64.

    Raises:
        DataError: The folder is not a whole saved model.
    """
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
        reference = pd.read_parquet(folder / HOLDOUT)["prediction"].to_numpy(dtype=np.float64)
        if manifest.architecture is None:
            return onnx.load(folder / TREES), reference
        network = Network(manifest.architecture)
        network.load_state_dict(torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True))
        network.eval()
    except (OSError, KeyError, ValueError, ValidationError, RuntimeError, pickle.UnpicklingError) as error:
        raise DataError(f"{folder} holds no whole model: {error}: run train again") from error
    return network, reference
