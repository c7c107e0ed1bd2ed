# nbs: `make report` answers the default study's question, `make test` proves that everything works.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
STUDY ?= flights
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help report test lab check clean lock bench bench-execution bench-models bench-leaks bench-truth bench-serving soak
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/ /' | awk '{printf "  make %-16s", $$1; $$1=""; print $$0}'

# The environment is made anew whenever the lock file or the metadata changes.
$(STAMP): requirements.lock requirements-uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, $(PYTHON) is older; try make PYTHON=python3.12" >&2; exit 2; }
	@echo "setting up .venv (once; about 1.5 GB)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "no environment could be made; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --require-hashes -r requirements-uv.lock
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock requirements-uv.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

report: $(STAMP)  ## run the default study and say where the report is (STUDY=name for another)
	@$(BIN)/nbs run $(STUDY)

test: $(STAMP)  ## lint, clean, export, nbdev-test and pytest
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash tests/run.sh

lab: $(STAMP)  ## open JupyterLab on the stages and the newest reports (ARGS=--no-browser ...)
	@$(BIN)/nbs lab $(ARGS)

bench: $(STAMP)  ## measure speed and memory (tests/benchmarks)
	@for f in $(filter-out %/bench_models.py %/bench_leaks.py %/bench_truth.py %/bench_serving.py,$(wildcard tests/benchmarks/bench_*.py)); do echo "== $$f"; $(BIN)/python $$f; done

bench-execution: $(STAMP)  ## measure what kernels cost, against plain papermill
	@$(BIN)/python tests/benchmarks/bench_execution.py

bench-models: $(STAMP)  ## compare with AutoGluon, FLAML, mljar and LightGBM (hours; see ARGS=--help)
	@$(BIN)/python tests/benchmarks/bench_models.py $(ARGS)

bench-leaks: $(STAMP)  ## plant leaks in real tables and hunt them (an hour; see ARGS=--help)
	@$(BIN)/python tests/benchmarks/bench_leaks.py $(ARGS)

bench-truth: $(STAMP)  ## simulate known truths: do intervals cover, do alarms keep their level (an hour; see ARGS=--help)
	@$(BIN)/python tests/benchmarks/bench_truth.py $(ARGS)

bench-serving: $(STAMP)  ## measure the server beside MLflow's and a bare FastAPI (half an hour; see ARGS=--help)
	@$(BIN)/python tests/benchmarks/bench_serving.py $(ARGS)

soak: $(STAMP)  ## survive faults at random moments (TIMES=100)
	@$(BIN)/python tests/soak.py --times $(or $(TIMES),100)

lock:  ## bring the lock files up to date with pyproject.toml (needs the set-up environment)
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra dev pyproject.toml -o requirements.lock
	@echo uv | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes - -o requirements-uv.lock

clean:  ## remove the environment and everything that runs have produced
	@rm -rf .venv .nbs data/processed/*/ data/features/*/ models/*/ reports/*/ reports/index.html
