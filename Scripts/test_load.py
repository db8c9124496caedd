#!/usr/bin/env python3
"""Loads a server as many kinds of clients do, and measures what a long prompt does to streams.

    Scripts/test_load.py --nanoflow PATH --model FILE [--requests 1000] [--part load|stalls|drain|all]

Part `load` sends bounded requests at random: streams that are read to the end, streams that are cut
off, streams that are read slowly, answers in whole, texts that are hard to tokenize, and bodies that
are wrong. Every stream that lives must have the tokens that it has alone, also while the clock
jumps by days and all threads share one CPU, and at the end the server has no block, no descriptor and
no memory more than before. Part `drain` ends a server while it streams: the stream must finish,
and new requests must be refused; a second signal must end it at once. Part `stalls` prints the time
between the tokens of 16 streams before and while a prompt of 6,000 tokens is computed.

Needs Python 3.9; part `load` installs Debian's libfaketime where it is missing. Exits with 1 and a
sentence if something does not hold; the times of part `stalls` are printed and judged by nobody.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from test_kv_tier import Failure, Server, say

PATIENCE_SECONDS = 120
CLIENTS = 24
PROMPTS = 40
BAD_BODIES = [
    b"", b"{", b"[1]", b'{"prompt":7}', b'{"prompt":"a","n":1000000}', b'{"prompt":[-1]}',
    b'{"prompt":"a","temperature":-1}', b'{"prompt":"\xff"}', b"[" * 5000,
    b'{"prompt":"a","max_tokens":99999999}', b'{"prompt":"a","n":1,"n":2}',
]
HARD_TEXT_BYTES = 1 << 20


# HTTP, as far as this needs it


class Connection:
    """One connection that carries one request."""

    def __init__(self, url):
        parts = urlsplit(url)
        self.place = (parts.hostname, parts.port)

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection(*self.place)
        return self

    async def __aexit__(self, *_):
        self.writer.transport.abort()

    async def send(self, method, path, body=b""):
        head = [f"{method} {path} HTTP/1.1", "Host: loopback", f"Content-Length: {len(body)}"]
        self.writer.write("\r\n".join([*head, "", ""]).encode() + body)
        await self.writer.drain()
        status = (await self.reader.readline()).split()
        if len(status) < 2:
            raise Failure("The server closed a connection before it answered.")
        self.headers = {}
        while line := (await self.reader.readline()).strip():
            name, _, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()
        return int(status[1])

    async def chunks(self):
        """The pieces of a body that is sent in chunks."""
        while size := int(await self.reader.readline() or b"0", 16):
            yield (await self.reader.readexactly(size + 2))[:-2]

    async def body(self):
        if "content-length" in self.headers:
            return await self.reader.readexactly(int(self.headers["content-length"]))
        return b"".join([piece async for piece in self.chunks()])

    async def events(self):
        rest = b""
        async for piece in self.chunks():
            rest += piece
            *whole, rest = rest.split(b"\n\n")
            for event in whole:
                if event != b"data: [DONE]":
                    yield json.loads(event.removeprefix(b"data: "))


def completion(prompt, count, **fields):
    return json.dumps({
        "prompt": prompt, "max_tokens": count, "temperature": 0, "ignore_eos": True,
        "return_token_ids": True, **fields,
    }).encode()


async def whole(url, body):
    async with Connection(url) as connection:
        status = await connection.send("POST", "/v1/completions", body)
        answer = json.loads(await connection.body())
        if status != 200:
            raise Failure(f"A good request was answered with {status}: {answer}")
        return answer["choices"][0]["token_ids"]


async def streamed(url, body, seconds_a_piece=0.0):
    ids = []
    async with Connection(url) as connection:
        status = await connection.send("POST", "/v1/completions", body)
        if status != 200:
            raise Failure(f"A good stream was answered with {status}.")
        async for event in connection.events():
            for choice in event["choices"]:
                ids += choice.get("token_ids") or []
            if seconds_a_piece:
                await asyncio.sleep(seconds_a_piece)
    return ids


async def metric(url, name):
    async with Connection(url) as connection:
        await connection.send("GET", "/metrics")
        for line in (await connection.body()).decode().splitlines():
            if line.startswith(name + "{"):
                return float(line.split()[-1])
    raise Failure(f"The server has no metric {name}.")


# Part `load`


class Load:
    """Bounded requests of every kind, and what became of them."""

    def __init__(self, url, requests, seed):
        self.url = url
        self.left = requests
        self.chance = random.Random(seed)
        self.counts = {}
        self.prompts = [
            [self.chance.randint(1000, 20000) for _ in range(self.chance.randint(4, 90))]
            for _ in range(PROMPTS)
        ]
        self.expected = {}

    async def learn(self):
        """What each prompt is answered with when nobody else asks."""
        for index, prompt in enumerate(self.prompts):
            self.expected[index] = await whole(self.url, completion(prompt, 24))

    async def run(self):
        await asyncio.gather(*(self.client() for _ in range(CLIENTS)))

    async def client(self):
        kinds = [
            self.read, self.read, self.ask, self.cut, self.cut, self.crawl, self.fail, self.fail,
            self.burden]
        while self.left > 0:
            self.left -= 1
            kind = self.chance.choice(kinds)
            await kind(self.chance.randrange(PROMPTS), self.chance.randint(1, 24))
            self.counts[kind.__name__] = self.counts.get(kind.__name__, 0) + 1

    def check(self, index, ids, count, how):
        if ids != self.expected[index][:count]:
            raise Failure(f"Prompt {index} has other tokens {how} than alone.")

    async def read(self, index, count):
        body = completion(self.prompts[index], count, stream=True)
        self.check(index, await streamed(self.url, body), count, "in a stream")

    async def ask(self, index, count):
        ids = await whole(self.url, completion(self.prompts[index], count))
        self.check(index, ids, count, "in whole")

    async def crawl(self, index, count):
        body = completion(self.prompts[index], count, stream=True)
        self.check(index, await streamed(self.url, body, 0.02), count, "read slowly")

    async def cut(self, index, _):
        """Goes away before, in or after the first events."""
        body = completion(self.prompts[index], 400, stream=self.chance.random() < 0.7)
        async with Connection(self.url) as connection:
            events = self.chance.randrange(4)
            try:
                await asyncio.wait_for(self.begin(connection, body, events), 0.2 + 0.2 * events)
            except asyncio.TimeoutError:
                pass

    @staticmethod
    async def begin(connection, body, count):
        await connection.send("POST", "/v1/completions", body)
        async for _ in connection.events():
            count -= 1
            if count <= 0:
                return

    async def fail(self, *_):
        async with Connection(self.url) as connection:
            body = self.chance.choice(BAD_BODIES)
            status = await connection.send("POST", "/v1/completions", body)
            if status != 400:
                raise Failure(f"The body {body[:40]!r} was answered with {status}, not 400.")

    async def burden(self, *_):
        """One word of a megabyte."""
        async with Connection(self.url) as connection:
            body = json.dumps({"prompt": "a" * HARD_TEXT_BYTES}).encode()
            status = await connection.send("POST", "/tokenize", body)
            count = json.loads(await connection.body()).get("count", 0)
            if status != 200 or count < 1:
                raise Failure(f"A long word was answered with {status} and {count} tokens.")


class Clock:
    """The date as a server sees it, which may jump; what measures time goes on as ever."""

    def __init__(self, folder):
        self.offset = Path(folder) / "offset"
        self.jump(0)

    def jump(self, days):
        whole = self.offset.with_suffix(".new")
        whole.write_text(f"{days:+}d")
        whole.rename(self.offset)

    @property
    def environment(self):
        return {
            "LD_PRELOAD": self.library(), "FAKETIME_TIMESTAMP_FILE": str(self.offset),
            "FAKETIME_CACHE_DURATION": "1", "DONT_FAKE_MONOTONIC": "1",
        }

    @staticmethod
    def library():
        scripts = Path(__file__).parent
        subprocess.run([scripts / "install_packages.sh", "libfaketime"], check=True)
        listed = subprocess.run(
            ["dpkg", "-L", "libfaketime"], check=True, capture_output=True, text=True)
        return next(line for line in listed.stdout.split() if line.endswith("libfaketime.so.1"))


@contextlib.asynccontextmanager
async def disturbed(server, clock):
    """Lets the clock jump by days, and all threads share one CPU, time and again."""
    pid, dates, masks = server.process.pid, set(), {}
    everywhere = os.sched_getaffinity(0)

    def threads():
        return [int(name) for name in os.listdir(f"/proc/{pid}/task")]

    for thread in threads():
        with contextlib.suppress(ProcessLookupError):
            masks[thread] = os.sched_getaffinity(thread)

    def run_on(cpus):
        for thread in threads():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread, cpus or masks.get(thread, everywhere))

    async def disturb():
        one = {min(everywhere)}
        for days, cpus in itertools.cycle([(2, one), (-2, None), (0, None)]):
            clock.jump(days)
            run_on(cpus)
            await asyncio.sleep(1.5)
            async with Connection(server.url) as connection:
                await connection.send("POST", "/v1/completions", completion([5], 1))
                dates.add(json.loads(await connection.body())["created"] // 86400)

    task = asyncio.create_task(disturb())
    try:
        yield
        await until("the server has not seen its clock jump", lambda: has_at_least(3, dates))
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        clock.jump(0)
        run_on(None)


async def has_at_least(count, values):
    return len(values) >= count


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def until(what, condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await condition():
        if time.monotonic() > deadline:
            raise Failure(f"After {PATIENCE_SECONDS} seconds {what}.")
        await asyncio.sleep(0.05)


async def check_load(server, requests, clock):
    load = Load(server.url, requests, seed=5)
    pid = server.process.pid
    await load.learn()
    # The first round fills buffers and pools that stay.
    load.left = requests // 4
    async with disturbed(server, clock):
        await load.run()
    await settle(server)
    before = (descriptors(pid), resident(pid))
    load.left = requests - requests // 4
    await load.run()
    await settle(server)
    after = (descriptors(pid), resident(pid))
    say(f"load     {requests} requests: " + ", ".join(
        f"{count} {name}" for name, count in sorted(load.counts.items())))
    say(f"load     descriptors {before[0]} then {after[0]}, resident {before[1] >> 20} then "
        f"{after[1] >> 20} MiB")
    if after[0] > before[0]:
        raise Failure(f"There were {before[0]} open descriptors, and now {after[0]}.")
    bound = await metric(server.url, "nanoflow:memory_bound_bytes")
    if after[1] > bound:
        raise Failure(f"{after[1]} bytes are in memory, more than the bound of {bound:.0f}.")
    if after[1] > before[1] + (32 << 20):
        raise Failure(f"Memory grew by {(after[1] - before[1]) >> 20} MiB.")


async def settle(server):
    async def idle():
        used = await metric(server.url, "nanoflow:kv_blocks_used")
        running = await metric(server.url, "vllm:num_requests_running")
        waiting = await metric(server.url, "vllm:num_requests_waiting")
        return used == running == waiting == 0

    await until("blocks are in use that nobody has", idle)


# Part `drain`


async def check_drain(arguments, options):
    with Server(arguments, options) as server:
        body = completion([5000, 6000], 300, stream=True)
        async with Connection(server.url) as stream:
            await stream.send("POST", "/v1/completions", body)
            events = stream.events()
            await events.__anext__()
            server.process.send_signal(signal.SIGTERM)

            async def refuses():
                async with Connection(server.url) as connection:
                    return await connection.send("GET", "/ready") == 503

            await until("/ready is not red after SIGTERM", refuses)
            async with Connection(server.url) as connection:
                if await connection.send("GET", "/health") != 200:
                    raise Failure("/health is red while the server drains.")
            async with Connection(server.url) as connection:
                status = await connection.send("POST", "/v1/completions", completion([5], 1))
                if status != 503 or "retry-after" not in connection.headers:
                    raise Failure(f"A request while the server drains is answered with {status}.")
            count = 1 + len([event async for event in events if event["choices"]])
            if count < 300:
                raise Failure(f"The stream had {count} events when the server ended.")
        server.stop()
    say("drain    the stream has finished, new requests were refused, the server has ended with 0")
    with Server(arguments, options) as server:
        async with Connection(server.url) as stream:
            await stream.send("POST", "/v1/completions", completion([5000], 900, stream=True))
            await stream.events().__anext__()
            begin = time.monotonic()
            server.process.send_signal(signal.SIGTERM)

            async def refuses():
                async with Connection(server.url) as connection:
                    return await connection.send("GET", "/ready") == 503

            await until("/ready is not red after SIGTERM", refuses)
            server.stop()
            say(f"drain    a second signal has ended it after {time.monotonic() - begin:.1f} s")


# Part `stalls`


async def stalls(arguments):
    streams, prompt = 16, [7000 + index % 3000 for index in range(6000)]
    options = ["--max-num-seqs", "32", "--kv-cache-memory", "2G"]
    with Server(arguments, ["--max-model-len", "8192", *options]) as server:
        gaps = {"before": [], "beside": []}
        state = {"phase": None}

        async def read(index):
            body = completion([1000 + index, 2000], 4000, stream=True)
            async with Connection(server.url) as connection:
                await connection.send("POST", "/v1/completions", body)
                last = None
                async for _ in connection.events():
                    now = time.monotonic()
                    if last and state["phase"]:
                        gaps[state["phase"]].append(now - last)
                    last = now

        readers = [asyncio.create_task(read(index)) for index in range(streams)]
        await asyncio.sleep(5)
        state["phase"] = "before"
        await asyncio.sleep(10)
        state["phase"] = "beside"
        begin = time.monotonic()
        await whole(server.url, completion(prompt, 1))
        seconds = time.monotonic() - begin
        for reader in readers:
            reader.cancel()
    median = statistics.median(gaps["before"])
    for name, values in gaps.items():
        values.sort()
        p99 = values[int(0.99 * (len(values) - 1))]
        say(f"stalls   {name:7} {len(values):6} gaps, median {1000 * statistics.median(values):.0f} "
            f"ms, p99 {1000 * p99:.0f} ms, {p99 / median:.2f} x the median before")
    say(f"stalls   the prompt of {len(prompt)} tokens took {seconds:.1f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nanoflow", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--part", choices=["load", "drain", "stalls", "all"], default="all")
    arguments = parser.parse_args()
    options = ["--max-num-seqs", "32", "--kv-cache-memory", "64M", "--max-num-batched-tokens", "128"]
    try:
        if arguments.part in ("load", "all"):
            with tempfile.TemporaryDirectory() as folder:
                clock = Clock(folder)
                # The library adds to the environment of the first program that loads it, and where that
                # has moved a Swift program does not find its arguments: so `env` is the first.
                with Server(
                        arguments, options, through=["env"],
                        environment=clock.environment) as server:
                    asyncio.run(check_load(server, arguments.requests, clock))
                    server.stop()
        if arguments.part in ("drain", "all"):
            asyncio.run(check_drain(arguments, options))
        if arguments.part in ("stalls", "all"):
            asyncio.run(stalls(arguments))
    except Failure as failure:
        print(f"test_load.py: {failure}", file=sys.stderr)
        if Server.newest is not None:
            print(Server.newest.stderr()[-2000:], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
