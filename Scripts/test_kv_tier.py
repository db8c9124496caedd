#!/usr/bin/env python3
"""Checks the KV cache's disk tier, and the bound of memory, from outside.

    Scripts/test_kv_tier.py --nanoflow PATH --model FILE [--kills 20] [--part kill|memory|all]

Part `kill` kills the server while it writes blocks, and damages the block file every third time:
each server after that must answer as one without a disk tier does. Part `memory` asks for ten times
the KV cache at once: every request must be answered as it is alone, in the memory that the server
says it needs. Answers are compared by their text and by the log-probability of every token.

Needs Python 3.9 and nothing else; a memory control group where one can be made. Exits with 1 and
a sentence if something does not hold.
"""

import argparse
import ctypes
import http.client
import json
import math
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, namedtuple
from pathlib import Path
from urllib.parse import urlsplit

START_SECONDS = 120
STOP_SECONDS = 60
# For one list of prompts, all together.
ANSWER_SECONDS = 1800
CLIENTS = 8
# For the server every answer may end early, so that it has to guess how much memory will be used.
NEVER_SAID = "what no answer says"
MIB = 1 << 20
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1

Answer = namedtuple("Answer", "text count logprobs")


class Failure(Exception):
    """What did not hold, as a sentence."""


def say(line):
    print(line, flush=True)


def tokens(chance, count):
    return [chance.randint(1000, 20000) for _ in range(count)]


# The server


class Server:
    """A `nanoflow serve` on a free port, that never outlives this script."""

    newest = None

    def __init__(self, arguments, options, group=None, through=(), environment=None):
        command = [*through, arguments.nanoflow, "serve", "--model", arguments.model, "--port", "0"]
        command += ["--max-model-len", "1024", *options]
        self.group = group
        self.errors = tempfile.TemporaryFile()
        Server.newest = self
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors,
            env={**os.environ, **(environment or {})}, preexec_fn=self._prepare)
        try:
            self.url = self._read_url()
        except BaseException:
            self.kill()
            raise

    def _prepare(self):
        """Runs in the child before the program does."""
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if self.group is not None:
            self.group.join()

    def _read_url(self):
        greeting = b""
        deadline = time.monotonic() + START_SECONDS
        while True:
            found = re.search(rb"^Serving .* at (http://\S+)\n", greeting, re.MULTILINE)
            if found:
                return found.group(1).decode()
            left = max(0, deadline - time.monotonic())
            if not select.select([self.process.stdout], [], [], left)[0]:
                raise Failure(f"The server has not greeted after {START_SECONDS} seconds.")
            part = os.read(self.process.stdout.fileno(), 65536)
            if not part:
                raise Failure("The server ended before it greeted.")
            greeting += part

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(STOP_SECONDS)
        self.process.stdout.close()

    def stop(self):
        """Asks the server to end, which it must do in time and without an error."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(f"The server has not ended {STOP_SECONDS} seconds after SIGTERM.")
        if code != 0:
            raise Failure(f"The server ended with {code} instead of 0 after SIGTERM.")

    def check_alive(self, patience=0):
        """With patience where there is a sign that the server is ending just now."""
        try:
            code = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            return
        raise Failure(f"The server ended by itself, with {code}.")

    def stderr(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def peak_bytes(self):
        """The most memory that the process has had resident."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE).group(1)) * 1024

    def request(self, method, path, body=None, timeout=ANSWER_SECONDS):
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=timeout)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read().decode()
        finally:
            connection.close()
        if response.status != 200:
            raise Failure(f"{method} {path} was answered with {response.status}: {content[:500]}")
        return content

    def metrics(self, timeout=30):
        """The sum over the labels of each metric."""
        sums = Counter()
        for line in self.request("GET", "/metrics", timeout=timeout).splitlines():
            found = re.match(r"([a-zA-Z_:][\w:]*)(?:\{.*\})? (\S+)", line)
            if found:
                sums[found.group(1)] += float(found.group(2))
        return sums

    def answer(self, prompt, count):
        body = {
            "prompt": prompt, "max_tokens": count, "temperature": 0, "ignore_eos": True,
            "logprobs": 0, "stop": NEVER_SAID}
        content = json.loads(self.request("POST", "/v1/completions", json.dumps(body)))
        choice = content["choices"][0]
        return Answer(
            choice["text"], content["usage"]["completion_tokens"],
            choice["logprobs"]["token_logprobs"])

    def answers(self, prompts, count, clients):
        """The answers to the prompts, in their order, from so many clients at once."""
        answers = [None] * len(prompts)
        indices = iter(range(len(prompts)))
        lock = threading.Lock()

        def run():
            while True:
                with lock:
                    index = next(indices, None)
                if index is None:
                    return
                try:
                    answers[index] = self.answer(prompts[index], count)
                except Exception as error:
                    answers[index] = error
                    return

        join([start(run) for _ in range(clients)])
        for error in answers:
            if isinstance(error, Exception):
                self.check_alive(patience=5)
                raise error
        return answers


def start(run):
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def join(threads):
    deadline = time.monotonic() + ANSWER_SECONDS
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
        if thread.is_alive():
            raise Failure(f"Not all requests were answered in {ANSWER_SECONDS} seconds.")


def difference(prompt, answer, expected):
    """How an answer differs, as a sentence, or None."""
    name = f"The answer to the prompt of {len(prompt)} tokens that begins with {prompt[:4]}"
    if answer.count != expected.count:
        return f"{name} has {answer.count} tokens instead of {expected.count}."
    if answer.text != expected.text:
        return f"{name} is {answer.text!r} instead of {expected.text!r}."
    for index, (one, other) in enumerate(zip(answer.logprobs, expected.logprobs)):
        if one != other:
            return f"{name} has the right text, but token {index} has {one} instead of {other}."
    return None


def check_answers(prompts, answers, expected):
    for prompt, answer, right in zip(prompts, answers, expected):
        wrong = difference(prompt, answer, right)
        if wrong:
            raise Failure(wrong)


def answers_alone(arguments, prompts, count):
    """What a server says that keeps nothing and is asked one thing after the other."""
    with Server(arguments, ["--no-prefix-caching", "--kv-cache-memory", "128M"]) as server:
        answers = server.answers(prompts, count, clients=1)
        server.stop()
    for answer in answers:
        if answer.count != count:
            raise Failure(f"An answer has {answer.count} tokens; {count} were asked for.")
    return answers


# Part kill

KILL_COMPLETION = 24
# Memory for fewer blocks than the prompts have, so that the disk is read; short steps, so that
# little is written often.
KILL_OPTIONS = [
    "--kv-cache-memory", "64M", "--kv-disk-size", "512M", "--max-num-batched-tokens", "128"]
FETCHED = "nanoflow:kv_disk_fetched_blocks_total"
# How long a kill waits for a write to begin.
WRITE_SECONDS = 2


def kill_prompts():
    """Four beginnings with four ends each, and eight prompts that share nothing."""
    chance = random.Random("kill prompts")
    prompts = []
    for _ in range(4):
        beginning = tokens(chance, chance.randint(200, 500))
        prompts += [beginning + tokens(chance, chance.randint(1, 400)) for _ in range(4)]
    return prompts + [tokens(chance, chance.randint(200, 900)) for _ in range(8)]


class Storm:
    """Clients that ask known and fresh prompts until the server is killed."""

    def __init__(self, server, prompts, expected, chance):
        self.server = server
        self.known = list(zip(prompts, expected))
        self.checked = 0
        self.failure = None
        self.saw_write = False
        # Set when the server is about to be killed, or when something is wrong already.
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.seeds = [chance.random() for _ in range(CLIENTS)]

    def run(self, seconds, file=None):
        """Kills the server after that time, or when the file is next written to after it.

        Returns the counters from just before.
        """
        threads = [start(lambda seed=seed: self._ask(seed)) for seed in self.seeds]
        self.over.wait(seconds)
        counters = self._counters()
        if file:
            self._await_write(file)
        self.over.set()
        if self.failure:
            self.server.check_alive(patience=5)
            raise Failure(self.failure)
        self.server.check_alive()
        self.server.kill()
        join(threads)
        if self.failure:
            raise Failure(self.failure)
        return counters

    def _await_write(self, file):
        deadline = time.monotonic() + WRITE_SECONDS
        before = file.stat().st_mtime_ns
        while time.monotonic() < deadline and not self.over.wait(0.0005):
            if file.stat().st_mtime_ns != before:
                self.saw_write = True
                return

    def _counters(self):
        try:
            return disk_counters(self.server.metrics(timeout=1))
        except (OSError, http.client.HTTPException):
            return None

    def _ask(self, seed):
        chance = random.Random(seed)
        while not self.over.is_set():
            fresh = chance.random() < 0.5
            prompt, right = chance.choice(self.known)
            if fresh:
                prompt = tokens(chance, chance.randint(200, 900))
            try:
                answer = self.server.answer(prompt, KILL_COMPLETION)
            except Exception as error:
                self._lost(error)
                return
            self._received(prompt, answer, None if fresh else right)

    def _lost(self, error):
        """Where the server was not killed, no answer may be missing; a refusal never is right."""
        if isinstance(error, Failure) or not self.over.is_set():
            self._fail(str(error) or repr(error))

    def _received(self, prompt, answer, right):
        if right is None:
            # What it says is unknown; as many numbers as were asked for it must be.
            right = answer._replace(count=KILL_COMPLETION)
        wrong = difference(prompt, answer, right)
        if wrong:
            self._fail(wrong)
        with self.lock:
            self.checked += 1

    def _fail(self, sentence):
        with self.lock:
            self.failure = self.failure or sentence
        self.over.set()


def disk_counters(metrics):
    return Counter({
        name: value for name, value in metrics.items()
        if name.startswith("nanoflow:kv_disk_") and name.endswith("_total")})


class Damage:
    """Changes a block file as a crash or a disk could, without its first page.

    (That one's damage empties the whole file, and then there is nothing left to be read wrongly.)
    """

    PAGE = 4096
    # One place in so many bytes, so that a good part of the blocks is hit, and a good part is not.
    SPACING = 512 * 1024

    def __init__(self, path, chance):
        self.path = path
        self.chance = chance

    def apply(self, index):
        kinds = [self._flip_bits, self._write_noise, self._move_pages, self._cut]
        with open(self.path, "r+b") as file:
            self.pages = self._written_pages(file)
            if not self.pages:
                return "nothing written yet"
            what = kinds[index % len(kinds)](file)
            file.flush()
            os.fsync(file.fileno())
        return what

    def _written_pages(self, file):
        """Offsets of the pages that are no holes: the file has its full size from the start."""
        pages, end = [], os.fstat(file.fileno()).st_size
        position = self.PAGE
        while position < end:
            try:
                position = os.lseek(file.fileno(), position, os.SEEK_DATA)
            except OSError:  # no more data
                break
            hole = os.lseek(file.fileno(), position, os.SEEK_HOLE)
            pages += range(position, hole - self.PAGE + 1, self.PAGE)
            position = hole
        return pages

    def _places(self):
        count = max(1, len(self.pages) * self.PAGE // self.SPACING)
        return self.chance.sample(self.pages, count)

    def _flip_bits(self, file):
        places = self._places()
        for page in places:
            offset = page + self.chance.randrange(self.PAGE)
            file.seek(offset)
            byte = file.read(1)[0]
            file.seek(offset)
            file.write(bytes([byte ^ 1 << self.chance.randrange(8)]))
        return f"{len(places)} bits flipped"

    def _write_noise(self, file):
        places = self._places()
        for page in places:
            file.seek(page)
            file.write(self.chance.randbytes(self.PAGE))
        return f"{len(places)} pages of noise"

    def _move_pages(self, file):
        places = self._places()
        for page in places:
            file.seek(self.chance.choice(self.pages))
            content = file.read(self.PAGE)
            file.seek(page)
            file.write(content)
        return f"{len(places)} pages with what is in others"

    def _cut(self, file):
        """Cuts in the last third of what is written, and not between pages."""
        first = len(self.pages) * 2 // 3
        length = self.chance.choice(self.pages[first:]) + self.chance.randrange(1, self.PAGE)
        file.truncate(length)
        return f"cut to {length:,} bytes"


def kill_part(arguments, folder):
    prompts = kill_prompts()
    expected = answers_alone(arguments, prompts, KILL_COMPLETION)
    say(f"kill: {len(prompts)} prompts, answered without a disk tier")
    options = [*KILL_OPTIONS, "--kv-disk-dir", str(folder)]
    sums, unread, checked = Counter(), 0, 0
    for run in range(1, arguments.kills + 1):
        counters, answers = kill_run(arguments, options, prompts, expected, run)
        checked += answers
        if counters is None:
            unread += 1
        else:
            sums += counters
        if run % 3 == 0:
            damage = Damage(block_file(options), random.Random(f"damage {run}"))
            say(f"kill: after run {run}: {damage.apply(run // 3)}")
    sums += clean_run(arguments, options, prompts, expected)
    checked += 2 * len(prompts)
    say(f"kill: sums of the counters ({unread} runs unread): {listed(sums)}")
    if not sums[FETCHED]:
        raise Failure("No run has fetched a block from the disk, so that nothing was tried.")
    if arguments.kills >= 3 and not sums["nanoflow:kv_disk_checksum_faults_total"]:
        raise Failure("No damaged block was met, so that no checksum was tried.")
    say(f"kill: {arguments.kills} kills, {checked} answers, none of them wrong")


def block_file(options):
    return Path(options[options.index("--kv-disk-dir") + 1]) / "blocks.nanoflow"


def kill_run(arguments, options, prompts, expected, run):
    """One start, some answers that must be right, and a kill during the storm after them."""
    chance = random.Random(f"run {run}")
    seconds = chance.uniform(0.05, 1.5)
    chosen = chance.sample(range(len(prompts)), 6)
    few, right = [prompts[index] for index in chosen], [expected[index] for index in chosen]
    try:
        with Server(arguments, options) as server:
            check_answers(few, server.answers(few, KILL_COMPLETION, CLIENTS), right)
            storm = Storm(server, prompts, expected, chance)
            counters = storm.run(seconds, block_file(options) if run % 2 == 0 else None)
    except Failure as failure:
        raise Failure(f"Run {run}: {failure}")
    checked = len(few) + storm.checked
    fetched = "unknown many" if counters is None else int(counters[FETCHED])
    say(
        f"kill: run {run}: {checked} answers checked, {fetched} blocks fetched, "
        f"killed after {seconds:.2f} s{', as it wrote' if storm.saw_write else ''}")
    return counters, checked


def clean_run(arguments, options, prompts, expected):
    """All prompts twice, a size in bounds, and an end in order; the counters."""
    with Server(arguments, options) as server:
        for _ in range(2):
            check_answers(prompts, server.answers(prompts, KILL_COMPLETION, CLIENTS), expected)
        counters = disk_counters(server.metrics())
        server.stop()
    taken = block_file(options).stat().st_blocks * 512
    if taken > 512 * MIB:
        raise Failure(f"The block file takes up {taken:,} bytes, more than --kv-disk-size 512M.")
    say(f"kill: clean run: {2 * len(prompts)} answers checked, {taken // MIB} MiB on the disk")
    return counters


def listed(counters):
    items = sorted(counters.items())
    return ", ".join(f"{name.removeprefix('nanoflow:')} {value:.0f}" for name, value in items)


# Part memory

MEMORY_PROMPT = 600
MEMORY_COMPLETION = 128
MEMORY_OPTIONS = ["--kv-cache-memory", "24M"]
OVERLOAD = 10
# Short answers before the load: the server then takes too many requests at once, and has to make
# some of them wait in the middle.
SHORT_COUNT = 64
SHORT_PROMPT = 16
SHORT_COMPLETION = 4
GROUP_SLACK = 1.05


def memory_part(arguments, folder):
    disk = ["--kv-disk-dir", str(folder), "--kv-disk-size", "512M"]
    cached = learn(arguments, MEMORY_OPTIONS)[1]
    per_request = MEMORY_PROMPT + MEMORY_COMPLETION
    count = max(24, math.ceil(OVERLOAD * cached / per_request))
    chance = random.Random("memory prompts")
    prompts = [tokens(chance, MEMORY_PROMPT) for _ in range(count)]
    expected = answers_alone(arguments, prompts, MEMORY_COMPLETION)
    say(
        f"memory: {count} requests want {count * per_request} tokens of KV cache, "
        f"{count * per_request / cached:.1f} times the {cached} there are")
    for name, options in [("without a disk tier", []), ("with a disk tier", disk)]:
        options = MEMORY_OPTIONS + options
        bound, _ = learn(arguments, options)
        group = make_group(int(bound * GROUP_SLACK))
        try:
            memory_run(arguments, options, name, bound, group, prompts, expected)
        except Failure as failure:
            killed = " (killed for want of memory)" if group and group.kill_count() else ""
            raise Failure(f"Memory {name}: {failure}{killed}")
        finally:
            if group:
                group.remove()


def learn(arguments, options):
    """The bound that a server says it keeps to, and the tokens that its KV cache holds."""
    with Server(arguments, options) as server:
        bound = server.metrics()["nanoflow:memory_bound_bytes"]
        table = server.stderr()
        server.stop()
    found = re.search(r"KV cache of (\d+) tokens", table)
    if not bound:
        raise Failure("The metrics have no nanoflow:memory_bound_bytes.")
    if not found:
        raise Failure("The start table does not name the tokens of the KV cache.")
    return bound, int(found.group(1))


def memory_run(arguments, options, name, bound, group, prompts, expected):
    chance = random.Random("short prompts")
    short = [tokens(chance, SHORT_PROMPT) for _ in range(SHORT_COUNT)]
    with Server(arguments, options, group) as server:
        server.answers(short, SHORT_COMPLETION, CLIENTS)
        answers = server.answers(prompts, MEMORY_COMPLETION, clients=len(prompts))
        peak = server.peak_bytes()
        metrics = server.metrics()
        server.stop()
    check_answers(prompts, answers, expected)
    place = f"in a control group of {group.limit:,} bytes" if group else "in no control group"
    say(
        f"memory: {name}, {place}: bound {bound:,.0f}, VmHWM {peak:,}, "
        f"preemptions {metrics['vllm:num_preemptions_total']:.0f}, "
        f"requests {len(prompts)}, all answered rightly")
    if "--kv-disk-dir" in options:
        say(f"memory: {listed(disk_counters(metrics))}")
    if peak >= bound:
        raise Failure(f"VmHWM is {peak:,} bytes, not below the bound of {bound:,.0f}.")
    if not metrics["vllm:num_preemptions_total"]:
        raise Failure("No request was preempted, so that no resumption was tried.")
    if group and group.kill_count():
        raise Failure("The control group has counted a kill for want of memory.")


class Group:
    """A memory control group of its own for one server."""

    def __init__(self, folder, limit, version):
        self.folder = folder
        self.limit = limit
        self.version = version
        folder.mkdir()
        try:
            self._set_limit()
            # Whether a process may be moved there shows when one is.
            subprocess.run(
                [sys.executable, "-c", ""], preexec_fn=self.join, check=True, timeout=60)
        except BaseException:
            self.remove()
            raise

    def _set_limit(self):
        if self.version == 2:
            self._write("memory.max", self.limit)
            self._write("memory.swap.max", 0, optional=True)
        else:
            self._write("memory.limit_in_bytes", self.limit)
            self._write("memory.memsw.limit_in_bytes", self.limit, optional=True)

    def _write(self, name, value, optional=False):
        try:
            (self.folder / name).write_text(str(value))
        except OSError:
            # Without accounting of swap there is nothing to be written.
            if not optional:
                raise

    def join(self):
        """Moves the calling process into the group."""
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def kill_count(self):
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        found = re.search(r"^oom_kill (\d+)", (self.folder / name).read_text(), re.MULTILINE)
        return int(found.group(1)) if found else 0

    def remove(self):
        """A group is busy for a moment after its last process has ended."""
        deadline = time.monotonic() + 10
        while True:
            try:
                return self.folder.rmdir()
            except OSError as error:
                if time.monotonic() > deadline:
                    say(f"memory: the control group {self.folder} stays: {error}")
                    return
                threading.Event().wait(0.05)


def make_group(limit):
    """A group with that limit, or None and a sentence that says why."""
    reasons = []
    for parent, version in group_parents():
        try:
            return Group(parent / f"nanoflow-test-{os.getpid()}", limit, version)
        except (OSError, subprocess.SubprocessError) as error:
            reasons.append(f"in {parent}: {error}")
    why = "; ".join(reasons) or "no hierarchy has the memory controller"
    say(f"memory: no memory control group could be made ({why}), so VmHWM alone is looked at.")
    return None


def group_parents():
    """Where a memory control group may be made: under our own one, or else at the top."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own[controllers] = path.lstrip("/")
    parents = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind, options = line.split()[:4]
        top = Path(mount)
        if kind == "cgroup2":
            candidates = [top / own.get("", ""), top]
            parents += [(path, 2) for path in candidates if gives_memory(path)]
        elif kind == "cgroup" and "memory" in options.split(","):
            names = [path for name, path in own.items() if "memory" in name.split(",")]
            path = top / names[0] if names else top
            parents.append((path if path.is_dir() else top, 1))
    return parents


def gives_memory(path):
    """Whether the children of a group of version 2 have limits of memory."""
    try:
        return "memory" in (path / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False


# The command


def parsed_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nanoflow", required=True, help="the program")
    parser.add_argument("--model", required=True, help="a GGUF file")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--part", choices=["kill", "memory", "all"], default="all")
    return parser.parse_args()


def main():
    arguments = parsed_arguments()
    # Ends in order, so that the server, the folder and the control group go as well.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    folder = Path(tempfile.mkdtemp(prefix="nanoflow-kv-"))
    try:
        for name, part in [("kill", kill_part), ("memory", memory_part)]:
            if arguments.part in (name, "all"):
                part(arguments, folder / name)
    except Exception as error:
        if not isinstance(error, (Failure, OSError, http.client.HTTPException)):
            raise
        say(f"FAILED: {str(error) or repr(error)}")
        if Server.newest:
            print("\n".join(Server.newest.stderr().splitlines()[-30:]), file=sys.stderr)
        sys.exit(1)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say("The KV cache's tier holds what it is to hold.")


if __name__ == "__main__":
    main()
