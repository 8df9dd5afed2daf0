# Two commands do everything on a machine with Python 3.11, make and a package registry: make demo, make test.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: demo test check proto readme clean

demo: $(INSTALLED)  ## train all eight models, serve the best, classify ten samples
	$(BIN)/digits train
	$(BIN)/digits samples samples
	@set -e; log=$$(mktemp); $(BIN)/digits serve --port 0 2>"$$log" & server=$$!; \
	trap 'kill $$server; wait $$server; rm -f "$$log"' EXIT; \
	until address=$$(grep -om1 '127\.0\.0\.1:[0-9]*' "$$log"); do kill -0 $$server || { cat "$$log"; exit 1; }; sleep 0.1; done; \
	cat "$$log"; echo "$(BIN)/digits classify samples --server $$address"; \
	$(BIN)/digits classify samples --server "$$address"

test: $(INSTALLED) check  ## what CI runs; the report and the page are looked at in Chromium
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
	{ apt-get update -qq && apt-get install -qq --no-install-recommends chromium; }
	$(BIN)/pytest

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(INSTALLED): pyproject.toml requirements.txt
	@echo "installing into $(VENV) (2.4 GB, mostly TensorFlow: a minute or two)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

proto: $(INSTALLED)  ## regenerate the messages
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. client/proto/tensor.proto client/proto/serving.proto client/proto/config.proto

readme: $(INSTALLED)  ## put the JSON files of docs/ into the tables of README.md and docs/scale.md
	$(BIN)/python -m docs.tables

clean:
	rm -rf $(VENV) models runs samples report
