"""Copies of an environment's state: made while it runs, sealed, and brought back elsewhere."""
