# Every target is a line that a person could type. `make help` lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PACKAGES := protos clients/python services/artefacts services/core services/inference services/gateway services/api services/batch services/stack training
BIN := .venv/bin
VERSION := 0.1.0
RAY_VERSION := $(shell sed -n 's/^ray==//p' constraints.txt)
REGISTRY ?=
NAMESPACE ?= segdepth
VALUES ?= k8s/sites/laptop-kind.yaml
BUILD_FLAGS ?=
WORKERS ?= 2
PYTEST := $(BIN)/pytest -n $(WORKERS) --durations 10

.DEFAULT_GOAL := help
.PHONY: help venv install demo serve test quick check lint types imports format protos client chart images kind-up deploy test-cluster bench science constraints clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 15

.venv/installed: tools/install.py pyproject.toml constraints.txt $(PACKAGES:%=%/pyproject.toml)
	$(PYTHON) tools/install.py

venv: .venv/installed ## Make the virtual environment .venv, with everything in it

install: venv ## The same

demo: venv ## A noisy movie in, atom counts out: the whole stack on this machine, results in out/demo
	$(BIN)/python -m segdepth_stack.demo

serve: venv ## Run the whole stack on this machine until Ctrl-C
	$(BIN)/segdepth serve

test: check ## Everything that must hold: style, types, imports, and all tests that need no cluster
	$(PYTEST) -m "not cluster"

quick: check ## Style, types, imports and the unit tests that are not slow, in a few minutes
	$(PYTEST) -m "not slow" tests/unit

check: lint types imports ## Style, types and imports alone

lint: venv ## Style, with ruff
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: venv ## Types, with mypy
	$(BIN)/mypy

imports: venv ## Which package may import which, with import-linter
	$(BIN)/lint-imports --no-logo

format: venv ## Put the style right where ruff can
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

protos: venv ## Generate the code of the wire contract
	$(BIN)/python protos/generate.py

client: venv ## Generate the SDK's client without asyncio from the one with
	$(BIN)/python clients/python/generate.py

images: ## Build the images: ray-torch once (about 6 GB), then serving, training and api on it
	docker build $(BUILD_FLAGS) -f k8s/images/ray-torch.Dockerfile -t $(REGISTRY)segdepth/ray-torch:$(RAY_VERSION) .
	for target in serving training api; do docker build $(BUILD_FLAGS) -f k8s/images/segdepth.Dockerfile --target $$target \
		--build-arg RAY_TORCH=$(REGISTRY)segdepth/ray-torch:$(RAY_VERSION) -t $(REGISTRY)segdepth/$$target:$(VERSION) . || exit 1; done

kind-up: ## A cluster on this machine with kind, KubeRay in it and our images loaded
	kind create cluster --name segdepth --config k8s/kind-config.yaml
	helm install kuberay-operator kuberay-operator --repo https://ray-project.github.io/kuberay-helm/ --version 1.6.0 \
		--namespace kuberay-system --create-namespace --values k8s/kuberay-values.yaml --wait
	for image in serving training api; do kind load docker-image --name segdepth segdepth/$$image:$(VERSION) || exit 1; done

deploy: ## Install or upgrade the release, in the cluster of KUBECONFIG: VALUES=my-site.yaml NAMESPACE=segdepth
	kubectl create namespace $(NAMESPACE) --dry-run=client --output yaml | kubectl apply -f -
	kubectl label --overwrite namespace $(NAMESPACE) pod-security.kubernetes.io/enforce=restricted
	helm upgrade --install segdepth helm/segdepth --namespace $(NAMESPACE) --values $(VALUES)
	kubectl --namespace $(NAMESPACE) wait --for=condition=Ready rayservice/segdepth --timeout=15m

test-cluster: venv ## The whole product on the cluster of KUBECONFIG (its images built): faults, upgrades, training, batch
	$(BIN)/pytest -m cluster tests/cluster -v -s

chart: venv ## Generate the chart's dashboard, and the schema of its values from the settings models
	$(BIN)/python -m tools.chart.schema && $(BIN)/python -m tools.chart.dashboard

bench: venv ## Measure speed, on an otherwise idle machine; results in out/bench
	$(BIN)/python -m tests.benchmarks.bench

science: venv ## Score the released model on a quarter of the public benchmark; report in out/science
	$(BIN)/segdepth-train bench --recipe training/recipes/ceo2-110.toml --store training/released \
		--baselines training/released/baselines --probes training/released/benchmark/ceo2-110.json \
		--intervals training/released/benchmark/ceo2-110/intervals.json --work out/science

constraints: venv ## Pin what is installed now in constraints.txt
	$(BIN)/python tools/pin.py

clean: ## Remove what the other targets made, the virtual environment too
	rm -rf .venv out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
