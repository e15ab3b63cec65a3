//! Handlers and clients that do what nobody expects: no wrong byte, no spinning, no loss for others.

use super::harness::{Server, eventually, os, watch_for};
use std::io::Read;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HELLO: &str = "printf 'Content-Type: text/plain\\n\\nhello'";

#[test]
fn a_handler_that_closes_its_output_and_runs_on_makes_nobody_spin() {
    let server = Server::with(["--workers=1"]);
    for (name, output) in [
        ("nothing", ""),
        ("short", "printf 'Content-Length: 9\\nContent-Type: text/plain\\n\\nhello'; "),
    ] {
        server.handler(name, &format!("{output}exec >&-; echo > {name}.runs; sleep 1.5"));
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
    server.handler("from", "printf 'Location: /hello\\n\\n'; exec >&-; sleep 0.6");
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
