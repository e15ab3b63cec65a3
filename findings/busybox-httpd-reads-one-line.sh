#!/bin/bash
# BusyBox httpd looks at the first line of a CGI program's output only: Status below it, or Location alone, is 200.
#
# Software:  busybox 1:1.35.0-4+deb12u1+b1 (Debian 12), applet httpd
# Behaviour: RFC 3875 section 6.3: fields of a CGI response may come in any order. httpd obeys a Status field
#            that comes first. One below another field is sent to the client as a field named Status of a
#            200. A response of only `Location: http://...` is a redirect (section 6.2.3, 302); httpd sends it as
#            200, which no browser follows.
# Seen:      Status, Content-Type: HTTP/1.1 404 Not Found
#            Content-Type, Status: HTTP/1.1 200 OK
#            Location: HTTP/1.1 200 OK
# Exit:      0 as recorded, 1 it behaves differently, 2 the packages cannot be had here
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
package=busybox=1:1.35.0-4+deb12u1+b1
apt-get -q download "$package" >apt.log 2>&1 || { cat apt.log; exit 2; }
for file in ./*.deb; do dpkg -x "$file" root; done
root/bin/busybox | sed -n 1p
mkdir -p home/cgi-bin
cat >home/cgi-bin/status-first <<'CGI'
#!/bin/sh
printf 'Status: 404 Not Found\r\nContent-Type: text/plain\r\n\r\nnot here\n'
CGI
cat >home/cgi-bin/status-second <<'CGI'
#!/bin/sh
printf 'Content-Type: text/plain\r\nStatus: 404 Not Found\r\n\r\nnot here\n'
CGI
cat >home/cgi-bin/location <<'CGI'
#!/bin/sh
printf 'Location: http://www.example.org/\r\n\r\n'
CGI
chmod -R a+rx home

cat >ask.py <<'PYTHON'
import socket, subprocess, time

with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    port = s.getsockname()[1]
server = subprocess.Popen(["root/bin/busybox", "httpd", "-f", "-p", f"127.0.0.1:{port}", "-h", "home"])

def ask(name):
    for _ in range(100):
        try:
            client = socket.create_connection(("127.0.0.1", port))
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    client.sendall(f"GET /cgi-bin/{name} HTTP/1.0\r\nHost: test\r\n\r\n".encode())
    answer = b""
    while piece := client.recv(65536):
        answer += piece
    return answer.split(b"\r\n")[0].decode()

try:
    seen = [ask(name) for name in ("status-first", "status-second", "location")]
finally:
    server.terminate()
    server.wait()
for what, line in zip(("Status, Content-Type", "Content-Type, Status", "Location"), seen):
    print(f"{what}: {line}")
raise SystemExit(0 if [line.split()[1] for line in seen] == ["404", "200", "200"] else 1)
PYTHON
python3 ask.py
