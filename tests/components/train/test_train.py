import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.modelling.matrix import is_holdout, matrix
from components.modelling.metrics import calibration_error, evaluate, fold_interval
from components.modelling.network import Architecture, build, layout
from components.modelling.saved import load
from components.train.step import assign_folds, train
from core.contract import METRICS, DataContract, Task, parse_contract
from core.errors import ConfigError, ContractError, DataError


def test_same_inputs_give_the_same_bytes(trained, tmp_path: Path) -> None:
    use_case = trained.use_case
    predictions = tmp_path / "predictions.parquet"
    again = train(use_case.contract, use_case.path, 1, 3, tmp_path / "model", predictions, tmp_path / "t.json")
    assert again.model_copy(update={"seconds": 0.0}) == trained.report.model_copy(update={"seconds": 0.0})
    files = sorted(file.name for file in (trained.folder / "model").iterdir())
    assert files == sorted(file.name for file in (tmp_path / "model").iterdir())
    for name in files:
        assert (tmp_path / "model" / name).read_bytes() == (trained.folder / "model" / name).read_bytes(), name
    assert predictions.read_bytes() == (trained.folder / "predictions.parquet").read_bytes()


def test_winner_has_the_higher_mean_and_the_report_is_true_to_the_predictions(trained) -> None:
    report = trained.report
    rows = pd.read_parquet(trained.folder / "predictions.parquet")
    for kind, candidate in report.candidates.items():
        for number, fold in rows.groupby("fold"):
            scored = evaluate(trained.use_case.contract.task, fold["target"].to_numpy(), fold[kind].to_numpy())
            assert scored[report.metric] == pytest.approx(candidate.folds[number])
    means = {kind: candidate.mean.value for kind, candidate in report.candidates.items()}
    assert report.winner == max(means, key=lambda kind: means[kind])
    assert report.difference.value == pytest.approx(means["torch"] - means["trees"])
    assert report.difference.low < report.difference.value < report.difference.high
    assert report.metric in report.verdict


def test_models_learn(trained) -> None:
    for candidate in trained.report.candidates.values():
        assert candidate.mean.value > 0.6


def test_entities_are_never_on_both_sides(trained) -> None:
    contract, frame = trained.use_case.contract, trained.use_case.frame
    held_out = is_holdout(contract, frame["person"])
    assert not set(frame["person"][held_out]) & set(frame["person"][~held_out])
    assert held_out.mean() == pytest.approx(0.3, abs=0.06)
    predictions = pd.read_parquet(trained.folder / "predictions.parquet")
    assert set(predictions["person"]) == set(frame["person"][~held_out])
    assert predictions.groupby("person")["fold"].nunique().max() == 1


def test_folds_are_balanced(trained) -> None:
    contract, frame = trained.use_case.contract, trained.use_case.frame
    means = frame.groupby(assign_folds(contract, frame, 2, seed=0))["outcome"].mean()
    assert means.max() - means.min() < 0.15 * frame["outcome"].std()


def test_folds_of_a_target_with_ties(trained) -> None:
    contract, frame = trained.use_case.contract, trained.use_case.frame
    tied = frame.assign(outcome=(frame["age"] > 90).astype(float))
    folds = assign_folds(contract, tied, 2, seed=0)
    assert np.bincount(folds).min() > 0.4 * len(frame)


def test_matrix_keeps_the_contract_order_and_marks_what_is_missing(trained) -> None:
    contract, frame = trained.use_case.contract, trained.use_case.frame
    x = matrix(contract, frame.assign(city=frame["city"].where(frame["age"] > 1, "Muscat")))
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x[:, 0], frame["age"].to_numpy(dtype=np.float32))
    np.testing.assert_array_equal(np.isnan(x[:, 1]), frame["income"].isna())
    expected = frame["city"].map({"Dubai": 0, "Al Ain": 1, "رأس الخيمة": 2}).where(frame["age"] > 1)
    np.testing.assert_array_equal(x[:, 3], expected.to_numpy(dtype=np.float32, na_value=np.nan))


def test_encoding_is_bounded_one_hot_and_marks_gaps(trained) -> None:
    import torch

    contract, frame = trained.use_case.contract, trained.use_case.frame
    x = matrix(contract, frame)
    network = build(contract.task, layout(contract), x, frame["outcome"].to_numpy(float), 4, 1, 0.0, bins=8)
    sizes: Architecture = network.architecture
    x[0] = [1e30, np.nan, 3, np.nan]
    encoded = network.encode(torch.from_numpy(x)).numpy()
    assert encoded.shape == (len(x), sizes.bins + sizes.gaps + sizes.codes)
    assert encoded.min() >= 0
    assert encoded.max() <= 1
    codes = encoded[:, sizes.bins + sizes.gaps :]
    assert not codes[0].any(), "codes that the contract does not know are all zero"
    assert (codes[1:, :3].sum(axis=1) == 1).all()
    np.testing.assert_array_equal(encoded[:, sizes.bins], np.isnan(x[:, 1]).astype(float))


def test_progress_is_logged(trained, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "falaj.train")
    use_case = trained.use_case
    small = tmp_path / "small.parquet"
    use_case.frame.head(200).to_parquet(small)
    train(use_case.contract, small, 2, 0, tmp_path / "m", tmp_path / "p", tmp_path / "r")
    assert "torch: trial 2 of 2" in caplog.text
    assert "trees: trial 2 of 2" in caplog.text
    assert "best" in caplog.text


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda frame: frame.head(4), DataError, "held out"),
        (lambda frame: frame.head(20), DataError, "too few"),
        (lambda frame: frame.assign(outcome=1), DataError, "too uniform"),
        (lambda frame: frame[frame["person"] == frame["person"].iloc[0]], DataError, "too few|held out"),
        (lambda frame: frame.drop(columns="income"), DataError, "income"),
    ],
)
def test_unusable_frames_are_refused(trained, tmp_path: Path, change, error, match: str) -> None:
    path = tmp_path / "training.parquet"
    change(trained.use_case.frame).to_parquet(path)
    with pytest.raises(error, match=match):
        train(trained.use_case.contract, path, 1, 0, tmp_path / "m", tmp_path / "p", tmp_path / "r")


def test_a_cut_file_and_no_trials_are_refused(trained, tmp_path: Path) -> None:
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(trained.use_case.path.read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be read"):
        train(trained.use_case.contract, cut, 1, 0, tmp_path / "m", tmp_path / "p", tmp_path / "r")
    with pytest.raises(ConfigError, match="trials"):
        train(trained.use_case.contract, cut, 0, 0, tmp_path / "m", tmp_path / "p", tmp_path / "r")


def test_codes_beyond_float32_are_refused(trained) -> None:
    document = trained.use_case.contract.model_dump(mode="json")
    document["columns"]["grade"]["values"] = [1, 2, (1 << 24) + 1]
    with pytest.raises(ContractError, match="float32"):
        layout(DataContract.model_validate(document))


@pytest.mark.parametrize("name", ["employment", "housing"])
def test_layout_of_the_sample_contracts(name: str) -> None:
    path = Path(__file__).parents[3] / "datasets" / name / "contract.yaml"
    contract = parse_contract(path.read_text())
    found = layout(contract)
    assert len(found.numbers) + len(found.codes) == len(contract.features)


def test_a_damaged_model_is_refused(trained, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no whole model"):
        load(tmp_path)
    for file in (trained.folder / "model").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[: 400 if file.suffix == ".pt" else None])
    (tmp_path / "holdout.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="no whole model"):
        load(tmp_path)


@pytest.mark.parametrize("task", list(Task))
def test_metrics_are_those_a_contract_may_name(task: Task) -> None:
    y, predicted = np.asarray([0.0, 1.0, 1.0, 0.0]), np.asarray([0.2, 0.9, 0.4, 0.1])
    assert evaluate(task, y, predicted).keys() == METRICS[task]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=50))
def test_calibration_error_lies_within_its_bounds(rows: list[tuple[bool, float]]) -> None:
    y, predicted = (np.asarray(column, dtype=float) for column in zip(*rows, strict=True))
    assert 0 <= calibration_error(y, predicted) <= 1
    assert calibration_error(y, y) == 0


def test_fold_interval_matches_the_textbook() -> None:
    found = fold_interval([0.8, 0.9, 1.0], test_share=0.5)
    error = np.sqrt((1 / 3 + 0.5) * 0.01)
    assert found.value == pytest.approx(0.9)
    assert found.high == pytest.approx(0.9 + 4.302653 * error)
