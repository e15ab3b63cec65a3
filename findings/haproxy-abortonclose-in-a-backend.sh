#!/bin/bash
# HAProxy's option abortonclose does nothing in a backend, without a word; it must stand in defaults or listen.
#
# Software:  haproxy 2.6.12-1+deb12u4 (Debian 12)
# Behaviour: a client closes its connection 0.5 s after its request, while the upstream works for 4 s. With
#            `option abortonclose` in `defaults` (or in a `listen` section) HAProxy ends the upstream's
#            connection then. In a backend of its own HAProxy takes the option without a word (it warns of
#            one in a frontend, which "has no backend capability"), and nothing happens until the upstream
#            has answered.
# Seen:      nowhere: the upstream's connection stays
#            in defaults: the upstream's connection ends at once
#            in the backend: the upstream's connection stays
#            in a listen section: the upstream's connection ends at once
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

cat >abort.py <<'PYTHON'
import queue, socket, subprocess, threading, time

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

fates = queue.Queue()

def work(client):
    while b"\r\n\r\n" not in client.recv(65536):
        pass
    client.settimeout(4)
    try:
        client.recv(1)
        fates.put("ends at once")
    except ConnectionResetError:
        fates.put("ends at once")
    except socket.timeout:
        fates.put("stays")
    client.close()

def upstream(listener):
    while True:
        threading.Thread(target=work, args=(listener.accept()[0],), daemon=True).start()

def connect(port):
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("the proxy does not listen")

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
server = f"  server s 127.0.0.1:{listener.getsockname()[1]}\n"
threading.Thread(target=upstream, args=(listener,), daemon=True).start()
option = "  option abortonclose\n"
defaults = "defaults\n  mode http\n  timeout connect 5s\n  timeout client 50s\n  timeout server 50s\n"
front = "frontend f\n  bind 127.0.0.1:PORT\n  default_backend b\nbackend b\n"
cases = [
    ("nowhere", defaults + front + server, "stays"),
    ("in defaults", defaults + option + front + server, "ends at once"),
    ("in the backend", defaults + front + option + server, "stays"),
    ("in a listen section", defaults + "listen l\n  bind 127.0.0.1:PORT\n" + option + server, "ends at once"),
]
as_recorded = True
for name, config, expected in cases:
    port = free_port()
    with open("haproxy.cfg", "w") as file:
        file.write(config.replace("PORT", str(port)))
    proxy = subprocess.Popen(["root/usr/sbin/haproxy", "-db", "-f", "haproxy.cfg"])
    try:
        client = connect(port)
        client.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        time.sleep(0.5)
        client.close()
        fate = fates.get(timeout=10)
    finally:
        proxy.terminate()
        proxy.wait()
    print(f"{name}: the upstream's connection {fate}")
    as_recorded &= fate == expected
raise SystemExit(0 if as_recorded else 1)
PYTHON
python3 abort.py
