//! Who is stopped, late or alone: what the watchdog does, and what it leaves in peace.

use super::harness::{PATIENCE, Server, eventually, eventually_none, os, watch_for};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
const HELLO: &str = "printf 'Content-Type: text/plain\\n\\nhello'";
/// Runs until there is a file `go`, then answers.
const WAITS: &str = "echo $PPID > runs; until [ -e go ]; do sleep 0.01; done; printf 'Content-Type: text/plain\\n\\nhello'";

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

#[test]
fn a_stopped_worker_does_not_outlive_its_parent() {
    let mut server = Server::with(["--workers=2"]);
    server.handler("slow", "setsid sleep 100 & echo $PPID > runs; sleep 100");
    let mut client = server.connect();
    client.send(request("/slow"));
    let worker: u32 = server.wait_for_line("runs").parse().unwrap();
    os::stop(worker);
    server.signal(os::KILL);
    server.wait();
    eventually_none(SECOND, "processes", || server.folder.processes());
    client.expect_closed();
}

#[test]
fn a_handler_in_its_grace_does_not_outlive_the_parent() {
    let mut server = Server::with(["--handler-timeout=100ms", "--kill-grace=20s"]);
    server.handler(
        "stubborn",
        "trap 'echo x > termed' TERM; while :; do sleep 0.02; done",
    );
    let mut client = server.connect();
    client.send(request("/stubborn"));
    server.wait_for_line("termed");
    server.signal(os::KILL);
    server.wait();
    eventually_none(SECOND, "processes", || server.folder.processes());
    client.rest();
}

#[test]
fn what_a_running_handler_leaves_behind_is_no_zombie_for_long() {
    let server = Server::with(["--workers=1", "--max-workers=1"]);
    server.handler(
        "father",
        "for i in 1 2 3 4 5 6 7 8; do (setsid true &); done; echo $PPID > runs; exec sleep 100",
    );
    let mut client = server.connect();
    client.send(request("/father"));
    let worker: u32 = server.wait_for_line("runs").parse().unwrap();
    // The last of them may still be alive when the others are gone.
    eventually(SECOND, "only the handler is left", || {
        os::zombies(worker) == 0 && os::children(worker).len() == 1
    });
    os::reset_on_close(&client.stream);
    drop(client);
    eventually(PATIENCE, "it has ended", || os::children(worker).is_empty());
    assert_eq!(os::zombies(worker) + os::zombies(server.pid()), 0);
    server.stop();
}

#[test]
fn a_worker_that_is_stopped_for_a_moment_loses_nobody() {
    let server = Server::with(["--workers=2", "--max-workers=2"]);
    server.handler("waits", WAITS);
    server.handler("hello", HELLO);
    let workers = server.worker_pids();
    let mut client = server.connect();
    client.send(request("/waits"));
    server.wait_for_line("runs");
    // One has launched a handler, the other gets a client that it does not look at.
    for worker in &workers {
        os::stop(*worker);
    }
    let mut other = server.connect();
    other.send(request("/hello"));
    server.file("go", "", 0o644);
    watch_for(SECOND);
    for worker in &workers {
        os::kill(*worker, os::CONT);
    }
    assert_eq!(client.response().ok(), "hello");
    assert_eq!(other.response().ok(), "hello");
    assert_eq!(server.worker_pids(), workers);
    server.stop();
}

#[test]
fn a_stopped_handler_is_ended_at_its_time() {
    let server = Server::with(["--handler-timeout=200ms", "--kill-grace=200ms"]);
    server.handler("stopped", "kill -STOP $$; echo never");
    let begun = Instant::now();
    assert_eq!(server.get("/stopped").status, 504);
    assert!(begun.elapsed() < 2 * SECOND, "{:?}", begun.elapsed());
    eventually_none(SECOND, "handlers", || {
        let all = server.folder.processes();
        if all.len() == 5 { Vec::new() } else { all }
    });
    server.stop();
}

#[test]
fn a_worker_that_is_stopped_while_its_handler_runs_is_replaced_after_their_time() {
    let server = Server::with([
        "--workers=1",
        "--max-workers=1",
        "--handler-timeout=200ms",
        "--kill-grace=100ms",
    ]);
    server.handler(
        "slow",
        "echo $PPID > runs; kill -STOP $PPID; exec sleep 100",
    );
    server.handler("hello", HELLO);
    // On a busy machine its time may be over before it has done that.
    let mut status = 504;
    eventually(PATIENCE, "the handler stops its worker in time", || {
        status = server.get("/slow").status;
        status != 504
    });
    assert_eq!(status, 502);
    let worker: u32 = server.wait_for_line("runs").parse().unwrap();
    assert_eq!(server.get("/hello").ok(), "hello");
    assert!(!os::is_alive(worker));
    server.stop();
}

#[test]
fn a_server_that_was_stopped_as_a_whole_goes_on_with_everybody() {
    let server = Server::with(["--workers=2", "--max-workers=2"]);
    server.handler("waits", WAITS);
    server.handler("hello", HELLO);
    let workers = server.worker_pids();
    let mut busy = server.connect();
    busy.send(request("/waits"));
    server.wait_for_line("runs");
    let idle: Vec<u32> = workers
        .iter()
        .copied()
        .filter(|worker| os::children(*worker).is_empty())
        .collect();
    // Given to a worker that is stopped already, as ^Z does it in some order.
    os::stop(idle[0]);
    let mut unseen = server.connect();
    unseen.send(request("/hello"));
    eventually(PATIENCE, "it has its worker", || {
        server.status_of("busy") == "2"
    });
    for pid in workers.iter().chain([&server.pid()]) {
        os::stop(*pid);
    }
    // For longer than the watchdog allows.
    watch_for(3 * SECOND);
    server.signal(os::CONT);
    // Who answers has had a turn alone.
    server.status();
    for worker in &workers {
        os::kill(*worker, os::CONT);
    }
    server.file("go", "", 0o644);
    assert_eq!(busy.response().ok(), "hello");
    assert_eq!(unseen.response().ok(), "hello");
    assert_eq!(server.worker_pids(), workers, "{}", server.log());
    server.stop();
}

#[test]
fn a_client_that_has_left_while_it_waited_starts_no_handler() {
    let server = Server::start(|setup| {
        let config = "[handler /deploy]\nhalf-close = serve\n[handler /fin]\nhalf-close = gone\n";
        setup.config(config);
        setup.args(["--workers=1", "--max-workers=1"]);
    });
    server.handler("waits", WAITS);
    for name in ["hello", "deploy", "fin"] {
        server.handler(name, HELLO);
    }
    let mut busy = server.connect();
    busy.send(request("/waits"));
    server.wait_for_line("runs");
    let wait_as = |place: &str, text: &str| {
        let mut client = server.connect();
        client.send(text);
        eventually(PATIENCE, "it waits", || server.status_of("queued") == place);
        client
    };
    let post =
        |path: &str| format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody");
    for (place, path) in [("1", "/hello"), ("2", "/hello"), ("3", "/deploy")] {
        os::reset_on_close(&wait_as(place, &post(path)).stream);
    }
    let mut said_good_bye = wait_as("4", &post("/fin"));
    let mut half_closed = wait_as("5", &request("/hello"));
    for client in [&said_good_bye, &half_closed] {
        client.finish_sending();
    }
    let mut here = wait_as("6", &request("/hello"));
    // These two are asked as well, and are there.
    watch_for(SECOND / 20);
    server.file("go", "", 0o644);
    for client in [&mut busy, &mut half_closed, &mut here] {
        assert_eq!(client.response().ok(), "hello");
    }
    said_good_bye.expect_closed();
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("POST /"));
    let (begun, left): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.contains(" pid="));
    assert!(begun.len() == 1 && begun[0].contains("/deploy"), "{log}");
    assert_eq!(left.len(), 3, "{log}");
    assert!(
        left.iter().all(|line| line.ends_with(" client-gone")),
        "{log}"
    );
    server.stop();
}
