# GNU make 3.81 or newer. Everything it installs goes into .venv.
.DEFAULT_GOAL := help
.PHONY: help up test check fmt docs rolling audit sbom lock clean require-python

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := libs services tests deploy

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  ARGS are passed on: make up ARGS='--port 9000', make test ARGS='-k resume'"

up: $(VENV)/.installed-all ## Start everything on this machine and print a link
	@exec $(BIN)/decopilot up $(ARGS)

# Some tests need Chromium, nginx or promtool. Where one can't be had they are left out loudly; in CI that is a failure.
# Of nginx and of Prometheus a program is wanted and not the server that the package starts.
test: $(VENV)/.installed-test ## Check style, types and imports, then run all tests
	@missing=; \
	for program in chromium nginx promtool; do \
		if PATH="$$PATH:/usr/bin:/usr/sbin" command -v $$program >/dev/null 2>&1; then continue; fi; \
		case $$program in chromium) package=chromium tests=BROWSER;; nginx) package=nginx-light tests=NGINX;; \
			promtool) package=prometheus tests=RULES;; esac; \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && apt-get update -qq \
			&& DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$package; then \
			case $$program in nginx) server=nginx;; promtool) server=prometheus;; *) server=;; esac; \
			if [ -n "$$server" ]; then systemctl disable --now $$server >/dev/null 2>&1 || :; fi; \
			continue; \
		fi; \
		echo "$$program is missing. Get it with:" >&2; \
		echo "    sudo apt-get install $$package" >&2; \
		if [ "$$CI" = true ]; then exit 1; fi; \
		echo "$$tests TESTS NOT RUN." >&2; \
		missing="$$missing $$program"; \
	done; \
	$(MAKE) --no-print-directory check || exit 1; \
	case "$$missing" in *chromium*) export DECOPILOT_BROWSER_TESTS=skip;; esac; \
	$(BIN)/python -m pytest $(ARGS) || exit 1; \
	for program in $$missing; do echo "$$program is missing: ITS TESTS WERE NOT RUN." >&2; done

check: $(VENV)/.installed-test ## Check style, types and imports only
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(VENV)/.installed-test ## Format the code and fix what can be fixed
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

docs: $(VENV)/.installed-test ## Write docs/api, which tells what the code says of its APIs, and the tables of docs/scale.md
	$(BIN)/python deploy/api_documents.py
	$(BIN)/python deploy/scale_page.py

rolling: $(VENV)/.installed-test ## Replace every service twice under load, versions mixed (some ten minutes)
	@cd tests && ../$(BIN)/python -m rolling $(ARGS)

audit: $(VENV)/.installed-test ## Ask after known vulnerabilities of what we ship; AUDIT=--strict fails where nobody can be asked
	$(BIN)/python deploy/supply_chain.py audit $(AUDIT)

sbom: $(VENV)/.installed-test ## List what we ship as CycloneDX, into dist/sbom
	$(BIN)/python deploy/supply_chain.py sbom dist/sbom

lock: $(VENV)/.installed-test ## Pin what the services need, by version and hash, in deploy/requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 \
		--extra all pyproject.toml --output-file deploy/requirements.lock

clean: ## Remove everything that make or the tools made; data of `up` stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp per set of packages; a newer pyproject.toml installs again. `test` contains `all`.
$(VENV)/.installed-all: pyproject.toml $(VENV)/.made
	@echo "Installing packages into $(VENV): some minutes, once."
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[all]'
	@touch $@

$(VENV)/.installed-test: pyproject.toml $(VENV)/.made
	@echo "Installing packages into $(VENV): some minutes, once."
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[test]'
	@touch $@ $(VENV)/.installed-all

# An environment that is there is used as it is, whoever made it.
$(VENV)/.made:
	@if [ ! -x $(BIN)/python ]; then $(MAKE) --no-print-directory require-python && $(PYTHON) -m venv --clear $(VENV); fi
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --default-pip
	@touch $@

require-python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
		echo "Python 3.11 or newer is needed, and there is no $(PYTHON)." >&2; \
		echo "Install it, or name one: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V 2>&1)." >&2; \
		echo "Install a newer one and name it: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) has no venv module. On Debian and Ubuntu:" >&2; \
		echo "    sudo apt-get install python3-venv" >&2; exit 1; }
