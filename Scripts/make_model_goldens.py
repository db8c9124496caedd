"""Makes the default model's reference values: smollm2_logits.json, _greedy.json, _perplexity.json.

Usage: python Scripts/make_model_goldens.py --model Models/SmolLM2-135M-Instruct.Q4_1.gguf \
           --gpl-text FILE [--dialogues mtbench101.jsonl] [--output Tests/NanoFlowTests/Fixtures]
Needs: torch==2.13.0+cpu transformers==5.23.0 gguf==0.19.0 accelerate jinja2==3.1.6

The weights are expanded to f32 by transformers' GGUF loader; attention is eager. FILE is the text
of the GPL, version 3, as Debian's base-files ships it. Without --dialogues the perplexity golden
covers the GPL alone.
"""

import argparse
import hashlib
import json
import math
from pathlib import Path

import numpy
import torch
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoModelForCausalLM, AutoTokenizer

from golden_generation import greedy, rounded, seed_of, write_json

MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
END_OF_TURN = "<|im_end|>"
TOP, SAMPLED = 64, 512
COMPLETION = 96
WINDOW = 512
GPL_TOKENS, DIALOGUE_TOKENS = 5000, 4500

FRANCE = "What is the capital of France?"
FRANCE_PROMPT_IDS = (
    "1 9690 198 2683 359 253 5356 5646 11173 3365 3511 308 34519 28 7018 411 407 19712 8182 2 198 "
    "1 4093 198 1780 314 260 3575 282 4649 47 2 198 1 520 9531 198"
)
FRANCE_TOP = {504: 25.3254, 60: 25.2433, 15319: 24.9424, 2219: 24.4017, 7026: 24.3146}

TEXTS = {
    "english": (
        "The lighthouse had stood on the cliff for two hundred years, and in all that time nobody "
        "had seen its lamp go out. When the storm came up from the south-west that October, the "
        "keeper climbed the stairs with a can of oil in each hand, counting the steps as his "
        "father had taught him: one hundred and forty-four, and then the iron ladder."
    ),
    "code": (
        "import heapq\n\n\ndef shortest_paths(graph, start):\n"
        '    """Dijkstra\'s algorithm; graph[u] is a list of (v, weight)."""\n'
        "    distance = {start: 0}\n    queue = [(0, start)]\n    while queue:\n"
        "        d, u = heapq.heappop(queue)\n        for v, weight in graph[u]:\n"
        '            if d + weight < distance.get(v, float("inf")):\n'
        "                distance[v] = d + weight\n"
    ),
    "multilingual": (
        "Der schnelle braune Fuchs springt über den faulen Hund. Le garçon mangeait une crêpe à "
        "Noël. Съешь же ещё этих мягких французских булок. 東京は今日も雨です。 مرحبا بالعالم. "
        "γνῶθι σεαυτόν 🙂👩‍🚀 1234567890"
    ),
}

# Each runs for at least 64 tokens without a near-tie, except the first, which ends after eight.
LEAST_TOKENS, LEAST_MARGIN = 64, 0.01
QUESTIONS = {
    "capital": FRANCE,
    "story": "Tell me a short story about a lighthouse keeper.",
    "python": "Write a Python function that returns the n-th Fibonacci number.",
    "list": "List five healthy breakfast ideas with a sentence about each.",
    "translation": "Translate to Spanish: Good morning, how are you? Explain the grammar.",
    "arithmetic": (
        "A train travels 60 miles in 45 minutes. What is its speed in miles per hour? "
        "Show your steps."
    ),
    "photosynthesis": "Explain how photosynthesis works.",
    "poem": "Write a poem about an old oak tree.",
    "person": "Who was Marie Curie and why is she famous?",
}


def load(path):
    if hashlib.sha256(path.read_bytes()).hexdigest() != MODEL_SHA256:
        raise SystemExit(f"{path} is not the default model: its sha256 differs")
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    # transformers' GGUF reader loses the first half of SmolLM2's pre-tokenizer.
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    model = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
    )
    return tokenizer, model.eval()


def encode(tokenizer, text):
    return tokenizer(text, add_special_tokens=False).input_ids


def encode_question(tokenizer, question):
    """The ids of one user turn, rendered by the model's chat template."""
    messages = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return encode(tokenizer, text)


@torch.no_grad()
def log_probabilities(logits, ids):
    """The log-probability of each id after the first, given those before it."""
    steps = torch.log_softmax(logits[:-1].double(), dim=-1)
    return steps[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].tolist()


@torch.no_grad()
def logits_golden(model, name, ids):
    logits = model(torch.tensor([ids])).logits[0]
    last = logits[-1]
    top = torch.topk(last, TOP).indices.tolist()
    generator = numpy.random.default_rng(seed_of(f"sampled/{name}"))
    sampled = sorted(generator.choice(len(last), SAMPLED, replace=False).tolist())
    best = torch.topk(logits, 2, dim=-1)
    return {
        "name": name,
        "prompt_ids": ids,
        "top_ids": top,
        "top_logits": rounded(last[top], 7),
        "sampled_ids": sampled,
        "sampled_logits": rounded(last[sampled], 7),
        "argmax_ids": best.indices[:, 0].tolist(),
        "argmax_logits": rounded(best.values[:, 0], 7),
        "argmax_margins": rounded(best.values[:, 0] - best.values[:, 1], 4),
        "next_logprobs": rounded(log_probabilities(logits, ids), 7),
    }


def check_france(golden):
    """The known answer of the default model, measured before this script was written."""
    if golden["prompt_ids"] != [int(word) for word in FRANCE_PROMPT_IDS.split()]:
        raise SystemExit("the ids of the prompt about France differ from the known ones")
    for (id, known), found_id, found in zip(
        FRANCE_TOP.items(), golden["top_ids"], golden["top_logits"]
    ):
        if id != found_id or abs(known - found) > 1e-3:
            raise SystemExit(f"top-5 about France: {found_id}:{found}, known {id}:{known}")
    print("the top-5 about France:", dict(zip(golden["top_ids"][:5], golden["top_logits"])))


def make_logits(tokenizer, model, path):
    prompts = {"france": encode_question(tokenizer, FRANCE)}
    prompts |= {name: encode(tokenizer, text) for name, text in TEXTS.items()}
    goldens = [logits_golden(model, name, ids) for name, ids in prompts.items()]
    check_france(goldens[0])
    write_json(path, {"model_sha256": MODEL_SHA256, "prompts": goldens})


def greedy_golden(tokenizer, model, name, question):
    ids = encode_question(tokenizer, question)
    stop_id = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    tokens, margins = greedy(model, ids, COMPLETION, stop_id)
    early = min(margins[:LEAST_TOKENS])
    print(f"{name}: {len(tokens)} tokens, least margin {early:.4f}, whole path {min(margins):.4f}")
    if early <= LEAST_MARGIN or (len(tokens) < LEAST_TOKENS and question != FRANCE):
        raise SystemExit(f"{name}: too short, or too near a tie")
    return {
        "name": name,
        "question": question,
        "prompt_ids": ids,
        "token_ids": tokens,
        "text": tokenizer.decode(tokens, skip_special_tokens=True),
        "ended": tokens[-1] == stop_id,
        "minimum_margin_64": rounded([early], 4)[0],
        "minimum_margin": rounded([min(margins)], 4)[0],
    }


def make_greedy(tokenizer, model, path):
    answers = [greedy_golden(tokenizer, model, *item) for item in QUESTIONS.items()]
    golden = {"model_sha256": MODEL_SHA256, "maximum_tokens": COMPLETION, "answers": answers}
    write_json(path, golden)


@torch.no_grad()
def perplexity(model, ids):
    """exp of the mean over every position but the first of each window; windows do not overlap."""
    total, scored = 0.0, 0
    for start in range(0, len(ids), WINDOW):
        window = ids[start : start + WINDOW]
        values = log_probabilities(model(torch.tensor([window])).logits[0], window)
        total -= sum(values)
        scored += len(values)
    return math.exp(total / scored), scored


def text_golden(tokenizer, model, name, text):
    ids = encode(tokenizer, text)
    value, scored = perplexity(model, ids)
    print(f"{name}: perplexity {value:.6f} over {scored} of {len(ids)} tokens")
    return {
        "name": name,
        "bytes": len(text.encode()),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "tokens": len(ids),
        "scored_tokens": scored,
        "perplexity": rounded([value], 8)[0],
    }


def first_pieces(tokenizer, pieces, separator, tokens):
    """The fewest leading pieces that make at least that many tokens; how many, and their text."""
    counts = numpy.cumsum([len(encode(tokenizer, piece + separator)) for piece in pieces])
    count = int(numpy.searchsorted(counts, tokens))
    text = separator.join(pieces[:count])
    while len(encode(tokenizer, text)) < tokens:
        count += 1
        text = separator.join(pieces[:count])
    return count, text


def make_perplexity(tokenizer, model, path, gpl_path, dialogues_path):
    """The whole GPL and its first lines; the first bot turns of the dialogues, figures only."""
    gpl = gpl_path.read_text(encoding="utf-8")
    lines, start = first_pieces(tokenizer, gpl.split("\n"), "\n", GPL_TOKENS)
    texts = [
        text_golden(tokenizer, model, "gpl3_start", start) | {"leading_lines": lines},
        text_golden(tokenizer, model, "gpl3", gpl),
    ]
    if dialogues_path:
        rows = dialogues_path.read_text(encoding="utf-8").splitlines()
        turns = [turn["bot"] for row in rows for turn in json.loads(row)["history"]]
        count, start = first_pieces(tokenizer, turns, "\n", DIALOGUE_TOKENS)
        golden = text_golden(tokenizer, model, "mtbench101_start", start)
        texts.append(golden | {"leading_turns": count})
    write_json(path, {"model_sha256": MODEL_SHA256, "window": WINDOW, "texts": texts})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--gpl-text", type=Path, required=True)
    parser.add_argument("--dialogues", type=Path)
    parser.add_argument("--output", type=Path, default=Path("Tests/NanoFlowTests/Fixtures"))
    options = parser.parse_args()
    torch.set_num_threads(2)
    tokenizer, model = load(options.model)
    folder = options.output
    folder.mkdir(parents=True, exist_ok=True)
    make_logits(tokenizer, model, folder / "smollm2_logits.json")
    make_greedy(tokenizer, model, folder / "smollm2_greedy.json")
    make_perplexity(
        tokenizer,
        model,
        folder / "smollm2_perplexity.json",
        options.gpl_text,
        options.dialogues,
    )


if __name__ == "__main__":
    main()
