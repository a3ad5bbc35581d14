"""Kubeflow Pipelines on the stack's own stores."""
