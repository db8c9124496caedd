"""Reads what a client has written and fails with a sentence if it is not what it should be.

    python check_results.py guidellm FOLDER REQUESTS TOKENS
    python check_results.py aiperf FOLDER REQUESTS TOKENS
    python check_results.py aiperf-trace FOLDER TRACE
    python check_results.py lm-eval FOLDER URL
    python check_results.py server URL SEQUENCES

REQUESTS were to be answered, each with TOKENS. lm-eval's log-likelihoods and answers must be those
that POST /v1/completions gives for the same tokens. The server must have counted as many SEQUENCES as
the clients asked for, none of them broken off. Python alone.
"""

import json
import pathlib
import re
import sys
import urllib.request

MODEL = "model-under-test"


class Failure(Exception):
    pass


def require(holds, sentence):
    if not holds:
        raise Failure(sentence)


def load(folder, pattern):
    """The JSON document, or the list of those in a JSONL file, that lies somewhere in the folder."""
    found = sorted(pathlib.Path(folder).rglob(pattern))
    require(len(found) == 1, f"{folder} has {len(found)} files {pattern} instead of one.")
    text = found[0].read_text()
    if found[0].suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text)


def ask(url, body=None):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with opener.open(request, timeout=120) as answer:
        return answer.read().decode()


def check_guidellm(folder, requests, tokens):
    benchmarks = load(folder, "report.json")["benchmarks"]
    require(len(benchmarks) == 1, f"{len(benchmarks)} benchmarks ran instead of one.")
    counts = {name: len(found or []) for name, found in benchmarks[0]["requests"].items()}
    missing = int(requests) - counts["successful"]
    # guidellm 0.8.1 may drop the last answer while it shuts down, although it has counted it: seen in
    # one of ten runs. The server's own count shows whether it was answered.
    left = benchmarks[0]["scheduler_state"]["progress"]["remaining_requests"]
    require(
        missing in (0, 1) and left == counts["errored"] == counts["incomplete"] == 0,
        f"of {requests} requests {counts['successful']} succeeded, {counts['errored']} failed and"
        f" {counts['incomplete']} were not finished.",
    )
    for request in benchmarks[0]["requests"]["successful"]:
        seen = request["output_metrics"]["text_tokens"]
        require(seen == int(tokens), f"an answer has {seen} tokens instead of {tokens}.")
    dropped = "; the client dropped its last record" if missing else ""
    return f"{requests} requests of {tokens} tokens each{dropped}"


def check_aiperf(folder, requests, tokens):
    report = load(folder, "profile_export_aiperf.json")
    errors = report.get("error_request_count") or {"avg": 0}
    require(
        report["request_count"]["avg"] == int(requests) and errors["avg"] == 0
        and not report["error_summary"] and not report["was_cancelled"],
        f"of {requests} requests {report['request_count']['avg']:.0f} succeeded and"
        f" {errors['avg']:.0f} failed: {report['error_summary']}.",
    )  # fmt: skip
    usage = report["usage_completion_tokens"]
    require(
        usage["min"] == usage["max"] == int(tokens),
        f"the answers have {usage['min']:.0f} to {usage['max']:.0f} tokens instead of {tokens}.",
    )
    metrics = load(folder, "server_metrics_export.json")
    read = metrics["summary"]["endpoints_successful"]
    require(read and metrics["metrics"], "the server's /metrics could not be read.")
    return f"{requests} requests of {tokens} tokens each; {len(metrics['metrics'])} of /metrics read"


def check_aiperf_trace(folder, trace):
    """Every block of the trace that comes again was computed seconds before."""
    requests = [json.loads(line) for line in pathlib.Path(trace).read_text().splitlines()]
    check_aiperf(folder, len(requests), requests[0]["output_length"])
    report = load(folder, "profile_export_aiperf.json")
    prompts = report["total_usage_prompt_tokens"]["avg"]
    expected = sum(request["input_length"] for request in requests)
    require(
        prompts == expected,
        f"the server counts {prompts:.0f} tokens in the trace's prompts instead of {expected}.",
    )
    cached = report["total_usage_prompt_cache_read_tokens"]["avg"]
    require(cached >= 512, f"only {cached:.0f} tokens of the trace's prompts were found cached.")
    return f"{len(requests)} requests with {prompts:.0f} prompt tokens, {cached:.0f} of them cached"


def check_lm_eval(folder, url):
    """The tasks' texts are made so that any model ranks the choices right."""
    results = load(folder, "results_*.json")["results"]
    choices = load(folder, "samples_nanoflow_choice_*.jsonl")
    generated = load(folder, "samples_nanoflow_generate_*.jsonl")
    require(
        len(choices) == 8 and len(generated) == 4,
        f"there are {len(choices)} and {len(generated)} items instead of 8 and 4.",
    )

    def tokens(text):
        body = {"prompt": text, "add_special_tokens": False}
        return json.loads(ask(url + "/tokenize", body))["tokens"]

    def complete(**fields):
        return json.loads(ask(url + "/v1/completions", {"model": MODEL, **fields}))["choices"][0]

    compared = 0
    for sample in choices:
        for number, ((likelihood, greedy),) in enumerate(sample["resps"]):
            context, continuation = (sample["arguments"][f"gen_args_{number}"][f"arg_{i}"] for i in (0, 1))
            whole, start = tokens(context + continuation), len(tokens(context))
            # Nothing is generated here, while lm-eval asks for one token more than it scores.
            scored = complete(prompt=whole, max_tokens=0, echo=True, logprobs=1)["logprobs"]
            expected = sum(scored["token_logprobs"][start:])
            require(
                float(likelihood) == expected,
                f"{continuation!r} after {context!r} has the log-likelihood {likelihood} for lm-eval,"
                f" but {expected} for POST /v1/completions.",
            )
            best = [max(found, key=found.get) for found in scored["top_logprobs"][start:]]
            require(
                (greedy == "True") == (best == scored["tokens"][start:]),
                f"{continuation!r} after {context!r} is greedy for lm-eval: {greedy}.",
            )
            compared += 1
    for sample in generated:
        context = sample["arguments"]["gen_args_0"]["arg_0"]
        answer = complete(prompt=tokens(context), max_tokens=12, temperature=0, stop=["\n"])["text"]
        require(
            sample["resps"] == [[answer]],
            f"lm-eval got {sample['resps']} after {context!r}, POST /v1/completions gives {answer!r}.",
        )

    accuracy = results["nanoflow_choice"]["acc,none"]
    normalised = results["nanoflow_choice"]["acc_norm,none"]
    matched = results["nanoflow_generate"]["exact_match,stripped"]
    require(accuracy == normalised == 1, f"acc is {accuracy} and acc_norm {normalised} instead of 1.")
    require(matched >= 0.5, f"exact_match is {matched} and should be 0.5 at least.")
    return f"acc {accuracy}, exact_match {matched}; {compared} log-likelihoods are the server's"


def check_server(url, sequences):
    counter = r'^vllm:request_success_total\{.*finished_reason="(\w+)"\} (\S+)$'
    found = re.findall(counter, ask(url + "/metrics"), re.MULTILINE)
    ended = {reason: int(float(count)) for reason, count in found}
    require(
        sum(ended.values()) == int(sequences) and ended["abort"] == 0,
        f"{sequences} sequences were asked for, and the server has counted {ended}.",
    )
    return f"{sequences} sequences, none broken off"


CHECKS = {
    "guidellm": check_guidellm,
    "aiperf": check_aiperf,
    "aiperf-trace": check_aiperf_trace,
    "lm-eval": check_lm_eval,
    "server": check_server,
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in CHECKS:
        sys.exit(__doc__)
    try:
        print(f"ok      {sys.argv[1]}: {CHECKS[sys.argv[1]](*sys.argv[2:])}")
    except Failure as failure:
        print(f"FAILED  {sys.argv[1]}: {failure}")
        sys.exit(1)
