"""The handlers, the same files for all servers, and the bare loop that launches them.

The tiny one is static C, with musl where musl-gcc is installed: the start of a static glibc program
executes cpuid, which costs an exit to the hypervisor in a virtual machine, about as much as all the
rest of it. Without musl that is what it is, and the first lines of the output say so.
"""

import hashlib
import os
import random
import shutil
import subprocess
import sys

ANSWER = b"hello\n"
OUTPUT = b"Content-Type: text/plain\nContent-Length: 6\n\n" + ANSWER
OUTPUT_TO_ITS_END = b"Content-Type: text/plain\n\n" + ANSWER
DOWN_BYTES = 64 << 20
UP_BYTES = 16 << 20
TO_ITS_END = "python"
REQUESTED = ("tiny", "dynamic", "sh", "python", "python_length")

_TINY = r"""#include <unistd.h>
static const char output[] = "Content-Type: text/plain\nContent-Length: 6\n\nhello\n";
int main(void) { return write(1, output, sizeof output - 1) != sizeof output - 1; }
"""

_DYNAMIC = r"""#include <stdio.h>
#include <stdlib.h>
int main(void)
{
    const char *method = getenv("REQUEST_METHOD");
    printf("Content-Type: text/plain\nContent-Length: 6\n\n%s\n", method ? "hello" : "error");
    return 0;
}
"""

_SH = r"""#!/bin/sh
printf 'Content-Type: text/plain\nContent-Length: 6\n\nhello\n'
"""

# The interpreter takes milliseconds to end after the script. Without Content-Length every server waits
# for that end; with one lighttpd does not, but ends the handler by SIGTERM once it has the bytes, and
# does less work than the others.
_PYTHON = """#!{python}
import os
method = os.environ["REQUEST_METHOD"]
print("Content-Type: text/plain\\n\\nhello")
"""
_PYTHON_LENGTH = _PYTHON.replace("plain", "plain\\nContent-Length: 6")

# As many bytes as the query says; every block of 64 KiB begins with its number.
_DOWN = r"""#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static char block[65536];
int main(void)
{
    const char *query = getenv("QUERY_STRING");
    long left = query && *query ? atol(query) : 64L << 20, number = 0;
    char head[96];
    int length = snprintf(head, sizeof head,
        "Content-Type: application/octet-stream\nContent-Length: %ld\n\n", left);
    if (write(1, head, length) != length) return 1;
    for (int i = 0; i < 65536; i++) block[i] = 'A' + i % 23;
    while (left > 0) {
        char digits[17];
        long size = left < 65536 ? left : 65536, done = 0;
        snprintf(digits, sizeof digits, "%016lx", number++);
        memcpy(block, digits, 16);
        while (done < size) {
            ssize_t n = write(1, block + done, size - done);
            if (n < 0) return 1;
            done += n;
        }
        left -= size;
    }
    return 0;
}
"""

# Length and a sum that depends on every byte's place.
_UP = r"""#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static char block[65536];
int main(void)
{
    unsigned long total = 0;
    uint64_t sum = 0;
    for (;;) {
        size_t size = 0;
        ssize_t n = 1;
        while (size < sizeof block && (n = read(0, block + size, sizeof block - size)) > 0)
            size += n;
        if (n < 0) return 1;
        memset(block + size, 0, sizeof block - size);
        for (size_t i = 0; i < size; i += 8) {
            uint64_t word;
            memcpy(&word, block + i, 8);
            sum = sum * 31 + word;
        }
        total += size;
        if (size < sizeof block) break;
    }
    char body[64];
    int length = snprintf(body, sizeof body, "%lu %016llx\n", total, (unsigned long long)sum);
    printf("Content-Type: text/plain\nContent-Length: %d\n\n%s", length, body);
    return 0;
}
"""

# SECONDS PROCESSES PROGRAM EXPECTED: launches that many at a time, checks each output.
_BARE = r"""#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static char *environment[] = {"GATEWAY_INTERFACE=CGI/1.1", "PATH=/usr/local/bin:/usr/bin:/bin",
    "REQUEST_METHOD=GET", "SCRIPT_NAME=/cgi-bin/handler", NULL};
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
static int launch(char *program, const char *expected, size_t size)
{
    char *argv[] = {program, NULL}, output[4096];
    int ends[2], status;
    size_t length = 0;
    ssize_t n;
    if (pipe2(ends, O_CLOEXEC)) return 0;
    pid_t pid = vfork();
    if (pid == 0) {
        dup2(ends[1], 1);
        execve(program, argv, environment);
        _exit(127);
    }
    close(ends[1]);
    while ((n = read(ends[0], output + length, sizeof output - length)) > 0) length += n;
    close(ends[0]);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 && length == size
        && memcmp(output, expected, size) == 0;
}
int main(int argc, char **argv)
{
    if (argc != 5) return 2;
    double start = now(), end = start + atof(argv[1]);
    int processes = atoi(argv[2]), good = 1, status;
    long total = 0, *counts = mmap(NULL, processes * sizeof *counts, PROT_READ | PROT_WRITE,
        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < processes; i++)
        if (fork() == 0) {
            while (now() < end) {
                if (!launch(argv[3], argv[4], strlen(argv[4]))) _exit(1);
                counts[i]++;
            }
            _exit(0);
        }
    for (int i = 0; i < processes; i++) good &= wait(&status) > 0 && status == 0;
    for (int i = 0; i < processes; i++) total += counts[i];
    printf("%ld %f\n", total, now() - start);
    return !good;
}
"""


class Handlers:
    """Compiled into `folder`/root/cgi-bin; `folder`/bare is the loop."""

    def __init__(self, folder):
        self.root = os.path.join(folder, "root")
        self.closing_root = os.path.join(folder, "closing")
        self.folder = os.path.join(self.root, "cgi-bin")
        self.bare = os.path.join(folder, "bare")
        self.scratch = folder
        # Not a version manager's wrapper, which would be measured in its place.
        self.python = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
        # The same for a server that closes without saying so and passes heads on as they are.
        for root, field in ((self.closing_root, "Connection: close\\n"), (self.root, "")):
            os.makedirs(os.path.join(root, "cgi-bin"))
            self._make(os.path.join(root, "cgi-bin"), field)
        self._compile(self.bare, _BARE, static=False)
        self.upload = random.Random(5).randbytes(UP_BYTES)

    def _make(self, folder, field):
        """`field`, if any, is the first of every head."""

        def with_field(source):
            return source.replace("Content-Type:", field + "Content-Type:")

        self.static = self._compile(f"{folder}/tiny", with_field(_TINY), static=True)
        self._compile(f"{folder}/dynamic", with_field(_DYNAMIC), static=False)
        self._compile(f"{folder}/down", with_field(_DOWN), static=True)
        self._compile(f"{folder}/up", with_field(_UP), static=True)
        self._write(f"{folder}/sh", with_field(_SH))
        for name, source in (("python", _PYTHON), ("python_length", _PYTHON_LENGTH)):
            self._write(f"{folder}/{name}", with_field(source.format(python=self.python)))

    def path(self, name):
        """The file of a handler."""
        return os.path.join(self.folder, name)

    def _compile(self, target, source, static):
        path = os.path.join(self.scratch, "source.c")
        with open(path, "w", encoding="utf-8") as file:
            file.write(source)
        ways = [("musl-gcc", ["-static"]), ("cc", ["-static"])] if static else []
        for compiler, flags in [*ways, ("cc", [])]:
            command = [compiler, "-O2", "-s", *flags, "-o", target, path]
            if shutil.which(compiler) and subprocess.run(command, check=False, capture_output=True).returncode == 0:
                os.chmod(target, 0o755)
                return f"{compiler} -O2 -s {' '.join(flags)}".strip()
        sys.exit("unable to compile the handlers: a C compiler (cc, musl-gcc) is needed")

    @staticmethod
    def _write(path, text):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o755)

    def answer_to_upload(self):
        """What the handler says of it, asked without a server."""
        ended = subprocess.run([self.path("up")], input=self.upload, check=True, capture_output=True)
        body = ended.stdout.partition(b"\n\n")[2]
        if int(body.split()[0]) != UP_BYTES:
            sys.exit("the upload handler does not work")
        return body

    def describe(self):
        """For the head of the output."""
        size = os.path.getsize(self.path("tiny"))
        return f"tiny: {self.static}, {size} bytes; dynamic: cc -O2 -s; sh: /bin/sh; python: {self.python}"


def _blocks(size):
    pattern = bytes(ord("A") + i % 23 for i in range(65536))
    for number in range((size + 65535) // 65536):
        block = b"%016x" % number + pattern[16:]
        yield block[: min(65536, size - number * 65536)]


def download_of(size):
    """What the `down` handler sends."""
    return b"".join(_blocks(size))


def digest_of_download(size):
    """SHA-256 of it."""
    digest = hashlib.sha256()
    for block in _blocks(size):
        digest.update(block)
    return digest.hexdigest()
