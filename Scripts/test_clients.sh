#!/bin/sh
# Runs benchmark and evaluation clients that people use against the server, each with a small load.
#
#     Scripts/test_clients.sh NANOFLOW MODEL [guidellm|aiperf|lm-eval ...]
#
# Each is installed once, into .build/clients (4 GB in all), and runs without the hub: the tokenizer
# they want is made of the model's file. Fails with a sentence where a client fails, counts a failed
# request, or measures what the server does not say. Run by hand: it takes minutes and a network.
set -eu

[ $# -ge 2 ] || {
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 64
}
nanoflow=$(realpath "$1")
model=$(realpath "$2")
shift 2
[ $# -gt 0 ] || set -- guidellm aiperf lm-eval
scripts=$(realpath "$(dirname "$0")")
. "$scripts/server.sh"
clients=$PWD/.build/clients
mkdir -p "$clients/results"

# install CLIENT REQUIREMENT...: a virtual environment of its own, made once for these requirements.
install() {
    environment=$clients/$1
    shift
    [ "$(cat "$environment/requirements" 2>/dev/null)" != "$*" ] || return 0
    echo "installing $*"
    make_environment "$environment"
    # Without CUDA torch is much smaller; not every machine can have it so.
    echo "torch==2.13.0+cpu" >"$environment/constraints"
    pip="$environment/bin/python -m pip --disable-pip-version-check install --quiet"
    $pip --constraint "$environment/constraints" "$@" || $pip "$@"
    echo "$*" >"$environment/requirements"
}

for client in "$@"; do
    case $client in
        guidellm) install guidellm guidellm==0.8.1 ;;
        aiperf) install aiperf aiperf==0.13.0 ;;
        lm-eval) ;;
        *) echo "There is no client $client: guidellm, aiperf and lm-eval are known." >&2 && exit 64 ;;
    esac
done
# Always, because the tokenizer is made there.
install lm-eval "lm-eval[api]==0.4.13" transformers==5.23.0 gguf==0.19.0
python=$clients/lm-eval/bin/python

# The clients take a folder or a name in the hub's cache; this is both.
tokenizer=$clients/tokenizer
hub=$clients/huggingface
snapshot=0000000000000000000000000000000000000000
"$python" "$scripts/clients/make_tokenizer.py" write "$model" "$tokenizer"
mkdir -p "$hub/hub/models--local--tokenizer/refs" "$hub/hub/models--local--tokenizer/snapshots"
printf %s "$snapshot" >"$hub/hub/models--local--tokenizer/refs/main"
ln -sfn "$tokenizer" "$hub/hub/models--local--tokenizer/snapshots/$snapshot"
export HF_HOME="$hub" HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1
export TOKENIZERS_PARALLELISM=false TRANSFORMERS_VERBOSITY=error
export no_proxy=127.0.0.1 NO_PROXY=127.0.0.1

server=""
log=$clients/results/server.log
trap '[ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
"$nanoflow" serve --model "$model" --served-model-name model-under-test --port 0 >"$log" 2>&1 &
server=$!
url=$(await_address "$log" "$server") || {
    echo "The server did not start:" && cat "$log"
    exit 1
}
"$python" "$scripts/clients/make_tokenizer.py" check "$tokenizer" "$url"

# attempt NAME COMMAND...: shows what the command wrote only if it fails.
attempt() {
    name=$1
    shift
    code=0
    timeout 600 "$@" >"$clients/results/$name.log" 2>&1 </dev/null || code=$?
    [ $code -ne 0 ] || return 0
    tail -n 40 "$clients/results/$name.log"
    echo "FAILED  $name: it exited with $code; all it said is in $clients/results/$name.log"
    return 1
}

check() { "$python" "$scripts/clients/check_results.py" "$@"; }

run_guidellm() {
    rm -rf "$clients/results/guidellm" && mkdir "$clients/results/guidellm"
    attempt guidellm "$clients/guidellm/bin/guidellm" run \
        --backend "kind=openai_http,target=$url,model=model-under-test" \
        --profile kind=concurrent,streams=4 --constraint kind=max_requests,count=24 \
        --tokenizer "kind=huggingface_auto,model=$tokenizer" \
        --data kind=synthetic_text,prompt_tokens=64,output_tokens=16 \
        --output "kind=json,path=$clients/results/guidellm/report.json" --disable-progress \
        && check guidellm "$clients/results/guidellm" 24 16
}

run_aiperf() {
    rm -rf "$clients/results/aiperf"
    attempt aiperf "$clients/aiperf/bin/aiperf" profile --model model-under-test --url "$url" \
        --endpoint-type chat --streaming --concurrency 4 --request-count 24 --random-seed 1 \
        --synthetic-input-tokens-mean 64 --output-tokens-mean 16 --extra-inputs ignore_eos:true \
        --tokenizer local/tokenizer --ui none --artifact-dir "$clients/results/aiperf" \
        && check aiperf "$clients/results/aiperf" 24 16 || return 1
    # A trace's hash ids are blocks of 512 tokens, which the server is to find again.
    rm -rf "$clients/results/aiperf-trace"
    attempt aiperf-trace "$clients/aiperf/bin/aiperf" profile --model model-under-test --url "$url" \
        --endpoint-type completions --streaming --input-file "$scripts/clients/trace.jsonl" \
        --custom-dataset-type mooncake_trace --fixed-schedule --random-seed 1 \
        --extra-inputs ignore_eos:true --tokenizer local/tokenizer --ui none \
        --artifact-dir "$clients/results/aiperf-trace" \
        && check aiperf-trace "$clients/results/aiperf-trace" "$scripts/clients/trace.jsonl"
}

run_lm_eval() {
    rm -rf "$clients/results/lm-eval"
    cd "$scripts/clients" # where the tasks' data lies
    arguments="model=model-under-test,base_url=$url/v1/completions,tokenizer=$tokenizer"
    attempt lm-eval "$clients/lm-eval/bin/lm-eval" run --model local-completions \
        --model_args "$arguments,num_concurrent=4,max_retries=1" --batch_size 4 --include_path . \
        --tasks nanoflow_choice,nanoflow_generate --log_samples --output_path "$clients/results/lm-eval" \
        && check lm-eval "$clients/results/lm-eval" "$url"
}

# lm-eval asks for 24 choices and 4 answers; its check asks for all of them again.
failed=""
sequences=0
for client in "$@"; do
    case $client in
        guidellm) run_guidellm && sequences=$((sequences + 24)) ;;
        aiperf) run_aiperf && sequences=$((sequences + 28)) ;;
        lm-eval) (run_lm_eval) && sequences=$((sequences + 56)) ;;
    esac || failed="$failed $client"
done
[ -n "$failed" ] || check server "$url" $sequences || failed=" server"
[ -z "$failed" ] || {
    echo "Failed:$failed."
    exit 1
}
