# SPDX-FileCopyrightText: The Mainstay authors
# SPDX-License-Identifier: Apache-2.0

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
VERSION_VAR := main.version
TOOLS       := test/tools
BENCH       ?=

# Tools are built once for each state of their go.sum: the linter takes minutes.
tool_stamp  := $(shell cksum $(TOOLS)/go.sum | cut -d' ' -f1)
LINTER      := bin/tools/$(tool_stamp)/golangci-lint
HELM        := bin/tools/$(tool_stamp)/helm
CONTROLLER_GEN := bin/tools/$(tool_stamp)/controller-gen
REGAL       := bin/tools/$(shell cksum $(TOOLS)/regal/go.sum | cut -d' ' -f1)/regal
CRD_TEMPLATES := charts/mainstay/templates/crds

.DEFAULT_GOAL := help

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/mainstay
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X $(VERSION_VAR)=$(VERSION)' -o bin/mainstay ./cmd/mainstay

# Kustomize imports package plugin, with which cgo asks the system's linker: each
# test binary took several times as long to link.
.PHONY: test
test: ## run every test; the first run builds a Kubernetes control plane and Prometheus
	$(GO) run ./test/apiserver/prepare
	$(GO) run ./test/alerting/prepare
	CGO_ENABLED=0 $(GO) test -timeout 60m ./...

.PHONY: test-race
test-race: ## run every test under the race detector
	$(GO) run ./test/apiserver/prepare
	$(GO) run ./test/alerting/prepare
	$(GO) test -race -timeout 60m ./...

.PHONY: bench
bench: ## measure, beside the budgets; BENCH=decision|admission|policy|profile|sync|size for a part
	BENCH='$(BENCH)' $(GO) run ./test/bench $(ARGS)

.PHONY: demo
demo: build ## tell the story against a real API server, in two minutes
	bin/mainstay demo

.PHONY: up
up: build ## start a cluster to try things on
	bin/mainstay sandbox up

.PHONY: down
down: build ## stop it
	bin/mainstay sandbox down

.PHONY: lint
lint: $(LINTER) ## run the linters and check the formatting
	$(LINTER) run ./...

.PHONY: generate
generate: $(CONTROLLER_GEN) ## generate the deep copies, the CRDs and the chart's copy of them
	$(CONTROLLER_GEN) object:headerFile=$(TOOLS)/licence-header.txt paths=./config/v1alpha1
	rm -f config/crds/*.yaml $(CRD_TEMPLATES)/*.yaml
	$(CONTROLLER_GEN) crd paths=./config/v1alpha1 output:crd:dir=config/crds
	@mkdir -p $(CRD_TEMPLATES)
	@# Helm never upgrades crds/, and would delete templates with the release.
	for file in config/crds/*.yaml; do \
	  awk '{print} /^  annotations:$$/{print "    helm.sh/resource-policy: keep"}' $$file > $(CRD_TEMPLATES)/$${file##*/}; \
	done

.PHONY: chart
chart: $(HELM) ## lint and render the chart
	$(HELM) lint --strict charts/mainstay
	$(HELM) template mainstay charts/mainstay --namespace mainstay-system > /dev/null
	$(HELM) template mainstay charts/mainstay --namespace mainstay-system --set controller.enabled=false > /dev/null
	@for file in config/crds/*.yaml; do \
	  grep -v 'helm.sh/resource-policy: keep' $(CRD_TEMPLATES)/$${file##*/} | diff $$file - || { echo "$$file: run make generate"; exit 1; }; \
	done

.PHONY: regal
regal: $(REGAL) ## build Regal, and try Mainstay's rules for it
	PATH="$(CURDIR)/$(dir $(REGAL)):$$PATH" $(GO) test ./policy/regal ./cmd/mainstay -run 'Regal|Rules|TestStories/policy-regal'

GENERATED := 'config/crds/*.yaml' config/v1alpha1/zz_generated.deepcopy.go $(CRD_TEMPLATES)
.PHONY: current
current: generate
	@# Untracked files count: a new kind's manifest has to be committed, too.
	@if [ -n "$$(git status --porcelain -- $(GENERATED))" ]; then git status --short -- $(GENERATED); \
	  git --no-pager diff HEAD -- $(GENERATED); echo "commit what make generate wrote"; exit 1; fi

.PHONY: check
check: current lint chart ## what CI runs: generated files, linters, chart, tests under race
	$(GO) vet ./...
	$(MAKE) test-race

$(LINTER): tool = github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(HELM): tool = helm.sh/helm/v4/cmd/helm
$(CONTROLLER_GEN): tool = sigs.k8s.io/controller-tools/cmd/controller-gen
$(LINTER) $(HELM) $(CONTROLLER_GEN):
	@echo "building $(@F) (once)"
	@mkdir -p $(@D)
	@$(GO) -C $(TOOLS) build -o $(CURDIR)/$@ $(tool)
$(REGAL):
	@echo "building regal (once)"
	@mkdir -p $(@D)
	@$(GO) -C $(TOOLS)/regal build -o $(CURDIR)/$@ github.com/open-policy-agent/regal
