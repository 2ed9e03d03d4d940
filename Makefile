PY ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Drivers, agents and Airflow's tasks are processes by the hundred: let them compile what they import once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup servers check test test-newest-airflow test-newest-prefect test-postgres crash-matrix demo bench docs clean
setup: $(VENV)/.ready $(VENV)/judges/.ready servers

# One environment with both engines: Airflow 3.3 and Prefect 3.7 agree on FastAPI.
$(VENV)/.ready: pyproject.toml constraints/dev.txt
	test -x $(BIN)/python || $(PY) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints/dev.txt --editable '.[all,dev]'
	touch $@

# Other people's clients of the clouds, by which the tests judge the sandbox; they go with other versions than ours.
$(VENV)/judges/.ready: constraints/judges.txt constraints/judges-built.txt $(VENV)/.ready
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)/judges
	$(BIN)/uv pip install --quiet --python $(VENV)/judges/bin/python --requirement constraints/judges.txt
	-$(BIN)/uv pip install --quiet --python $(VENV)/judges/bin/python --requirement constraints/judges-built.txt
	touch $@

# sshd and PostgreSQL, where they may be installed.
servers:
	tests/install_servers.sh

# Lint, types, floors, unit tests: what to run before every commit.
check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -n 2 tests/unit

# Three at a time on two cores: they wait for machines for a third of the time.
test: check
	$(BIN)/pytest -q -n 3 --dist loadfile -m "not alone" tests/store tests/sandbox tests/plugin tests/prefect tests/airflow
	$(BIN)/pytest -q -m alone tests/sandbox
	$(BIN)/pytest -q tests/crash

# The same jobs on PostgreSQL instead of SQLite. (What is about both stores runs on both in `make test`.)
test-postgres: setup
	TEST_STORE=postgres $(BIN)/pytest -q -n 2 --dist loadfile tests/store tests/sandbox tests/prefect tests/airflow

# The same flows on the newest Prefect, which wants a newer FastAPI than Airflow and so an environment of its own.
test-newest-prefect: $(VENV)/.ready
	test -x $(VENV)/newest/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python $(VENV)/newest
	$(BIN)/uv pip install --quiet --upgrade --python $(VENV)/newest/bin/python \
		--editable '.[prefect,aws,gcp,azure,postgres,sandbox]' hypothesis pytest pytest-timeout pytest-xdist
	$(VENV)/newest/bin/python -c 'import prefect; print("Prefect", prefect.__version__)'
	$(VENV)/newest/bin/pytest -q -n 2 --dist loadfile tests/prefect

# The newest Airflow, with the clouds' own providers beside ours, in an environment of its own.
PROVIDERS := $(addprefix apache-airflow-providers-,amazon google microsoft-azure cncf-kubernetes)
test-newest-airflow: $(VENV)/.ready
	test -x $(VENV)/newest-airflow/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python $(VENV)/newest-airflow
	$(BIN)/uv pip install --quiet --upgrade --python $(VENV)/newest-airflow/bin/python \
		--editable '.[airflow,aws,gcp,azure,postgres,sandbox]' $(PROVIDERS) \
		axe-core-python hypothesis jsonschema pytest pytest-timeout pytest-xdist statsd
	$(BIN)/uv pip check --python $(VENV)/newest-airflow/bin/python
	AIRFLOW_HOME=$(CURDIR)/$(VENV)/newest-airflow/home $(VENV)/newest-airflow/bin/airflow providers get skyloom --full
	$(VENV)/newest-airflow/bin/pytest -q -n 2 --dist loadfile tests/airflow

# Everything that can go wrong, once each, on both databases: an hour on two cores. QUICK=1: a sample, five minutes.
crash-matrix: setup
	$(BIN)/python -m tests.crash

demo: setup
	$(BIN)/python -m demo

bench: setup
	$(BIN)/python benchmarks/engines/dag_parse.py
	$(BIN)/python benchmarks/engines/ten_roots.py
	$(BIN)/python benchmarks/catalog.py
	$(BIN)/python benchmarks/optimizer.py --quick

# The pages of docs/ as a site in build/docs; links between them are checked.
docs: setup
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints/dev.txt mkdocs-material
	$(BIN)/mkdocs build --quiet

clean:
	rm -rf build $(VENV)
