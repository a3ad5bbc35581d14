"""Write the California housing data that the nannyml package carries, its classifier's columns left out."""

import argparse
import os
from pathlib import Path

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"

import nannyml
import pandas as pd


def records() -> pd.DataFrame:
    """Reference and analysis periods in one table."""
    reference, analysis, _ = nannyml.load_modified_california_housing_dataset()
    rows = pd.concat([reference, analysis], ignore_index=True)
    rows["block_group"] = rows["id"].astype(str)
    rows["recorded_at"] = pd.to_datetime(rows["timestamp"], utc=True)
    return rows.drop(columns=["id", "timestamp", "clf_target", "y_pred_proba", "y_pred"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where records.parquet is written")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    records().to_parquet(folder / "records.parquet", index=False)


if __name__ == "__main__":
    main()
