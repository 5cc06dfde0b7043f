# Each target does its own set-up: on a bare Debian machine with Go, `make demo`
# and `make test` are all there is to type.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help

GOLANGCI_LINT := v2.11.4
GOFUMPT := v0.12.0
GOVULNCHECK := v1.8.0

TAGS := nolibopusfile
export GOFLAGS := -tags=$(TAGS)
export CGO_ENABLED := 1

TOOLS := $(CURDIR)/.cache/bin
lint := $(TOOLS)/golangci-lint-$(GOLANGCI_LINT)
fumpt := $(TOOLS)/gofumpt-$(GOFUMPT)

UNIT = $$(go list ./... | grep -v '^wagate/test')
FAR_ENDS = $$(go list ./test/... | grep -v '^wagate/test$$')

FUZZTIME ?= 5m
SOAKTIME ?= 10m
BENCH ?=

.PHONY: help setup build sbom image demo test format lint vet unit model fuzz-short system tidy vuln fuzz bench mutants soak clean

help: ## these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(lint) $(fumpt) ## installs what build and test need
	@bash test/tools/setup.sh test

$(TOOLS)/golangci-lint-%:
	@bash test/tools/setup.sh build
	GOFLAGS= GOBIN=$(TOOLS)/new go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$*
	mv $(TOOLS)/new/golangci-lint $@

$(TOOLS)/gofumpt-%:
	GOFLAGS= GOBIN=$(TOOLS)/new go install mvdan.cc/gofumpt@$*
	mv $(TOOLS)/new/gofumpt $@

build: ## bin/wagate
	@bash test/tools/setup.sh build
	go build -o bin/wagate ./cmd/wagate

sbom: build ## bin/wagate.cdx.json, what the binary is made of
	go run ./deploy/sbom bin/wagate >bin/wagate.cdx.json

image: ## bin/wagate-image.tar, the container image, without a registry; as root
	@bash test/tools/setup.sh image
	bash test/tools/image.sh

demo: build ## the main job on this machine, without an account
	bin/wagate demo

test: setup format lint vet unit model fuzz-short system tidy vuln ## every check; what CI runs

format: $(fumpt)
	@bad=$$($(fumpt) -l .); test -z "$$bad" || { echo "not formatted (gofumpt -w):"; echo "$$bad"; exit 1; }

lint: $(lint)
	$(lint) run --allow-parallel-runners --max-issues-per-linter 0 --max-same-issues 0 --build-tags $(TAGS),system,soak ./...

vet:
	go vet ./...
	GOFLAGS=-tags=$(TAGS),system,soak go vet ./...

unit:
	go test -race -timeout 10m $(UNIT)

# The whole walk and the whole sweep are too large for the race detector.
model:
	go test -count=1 -timeout 10m -run '^(TestModel$$|TestPermissionProperties$$|TestRacesToTheMillisecond$$|TestRough|TestEstimate|TestClocks)' ./gateway ./media

fuzz-short:
	bash test/tools/fuzz.sh 3s

# What plays sound in real time has the machine to itself.
system: export GOFLAGS := -tags=$(TAGS),system
system:
	go test -race -timeout 10m $(FAR_ENDS)
	go test -race -count=1 -timeout 15m ./test

tidy:
	go mod tidy -diff

vuln: ## known faults, by govulncheck where its database can be reached
	bash test/tools/vuln.sh $(GOVULNCHECK)

fuzz: ## each fuzz target for FUZZTIME
	@bash test/tools/setup.sh build
	bash test/tools/fuzz.sh $(FUZZTIME)

bench: build ## codec, bridge and whole-gateway figures, beside rtpengine; needs two quiet cores
	@bash test/tools/rtpengine.sh || echo "bench: without rtpengine"
	go test -run '^$$' -bench . -benchmem -p 1 -timeout 30m ./media
	go build -o bin/bench ./test/bench
	bin/bench $(BENCH)

mutants: ## breaks the call machine rule by rule; the model must notice
	@bash test/tools/setup.sh build
	go run ./test/mutants

soak: ## calls for SOAKTIME; nothing may be left over
	@bash test/tools/setup.sh test
	SOAKTIME=$(SOAKTIME) GOFLAGS=-tags=$(TAGS),soak go test -count=1 -v -timeout 0 -run '^TestSoak' ./test

clean: ## what the targets made
	rm -rf bin .cache
