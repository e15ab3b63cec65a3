//! Handlers and clients that do what nobody expects: no wrong byte, no spinning, no loss for others.

use super::harness::{Client, PATIENCE, Server, Setup, eventually, noise, os, spawn, watch_for};
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
const HELLO: &str = "printf 'Content-Type: text/plain\\n\\nhello'";

#[test]
fn a_handler_that_closes_its_output_and_runs_on_makes_nobody_spin() {
    let server = Server::with(["--workers=1"]);
    for (name, output) in [
        ("nothing", ""),
        (
            "short",
            "printf 'Content-Length: 9\\nContent-Type: text/plain\\n\\nhello'; ",
        ),
    ] {
        server.handler(
            name,
            &format!("{output}exec >&-; echo > {name}.runs; sleep 1.5"),
        );
        let mut client = server.connect();
        client.send(format!("GET /{name} HTTP/1.1\r\nHost: test\r\n\r\n"));
        server.wait_for_line(&format!("{name}.runs"));
        let worker = server.worker_pids()[0];
        let before = os::cpu_ticks(worker);
        watch_for(SECOND);
        let ticks = os::cpu_ticks(worker) - before;
        assert!(ticks <= 10, "{name}: {ticks}0 ms");
        let response = client.response();
        assert!(response.status == 502 || !response.is_whole, "{response:?}");
    }
}

#[test]
fn a_redirect_is_followed_once_its_handler_has_ended_and_is_no_response_of_its_own() {
    let server = Server::new();
    server.handler("hello", HELLO);
    server.handler(
        "from",
        "printf 'Location: /hello\\n\\n'; exec >&-; sleep 0.6",
    );
    let mut client = server.connect();
    assert_eq!(client.get("/from").ok(), "hello");
    assert_eq!(client.get("/hello").ok(), "hello");
    assert!(client.is_silent());
}

#[test]
fn a_response_that_goes_through_its_spool_again_and_again_is_counted_once() {
    const TOTAL: usize = 24 * 1024 * 1024;
    let server = Server::with(["--max-spool=256K", "--max-spool-total=2M"]);
    server.handler(
        "large",
        &format!("printf 'Content-Type: text/plain\\n\\n'; exec head -c {TOTAL} /dev/zero"),
    );
    let mut client = server.connect();
    os::set_receive_buffer(&client.stream, 64 * 1024);
    client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    // Slower than the handler, and never silent.
    let (mut came, mut bytes) = (0, vec![0; 128 * 1024]);
    while came < TOTAL {
        let n = client.stream.read(&mut bytes).unwrap();
        assert!(n > 0, "cut after {came} bytes: {}", server.log());
        came += n;
        watch_for(Duration::from_micros(200));
    }
}

#[test]
fn a_client_that_waits_for_the_rest_of_its_response_is_not_told_that_nobody_is_free() {
    let server = Server::with(["--workers=1", "--max-workers=1", "--queue-timeout=300ms"]);
    server.handler("hello", HELLO);
    server.handler("slow", &format!("echo > slow.runs; sleep 2; {HELLO}"));
    let bytes = noise(8 * 1024 * 1024);
    server.folder.write("root/.large", &bytes, 0o644);
    server.handler(
        "large",
        "printf 'Content-Type: text/plain\\n\\n'; exec cat .large",
    );
    let mut reader = server.connect();
    os::set_receive_buffer(&reader.stream, 64 * 1024);
    reader.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_log("GET /large");
    let mut other = server.connect();
    other.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_line("slow.runs");
    let response = reader.response();
    assert!(response.is_whole, "{} bytes", response.body.len());
    assert!(response.body == bytes, "{} bytes", response.body.len());
    assert_eq!(other.response().ok(), "hello");
    assert_eq!(reader.get("/hello").ok(), "hello");
}

#[test]
fn a_worker_that_dies_after_its_first_byte_gets_no_second_response_behind_it() {
    let server = Server::with(["--workers=2"]);
    server.handler(
        "nph-begun",
        "printf 'HTTP/1.1 200 OK\\r\\nContent-Length: 1000\\r\\n\\r\\nabc'; sleep 0.2; kill -9 $PPID; sleep 9",
    );
    let response = server.get("/nph-begun");
    assert_eq!(
        (response.text().as_str(), response.is_whole),
        ("abc", false)
    );

    // What it leaves behind keeps its worker for a moment after the response.
    let leave = "for i in 1 2 3 4 5 6 7 8 9 10; do (setsid sleep 50 >/dev/null 2>&1 &); done";
    server.handler(
        "whole",
        &format!("{leave}; printf 'Content-Type: text/plain\\nContent-Length: 10\\n\\n%10d' $PPID"),
    );
    for _ in 0..10 {
        let mut client = server.connect();
        let worker = client.get("/whole").ok();
        os::kill(worker.trim().parse().unwrap(), os::KILL);
        client.expect_closed();
    }
}

#[test]
fn who_waits_for_a_handler_that_redirects_is_served_when_the_redirect_is_over() {
    let server = Server::start(|setup| {
        setup.config("[handler /from]\nmax-concurrent = 1\n");
    });
    server.handler("hello", HELLO);
    server.handler(
        "from",
        "echo >> runs; sleep 0.3; printf 'Location: /hello\\n\\n'",
    );
    let mut first = server.connect();
    first.send("GET /from HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_line("runs");
    assert_eq!(
        server.get("/from").ok(),
        "hello",
        "at once, not after queue-timeout"
    );
    assert_eq!(first.response().ok(), "hello");
}

#[test]
fn a_connection_on_which_an_nph_handler_could_not_be_started_never_blocks_a_worker() {
    let server = Server::with(["--workers=1", "--max-workers=1"]);
    server.file("nph-broken", "\x7fELF", 0o755);
    server.handler("hello", HELLO);
    server.handler(
        "large",
        "printf 'Content-Type: text/plain\\n\\n'; exec head -c 20000000 /dev/zero",
    );
    let mut reader = server.connect();
    os::set_receive_buffer(&reader.stream, 64 * 1024);
    assert_eq!(reader.get("/nph-broken").status, 500);
    reader.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_log("GET /large");
    // Enough for its socket to be writable again.
    let mut bytes = vec![0; 64 * 1024];
    for _ in 0..100 {
        assert!(reader.stream.read(&mut bytes).unwrap() > 0);
    }
    watch_for(SECOND / 10);
    let start = Instant::now();
    assert_eq!(server.get("/hello").ok(), "hello");
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

#[test]
fn a_response_that_says_close_is_followed_by_the_end() {
    let server = Server::new();
    server.handler("empty", "printf 'Content-Type: text/plain\\n\\n'");
    let mut client = server.connect();
    client.send("HEAD /empty HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(client.response_to_head().says_close());
    let start = Instant::now();
    client.expect_closed();
    assert!(start.elapsed() < 5 * SECOND);

    let mut client = server.connect();
    client.send("GET /nothing HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\nGET /more");
    // Time for what a reset would do.
    watch_for(SECOND / 10);
    assert_eq!(client.response().status, 404);
    client.expect_closed();
    assert!(!client.was_reset, "unread bytes make it no reset");
}

#[test]
fn a_body_in_chunks_of_one_byte_costs_its_worker_no_more_than_its_bytes() {
    let server = Server::with(["--workers=1"]);
    server.handler("count", "printf 'Content-Type: text/plain\\n\\n'; wc -c");
    let worker = server.worker_pids();
    let mut client = server.connect();
    client.send("POST /count HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("1\r\nx\r\n".repeat(3_000_000));
    client.send("0\r\n\r\n");
    assert_eq!(client.response().ok().trim(), "3000000");
    assert_eq!(
        server.worker_pids(),
        worker,
        "nobody was killed: {}",
        server.log()
    );
}

#[test]
fn a_chunk_that_says_it_is_larger_than_anything_kills_no_worker() {
    let server = Server::with(["--workers=1"]);
    let worker = server.worker_pids();
    server.handler("hello", HELLO);
    let mut client = server.connect();
    client.send("POST /hello HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("FFFFFFFFFFFFFFFF\r\nabc");
    assert_eq!(client.response().status, 413);
    assert_eq!(server.get("/hello").ok(), "hello");
    assert_eq!(server.worker_pids(), worker);
}

#[test]
fn a_stderr_that_nobody_reads_stops_no_request() {
    let setup = Setup::new();
    let mut command = setup.command();
    let mut child = spawn(command.stdin(Stdio::null()).stderr(Stdio::piped()));
    let port = || {
        let log = setup.folder.read("log");
        log.split("127.0.0.1:")
            .nth(1)?
            .split('/')
            .next()?
            .parse()
            .ok()
    };
    eventually(PATIENCE, "the server serves", || port().is_some());
    // More than a pipe holds.
    let path = format!("/{}", "x".repeat(2000));
    let mut client = Client::connect(port().unwrap());
    for _ in 0..60 {
        assert_eq!(client.get(&path).status, 404);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
