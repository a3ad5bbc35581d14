"""Write the employment data and its consent register: real ACS records that the nannyml package carries.

The public-use records hold no consent, so the register is made here, the same at every run: each
person has granted it, but for one in a hundred who later withdrew and one in two hundred who never
answered. It makes the consent rules of ingest visible on the sample.
"""

import argparse
import os
from pathlib import Path

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"

import nannyml
import pandas as pd


def records() -> pd.DataFrame:
    """All years in one table, with the codes as they stand in the survey."""
    reference, analysis, targets = nannyml.load_us_census_ma_employment_data()
    rows = pd.concat([reference, analysis.merge(targets, on="id", validate="one_to_one")], ignore_index=True)
    rows["person_id"] = rows["id"].astype(str)
    rows["surveyed_at"] = pd.to_datetime(rows["year"].astype(str) + "-07-01", utc=True)
    return rows.drop(columns=["id", "year", "prediction", "predicted_probability"])


def consent(people: pd.Series) -> pd.DataFrame:
    """The register: one row a decision, so a withdrawal follows its grant."""
    number = people.astype(int)
    granted = people[number % 200 != 199]
    withdrawn = people[number % 100 == 42]
    decisions = [("granted", granted, "2015-01-01"), ("withdrawn", withdrawn, "2019-03-01")]
    return pd.concat(
        pd.DataFrame(
            {
                "subject": subjects,
                "purpose": "labour_market_statistics",
                "version": 1,
                "status": status,
                "time": pd.Timestamp(time, tz="UTC"),
            }
        )
        for status, subjects, time in decisions
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where records.parquet and consent.parquet are written")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    rows = records()
    rows.to_parquet(folder / "records.parquet", index=False)
    consent(rows["person_id"]).to_parquet(folder / "consent.parquet", index=False)


if __name__ == "__main__":
    main()
