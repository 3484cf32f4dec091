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

# Go before 1.27 sometimes fails a target with "context deadline exceeded" when its time is over
# (golang/go#75804). That is no finding; a finding comes with the input that it is about.
fuzz: ## Fuzz each target for FUZZTIME (60s)
	@go test -list '^Fuzz' ./... | awk '/^Fuzz/ { t[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, t[i]; n = 0 }' | \
	while read -r package target; do \
		echo "$$package $$target"; \
		out=$$(go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package" 2>&1) && ok=yes || ok=; \
		echo "$$out"; \
		case "$$ok$$out" in \
			yes*) ;; \
			*"Failing input"*) exit 1 ;; \
			*"context deadline exceeded"*) ;; \
			*) exit 1 ;; \
		esac; \
	done

bench: ## Measure throughput, latency and isolation on this machine
	go run ./cmd/switchhook bench

ci: ## Run what has to hold before a change lands
	.ci/run
