# Two commands matter: `make demo` and `make test`. Both start from a fresh clone with a python3.
PYTHON ?= python3
PIP_OPTIONS ?=
# 1: the packages of requirements/*.lock, each file checked against its hash. 0: the newest allowed.
LOCKED ?= 1
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .venv-tools
PIP := $(BIN)/python -m pip install --disable-pip-version-check $(PIP_OPTIONS)
ifeq ($(LOCKED),1)
INSTALL_LOCKED = @$(PIP) --no-deps --require-hashes -r $(1) || { echo "This index does not have the locked files; make LOCKED=0 ... takes its newest." >&2; exit 1; }
INSTALL := $(PIP) --no-build-isolation -c constraints.txt
else
INSTALL_LOCKED = @:
INSTALL := $(PIP) -c constraints.txt
endif

NATIVE := plugins/cpu/pyproject.toml $(wildcard plugins/cpu/CMakeLists.txt plugins/cpu/library_cache.* plugins/cpu/src/* plugins/cpu/src/kernels/* plugins/cpu/unisono_cpu/*.py)

.DEFAULT_GOAL := help
.PHONY: help demo test test-real test-clients test-devices check test-sanitizers lock audit

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.installed $(VENV)/.native ## install, then let the built-in model read two messages
	@scripts/demo

test: $(VENV)/.installed-for-tests ## install what tests need, then run all of them
	@scripts/test

test-real: $(VENV)/.installed-for-tests ## fetch published models and tokenizers (240 MB) and test with them
	@scripts/test-real

test-clients: $(VENV)/.installed-for-tests ## clients that others wrote (openai, anthropic, litellm, ai-sdk), against servers
	@PIP_OPTIONS="$(PIP_OPTIONS)" scripts/test-clients

test-devices: $(VENV)/.installed-for-tests ## PyTorch devices that others wrote (torchvulkan on software Vulkan)
	@PIP_OPTIONS="$(PIP_OPTIONS)" scripts/test-devices

check: $(VENV)/.installed-for-tests ## format, lint, types, import rules, generated pages
	@scripts/check

test-sanitizers: $(VENV)/.installed-for-tests ## the native code's tests under sanitizers
	@scripts/test-sanitizers

lock: $(TOOLS)/.installed ## renew requirements/*.lock; UPGRADE=1 takes newer versions
	scripts/lock $(if $(UPGRADE),--upgrade)

audit: $(TOOLS)/.installed ## ask whether a locked package has a known vulnerability
	$(TOOLS)/bin/pip-audit --disable-pip --require-hashes -r requirements/test.lock -r requirements/wheels.lock

$(TOOLS)/.installed:
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --disable-pip-version-check $(PIP_OPTIONS) uv pip-audit
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed: make PYTHON=python3.12 ..." if sys.version_info < (3, 10) else 0)'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) cannot make environments; on Debian and Ubuntu install python3-venv." >&2; exit 1; }

$(VENV)/.installed: pyproject.toml constraints.txt requirements/demo.lock | $(BIN)/python
	$(call INSTALL_LOCKED,requirements/demo.lock)
	$(INSTALL) -e .
	@touch $@

$(VENV)/.native: requirements/native.lock $(NATIVE) | $(VENV)/.installed
	@PIP="$(PIP)" LOCKED="$(LOCKED)" scripts/build_native $@

$(VENV)/.installed-for-tests: pyproject.toml constraints.txt requirements/test.lock plugins/virtual/pyproject.toml examples/plugin/pyproject.toml $(NATIVE) | $(BIN)/python
	$(call INSTALL_LOCKED,requirements/test.lock)
	$(INSTALL) -e '.[test,dev]' -e plugins/virtual -e examples/plugin
	@PIP="$(PIP)" LOCKED="$(LOCKED)" scripts/build_native --required $(VENV)/.native
	@touch $@ $(VENV)/.installed
