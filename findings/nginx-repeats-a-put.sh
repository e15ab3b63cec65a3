#!/bin/bash
# nginx sends one PUT (or DELETE) once for each upstream connection that it keeps, and once more.
#
# Software:  nginx 1.22.1-9+deb12u11 (Debian 12), `keepalive 8` in the upstream block
# Behaviour: an upstream ends its connection without a byte of an answer. nginx takes that for a kept
#            connection that has timed out and repeats the request on the next one, until none is left and
#            a new one is made: with 8 kept connections an idempotent request (RFC 9110 section 9.2.2: PUT and
#            DELETE too) runs nine times before the client sees its 502, although there is one upstream server
#            and proxy_next_upstream has nowhere to go. POST and PATCH run once.
# Seen:      GET 9, PUT 9, DELETE 9, POST 1, PATCH 1
# Exit:      0 as recorded, 1 it behaves differently, 2 the packages cannot be had here
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
for package in nginx=1.22.1-9+deb12u11 libpcre2-8-0 libssl3 zlib1g; do
    apt-get -q download "$package" >apt.log 2>&1 || { cat apt.log; exit 2; }
done
for file in ./*.deb; do dpkg -x "$file" root; done
export LD_LIBRARY_PATH
LD_LIBRARY_PATH=$(echo "$work"/root/usr/lib/*-linux-gnu):$(echo "$work"/root/lib/*-linux-gnu)
root/usr/sbin/nginx -v 2>&1
# Its workers, of another user, put bodies there.
chmod 755 .
mkdir -m 777 bodies

cat >repeat.py <<'PYTHON'
import os, socket, subprocess, threading, time

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

runs = []
all_here = threading.Barrier(8)

def serve(client):
    """Keeps the connection after /warm, and ends it without a word after anything else."""
    while True:
        request = b""
        while b"\r\n\r\n" not in request:
            piece = client.recv(65536)
            if not piece:
                return client.close()
            request += piece
        if request.split()[1] != b"/warm":
            runs.append(request.split()[0])
            return client.close()
        all_here.wait(10)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

def upstream(listener):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

def ask(method, path):
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(f"{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n"
                   f"Connection: close\r\n\r\n".encode())
    answer = b""
    while piece := client.recv(65536):
        answer += piece
    return int(answer.split()[1])

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(64)
threading.Thread(target=upstream, args=(listener,), daemon=True).start()
port, here = free_port(), os.getcwd()
paths = "".join(f"  {name}_temp_path {here}/bodies/{name};\n"
                for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
with open("nginx.conf", "w") as config:
    config.write(f"""daemon off;
worker_processes 1;
pid {here}/nginx.pid;
error_log {here}/error.log crit;
events {{ }}
http {{
  access_log off;
{paths}  upstream u {{
    server 127.0.0.1:{listener.getsockname()[1]};
    keepalive 8;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://u;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
""")
proxy = subprocess.Popen(["root/usr/sbin/nginx", "-p", here, "-e", "error.log", "-c", f"{here}/nginx.conf"])
counts = {}
try:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    for method in ("GET", "PUT", "DELETE", "POST", "PATCH"):
        warm = [threading.Thread(target=ask, args=("GET", "/warm")) for _ in range(8)]
        for thread in warm:
            thread.start()
        for thread in warm:
            thread.join()
        runs.clear()
        status = ask(method, "/ends-without-a-byte")
        counts[method] = len(runs)
        assert status == 502, status
finally:
    proxy.terminate()
    proxy.wait()
print(", ".join(f"{method} {count}" for method, count in counts.items()))
expected = {"GET": 9, "PUT": 9, "DELETE": 9, "POST": 1, "PATCH": 1}
raise SystemExit(0 if counts == expected else 1)
PYTHON
python3 repeat.py
