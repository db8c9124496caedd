#!/bin/sh
# Starts the server and checks it with the official openai client, in f32 (whose answers are
# known) and in the default precision (whose streams must equal their answers alone).
set -eu

model=$1
folder=.build/openai-client
scripts=$(dirname "$0")
. "$scripts/server.sh"
make_environment "$folder"
"$folder/bin/python" -c 'import openai' 2>/dev/null \
    || "$folder/bin/python" -m pip install --quiet openai==3.54.0

server=""
log=$(mktemp)
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -f "$log"' EXIT INT TERM

# check WORD OPTION...: serves with the options; the answer about France must contain the word.
check() {
    word=$1
    shift
    .build/release/nanoflow serve --model "$model" --port 0 "$@" >"$log" 2>&1 &
    server=$!
    url=$(await_address "$log" "$server") || {
        echo "the server did not start:" && cat "$log"
        exit 1
    }
    echo "serve $*"
    # shellcheck disable=SC2086 # no word, no argument
    "$folder/bin/python" "$scripts/check_openai_client.py" "$url/v1" $word
    kill "$server"
    wait "$server"
    server=""
}

check Paris --precision f32
check ""
