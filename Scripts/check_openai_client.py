"""Checks a running server with the official OpenAI client.

    python3 check_openai_client.py http://127.0.0.1:8000/v1 [Paris]

Written for `pip install openai==3.54.0`. Prints a line a check; exits with 1 if one fails.
The second argument is a word that the answer about France's capital must contain: the default
model knows it in f32; in bf16 and int8 its first token is a near tie.
"""

import sys
import threading

import openai

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
TOPICS = [
    "the sea", "a lighthouse", "winter", "bread", "an old clock", "rivers", "music", "a small dog",
    "mountains", "the moon", "paper", "a garden", "trains", "honey", "chess", "the desert",
]
FORMS = ["Write one sentence about", "Name three facts about", "Explain to a child", "Describe"]
PROMPTS = [f"{form} {topic}." for form in FORMS for topic in TOPICS]


def streamed_text(client, model, content, max_tokens):
    stream = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": content}], temperature=0,
        max_tokens=max_tokens, stream=True, stream_options={"include_usage": True})
    parts, usage, reasons = [], None, []
    for chunk in stream:
        if chunk.usage is not None:
            usage = chunk.usage
        for choice in chunk.choices:
            parts.append(choice.delta.content or "")
            if choice.finish_reason is not None:
                reasons.append(choice.finish_reason)
    assert usage is not None and usage.completion_tokens > 0, "no usage in the last chunk"
    assert len(reasons) == 1, f"finish reasons: {reasons}"
    return "".join(parts)


def check_models(client, model):
    assert client.models.retrieve(model).id == model
    return model


def check_streamed_chat(client, model):
    answer = streamed_text(client, model, QUESTION[0]["content"], 64)
    assert answer and all(word in answer for word in sys.argv[2:]), f"the answer was {answer!r}"
    return repr(answer)


def check_whole_chat(client, model):
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, temperature=0, max_tokens=64)
    text = answer.choices[0].message.content
    assert answer.choices[0].message.role == "assistant"
    assert text == streamed_text(client, model, QUESTION[0]["content"], 64), "stream differs"
    return f"{answer.usage.completion_tokens} tokens, as streamed"


def check_completion(client, model):
    answer = client.completions.create(
        model=model, prompt=["Once upon a time", "The sky is"], temperature=0, max_tokens=16)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert all(choice.text for choice in answer.choices)
    return repr(answer.choices[1].text)


def check_logprobs(client, model):
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, temperature=0, max_tokens=8, logprobs=True, top_logprobs=3)
    entries = answer.choices[0].logprobs.content
    assert entries, "no entries"
    for entry in entries:
        assert entry.logprob <= 0 and len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].logprob >= entry.top_logprobs[2].logprob
    legacy = client.completions.create(
        model=model, prompt="The sky is", temperature=0, max_tokens=4, logprobs=2)
    logprobs = legacy.choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset)
    return f"{len(entries)} tokens"


def check_choices(client, model):
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, n=3, seed=7, max_tokens=16)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    return "n=3"


def check_errors(client, model):
    try:
        client.chat.completions.create(model="no-such-model", messages=QUESTION)
        raise AssertionError("an unknown model was accepted")
    except openai.NotFoundError as error:
        message = error.body["message"]
    for field, value in [("max_tokens", -1), ("temperature", -1), ("n", 0)]:
        try:
            client.chat.completions.create(model=model, messages=QUESTION, **{field: value})
            raise AssertionError(f"{field}={value} was accepted")
        except openai.BadRequestError as error:
            assert error.param == field, f"{error.param} instead of {field}"
    return message


def check_concurrent_streams(client, model):
    alone = [streamed_text(client, model, prompt, 48) for prompt in PROMPTS]
    together = [None] * len(PROMPTS)
    start = threading.Barrier(len(PROMPTS))

    def run(index):
        start.wait()
        try:
            together[index] = streamed_text(client, model, PROMPTS[index], 48)
        except Exception as error:
            together[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(PROMPTS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for prompt, one, many in zip(PROMPTS, alone, together):
        assert one == many, f"{prompt!r}: {one!r} alone, {many!r} among {len(PROMPTS)}"
    return f"{len(PROMPTS)} streams equal their answers alone"


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    client = openai.OpenAI(
        base_url=sys.argv[1], api_key="none", max_retries=0, timeout=600,
        http_client=openai.DefaultHttpxClient(trust_env=False))
    models = client.models.list().data
    assert len(models) == 1, f"{len(models)} models"
    failures = 0
    for check in [
        check_models, check_streamed_chat, check_whole_chat, check_completion, check_logprobs,
        check_choices, check_errors, check_concurrent_streams,
    ]:
        name = check.__name__.removeprefix("check_")
        try:
            print(f"ok      {name}: {check(client, models[0].id)}", flush=True)
        except Exception as error:
            failures += 1
            print(f"FAILED  {name}: {type(error).__name__}: {error}", flush=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
