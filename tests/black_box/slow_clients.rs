//! Clients that are slow, silent, rude or many. A worker never waits for one of them, and the
//! parent does not spin.

use super::harness::{Client, PATIENCE, Server, eventually, noise, os, watch_for};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
const HELLO: &str = "printf 'Content-Type: text/plain\\n\\nhello'";
const REQUEST: &str = "GET /hello HTTP/1.1\r\nHost: test\r\n\r\n";
const ECHO: &str = "printf 'Content-Type: text/plain\\n\\n'; exec cat";

/// Serves a few requests and says how long that took.
fn serve_some(server: &Server) -> Duration {
    let start = Instant::now();
    let mut client = server.connect();
    for _ in 0..20 {
        assert_eq!(client.get("/hello").ok(), "hello");
    }
    start.elapsed()
}

/// Watches the parent's CPU time over a case: it must not spin.
fn without_spinning(server: &Server, case: impl FnOnce()) {
    let before = os::cpu_ticks(server.pid());
    case();
    let ticks = os::cpu_ticks(server.pid()) - before;
    assert!(ticks <= 5, "the parent used {ticks}0 ms");
}

#[test]
fn idle_connections_cost_nobody_anything() {
    let server = Server::with(["--workers=2"]);
    server.handler("hello", HELLO);
    let alone = serve_some(&server);
    let mut parked: Vec<Client> = (0..300).map(|_| server.connect()).collect();
    for client in &mut parked {
        assert_eq!(client.get("/hello").ok(), "hello");
    }
    let among_others = serve_some(&server);
    assert!(
        among_others < alone * 5 + SECOND,
        "{among_others:?}, alone {alone:?}"
    );
    without_spinning(&server, || watch_for(SECOND / 2));
    for client in &mut parked {
        assert_eq!(client.get("/hello").ok(), "hello");
    }
    server.stop();
}

#[test]
fn an_idle_connection_is_closed_after_its_time_without_a_word() {
    let server = Server::with(["--keep-alive-timeout=300ms"]);
    server.handler("hello", HELLO);
    let mut client = server.connect();
    assert_eq!(client.get("/hello").ok(), "hello");
    client.expect_closed();
}

#[test]
fn a_head_that_comes_byte_by_byte_is_served() {
    let server = Server::with(["--workers=1"]);
    server.handler("hello", HELLO);
    let mut slow = server.connect();
    without_spinning(&server, || {
        for byte in REQUEST.bytes() {
            slow.send([byte]);
            watch_for(Duration::from_millis(10));
        }
        assert_eq!(slow.response().ok(), "hello");
    });
    assert_eq!(slow.get("/hello").ok(), "hello");
}

#[test]
fn a_head_that_drips_for_ever_gets_408_at_its_deadline() {
    let server = Server::with(["--workers=1", "--head-timeout=600ms"]);
    server.handler("hello", HELLO);
    let start = Instant::now();
    let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send("GET /hello HTTP/1.1\r\nHost: test\r\nX: ");
    }
    while start.elapsed() < SECOND / 2 {
        for client in &mut clients {
            client.send("x");
        }
        watch_for(Duration::from_millis(20));
    }
    assert!(serve_some(&server) < SECOND);
    for client in &mut clients {
        assert_eq!(client.response().status, 408);
    }
    let total = start.elapsed();
    assert!(total > SECOND / 2 && total < 2 * SECOND, "{total:?}");
    server.stop();
}

#[test]
fn a_client_that_closes_in_the_middle_of_its_head_is_let_go() {
    let server = Server::with(["--workers=1"]);
    server.handler("hello", HELLO);
    without_spinning(&server, || {
        let mut clients: Vec<Client> = (0..5).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.send("GET /hello HT");
        }
        // Seen as incomplete first, then closed.
        assert_eq!(server.get("/hello").ok(), "hello");
        for client in &mut clients {
            client.finish_sending();
        }
        for client in &mut clients {
            let rest = String::from_utf8(client.rest()).unwrap();
            assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 4"), "{rest}");
        }
        watch_for(SECOND / 2);
    });
    server.stop();
}

#[test]
fn an_urgent_byte_in_the_middle_of_a_head_harms_nobody() {
    let server = Server::with(["--workers=1"]);
    server.handler("hello", HELLO);
    without_spinning(&server, || {
        let mut client = server.connect();
        client.send("GET /hello HTTP/1.1\r\nHost: te");
        watch_for(SECOND / 10);
        os::send_urgent(&client.stream, b'!');
        watch_for(SECOND / 2);
        // The urgent byte is no part of the stream.
        client.send("st\r\n\r\n");
        assert_eq!(client.response().ok(), "hello");
    });
    server.stop();
}

#[test]
fn a_unix_client_that_stops_in_the_middle_of_its_head_harms_nobody() {
    let server = Server::start(|setup| {
        let path = setup.folder.at("http").display().to_string();
        setup.args([&format!("--bind=unix:{path}"), "--workers=1"]);
    });
    server.handler("hello", HELLO);
    without_spinning(&server, || {
        let mut stream = UnixStream::connect(server.folder.at("http")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /hello HTTP/1.0\r\n").unwrap();
        watch_for(SECOND / 2);
        assert_eq!(server.get("/hello").ok(), "hello");
        stream.write_all(b"\r\n").unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        assert!(all.ends_with("hello"), "{all}");
        let mut stream = UnixStream::connect(server.folder.at("http")).unwrap();
        stream.write_all(b"GET /hello HTTP/1.0\r\n").unwrap();
        drop(stream);
        watch_for(SECOND / 5);
    });
    server.stop();
}

#[test]
fn a_slow_upload_does_not_hold_the_only_worker() {
    let server = Server::with(["--workers=1", "--max-workers=1"]);
    server.handler("hello", HELLO);
    server.handler("echo", ECHO);
    let body = noise(300_000);
    let mut slow = server.connect();
    slow.send("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 300000\r\n\r\n");
    let mut chunked = server.connect();
    chunked.send("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in body.chunks(30_000) {
        slow.send(piece);
        chunked.send(format!("{:x}\r\n", piece.len()));
        chunked.send(piece);
        chunked.send("\r\n");
        assert_eq!(server.get("/hello").ok(), "hello");
    }
    chunked.send("0\r\n\r\n");
    assert!(slow.response().body == body);
    assert!(chunked.response().body == body);
    server.stop();
}

#[test]
fn a_connection_serves_on_after_a_body_that_came_in_pieces() {
    let server = Server::with(["--workers=1"]);
    server.handler("hello", HELLO);
    server.handler("echo", ECHO);
    let body = noise(200_000);
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 200000\r\n\r\n");
    for piece in body.chunks(100_000) {
        client.send(piece);
        // Served after it: so the piece before has been parked.
        assert_eq!(server.get("/hello").ok(), "hello");
    }
    assert!(client.response().body == body);
    // Fewer bytes than any piece.
    assert_eq!(client.get("/hello").ok(), "hello");
    server.stop();
}

#[test]
fn a_slow_reader_does_not_hold_the_only_worker() {
    let server = Server::with(["--workers=1", "--max-workers=1"]);
    server.handler("hello", HELLO);
    let bytes = noise(8 * 1024 * 1024);
    server.folder.write("root/.large", &bytes, 0o644);
    server.handler(
        "large",
        "printf 'Content-Type: text/plain\\n\\n'; exec cat .large",
    );
    let mut slow = server.connect();
    os::set_receive_buffer(&slow.stream, 64 * 1024);
    slow.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\nGET /hello HTTP/1.1\r\nHost: test\r\n\r\n");
    for _ in 0..5 {
        assert_eq!(server.get("/hello").ok(), "hello");
        watch_for(SECOND / 50);
    }
    let response = slow.response();
    assert!(response.is_whole);
    assert!(response.body == bytes, "{} bytes", response.body.len());
    assert_eq!(slow.response().ok(), "hello", "pipelined behind it");
    server.stop();
}

#[test]
fn a_response_larger_than_all_spools_makes_its_handler_wait() {
    // Its own spool is filled and emptied again and again, or all spools are full before it is.
    for limits in [
        ["--max-spool=64K", "--max-spool-total=256K"],
        ["--max-spool=1M", "--max-spool-total=64K"],
    ] {
        let server = Server::with(limits);
        let bytes = noise(16 * 1024 * 1024);
        server.folder.write("root/.large", &bytes, 0o644);
        server.handler(
            "large",
            "printf 'Content-Type: text/plain\\n\\n'; exec cat .large",
        );
        let mut slow = server.connect();
        os::set_receive_buffer(&slow.stream, 64 * 1024);
        slow.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
        watch_for(SECOND / 5);
        let response = slow.response();
        assert!(response.is_whole, "{limits:?}");
        assert!(response.body == bytes, "{} bytes", response.body.len());
        server.stop();
    }
}

#[test]
fn a_reader_that_takes_nothing_is_cut_off_after_its_time() {
    let server = Server::with(["--workers=1", "--progress-timeout=400ms", "--max-spool=64K"]);
    server.handler("hello", HELLO);
    server.handler(
        "endless",
        "printf 'Content-Type: text/plain\\n\\n'; echo $$ > pid; exec cat /dev/zero",
    );
    let mut client = server.connect();
    client.send("GET /endless HTTP/1.1\r\nHost: test\r\n\r\n");
    let handler: u32 = server.wait_for_line("pid").parse().unwrap();
    eventually(PATIENCE, "the handler is ended", || !os::is_alive(handler));
    assert!(!client.response().is_whole);
    assert_eq!(server.get("/hello").ok(), "hello");
    server.stop();
}

#[test]
fn a_stream_is_seen_line_by_line_while_others_are_served() {
    let server = Server::with(["--workers=2"]);
    server.handler("hello", HELLO);
    // Each line waits until the test has seen the one before.
    server.handler(
        "events",
        "printf 'Content-Type: text/event-stream\\n\\n'
         for n in 1 2 3 4 5; do
           printf 'data: %s\\n\\n' $n
           while [ ! -e seen-$n ]; do sleep 0.01; done
         done",
    );
    let mut stream = server.connect();
    stream.send("GET /events HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = stream.receive_until(b"\r\n\r\n").unwrap();
    assert!(head.starts_with(b"HTTP/1.1 200 "));
    for n in 1..=5 {
        let line = format!("data: {n}\n\n\r\n");
        stream.receive_until(line.as_bytes()).unwrap();
        assert!(stream.is_silent(), "more than line {n}");
        assert_eq!(server.get("/hello").ok(), "hello");
        server.file(&format!("seen-{n}"), "", 0o644);
    }
    stream.receive_until(b"0\r\n\r\n").unwrap();
    assert_eq!(stream.get("/hello").ok(), "hello");
    server.stop();
}

#[test]
fn a_client_that_waits_too_long_for_a_worker_gets_503_and_when_to_come_back() {
    let server = Server::with([
        "--workers=1",
        "--max-workers=1",
        "--max-concurrent=1",
        "--queue-timeout=200ms",
        "--kill-grace=100ms",
    ]);
    server.handler("slow", "echo x > runs; sleep 100");
    server.handler("hello", HELLO);
    let mut slow = server.connect();
    slow.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_line("runs");
    let response = server.ask(REQUEST);
    assert_eq!(response.status, 503);
    assert!(response.says_close());
    let seconds: u32 = response.field("Retry-After").unwrap().parse().unwrap();
    assert!(seconds >= 1);
    drop(slow);
    eventually(PATIENCE, "the worker is free again", || {
        server.ask(REQUEST).status == 200
    });
    server.stop();
}

#[test]
fn a_full_queue_turns_clients_away_at_once() {
    let server = Server::with(["--workers=1", "--max-workers=1", "--max-queue=2"]);
    server.handler("slow", "echo x > runs; while [ ! -e go ]; do sleep 0.01; done; printf 'Content-Type: text/plain\\n\\nslow'");
    server.handler("hello", HELLO);
    let mut slow = server.connect();
    slow.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_line("runs");
    let mut clients: Vec<Client> = (0..6).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(REQUEST);
        watch_for(SECOND / 50);
    }
    for client in &mut clients[2..] {
        assert_eq!(client.response().status, 503);
    }
    server.file("go", "", 0o644);
    assert_eq!(slow.response().ok(), "slow");
    for client in &mut clients[..2] {
        assert_eq!(client.response().ok(), "hello");
    }
    server.stop();
}

#[test]
fn the_pool_grows_while_clients_wait() {
    let server = Server::with(["--workers=1", "--max-workers=8", "--max-concurrent=8"]);
    server.handler("slow", &format!("sleep 1; {HELLO}"));
    let start = Instant::now();
    let mut clients: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response().ok(), "hello");
    }
    let total = start.elapsed();
    assert!(total < 4 * SECOND, "eight seconds of work took {total:?}");
    assert_eq!(server.worker_pids().len(), 8);
    server.stop();
}

#[test]
fn a_full_house_makes_room_by_closing_the_longest_idle() {
    // A single worker gives each of them back before it takes the next, so they are idle in their order.
    let server = Server::with([
        "--workers=1",
        "--max-workers=1",
        "--max-connections=5",
        "--keep-alive-timeout=10m",
    ]);
    server.handler("hello", HELLO);
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..8 {
        let mut client = server.connect();
        assert_eq!(client.get("/hello").ok(), "hello");
        clients.push(client);
    }
    for client in &mut clients[..3] {
        client.expect_closed();
    }
    for client in &mut clients[3..] {
        assert_eq!(client.get("/hello").ok(), "hello");
    }
    server.stop();
}

#[test]
fn a_house_filled_with_incomplete_heads_still_answers() {
    let server = Server::with(["--max-connections=10", "--workers=1"]);
    server.handler("hello", HELLO);
    let mut clients: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send("GET /hello HTTP/1.1\r\nHo");
    }
    for _ in 0..5 {
        assert_eq!(server.get("/hello").ok(), "hello");
    }
    drop(clients);
    server.stop();
}

#[test]
fn clients_that_close_at_every_point_leave_nothing_behind() {
    let server = Server::with(["--workers=2", "--kill-grace=50ms"]);
    server.handler("hello", HELLO);
    server.handler(
        "large",
        "printf 'Content-Type: text/plain\\n\\n'; exec head -c 3000000 /dev/zero",
    );
    let request = "POST /large HTTP/1.1\r\nHost: test\r\nContent-Length: 200\r\n\r\n";
    let whole = format!("{request}{}", "x".repeat(200));
    serve_some(&server);
    let count = || {
        (
            os::descriptors(server.pid()).len(),
            server.folder.processes().len(),
        )
    };
    let before = count();
    for round in 0..3 {
        for length in [0, 1, 20, request.len(), request.len() + 100, whole.len()] {
            let mut client = server.connect();
            client.send(&whole[..length]);
            if length == whole.len() && round > 0 {
                client.receive_until(b"\r\n\r\n").unwrap();
            }
            if round == 2 {
                os::reset_on_close(&client.stream);
            }
        }
    }
    serve_some(&server);
    let mut now = (0, 0);
    eventually(PATIENCE, "descriptors and processes are as before", || {
        now = count();
        now.0 <= before.0 && now.1 <= before.1
    });
    server.stop();
}

#[test]
fn a_spool_that_finds_no_room_is_507_for_a_body() {
    let server = Server::with(["--max-spool-total=64K"]);
    server.handler("hello", HELLO);
    let response = server.connect().post("/hello", &noise(400_000));
    assert_eq!(response.status, 507);
    assert!(response.says_close());
    assert_eq!(server.get("/hello").ok(), "hello");
    server.stop();
}
