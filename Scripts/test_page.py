#!/usr/bin/env python3
"""Checks the server's web page in headless Chromium.

    Scripts/test_page.py --nanoflow PATH --model FILE [--part page|key|all] [--screenshot PNG]

Part `page` starts a server, opens its page, types a message, and looks at what a person would:
that the answer streams, that the engine's figures and the pipeline timeline move, that keys and
both colour schemes work, and that a server that has gone loses nothing. Part `key` does so with an
API key. Chromium is driven through its debugging pipe; a page that reports an error, or asks
another server for anything, fails. --screenshot takes a picture of a busy engine after that.

Needs Python 3.9 and Chromium, which is installed on Debian where it is missing. Exits with 1 and a
sentence if something does not hold.
"""

import argparse
import base64
import fcntl
import http.client
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

from test_kv_tier import Failure, Server, say, start

# For one condition; the machine may be busy with other things.
PATIENCE_SECONDS = 60
POLL_SECONDS = 0.05
WIDE = (1280, 800)
NARROW = (390, 844)
QUESTION = "Write a long story about a river and the people who live beside it."
API_KEY = "a key for this test"
POLICY = "default-src 'none'"


# Chromium


class Browser:
    """A headless Chromium with one page, that is spoken to through its debugging pipe."""

    # Chromium reads commands from the first of these descriptors and writes to the second.
    READ, WRITE = 3, 4

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="nanoflow-page-")
        # Above the numbers that Chromium wants, so that nothing is overwritten in the child.
        (its_input, self.output), (self.input, its_output) = self._pipe(), self._pipe()
        command = [
            program(), "--headless=new", "--remote-debugging-pipe",
            f"--user-data-dir={self.folder}", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update",
            "--disable-extensions", "--disable-dev-shm-usage", "--disable-gpu",
            "--hide-scrollbars", "about:blank"]
        if os.geteuid() == 0:
            command.append("--no-sandbox")

        def take_descriptors():
            os.dup2(its_input, self.READ)
            os.dup2(its_output, self.WRITE)

        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, preexec_fn=take_descriptors,
            pass_fds=(self.READ, self.WRITE), start_new_session=True)
        os.close(its_input)
        os.close(its_output)
        self.buffer = b""
        self.count = 0
        self.session = None
        self.events = deque()

    @staticmethod
    def _pipe():
        ends = []
        for end in os.pipe():
            ends.append(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10))
            os.close(end)
        return ends

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.output)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(10)
        os.close(self.input)
        shutil.rmtree(self.folder, ignore_errors=True)

    def attach(self):
        """Turns to the page that is there from the start."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.session is None:
            targets = self.command("Target.getTargets")["targetInfos"]
            pages = [target for target in targets if target["type"] == "page"]
            if pages:
                target = {"targetId": pages[0]["targetId"], "flatten": True}
                self.session = self.command("Target.attachToTarget", **target)["sessionId"]
            elif time.monotonic() > deadline:
                raise Failure(f"Chromium has no page after {PATIENCE_SECONDS} seconds.")

    def command(self, method, **parameters):
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        try:
            os.write(self.output, json.dumps(message).encode() + b"\0")
        except BrokenPipeError:
            raise Failure(f"Chromium has ended before {method}.")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            reply = self._read(deadline)
            if reply is None:
                raise Failure(f"Chromium has not done {method} in {PATIENCE_SECONDS} seconds.")
            if reply.get("id") == self.count:
                if "error" in reply:
                    raise Failure(f"Chromium has refused {method}: {reply['error']['message']}.")
                return reply["result"]
            self.events.append(reply)

    def collect(self, seconds):
        """Takes in the events of so long a time, and returns after the first."""
        event = self._read(time.monotonic() + seconds)
        if event is not None:
            self.events.append(event)

    def _read(self, deadline):
        while b"\0" not in self.buffer:
            left = max(0, deadline - time.monotonic())
            if not select.select([self.input], [], [], left)[0]:
                return None
            part = os.read(self.input, 1 << 20)
            if not part:
                raise Failure("Chromium has ended.")
            self.buffer += part
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)


def program():
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        subprocess.run([Path(__file__).parent / "install_packages.sh", "chromium"], check=True)
        found = shutil.which("chromium")
    if not found:
        raise Failure("There is no Chromium, and none could be installed.")
    return found


# The page

KEYS = {
    "Enter": ("Enter", 13, "\r"), "Escape": ("Escape", 27, ""), "Tab": ("Tab", 9, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""), "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowDown": ("ArrowDown", 40, ""), "+": ("Equal", 187, "+"),
}
SHIFT = 8


class Page:
    """What a person does with the page and sees of it, and what the browser says about it."""

    def __init__(self, browser, url):
        self.browser = browser
        self.url = url
        self.policy = None
        self.forgiven = ()
        browser.attach()
        for domain in ("Page", "Runtime", "Log", "Network"):
            browser.command(f"{domain}.enable")
        self.scheme("light")
        self.size(*WIDE)
        browser.command("Page.navigate", url=f"{url}/")
        self.until("the page has loaded", "typeof byId === 'function'")

    def value(self, expression):
        result = self.browser.command(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise Failure(f"{expression} is an error: {result['exceptionDetails']}.")
        return result["result"].get("value")

    def until(self, what, expression, seconds=PATIENCE_SECONDS):
        """Waits for an expression to be true; `what` says so in a sentence's end."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.value(expression)
            self.check_events()
            if found:
                return found
            if time.monotonic() > deadline:
                raise Failure(f"After {seconds} seconds it does not hold that {what}.")
            self.browser.collect(POLL_SECONDS)

    def expect(self, what, expression):
        if not self.value(expression):
            raise Failure(f"It does not hold that {what}.")
        self.check_events()

    def check_events(self):
        """Errors of the page, and requests to anywhere else."""
        while self.browser.events:
            event = self.browser.events.popleft()
            wrong = self._wrong(event.get("method"), event.get("params", {}))
            if wrong:
                raise Failure(wrong)

    def _wrong(self, method, parameters):
        if method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            text = details.get("exception", {}).get("description", details["text"])
            return f"The page has thrown: {text}"
        if method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "assert"):
            return f"The page has written an error: {parameters['args']}"
        if method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            entry = parameters["entry"]
            if not any(words in entry["text"] for words in self.forgiven):
                return f"The browser has reported: {entry['text']} ({entry.get('url', '')})"
        if method == "Network.requestWillBeSent":
            url = parameters["request"]["url"]
            if not url.startswith((f"{self.url}/", "data:", "about:")):
                return f"The page has asked for {url}, which is not this server's."
        if method == "Network.responseReceived" and parameters["type"] == "Document":
            headers = parameters["response"]["headers"]
            named = {name.lower(): value for name, value in headers.items()}
            self.policy = named.get("content-security-policy", "")
        return None

    def press(self, key, modifiers=0):
        code, number, text = KEYS[key]
        event = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": modifiers}
        self.browser.command("Input.dispatchKeyEvent", type="keyDown", text=text, **event)
        self.browser.command("Input.dispatchKeyEvent", type="keyUp", **event)

    def type(self, text):
        for character in text:
            self.browser.command(
                "Input.dispatchKeyEvent", type="keyDown", text=character, key=character)
            self.browser.command("Input.dispatchKeyEvent", type="keyUp", key=character)

    def focus(self, selector):
        self.value(f"document.querySelector({json.dumps(selector)}).focus()")

    def scheme(self, name):
        self.browser.command(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": name}])

    def size(self, width, height):
        self.browser.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height,
            deviceScaleFactor=1, mobile=False)

    def background(self):
        return self.value("getComputedStyle(document.body).backgroundColor")

    def screenshot(self, file):
        picture = self.browser.command("Page.captureScreenshot", format="png")["data"]
        Path(file).write_bytes(base64.b64decode(picture))


def ask(page, question, tokens):
    """Types a question, whose answer may have so many tokens, and sends it."""
    page.value(f"byId('max-tokens').value = {tokens}")
    page.focus("#message")
    page.type(question)
    page.press("Enter")


def await_answer(page):
    page.until("the answer ends", IDLE, seconds=5 * PATIENCE_SECONDS)


ANSWER = "[...document.querySelectorAll('.turn')].at(-1).querySelector('.answer > div + div')"
FIGURES = "[...document.querySelectorAll('.figures')].at(-1).textContent"
CONNECTED = "byId('state').textContent === 'connected'"
IDLE = "!document.querySelector('.answering')"

# How long the answer was whenever it changed, and the most requests that were seen to run.
WATCH = """
    window.seen = { lengths: [], running: 0 };
    const engine = byId("engine");
    new MutationObserver(() => {
        const answer = [...document.querySelectorAll(".answering .text, .answering pre")];
        const length = answer.reduce((sum, node) => sum + node.textContent.length, 0);
        if (length > (seen.lengths.at(-1) ?? 0)) seen.lengths.push(length);
    }).observe(byId("log"), { subtree: true, childList: true, characterData: true });
    new MutationObserver(() => seen.running = Math.max(seen.running, engine.dataset.running))
        .observe(engine, { attributes: true });
"""


# Part page


def page_part(arguments):
    with Server(arguments, []) as server, Browser() as browser:
        page = Page(browser, server.url)
        try:
            check_start(page, server)
            check_keyboard(page)
            check_answer(page)
            check_stop(page)
            check_timeline(page)
            check_schemes(page)
            check_narrow(page)
        except Failure:
            keep_picture(page)
            raise
        check_absence(page, server)


def check_start(page, server):
    model = json.loads(server.request("GET", "/v1/models"))["data"][0]["id"]
    page.until(
        f"the page names the model {model}",
        f"byId('model').textContent === {json.dumps(model)}")
    page.until("the page is connected", CONNECTED)
    if not page.policy.startswith(POLICY):
        raise Failure(f"The page's Content-Security-Policy is {page.policy!r}, not {POLICY} ...")
    say(f"page: shows {model}")


def check_keyboard(page):
    """Tab goes through all controls in order, and each shows that it has the focus."""
    wanted = [
        "skip", "skip", "theme", "new", "log", "hint", "hint", "hint", "message", "send",
        "settings", "zoom-out", "zoom-in", "show-layer", "show-all", "pause", "timeline",
        "operations"]
    # The mark is for those who come by key.
    page.focus("#theme")
    page.press("Tab", SHIFT)
    page.press("Tab", SHIFT)
    found = []
    for _ in wanted:
        found.append(page.value("""(() => {
            const here = document.activeElement;
            const outline = getComputedStyle(here);
            const isMarked = outline.outlineStyle !== "none" && outline.outlineWidth !== "0px";
            if (!isMarked) return `${here.id} without a mark`;
            if (here.closest("#hints")) return "hint";
            return here.id || here.className || here.parentElement.id;
        })()"""))
        page.press("Tab")
    if found != wanted:
        raise Failure(f"Tab goes through {found} instead of {wanted}.")
    controls = "input, textarea, button, canvas[tabindex], section"
    unnamed = page.value(f"""[...document.querySelectorAll("{controls}")]
        .filter(one => !(one.labels?.length || one.textContent.trim() || one.ariaLabel
            || one.getAttribute("aria-labelledby"))).map(one => one.outerHTML)""")
    if unnamed:
        raise Failure(f"These controls have no name: {unnamed}.")
    say(f"page: Tab reaches {len(wanted)} controls in order")


def check_answer(page):
    page.value(WATCH)
    page.focus("#message")
    page.type("one")
    page.press("Enter", SHIFT)
    page.type("two")
    page.expect("Shift and Enter make a new line", "byId('message').value === 'one\\ntwo'")
    page.value("byId('message').value = ''")
    ask(page, QUESTION, tokens=128)
    page.until("Enter sends the message", "document.querySelectorAll('.turn').length === 1")
    page.expect("the field is empty after that", "byId('message').value === ''")
    await_answer(page)
    lengths = page.value("seen.lengths")
    if len(lengths) < 2:
        raise Failure(f"The answer has not grown step by step; its lengths were {lengths}.")
    figures = page.value(FIGURES)
    for words in ("tokens/s", "first token", "prompt", "cached"):
        if words not in figures:
            raise Failure(f"The figures of the answer, {figures!r}, lack {words!r}.")
    page.expect("the answer is announced once it has ended",
                "byId('announcer').textContent.startsWith('Answer: ')")
    page.expect("a request was seen to run", "seen.running > 0")
    say(f"page: an answer in {len(lengths)} steps; {figures}")


def check_stop(page):
    ask(page, QUESTION, tokens=512)
    page.until("a second answer has begun", f"({ANSWER})?.textContent.length > 0")
    page.press("Escape")
    page.until("Escape stops the answer", f"{IDLE} && {FIGURES}.includes('stopped')")
    page.until("no request runs after that", "byId('engine').dataset.running === '0'")
    say("page: Escape stops an answer")


def check_timeline(page):
    page.until("the timeline has events", "byId('timeline').dataset.events > 0")
    page.expect("the timeline says how many tokens each step has",
                "timeline.data.steps.every(step => step.tokens > 0)")
    before = page.value("({ ...byId('timeline').dataset })")
    page.expect("the timeline is drawn in colours", """(() => {
        const canvas = byId("timeline");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const colours = new Set(new Uint32Array(data.buffer));
        return colours.size > 10;
    })()""")
    ask(page, "Say something else.", tokens=128)
    page.until("the timeline changes with new steps", f"""(() => {{
        const {{ updates, duration }} = byId("timeline").dataset;
        return updates > {before["updates"]} && duration !== "{before["duration"]}";
    }})()""")
    await_answer(page)
    check_timeline_keys(page)
    say(f"page: the timeline shows {page.value('timeline.data.events.length')} events")


def check_timeline_keys(page):
    length = "timeline.end - timeline.start"
    page.focus("#timeline")
    before = page.value(length)
    page.press("+")
    if not page.value(length) < before:
        raise Failure("The key + does not zoom into the timeline.")
    page.expect("a closer look pauses", "byId('pause').ariaPressed === 'true'")
    start_before = page.value("timeline.start")
    page.press("ArrowRight")
    if not page.value("timeline.start") > start_before:
        raise Failure("The right arrow does not move the timeline.")
    page.press("ArrowRight", SHIFT)
    page.until("the next operation is read out",
               "/GOP.s .* GB.s/.test(byId('selection').textContent)")
    page.value("byId('pause').click()")


def check_schemes(page):
    light = page.background()
    page.scheme("dark")
    page.until("the dark scheme changes the background",
               f"getComputedStyle(document.body).backgroundColor !== {json.dumps(light)}")
    # From auto to light, which then holds against the system's wish.
    page.value("byId('theme').click()")
    page.expect("the toggle overrides the system",
                f"getComputedStyle(document.body).backgroundColor === {json.dumps(light)}")
    page.expect("the choice is kept", "localStorage.getItem('nanoflow-theme') === 'light'")
    for _ in range(2):
        page.value("byId('theme').click()")
    page.scheme("light")
    say("page: light and dark")


def check_narrow(page):
    page.size(*NARROW)
    page.until("a narrow page has one column", """
        byId("engine").getBoundingClientRect().top
            >= byId("chat").getBoundingClientRect().bottom""")
    page.expect("a narrow page does not scroll sideways",
                f"document.documentElement.scrollWidth <= {NARROW[0]}")
    page.size(*WIDE)
    page.until("a wide page has two columns", """
        byId("engine").getBoundingClientRect().top
            === byId("chat").getBoundingClientRect().top""")
    page.expect("a wide page scrolls in its parts alone",
                f"document.documentElement.scrollHeight <= {WIDE[1]}")
    say("page: one column and two")


def keep_picture(page):
    """For whoever looks into a failure."""
    file = Path(tempfile.gettempdir()) / "nanoflow-page-failure.png"
    try:
        page.screenshot(file)
    except (Failure, OSError):
        return
    say(f"page: how it looked: {file}")


def check_absence(page, server):
    page.forgiven = ("Failed to load resource",)
    turns = page.value("document.querySelectorAll('.turn').length")
    server.stop()
    page.until("the page says that the server has gone",
               "byId('state').textContent === 'server not reachable'")
    page.expect("the chat is still there", f"document.querySelectorAll('.turn').length === {turns}")
    say("page: a server that has gone is said to be not reachable")


# Part key


def key_part(arguments):
    with Server(arguments, ["--api-key", API_KEY]) as server, Browser() as browser:
        page = Page(browser, server.url)
        page.forgiven = ("status of 401",)
        page.until("the page asks for the key", "byId('key-dialog').open")
        page.type("wrong")
        page.press("Enter")
        page.until("a wrong key is said to be one",
                   "byId('key-problem').textContent.includes('refused')")
        page.type(API_KEY)
        page.press("Enter")
        page.until("the right key connects", CONNECTED)
        page.forgiven = ()
        ask(page, "What is the capital of France?", tokens=64)
        page.until("the question is answered with the key",
                   f"{IDLE} && {FIGURES}.includes('tokens/s')")
        page.expect("the key is kept for this tab alone",
                    "sessionStorage['nanoflow-key'] && !localStorage['nanoflow-key']")
        server.stop()
    say("page: asks for the API key and works with it")


# The picture

# As many requests, of such a length, that the generated plans cut steps into nano-batches.
LOAD_COUNT = 80
LOAD_PROMPT = 32
LOAD_COMPLETION = 400


def take_picture(arguments):
    """Of a short conversation, and of an engine that has more to do than that."""
    with Server(arguments, []) as server, Browser() as browser:
        page = Page(browser, server.url)
        page.until("the page is connected", CONNECTED)
        page.value("byId('temperature').value = 0")
        for question in ("What is the capital of France?", "Which river flows through it?"):
            ask(page, question, tokens=96)
            await_answer(page)
        start(lambda: put_under_load(server))
        page.until("a step of two nano-batches is shown",
                   "timeline.data.steps.at(-1)?.nano_batches > 1",
                   seconds=5 * PATIENCE_SECONDS)
        page.screenshot(arguments.screenshot)
    size = Path(arguments.screenshot).stat().st_size
    say(f"picture: {arguments.screenshot} has {size:,} bytes")


def put_under_load(server):
    prompts = [[1000 + index] * LOAD_PROMPT for index in range(LOAD_COUNT)]
    try:
        server.answers(prompts, LOAD_COMPLETION, clients=LOAD_COUNT)
    except (Failure, OSError, http.client.HTTPException):
        # The server is killed once the picture has been taken.
        return


# The command


def parsed_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nanoflow", required=True, help="the program")
    parser.add_argument("--model", required=True, help="a GGUF file")
    parser.add_argument("--screenshot", metavar="PNG", help="where a picture of the page goes")
    parser.add_argument("--part", choices=["page", "key", "all"], default="all")
    return parser.parse_args()


def main():
    arguments = parsed_arguments()
    # Ends in order, so that server and browser go as well.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    try:
        for name, part in [("page", page_part), ("key", key_part)]:
            if arguments.part in (name, "all"):
                part(arguments)
        if arguments.screenshot:
            take_picture(arguments)
    except (Failure, OSError, http.client.HTTPException, subprocess.SubprocessError) as error:
        say(f"FAILED: {str(error) or repr(error)}")
        if Server.newest:
            print("\n".join(Server.newest.stderr().splitlines()[-30:]), file=sys.stderr)
        sys.exit(1)
    say("The page does what it is to do.")


if __name__ == "__main__":
    main()
