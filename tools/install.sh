#!/bin/sh
# Install the locked Python environment: tools/install.sh UV TORCH_BACKEND [option of `uv sync`]...
# With a backend such as `cpu`, PyTorch comes from its own index, without the 5 GB of CUDA libraries of the locked one:
# the same version, but no hash in uv.lock to compare it with.
set -eu
uv=$1
backend=$2
shift 2
if [ -z "$backend" ]; then
	exec "$uv" sync "$@"
fi
torch=$(sed -n '/^name = "torch"$/{n;s/^version = "\(.*\)"/\1/p;}' uv.lock)
omit=$(sed -n 's/^name = "\(torch\|triton\|nvidia-.*\|cuda-.*\)"/--no-install-package \1/p' uv.lock)
# shellcheck disable=SC2086 # Each word is an option.
"$uv" sync "$@" $omit
"$uv" pip install --python "${UV_PROJECT_ENVIRONMENT:-.venv}/bin/python" "torch==$torch" --torch-backend "$backend"
