//! Handlers that print much for clients that do not read: the workers take turns at putting it away,
//! and nobody keeps a turn that is of no use to him.

use super::harness::{Client, PATIENCE, Server, eventually, noise, os};
use std::sync::OnceLock;
use std::thread::available_parallelism;

const MIB: usize = 1 << 20;
const HEAD: &str = "printf 'Content-Type: text/plain\\n\\n'";

/// How many workers put away at a time. On a large machine fewer than that shall do here.
fn writers() -> usize {
    (available_parallelism().unwrap().get() / 2).clamp(1, 4)
}

/// A server with enough workers. What its handlers print for `query` is `body_of(query)`.
fn server(option: &str) -> Server {
    let workers = 2 * writers() + 2;
    let server = Server::with([
        &format!("--workers={workers}"),
        &format!("--max-workers={workers}"),
        option,
    ]);
    for query in ["a", "b", "c"] {
        let name = format!("root/.{query}");
        server.folder.write(&name, body_of(query), 0o644);
    }
    let much = format!("{HEAD}; cat .$QUERY_STRING; echo x > $QUERY_STRING.done");
    server.handler("much", &much);
    server.handler("hello", &format!("{HEAD}; printf hello"));
    server
}

/// More than sockets and pipes hold.
fn body_of(query: &str) -> &'static [u8] {
    let from = usize::from(query.as_bytes()[0]);
    &much()[from..from + 24 * MIB]
}

fn much() -> &'static [u8] {
    static MUCH: OnceLock<Vec<u8>> = OnceLock::new();
    MUCH.get_or_init(|| noise(25 * MIB))
}

/// A client that asks and does not read.
fn ask(server: &Server, target: &str) -> Client {
    let mut client = server.connect();
    os::set_receive_buffer(&client.stream, 64 * 1024);
    client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
    client
}

#[track_caller]
fn expect_body(client: &mut Client, body: &[u8]) {
    let response = client.response();
    assert!(response.is_whole);
    assert!(response.body == body, "{} bytes", response.body.len());
}

/// A number in the server's status.
fn status_of(server: &Server, key: &str) -> u64 {
    server.status_of(key).parse().unwrap()
}

#[test]
fn all_who_print_much_at_a_time_come_to_their_end_before_anybody_reads() {
    let server = server("--max-spool=64M");
    let queries = ["a", "b", "c"];
    let mut clients = queries.map(|query| ask(&server, &format!("/much?{query}")));
    for query in queries {
        server.wait_for_line(&format!("{query}.done"));
    }
    assert_eq!(server.get("/hello").ok(), "hello");
    for (client, query) in clients.iter_mut().zip(queries) {
        expect_body(client, body_of(query));
    }
    server.stop();
}

#[test]
fn who_prints_without_end_leaves_others_their_turns() {
    let server = server("--max-spool=2G");
    // It would have to be ten times as fast as the others to get there.
    let endless = format!("{HEAD}; dd bs=1M count=500 if=/dev/zero 2>&1; echo x > overran");
    server.handler("endless", &endless);
    let endless: Vec<Client> = (0..writers()).map(|_| ask(&server, "/endless")).collect();
    eventually(PATIENCE, "their output is put away", || {
        status_of(&server, "spooled") > (writers() * MIB) as u64
    });
    let mut others = ["a", "b"].map(|query| ask(&server, &format!("/much?{query}")));
    for query in ["a", "b"] {
        server.wait_for_line(&format!("{query}.done"));
    }
    assert!(server.read("overran").is_empty(), "they came after it");
    drop(endless);
    for (client, query) in others.iter_mut().zip(["a", "b"]) {
        expect_body(client, body_of(query));
    }
    server.stop();
}

#[test]
fn who_has_no_room_for_more_keeps_no_turn() {
    // In the middle of a turn, which is for a MiB.
    let server = server("--max-spool=8704K");
    let mut full = Vec::new();
    for already in 0..writers() {
        full.push(ask(&server, "/much?a"));
        eventually(PATIENCE, "it waits for its client", || {
            status_of(&server, "client_waits") > already as u64
        });
    }
    server.folder.write("root/.b", &much()[..8 * MIB], 0o644);
    let mut other = ask(&server, "/much?b");
    server.wait_for_line("b.done");
    assert!(server.read("a.done").is_empty());
    expect_body(&mut other, &much()[..8 * MIB]);
    for client in &mut full {
        expect_body(client, body_of("a"));
    }
    server.stop();
}

#[test]
fn who_pauses_keeps_no_turn() {
    let server = server("--max-spool=64M");
    server.handler(
        "pause",
        "cat .$QUERY_STRING; echo x > $QUERY_STRING.paused; while [ ! -e go ]; do sleep 0.01; done",
    );
    // Both fill the worker's buffer each time, the last one too; and not both are at a turn's end then.
    let bodies = [24 * MIB, 24 * MIB + MIB / 2].map(|bytes| &much()[..bytes - 26]);
    let mut pausing = Vec::new();
    for n in 0..2 * writers() {
        let body = bodies[n % 2];
        let whole = [&b"Content-Type: text/plain\n\n"[..], body].concat();
        server.folder.write(&format!("root/.{n}"), whole, 0o644);
        pausing.push((ask(&server, &format!("/pause?{n}")), body));
        server.wait_for_line(&format!("{n}.paused"));
    }
    let mut other = ask(&server, "/much?a");
    server.wait_for_line("a.done");
    server.file("go", "", 0o644);
    expect_body(&mut other, body_of("a"));
    for (client, body) in &mut pausing {
        expect_body(client, body);
    }
    server.stop();
}
