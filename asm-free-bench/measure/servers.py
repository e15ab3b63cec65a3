"""The servers: each in a folder of its own, on a loopback port of its own, with an access log.

Settings are the best that the server's own documentation names for this work; what is said here is
all that differs from its defaults. Started by root, all of them run as nobody.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field

from measure import accounting, load

CORES = os.cpu_count() or 1
SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
_APACHE_MODULES = ("/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/lib/httpd/modules")


def installed(*names):
    """The first of them that is there."""
    return next(filter(None, (shutil.which(name, path=SEARCHED) for name in names)), None)


@dataclass
class Place:
    """What a server is told."""

    root: str
    closing_root: str
    folder: str
    port: int
    workers: int
    caffeine: str

    def file(self, name):
        """In the server's own folder."""
        return os.path.join(self.folder, name)

    def write(self, name, text):
        """A configuration file; returns its path."""
        with open(self.file(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.file(name)


def caffeine(place, *options):
    """As a daemon: in the foreground each line of the log is written twice."""
    paths = [("path", place.root), ("log-file", place.file("access.log"))]
    paths += [("pid-file", place.file("pid")), ("socket", place.file("socket"))]
    return [
        [place.caffeine, "--daemon", "--bind", load.HOST, "--port", str(place.port)]
        + ["--workers", str(place.workers), *options]
        + [f"--{name}={value}" for name, value in paths]
    ]


def lighttpd(place, stream=0, processes=0):
    """mod_cgi; `stream` is server.stream-response-body, `processes` server.max-worker."""
    text = f"""
server.document-root = "{place.root}"
server.bind = "{load.HOST}"
server.port = {place.port}
server.modules = ("mod_accesslog", "mod_cgi")
server.errorlog = "{place.file("error.log")}"
server.upload-dirs = ("{place.folder}")
accesslog.filename = "{place.file("access.log")}"
cgi.assign = ("" => "")
server.max-keep-alive-requests = 65535
server.max-fds = 8192
server.stream-response-body = {stream}
server.max-worker = {processes}
"""
    return [[installed("lighttpd"), "-D", "-f", place.write("lighttpd.conf", text)]]


_FASTCGI = """
            fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
            fastcgi_param SCRIPT_NAME $fastcgi_script_name;
            fastcgi_param REQUEST_URI $request_uri;
            fastcgi_param DOCUMENT_URI $document_uri;
            fastcgi_param DOCUMENT_ROOT $document_root;
            fastcgi_param SERVER_PROTOCOL $server_protocol;
            fastcgi_param REQUEST_SCHEME $scheme;
            fastcgi_param GATEWAY_INTERFACE CGI/1.1;
            fastcgi_param SERVER_SOFTWARE nginx/$nginx_version;
            fastcgi_param REMOTE_ADDR $remote_addr;
            fastcgi_param REMOTE_PORT $remote_port;
            fastcgi_param SERVER_ADDR $server_addr;
            fastcgi_param SERVER_PORT $server_port;
            fastcgi_param SERVER_NAME $server_name;
            fastcgi_param REDIRECT_STATUS 200;"""


def nginx(place, buffered=True):
    """With fcgiwrap, which has as many processes as Caffeine has workers."""
    unbuffered = "fastcgi_buffering off; fastcgi_request_buffering off; "
    unbuffered += "fastcgi_buffer_size 64k; fastcgi_buffers 16 64k;"
    temporary = "".join(
        f"    {name}_temp_path {place.file(name)};\n"
        for name in ("client_body", "fastcgi", "proxy", "scgi", "uwsgi")
    )
    text = f"""
daemon off;
worker_processes {CORES};
pid {place.file("pid")};
error_log {place.file("error.log")};
events {{ worker_connections 4096; }}
http {{
    access_log {place.file("access.log")} combined;
    keepalive_requests 1000000;
    client_max_body_size 0;
{temporary}
    server {{
        listen {load.HOST}:{place.port} backlog=4096;
        root {place.root};
        location /cgi-bin/ {{
            fastcgi_pass unix:{place.file("fcgi")};
            {"" if buffered else unbuffered}{_FASTCGI}
        }}
    }}
}}
"""
    return [
        [installed("fcgiwrap"), "-c", str(place.workers), "-s", "unix:" + place.file("fcgi")],
        [installed("nginx"), "-e", place.file("error.log"), "-c", place.write("nginx.conf", text)],
    ]


def apache(place, mpm, module):
    """httpd with a process model and the CGI module that belongs to it."""
    folder = next(filter(os.path.isdir, _APACHE_MODULES), "modules")
    names = [f"mpm_{mpm}", "authn_core", "authz_core", "log_config", "unixd", "env", module]
    loaded = "".join(
        f"LoadModule {name}_module {folder}/mod_{name}.so\n"
        for name in names
        if os.path.exists(f"{folder}/mod_{name}.so")
    )
    # Since 2.4.59 a script's Content-Length is dropped unless it is said to be trusted.
    trusted = "SetEnv ap_trust_cgilike_cl 1" if os.path.exists(f"{folder}/mod_env.so") else ""
    script_socket = f"ScriptSock {place.file('cgid')}\n" if module == "cgid" else ""
    # prefork starts one process a second at first, and each holds a connection: have them beforehand.
    spare = "StartServers 64\nMinSpareServers 16\nMaxSpareServers 256\n" if mpm == "prefork" else ""
    text = f"""
{loaded}
ServerRoot {place.folder}
ServerName localhost
DefaultRuntimeDir {place.folder}
PidFile {place.file("pid")}
ErrorLog {place.file("error.log")}
Listen {load.HOST}:{place.port}
DocumentRoot {place.root}
KeepAlive On
MaxKeepAliveRequests 0
LogFormat "%h %l %u %t \\"%r\\" %>s %O \\"%{{Referer}}i\\" \\"%{{User-Agent}}i\\"" combined
CustomLog {place.file("access.log")} combined
{script_socket}{spare}
<Directory {place.root}/cgi-bin>
    Options +ExecCGI
    AllowOverride None
    SetHandler cgi-script
    {trusted}
    Require all granted
</Directory>
"""
    return [[installed("apache2", "httpd"), "-D", "FOREGROUND", "-f", place.write("httpd.conf", text)]]


def busybox(place):
    """Its access log is what -v prints.

    It passes a handler's head on as it is, as HTTP/1.1, and closes: only if the handlers say so does
    a client not send its next request in vain.
    """
    return [[installed("busybox"), "httpd", "-f", "-v", "-p", f"{load.HOST}:{place.port}", "-h", place.closing_root]]


def mini_httpd(place):
    """One process per connection."""
    command = [installed("mini_httpd"), "-D", "-h", load.HOST, "-p", str(place.port), "-d", place.root]
    return [command + ["-c", "cgi-bin/*", "-l", place.file("access.log"), "-i", place.file("pid")]]


@dataclass
class Kind:
    """A server with settings. `only`: for requests, transfers or both."""

    name: str
    label: str
    commands: object
    needs: tuple = ()
    only: tuple = ("requests", "transfers")
    version: list = field(default_factory=list)

    @property
    def is_caffeine(self):
        """Whether it is measured, or compared with."""
        return self.name.startswith("caffeine")

    def is_installed(self):
        """Whether all programs are there."""
        return all(installed(*names) for names in self.needs)


_HTTPD = (("apache2", "httpd"),)
PEERS = [
    Kind("lighttpd", "lighttpd mod_cgi", lighttpd, (("lighttpd",),)),
    Kind("lighttpd-stream", "lighttpd, stream-response-body 1", lambda p: lighttpd(p, 1), (("lighttpd",),)),
    Kind(
        "lighttpd-stream2",
        "lighttpd, stream-response-body 2",
        lambda p: lighttpd(p, 2),
        (("lighttpd",),),
        ("transfers",),
    ),
    Kind(
        "lighttpd-workers",
        f"lighttpd, max-worker {CORES}",
        lambda p: lighttpd(p, 0, CORES),
        (("lighttpd",),),
        ("requests",),
    ),
    Kind("nginx", "nginx + fcgiwrap", nginx, (("nginx",), ("fcgiwrap",))),
    Kind(
        "nginx-unbuffered",
        "nginx + fcgiwrap, buffering off",
        lambda p: nginx(p, False),
        (("nginx",), ("fcgiwrap",)),
        ("transfers",),
    ),
    Kind("apache-event", "Apache event + cgid", lambda p: apache(p, "event", "cgid"), _HTTPD),
    Kind("apache-prefork", "Apache prefork + cgi", lambda p: apache(p, "prefork", "cgi"), _HTTPD),
    Kind("busybox", "busybox httpd", busybox, (("busybox",),)),
    Kind("mini_httpd", "mini_httpd", mini_httpd, (("mini_httpd",),)),
]
OURS = [
    Kind("caffeine", "Caffeine", caffeine),
    Kind("caffeine-quiet", "Caffeine, access log off", lambda p: caffeine(p, "--log-level", "WARN"), (), ("requests",)),
]
STATIC = Kind("caffeine-static", "Caffeine, static binary", caffeine)


class Failed(Exception):
    """A server that does not start or does not answer."""


class Server:
    """A running one. `stop` leaves nothing of it."""

    def __init__(self, kind, handlers, accounts, binary, workers):
        self.kind = kind
        folder = os.path.join(handlers.scratch, kind.name)
        os.mkdir(folder)
        self.user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if self.user:
            os.chown(folder, self.user.pw_uid, self.user.pw_gid)
        self.place = Place(handlers.root, handlers.closing_root, folder, free_port(), workers, binary)
        self.account = accounts.open(kind.name)
        self.started = []
        try:
            for command in kind.commands(self.place):
                self._start(command)
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    @property
    def port(self):
        """Where it listens."""
        return self.place.port

    def _start(self, command):
        with open(self.place.file("stderr"), "ab") as stderr:
            process = subprocess.Popen(
                command,
                cwd=self.place.folder,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                env={"HOME": self.place.folder, "PATH": "/usr/local/bin:/usr/bin:/bin", "TMPDIR": self.place.folder},
                start_new_session=True,
                preexec_fn=self._become,
            )
        self.started.append(process)
        self.account.follow(process.pid)

    def _become(self):
        """Between fork and exec."""
        self.account.enter()
        if self.user:
            os.setgroups([])
            os.setgid(self.user.pw_gid)
            os.setuid(self.user.pw_uid)
        os.umask(0o022)
        # Not for a daemon's second fork; that one is adopted, and ended by `stop`.
        accounting.die_with_parent()

    def _wait_until_it_answers(self):
        end = time.monotonic() + 10
        why = "no answer"
        while time.monotonic() < end:
            try:
                load.check_answer(self.port, "/cgi-bin/tiny", b"hello\n", ["Connection: close"])
                break
            except (OSError, load.WrongAnswer) as e:
                why = e
                time.sleep(0.05)
        else:
            raise Failed(f"{why}; {self.said()}")
        if self.kind.is_caffeine:
            with open(self.place.file("pid"), encoding="ascii") as file:
                self.account.follow(int(file.read()))

    def said(self):
        """The end of what it wrote to stderr and its error log."""
        texts = []
        for name in ("stderr", "error.log"):
            if os.path.exists(self.place.file(name)):
                with open(self.place.file(name), encoding="utf-8", errors="replace") as file:
                    texts.append(file.read()[-300:].strip())
        return " ".join(texts) or "it says nothing"

    def stop(self):
        """Asks its processes to leave, then ends what is left of it."""
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.account.close()


def free_port():
    """Of the kernel's choice."""
    with socket.socket() as chosen:
        chosen.bind((load.HOST, 0))
        return chosen.getsockname()[1]
