#!/bin/bash
# libfcgi answers FCGI_GET_VALUES only when the next request begins: a server that asks first and waits, waits on.
#
# Software:  libfcgi0ldbl 2.4.2-2+deb12u1, in fcgiwrap 1.1.0-14+deb12u1 (Debian 12)
# Behaviour: FastCGI 1.0 section 4.1: a server asks an application with FCGI_GET_VALUES what it can do
#            (FCGI_MAX_CONNS, FCGI_MPXS_CONNS) before it sends requests. libfcgi reads the record, puts its answer
#            into a buffer and sends that with the next thing that it has to say. Until an FCGI_BEGIN_REQUEST
#            arrives on the same connection, nothing comes. So a server must not wait for the answer.
# Seen:      after FCGI_GET_VALUES: nothing within 2 s
#            after FCGI_BEGIN_REQUEST: FCGI_MAX_CONNS=1 FCGI_MPXS_CONNS=0
# Exit:      0 as recorded, 1 it behaves differently, 2 the packages cannot be had here
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
for package in fcgiwrap=1.1.0-14+deb12u1 libfcgi0ldbl=2.4.2-2+deb12u1 libsystemd0; do
    apt-get -q download "$package" >apt.log 2>&1 || { cat apt.log; exit 2; }
done
for file in ./*.deb; do dpkg -x "$file" root; done
export LD_LIBRARY_PATH
LD_LIBRARY_PATH=$(echo "$work"/root/usr/lib/*-linux-gnu):$(echo "$work"/root/lib/*-linux-gnu)

cat >values.py <<'PYTHON'
import socket, struct, subprocess

BEGIN_REQUEST, GET_VALUES, GET_VALUES_RESULT = 1, 9, 10

def record(kind, request, content):
    return struct.pack("!BBHHBx", 1, kind, request, len(content), 0) + content

def pair(name, value=b""):
    return bytes([len(name), len(value)]) + name + value

def answer(server):
    try:
        came = server.recv(65536)
    except socket.timeout:
        return "nothing within 2 s"
    _, kind, _, length, _ = struct.unpack("!BBHHBx", came[:8])
    assert kind == GET_VALUES_RESULT, came
    content, values = came[8:8 + length], []
    while content:
        name, value = content[0], content[1]
        values.append(content[2:2 + name].decode() + "=" + content[2 + name:2 + name + value].decode())
        content = content[2 + name + value:]
    return " ".join(values)

listener = socket.socket(socket.AF_UNIX)
listener.bind("socket")
listener.listen()
program = subprocess.Popen(["root/usr/sbin/fcgiwrap"], stdin=listener, stderr=subprocess.DEVNULL)
try:
    server = socket.socket(socket.AF_UNIX)
    server.connect("socket")
    server.settimeout(2)
    server.sendall(record(GET_VALUES, 0, pair(b"FCGI_MAX_CONNS") + pair(b"FCGI_MPXS_CONNS")))
    first = answer(server)
    # A responder, whose connection is kept.
    server.sendall(record(BEGIN_REQUEST, 1, struct.pack("!HB5x", 1, 1)))
    second = answer(server)
finally:
    # It waits for the rest of the request whatever SIGTERM says.
    program.kill()
    program.wait()
print("after FCGI_GET_VALUES:", first)
print("after FCGI_BEGIN_REQUEST:", second)
as_recorded = (first, second) == ("nothing within 2 s", "FCGI_MAX_CONNS=1 FCGI_MPXS_CONNS=0")
raise SystemExit(0 if as_recorded else 1)
PYTHON
python3 values.py
