"""The image that every pipeline step runs in on a cluster; a local run uses this environment instead."""

import os

IMAGE = os.environ.get("FALAJ_IMAGE", "falaj/platform:0.1.0")
"""A pipeline is compiled for a stack with FALAJ_IMAGE set to the image's name in that stack's registry."""
