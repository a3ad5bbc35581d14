# The entrance for people and CI. Everything it makes lies in .venv, .tools and .falaj.

IS_SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))
PYTHON ?= $(shell for name in python3.11 python3.12 python3; do \
	"$$name" -c '$(IS_SUPPORTED)' 2>/dev/null && command -v "$$name" && break; done)
UV_VERSION := 0.13.8
UV := .tools/uv/bin/uv
PACKAGES := __main__.py $(wildcard benchmarks components core falaj features infra monitoring pipelines policies rehearsal serving tools verify)
# `make up TORCH_BACKEND=cpu` installs PyTorch without its 5 GB of CUDA libraries, from PyTorch's own index.
TORCH_BACKEND ?=

.DEFAULT_GOAL := help
.PHONY: help up down test lint image rehearse verify clean env tools

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-8s %s\n' "$$name" "$$text"; done

up: tools ## Start the platform, train the sample use case and ask for a prediction
	@.venv/bin/falaj up

down: env ## Stop the platform; `make down DELETE_DATA=1` deletes its data too
	@.venv/bin/falaj down $(if $(DELETE_DATA),--delete-data)

test: lint tools ## Run everything that CI runs
	@.venv/bin/python -m tools.build vendor rehearsal
	@.venv/bin/pytest

lint: env ## Check style, types and who imports whom
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy $(PACKAGES)
	@.venv/bin/lint-imports

image: env ## Build the image that clusters run, with podman, buildah or docker; GPU=1 for the one with CUDA
	@.venv/bin/python -m tools.image $(if $(GPU),--gpu) $(IMAGE_OPTIONS)

rehearse: tools ## Bring STACK, or every stack, up, change, repair and destroy it, without an account: STACK=smb
	@.venv/bin/falaj rehearse $(or $(STACK),--all)

verify: env ## Look at a deployed STACK from outside, by default at the local one: make verify STACK=prod
	@.venv/bin/falaj verify $(STACK)

clean: ## Remove the environment, built tools and caches; the platform's data in .falaj stays
	@if [ -S .falaj/local/run/supervisor.sock ]; then echo 'the platform runs: make down first' >&2; exit 1; fi
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.falaj/*' -prune -exec rm -rf {} +

env: .venv/.stamp-$(or $(TORCH_BACKEND),default)

tools: env ## Have Pulumi and Prometheus: those on PATH, or built once
	@.venv/bin/python -m tools.build

$(UV):
	@'$(PYTHON)' -c '$(IS_SUPPORTED)' 2>/dev/null || { \
		echo "error: Python 3.11 or 3.12 is needed, and $(or $(PYTHON),none on PATH) is not one:" \
			'install one, or name it with make PYTHON=/path/to/python' >&2; exit 1; }
	@echo 'installing uv $(UV_VERSION)'
	@'$(PYTHON)' -m venv .tools/uv
	@.tools/uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

.venv/.stamp-%: uv.lock pyproject.toml | $(UV)
	@echo 'installing the Python environment from uv.lock'
	@test -d .venv || $(UV) venv --quiet --python '$(PYTHON)' .venv
	@sh tools/install.sh $(UV) '$(filter-out default,$*)' --locked
	@rm -f .venv/.stamp-* && touch $@
