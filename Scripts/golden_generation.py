"""What the golden scripts share: greedy decoding with its margins, rounding, seeds, compact JSON.

Needs: torch==2.13.0+cpu transformers==5.23.0
"""

import json
import zlib
from pathlib import Path

import torch


def seed_of(name):
    """A seed that is the same in every run, unlike hash()."""
    return zlib.crc32(name.encode())


def rounded(values, digits):
    """The values as Python floats of that many significant digits."""
    return [float(f"{float(value):.{digits}g}") for value in values]


def next_token(logits):
    """The most likely id, and by how much its logit beats the second."""
    top = torch.topk(logits, 2)
    return int(top.indices[0]), float(top.values[0] - top.values[1])


@torch.no_grad()
def greedy(model, prompt_ids, count, stop_id=None):
    """Up to `count` greedy ids after the prompt, `stop_id` included, and the margin of each.

    Decodes with the KV cache, then scores the whole path again without one: both must choose alike.
    """
    ids, margins, cache = [], [], None
    step = torch.tensor([prompt_ids])
    while len(ids) < count and (not ids or ids[-1] != stop_id):
        output = model(step, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        token, margin = next_token(output.logits[0, -1])
        ids.append(token)
        margins.append(margin)
        step = torch.tensor([[token]])
    whole = model(torch.tensor([prompt_ids + ids[:-1]])).logits[0]
    if whole[len(prompt_ids) - 1 :].argmax(-1).tolist() != ids:
        raise SystemExit("greedy decoding with and without the KV cache differs: a near-tie")
    return ids, margins


def write_json(path, golden):
    """Writes one key a line at the top level, the rest compact, so that a diff stays readable."""
    lines = [f"{json.dumps(key)}: {_compact(value)}" for key, value in golden.items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    Path(path).write_text(text, encoding="utf-8")
    print(f"{path}: {len(text.encode()):,} bytes")


def _compact(value):
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(_compact(item) for item in value) + "\n]"
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
