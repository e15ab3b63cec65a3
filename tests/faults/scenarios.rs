//! What clients do while a call fails: together these take every way that a request can go.

use super::harness::{Folder, Server, eventually, os, watch_for};
use super::server_kinds;
use super::test_client::{Seen, TestClient};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Long enough for the server to see the first half alone.
pub(crate) const PAUSE: Duration = Duration::from_millis(8);

/// A request that was made, and how it ought to end.
pub(crate) struct Asked {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    pub(crate) seen: Seen,
    /// What is in the body is the server's own.
    is_free: bool,
    /// A body that is right too.
    other: Option<&'static str>,
}

impl Asked {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>, seen: Seen) -> Self {
        Self {
            status,
            body: body.into(),
            seen,
            is_free: status >= 400,
            other: None,
        }
    }

    /// This body is right too.
    pub(crate) fn may_be(&mut self, other: &'static str) {
        self.other = Some(other);
    }

    /// As it should be on a healthy machine.
    pub(crate) fn is_right(&self) -> bool {
        matches!(&self.seen, Seen::Whole(status, body)
            if *status == self.status
                && (self.is_free
                    || *body == self.body
                    || self.other.is_some_and(|other| other.as_bytes() == body)))
    }

    /// As it may be when a call has failed: right, an error that says so, or a visible end.
    pub(crate) fn is_honest(&self) -> bool {
        match &self.seen {
            Seen::Whole(status, _) if *status >= 400 => true,
            Seen::Whole(..) => self.is_right(),
            Seen::Cut | Seen::Closed => true,
            Seen::Hung | Seen::Doubled => false,
        }
    }
}

/// One thing that clients do.
pub(crate) type Scenario = fn(&Server) -> Vec<Asked>;

/// Those of requests.
pub(crate) const SCENARIOS: &[(&str, Scenario)] = &[
    ("get", get),
    ("slow head", slow_head),
    ("slow head on a unix socket", slow_head_unix),
    ("small post", small_post),
    ("large post", large_post),
    ("chunked post", chunked_post),
    ("slow post", slow_post),
    ("body by a pipe", piped_post),
    ("slow reader", slow_reader),
    ("large response", large_response),
    ("nph", nph),
    ("errors", errors),
    ("redirect", redirect),
    ("leaver", leaver),
    ("overtime", overtime),
    ("held", held),
    ("gone", gone),
    ("respawn", respawn),
    ("reopened log", reopened_log),
    ("status", status),
    ("sandboxed", server_kinds::sandboxed),
    ("best effort", server_kinds::best_effort),
];

/// Handlers, as scripts.
pub(crate) const HANDLERS: &[(&str, &str)] = &[
    (
        "hello",
        "echo x >> runs; printf 'Content-Type: text/plain\\n\\nhello'",
    ),
    (
        "echo",
        "echo x >> runs; printf 'Content-Type: text/plain\\n\\n'; cat",
    ),
    (
        "piped",
        "echo x >> runs; printf 'Content-Type: text/plain\\n\\n'; cat",
    ),
    (
        "big",
        "echo x >> runs; printf 'Content-Type: text/plain\\n\\n'; cat block block block; echo x >> done",
    ),
    (
        "nph-raw",
        "echo x >> runs; printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\nnph'",
    ),
    ("redirect", "printf 'Location: /hello\\n\\n'"),
    (
        "leaver",
        "echo x >> runs; setsid sleep 50 > /dev/null 2>&1 < /dev/null & printf 'Content-Type: text/plain\\n\\nleft'",
    ),
    ("late", "echo x >> runs; exec sleep 50"),
    (
        "one",
        "echo x >> runs; sleep 0.03; printf 'Content-Type: text/plain\\n\\none'",
    ),
    ("gone", "echo x >> runs; echo x >> begun; exec sleep 50"),
    ("boxed", BOXED),
    ("relaxed", BOXED),
];

/// What a sandbox forbids. It cannot count its runs there.
pub(crate) const BOXED: &str = "printf 'Content-Type: text/plain\\n\\n'
if read -r line < /etc/passwd; then printf open; else printf shut; fi 2> /dev/null";

/// The configuration file, with more lines at its beginning.
pub(crate) fn config(folder: &Folder, more: &str) -> String {
    let http = folder.at("http").display().to_string();
    format!("bind = 127.0.0.1:0\nbind = unix:{http}\n{more}{SECTIONS}")
}

const SECTIONS: &str = "\
[handler /late]
handler-timeout = 100ms
[handler /one]
max-concurrent = 1
[handler /piped]
stdin = pipe
[handler /boxed]
read = /usr, /lib, /bin
[handler /relaxed]
read = /usr, /lib, /bin
sandbox = best-effort
";

/// What /big reads.
pub(crate) const BLOCK: usize = 2 << 20;

pub(crate) fn tcp(server: &Server) -> TestClient {
    TestClient::tcp(server.port)
}

pub(crate) fn get_of(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

pub(crate) fn post_of(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n")
}

pub(crate) fn hello(seen: Seen) -> Asked {
    Asked::new(200, "hello", seen)
}

pub(crate) fn text(len: usize) -> Vec<u8> {
    super::harness::noise(len)
}

/// Two requests on one connection.
pub(crate) fn get(server: &Server) -> Vec<Asked> {
    let mut client = tcp(server);
    let first = hello(client.ask(get_of("/hello")));
    if !first.is_right() {
        return vec![first];
    }
    // After an error the server may have closed.
    vec![first, hello(client.ask(get_of("/hello")))]
}

fn in_pieces(client: &mut TestClient, pieces: &[&[u8]]) {
    for (number, piece) in pieces.iter().enumerate() {
        if number > 0 {
            watch_for(PAUSE);
        }
        client.send(piece);
    }
}

fn slow_head(server: &Server) -> Vec<Asked> {
    let mut client = tcp(server);
    in_pieces(
        &mut client,
        &[b"GET /he", b"llo HTTP/1.1\r\nHo", b"st: test\r\n\r\n"],
    );
    vec![hello(client.response())]
}

fn slow_head_unix(server: &Server) -> Vec<Asked> {
    let stream = UnixStream::connect(server.folder.at("http")).unwrap();
    let mut client = TestClient::new(stream);
    in_pieces(
        &mut client,
        &[b"GET /he", b"llo HTTP/1.1\r\nHost: test\r\n\r\n"],
    );
    vec![hello(client.response())]
}

fn small_post(server: &Server) -> Vec<Asked> {
    let mut client = tcp(server);
    let body = text(1000);
    let seen = client.ask([post_of("/echo", 1000).as_bytes(), &body].concat());
    vec![Asked::new(200, body, seen)]
}

/// More than a memory file holds.
pub(crate) fn large_post(server: &Server) -> Vec<Asked> {
    let mut client = tcp(server);
    let body = text(400 << 10);
    let seen = client.ask([post_of("/echo", body.len()).as_bytes(), &body].concat());
    vec![Asked::new(200, body, seen)]
}

fn chunked_post(server: &Server) -> Vec<Asked> {
    let mut client = tcp(server);
    let body = text(3000);
    let mut request =
        b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(1000) {
        request.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend_from_slice(chunk);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    vec![Asked::new(200, body, client.ask(request))]
}

pub(crate) fn slow_post(server: &Server) -> Vec<Asked> {
    let mut client = tcp(server);
    let body = text(300 << 10);
    let head = post_of("/echo", body.len());
    let (first, second) = body.split_at(200 << 10);
    in_pieces(&mut client, &[head.as_bytes(), first, second]);
    vec![Asked::new(200, body.clone(), client.response())]
}

fn piped_post(server: &Server) -> Vec<Asked> {
    let mut client = tcp(server);
    let body = text(200 << 10);
    let seen = client.ask([post_of("/piped", body.len()).as_bytes(), &body].concat());
    vec![Asked::new(200, body, seen)]
}

fn big_body(server: &Server) -> Vec<u8> {
    std::fs::read(server.folder.at("root/block"))
        .unwrap()
        .repeat(3)
}

/// Reads only when the handler has ended: the rest of the response is in a spool by then.
pub(crate) fn slow_reader(server: &Server) -> Vec<Asked> {
    let stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let mut client = TestClient::new(stream);
    let before = server.read("done").len();
    client.send(get_of("/big"));
    let start = std::time::Instant::now();
    while server.read("done").len() == before && start.elapsed() < Duration::from_millis(500) {
        watch_for(Duration::from_millis(1));
    }
    watch_for(PAUSE);
    vec![Asked::new(200, big_body(server), client.response())]
}

fn large_response(server: &Server) -> Vec<Asked> {
    let seen = tcp(server).ask(get_of("/big"));
    vec![Asked::new(200, big_body(server), seen)]
}

fn nph(server: &Server) -> Vec<Asked> {
    vec![Asked::new(200, "nph", tcp(server).ask(get_of("/nph-raw")))]
}

fn errors(server: &Server) -> Vec<Asked> {
    let missing = tcp(server).ask(get_of("/missing"));
    let malformed = tcp(server).ask("GET /hello HTTP/1.1\r\nHost : x\r\n\r\n");
    let mut sender = tcp(server);
    let large = sender.ask([post_of("/echo", 9 << 20).as_bytes(), &text(1 << 16)].concat());
    vec![
        Asked::new(404, "", missing),
        Asked::new(400, "", malformed),
        Asked::new(413, "", large),
    ]
}

fn redirect(server: &Server) -> Vec<Asked> {
    vec![hello(tcp(server).ask(get_of("/redirect")))]
}

pub(crate) fn leaver(server: &Server) -> Vec<Asked> {
    vec![Asked::new(200, "left", tcp(server).ask(get_of("/leaver")))]
}

fn overtime(server: &Server) -> Vec<Asked> {
    vec![Asked::new(504, "", tcp(server).ask(get_of("/late")))]
}

/// Two clients, and a handler that runs for one at a time.
fn held(server: &Server) -> Vec<Asked> {
    let (mut one, mut other) = (tcp(server), tcp(server));
    one.send(get_of("/one"));
    other.send(get_of("/one"));
    [one.response(), other.response()]
        .map(|seen| Asked::new(200, "one", seen))
        .into()
}

/// A client that resets its connection while its handler runs.
fn gone(server: &Server) -> Vec<Asked> {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    os::reset_on_close(&stream);
    let before = server.read("begun").len();
    let _ = stream.write_all(get_of("/gone").as_bytes());
    let start = std::time::Instant::now();
    while server.read("begun").len() == before && start.elapsed() < Duration::from_millis(200) {
        watch_for(Duration::from_millis(1));
    }
    drop(stream);
    Vec::new()
}

/// A worker is killed, and its successor answers.
pub(crate) fn respawn(server: &Server) -> Vec<Asked> {
    let workers = server.worker_pids();
    for worker in &workers {
        os::kill(*worker, os::KILL);
    }
    vec![hello(tcp(server).ask(get_of("/hello")))]
}

pub(crate) fn reopened_log(server: &Server) -> Vec<Asked> {
    server.signal(os::USR1);
    vec![hello(tcp(server).ask(get_of("/hello")))]
}

/// Somebody asks for the status. An answer that does not come is an answer.
fn status(server: &Server) -> Vec<Asked> {
    let _ = ask_status(server);
    Vec::new()
}

/// The status line; `None` if there was none.
pub(crate) fn ask_status(server: &Server) -> Option<String> {
    let mut socket = UnixStream::connect(server.folder.at("socket")).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
    socket.write_all(b"status\n").ok()?;
    let mut line = String::new();
    socket.read_to_string(&mut line).ok()?;
    line.contains("state=").then_some(line)
}

/// After an upgrade the server is another process.
pub(crate) fn follow(server: &Server) {
    let status = ask_status(server).unwrap_or_default();
    let mut words = status.split_whitespace();
    if let Some(pid) = words.find_map(|word| word.strip_prefix("pid=")) {
        server.follow(pid.parse().unwrap());
    }
}

/// Two requests that have to be right, at once and after whatever has happened.
#[track_caller]
pub(crate) fn expect_service(server: &Server, after: &str) {
    eventually(
        Duration::from_secs(6),
        &format!("service after {after}"),
        || {
            let body = text(500);
            let get = hello(tcp(server).ask(get_of("/hello")));
            let seen = tcp(server).ask([post_of("/echo", 500).as_bytes(), &body].concat());
            get.is_right() && Asked::new(200, body, seen).is_right()
        },
    );
}
