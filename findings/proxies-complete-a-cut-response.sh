#!/bin/bash
# Caddy, lighttpd and h2o make a whole response of an upstream's chunked one that was cut off.
#
# Software:  caddy 2.6.2-5, lighttpd 1.4.69-1, h2o 2.2.5+dfsg2-7 (Debian 12), as reverse proxies by default
# Behaviour: an upstream sends 1,000 bytes of a chunked response and is gone, without the last chunk, by FIN or by
#            RST. RFC 9112 section 8: such a message is incomplete, and an intermediary has to say so downstream.
#            Caddy puts a last chunk behind it, and lighttpd a Content-Length of 1000 before it: the client
#            sees a good 200. h2o does so after a FIN only. (With a Content-Length of its own that is not
#            reached all three let the client see it; nginx, HAProxy and Apache do in every case.)
# Seen:      caddy: FIN whole, RST whole
#            lighttpd: FIN whole, RST whole
#            h2o: FIN whole, RST cut
# Exit:      0 as recorded, 1 it behaves differently, 2 the packages cannot be had here
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
for package in caddy=2.6.2-5 lighttpd=1.4.69-1 h2o=2.2.5+dfsg2-7 libpcre2-8-0 libssl3 libnettle8 libxxhash0 \
    libzstd1 libyaml-0-2 zlib1g; do
    apt-get -q download "$package" >apt.log 2>&1 || { cat apt.log; exit 2; }
done
for file in ./*.deb; do dpkg -x "$file" root; done
export LD_LIBRARY_PATH
LD_LIBRARY_PATH=$(echo "$work"/root/usr/lib/*-linux-gnu):$(echo "$work"/root/lib/*-linux-gnu)

cat >cut.py <<'PYTHON'
import os, socket, struct, subprocess, threading, time

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

def serve(client):
    request = client.recv(65536)
    while b"\r\n\r\n" not in request:
        request += client.recv(65536)
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
                   b"3e8\r\n" + b"x" * 1000 + b"\r\n")
    # The proxy has read it all by then.
    time.sleep(0.5)
    if request.split()[1] == b"/RST":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()

def upstream(listener):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

def connect(port):
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("the proxy does not listen")

def ask(port, how):
    """Whether the response says that it is whole."""
    client = connect(port)
    client.settimeout(5)
    client.sendall(f"GET /{how} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
    came = b""
    try:
        while piece := client.recv(65536):
            came += piece
    except (ConnectionResetError, socket.timeout):
        pass
    head, _, body = came.partition(b"\r\n\r\n")
    head = head.lower()
    if not head.startswith(b"http/1.1 200"):
        return head.split(b"\r\n")[0].decode()
    if b"transfer-encoding: chunked" in head:
        return "whole" if body.endswith(b"\r\n0\r\n\r\n") else "cut"
    return "whole" if f"content-length: {len(body)}".encode() in head.split(b"\r\n") else "cut"

listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
threading.Thread(target=upstream, args=(listener,), daemon=True).start()
to, here = listener.getsockname()[1], os.getcwd()
proxies = {
    "caddy": (["root/usr/bin/caddy", "run", "--adapter", "caddyfile", "--config", "caddy.conf"],
              f"{{\n admin off\n auto_https off\n}}\n:PORT {{\n bind 127.0.0.1\n reverse_proxy 127.0.0.1:{to}\n}}\n"),
    "lighttpd": (["root/usr/sbin/lighttpd", "-D", "-m", "root/usr/lib/lighttpd", "-f", "lighttpd.conf"],
                 f'server.document-root = "{here}"\nserver.bind = "127.0.0.1"\nserver.port = PORT\n'
                 f'server.modules = ("mod_proxy")\n'
                 f'proxy.server = ("" => (("host" => "127.0.0.1", "port" => {to})))\n'),
    "h2o": (["root/usr/bin/h2o", "-c", "h2o.conf"],
            f'listen:\n  host: 127.0.0.1\n  port: PORT\n{"user: root" if os.getuid() == 0 else ""}\n'
            f'hosts:\n  "*":\n    paths:\n      "/":\n        proxy.reverse.url: "http://127.0.0.1:{to}/"\n'),
}
seen = {}
for name, (command, config) in proxies.items():
    port = free_port()
    with open(f"{name}.conf", "w") as file:
        file.write(config.replace("PORT", str(port)))
    log = open(f"{name}.log", "w")
    proxy = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ, HOME=here))
    try:
        seen[name] = [ask(port, how) for how in ("FIN", "RST")]
    finally:
        proxy.terminate()
        proxy.wait()
    print(f"{name}: FIN {seen[name][0]}, RST {seen[name][1]}")
expected = {"caddy": ["whole", "whole"], "lighttpd": ["whole", "whole"], "h2o": ["whole", "cut"]}
raise SystemExit(0 if seen == expected else 1)
PYTHON
python3 cut.py
