# Everything a fresh machine needs. `make train` and `make test` create .venv and install by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
HOSTS := $(VENV)/.hosts
APART := .venv-hosts
CLAIMS := $(patsubst claims/%.py,%,$(filter-out claims/_%,$(wildcard claims/*.py)))
BENCHES := $(patsubst benchmarks/%.py,%,$(filter-out benchmarks/_%,$(wildcard benchmarks/*.py)))

.PHONY: install train test test-hosts lint claims bench clean

install: $(STAMP)

# torch first and alone: a CPU build, where one is at hand, is then kept.
$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable '.[hf,trl,tasks,sb3,text,encoder,judge,engine,fast,tensorboard,sandbox,dev]'
	touch $(STAMP)

# verl, for the tests inside it: only what its imports need (the file says why).
$(HOSTS): $(STAMP) tests/adapters/requirements-verl.txt
	$(BIN)/pip install --quiet --no-deps --requirement tests/adapters/requirements-verl.txt
	touch $(HOSTS)

train: $(STAMP)
	$(BIN)/guerdon train $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: lint $(HOSTS)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

# Adapters against OpenRLHF, ms-swift and verifiers themselves, which want an environment of their own.
test-hosts: $(APART)/.installed
	$(APART)/bin/python -m pytest tests/hosts $(ARGS)

$(APART)/.installed: pyproject.toml tests/hosts/requirements.txt tests/hosts/imports.txt
	test -x $(APART)/bin/python || $(PYTHON) -m venv $(APART)
	$(APART)/bin/pip install --quiet torch==2.13.0
	$(APART)/bin/pip install --quiet --editable '.[hf,tasks,sb3,dev]' -r tests/hosts/imports.txt
	$(APART)/bin/pip install --quiet --no-deps -r tests/hosts/requirements.txt
	touch $@

claims: $(STAMP)
	@for name in $(CLAIMS); do [ "$$name" = __init__ ] || $(BIN)/python -m claims.$$name --save || exit 1; done

bench: $(STAMP)
	@for name in $(BENCHES); do [ "$$name" = __init__ ] || $(BIN)/python -m benchmarks.$$name --json --save || exit 1; done

clean:
	rm -rf $(VENV) $(APART) .pytest_cache .ruff_cache .hypothesis build dist
