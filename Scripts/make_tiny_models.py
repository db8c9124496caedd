"""Makes tiny random GGUF models, their logits and greedy tokens (tiny-*.gguf and tiny-*.json).

Usage: python Scripts/make_tiny_models.py [--output Tests/NanoFlowTests/Fixtures]
Needs: torch==2.13.0+cpu transformers==5.23.0 gguf==0.19.0 accelerate numpy

The golden values come from a transformers model that holds exactly the values the file stores
(each tensor is quantised row by row and expanded again), in f32 with eager attention. Each file is
then read back through transformers' own GGUF loader, which must give the same logits.
"""

import argparse
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy
import torch
from gguf import GGMLQuantizationType as Type
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from golden_generation import greedy, rounded, seed_of, write_json

HIDDEN, FEED_FORWARD, HEADS, KV_HEADS, HEAD_DIM, CONTEXT = 64, 176, 4, 2, 16, 512
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = (
    "Ġ t,Ġ a,h e,i n,r e,o n,Ġt he,e r,Ġ s,a t,Ġ w,Ġ o,e n,Ġ c,i t,"
    "i s,a n,o r,e s,Ġ b,e d,Ġ f,in g,Ġ p,o u,Ġa n,a l,a r,Ġt o"
).split(",")
VOCABULARY = 256 + len(MERGES) + len(SPECIAL_TOKENS)
CHAT_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SHORT_PROMPT, LONG_PROMPT, COMPLETION = 24, 150, 24
# Both sides of block borders (16), of the tiny original context (64), and the end.
LONG_POSITIONS = [0, 15, 16, 47, 63, 64, 65, 127, 128, 149]
LEAST_MARGIN, LEAST_DISTINCT = 0.02, 6


@dataclass(frozen=True)
class TinyModel:
    """One model: what its family fixes, and the tensor types that its file mixes.

    A row of ffn_down has 176 values, which no 32-value block divides: it is stored unquantised.
    """

    name: str
    architecture: str
    layers: int
    tied: bool
    rope_base: float
    epsilon: float
    types: dict
    rope_scaling: dict | None = None


MODELS = [
    TinyModel(
        "tiny-llama", "llama", layers=2, tied=False, rope_base=100_000.0, epsilon=1e-5,
        types={"token_embd": Type.Q8_0, "output": Type.F16, "attn_v": Type.Q8_0,
               "attn_output": Type.Q8_0, "ffn_gate": Type.Q8_0},
    ),
    TinyModel(
        "tiny-llama31", "llama", layers=2, tied=True, rope_base=10_000.0, epsilon=1e-5,
        types={"token_embd": Type.F16, "attn_q": Type.Q8_0, "attn_k": Type.F32,
               "attn_v": Type.F32, "ffn_up": Type.Q8_0, "ffn_gate": Type.Q8_0},
        rope_scaling={"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                      "original_max_position_embeddings": 64},
    ),
    TinyModel(
        "tiny-qwen2", "qwen2", layers=2, tied=False, rope_base=1_000_000.0, epsilon=1e-6,
        types={"token_embd": Type.Q8_0, "output": Type.Q8_0, "attn_q": Type.BF16,
               "attn_k": Type.Q8_0, "ffn_gate": Type.Q8_0, "ffn_down": Type.BF16},
    ),
    TinyModel(
        "tiny-qwen2-tied", "qwen2", layers=3, tied=True, rope_base=1_000_000.0, epsilon=1e-6,
        types={"token_embd": Type.Q8_0, "attn_q": Type.Q8_0, "attn_v": Type.F16,
               "ffn_gate": Type.Q4_1, "ffn_up": Type.Q8_0},
    ),
]  # fmt: skip

HF_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def tensor_shapes(model):
    """The file's tensor names in order, each with its shape as (rows, row length)."""
    kv_width = KV_HEADS * HEAD_DIM
    shapes = {"token_embd.weight": (VOCABULARY, HIDDEN)}
    for layer in range(model.layers):
        block = {
            "attn_norm.weight": (HIDDEN,),
            "attn_q.weight": (HIDDEN, HIDDEN),
            "attn_k.weight": (kv_width, HIDDEN),
            "attn_v.weight": (kv_width, HIDDEN),
            "attn_output.weight": (HIDDEN, HIDDEN),
            "ffn_norm.weight": (HIDDEN,),
            "ffn_gate.weight": (FEED_FORWARD, HIDDEN),
            "ffn_up.weight": (FEED_FORWARD, HIDDEN),
            "ffn_down.weight": (HIDDEN, FEED_FORWARD),
        }
        if model.architecture == "qwen2":
            block |= {"attn_q.bias": (HIDDEN,), "attn_k.bias": (kv_width,)}
            block |= {"attn_v.bias": (kv_width,)}
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in block.items()}
    shapes["output_norm.weight"] = (HIDDEN,)
    if not model.tied:
        shapes["output.weight"] = (VOCABULARY, HIDDEN)
    return shapes


def stem(name):
    """`blk.1.attn_q.weight` is an `attn_q`."""
    return name.split(".")[-2]


def random_tensor(model, name, shape):
    """Seeded values; q and k larger than the rest, so that attention depends on the positions."""
    generator = numpy.random.default_rng(seed_of(f"{model.name}/{name}"))
    if "norm" in name:
        return generator.uniform(0.7, 1.3, shape).astype(numpy.float32)
    deviation = 0.2 if stem(name) in ("attn_q", "attn_k") else 0.08
    return generator.normal(0, deviation, shape).astype(numpy.float32)


def tensor_type(model, name, shape):
    return Type.F32 if len(shape) == 1 else model.types.get(stem(name), Type.F16)


def hf_name(name):
    """The name of the same tensor in a Hugging Face state dict."""
    top = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
    }
    if name in top:
        return top[name]
    _, layer, tensor, kind = name.split(".")
    return f"model.layers.{layer}.{HF_NAMES[tensor]}.{kind}"


def interleaved(rows, heads):
    """Reorders each head's rows (0 .. d-1) to 0, d/2, 1, d/2 + 1, ...: adjacent-pair RoPE."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1)
    return halves.swapaxes(1, 2).reshape(rows.shape)


def file_order(model, name, values):
    """Architecture llama stores q and k for adjacent-pair RoPE, qwen2 as Hugging Face does."""
    if model.architecture == "llama" and stem(name) in ("attn_q", "attn_k"):
        return interleaved(values, HEADS if stem(name) == "attn_q" else KV_HEADS)
    return values


def rope_divisors(model):
    """What each of the head_dim / 2 frequencies is divided by (Llama 3.1's scaling)."""
    scaling = model.rope_scaling
    context, factor = scaling["original_max_position_embeddings"], scaling["factor"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    divisors = []
    for pair in range(HEAD_DIM // 2):
        wavelength = 2 * math.pi * model.rope_base ** (2 * pair / HEAD_DIM)
        # 1: as many turns as the high factor or more, kept whole; 0: so few that it is divided.
        share = min(max((context / wavelength - low) / (high - low), 0), 1)
        divisors.append(1 / (share + (1 - share) / factor))
    return numpy.array(divisors, dtype=numpy.float32)


def byte_spelling():
    """GPT-2's spelling: printable Latin-1 bytes stand for themselves, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    spelling = {byte: chr(byte) for byte in printable}
    return spelling | {byte: chr(256 + index) for index, byte in enumerate(others)}


def tokens_and_kinds(model):
    """llama: special tokens first, as in SmolLM2; qwen2: last, as in Qwen2."""
    spelling = byte_spelling()
    plain = [spelling[byte] for byte in sorted(spelling, key=lambda byte: ord(spelling[byte]))]
    plain += [merge.replace(" ", "") for merge in MERGES]
    normal, control = int(gguf.TokenType.NORMAL), int(gguf.TokenType.CONTROL)
    kinds = [normal] * len(plain)
    special_kinds = [control] * len(SPECIAL_TOKENS)
    if model.architecture == "llama":
        return SPECIAL_TOKENS + plain, special_kinds + kinds
    return plain + SPECIAL_TOKENS, kinds + special_kinds


def add_hyperparameters(writer, model):
    """qwen2 files carry neither vocab_size nor rope.dimension_count: a reader derives them."""
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(model.name)
    writer.add_size_label("130K")
    writer.add_license("apache-2.0")
    writer.add_block_count(model.layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(model.rope_base)
    writer.add_layer_norm_rms_eps(model.epsilon)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    if model.architecture == "llama":
        writer.add_vocab_size(VOCABULARY)
        writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def add_tokenizer(writer, model):
    tokens, kinds = tokens_and_kinds(model)
    llama = model.architecture == "llama"
    end_of_text, start, end = (tokens.index(token) for token in SPECIAL_TOKENS)
    if llama:
        writer.add_add_space_prefix(False)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm" if llama else "qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(start if llama else end_of_text)
    writer.add_eos_token_id(end)
    if llama:
        writer.add_unk_token_id(end_of_text)
    writer.add_pad_token_id(end if llama else end_of_text)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def write_gguf(path, model, tensors):
    """Writes the file; returns what a reader of it sees, under Hugging Face's names and order."""
    writer = gguf.GGUFWriter(path, model.architecture)
    add_hyperparameters(writer, model)
    add_tokenizer(writer, model)
    if model.rope_scaling:
        writer.add_tensor("rope_freqs.weight", rope_divisors(model))
    state = {}
    for name, values in tensors.items():
        kind = tensor_type(model, name, values.shape)
        stored = gguf.quantize(file_order(model, name, values), kind)
        writer.add_tensor(name, stored, raw_dtype=kind)
        seen = gguf.dequantize(gguf.quantize(values, kind), kind)
        state[hf_name(name)] = torch.from_numpy(seen.astype(numpy.float32).reshape(values.shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return state


def reference_model(model, state):
    """The same model in transformers, f32, eager attention."""
    scaling = model.rope_scaling or {}
    rope = {"rope_type": "llama3" if scaling else "default", "rope_theta": model.rope_base}
    config_class, model_class = {
        "llama": (LlamaConfig, LlamaForCausalLM),
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    }[model.architecture]
    config = config_class(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=FEED_FORWARD,
        num_hidden_layers=model.layers, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS,
        max_position_embeddings=CONTEXT, rms_norm_eps=model.epsilon, tie_word_embeddings=model.tied,
        rope_parameters=rope | scaling, attn_implementation="eager", dtype=torch.float32,
    )  # fmt: skip
    reference = model_class(config).float().eval()
    if model.tied:
        state = state | {"lm_head.weight": state["model.embed_tokens.weight"]}
    reference.load_state_dict(state, strict=True)
    return reference


@torch.no_grad()
def check_read_back(path, model, reference, ids):
    """transformers' own GGUF loader must see the same model.

    It ignores rope_freqs.weight, so Llama 3.1's divisors are applied to its frequencies here.
    """
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / path.name).write_bytes(path.read_bytes())
        loaded = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
        ).eval()
    tokens = torch.tensor([ids])
    expected = reference(tokens).logits
    difference = (loaded(tokens).logits - expected).abs().max().item()
    if model.rope_scaling:
        print(f"{model.name}: without rope_freqs the logits differ by {difference:.3g}")
        divisors = {t.name: t.data for t in gguf.GGUFReader(path).tensors}["rope_freqs.weight"]
        loaded.model.rotary_emb.inv_freq /= torch.from_numpy(numpy.array(divisors))
        difference = (loaded(tokens).logits - expected).abs().max().item()
    print(f"{model.name}: read back through transformers, largest difference {difference:.3g}")
    if not difference < 1e-4:
        raise SystemExit(f"{model.name}: the file and the reference differ")


@torch.no_grad()
def prompt_golden(model, reference, kind, length, positions):
    """The first seeded random prompt whose greedy path is varied and free of near-ties."""
    for attempt in range(1000):
        generator = numpy.random.default_rng(seed_of(f"{model.name}/{kind}/{attempt}"))
        ids = generator.integers(0, VOCABULARY, length).tolist()
        tokens, margins = greedy(reference, ids, COMPLETION)
        if min(margins) > LEAST_MARGIN and len(set(tokens)) >= LEAST_DISTINCT:
            break
    else:
        raise SystemExit(f"{model.name}: no prompt without near-ties")
    print(f"{model.name}: {kind} prompt, attempt {attempt}, least margin {min(margins):.4f}")
    logits = reference(torch.tensor([ids])).logits[0]
    return {
        "kind": kind,
        "prompt_ids": ids,
        "positions": positions,
        "logits": [rounded(logits[position], 6) for position in positions],
        "greedy_ids": tokens,
        "minimum_margin": rounded([min(margins)], 4)[0],
    }


def make(model, folder):
    path = folder / f"{model.name}.gguf"
    shapes = tensor_shapes(model)
    tensors = {name: random_tensor(model, name, shape) for name, shape in shapes.items()}
    reference = reference_model(model, write_gguf(path, model, tensors))
    short = prompt_golden(model, reference, "short", SHORT_PROMPT, list(range(SHORT_PROMPT)))
    long = prompt_golden(model, reference, "long", LONG_PROMPT, LONG_POSITIONS)
    check_read_back(path, model, reference, long["prompt_ids"])
    print(f"{path}: {path.stat().st_size:,} bytes")
    golden = {"model": path.name, "vocabulary_size": VOCABULARY, "prompts": [short, long]}
    write_json(folder / f"{model.name}.json", golden)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("Tests/NanoFlowTests/Fixtures"))
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    for model in MODELS:
        make(model, folder)


if __name__ == "__main__":
    main()
