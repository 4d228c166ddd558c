"""A real browser for tests: a headless Chromium and one of its tabs."""

import base64
import contextlib
import json
import os
import shutil
import socket
import struct
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--mute-audio",
    "--use-fake-device-for-media-stream",  # a microphone that beeps
    "--use-fake-ui-for-media-stream",
    "--remote-debugging-port=0",
)
WAIT_SECONDS = 60.0


class Tab:
    """A page of a browser, driven by the Chrome DevTools Protocol over a WebSocket (RFC 6455)."""

    def __init__(self, address: str) -> None:
        place, _, path = address.removeprefix("ws://").partition("/")
        host, _, port = place.partition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=WAIT_SECONDS)
        self.stream = self.socket.makefile("rb")
        self.events: list[dict[str, Any]] = []
        self.calls = 0
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /{path} HTTP/1.1\r\nHost: {place}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while self.stream.readline().strip():
            pass

    def close(self) -> None:
        self.stream.close()
        self.socket.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers; what it tells on the way is kept in `events`."""
        self.calls += 1
        message = json.dumps({"id": self.calls, "method": method, "params": parameters}).encode()
        size = len(message)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
        self.socket.sendall(b"\x81" + length + bytes(4) + message)  # masked with zeros
        while (answer := self._receive()).get("id") != self.calls:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _receive(self) -> dict[str, Any]:
        size = self.stream.read(2)[1] & 127
        if size > 125:
            size = int.from_bytes(self.stream.read(2 if size == 126 else 8), "big")
        return json.loads(self.stream.read(size))

    def value(self, script: str) -> Any:
        """What a JavaScript expression comes to."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, script: str) -> None:
        """Wait for a JavaScript expression to become true."""
        end = time.monotonic() + WAIT_SECONDS
        while not self.value(script):
            assert time.monotonic() < end, f"still not true after {WAIT_SECONDS} s: {script}"
            time.sleep(0.05)

    def click(self, selector: str, share: float = 0.5) -> None:
        """Press the mouse on an element, `share` of its width from its left."""
        x, y = self.value(
            f"""(() => {{ const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{block: "center"}});
            const box = element.getBoundingClientRect();
            return [box.left + {share} * box.width, box.top + box.height / 2]; }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def open(self, page: Path, width: int = 1280, height: int = 900) -> None:
        """Load a page and wait until its sounds and pictures are there."""
        self.visit(page.as_uri(), width, height)
        self.until("document.querySelectorAll('audio').length === 2")
        self.until("[...document.querySelectorAll('audio')].every(sound => sound.readyState === 4)")

    def visit(self, address: str, width: int = 1280, height: int = 900) -> None:
        """Load a page from anywhere, as wide and high as a window."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        self.call("Page.navigate", url=address)
        self.until("location.href !== 'about:blank' && document.readyState === 'complete'")

    def give(self, selector: str, *paths: Path) -> None:
        """Choose files in an input for files."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def picture(self, path: Path) -> None:
        """Save the whole page as a PNG."""
        told = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(told["data"]))

    def times(self) -> tuple[float, float]:
        """Seconds at which source and output stand."""
        return tuple(self.value("[...document.querySelectorAll('audio')].map(sound => sound.currentTime)"))

    def complaints(self, *own: str) -> list[dict[str, Any]]:
        """Errors and warnings of the page, and what it fetched from elsewhere than its own addresses."""
        self.call("Page.getFrameTree")
        bad = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
        return [
            event
            for event in self.events
            if event["method"] in bad
            or (
                event["method"] == "Network.requestWillBeSent"
                and not event["params"]["request"]["url"].startswith(own or ("file:", "data:"))
            )
        ]


def find_browser() -> str:
    """Name the browser; without one the test is skipped, or fails where RESING_REQUIRE_BROWSER is 1."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is not None:
        return found
    reason = f"no browser here ({', '.join(BROWSERS)}); on Debian: apt-get install chromium"
    if os.environ.get("RESING_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@contextlib.contextmanager
def open_tab(profile: Path) -> Iterator[Tab]:
    """A tab of a headless browser that keeps its things in a folder."""
    command = [find_browser(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            with contextlib.closing(Tab(first_tab(profile, browser))) as tab:
                for room in ("Page", "Runtime", "Log", "Network"):
                    tab.call(f"{room}.enable")
                yield tab
                tab.call("Browser.close")
                browser.wait(WAIT_SECONDS)
        finally:
            browser.kill()


def first_tab(profile: Path, browser: "subprocess.Popen[bytes]") -> str:
    """Wait for a browser to start and return its tab's address."""
    told, end = profile / "DevToolsActivePort", time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end and browser.poll() is None:
        if told.is_file() and "\n" in (text := told.read_text()):
            with urllib.request.urlopen(f"http://127.0.0.1:{text.split()[0]}/json", timeout=10) as answer:
                for found in json.load(answer):
                    if found["type"] == "page":
                        return found["webSocketDebuggerUrl"]
        time.sleep(0.1)
    pytest.fail(f"the browser did not start in {WAIT_SECONDS} s (exit status {browser.poll()})")
