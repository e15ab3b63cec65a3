#!/bin/bash
# HAProxy holds each server-sent event back for some 200 ms, unless told option http-no-delay.
#
# Software:  haproxy 2.6.12-1+deb12u4 (Debian 12), all settings but the times as by default
# Behaviour: an upstream sends one small chunk every half second, with TCP_NODELAY. Each reaches the client
#            some 205 ms late (not the last, which has the end with it). HAProxy sends what is not the end
#            with MSG_MORE, and the kernel waits for more for 200 ms. With `option http-no-delay` in the
#            backend it is 0 ms.
# Seen:      as it is: 205 204 206 205 205 0 ms
#            http-no-delay: 0 0 0 0 0 0 ms
# Exit:      0 as recorded, 1 it behaves differently, 2 the packages cannot be had here
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
for package in haproxy=2.6.12-1+deb12u4 liblua5.3-0=5.3.6-2 libopentracing-c-wrapper0=1.1.3-3+b1 \
    libopentracing1=1.6.0-4 libpcre2-8-0 libssl3 libsystemd0; do
    apt-get -q download "$package" >apt.log 2>&1 || { cat apt.log; exit 2; }
done
for file in ./*.deb; do dpkg -x "$file" root; done
export LD_LIBRARY_PATH
LD_LIBRARY_PATH=$(echo "$work"/root/usr/lib/*-linux-gnu):$(echo "$work"/root/lib/*-linux-gnu)
root/usr/sbin/haproxy -v | sed -n 1p

cat >events.py <<'PYTHON'
import re, socket, subprocess, threading, time

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

def upstream(listener):
    while True:
        client = listener.accept()[0]
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while b"\r\n\r\n" not in client.recv(65536):
            pass
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                       b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(6):
            time.sleep(0.5)
            event = b"data: %.6f\n\n" % time.time()
            client.sendall(b"%x\r\n%s\r\n" % (len(event), event))
        client.sendall(b"0\r\n\r\n")
        client.close()

def connect(port):
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("the proxy does not listen")

def delays(port):
    """Milliseconds between the sending and the coming of each event."""
    client = connect(port)
    client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
    came, late = b"", []
    while not came.endswith(b"0\r\n\r\n"):
        piece = client.recv(65536)
        if not piece:
            break
        now = time.time()
        late += [round((now - float(sent)) * 1000) for sent in re.findall(rb"data: ([0-9.]+)", piece)]
        came += piece
    return late

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
threading.Thread(target=upstream, args=(listener,), daemon=True).start()
seen = []
for option in ("", "  option http-no-delay\n"):
    port = free_port()
    with open("haproxy.cfg", "w") as config:
        config.write(f"""defaults
  mode http
  timeout connect 5s
  timeout client 50s
  timeout server 50s
frontend f
  bind 127.0.0.1:{port}
  default_backend b
backend b
{option}  server s 127.0.0.1:{listener.getsockname()[1]}
""")
    proxy = subprocess.Popen(["root/usr/sbin/haproxy", "-db", "-f", "haproxy.cfg"])
    try:
        late = delays(port)
    finally:
        proxy.terminate()
        proxy.wait()
    print("http-no-delay:" if option else "as it is:", *late, "ms")
    seen.append(late)
held, free = seen
as_recorded = len(held) == len(free) == 6 and min(held[:5]) >= 150 and sorted(free)[3] < 100
raise SystemExit(0 if as_recorded else 1)
PYTHON
python3 events.py
