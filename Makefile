# Each target does all of its own set-up and may be run again at any time.
# One target after the other: several of them install packages.
.NOTPARALLEL:
.PHONY: run test check model build packages lint test-unit test-sanitizers test-arm64 test-client \
    test-memory test-load test-page test-api clients help

MODEL := Models/SmolLM2-135M-Instruct.Q4_1.gguf
HOST ?= 127.0.0.1
PORT ?= 8000

# What there is to make.
help:
	@grep -B1 -E '^[a-z0-9-]+:' Makefile | grep -vE '^(--|\.PHONY)' | paste - - \
	    | sed -E 's/^# (.*)\t([a-z0-9-]+):.*/\2\t\1/' | column -t -s '	'

# Serves the default model on http://127.0.0.1:8000 until it is stopped.
run: model build
	.build/release/nanoflow serve --model $(MODEL) \
	    --served-model-name SmolLM2-135M-Instruct --host $(HOST) --port $(PORT)

# Unit and model tests in release.
test: model packages lint test-unit

# All tests: the above, sanitizers, arm64 syntax, clients, the API's description, memory and crashes.
check: test test-arm64 test-client test-api test-page test-load test-memory test-sanitizers
	@echo "make check: all passed"

# Fetches the default model.
model: $(MODEL)

$(MODEL):
	Scripts/fetch_default_model.sh $(MODEL)

# Installs what the build needs and builds in release.
build: packages
	swift build -c release --product nanoflow

# Installs the missing Debian packages.
packages:
	Scripts/install_packages.sh

# The formatter's rules; the compiler's warnings are errors in every build.
lint:
	swift format lint --strict --recursive Package.swift Sources Tests Examples Benchmarks

# All unit and model tests; what it builds is built as `build` does it, so that nothing is built twice.
test-unit: model packages
	swift build -c release --build-tests
	swift test -c release --skip-build

# AddressSanitizer on what reads files and text, ThreadSanitizer on what runs in parallel.
test-sanitizers: model packages
	Scripts/test_sanitizers.sh

# arm64 is to compile; no more is claimed.
test-arm64: packages
	Scripts/check_arm64.sh

# A server is started, questioned by the official Python client, and stopped.
test-client: model build
	Scripts/test_client.sh $(MODEL)

# The server against its description, docs/openapi.yaml, with schemathesis.
test-api: model build
	Scripts/test_openapi.sh .build/release/nanoflow $(MODEL)

# The web page in headless Chromium.
test-page: model build
	python3 -B Scripts/test_page.py --nanoflow .build/release/nanoflow --model $(MODEL)

# Requests good, bad, slow and broken off (by itself the script sends 1,000); a server asked to end.
test-load: model build
	python3 -B Scripts/test_load.py --nanoflow .build/release/nanoflow --model $(MODEL) --part load \
	    --requests 400
	python3 -B Scripts/test_load.py --nanoflow .build/release/nanoflow --model $(MODEL) --part drain

# guidellm, aiperf and lm-eval against a server; they take gigabytes of disk, so `check` leaves them out.
clients: model build
	Scripts/test_clients.sh .build/release/nanoflow $(MODEL)

# Servers with a small KV cache are overloaded, killed while they write to disk, and started again.
test-memory: model build
	Scripts/test_kv_tier.py --nanoflow .build/release/nanoflow --model $(MODEL) --kills 10
