# Conveniences. Nothing here is needed to build or test: go build ./... and
# go test ./... do that.

FUZZTIME ?= 60s

.PHONY: help test lint fuzz bench ci
help: ## List the targets
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## Run all tests with the race detector
	go test -race ./...

lint: ## Run go vet and the linters of .golangci.yml
	go vet ./...
	go tool -modfile=tools/go.mod golangci-lint run ./...

fuzz: ## Fuzz each target for FUZZTIME (60s)
	.ci/fuzz $(FUZZTIME)

bench: ## Measure throughput, latency and isolation on this machine
	go run ./cmd/switchhook bench

ci: ## Run what has to hold before a change lands
	.ci/run
