"""Parts of others on a cluster: one file each, installed from its own chart or kustomization at its pin."""
