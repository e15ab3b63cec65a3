//! Clients that wait for a worker: nobody is bound to a busy one, nobody is lost with it, and the server may
//! change everything about itself meanwhile.

use super::harness::{Client, PATIENCE, Server, Setup, eventually, os};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

const HELLO: &str = "printf 'Content-Type: text/plain\\n\\nhello'";

/// A server with so many workers and not one more. Of its handlers `hello` answers; `notes` too, and
/// writes its worker into a file that the query names; `waits` does so, and answers once it may.
fn server<const N: usize>(workers: usize, more: [&str; N]) -> Server {
    server_of(workers, |setup| {
        setup.args(more).config("");
    })
}

fn server_of(workers: usize, prepare: impl FnOnce(&mut Setup)) -> Server {
    let server = Server::start(|setup| {
        setup.args([
            &format!("--workers={workers}"),
            &format!("--max-workers={workers}"),
        ]);
        prepare(setup);
    });
    let notes = "echo $PPID >> $QUERY_STRING.runs";
    let waits = "until [ -e $QUERY_STRING.go ]; do sleep 0.01; done";
    server.handler("hello", HELLO);
    server.handler("notes", &format!("{notes}; {HELLO}"));
    server.handler("waits", &format!("{notes}; {waits}; {HELLO}"));
    server
}

/// All that happens in it is there in one turn of the parent.
fn at_once<T>(server: &Server, arrive: impl FnOnce() -> T) -> T {
    os::stop(server.pid());
    let arrived = arrive();
    server.signal(os::CONT);
    arrived
}

fn ask(server: &Server, target: &str) -> Client {
    let mut client = server.connect();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
    client
}

/// Asks as one whose connection ends with its answer.
fn ask_once(server: &Server, target: &str, version: usize) -> Client {
    let mut client = server.connect();
    client.send(match version {
        0 => format!("GET {target} HTTP/1.0\r\n\r\n"),
        _ => format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"),
    });
    client
}

/// One whose handler waits, its worker, and those who have come together with it and asked for `target`,
/// counted.
fn with_slow<const N: usize>(server: &Server, target: &str) -> (Client, u32, [Client; N]) {
    let (slow, others) = at_once(server, || {
        let slow = ask(server, "/waits?slow");
        let others = std::array::from_fn(|n| ask(server, &target.replace('#', &n.to_string())));
        (slow, others)
    });
    wait_for_slow(server);
    let worker = server.wait_for_line("slow.runs").parse().unwrap();
    (slow, worker, others)
}

/// Waits until that handler runs. Meanwhile each question makes the parent turn.
fn wait_for_slow(server: &Server) {
    let start = Instant::now();
    while !server.read("slow.runs").contains('\n') {
        assert!(start.elapsed() < PATIENCE, "{}", server.status());
        server.status();
    }
}

fn let_go(server: &Server, query: &str) {
    server.file(&format!("{query}.go"), "", 0o644);
}

/// Clients that ask without a pause, each on one connection, until this is dropped.
struct Load {
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<usize>>,
}

impl Load {
    fn begin(server: &Server, clients: usize) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let port = server.port;
        let begin = |_| {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || ask_until(port, &is_over))
        };
        Self {
            clients: (0..clients).map(begin).collect(),
            is_over,
        }
    }

    /// Each has been answered, every time.
    #[track_caller]
    fn end(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let answers = self.clients.drain(..).map(|client| client.join().unwrap());
        assert!(answers.sum::<usize>() > 0);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Mostly for nothing, so that requests are short on a busy machine too.
fn ask_until(port: u16, is_over: &AtomicBool) -> usize {
    let mut client = Client::connect(port);
    let mut answers = 0;
    while !is_over.load(Ordering::Relaxed) {
        if answers % 4 == 3 {
            assert_eq!(client.get("/hello").ok(), "hello");
        } else {
            assert_eq!(client.get("/nothing").status, 404);
        }
        answers += 1;
    }
    answers
}

#[test]
fn who_comes_with_a_slow_request_has_answer_and_end_before_its_worker_is_free() {
    let server = server(2, []);
    let quick = |n: usize| ask_once(&server, "/hello", n % 2);
    let (mut slow, quick_ones) = at_once(&server, || {
        let slow = ask(&server, "/waits?slow");
        (slow, (0..16).map(quick).collect::<Vec<_>>())
    });
    server.wait_for_line("slow.runs");
    let mut rounds = vec![quick_ones];
    for _ in 0..3 {
        for mut client in rounds.pop().unwrap_or_default() {
            assert_eq!(client.response().ok(), "hello");
            client.expect_closed();
        }
        rounds.push(at_once(&server, || (0..16).map(quick).collect()));
    }
    assert!(slow.is_silent());
    let_go(&server, "slow");
    assert_eq!(slow.response().ok(), "hello");
    server.stop();
}

#[test]
fn who_waits_for_a_worker_that_is_killed_gets_another() {
    let server = server(1, []);
    let (mut slow, worker, others) = with_slow::<8>(&server, "/notes?#");
    os::kill(worker, os::KILL);
    assert_eq!(slow.response().status, 502);
    slow.expect_closed();
    for (n, mut client) in others.into_iter().enumerate() {
        assert_eq!(client.response().ok(), "hello");
        let runs = server.read(&format!("{n}.runs"));
        assert_eq!(runs.lines().count(), 1, "{runs}");
    }
    assert_eq!(server.read("slow.runs"), format!("{worker}\n"));
    server.stop();
}

#[test]
fn reloads_under_load_are_noticed_by_nobody() {
    let server = server(2, []);
    let load = Load::begin(&server, 8);
    for signals in [1, 1, 3, 1, 1, 2, 1, 1, 1, 1] {
        let before = server.worker_pids();
        for _ in 0..signals {
            server.signal(os::HUP);
        }
        eventually(PATIENCE, "the old ones have left", || {
            let now = server.worker_pids();
            !now.is_empty() && before.iter().all(|pid| !now.contains(pid))
        });
    }
    load.end();
    eventually(PATIENCE, "there are two workers", || {
        server.worker_pids().len() == 2
    });
    expect_no_error(&server);
    server.stop();
}

#[track_caller]
fn expect_no_error(server: &Server) {
    let log = server.log();
    assert!(
        !log.contains(" ERROR ") && !log.contains("cutting"),
        "{log}"
    );
}

#[test]
fn a_reload_leaves_nobody_behind_a_busy_worker_that_is_to_leave() {
    let server = server(1, []);
    let (mut slow, worker, others) = with_slow::<4>(&server, "/notes?#");
    server.signal(os::HUP);
    for (n, mut client) in others.into_iter().enumerate() {
        assert_eq!(client.response().ok(), "hello");
        let by = server.read(&format!("{n}.runs"));
        assert!(!by.contains(&worker.to_string()), "{by}");
    }
    assert!(slow.is_silent());
    let_go(&server, "slow");
    assert_eq!(slow.response().ok(), "hello");
    eventually(PATIENCE, "it leaves", || !os::is_alive(worker));
    expect_no_error(&server);
    server.stop();
}

#[test]
fn who_is_queued_when_the_server_is_told_to_stop_is_told_that_it_was_the_last_time() {
    let mut server = server(1, []);
    let (mut slow, _, others) = with_slow::<8>(&server, "/hello");
    server.signal(os::TERM);
    server.wait_for_log("stopping: 9 connections");
    let_go(&server, "slow");
    assert_eq!(slow.response().ok(), "hello");
    for mut client in others {
        let response = client.response();
        assert_eq!(response.ok(), "hello");
        assert!(response.says_close(), "{}", response.head);
        client.expect_closed();
    }
    server.expect_clean_end();
}

#[test]
fn the_end_under_load_answers_whole_or_not_at_all() {
    let mut server = server(2, []);
    let port = server.port;
    let clients = [(); 8].map(|()| thread::spawn(move || ask_until_refused(port)));
    server.wait_for_log(" 200 ");
    server.signal(os::TERM);
    server.expect_clean_end();
    let answers = clients.map(|client| client.join().unwrap());
    assert!(answers.iter().sum::<usize>() > 0);
    expect_no_error(&server);
}

/// Each time on a new connection, until there is nobody who takes it.
fn ask_until_refused(port: u16) -> usize {
    // Of HTTP/1.0: never in chunks, however slow the handler is.
    const REQUEST: &[u8] = b"GET /hello HTTP/1.0\r\n\r\n";
    let mut answers = 0;
    while let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        let is_sent = stream.write_all(REQUEST).is_ok();
        if let Err(e) = stream.read_to_end(&mut answer) {
            assert_eq!(e.kind(), ErrorKind::ConnectionReset);
        }
        let answer = String::from_utf8(answer).unwrap();
        let is_whole = answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhello");
        assert!(answer.is_empty() || is_whole && is_sent, "{answer}");
        answers += usize::from(is_whole);
    }
    answers
}

#[test]
fn who_is_queued_moves_to_the_new_server_before_a_worker_is_free() {
    let mut server = server(1, []);
    server.handler(
        "server",
        "printf 'Content-Type: text/plain\\n\\n'; \
        while read -r name value; do [ $name = PPid: ] && echo $value; done < /proc/$PPID/status",
    );
    let (mut slow, others) = at_once(&server, || {
        let slow = ask(&server, "/waits?slow");
        (slow, [0, 1, 0, 1].map(|n| ask_once(&server, "/server", n)))
    });
    wait_for_slow(&server);
    let new = server.upgrade();
    for mut client in others {
        assert_eq!(client.response().ok().trim(), new.to_string());
        client.expect_closed();
    }
    assert!(slow.is_silent());
    let_go(&server, "slow");
    assert_eq!(slow.response().ok(), "hello");
    server.expect_end_of_old();
    expect_no_error(&server);
    server.stop();
}

#[test]
fn a_new_server_serves_although_those_who_move_to_it_keep_its_workers_busy() {
    let mut server = server_of(1, |setup| {
        setup.copy_program();
    });
    // The new one begins once it may, so that the old one is not there to hear that it is ready.
    let program = env!("CARGO_BIN_EXE_caffeine");
    let late = format!("until [ -e root/new.go ]; do sleep 0.01; done; exec {program} \"$@\"");
    server
        .folder
        .write("new", format!("#!/bin/sh\n{late}\n"), 0o755);
    fs::rename(server.folder.at("new"), server.folder.at("caffeine")).unwrap();
    let old = server.pid();
    let (mut slow, _, [mut next]) = with_slow(&server, "/waits?next");
    server.signal(os::USR2);
    server.wait_for_log("upgrading: started");
    os::stop(old);
    let_go(&server, "new");
    eventually(PATIENCE, "its worker is ready", || {
        server.status_of("pid") != old.to_string() && server.status_of("ready") == "1"
    });
    let new = server.status_of("pid").parse().unwrap();
    eventually(PATIENCE, "it has said so", || os::is_asleep(new));
    // Whoever is handed on is there together with the word that this is the server now.
    os::stop(new);
    os::kill(old, os::CONT);
    server.wait_for_log("upgraded:");
    eventually(PATIENCE, "all is handed on", || os::is_asleep(old));
    server.follow(new);
    server.signal(os::CONT);
    server.wait_for_line("next.runs");
    eventually(PATIENCE, "it serves", || {
        server.status_of("state") == "serving"
    });
    for (client, query) in [(&mut next, "next"), (&mut slow, "slow")] {
        let_go(&server, query);
        assert_eq!(client.response().ok(), "hello");
    }
    server.expect_end_of_old();
    server.stop();
}

#[test]
fn upgrades_under_load_are_noticed_by_nobody() {
    let mut server = server(2, []);
    let load = Load::begin(&server, 8);
    let second = server.upgrade();
    server.expect_end_of_old();
    eventually(PATIENCE, "it serves, busy as it is", || {
        server.status_of("state") == "serving"
    });
    server.upgrade();
    eventually(PATIENCE, "the second leaves too", || !os::is_alive(second));
    load.end();
    expect_no_error(&server);
    server.stop();
}

#[test]
fn who_is_held_by_a_busy_handler_holds_up_nobody() {
    let server = server(2, ["--max-concurrent=1"]);
    let (mut first, mut second, others) = at_once(&server, || {
        let [first, second] = ["a", "b"].map(|query| ask(&server, &format!("/waits?{query}")));
        (
            first,
            second,
            [0, 1, 0, 1].map(|n| ask_once(&server, "/hello", n)),
        )
    });
    for mut client in others {
        assert_eq!(client.response().ok(), "hello");
        client.expect_closed();
    }
    eventually(PATIENCE, "one is held", || server.status_of("held") == "1");
    for query in ["a", "b"] {
        let_go(&server, query);
    }
    assert_eq!(first.response().ok(), "hello");
    assert_eq!(second.response().ok(), "hello");
    server.stop();
}

#[test]
fn handlers_that_run_once_at_a_time_get_through_under_load() {
    let server = server(4, ["--max-concurrent=1", "--queue-timeout=15s"]);
    for name in ["a", "b"] {
        let script = format!("mkdir {name}.lock || echo x >> two; {HELLO}; rmdir {name}.lock");
        server.handler(name, &script);
    }
    let load = Load::begin(&server, 2);
    let clients = ["/a", "/b", "/a", "/b", "/a", "/b", "/a", "/b"].map(|target| {
        let mut client = server.connect();
        thread::spawn(move || {
            for _ in 0..8 {
                assert_eq!(client.get(target).ok(), "hello");
            }
        })
    });
    for client in clients {
        client.join().unwrap();
    }
    load.end();
    assert_eq!(server.read("two"), "");
    server.stop();
}

#[test]
fn who_is_queued_is_turned_away_at_its_time() {
    let server = server(1, ["--queue-timeout=300ms"]);
    let (mut slow, _, others) = with_slow::<4>(&server, "/notes?#");
    for mut client in others {
        let response = client.response();
        assert_eq!(response.status, 503);
        assert!(response.field("Retry-After").is_some(), "{}", response.head);
        client.expect_closed();
    }
    assert!(slow.is_silent());
    let_go(&server, "slow");
    assert_eq!(slow.response().ok(), "hello");
    assert_eq!(slow.get("/hello").ok(), "hello");
    for n in 0..4 {
        assert_eq!(server.read(&format!("{n}.runs")), "");
    }
    server.stop();
}
