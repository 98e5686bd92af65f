# Each target installs what it needs; once is enough. No path is absolute or unquoted here, so
# the folder's name may hold a space.
#
#   make demo                        the whole pipeline once; nothing is left running
#   make up [RUN=0]                  the same, and the platform stays until Ctrl-C; 0: without a run
#   make demo SENSORS=skab DATA=DIR  another sensor contract: plant, skab, ai4i or a file
#   make up OPTIONS="--airflow-port 8081"
#   make notebook                    JupyterLab beside the platform that `make up` started
#   make check                       linters, types and the tests that need no server: a minute
#   make test [TESTS=tests/servers/readings]
#   make fuzz [SECONDS=600]          the fuzz tests, each for so long, with new seeds
#   make coverage                    all tests; which lines none of them ran
#   make docs                        the documentation as a site that can be searched, in dist/docs
#   make wheel                       what `pip install` takes, in dist
#   make bench [ONLY="serving drift"] measures; results and page in a new folder of bench/runs
#   make bench-publish RUN=bench/runs/TIME   takes a run's figures to docs/performance.md
#   make test-cluster                images, chart and pods on a Kubernetes cluster; see tests/cluster/run
#   make images [COMPONENTS="train serving"] [REGISTRY=host] [PUSH=1]    see docker/build
#   make mirror-list [REGISTRY=harbor.example/ml]   images for a registry of one's own

export CLUSTER ?= $(firstword $(patsubst %/up,%,$(wildcard ../*/kube/up)))

PYTHON ?=
SENSORS ?=
DATA ?=
OPTIONS ?=
TESTS ?=
ONLY ?=
RUN ?=
SECONDS ?=
HELM ?= $(or $(wildcard .venv/bin/helm),helm)

python := .venv/bin/python
extras := laptop dev docs
breezeway := .venv/bin/breezeway
# Two processes; a file's tests stay together, with their fixtures: those of the platform first,
# the pure ones last.
pytest := $(python) -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder
choice = $(if $(SENSORS),--sensors "$(SENSORS)") $(if $(DATA),--data "$(DATA)") $(OPTIONS)

.PHONY: demo up check test fuzz coverage bench bench-publish test-cluster lint lock wheel images mirror-list moved notebook docs

demo: .venv/installed
	@exec $(breezeway) demo $(choice)

up: .venv/installed
	@exec $(breezeway) up $(if $(filter 0,$(RUN)),--no-run) $(choice)

notebook: .venv/notebook/installed
	@exec $(breezeway) notebook $(OPTIONS)

# A warning, such as a link to a heading that is not there, is an error.
docs: .venv/installed
	@$(python) -m sphinx -q -W --keep-going -c docs . dist/docs
	@echo "Open dist/docs/docs/README.html in a browser."

# What a change is tried with: no server is started.
check: lint
	@$(pytest) tests/pure

test: .venv/installed
	@sh tests/servers.sh
	@$(pytest) $(TESTS)

# Each file of fuzz tests for so many seconds, with new seeds.
fuzz: .venv/installed
	@sh tests/servers.sh
	@BREEZEWAY_FUZZ_SECONDS=$(or $(SECONDS),600) $(pytest) -m fuzz -rP -o timeout=0 $(TESTS)

coverage: .venv/installed
	@sh tests/servers.sh
	@rm -rf .coverage
	@$(python) -m coverage run $(wordlist 2,99,$(pytest)) $(TESTS); code=$$?; \
	$(python) -m coverage combine --quiet; $(python) -m coverage report; exit $$code

bench: .venv/installed
	@sh bench/tools.sh
	@$(python) -m bench $(ONLY)

bench-publish: .venv/installed
	@$(python) -m bench.page "$(RUN)"

lint: .venv/installed
	@$(python) -m ruff check .
	@$(python) -m ruff format --check .
	@.venv/bin/lint-imports --no-logo
	@$(python) -m mypy

# All images that the chart can run; with REGISTRY each beside its name there. A digest stands
# without its tag: skopeo takes one or the other.
mirror-list:
	@set -e; chart=$$(mktemp -d); trap 'rm -r "$$chart"' EXIT; \
	cp -R helm/breezeway/. "$$chart"; \
	sed '/^# Last in this file/,$$d' helm/breezeway/Chart.yaml > "$$chart/Chart.yaml"; \
	"$(HELM)" template breezeway "$$chart" --values helm/breezeway/ci/everything.yaml \
	  --api-versions ray.io/v1 > "$$chart/manifests"; \
	{ sed -n 's/^ *image: //p' "$$chart/manifests"; \
	  sed -n 's/^appVersion: /breezeway\/airflow:/p' "$$chart/Chart.yaml"; \
	  grep -v '^#' helm/breezeway/subchart-images.txt; } | sort -u | \
	awk -v registry="$(REGISTRY)" '{ name = $$0; if (name ~ /^[^\/]*[.:][^\/]*\//) \
	  sub(/^[^\/]*\//, "", name); sub(/@.*/, "", name); \
	  if ($$0 ~ /@/) sub(/:[^:\/@]*@/, "@"); print registry ? $$0 " " registry "/" name : $$0 }'

# Variables of the command line reach the script through its environment.
images:
	@docker/build $(COMPONENTS)

# Variables of the command line reach the script through its environment.
test-cluster: .venv/installed
	@sh tests/servers.sh
	@tests/cluster/run

# One tested set of versions for Python 3.12 and 3.13, Linux and macOS.
lock: .venv/ready
	@$(python) -m uv pip compile --system-certs --universal --python-version 3.12 --all-extras \
	  --generate-hashes --no-emit-index-url --no-header --quiet \
	  --output-file requirements.txt pyproject.toml

wheel: .venv/installed
	@$(python) -m uv build --quiet --wheel --no-build-isolation --out-dir dist .

# All but notebooks, which bring a grammar that costs each start of Airflow 2.6 s. The lock is a
# constraint: versions and hashes are its own. This folder has no hash and is installed after
# them, by the build system that they brought. The stamp comes last: what was cut off is gone on
# with. It holds the folder's name: where that has changed, the environment names a wrong one.
ifneq ($(shell cat .venv/installed 2>/dev/null),$(CURDIR))
.venv/installed: moved
endif
.venv/installed: requirements.txt pyproject.toml | .venv/ready
	@echo "Installing what requirements.txt locks into .venv (about 2 GB)."
	@$(python) -m uv pip install --system-certs --python $(python) \
	  --require-hashes --compile-bytecode --requirements pyproject.toml \
	  --constraints requirements.txt $(extras:%=--extra %)
	@$(python) -m uv pip install --quiet --python $(python) --no-deps --no-build-isolation \
	  --editable .
	@printf '%s\n' "$(CURDIR)" > $@

# JupyterLab in an environment of its own, which finds the packages of the other one behind its own.
.venv/notebook/installed: .venv/installed
	@echo "Installing JupyterLab into .venv/notebook (about 300 MB)."
	@$(python) -m venv --clear --without-pip .venv/notebook
	@$(python) -m uv pip install --system-certs --quiet --python .venv/notebook/bin/python \
	  --require-hashes --compile-bytecode --requirements pyproject.toml \
	  --constraints requirements.txt --extra jupyter
	@.venv/notebook/bin/python -c 'import sys, sysconfig; from pathlib import Path; \
	  (Path(sysconfig.get_path("purelib")) / "platform.pth").write_text( \
	  f"import site; site.addsitedir({sys.argv[1]!r})\n")' \
	  "$$($(python) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@touch $@

# An environment with uv in it, of the first interpreter that fits. Each is really run: pyenv
# puts commands in PATH for versions that it will not start.
.venv/ready:
	@set -e; \
	fits='import ensurepip, sys, venv; raise SystemExit(sys.version_info[:2] not in ((3, 12), (3, 13)))'; \
	if [ -n "$(PYTHON)" ]; then set -- "$(PYTHON)"; else \
	  set -- python3.12 python3.13 python3; \
	  for pyenv in "$$PYENV_ROOT" "$$(pyenv root 2>/dev/null)" "$$HOME/.pyenv" \
	      "$$(dirname "$$(command -v pyenv)")/.." "$$(dirname "$$(command -v python3.12)")/.."; do \
	    set -- "$$@" "$$pyenv"/versions/3.12*/bin/python3 "$$pyenv"/versions/3.13*/bin/python3; \
	  done; \
	fi; \
	for python; do \
	  if "$$python" -c "$$fits" >/dev/null 2>&1; then \
	    echo "Making .venv with $$python."; \
	    "$$python" -m venv --clear .venv; \
	    sed -n '/^uv==/,/[^\\]$$/p' requirements.txt > .venv/uv.txt; \
	    $(python) -m pip --disable-pip-version-check install --quiet --require-hashes -r .venv/uv.txt; \
	    touch $@; \
	    exit 0; \
	  fi; \
	done; \
	echo "Breezeway needs Python 3.12 or 3.13 with venv and pip. None of these is it:" >&2; \
	printf '  %s\n' "$$@" | grep -v '\*' >&2; \
	echo "Install one, or name one: make $(or $(MAKECMDGOALS),demo) PYTHON=/path/of/python3.12" >&2; \
	exit 1
