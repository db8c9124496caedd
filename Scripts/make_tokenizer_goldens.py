"""Writes what Hugging Face's tokenizers make of a set of texts, for NanoTokenizerTests.

Usage: python make_tokenizer_goldens.py MODEL.gguf OUTPUT.json
MODEL is SmolLM2-135M-Instruct.Q4_1.gguf; pip install gguf==0.19.0 tokenizers==0.23.3

The tokenizer is put together from the file's vocabulary and from the pre-tokenizer of the model's
own tokenizer.json (transformers' GGUF reader leaves out the splitting of digits). The rules of
other models are known by their pieces only, written as lengths in bytes of UTF-8.
"""

import json
import random
import sys
import unicodedata

from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
MODERN = CONTRACTIONS + (
    r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def byte_level(use_regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def modern(digits):
    split = pre_tokenizers.Split(Regex(MODERN % digits), behavior="isolated", invert=False)
    return pre_tokenizers.Sequence([split, byte_level(False)])


PRE_TOKENIZERS = {
    "gpt-2": byte_level(True),
    "smollm": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), byte_level(True)]
    ),
    "qwen2": modern(""),
    "llama-bpe": modern("{1,3}"),
}

SPACES = "\t\n\v\f\r \u0085\u00a0\u1680\u180e\u2000\u2003\u2009\u200a\u200b\u2028\u2029\u202f\u205f\u3000\ufeff"

LANGUAGES = [
    "The quick brown fox jumps over the lazy dog.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "Voix ambiguë d’un cœur qui, au zéphyr, préfère les jattes de kiwis.",
    "El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia y frío; ¿añoraba? ¡Sí!",
    "Pchnąć w tę łódź jeża lub ośm skrzyń fig.",
    "Pijamalı hasta yağız şoföre çabucak güvendi. İIıi",
    "Do bạch kim rất quý nên sẽ dùng để lắp vô xương.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. ЁЖИК",
    "Жебракують філософи при ґанку церкви в Гадячі, ще й шатро їхнє п'яне знаємо.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία. Ὦ ἄνδρες Ἀθηναῖοι· ΣΣς",
    "صِف خَلقَ خَودِ كَمِثلِ الشَمسِ إِذ بَزَغَت — يَحظى الضَجيعُ بِها نَجلاءَ مِعطارِ ١٢٣٤",
    "דג סקרן שט בים מאוכזב ולפתע מצא חברה. בְּרֵאשִׁית",
    "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश करने वाले १२३ क्षत्रिय",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน ๑๒๓",
    "いろはにほへと ちりぬるを 色は匂へど散りぬるを。カタカナ、ﾊﾝｶｸ！ １２３",
    "天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。人工智能2024年發展，𠀀𪚥",
    "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다. ᄒᆞᆫ글",
    "საქართველო თბილისი ႠႡႢ", "Հայաստան և Երևան", "አማርኛ ፊደል ፩፪", "မြန်မာဘာသာ", "ភាសាខ្មែរ", "தமிழ் மொழி ௧௨", "বাংলা ভাষা ১২", "తెలుగు", "ᏣᎳᎩ", "ⴰⵎⴰⵣⵉⵖ", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟘𝟙𝟚 𐍈",
]

MARKS_AND_EMOJI = [
    "e\u0301 é n\u0303 ñ A\u030a Å o\u0302\u0323 ộ", "Z\u0351\u036b\u0343a\u0348\u0321l\u0338\u0315g\u0321\u0300o\u0327\u031b",
    "\u0301", " \u0301a", "a\u20dd 1\ufe0f\u20e3", "한글 \u1112\u1161\u11ab", "ﬁ ﬀ ﬆ Ⅷ ½ ² ₂ ① Ⓐ ㊙ ㎏",
    "🙂", "🙂🙂🙂", " 👍🏽 👍🏿👍", "👩‍👩‍👧‍👦 family", "👩🏾‍🚀🧑🏻‍🤝‍🧑🏿", "🏳️‍🌈🏴‍☠️🇩🇪🇯🇵🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "❤️ ❤ ☺️ ✨ ✔️", "a🙂b 🙂c🙂 1🙂2", "→ ← ≤ ≠ ∑ ∫ √2 ∞ €100 £5 ¥ ₹", "“quoted” ‘single’ «guillemets» … – —",
]

NUMBERS = [
    "0", "7", "42", "123", "1234", "12345678901234567890", "3.14159", "-273.15", "1,234,567.89", "1e-9", "0xDEADBEEF 0b1010",
    "a1b22c333d4444", "2024-02-29T23:59:59Z", "+49 (0)30 123456-78", " 1", "  1", "   1", "  12  345   6789", "\t1", "\n1", "\n\n 1", "1 2  3   4",
    "x  1 y", "1\n\n2", "½ 1½ ²3 Ⅻ४५ ٣٤ 一二三 ௰", "  ½", "\u3000\u30001", "v1.2.3-rc.4+build.5", "100% $5.00 #1", "1st 2nd 3rd 10th",
]

WHITE_SPACE = [
    "", " ", "  ", "   ", " " * 7, " " * 64, " " * 333, "\t", "\t\t\t", "\n", "\n\n", "\n\n\n\n\n", "\r\n", "\r\n\r\n", "\r", " \n", "\n ", " \n \n ", "  \n  x",
    "a b", "a  b", "a   b", " a", "  a", "a ", "a  ", "a\tb", "a\t\tb", "a\nb", "a\n\nb", "a \n b", "a\r\nb", "\ta", " \ta\t ", "\n\ta", "a\u00a0b", "a\u00a0\u00a0b", "a\u3000b", "a\u2003 \u2009b",
    "\u2028\u2029x", "a\u200bb\u200d\u2060\ufeffc", "\ufeffBOM", "a\u0085b", "a\u180eb \u180ec", "".join("x" + c for c in SPACES), " ".join("x" + c for c in SPACES), SPACES, SPACES + "x",
    "tab\tand  two\n\n\n   three    \n", "!\n", "!\n\nx", " !\r\n x", "...   \n   ...",
]

CONTRACTED = [
    "I'm you're he's we'll they've I'd don't", "I'M YOU'RE HE'S WE'LL THEY'VE I'D DON'T", "i'Ll we'vE tHey'Re '", "'s't're've'm'll'd", "'S'T'RE'VE'M'LL'D", "''s 's '' 'sx 'tis 'twas rock'n'roll",
    "I’m don’t", "x'\u017f y'\u017fT 'K 'l", "o'clock 'em 'd've y'all'd've",
]

CODE = [
    "def f(x):\n    return x ** 2  # square\n\n\nprint(f(3))\n", "for (int i = 0; i < n; ++i) {\n\ta[i] += b[i]*c[i];\n}\n", "let x: [Int] = [1, 2, 3].map { $0 * 2 }\n",
    "SELECT * FROM t WHERE a >= 10 AND b != 'x';", "<div class=\"a b\">&amp; <br/></div><!-- c -->", "{\"a\": [1, 2.5, null, true], \"b\": {\"c\": \"\\u00e9\\n\"}}", "#include <stdio.h>\r\nint main(void) { return 0; }\r\n",
    "\\frac{\\partial L}{\\partial \\theta_i} = \\sum_{j=1}^{n} x_{ij}", "rm -rf ./build && make -j8 2>&1 | tee log.txt", "camelCaseIdentifier snake_case_identifier SCREAMING_CASE kebab-case __init__ a.b.c",
    "https://example.org/a/b%20c?q=1&r=%E2%9C%93#frag user@mail.example.org", "| a | b |\n|---|:-:|\n| 1 | 2 |\n", "- item\n  - nested\n    1. deep\n> quote\n```py\nx\n```\n**bold** _it_",
    "======== -------- ________ ######## ........ !!!!!!!! ????????", "()[]{}<>;:,.?!@#$%^&*-_=+|\\/~`\"'", "/* comment */ // x\n\"\"\"doc\"\"\" '''y'''",
]

CONTROLS = [
    "\0", "a\0b", "\0\0\0", "".join(map(chr, range(32))), "".join(c + "x" for c in map(chr, range(32))), "\x7f", "\x80\x9f\xa0\xad\xff", "\x1b[31mred\x1b[0m", "\ufffd", "a\ufffdb\ufffd\ufffd",
    "\ue000\uf8ff \U000f0000\U0010fffd", "\ufffe\uffff\U0001fffe", "\u202eright-to-left\u202c \u200f\u200e", "\U000e0001\U0003134a",
]

LONG = ["a" * 300, "ab" * 250, "Donaudampfschifffahrtsgesellschaftskapitän" * 4, "antidisestablishmentarianism" * 10, "啊" * 200, "🙂" * 60, "x" * 50 + "9" * 50 + "!" * 50, "=" * 257, "\n" * 100, "\t" * 40 + "x"]

CHATS = [
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nHi 🙂<|im_end|>\n<|im_start|>assistant\nHello! How can I help?<|im_end|>\n<|im_start|>user\nSay '<|im_end|>'.<|im_end|>\n<|im_start|>assistant\n",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
]


def texts_with(special):
    """Texts around the special tokens of the model."""
    yield from special
    yield "".join(special)
    yield " ".join(special)
    yield "a".join(special)
    yield "1" + "\n".join(special) + "  1"
    yield "<|im_start" + "|>" * 2 + "<<|im_end|>>" + "<|im_end|" + "im_end|>"
    yield "<reponame> <repo_name>x<reponame ><filename>a.py<file_sep>"
    yield "   <|im_end|>   <|im_end|>\n\n<|endoftext|>  "


def random_texts():
    """Strings of characters from everywhere; Python 3.11 and PCRE2 10.42 know Unicode 14."""
    source = random.Random(20240229)
    known = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    ascii = [chr(c) for c in range(32, 127)] + list("\n\t   ''")
    for number in range(24):
        alphabet = known if number % 3 == 0 else ascii if number % 3 == 1 else known[:3000] + ascii * 20
        yield "".join(source.choice(alphabet) for _ in range(60))


def decodings(tokenizer, special, count):
    """Tokens in any order, so that most characters are broken, and what they decode to."""
    source = random.Random(7)
    bytes_alone = [i for i in range(count) if len(tokenizer.id_to_token(i)) == 1]
    for number in range(40):
        pool = [range(count), bytes_alone, bytes_alone + special * 3][number % 3]
        tokens = [source.choice(pool) for _ in range(24)]
        yield {
            "tokens": tokens,
            "text": tokenizer.decode(tokens, skip_special_tokens=False),
            "textWithoutSpecialTokens": tokenizer.decode(tokens, skip_special_tokens=True),
        }


def lengths(pre_tokenizer, text):
    """The pieces' lengths; a character stands for a byte in the byte-level spelling."""
    return [len(piece) for piece, _ in pre_tokenizer.pre_tokenize_str(text)]


def main(model, output):
    field = lambda name: GGUFReader(model).fields["tokenizer.ggml." + name].contents()
    tokens, kinds = field("tokens"), field("token_type")
    merges = [tuple(merge.split(" ")) for merge in field("merges")]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS["smollm"]
    tokenizer.decoder = decoders.ByteLevel()
    special = [index for index, kind in enumerate(kinds) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(tokens[i], normalized=False, special=True) for i in special])

    groups = [LANGUAGES, MARKS_AND_EMOJI, NUMBERS, WHITE_SPACE, CONTRACTED, CODE, CONTROLS, LONG, CHATS]
    groups += [texts_with([tokens[i] for i in special]), random_texts()]
    encodings = []
    for text in (text for group in groups for text in group):
        tokenizer.encode_special_tokens = False
        parsed = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = True
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        entry = {"text": text, "tokens": parsed}
        if plain != parsed:
            entry["tokensWithoutParsing"] = plain
        entry["pieces"] = {name: lengths(rule, text) for name, rule in PRE_TOKENIZERS.items()}
        encodings.append(entry)
    golden = {"encodings": encodings, "decodings": list(decodings(tokenizer, special, len(tokens)))}

    line = lambda entry: json.dumps(entry, ensure_ascii=True, separators=(",", ":"))
    with open(output, "w") as file:
        parts = (f'"{key}":[\n' + ",\n".join(map(line, entries)) + "\n]" for key, entries in golden.items())
        file.write("{" + ",\n".join(parts) + "}\n")
    print(len(encodings), "texts,", len(golden["decodings"]), "decodings")


main(*sys.argv[1:])
