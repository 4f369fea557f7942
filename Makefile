# make report   the whole way on virtual women; prints the path of the report
# make example  a small report in reports/example, of the last make report
# make test     linters, types, unit tests, the whole chain at smoke size, browser tests
# make test-long   budgets of time and memory, virtual bones against what was drawn, killed runs (most of an hour); with a
#                  real Slurm where it is there: apt-get install --no-install-recommends slurm-wlm munge
# make bench    time, memory and accuracy beside other open tools, in an environment of theirs (about an hour)
# make bench-networks   the networks on virtual cohorts; hours, in resumable parts: PART=deepqct-like-64 does one
# make bench-evaluation   what intervals cover, what stacking adds, how often noise is called a finding; about an hour
# make bench-planning   a planned study beside simulated cohorts: widths and power; some minutes
# make bench-fuzz   mutants of valid files for every reader; hours, in resumable parts: PART=isq N=500 does some of one
# make bench-strength   micro-finite elements beside ParOSol, at full size, coarse beside full; an hour and more, PART=full
# make bench-new-women   a bundle of 216 virtual women on new ones, and on scans of which nothing should be said; over an hour
# make bench-groups   planted phenotypes found, one cloud left alone, public tables, time; about 20 minutes
# make bench-scanners   networks across two virtual generations of scanners; about 50 minutes, in resumable parts: PART=twins does one
# make bench-precision   precision of real repeat scans and phantoms of 13 sites, where they lie beside the checkout; seconds
# make docs     the documentation as pages in docs/build/html, with the notebooks of RUN (made at smoke size if absent)
# make pictures   the pictures of README and docs/ taken anew of a finished run: RUN=reports/quick
# make lab      JupyterLab on the notebooks
# make wheel    deepqct as one file in dist/, notebooks and all, for pip install without a checkout; with its bill of materials
# make sbom     the bill of materials alone: every locked package, as CycloneDX
# make app      explorer and review of the last report as pages without code
# Each makes its own environment from the lock when there is none.

VENV ?= .venv
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
PIP_FLAGS ?=
PRESET ?= quick
RUN ?= reports/smoke
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: report example test test-long peers bench bench-networks bench-evaluation bench-groups bench-planning bench-fuzz bench-precision bench-scale bench-scanners bench-strength bench-new-women unit lint docs pictures lab app env lock wheel sbom wheelhouse clean

report: env
	@$(BIN)/deepqct run virtual --preset $(PRESET) --out reports/$(PRESET)

example: env
	@$(BIN)/deepqct report reports/$(PRESET) --example reports/example

# Unit tests beside the chain and the pages, one process each; the first tell what they found when the others are done.
test: lint
	@log=$$(mktemp); trap 'rm -f $$log' EXIT; \
	    $(BIN)/python -m pytest -m "not chain and not browser and not long" -p no:cacheprovider --durations=25 > $$log 2>&1 & units=$$!; \
	    $(BIN)/python -m pytest -m "(chain or browser) and not long"; pages=$$?; \
	    wait $$units; units=$$?; cat $$log; exit $$((pages + units))

unit: env
	$(BIN)/python -m pytest -m "not chain and not browser and not long"

lint: env
	$(BIN)/ruff format --check deepqct .ci/*.py docs/*.py tests notebooks
	$(BIN)/ruff check deepqct .ci/*.py docs/*.py tests notebooks
	$(BIN)/mypy

test-long: env
	$(BIN)/python -m pytest -m long

peers:
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip --disable-pip-version-check install --quiet $(PIP_FLAGS) -r tests/bench/requirements-peers.txt

bench: env peers
	$(BIN)/python tests/bench --peers .venv-peers/bin/python

bench-networks: env
	$(BIN)/python tests/bench/networks.py reports/bench-networks $(if $(PART),--part $(PART))

bench-evaluation: env
	$(BIN)/python tests/bench/judging.py reports/bench-networks/deepqct-like $(if $(PART),--part $(PART))

bench-planning: env
	$(BIN)/python tests/bench/planning.py $(if $(PART),--part $(PART))

bench-groups: env
	$(BIN)/python tests/bench/groups.py $(if $(PART),--part $(PART))

bench-fuzz: env
	$(BIN)/python tests/bench/fuzz.py reports/bench-fuzz $(if $(PART),--part $(PART)) $(if $(N),--n $(N))

bench-new-women: env
	$(BIN)/python tests/bench/new_women.py reports/bench-new-women $(if $(PART),--part $(PART))

bench-strength: env peers
	$(BIN)/python tests/bench/strength.py reports/bench-strength --peers .venv-peers/bin/python $(if $(PART),--part $(PART))

bench-scanners: env
	$(BIN)/python tests/bench/scanners.py reports/bench-scanners $(if $(PART),--part $(PART))

bench-scale: env
	$(BIN)/python tests/bench/scale.py reports/bench-scale $(if $(PART),--part $(PART))

bench-precision: env
	$(BIN)/python tests/bench/precision.py $(if $(PART),--part $(PART))

docs: env
	@test -f $(RUN)/index.html || $(BIN)/deepqct run virtual --preset smoke --out $(RUN)
	@DEEPQCT_DOCS_RUN=$(RUN) $(BIN)/python -m sphinx -W --keep-going -q -E -b html docs docs/build/html
	@echo "Documentation: $(CURDIR)/docs/build/html/index.html"

pictures: env
	$(BIN)/python docs/pictures.py $(RUN)

lab: env
	@JUPYTER_CONFIG_PATH="$(CURDIR)/deepqct/widgets/config$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
	    $(BIN)/jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks

app: env
	$(BIN)/deepqct app reports/$(PRESET)

# The environment remembers the lock that it was made from and the checkout that it serves.
env:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	    || { echo "deepqct needs Python 3.11 to 3.13, and $(PYTHON) is another; give one with PYTHON=."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@cmp -s requirements.lock $(VENV)/installed.lock || { echo "Installing the locked packages (8 GB, some minutes)"; \
	    $(PIP) install --quiet $(PIP_FLAGS) -r requirements.lock && cp requirements.lock $(VENV)/installed.lock; }
	@{ echo $(CURDIR); cat pyproject.toml deepqct/widgets/labextension/static/*.js; } | cmp -s - $(VENV)/installed.checkout \
	    || { $(PIP) install --quiet $(PIP_FLAGS) --no-deps --editable . \
	    && { echo $(CURDIR); cat pyproject.toml deepqct/widgets/labextension/static/*.js; } > $(VENV)/installed.checkout; }

# Exact versions for Linux and macOS, Python 3.11 to 3.13, from pyproject.toml, with the hash of every file that pip may take.
lock:
	$(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet uv
	.venv-lock/bin/uv pip compile --universal --python-version 3.11 --all-extras --quiet --generate-hashes --no-strip-extras \
	    --custom-compile-command "make lock" pyproject.toml -o requirements.lock
	rm -r .venv-lock

wheel: env sbom
	$(PIP) wheel --quiet $(PIP_FLAGS) --no-deps --wheel-dir dist .

# The bill of materials of a release: every locked package with its hashes and, where it is installed, its licence.
sbom: env
	@$(BIN)/python .ci/sbom.py dist

# For machines without internet: make this folder elsewhere, on the same system and Python, and carry it over.
# The files are those that the lock has hashes of, a source package among them: setuptools and wheel build it there,
# hatchling and editables install deepqct itself.
wheelhouse: env
	$(PIP) download --dest wheelhouse -r requirements.lock
	$(PIP) download --dest wheelhouse setuptools wheel hatchling editables

clean:
	rm -rf $(VENV) docs/build docs/made docs/reference/api docs/tutorial/notebooks
