"""Writes the tokenizer of a GGUF file as a Hugging Face folder, or compares the two.

    python make_tokenizer.py write MODEL.gguf FOLDER
    python make_tokenizer.py check FOLDER URL

Benchmark clients count and make up prompts with a tokenizer of their own and would fetch it from the
hub. `write` makes `tokenizer.json` and `tokenizer_config.json`; `check` asks POST /tokenize of a
running server for the same texts and fails where the tokens differ. Byte-level BPE only.
pip install gguf==0.19.0 transformers==5.23.0
"""

import json
import pathlib
import sys
import urllib.request

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
MODERN = CONTRACTIONS + (
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SAME_AS = {
    "phi-2": "gpt-2", "starcoder": "smollm", "refact": "smollm", "deepseek-r1-qwen": "qwen2",
    "llama3": "llama-bpe", "llama-v3": "llama-bpe", "falcon3": "llama-bpe",
}  # fmt: skip
UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4

TEXTS = [
    "", " ", "a", "Hello, wörld 123", "  two  spaces\n\n\tand a tab \r\n", "I'm you're HE'S don't",
    "3.14159 12345678901234567890 a1b22c333", "天地玄黃，宇宙洪荒。人工智能2024年", "🙂 👩‍👩‍👧‍👦 🇩🇪",
    "Съешь же ещё этих мягких французских булок", "def f(x):\n    return x ** 2  # square\n",
    "=" * 100, "Donaudampfschifffahrtsgesellschaftskapitän" * 4, "é e\u0301 \u00a0 \u200b \ufffd",
]  # fmt: skip


def pre_tokenizer(name):
    from tokenizers import Regex, pre_tokenizers

    def byte_level(use_regex):
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)

    def modern(digits):
        split = pre_tokenizers.Split(Regex(MODERN % digits), behavior="isolated", invert=False)
        return pre_tokenizers.Sequence([split, byte_level(False)])

    known = {
        "gpt-2": lambda: byte_level(True),
        "smollm": lambda: pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), byte_level(True)]
        ),
        "qwen2": lambda: modern(""),
        "llama-bpe": lambda: modern("{1,3}"),
    }
    name = SAME_AS.get(name, name)
    if name not in known:
        sys.exit(f"tokenizer.ggml.pre is {name!r}; known are {', '.join([*known, *SAME_AS])}.")
    return known[name]()


def write(model, folder):
    from gguf import GGUFReader
    from tokenizers import AddedToken, Tokenizer, decoders, models, processors

    fields = GGUFReader(model).fields

    def field(name, default=None):
        found = fields.get("tokenizer." + name)
        return default if found is None else found.contents()

    if field("ggml.model") != "gpt2":
        sys.exit(f"tokenizer.ggml.model is {field('ggml.model')!r}; only 'gpt2' can be written.")
    tokens, kinds = field("ggml.tokens"), field("ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in field("ggml.merges")]
    tokenizer = Tokenizer(
        models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges)
    )
    tokenizer.pre_tokenizer = pre_tokenizer(field("ggml.pre"))
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token, kind in zip(tokens, kinds) if kind in (UNKNOWN, CONTROL)]
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    added = [token for token, kind in zip(tokens, kinds) if kind == USER_DEFINED]
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in added])

    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        # Far beyond any context: the clients shall cut nothing off.
        "model_max_length": 1_000_000,
        "additional_special_tokens": special,
    }
    for ours, theirs in [("bos", "bos"), ("eos", "eos"), ("padding", "pad"), ("unknown", "unk")]:
        if (token := field(f"ggml.{ours}_token_id")) is not None:
            config[f"{theirs}_token"] = tokens[token]
    if (template := field("chat_template")) is not None:
        config["chat_template"] = template
    if field("ggml.add_bos_token", False):
        beginning = tokens[field("ggml.bos_token_id")]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{beginning} $A", pair=f"{beginning} $A {beginning} $B",
            special_tokens=[(beginning, tokens.index(beginning))],
        )  # fmt: skip

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
    print(f"ok      {len(tokens)} tokens, {len(merges)} merges, {len(special)} special tokens")


def check(folder, url):
    from transformers import AutoTokenizer

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    special = tokenizer.all_special_tokens
    texts = TEXTS + special + ["a".join(special), " ".join(special), "<|im_start" + "|>" * 2]
    for text in texts:
        for adds in (True, False):
            body = json.dumps({"prompt": text, "add_special_tokens": adds}).encode()
            request = urllib.request.Request(
                url + "/tokenize", body, {"Content-Type": "application/json"}
            )
            server = json.load(opener.open(request, timeout=60))["tokens"]
            here = tokenizer.encode(text, add_special_tokens=adds)
            if server != here:
                sys.exit(f"The server makes {server} of {text!r}, the folder's tokenizer {here}.")
        if (decoded := tokenizer.decode(here)) != text:
            sys.exit(f"The folder's tokenizer makes {decoded!r} of the tokens of {text!r}.")
    print(f"ok      tokenizer: {len(texts)} texts have the server's tokens")


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("write", "check"):
        sys.exit(__doc__)
    {"write": write, "check": check}[sys.argv[1]](*sys.argv[2:])
