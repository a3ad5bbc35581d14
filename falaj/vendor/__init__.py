"""Bring what the platform takes from others into the repository's folder, the registry and a bill of materials."""
