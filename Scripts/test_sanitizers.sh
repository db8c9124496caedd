#!/bin/sh
# Runs tests under sanitizers, in release because the kernels take forever without optimisation:
# AddressSanitizer on what reads files, text and sockets, ThreadSanitizer on what runs in parallel.
set -eu

# XCTest itself leaks a few hundred bytes.
export ASAN_OPTIONS=detect_leaks=0
export TSAN_OPTIONS=halt_on_error=1

echo "AddressSanitizer"
swift test -c release --sanitize=address --scratch-path .build-asan \
    --filter 'NanoModelTests|NanoTokenizerTests|NanoKernelsTests|NanoServerTests|EngineTests|DamagedModelTests|BlockFile|DiskTier|ConfigurationFileTests'
# Not the server: ThreadSanitizer takes resumed continuations of the concurrency runtime for races.
echo "ThreadSanitizer"
NANOFLOW_WITHOUT_SERVER=1 swift test -c release --sanitize=thread --scratch-path .build-tsan \
    --filter 'NanoDeviceTests|EngineTests|BatchInvarianceTests|PipelineTests|DiskTierTests'
