"""Writes what transformers' own Jinja set-up makes of chat templates, for NanoTokenizerTests.

Usage: python make_chat_template_goldens.py FIXTURES
FIXTURES is Tests/NanoTokenizerTests/Fixtures: every chat_templates/*.jinja in it is rendered with
every conversation below, every line of chat_templates_expressions.txt alone, and the results go
to chat_templates.json. pip install transformers==5.23.0 jinja2==3.1.6 numpy

smollm2.jinja is the template of SmolLM2-135M-Instruct (Apache-2.0); the others were written for
these tests, in the manner of the model families they are named after.
"""

import json
import pathlib
import sys
from datetime import datetime

import jinja2
from transformers.utils import chat_template_utils


class FixedDate(datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, 15, 4, 5)


chat_template_utils.datetime = FixedDate


def message(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, **more):
    return {"type": "function", "function": {"name": name, "arguments": arguments}, **more}


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather of a place, today or on a day to come.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "the city, e.g. Zürich"},
                "days": {"type": "integer", "default": 1},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                "hours": {"type": "array", "items": {"type": "number"}},
                "box": {
                    "type": "object",
                    "properties": {
                        "north": {"type": ["number", "null"]},
                        "tags": {"type": "array", "items": {"type": "object"}},
                        "deep": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "boolean"}}}},
                    },
                    "required": ["north"],
                },
            },
            "required": ["place"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {}, "return": {"type": "string"}}}

PLAIN = [message("user", "What is the capital of France?")]
SYSTEM = [message("system", "  Be brief.\n"), message("user", "Hello")]
TURNS = [
    message("user", " one "),
    message("assistant", "  two\n"),
    message("user", "three\n\n"),
    message("assistant", "<think>\nfour?\n</think>\n\nfour"),
    message("user", "five"),
]
UNICODE = [
    message("system", "Naïve café — 日本語 \u200b \u2028 🙂‍↕️"),
    message("user", "e\u0301 vs é, ß İ ς Σ, \"quotes\" 'and' \\ back\\n <b>&amp;</b> {{ braces }} {% tag %}"),
]
TOOL_TURNS = [
    message("system", "Use tools."),
    message("user", "Weather in Zürich?"),
    message("assistant", "", tool_calls=[call("get_weather", {"place": "Zürich", "days": 2, "x": [1.5, None, True]}, id="abc123def")]),
    message("tool", '{"sky": "clear"}', tool_call_id="abc123def", name="get_weather"),
    message("assistant", "Clear."),
    message("user", "Thanks"),
]
TWO_CALLS = [
    message("user", "Both, please"),
    message("assistant", "Sure.", tool_calls=[call("get_weather", {"place": "A"}, id="123456789"), call("clock", {}, id="short")]),
    message("tool", "rain"),
    message("tool", "noon"),
]
PARTS = [
    message("system", [{"type": "text", "text": "See."}]),
    message("user", [{"type": "text", "text": " What is this? "}, {"type": "image"}, {"type": "text", "text": "And this?"}]),
    message("assistant", [{"type": "text", "text": "A cat."}]),
    message("user", []),
]

CONVERSATIONS = {
    "question": dict(messages=PLAIN, add_generation_prompt=True),
    "question without prompt": dict(messages=PLAIN, add_generation_prompt=False),
    "bare": dict(messages=PLAIN),
    "system": dict(messages=SYSTEM, add_generation_prompt=True),
    "turns": dict(messages=TURNS, add_generation_prompt=True),
    "answered": dict(messages=TURNS[:4], add_generation_prompt=False),
    "unicode": dict(messages=UNICODE, add_generation_prompt=True),
    "tools": dict(messages=PLAIN, tools=[WEATHER, CLOCK], add_generation_prompt=True),
    "tools in system": dict(messages=SYSTEM, tools=[WEATHER], tools_in_user_message=False, date_string="1 Jan 2025", add_generation_prompt=True),
    "tool turns": dict(messages=TOOL_TURNS, tools=[WEATHER], add_generation_prompt=True),
    "two calls": dict(messages=TWO_CALLS, add_generation_prompt=True),
    "parts": dict(messages=PARTS, add_generation_prompt=True),
    "documents": dict(
        messages=PLAIN,
        documents=[{"title": "the first-one", "text": "Some words that go on and on and on, far beyond."}, {"title": "", "text": "Short."}],
        add_generation_prompt=True,
    ),
    "no thinking": dict(messages=TURNS[:1], enable_thinking=False, reasoning_effort="high", add_generation_prompt=True),
    "reasoning": dict(messages=TURNS[:1] + [message("assistant", "yes", reasoning_content="\nhm\n", thinking="hm")]),
    "no messages": dict(messages=[], add_generation_prompt=True),
    "no content": dict(messages=[{"role": "user"}], add_generation_prompt=True),
    "null content": dict(messages=[message("user", "a"), message("assistant", None), message("user", "b")]),
    "no role": dict(messages=[{"content": "hi"}], add_generation_prompt=True),
    "wrong order": dict(messages=[message("assistant", "a"), message("user", "b")], add_generation_prompt=True),
    "two systems": dict(messages=SYSTEM[:1] + SYSTEM, add_generation_prompt=True),
    "unknown role": dict(messages=[message("ignored", "x"), message("user", "y"), message("critic", "z", stop=True)]),
    "missing": dict(add_generation_prompt=True),
}

EXPRESSION_VARIABLES = dict(
    messages=TURNS,
    text="The quick Brown fox",
    words=["pear", "Apple", "fig", "apple", "Fig"],
    numbers=[3, 1, 2, 3, -7],
    people=[{"name": "Bo", "age": 30, "home": {"city": "Rome"}}, {"name": "al", "age": 4}, {"name": "Cy", "age": 30, "home": {"city": "Oslo"}}],
    table={"b": 2, "a": 1, "C": [1, {"x": None}], "items": "own"},
    empty=[],
    nothing=None,
    yes=True,
    pi=3.14159,
    lines="one\n\n  two\r\nthree",
    unicode="Straße İ ΑΣ e\u0301 日本",
    bos_token="<s>",
    eos_token="</s>",
)


def tagged(value):
    """JSON in which dictionaries keep their order and floats are known from whole numbers."""
    if isinstance(value, dict):
        return ["dict", *[[key, tagged(item)] for key, item in value.items()]]
    if isinstance(value, list):
        return ["list", *map(tagged, value)]
    return ["float", value] if isinstance(value, float) else value


def render(source, variables):
    """The text, or why there is none: a syntax error, an error at work, the template's own words."""
    try:
        template = chat_template_utils._compile_jinja_template(source)
    except (jinja2.TemplateSyntaxError, SyntaxError):
        return {"error": "syntax"}
    try:
        return {"text": template.render(**variables)}
    except jinja2.TemplateError as error:
        return {"raised": str(error)} if type(error) is jinja2.TemplateError else {"error": "evaluation"}
    except Exception:
        return {"error": "evaluation"}


def main():
    fixtures = pathlib.Path(sys.argv[1])
    tokens = dict(bos_token="<s>", eos_token="</s>")
    conversations = {name: {**tokens, **variables} for name, variables in CONVERSATIONS.items()}
    renderings = []
    for path in sorted((fixtures / "chat_templates").glob("*.jinja")):
        source = path.read_bytes().decode()
        for name, variables in conversations.items():
            renderings.append({"template": path.stem, "conversation": name, **render(source, variables)})
    expressions = []
    for line in (fixtures / "chat_templates_expressions.txt").read_text().splitlines():
        if line and not line.startswith("##"):
            source = line.replace("⏎", "\n")
            expressions.append({"source": source, **render(source, EXPRESSION_VARIABLES)})
    golden = {
        "conversations": {name: tagged(variables) for name, variables in conversations.items()},
        "expression_variables": tagged(EXPRESSION_VARIABLES),
        "renderings": renderings,
        "expressions": expressions,
    }
    text = json.dumps(golden, ensure_ascii=False, indent=0)
    (fixtures / "chat_templates.json").write_text(text + "\n")
    failed = sum("text" not in entry for entry in renderings + expressions)
    print(f"{len(renderings)} renderings, {len(expressions)} expressions, {failed} of them errors")


main()
