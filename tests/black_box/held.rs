//! Clients that wait for a handler at `max-concurrent`: they are in nobody's way, and none is forgotten.

use super::harness::{Client, PATIENCE, Server, eventually, os};
use std::path::Path;
use std::time::{Duration, Instant};

const HELLO: &str = "printf 'Content-Type: text/plain\\n\\nhello'";
const WAITS: &str = "echo x >> runs; while [ ! -e go ]; do sleep 0.01; done; printf 'Content-Type: text/plain\\n\\nhello'";

fn ask(server: &Server, path: &str) -> Client {
    let mut client = server.connect();
    client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
    client
}

fn wait_until_held(server: &Server, expected: usize) {
    eventually(PATIENCE, "they are held", || {
        server.status_of("held") == expected.to_string()
    });
}

#[test]
fn those_who_wait_for_one_handler_turn_nobody_else_away() {
    let server = Server::start(|setup| {
        setup.args(["--workers=2", "--max-workers=3", "--max-queue=4"]);
        setup.config("[handler /slow]\nmax-concurrent = 1\n[handler /other]\nmax-concurrent = 1\n");
    });
    server.handler("slow", WAITS);
    server.handler("other", WAITS);
    server.handler("hello", HELLO);
    let mut running = [ask(&server, "/slow"), ask(&server, "/other")];
    eventually(PATIENCE, "both run", || {
        server.read("runs").lines().count() == 2
    });
    let mut other = ask(&server, "/other");
    wait_until_held(&server, 1);
    let mut held: Vec<Client> = Vec::new();
    for n in 1..4 {
        held.push(ask(&server, "/slow"));
        wait_until_held(&server, 1 + n);
    }
    // One too many: the last who came for the handler that most wait for goes, whoever comes.
    let mut late = ask(&server, "/slow");
    assert_eq!(late.response().status, 503);
    for _ in 0..20 {
        assert_eq!(server.get("/hello").ok(), "hello");
    }
    let mut another = ask(&server, "/other");
    assert_eq!(held.pop().unwrap().response().status, 503);
    wait_until_held(&server, 4);
    server.wait_for_log("a handler stays at max-concurrent");
    server.file("go", "", 0o644);
    for client in running
        .iter_mut()
        .chain([&mut other, &mut another])
        .chain(&mut held)
    {
        assert_eq!(client.response().ok(), "hello");
    }
    server.stop();
}

#[test]
fn a_place_that_its_client_does_not_take_is_passed_on() {
    let server = Server::with([
        "--workers=2",
        "--max-workers=2",
        "--max-concurrent=1",
        "--queue-timeout=60s",
    ]);
    server.handler("waits", WAITS);
    let mut first = ask(&server, "/waits");
    server.wait_for_line("runs");
    let mut held: Vec<Client> = Vec::new();
    for n in 1..4 {
        held.push(ask(&server, "/waits"));
        wait_until_held(&server, n);
    }
    // Each of them finds the handler gone, and says nothing of it in its verdict.
    std::fs::remove_file(server.folder.at("root/waits")).unwrap();
    server.file("go", "", 0o644);
    assert_eq!(first.response().ok(), "hello");
    let begun = Instant::now();
    for client in &mut held {
        assert_eq!(client.response().status, 404);
    }
    assert!(begun.elapsed() < Duration::from_secs(20));
    server.stop();
}

#[test]
fn a_local_redirect_takes_a_place_of_its_target_and_passes_it_on() {
    let server = Server::start(|setup| {
        setup.args(["--workers=3", "--queue-timeout=15s"]);
        setup.config("[handler /target]\nmax-concurrent = 1\n");
    });
    server.handler("target", WAITS);
    server.handler("from", "echo x >> asked; printf 'Location: /target\\n\\n'");
    let lines = |name: &str| server.read(name).lines().count();
    let mut redirected = [ask(&server, "/from"), ask(&server, "/from")];
    eventually(PATIENCE, "both have been redirected", || {
        lines("asked") == 2
    });
    eventually(PATIENCE, "one runs", || lines("runs") == 1);
    let mut direct = ask(&server, "/target");
    wait_until_held(&server, 1);
    let mut third = ask(&server, "/from");
    eventually(PATIENCE, "it was redirected", || lines("asked") == 3);
    assert_eq!(lines("runs"), 1);
    server.file("go", "", 0o644);
    for client in redirected.iter_mut().chain([&mut direct, &mut third]) {
        assert_eq!(client.response().ok(), "hello");
    }
    assert_eq!(lines("runs"), 4);
    server.stop();
}

#[test]
fn a_redirected_request_that_finds_no_place_is_told_to_come_back() {
    let server = Server::start(|setup| {
        setup.args(["--workers=3", "--queue-timeout=200ms"]);
        setup.config("[handler /target]\nmax-concurrent = 1\n");
    });
    server.handler("target", WAITS);
    server.handler("from", "echo x >> asked; printf 'Location: /target\\n\\n'");
    let mut running = ask(&server, "/target");
    server.wait_for_line("runs");
    let response = server.get("/from");
    assert_eq!(response.status, 503);
    assert_eq!(response.field("Retry-After").as_deref(), Some("1"));
    server.wait_for_log("max-concurrent after a local redirect");
    server.file("go", "", 0o644);
    assert_eq!(running.response().ok(), "hello");
    assert_eq!(server.read("runs").lines().count(), 1);
    server.stop();
}

/// The client leaves before its handler has printed the redirect.
#[test]
fn a_request_that_is_served_to_its_end_is_so_through_a_redirect() {
    let server = Server::start(|setup| {
        setup.config("half-close = serve\n");
    });
    server.handler("target", &format!("echo x >> runs; {HELLO}"));
    let wait = "until [ -e left ]; do sleep 0.01; done";
    server.handler(
        "from",
        &format!("echo $$ >> asked; {wait}; printf 'Location: /target\\n\\n'"),
    );
    let gone = ask(&server, "/from");
    server.wait_for_line("asked");
    os::reset_on_close(&gone.stream);
    drop(gone);
    let from = server.wait_for_line("asked").parse().unwrap();
    server.file("left", "", 0o644);
    eventually(PATIENCE, "it ends", || !os::is_alive(from));
    server.wait_for_line("runs");
    server.wait_for_log("client-gone");
    server.stop();
}

#[test]
fn a_redirected_request_whose_client_leaves_waits_for_no_place_unless_it_must_be_served() {
    for (half_close, runs, part) in [
        ("probe", 1, "handler=/from "),
        ("serve", 2, "handler=/target "),
    ] {
        let server = Server::start(|setup| {
            setup.args(["--workers=3", "--queue-timeout=60s"]);
            setup.config(&format!(
                "half-close = {half_close}\n[handler /target]\nmax-concurrent = 1\n"
            ));
        });
        server.handler("target", WAITS);
        server.handler("from", "echo $$ >> asked; printf 'Location: /target\\n\\n'");
        let mut running = ask(&server, "/target");
        server.wait_for_line("runs");
        let gone = ask(&server, "/from");
        // A client that leaves while it still runs has asked for no target.
        let from = server.wait_for_line("asked");
        eventually(PATIENCE, "its worker has the redirect", || {
            !Path::new("/proc").join(&from).exists() && !server.status().contains("/from (pid")
        });
        os::reset_on_close(&gone.stream);
        drop(gone);
        if half_close == "probe" {
            server.wait_for_log("client-gone");
        }
        server.file("go", "", 0o644);
        assert_eq!(running.response().ok(), "hello");
        // Its receipt is there whatever has become of it.
        server.wait_for_log("client-gone");
        let log = server.log();
        let mut receipts = log.lines().filter(|line| line.contains("\"GET /from "));
        assert!(receipts.next().unwrap().contains(part), "{log}");
        assert_eq!(server.read("runs").lines().count(), runs);
        server.stop();
    }
}
