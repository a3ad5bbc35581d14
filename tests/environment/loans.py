"""A use case of a user's own: a CSV with text categories, missing numbers and no personal data."""

from pathlib import Path

import numpy as np
import pandas as pd

CONTRACT = """
name: loans
version: 1
title: Repayment of business loans
description: Whether a company repaid its loan.
owner: {team: credit, contact: credit@example.ae}
task: binary_classification
columns:
  customer: {type: string, role: entity, description: Number of the company}
  granted_at: {type: timestamp, role: event_time, description: When the loan was granted}
  income: {type: float, role: feature, min: 0, nullable: true, description: Yearly income in AED}
  city: {type: category, role: feature, values: [Abu Dhabi, Dubai, Sharjah], description: Seat}
  defaults: {type: integer, role: feature, min: 0, max: 20, description: Defaults so far}
  repaid: {type: category, role: target, values: [0, 1], description: Repaid}
purpose: {id: credit_risk, version: 1, description: Estimate the risk of business loans.}
lawful_basis: not_personal
retention: {days: 365}
automated_decision: {high_impact: false, human_review: true}
training: {folds: 3}
quality:
  roc_auc: {min: 0.6}
drift: {limit: 0.3}
"""
ROWS = 600


def write(folder: Path) -> tuple[Path, Path]:
    """Write contract.yaml and loans.csv, the same at every call; returns their paths."""
    random = np.random.default_rng(7)
    income = random.lognormal(11, 0.5, ROWS)
    defaults = random.poisson(1.0, ROWS).clip(0, 20)
    city = random.choice(["Abu Dhabi", "Dubai", "Sharjah"], ROWS)
    score = (np.log(income) - 11) * 2 - defaults + (city == "Dubai") + random.normal(0, 0.5, ROWS)
    frame = pd.DataFrame(
        {
            "customer": [f"customer-{number}" for number in range(ROWS)],
            "granted_at": pd.Timestamp("2025-01-01", tz="UTC") + pd.to_timedelta(np.arange(ROWS), unit="h"),
            "income": np.where(random.random(ROWS) < 0.05, np.nan, income.round(2)),
            "city": city,
            "defaults": defaults,
            "repaid": (score > np.median(score)).astype(int),
            "note": "a column that the contract does not name",
        }
    )
    contract, data = folder / "contract.yaml", folder / "loans.csv"
    contract.write_text(CONTRACT)
    frame.to_csv(data, index=False)
    return contract, data
