"""Fits the torch model: AdamW on minibatches, an exponential average of the weights, early stopping."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from optuna import Trial
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from components.modelling import saved
from components.modelling.matrix import Floats
from components.modelling.metrics import Values
from components.modelling.network import Layout, Network, build
from components.train.learner import THREADS, Parameters, stopping_rows
from core.contract import Task

LEAST_BATCH, MOST_BATCH = 32, 256
STEPS_AN_EPOCH = 16
"""At least so many where the rows allow it: few rows in large batches would stop learning at MOST_EPOCHS."""
MOST_EPOCHS = 80
PATIENCE = 6
AVERAGING = 0.99


@dataclass(frozen=True)
class Perceptron:
    """A trained network, on the CPU."""

    network: Network
    rounds: int

    def predict(self, x: Floats) -> Values:
        with _deterministic(0), torch.inference_mode():
            answers: torch.Tensor = self.network(torch.from_numpy(x))
            return answers.numpy().astype(np.float64)

    def save(self, folder: Path) -> None:
        torch.save(self.network.state_dict(), folder / saved.WEIGHTS)
        saved.write_manifest(folder, saved.Manifest(kind="torch", architecture=self.network.architecture))


@dataclass(frozen=True)
class PerceptronLearner:
    """Trains on the GPU where there is one."""

    task: Task
    layout: Layout
    kind: saved.Kind = "torch"

    @property
    def defaults(self) -> Parameters:
        return {"width": 96, "depth": 2, "dropout": 0.1, "bins": 48, "learning_rate": 3e-3, "weight_decay": 1e-2}

    def suggest(self, trial: Trial) -> Parameters:
        return {
            "width": trial.suggest_int("width", 32, 160, step=32),
            "depth": trial.suggest_int("depth", 1, 3),
            "dropout": trial.suggest_float("dropout", 0.0, 0.4),
            "bins": trial.suggest_int("bins", 16, 96, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 1e-3, 1e-2, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 1e-4, 1e-1, log=True),
        }

    def fit(self, x: Floats, y: Values, parameters: Parameters, seed: int, rounds: int | None) -> Perceptron:
        if rounds is not None:
            return self._fit(x, y, None, parameters, seed, rounds)
        stopping = stopping_rows(self.task, y, seed)
        return self._fit(x[~stopping], y[~stopping], (x[stopping], y[stopping]), parameters, seed, MOST_EPOCHS)

    def _fit(
        self,
        x: Floats,
        y: Values,
        stopping: tuple[Floats, Values] | None,
        parameters: Parameters,
        seed: int,
        epochs: int,
    ) -> Perceptron:
        where = device()
        with _deterministic(seed):
            network = build(
                self.task,
                self.layout,
                x,
                y,
                width=int(parameters["width"]),
                depth=int(parameters["depth"]),
                dropout=float(parameters["dropout"]),
                bins=int(parameters["bins"]),
            ).to(where)
            average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(AVERAGING))  # type: ignore[no-untyped-call]
            averaged = cast(Network, average.module)
            optimizer = torch.optim.AdamW(
                network.trunk.parameters(),
                lr=parameters["learning_rate"],
                weight_decay=parameters["weight_decay"],
                fused=True,
            )
            rows, wanted = self._tensors(network, x, y)
            judged = self._tensors(network, *stopping) if stopping else None
            best, least, best_epoch = averaged.state_dict(), float("inf"), epochs
            for epoch in range(1, epochs + 1):
                network.train()
                size = min(max(len(rows) // STEPS_AN_EPOCH, LEAST_BATCH), MOST_BATCH)
                order = torch.randperm(len(rows)).to(where)
                for start in range(0, len(rows), size):
                    batch = order[start : start + size]
                    optimizer.zero_grad()
                    loss = self._loss(network.score(network.encode(rows[batch])), wanted[batch])
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    average.update_parameters(network)
                if judged is None:
                    continue
                averaged.eval()
                with torch.inference_mode():
                    miss = float(self._loss(averaged.score(averaged.encode(judged[0])), judged[1]))
                if miss < least:
                    least, best_epoch = miss, epoch
                    best = {name: value.clone() for name, value in averaged.state_dict().items()}
                elif epoch - best_epoch >= PATIENCE:
                    break
            averaged.load_state_dict(best)
            return Perceptron(averaged.cpu().eval(), best_epoch)

    def _tensors(self, network: Network, x: Floats, y: Values) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, columns) raw values, and (n,) what the score should be."""
        wanted = torch.from_numpy(y.astype(np.float32)).to(network.shift.device)
        return torch.from_numpy(x).to(network.shift.device), (wanted - network.shift) / network.scale

    def _loss(self, score: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        if self.task is Task.BINARY_CLASSIFICATION:
            return functional.binary_cross_entropy_with_logits(score, wanted)
        return functional.mse_loss(score, wanted)


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    """Seed torch and hold it to reproducible kernels and a fixed number of threads; as before on exit."""
    # cuBLAS is reproducible only with a workspace of fixed size, read when its first handle is made.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(THREADS)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(strict)
