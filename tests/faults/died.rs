//! Workers that die at a chosen call: how far they had come by then shows what they had done before it.

use super::harness::{Client, PATIENCE, Server, Setup, eventually, noise, os, watch_for};
use super::matrix::KILL;
use super::scenarios::{PAUSE, ask_status};
use super::table::{Call, Table};
use super::test_client::{Seen, TestClient};
use std::time::{Duration, Instant};

/// More than sockets and pipes hold.
const MUCH: usize = 24 << 20;
const HEAD: &str = "Content-Type: text/plain\n\n";

fn start(workers: usize) -> (Server, Table) {
    let mut setup = Setup::new();
    let table = Table::new(&setup.folder);
    setup.args([
        &format!("--workers={workers}"),
        &format!("--max-workers={workers}"),
        "--max-spool=64M",
    ]);
    setup.env("CAFFEINE_FAULT_TABLE", &table.path.display().to_string());
    let server = setup.start();
    let whole = [HEAD.as_bytes(), &noise(MUCH)].concat();
    server.folder.write("root/.much", whole, 0o644);
    (server, table)
}

fn get_of(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// A call that workers have made.
fn call_of(table: &Table, name: &str) -> Call {
    let calls = table.calls();
    let mut calls = calls
        .into_iter()
        .filter(|call| call.kind == "worker" && call.name == name);
    calls.next().unwrap()
}

/// Kills whichever worker makes this call for the `n`th time from now on.
fn kill_at(table: &Table, name: &str, n: u64) -> Call {
    let call = call_of(table, name);
    table.arm(&call, KILL, n);
    call
}

fn is_asleep(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.contains("State:\tS")
}

/// One whose end is waited for first costs a wait more than one that is read at once. It is killed at
/// its third wait: who is read at once has been sent something by then.
#[test]
fn who_last_filled_its_pipe_is_read_at_once_the_next_time() {
    let (server, table) = start(1);
    server.handler("gush", "exec cat .much");
    server.handler(
        "quiet",
        "printf 'Content-Type: text/plain\\n\\n'; exec >&-; while [ ! -e go ]; do sleep 0.01; done",
    );
    let worker = server.worker_pids()[0];
    let mut client = server.connect();
    // A signal that is still pending would end a wait. Here none is: it has come during one.
    for (path, length) in [("/gush", MUCH), ("/quiet", 0)] {
        let response = client.get(path);
        assert!(response.is_whole && response.body.len() == length, "{path}");
    }
    eventually(PATIENCE, "it waits for its handler", || is_asleep(worker));
    server.file("go", "", 0o644);
    eventually(PATIENCE, "the worker is free", || {
        ask_status(&server).is_some_and(|line| line.contains(" ready=1 "))
    });
    let call = kill_at(&table, "ppoll", 3);
    let seen = TestClient::tcp(server.port).ask(get_of("/gush"));
    assert!(table.disarm(&call));
    assert_eq!(seen, Seen::Cut);
    // Its successor knows nothing of it.
    let call = kill_at(&table, "ppoll", 3);
    let seen = TestClient::tcp(server.port).ask(get_of("/gush"));
    assert!(table.disarm(&call));
    assert!(matches!(seen, Seen::Whole(502, _)), "{seen:?}");
    server.stop();
}

#[test]
fn a_worker_that_dies_while_it_puts_away_leaves_its_turn_to_others() {
    let (server, table) = start(3);
    server.handler("much", "cat .much; echo x >> printed");
    server.handler(
        "later",
        "echo x >> begun; while [ ! -e go ]; do sleep 0.01; done; cat .much; echo x >> done",
    );
    // Who does not read.
    let ask = |path: &str| -> Client {
        let mut client = server.connect();
        os::set_receive_buffer(&client.stream, 64 * 1024);
        client.send(get_of(path));
        client
    };
    let lines = |name: &str| server.read(name).lines().count();
    let mut first = ask("/much");
    eventually(PATIENCE, "it is put away", || lines("printed") == 1);
    assert!(first.response().is_whole);
    let mut others = [ask("/later"), ask("/later")];
    eventually(PATIENCE, "two workers are taken", || lines("begun") == 2);
    let before = server.worker_pids();
    // Each piece is put away in three parts, and a turn is for 16 pieces.
    let call = kill_at(&table, "pwrite", 20);
    let mut first = ask("/much");
    eventually(PATIENCE, "it dies, and another worker comes", || {
        let now = server.worker_pids();
        table.has_failed(&call) && now.len() == 3 && now != before
    });
    assert!(table.disarm(&call));
    assert!(!first.response().is_whole);
    server.file("go", "", 0o644);
    eventually(PATIENCE, "both are put away", || lines("done") == 2);
    for client in &mut others {
        let response = client.response();
        assert!(response.is_whole && response.body.len() == MUCH);
    }
    server.stop();
}

/// Two clients: both at once, so that verdicts are said; then one after the other, with a worker that
/// rests in between.
fn take_turns(server: &Server, one: &mut TestClient, other: &mut TestClient) -> Vec<Seen> {
    os::stop(server.pid());
    for client in [&mut *one, &mut *other] {
        client.send(get_of("/count"));
    }
    server.signal(os::CONT);
    let mut seen = vec![one.response(), other.response()];
    let clients = [one, other];
    for n in [0, 0, 1, 0] {
        seen.push(clients[n].ask(get_of("/count")));
    }
    seen
}

/// The same, and a body that an earlier order brought half of.
fn go_on(server: &Server, one: &mut TestClient, other: &mut TestClient) -> Vec<Seen> {
    let mut seen = take_turns(server, one, other);
    one.send("POST /count HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nfirst");
    watch_for(PAUSE);
    seen.extend([one.ask("later"), one.ask(get_of("/count"))]);
    seen
}

/// How a worker was killed, as far as the log says so behind `from`.
fn last_words(server: &Server, from: usize) -> Option<String> {
    let log = server.log();
    let (_, words) = log
        .get(from..)?
        .split_once(" was killed by signal 9 while ")?;
    words.lines().next().map(str::to_owned)
}

/// Each time it is killed one use later, until there are no more: at a clock where no other call is.
#[test]
fn who_has_a_worker_that_dies_between_two_requests_does_not_notice() {
    type Scenario = fn(&Server, &mut TestClient, &mut TestClient) -> Vec<Seen>;
    let scenarios: [(&str, Scenario); 2] = [("clock_gettime", go_on), ("sendmsg", take_turns)];
    let (server, table) = start(1);
    server.handler(
        "count",
        "echo x >> runs; printf 'Content-Type: text/plain\\n\\n'; wc -l < runs",
    );
    let clients = || [(); 2].map(|()| TestClient::tcp(server.port));
    let mut quiet_deaths = 0;
    for (name, scenario) in scenarios {
        let [mut one, mut other] = clients();
        scenario(&server, &mut one, &mut other);
        drop([one, other]);
        let call = call_of(&table, name);
        for n in 1.. {
            eventually(PATIENCE, "nobody is here", || {
                let line = ask_status(&server).unwrap_or_default();
                line.contains(" ready=1 ") && line.contains(" connections=0 ")
            });
            let (from, runs) = (server.log().len(), server.read("runs").lines().count());
            let [mut one, mut other] = clients();
            table.arm(&call, KILL, n);
            let seen = scenario(&server, &mut one, &mut other);
            if !table.disarm(&call) {
                break;
            }
            let mut how = None;
            eventually(PATIENCE, "it is buried", || {
                how = last_words(&server, from);
                how.is_some()
            });
            if !matches!(how.as_deref(), Some("idle" | "looking at a head")) {
                continue;
            }
            quiet_deaths += 1;
            let ran = server.read("runs").lines().count() - runs;
            let are_answered = seen.iter().all(|seen| matches!(seen, Seen::Whole(200, _)));
            assert!(
                are_answered && ran == seen.len(),
                "{name}, use {n}, {how:?}: {ran} runs, {seen:?}"
            );
        }
    }
    // At a clock there are some each time, however busy the machine is.
    assert!(quiet_deaths > 0);
    server.stop();
}

/// A worker that is killed as it is about to say its verdict has done its part. Its client gets what it would
/// have got from a death a moment before, and loses nothing that it has had already.
#[test]
fn a_verdict_that_is_never_said_costs_its_client_no_more_than_its_phase_says() {
    let (server, table) = start(1);
    server.handler("hello", "printf 'Content-Type: text/plain\\n\\nhello'");
    let hello = Seen::Whole(200, b"hello".to_vec());
    assert_eq!(TestClient::tcp(server.port).ask(get_of("/hello")), hello);
    let killed_at = |n: u64, ask: &dyn Fn(&mut TestClient)| {
        eventually(PATIENCE, "a worker is ready", || {
            ask_status(&server).is_some_and(|line| line.contains(" ready=1 "))
        });
        let mut client = TestClient::tcp(server.port);
        let call = kill_at(&table, "sendmsg", n);
        ask(&mut client);
        eventually(PATIENCE, "it dies", || table.has_failed(&call));
        assert!(table.disarm(&call));
        client
    };
    // Half of a head: nothing was taken, so another worker goes on with it.
    let mut client = killed_at(1, &|client| client.send("GET /hello HTTP/1.1\r\n"));
    assert_eq!(client.ask("Host: test\r\n\r\n"), hello);
    // Half of a body: something was taken, nothing ran.
    let half = "POST /hello HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhalf";
    let mut client = killed_at(1, &|client| client.send(half));
    assert!(matches!(client.response(), Seen::Whole(503, _)));
    // A whole response: the connection ends as it would have.
    let last = "GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    let mut client = killed_at(2, &|client| client.send(last));
    assert_eq!(client.response(), hello);
    assert!(client.ends_without_reset());
    server.stop();
}

/// A connection that is its copy's too has to be shut down; one that the worker is known to have closed
/// need not be.
#[test]
fn who_was_taken_back_from_a_worker_costs_nothing_more_once_that_has_closed_its_copy() {
    let (server, table) = start(1);
    server.handler("hello", "printf 'Content-Type: text/plain\\n\\nhello'");
    let mut clients = [server.connect(), server.connect()];
    for n in [0, 1, 0, 1, 0] {
        assert_eq!(clients[n].get("/hello").ok(), "hello");
    }
    let [mut last, other] = clients;
    last.send("GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_eq!(last.response().ok(), "hello");
    last.expect_closed();
    drop(other);
    let mut asked = 0;
    eventually(PATIENCE, "nobody is here", || {
        asked += 1;
        ask_status(&server).is_some_and(|line| line.contains(" connections=0 "))
    });
    let calls = table.calls();
    let of_parent = calls.iter().filter(|call| call.kind == "parent");
    // Who asks at the control socket is hung up on.
    let shutdowns = of_parent.filter(|call| call.name == "shutdown").count();
    assert_eq!(shutdowns, asked);
    server.stop();
}

/// What others have answered on a connection is not the work of a worker that dies of its next request.
#[test]
fn who_comes_again_does_not_speed_up_a_crash_loop() {
    let (server, table) = start(1);
    server.handler("hello", "printf 'Content-Type: text/plain\\n\\nhello'");
    let mut clients = [(); 4].map(|()| TestClient::tcp(server.port));
    for client in &mut clients {
        let seen = client.ask(get_of("/hello"));
        assert!(matches!(seen, Seen::Whole(200, _)), "{seen:?}");
    }
    let call = call_of(&table, "recv");
    table.arm_all(&call, KILL);
    let begun = Instant::now();
    for client in &mut clients {
        client.send(get_of("/hello"));
    }
    // Each costs two workers, and of the first one of all the server knows that it has served.
    for client in &mut clients {
        assert_eq!(client.response(), Seen::Closed);
    }
    let pauses = [20, 40, 80, 160, 320].map(Duration::from_millis);
    assert!(begun.elapsed() >= pauses.iter().sum());
    table.disarm(&call);
    let seen = TestClient::tcp(server.port).ask(get_of("/hello"));
    assert!(matches!(seen, Seen::Whole(200, _)), "{seen:?}");
    server.stop();
}
