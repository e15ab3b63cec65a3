"""Load on loopback: wrk for requests, a client of its own for transfers and for exact answers.

Where wrk is not installed a closed loop in Python takes its place: it checks every byte of every
answer, but takes so much CPU itself that its rates compare nothing.
"""

import hashlib
import math
import mmap
import re
import selectors
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass

HOST = "127.0.0.1"
WRK = shutil.which("wrk")
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4, "h": 3.6e6}
_SIZES = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_PATIENCE = 60.0
# Where answers are received. It begins with a page: the kernel copies up to 16 times as slowly to memory that
# begins 16 bytes behind one (Zen 3), as malloc's does, and which it was would be chance.
_RECEIVED = memoryview(mmap.mmap(-1, 1 << 18))


class WrongAnswer(Exception):
    """An answer that is not what it must be, or none."""


@dataclass
class Load:
    """What one measurement found. `wrong`: answers; `broken`: connections."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    mean_ms: float
    wrong: int
    broken: int


def request_for(target, fields=()):
    """A GET as wrk sends it."""
    lines = [f"GET {target} HTTP/1.1", f"Host: {HOST}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


# Handlers may end lines with LF, and small servers pass their heads on as they are.
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")


class Chunks:
    """Takes the framing off a chunked body, piece by piece."""

    def __init__(self, sink):
        self.sink, self.left, self.line, self.is_over = sink, 0, bytearray(), False
        self.ends_chunk = False

    def feed(self, view):
        """Returns the number of bytes of body in it."""
        done, at = 0, 0
        while at < len(view) and not self.is_over:
            if self.left:
                piece = view[at : at + self.left]
                if self.sink:
                    self.sink(piece)
                self.left -= len(piece)
                done += len(piece)
                at += len(piece)
            else:
                byte = view[at]
                at += 1
                self.line.append(byte)
                if byte == 10:
                    self._take_line(bytes(self.line).strip())
        return done

    def _take_line(self, line):
        self.line.clear()
        if self.ends_chunk:
            # Behind a chunk's data, or a trailer; the last empty line ends it all.
            self.ends_chunk = False
            return
        try:
            self.left = int(line.partition(b";")[0], 16)
        except ValueError:
            raise WrongAnswer(f"not a chunk: {line[:40]!r}") from None
        self.ends_chunk = True
        self.is_over = self.left == 0


class Plain:
    """A body that is as it comes."""

    is_over = False

    def __init__(self, sink):
        self.sink = sink

    def feed(self, view):
        """Returns its length."""
        if self.sink:
            self.sink(view)
        return len(view)


def exchange(port, request, body=b"", sink=None):
    """One request on a connection of its own: (status, bytes of body, of head). The body goes to `sink`."""
    view = _RECEIVED
    with socket.create_connection((HOST, port), timeout=_PATIENCE) as client:
        client.sendall(request)
        if body:
            client.sendall(body)
        got = bytearray()
        while not (end := _END_OF_HEAD.search(got)):
            n = client.recv_into(view)
            if n == 0:
                raise WrongAnswer(f"the connection ends in the head: {bytes(got[:80])!r}")
            got += view[:n]
        head = bytes(got[: end.end()])
        length = content_length(head)
        is_chunked = re.search(rb"\ntransfer-encoding:[ \t]*chunked", head, re.IGNORECASE)
        framing = (Chunks if is_chunked else Plain)(sink)
        done = framing.feed(memoryview(bytes(got[end.end() :])))
        while not framing.is_over and (length is None or done < length):
            n = client.recv_into(view)
            if n == 0:
                break
            done += framing.feed(view[:n])
    if length not in (None, done) or (is_chunked and not framing.is_over):
        raise WrongAnswer(f"the body ends after {done} bytes")
    return status_of(head), done, len(head)


def status_of(head):
    """The three digits; 0 if there are none."""
    found = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    return int(found[1]) if found else 0


def content_length(head):
    """As said; None without."""
    found = re.search(rb"\ncontent-length:[ \t]*(\d+)", head, re.IGNORECASE)
    return int(found[1]) if found else None


def check_answer(port, target, expected, fields=()):
    """Byte by byte. Returns the size of all of it, head included."""
    got = bytearray()
    status, done, head = exchange(port, request_for(target, fields), sink=got.extend)
    if status != 200 or bytes(got) != expected:
        raise WrongAnswer(f"{target}: {status} {bytes(got[:60])!r}")
    return head + done


def check_download(port, target, size, digest):
    """By SHA-256; not timed."""
    found = hashlib.sha256()
    status, done, _ = exchange(port, request_for(target, ["Connection: close"]), sink=found.update)
    if (status, done, found.hexdigest()) != (200, size, digest):
        raise WrongAnswer(f"{target}: {status}, {done} bytes, not what was sent")


def download(port, target, size):
    """Seconds that it took. Checked by status and length only."""
    start = time.monotonic()
    status, done, _ = exchange(port, request_for(target, ["Connection: close"]))
    if (status, done) != (200, size):
        raise WrongAnswer(f"{target}: {status}, {done} bytes of {size}")
    return time.monotonic() - start


def upload(port, target, body, expected):
    """Seconds that it took; the handler's answer says whether it got every byte."""
    lines = [f"POST {target} HTTP/1.1", f"Host: {HOST}", f"Content-Length: {len(body)}"]
    lines += ["Content-Type: application/octet-stream", "Connection: close"]
    got = bytearray()
    start = time.monotonic()
    status, _, _ = exchange(port, ("\r\n".join(lines) + "\r\n\r\n").encode(), body, got.extend)
    took = time.monotonic() - start
    if status != 200 or bytes(got) != expected:
        raise WrongAnswer(f"{target}: {status} {bytes(got[:60])!r}")
    return took


def requests(port, target, connections, seconds, fields=(), answer_bytes=0):
    """Closed loop of so many connections for so long, with whatever is installed.

    wrk checks the status of each answer; their sizes are checked by their sum.
    """
    if not WRK:
        return Loop(port, request_for(target, fields), connections).run(seconds)
    command = [WRK, "-t1", f"-c{connections}", f"-d{math.ceil(seconds)}s", "--latency", "--timeout", "10s"]
    for field in fields:
        command += ["-H", field]
    with subprocess.Popen([*command, f"http://{HOST}:{port}{target}"], stdout=subprocess.PIPE, text=True) as wrk:
        try:
            if seconds != int(seconds):
                # It knows whole seconds only, and reports what it has when interrupted.
                time.sleep(seconds)
                wrk.send_signal(signal.SIGINT)
            text, _ = wrk.communicate(timeout=seconds + _PATIENCE)
        except BaseException:
            wrk.kill()
            raise
    return read_wrk(text, answer_bytes)


def read_wrk(text, answer_bytes):
    """wrk's report. Without `answer_bytes` sizes are not checked."""
    found = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m|h), ([\d.]+)(KB|MB|GB|B) read", text)
    if not found:
        raise WrongAnswer(f"wrk says: {text[-300:]}")
    count, seconds = int(found[1]), float(found[2]) * _UNITS[found[3]] / 1e3
    times = {}
    for percent in ("50", "99"):
        time_found = re.search(rf"^ +{percent}(?:\.0+)?% +([\d.]+)(us|ms|s|m|h)", text, re.MULTILINE)
        times[percent] = float(time_found[1]) * _UNITS[time_found[2]] if time_found else 0.0
    mean = re.search(r"Latency +([\d.]+)(us|ms|s|m|h)", text)
    mean_ms = float(mean[1]) * _UNITS[mean[2]] if mean else 0.0
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    wrong = int(wrong[1]) if wrong else 0
    if answer_bytes:
        wrong += _missing(float(found[4]) * _SIZES[found[5]], count, answer_bytes)
    broken = sum(map(int, broken.groups())) if broken else 0
    return Load(count, seconds, times["50"], times["99"], mean_ms, wrong, broken)


def _missing(read, count, size):
    """Answers that cannot have been whole, by the bytes read; wrk's figure has three digits."""
    return max(0, count - int(read * 1.02 / size) - 1)


class Loop:
    """A closed loop on one thread; each connection sends the next request after an answer."""

    def __init__(self, port, request, connections):
        self.port, self.request, self.connections = port, request, connections
        self.selector = selectors.DefaultSelector()
        self.times, self.wrong, self.broken = [], 0, 0
        self.answer = None

    def run(self, seconds):
        """Until then; what is still under way is not counted."""
        start = time.monotonic()
        for _ in range(self.connections):
            self._connect()
        while (now := time.monotonic()) < start + seconds:
            for key, _ in self.selector.select(start + seconds - now):
                self._hear(key)
        took = time.monotonic() - start
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        self.selector.close()
        times = sorted(self.times) or [0.0]
        p50, p99 = (times[min(len(times) - 1, len(times) * p // 100)] * 1e3 for p in (50, 99))
        mean = sum(times) / len(times) * 1e3
        return Load(len(self.times), took, p50, p99, mean, self.wrong, self.broken)

    def _connect(self):
        try:
            client = socket.create_connection((HOST, self.port), timeout=_PATIENCE)
            client.sendall(self.request)
        except OSError:
            self.broken += 1
            return
        self.selector.register(client, selectors.EVENT_READ, [bytearray(), time.monotonic()])

    def _hear(self, key):
        got, began = key.data
        try:
            bytes_in = key.fileobj.recv(65536)
        except OSError:
            bytes_in = b""
        got += bytes_in
        head, body = (_END_OF_HEAD.split(bytes(got), maxsplit=1) + [b""])[:2]
        length = content_length(head)
        is_whole = length is not None and len(body) >= length
        if not is_whole and bytes_in:
            return
        if is_whole or (got and length is None):
            self._judge(status_of(head), body)
            self.times.append(time.monotonic() - began)
        else:
            self.broken += 1
        if is_whole and bytes_in and b"connection: close" not in head.lower() and head.startswith(b"HTTP/1.1"):
            key.fileobj.sendall(self.request)
            key.data[:] = [bytearray(), time.monotonic()]
            return
        self.selector.unregister(key.fileobj)
        key.fileobj.close()
        self._connect()

    def _judge(self, status, body):
        """All answers are to be like the first, which the caller has checked by itself."""
        self.answer = self.answer if self.answer is not None else body
        if status != 200 or body != self.answer:
            self.wrong += 1
