# Two commands on a fresh machine: `make demo` and `make test`. Nothing needs to be installed before them:
# scripts/bootstrap installs what is missing and says what it installs.

.DEFAULT_GOAL := help
.PHONY: help demo test test-crash test-conflicts test-locks test-mesh test-reads bench check format venv clean

PYTHON ?=
# Most tests wait for something most of the time.
JOBS ?= 3
# ruff has no rule for an await in finally or except (ASYNC102) and the like; these are flake8-async's own.
ASYNC_RULES := ASYNC100,ASYNC101,ASYNC102,ASYNC103,ASYNC104,ASYNC113,ASYNC120
VENV_PYTHON := .venv/bin/python
export PYTHON

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## two sites, three mounts, a histogram of a ROOT file, a shared folder; stays up until Ctrl-C (CHECK=1: exit status instead)
	@scripts/bootstrap mount
	@$(VENV_PYTHON) -m cs3fuse.demo $(if $(filter-out 0,$(CHECK)),--check) $(if $(PROFILE),--profile $(PROFILE))

test: ## all tests but the long campaigns (ARGS="-k name" narrows; JOBS=0 runs them in one process)
	@scripts/bootstrap
	$(VENV_PYTHON) -X faulthandler -m pytest -o faulthandler_timeout=100 -n $(JOBS) --dist loadfile $(ARGS)

test-crash: ## kill the daemon and the gateway, break uploads, 100 rounds each (half an hour; ARGS as for test)
	@scripts/bootstrap
	CS3FUSE_REQUIRE_MOUNT=1 $(VENV_PYTHON) -X faulthandler -m pytest -s -m slow tests/crash tests/mount/test_partial_writes.py $(ARGS)

test-conflicts: ## two mounts edit one file in 200 orders for each server (five minutes)
	@scripts/bootstrap
	$(VENV_PYTHON) -X faulthandler -m pytest -m slow tests/conflicts $(ARGS)

test-locks: ## two mounts and the official cs3client for 300 random steps, ten seeds on two profiles; leases in real time (five minutes)
	@scripts/bootstrap
	$(VENV_PYTHON) -X faulthandler -m pytest -m slow tests/locks tests/mount/test_lock_life.py $(ARGS)

test-mesh: ## a site of the mesh is away for ten real minutes, frozen and stopped (half an hour; ARGS as for test)
	@scripts/bootstrap
	CS3FUSE_REQUIRE_MOUNT=1 $(VENV_PYTHON) -X faulthandler -m pytest -s -m slow tests/mount/test_mesh_away.py $(ARGS)

test-reads: ## random reads of files that change: 10 000 steps on each kind of storage, then an hour through a mount of each server, side by side
	@scripts/bootstrap
	CS3FUSE_REQUIRE_MOUNT=1 $(VENV_PYTHON) -X faulthandler -m pytest -rP -m slow -n 2 tests/unit/cache/test_content_model.py tests/mount/test_random_reads.py $(ARGS)

bench: ## measure against bare calls (ITEMS=ls,walk PROFILE=reva,opencloud RUNS=3 PEERS=1 MINIMAL=1 PUBLISH=1; CALM_S, LATENCY_MS, IDLE_S, SCALE)
	@scripts/bootstrap mount
	@$(VENV_PYTHON) -m bench $(if $(ITEMS),--items $(ITEMS)) $(if $(PROFILE),--profile $(PROFILE)) $(if $(RUNS),--runs $(RUNS)) \
		$(if $(filter-out 0,$(PEERS)),--peers) $(if $(filter-out 0,$(MINIMAL)),--minimal) $(if $(SCALE),--scale $(SCALE)) $(if $(IDLE_S),--idle-seconds $(IDLE_S)) \
		$(if $(CALM_S),--calm-seconds $(CALM_S)) $(if $(LATENCY_MS),--latency-ms $(LATENCY_MS)) \
		$(if $(filter-out 0,$(PUBLISH)),--publish) $(if $(OUTPUT),--output $(OUTPUT))

check: ## format, lint, types, async rules, import contracts
	@scripts/bootstrap
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m mypy
	.venv/bin/flake8-async --enable=$(ASYNC_RULES) $$(find cs3fuse -name '*.py')
	.venv/bin/lint-imports --no-logo --no-cache

format: ## let ruff format the code and mend what it can
	@scripts/bootstrap
	$(VENV_PYTHON) -m ruff format .
	$(VENV_PYTHON) -m ruff check --fix .

venv: ## only make .venv
	@scripts/bootstrap

clean: ## remove what the other targets made; system packages stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
