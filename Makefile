# Copyright: agentless.overlay contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# make demo      everything from nothing on this machine, with proof
# make quick     after each change: lint, types, unit tests and golden files
# make test      lint, sanity, unit and integration tests
# make help      the rest

SHELL := /bin/bash
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
LAB := bash roles/lab/files/lab.sh
PLAY := $(BIN)/ansible-playbook -i inventory/
# As many as there are processors, and one: half of the time of most tests is waiting for daemons and the kernel.
WORKERS := $(shell echo $$(($$(nproc) + 1)))
OLD := .cache/pyroute2-0.5.14/ready .cache/pyroute2-0.7.2/ready .cache/pyroute2-0.8.1/ready
OLD += .cache/netaddr-0.8.0/ready .cache/netaddr-0.10.1/ready
CORES := $(patsubst %,.cache/core-%/ready,2.16 2.17 2.18 2.19 2.20 newest)
export PATH := $(BIN):/usr/local/sbin:/usr/sbin:/sbin:$(PATH)
export LC_ALL := C.UTF-8

.DELETE_ON_ERROR:
.PHONY: help demo packages lab lab-down converge quick test style lint sanity check soak molecule bench bench-strategy bench-throughput clean root

help: ## this list
	@awk -F ' ?## ?' '/^[a-z-]+:.*##/ {split($$1, name, ":"); printf "make %-16s %s\n", name[1], $$2}' Makefile

root:
	@[ "$$(id -u)" = 0 ] || { echo "This needs root: the lab's hosts are network namespaces with a dockerd each." >&2; exit 1; }

$(VENV)/ready: requirements.txt meta/requirements.txt
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { apt-get update -q && apt-get install -y -q --no-install-recommends python3-venv; }
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --requirement requirements.txt
	@touch $@

.cache/pyroute2-%/ready: $(VENV)/ready
	$(BIN)/pip install --quiet --target $(@D) pyroute2==$*
	@touch $@

.cache/netaddr-%/ready: $(VENV)/ready
	$(BIN)/pip install --quiet --no-deps --target $(@D) netaddr==$*
	@touch $@

.cache/core-%/ready: tests/core.sh meta/requirements.txt $(VENV)/ready
	bash tests/core.sh $*

packages: root $(VENV)/ready
	@missing=$$($(BIN)/bindep --brief --file bindep.txt lab $(PROFILE)) || { \
	  echo "installing: $$(echo $$missing)"; apt-get update -q >/dev/null && \
	  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -q --no-install-recommends $$missing >/dev/null; }

lab: packages ## make the lab's two hosts
	$(PLAY) playbooks/lab.yml

lab-down: root ## remove the lab
	$(LAB) down

converge: ## run overlay.yml on the lab
	$(PLAY) playbooks/overlay.yml

demo: lab ## from nothing to containers that reach each other, with proof
	@bash tests/demo.sh

style: $(VENV)/ready
	ruff check .
	ruff format --check .
	mypy
	yamllint --strict .
	antsibull-changelog lint

# Without ansible-lint: it takes more than a minute, and on what changed alone it misses what that breaks elsewhere.
quick: style ## ruff, mypy, yamllint, unit tests and golden files, in seconds; needs no root
	OVERLAY_EXAMPLES=$${OVERLAY_EXAMPLES:-150} pytest -q tests/unit

lint: style ## all that reads code and does not run it: ruff, mypy, yamllint, ansible-lint
	ansible-lint

sanity: $(VENV)/ready ## ansible-test sanity on the built and installed collection
	bash tests/sanity.sh

check: PROFILE = test
check: packages ## unit and integration tests, with ansible-lint, ansible-test sanity and molecule among them
	@$(MAKE) --jobs=$(WORKERS) $(OLD) $(CORES)
	pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

bench: packages ## engine beside iproute2, playbooks beside a trivial play, planner, reports; PEERS, HOSTS, NODES and REPORTS for how many
	$(BIN)/python bench/peers.py $(PEERS)
	$(BIN)/python bench/fleet.py $(HOSTS)
	$(BIN)/python bench/planner.py $(NODES)
	$(BIN)/python bench/reports.py $(REPORTS)

bench-strategy: packages ## playbooks over SSH, by Ansible's strategy and by mitogen's
	$(BIN)/python bench/strategy.py $(ROUNDS)

bench-throughput: packages ## iperf3 between containers, by each kind of network and by Swarm's overlay
	$(BIN)/python bench/throughput.py $(or $(SECONDS),2) $(or $(ROUNDS),15) $(or $(NETWORKS),all)

soak: packages $(OLD) ## killed runs, boot scripts of 200 plans, 40,000 inventories, 200 hosts that others have a hand in, 500 mutations
	OVERLAY_KILLS=30 pytest tests/integration/test_killed.py
	OVERLAY_PLANS=200 pytest tests/integration/test_boot_plans.py
	OVERLAY_SEED=$${OVERLAY_SEED:-$$RANDOM} OVERLAY_EXAMPLES=20000 pytest -s tests/unit/test_fuzz_inventory.py
	OVERLAY_SEED=$${OVERLAY_SEED:-$$RANDOM} OVERLAY_TURNS=200 pytest -s tests/integration/test_round_trip.py
	OVERLAY_SEED=$${OVERLAY_SEED:-$$RANDOM} OVERLAY_TURNS=500 pytest -s tests/integration/test_check_mode.py

molecule: packages ## the molecule scenarios: the lab, and four booted machines
	molecule test --all

# What takes seconds comes first; ansible-lint is one of the tests, and runs beside the others.
test: style check ## everything that has to pass

clean: ## remove what was built here
	rm -rf $(VENV) .cache overlay-report .ansible .mypy_cache .pytest_cache .ruff_cache *.tar.gz
