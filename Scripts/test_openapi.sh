#!/bin/sh
# Sends a server requests that schemathesis makes from docs/openapi.yaml, good ones and bad ones, and
# compares all answers with it: statuses, headers, bodies, and what is accepted and what refused.
#
#     Scripts/test_openapi.sh NANOFLOW MODEL [ARGUMENT OF SCHEMATHESIS...]
#
# Afterwards the server must be well, answer as it did before, and end in order.
set -eu

nanoflow=$1
model=$2
shift 2
folder=.build/openapi-client
scripts=$(dirname "$0")
. "$scripts/server.sh"
make_environment "$folder"
version=4.32.5
"$folder/bin/python" -c "
from importlib.metadata import version
raise SystemExit(version('schemathesis') != '$version')" 2>/dev/null \
    || "$folder/bin/python" -m pip install --quiet "schemathesis==$version"

server=""
work=$(mktemp -d)
trap '[ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# fail SENTENCE: says what did not hold, and what the server said last.
fail() {
    echo "test_openapi.sh: $1" >&2
    tail -n 30 "$work/log" >&2
    exit 1
}

# A name with a slash, since such names are common; a short context, since what is asked for without a
# limit fills it.
NANOFLOW_TEST_KEY=openapi-test
"$nanoflow" serve --model "$model" --port 0 --api-key "$NANOFLOW_TEST_KEY" \
    --served-model-name openapi/test --max-model-len 512 --kv-cache-memory 64M \
    >"$work/log" 2>&1 &
server=$!
NANOFLOW_TEST_URL=$(await_address "$work/log" "$server") || fail "The server did not start."
export NANOFLOW_TEST_URL NANOFLOW_TEST_KEY

# Prints what the server says to a question whose answer is settled: its tokens with all their
# log-probabilities. Fails unless the server is well and nothing else is under way by then.
answer() {
    "$folder/bin/python" - <<'END'
import json, os, urllib.request

def ask(path, body=None):
    request = urllib.request.Request(
        os.environ["NANOFLOW_TEST_URL"] + path, body,
        {"Authorization": "Bearer " + os.environ["NANOFLOW_TEST_KEY"]})
    return json.load(urllib.request.urlopen(request, timeout=60))

answer = ask("/v1/chat/completions", json.dumps({
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "temperature": 0, "max_tokens": 16, "logprobs": True, "top_logprobs": 5}).encode())
print(json.dumps(answer["choices"]))
assert ask("/health") == {"status": "ok"} and ask("/ready") == {"status": "ready"}
assert ask("/nanoflow/engine")["requests"] == {"running": 0, "waiting": 0}
END
}

answer >"$work/before" || fail "The server does not answer the known question."
# Where schemathesis is run it leaves files.
python=$(cd "$folder/bin" && pwd)/python
scripts=$(cd "$scripts" && pwd)
(
    cd "$work"
    PYTHONPATH=$scripts PYTHONDONTWRITEBYTECODE=1 SCHEMATHESIS_HOOKS=openapi_hooks \
        "$python" -m schemathesis.cli run "$scripts/../docs/openapi.yaml" --url "$NANOFLOW_TEST_URL" \
        --header "Authorization: Bearer $NANOFLOW_TEST_KEY" \
        --phases examples,coverage,fuzzing --max-examples 25 --seed 7 --generation-database none \
        --continue-on-failure --request-timeout 30 --output-sanitize false --no-color "$@"
) || fail "The server does not do what docs/openapi.yaml says, or it is described wrongly: see above."
kill -0 "$server" 2>/dev/null || fail "The server has ended by itself."
answer >"$work/after" || fail "The server is not well after the run."
cmp -s "$work/before" "$work/after" || fail "The known question has another answer after the run."

kill -TERM "$server"
code=0
wait "$server" || code=$?
server=""
[ "$code" -eq 0 ] || fail "The server ended with $code instead of 0 after SIGTERM."
echo "test_openapi.sh: the server does what docs/openapi.yaml says."
