//! Workers that keep their last client while nobody needs them: who is served then without the
//! parent, and who gets worker or client back at once.

use super::harness::{Client, PATIENCE, Server, eventually, noise, os, watch_for};
use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
const HELLO: &str = "printf 'Content-Type: text/plain\\n\\nhello'";
/// Answers with the process id of its worker.
const WORKER: &str = "printf 'Content-Type: text/plain\\n\\n%s' $PPID";

/// Says that it runs, and answers once it may. Both files are named by the query.
fn waits() -> String {
    format!(
        "echo $PPID >> $QUERY_STRING.runs; until [ -e $QUERY_STRING.go ]; do sleep 0.01; done; {HELLO}"
    )
}

fn request(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}

fn worker_of(client: &mut Client) -> u32 {
    client.get("/worker").ok().parse().unwrap()
}

/// Waits until so many clients are idle: the worker of the last one rests then, or did.
#[track_caller]
fn wait_until_idle(server: &Server, clients: usize) {
    eventually(PATIENCE, "they are idle", || {
        server.status_of("idle") == clients.to_string()
    });
}

/// Whether it takes less than the second that a rest lasts. On a busy machine not every time.
fn is_prompt(mut time_of: impl FnMut() -> Duration) -> bool {
    (0..5).any(|_| time_of() < SECOND * 9 / 10)
}

/// Whether something comes in time.
fn is_answered(client: &Client, time: Duration) -> bool {
    client.stream.set_read_timeout(Some(time)).unwrap();
    let n = client.stream.peek(&mut [0]);
    client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    n.is_ok_and(|n| n > 0)
}

#[test]
fn a_further_request_is_answered_without_the_parent() {
    let server = Server::new();
    server.handler("hello", HELLO);
    // Who is held up between the two for a second meets no rest.
    let is_answered = (0..5).any(|_| {
        let mut client = server.connect();
        assert_eq!(client.get("/hello").ok(), "hello");
        os::stop(server.pid());
        client.send(request("/hello"));
        let is_answered = is_answered(&client, SECOND);
        server.signal(os::CONT);
        assert_eq!(client.response().ok(), "hello");
        is_answered
    });
    assert!(is_answered);
    server.stop();
}

#[test]
fn two_clients_of_one_worker_wait_for_no_rest() {
    let server = Server::with(["--workers=1", "--max-workers=1"]);
    server.handler("hello", HELLO);
    let mut clients = [server.connect(), server.connect()];
    let mut ask = |n: usize| assert_eq!(clients[n].get("/hello").ok(), "hello");
    ask(1);
    let is_prompt = is_prompt(|| {
        ask(0);
        wait_until_idle(&server, 2);
        let begun = Instant::now();
        for n in [1, 0, 1, 0, 1] {
            ask(n);
        }
        begun.elapsed()
    });
    assert!(is_prompt);
    server.stop();
}

#[test]
fn who_has_a_worker_that_is_killed_at_rest_gets_another() {
    let server = Server::new();
    server.handler("worker", WORKER);
    let mut client = server.connect();
    let worker = worker_of(&mut client);
    wait_until_idle(&server, 1);
    os::kill(worker, os::KILL);
    assert_ne!(worker_of(&mut client), worker);
    server.stop();
}

#[test]
fn who_has_a_worker_that_is_stopped_at_rest_gets_another() {
    let server = Server::with(["--workers=1", "--max-workers=1"]);
    server.handler("worker", WORKER);
    let mut client = server.connect();
    let worker = worker_of(&mut client);
    wait_until_idle(&server, 1);
    os::stop(worker);
    assert_ne!(worker_of(&mut client), worker);
    assert!(!os::is_alive(worker));
    server.stop();
}

#[test]
fn a_reload_replaces_a_worker_whose_client_is_never_silent() {
    let server = Server::start(|setup| {
        setup.config("");
    });
    server.handler("worker", WORKER);
    let mut client = server.connect();
    let before = server.worker_pids();
    assert!(before.contains(&worker_of(&mut client)));
    server.signal(os::HUP);
    eventually(PATIENCE, "all workers are new", || {
        worker_of(&mut client);
        server.worker_pids().iter().all(|pid| !before.contains(pid))
    });
    let worker = worker_of(&mut client);
    assert!(server.worker_pids().contains(&worker));
    server.stop();
}

#[test]
fn who_has_a_resting_worker_makes_room_in_a_full_house() {
    let server = Server::with(["--max-connections=1"]);
    server.handler("hello", HELLO);
    let is_prompt = is_prompt(|| {
        eventually(PATIENCE, "nobody is here", || {
            server.status_of("connections") == "0"
        });
        let mut client = server.connect();
        assert_eq!(client.get("/hello").ok(), "hello");
        wait_until_idle(&server, 1);
        let begun = Instant::now();
        // Says nothing yet, so that no order wakes the worker up.
        let mut next = server.connect();
        client.expect_closed();
        assert_eq!(next.get("/hello").ok(), "hello");
        begun.elapsed()
    });
    let log = server.log();
    assert!(is_prompt && !log.contains("no room"), "{log}");
    server.stop();
}

#[test]
fn who_has_to_go_is_told_although_its_resting_worker_stands_still() {
    let server = Server::with(["--workers=1", "--max-workers=1", "--max-connections=1"]);
    server.handler("worker", WORKER);
    let mut client = server.connect();
    let worker = worker_of(&mut client);
    wait_until_idle(&server, 1);
    os::stop(worker);
    let mut next = server.connect();
    client.expect_closed();
    assert_ne!(worker_of(&mut next), worker);
    server.stop();
}

#[test]
fn who_leaves_a_resting_worker_is_gone_at_once() {
    let server = Server::new();
    server.handler("hello", HELLO);
    for is_reset in [true, false] {
        let is_prompt = is_prompt(|| {
            let mut client = server.connect();
            assert_eq!(client.get("/hello").ok(), "hello");
            wait_until_idle(&server, 1);
            if is_reset {
                os::reset_on_close(&client.stream);
            }
            let begun = Instant::now();
            drop(client);
            eventually(PATIENCE, "nobody is here", || {
                server.status_of("connections") == "0"
            });
            begun.elapsed()
        });
        assert!(is_prompt, "reset: {is_reset}");
    }
    let log = server.log();
    let (_, later) = log.split_once("stop with").unwrap();
    assert!(
        !later.contains(" WARN ") && !later.contains(" ERROR "),
        "{log}"
    );
    server.stop();
}

#[test]
fn a_handler_that_was_begun_without_an_order_is_not_run_again() {
    let server = Server::new();
    server.handler("waits", &waits());
    let mut client = server.connect();
    client.send(request("/waits?first"));
    server.wait_for_line("first.runs");
    os::stop(server.pid());
    client.send(request("/waits?second"));
    server.file("first.go", "", 0o644);
    assert_eq!(client.response().ok(), "hello");
    let worker = server.wait_for_line("second.runs").parse().unwrap();
    os::kill(worker, os::KILL);
    server.signal(os::CONT);
    assert_eq!(client.response().status, 502);
    client.expect_closed();
    assert_eq!(server.read("second.runs"), format!("{worker}\n"));
    server.stop();
}

#[test]
fn the_time_for_a_further_request_begins_with_the_end_of_the_last() {
    let timeout = 2 * SECOND;
    let server = Server::with(["--keep-alive-timeout=2s"]);
    server.handler("hello", HELLO);
    let is_prompt = is_prompt(|| {
        let mut client = server.connect();
        for _ in 0..3 {
            assert_eq!(client.get("/hello").ok(), "hello");
            watch_for(timeout / 6);
        }
        let asked = Instant::now();
        assert_eq!(client.get("/hello").ok(), "hello");
        let answered = Instant::now();
        client.expect_closed();
        assert!(asked.elapsed() >= timeout, "{:?}", asked.elapsed());
        answered.elapsed() - timeout.min(answered.elapsed())
    });
    assert!(is_prompt);
    server.stop();
}

#[test]
fn who_waits_for_a_handler_does_not_wait_for_the_rest_of_its_worker() {
    let server = Server::with(["--workers=2", "--max-workers=2", "--max-concurrent=1"]);
    server.handler("hello", HELLO);
    server.handler("waits", &waits());
    let mut clients = [server.connect(), server.connect()];
    let mut rounds = 0..;
    let is_prompt = is_prompt(|| {
        let round = rounds.next().unwrap_or(0);
        let [busy, held] = &mut clients;
        for client in [&mut *busy, &mut *held] {
            assert_eq!(client.get("/hello").ok(), "hello");
        }
        busy.send(request(&format!("/waits?{round}")));
        server.wait_for_line(&format!("{round}.runs"));
        held.send(request(&format!("/waits?{round}")));
        eventually(PATIENCE, "it is held", || server.status_of("held") == "1");
        let begun = Instant::now();
        server.file(&format!("{round}.go"), "", 0o644);
        assert_eq!(busy.response().ok(), "hello");
        assert_eq!(held.response().ok(), "hello");
        begun.elapsed()
    });
    assert!(is_prompt);
    server.stop();
}

#[test]
fn a_resting_worker_counts_as_ready_and_its_client_as_idle() {
    let server = Server::with(["--workers=3", "--max-workers=3"]);
    server.handler("hello", HELLO);
    let mut client = server.connect();
    let expected = [
        ("ready", "3"),
        ("busy", "0"),
        ("idle", "1"),
        ("serving", "0"),
    ];
    let is_prompt = is_prompt(|| {
        assert_eq!(client.get("/hello").ok(), "hello");
        let begun = Instant::now();
        eventually(PATIENCE, "they are at rest", || {
            let status = server.status();
            let are_ready = status.matches(": ready for ").count() == 3;
            let is_so = |(key, n)| status.contains(&format!(" {key}={n} "));
            are_ready && expected.into_iter().all(is_so)
        });
        begun.elapsed()
    });
    assert!(is_prompt, "{}", server.status());
    server.stop();
}

#[test]
fn a_further_request_may_come_in_pieces() {
    let server = Server::new();
    server.handler("echo", "printf 'Content-Type: text/plain\\n\\n'; cat");
    let body = noise(900_000);
    let mut client = server.connect();
    for _ in 0..2 {
        assert_eq!(client.post("/echo", b"small").ok(), "small");
        client.send("POST /echo HTTP/1.1\r\nHo");
        eventually(PATIENCE, "half a head is parked", || {
            server.status_of("head") == "1"
        });
        client.send("st: test\r\nContent-Length: 900000\r\n\r\n");
        client.send(&body[..300_000]);
        eventually(PATIENCE, "half a body is parked", || {
            server.status_of("body") == "1"
        });
        client.send(&body[300_000..]);
        assert!(client.response().body == body);
    }
    server.stop();
}

#[test]
fn the_time_in_the_queue_begins_with_the_request_that_waits() {
    let timeout = 3 * SECOND;
    let server = Server::with(["--workers=2", "--max-concurrent=1", "--queue-timeout=3s"]);
    server.handler("hello", HELLO);
    server.handler("waits", &waits());
    let mut busy = server.connect();
    let mut held = server.connect();
    let begun = Instant::now();
    while begun.elapsed() < timeout {
        assert_eq!(held.get("/hello").ok(), "hello");
    }
    busy.send(request("/waits?a"));
    server.wait_for_line("a.runs");
    held.send(request("/waits?a"));
    eventually(PATIENCE, "it is held", || server.status_of("held") == "1");
    // More than the tick in which it would be turned away.
    watch_for(SECOND / 4);
    server.file("a.go", "", 0o644);
    assert_eq!(held.response().ok(), "hello");
    assert_eq!(busy.response().ok(), "hello");
    server.stop();
}

#[test]
fn a_worker_whose_client_is_never_silent_opens_the_log_again() {
    let server = Server::new();
    server.handler("hello", HELLO);
    let mut client = server.connect();
    assert_eq!(client.get("/hello?old").ok(), "hello");
    fs::rename(server.folder.at("log"), server.folder.at("log.1")).unwrap();
    server.signal(os::USR1);
    eventually(PATIENCE, "its requests are in the new log", || {
        assert_eq!(client.get("/hello?new").ok(), "hello");
        server.log().contains("?new")
    });
    server.stop();
}

#[test]
fn a_worker_whose_client_is_never_silent_does_not_outlive_its_parent() {
    let mut server = Server::new();
    let mut client = server.connect();
    // No handler, so that the worker looks after its parent between two requests or never.
    assert_eq!(client.get("/nothing").status, 404);
    server.signal(os::KILL);
    server.wait();
    eventually(PATIENCE, "all have left", || {
        // Whoever is there would answer.
        let _ = client.stream.write_all(request("/nothing").as_bytes());
        server.folder.processes().is_empty()
    });
}
