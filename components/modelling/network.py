"""The torch model: a multilayer perceptron that carries its own preprocessing, so that it exports as one graph."""

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from components.modelling.matrix import Floats, code_features, numeric_features, text_features
from core.contract import DataContract, Task


class Architecture(BaseModel):
    """Sizes of a network: what its weights alone do not say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Task
    bins: Annotated[int, Field(ge=0)]
    gaps: Annotated[int, Field(ge=0)]
    codes: Annotated[int, Field(ge=0)]
    width: Annotated[int, Field(ge=1)]
    depth: Annotated[int, Field(ge=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)]


class Network(nn.Module):
    """Encodes raw columns and scores them.

    A number becomes its piecewise-linear encoding over the quantiles seen in training (Gorishniy,
    Rubachev and Babenko 2022, arXiv:2203.05556), which needs no scaling and stays bounded for
    outliers; a nullable one gets an indicator of its absence; a category is one-hot, all zero
    for a code that the contract does not know.
    """

    bin_column: torch.Tensor
    bin_start: torch.Tensor
    bin_width: torch.Tensor
    gap_column: torch.Tensor
    code_column: torch.Tensor
    code_value: torch.Tensor
    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        for name, count in (("bin", architecture.bins), ("gap", architecture.gaps), ("code", architecture.codes)):
            self.register_buffer(f"{name}_column", torch.zeros(count, dtype=torch.int64))
        self.register_buffer("bin_start", torch.zeros(architecture.bins))
        self.register_buffer("bin_width", torch.ones(architecture.bins))
        self.register_buffer("code_value", torch.zeros(architecture.codes))
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))
        layers: list[nn.Module] = []
        inputs = architecture.bins + architecture.gaps + architecture.codes
        for _ in range(architecture.depth):
            layers += [nn.Linear(inputs, architecture.width), nn.ReLU(), nn.Dropout(architecture.dropout)]
            inputs = architecture.width
        self.trunk = nn.Sequential(*layers, nn.Linear(inputs, 1))

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """(n, columns) raw values to (n, bins + gaps + codes)."""
        numbers = x.index_select(1, self.bin_column)
        bins = torch.clamp((numbers - self.bin_start) / self.bin_width, 0.0, 1.0)
        bins = bins.masked_fill(torch.isnan(numbers), 0.0)
        gaps = torch.isnan(x.index_select(1, self.gap_column)).float()
        codes = (x.index_select(1, self.code_column) == self.code_value).float()
        return torch.cat([bins, gaps, codes], dim=1)

    def score(self, encoded: torch.Tensor) -> torch.Tensor:
        """(n, encoding) to (n,): a logit, or the target in standard units."""
        raw: torch.Tensor = self.trunk(encoded)
        return raw.squeeze(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, columns) raw values to (n,): the probability of the positive class, or the value predicted."""
        score = self.score(self.encode(x))
        if self.architecture.task is Task.BINARY_CLASSIFICATION:
            return torch.sigmoid(score)
        return score * self.scale + self.shift


class Layout(BaseModel):
    """How the columns of the matrix are encoded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    numbers: tuple[int, ...]
    gaps: tuple[int, ...]
    codes: tuple[tuple[int, tuple[int, ...]], ...]
    """Column and codes of each category."""


def layout(contract: DataContract) -> Layout:
    """Which columns of `matrix(contract, ...)` are numbers, which may be missing, and which are codes.

    Raises:
        ContractError: A code is too large for float32.
    """
    known = code_features(contract)
    numeric, text = numeric_features(contract), text_features(contract)
    return Layout(
        numbers=tuple(index for index, name in enumerate(numeric) if name not in known),
        gaps=tuple(index for index, name in enumerate(numeric) if contract.columns[name].nullable),
        codes=tuple((numeric.index(name), values) for name, values in known.items())
        + tuple((len(numeric) + index, tuple(range(len(values)))) for index, values in enumerate(text.values())),
    )


def build(
    task: Task,
    layout: Layout,
    x: Floats,
    y: NDArray[np.float64],
    width: int,
    depth: int,
    dropout: float,
    bins: int,
) -> Network:
    """A network of random weights whose encoding fits the rows of `x`.

    Args:
        x: (n, columns) float32.
        y: (n,); gives a regression's output its units.
        bins: Quantile bins of each number; fewer where its values are few, none where there is only one.
    """
    columns, starts, widths = [], [], []
    for column in layout.numbers:
        present = x[:, column][~np.isnan(x[:, column])]
        if not len(present):
            continue
        edges = np.unique(np.quantile(present, np.linspace(0, 1, bins + 1)).astype(np.float32))
        columns += [column] * (len(edges) - 1)
        starts += edges[:-1].tolist()
        widths += np.diff(edges).tolist()
    codes = [(column, code) for column, values in layout.codes for code in values]
    network = Network(
        Architecture(
            task=task,
            bins=len(columns),
            gaps=len(layout.gaps),
            codes=len(codes),
            width=width,
            depth=depth,
            dropout=dropout,
        )
    )
    network.bin_column.copy_(torch.tensor(columns, dtype=torch.int64))
    network.bin_start.copy_(torch.tensor(starts))
    network.bin_width.copy_(torch.tensor(widths))
    network.gap_column.copy_(torch.tensor(layout.gaps, dtype=torch.int64))
    network.code_column.copy_(torch.tensor([column for column, _ in codes], dtype=torch.int64))
    network.code_value.copy_(torch.tensor([float(code) for _, code in codes]))
    if task is Task.REGRESSION:
        network.shift.fill_(float(y.mean()))
        network.scale.fill_(float(y.std()) or 1.0)
    return network
