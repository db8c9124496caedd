"""What test_openapi.sh tells schemathesis beside docs/openapi.yaml.

The description holds for any model. Before it is used, what only the running server knows (the model's
name, the size of its vocabulary) is put into it, and answers may have no field that it does not have.
Requests that are to be accepted are made short, and are made to keep to the rules between fields that
JSON Schema does not express. A value that is refused as it stands is never touched.
"""

import json
import os
import urllib.request

import schemathesis

URL = os.environ["NANOFLOW_TEST_URL"]
KEY = os.environ["NANOFLOW_TEST_KEY"]
MOST_TOKENS = 4
MOST_CHOICES = 2
MOST_ITEMS = 3
# Four tokens a character at most, so that three texts fit in a context of 512.
MOST_CHARACTERS = 24
INT32_MAX = 2**31 - 1


def ask(path, body=None):
    """The status and the answer."""
    request = urllib.request.Request(
        URL + path, None if body is None else json.dumps(body).encode(),
        {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def vocabulary_count():
    """The first number that is no token's."""
    low, high = 0, INT32_MAX
    while low < high:
        middle = (low + high) // 2
        if ask("/detokenize", {"tokens": [middle]})[0] == 200:
            low = middle + 1
        else:
            high = middle
    return low


MODEL = ask("/v1/models")[1]["data"][0]["id"]
VOCABULARY = vocabulary_count()


@schemathesis.hook
def before_load_schema(context, raw_schema):
    schemas = raw_schema["components"]["schemas"]
    schemas["ServedModel"]["enum"] = [MODEL]
    schemas["TokenID"]["maximum"] = VOCABULARY - 1
    for name, schema in schemas.items():
        if not name.endswith(("Request", "Fields", "Text", "Chat")) and name != "Message":
            close(schema)
    for methods in raw_schema["paths"].values():
        for operation in methods.values():
            close(operation["responses"])


def close(schema):
    """Lets objects have the properties that are named, and no others."""
    if isinstance(schema, list):
        for part in schema:
            close(part)
    elif isinstance(schema, dict):
        for part in schema.values():
            close(part)
        # An event is read with the names of all its fields, of which only the data is described.
        if "required" in schema and "properties" in schema and "data" not in schema["required"]:
            schema.setdefault("additionalProperties", False)


@schemathesis.hook
def before_call(context, case, kwargs):
    if isinstance(case.body, dict) and case.operation.path != "/detokenize":
        shorten(case.body)
        if case.operation.path != "/tokenize":
            bound(case.body, is_chat="chat" in case.operation.path)


def is_integer(value, low, high):
    """JSON has one kind of numbers: 4.0 is an integer, too."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return low <= value <= high and value == int(value)


def shorten(body):
    """Cuts texts and lists, none of them to nothing."""
    if "prompt" in body:
        body["prompt"] = shortened_prompt(body["prompt"])
    if is_list_of(body.get("messages"), dict):
        body["messages"] = body["messages"][:MOST_ITEMS]
        for message in body["messages"]:
            content = message.get("content")
            if isinstance(content, str):
                message["content"] = content[:MOST_CHARACTERS]
            elif is_list_of(content, dict) and all(is_part(part) for part in content):
                message["content"] = content[:MOST_ITEMS]
                for part in message["content"]:
                    part["text"] = part["text"][: MOST_CHARACTERS // MOST_ITEMS]


def is_list_of(value, kind):
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def is_part(part):
    return part.get("type") == "text" and isinstance(part.get("text"), str)


def shortened_prompt(prompt):
    # Whether the empty text has a token depends on the model.
    if isinstance(prompt, str):
        return prompt[:MOST_CHARACTERS] or "a"
    if is_list_of(prompt, str) and 1 <= len(prompt) <= 256:
        return [text[:MOST_CHARACTERS] or "a" for text in prompt[:MOST_ITEMS]]
    if is_list_of(prompt, list) and 1 <= len(prompt) <= 256 and all(map(are_tokens, prompt)):
        return [tokens[:MOST_CHARACTERS] for tokens in prompt[:MOST_ITEMS]]
    if are_tokens(prompt):
        return prompt[:MOST_CHARACTERS]
    return prompt


def are_tokens(value):
    return (
        isinstance(value, list) and len(value) > 0
        and all(is_integer(token, 0, VOCABULARY - 1) for token in value))


def bound(body, is_chat):
    """Few tokens and choices, and the rules between fields."""
    if is_integer(body.get("n"), 1, 256):
        body["n"] = min(body["n"], MOST_CHOICES)
    if is_integer(body.get("best_of"), 1, 256):
        body["best_of"] = 1 if body.get("n") is None else body["n"]
    limits = [name for name in ("max_completion_tokens", "max_tokens") if body.get(name) is not None]
    if not limits:
        limits = ["max_tokens"]
        body["max_tokens"] = MOST_TOKENS
    scores = body.get("prompt_logprobs") is not None or body.get("echo") is True
    for name in limits:
        if is_integer(body[name], 0 if name == "max_tokens" else 1, INT32_MAX):
            body[name] = min(body[name], MOST_TOKENS) if body[name] or scores else 1
    if is_integer(body.get("min_tokens"), 0, INT32_MAX):
        most = body[limits[0]]
        body["min_tokens"] = min(body["min_tokens"], most if is_integer(most, 0, INT32_MAX) else 0)
    if is_integer(body.get("prompt_logprobs"), 0, 20) and body.get("stream") is True:
        body["stream"] = False
    if is_chat and is_integer(body.get("top_logprobs"), 1, 20) and body.get("logprobs") in (None, False):
        body["logprobs"] = True
    # Not by equality, to which 0 is false.
    if json.dumps(body.get("tools")) not in ("null", "false", '""', "[]", "{}"):
        body["tool_choice"] = "none"
    keep_biases(body)
    stops, tokens = body.get("stop"), body.get("stop_token_ids")
    if isinstance(stops, str):
        stops = [stops]
    if isinstance(stops, list) and isinstance(tokens, list) and len(stops) <= 16 >= len(tokens):
        body["stop_token_ids"] = tokens[: 16 - len(stops)]


def keep_biases(body):
    """Numbers that are no token's become some that are."""
    biases = body.get("logit_bias")
    if isinstance(biases, dict) and all(name.isascii() and name.isdigit() for name in biases):
        body["logit_bias"] = {str(int(name) % VOCABULARY): value for name, value in biases.items()}
