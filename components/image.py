"""The image that every pipeline step runs in on a cluster; a local run uses this environment instead."""

IMAGE = "falaj/platform:0.1.0"
