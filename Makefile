# Everything runs from the root. `make help` lists the targets.
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || echo python3)
PORT ?= 5000
KIND_PORT ?= 8080
BIN := .venv/bin

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/developer: .venv/installed requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

.PHONY: run
run: .venv/installed ## Start the dashboard and the controller on http://127.0.0.1:5000 (PORT=...)
	@$(BIN)/python -m service.store.migrate
	@$(BIN)/python scripts/data_loader.py import --missing-only data/*.csv
	@exec env BIN=$(BIN) PORT=$(PORT) CODE_REVISION=$${CODE_REVISION:-$$(git rev-parse HEAD 2>/dev/null)} sh scripts/run.sh

.PHONY: test
test: .venv/developer ## Run the fast tests: no network, no server, no program but Python (90 seconds)
	$(BIN)/python -m pytest

RANDOM_ROUNDS ?= 3
.PHONY: test-random
test-random: .venv/developer ## Search for counterexamples at random, RANDOM_ROUNDS times; keep what it finds as an @example
	@for round in $$(seq $(RANDOM_ROUNDS)); do \
	    $(BIN)/python -m pytest -m 'hypothesis and not api' --hypothesis-profile=random || exit 1; done

FUZZ_SECONDS ?= 600
FUZZED := rule_id params grid where query request csv
.PHONY: fuzz
fuzz: .venv/developer ## Fuzz what strangers may send, guided by coverage: FUZZED, each for FUZZ_SECONDS (installs atheris into .venv)
	$(BIN)/pip install --quiet --disable-pip-version-check -r tests/fuzz/requirements.txt
	@for target in $(FUZZED); do $(BIN)/python -m tests.fuzz $$target $(FUZZ_SECONDS) || exit 1; done

.PHONY: test-chart
test-chart: .venv/developer ## Render the chart in hundreds of ways and check every object (1 minute)
	$(BIN)/python -m pytest -m chart

.PHONY: test-processes
test-processes: .venv/developer ## Run the tests that start workers, controllers, migrations and web servers (1 minute)
	$(BIN)/python -m pytest -m "process and not fault"

.PHONY: test-hostile
test-hostile: .venv/developer ## Send hundreds of requests that are made to break the web (1 minute)
	$(BIN)/python -m pytest -m hostile

.PHONY: test-api
test-api: .venv/developer ## Try to break what /openapi.json promises with 15,000 generated requests (2 minutes)
	$(BIN)/python -m pytest -m api -n 2

.PHONY: test-browser
test-browser: .venv/developer ## Run the tests that drive Chromium at /usr/bin/chromium
	$(BIN)/python -m pytest -m browser -n 0

BASE ?= http://127.0.0.1:$(PORT)
.PHONY: demo-api
demo-api: .venv/installed ## Run the README's Python client against a running dashboard (BASE=http://...)
	@$(BIN)/python scripts/demo_api.py $(BASE)

MYSQL_CONTAINER ?= stock-backtest-test-mysql
# Its part of the processors where others want them too; 1024 is that of any container.
MYSQL_SHARES ?= 1024
ON_MYSQL := tests/store/test_store.py tests/store/test_migrate.py tests/store/test_indexes.py tests/store/test_finding.py tests/store/test_marks.py tests/store/test_deletion.py tests/store/test_names_and_versions.py tests/store/test_login.py tests/store/test_trials.py tests/usecases/test_tries.py tests/usecases/test_forward.py tests/controller/test_leadership.py tests/usecases/test_runs.py tests/usecases/test_identical_work.py tests/usecases/test_shares.py tests/usecases/test_names.py tests/usecases/test_fetches.py tests/worker/test_run.py tests/worker/test_fetch.py tests/controller tests/statements tests/web/test_troubles.py tests/web/test_json_api.py tests/web/test_pages.py tests/web/test_refusals.py tests/web/test_history.py tests/web/test_batches.py tests/web/test_prices.py tests/web/test_fetches.py

.PHONY: test-mysql
test-mysql: .venv/developer ## Run the tests of stores, controller and web on MySQL 8.0 in a container (needs Docker)
	@docker run --detach --rm --name $(MYSQL_CONTAINER) --cpu-shares $(MYSQL_SHARES) --publish 127.0.0.1::3306 --env MYSQL_ROOT_PASSWORD=test mysql:8.0 --disable-log-bin --innodb-flush-log-at-trx-commit=0 >/dev/null
	@trap 'docker rm --force --volumes $(MYSQL_CONTAINER) >/dev/null' EXIT INT TERM; \
	until docker exec -e MYSQL_PWD=test $(MYSQL_CONTAINER) mysql -h 127.0.0.1 -u root -e 'SELECT VERSION()'; do sleep 1; done 2>/dev/null; \
	export TEST_MYSQL=root:test@$$(docker port $(MYSQL_CONTAINER) 3306); \
	$(BIN)/python -m pytest $(ON_MYSQL) && $(BIN)/python -m pytest -m process tests/statements

FAULTS_CONTAINER ?= stock-backtest-faults-mysql

.PHONY: test-faults
test-faults: .venv/developer ## Kill, freeze and starve every process and a real MySQL (needs Docker and libfaketime; 20 to 35 minutes)
	FAULTS_CONTAINER=$(FAULTS_CONTAINER) $(BIN)/python -m pytest -m "fault$(if $(SKIP), and not $(SKIP))" -n 0 -v

.PHONY: test-bench
test-bench: .venv/developer ## Compare the engine with backtesting.py (installs it, AGPL, into .venv only)
	$(BIN)/pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	$(BIN)/python -m pytest -m bench -n 0

.PHONY: coverage
coverage: .venv/developer ## Run the fast tests with branch coverage
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered --cov-fail-under=95

.PHONY: mutants
mutants: .venv/developer ## Change the engine in some 1,500 ways and see that the tests notice (10 minutes)
	$(BIN)/mutmut run
	$(BIN)/mutmut results

.PHONY: lint
lint: .venv/developer ## Check style, types and imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/render_k8s.py --check
	$(BIN)/python scripts/import_table.py --check

.PHONY: import-table
import-table: .venv/installed ## Write the table of rooms in CONTRIBUTING.md from the import contracts
	$(BIN)/python scripts/import_table.py

.PHONY: format
format: .venv/developer ## Format the code
	$(BIN)/ruff check --fix --extend-exclude backtest,rules,extracted .
	$(BIN)/ruff format .

.PHONY: bench
bench: .venv/developer ## Measure engine, worker, web and database (needs wrk; on MySQL with TEST_MYSQL=root:password@host:port)
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.search
	$(BIN)/python -m benchmarks.worker
	$(BIN)/python -m benchmarks.status
	$(BIN)/python -m benchmarks.database
	$(BIN)/python -m benchmarks.controller

.PHONY: verify
verify: .venv/installed ## Walk through the whole pipeline and print a table of steps
	$(BIN)/python scripts/verify_mvp.py

.PHONY: manifests
manifests: .venv/developer ## Render k8s/ from the chart
	$(BIN)/python scripts/render_k8s.py

.PHONY: chart-docs
chart-docs: ## Write the tables of the charts' READMEs (needs helm-docs)
	helm-docs --chart-search-root charts

.PHONY: static-checks
static-checks: ## Check chart, images and workflows with checkov, yamllint and actionlint (needs helm)
	bash .ci/static-checks

VERSION := $(shell sed -n 's/^appVersion: "\(.*\)"/\1/p' charts/stock-backtest/Chart.yaml)

.PHONY: sbom
sbom: .venv/developer ## Write what the images web and worker are made of, as CycloneDX, to sbom/ (needs Docker and the images)
	@mkdir -p sbom
	@for image in web worker; do \
	    $(BIN)/python -m scripts.sbom stock-backtest-$$image:$(VERSION) >sbom/$$image.cdx.json || exit 1; done

.venv/audit/installed: Makefile
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	@touch $@

.PHONY: audit
audit: .venv/audit/installed ## Ask PyPI's advisories about requirements.txt; fails where they cannot be reached
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement requirements.txt

.PHONY: backup backup-fetch restore
backup: ## Dump the database of a release into a file: RELEASE=bt NAMESPACE=bt (FILE=...)
backup-fetch: ## Copy the newest dump of its CronJob into a file (DUMP= another one)
restore: ## Put a dump into a release: FILE=... (FORCE=1 when it has runs)
backup backup-fetch restore:
	@bash scripts/backup.sh $(@:backup-%=%)

.PHONY: kind-up kind-demo kind-load kind-down
kind-up: ## Install the platform on a kind cluster of its own: http://127.0.0.1:8080 (KIND_PORT=...)
kind-demo: ## Run a backtest on it and show its Job
kind-load: ## Build the images anew and roll them out
kind-down: ## Remove the kind cluster and nothing else
kind-up kind-demo kind-load kind-down:
	@PORT=$(KIND_PORT) bash scripts/kind.sh $(@:kind-%=%)

.PHONY: kind-test
kind-test: .venv/developer ## Run the tests that need a cluster, on the one of kind-up
	@bash scripts/kind.sh test $(BIN)/python

.PHONY: help
help: ## List the targets
	@grep -E '^[a-z-]+( [a-z-]+)*:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'
