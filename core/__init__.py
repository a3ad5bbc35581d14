"""What every folder shares. Imports nothing else of the project."""
