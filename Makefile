# `make demo` shows the product at work, `make test` tests it. Both need Python 3.11 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: activation bench candidate capacity changes pauses rollback fuzz gate load profile slo soak scale demo demo-check test lint types contracts generate lock clean tokens
.DELETE_ON_ERROR:

$(STAMP): requirements/dev.txt pyproject.toml
	@echo "==> creating $(VENV) and installing pinned dependencies"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "extauthz needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-input --progress-bar on --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(STAMP) ## server, real Envoy, upstream and sample requests; runs until Ctrl-C
	$(BIN)/extauthz demo

demo-check: $(STAMP) ## the same, then exits with 0 or 1
	$(BIN)/extauthz demo --check

test: $(STAMP) ## the whole suite
	$(BIN)/pytest -n 2 --dist worksteal

FUZZ_ROUNDS ?= 10
fuzz: $(STAMP) ## the property tests with new examples, FUZZ_ROUNDS times or until one fails; tests are the same each time otherwise
	for round in $$(seq $(FUZZ_ROUNDS)); do HYPOTHESIS_PROFILE=search $(BIN)/pytest -q -n 2 --dist worksteal $$(grep -rlE '^@given' tests --include='*.py') || exit 1; done

RATE ?= 200
SECONDS ?= $(if $(filter soak,$(MAKECMDGOALS)),1800,30)
WORKERS ?= 0
LOAD_USER ?= GatewayUser
load: $(STAMP) ## locust on the demo's stack at a constant arrival rate, WORKERS=2 for a master and two; fails above the SLO
	$(BIN)/python -m loadtest.run --rate $(RATE) --seconds $(SECONDS) --user $(LOAD_USER) --workers $(WORKERS)

slo: $(STAMP) ## what ext_authz adds through a real Envoy at 200 to 2,000 requests a second; fails above the SLO
	$(BIN)/python -m loadtest.slo --seconds $(SECONDS) --workers $(WORKERS)

soak: $(STAMP) ## half an hour (SECONDS=1800): memory, descriptors, threads, journal and latency must stay flat
	$(BIN)/python -m loadtest.soak --seconds $(SECONDS)

ROUNDS ?= 5
bench: $(STAMP) ## CPU for a Check against a no-op stock grpc.server, as paired ratios; loadtest/results/bench.*
	$(BIN)/python -m loadtest.bench --rounds $(ROUNDS)

capacity: $(STAMP) ## throughput to saturation, then 0.5 to 4 times that, and a flood of forged tokens; loadtest/results/capacity.*
	$(BIN)/python -m loadtest.capacity

gate: $(STAMP) ## whether a Check still costs what it may: instructions, and ratios within the budget; about a minute
	$(BIN)/python -m loadtest.gate

profile: $(STAMP) ## where the microseconds of a Check go, step by step, and its instructions; about a minute
	PYTHONPATH=. $(BIN)/python loadtest/steps.py --no-growth
	$(BIN)/python -m loadtest.instructions

scale: $(STAMP) ## load 10,000 policies and 1,000 tenants; what a decision over them, and a whole server, costs, as ratios
	$(BIN)/python loadtest/scale.py
	$(BIN)/python -m loadtest.sizes

CHANGES ?= 200
activation: $(STAMP) ## from a changed file to the first answer by it, over 10 and 10,000 policies; loadtest/results/activation.*
	$(BIN)/python -m loadtest.activation --changes $(CHANGES)

rollback: $(STAMP) ## from an order to go back to its answer, over 10 and 10,000 policies; loadtest/results/rollback.*
	$(BIN)/python -m loadtest.rollback

pauses: $(STAMP) ## how long a new bundle keeps Checks waiting for the interpreter, by place; fails above 1 ms; loadtest/results/pauses.*
	$(BIN)/python -m loadtest.standstill

changes: $(STAMP) ## 1,000 activations, 50 rollbacks, 20 freezes at 1,000 requests a second through Envoy; fails on any mix or failure
	$(BIN)/python -m loadtest.changes $(CHANGES_OPTIONS)

candidate: $(STAMP) ## what a candidate beside the live bundle costs, as ratios and in instructions; fails above 1.40 and 1.02
	$(BIN)/python -m loadtest.candidate_instructions
	$(BIN)/python -m loadtest.candidate_whole
	$(BIN)/python -m loadtest.candidate

tokens: $(STAMP) ## what tokens cost, cached, proven, verified and forged, as ratios; good ones beside a flood
	$(BIN)/python loadtest/tokens.py
	$(BIN)/python -m loadtest.flood

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

contracts: $(STAMP)
	$(BIN)/lint-imports

generate: $(STAMP) ## protobuf code and the reference pages that are generated from code
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m grpc_tools.protoc --proto_path=protos --python_out=extauthz/generated --mypy_out=quiet:extauthz/generated protos/extauthz/v1/*.proto
	$(BIN)/python docs/generate.py

lock: $(STAMP) ## pin dependencies anew, with hashes
	$(BIN)/uv pip compile --upgrade --generate-hashes --no-emit-index-url --python-version 3.11 --quiet pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile --upgrade --generate-hashes --no-emit-index-url --python-version 3.11 --quiet pyproject.toml --extra dev -o requirements/dev.txt
	$(BIN)/uv pip compile --generate-hashes --no-emit-index-url --python-version 3.11 --quiet --constraint requirements/dev.txt pyproject.toml --extra loadtest -o requirements/loadtest.txt
	echo 'hatchling>=1.27' | $(BIN)/uv pip compile --generate-hashes --no-emit-index-url --python-version 3.11 --quiet --constraint requirements/dev.txt - -o requirements/build.txt

clean:
	rm -rf $(VENV) .demo dist build
