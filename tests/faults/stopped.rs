//! Workers that are stopped at a chosen call, so in a chosen phase: each is replaced, and its client
//! learns what is true.

use super::harness::{PATIENCE, Server, Setup, eventually, eventually_none, os, watch_for};
use super::matrix::STOP;
use super::table::{Call, Table};
use super::test_client::{Seen, TestClient};
use std::time::{Duration, Instant};

const HELLO: &str = "echo x >> runs; printf 'Content-Type: text/plain\\n\\nhello'";
const GET: &str = "GET /hello HTTP/1.1\r\nHost: test\r\n\r\n";

fn start(fault: &str) -> Server {
    let mut setup = Setup::new();
    setup.args([
        "--workers=1",
        "--max-workers=1",
        "--handler-timeout=300ms",
        "--kill-grace=100ms",
    ]);
    setup.env("CAFFEINE_FAULT", fault);
    let server = setup.start();
    server.handler("hello", HELLO);
    server
}

fn status_of(seen: &Seen) -> u16 {
    match seen {
        Seen::Whole(status, _) => *status,
        Seen::Cut | Seen::Closed => 0,
        Seen::Hung | Seen::Doubled => panic!("{seen:?}"),
    }
}

/// Which call, what is asked, what is told (0: the connection is cut), how often the handler ran.
const PHASES: &[(&str, &str, u16, usize)] = &[
    ("worker:recv:SIGSTOP:1", GET, 200, 1),
    (
        "worker:memfd_create:SIGSTOP:1",
        "POST /hello HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        503,
        0,
    ),
    ("worker:clone:SIGSTOP:1", GET, 502, 0),
    ("handler:dup2:SIGSTOP:1", GET, 502, 0),
    ("worker:sendmsg:SIGSTOP:3", GET, 0, 1),
    (
        "worker:send:SIGSTOP:1",
        "GET /missing HTTP/1.1\r\nHost: test\r\n\r\n",
        0,
        0,
    ),
];

#[test]
fn a_worker_that_is_stopped_in_any_phase_is_replaced() {
    for (fault, request, told, runs) in PHASES {
        let server = start(fault);
        let worker = server.worker_pids()[0];
        let begun = Instant::now();
        let seen = TestClient::tcp(server.port).ask(request);
        assert_eq!(status_of(&seen), *told, "{fault}: {}", server.log());
        let ran = server.read("runs").lines().count();
        assert_eq!(ran, *runs, "{fault}: {}", server.log());
        assert!(begun.elapsed() < Duration::from_secs(6), "{fault}");
        let again = TestClient::tcp(server.port).ask(GET);
        assert_eq!(status_of(&again), 200, "{fault}");
        eventually(Duration::from_secs(2), fault, || {
            let now = server.worker_pids();
            now.len() == 1 && now[0] != worker
        });
        eventually_none(Duration::from_secs(1), fault, || {
            let all = server.folder.processes();
            if all.len() == 2 { Vec::new() } else { all }
        });
        assert_eq!(os::zombies(server.pid()), 0, "{fault}");
        server.stop();
    }
}

/// Old workers would refuse by the old settings again and again, as long as no new one is ready.
#[test]
fn who_is_held_by_older_settings_goes_on_with_the_first_workers_of_the_new_ones() {
    let mut setup = Setup::new();
    let table = Table::new(&setup.folder);
    setup.config("max-concurrent = 1\n");
    setup.args(["--workers=2", "--max-workers=2"]);
    setup.env("CAFFEINE_FAULT_TABLE", &table.path.display().to_string());
    let server = setup.start();
    server.handler(
        "waits",
        "echo x > $QUERY_STRING.runs; until [ -e $QUERY_STRING.go ]; do sleep 0.01; done
        printf 'Content-Type: text/plain\\n\\nhello'",
    );
    server.handler("hello", HELLO);
    let ask = |query: &str| {
        let mut client = server.connect();
        client.send(format!("GET /waits?{query} HTTP/1.1\r\nHost: test\r\n\r\n"));
        client
    };
    let wait_for_held = |n: usize| {
        eventually(PATIENCE, "they are held", || {
            server.status_of("held") == n.to_string()
        });
    };
    let calls = |name: &str| -> Call {
        let mut calls = table.calls().into_iter();
        let is_it = |call: &Call| call.kind == "worker" && call.name == name;
        calls.find(is_it).unwrap()
    };
    let mut clients = vec![ask("a")];
    server.wait_for_line("a.runs");
    clients.push(ask("b"));
    wait_for_held(1);
    let old = server.worker_pids();
    let start = calls("connect");
    table.arm(&start, STOP, 1);
    server
        .folder
        .write("caffeine.conf", "max-concurrent = 2\n", 0o644);
    server.signal(os::HUP);
    eventually(PATIENCE, "a new worker starts", || table.has_failed(&start));
    let before = calls("sendmsg").uses;
    clients.push(ask("c"));
    wait_for_held(2);
    watch_for(Duration::from_millis(100));
    assert_eq!(calls("sendmsg").uses, before + 1, "its one refusal");
    // The end of one that has refused last would let somebody go on.
    assert_eq!(server.get("/hello").ok(), "hello");
    for new in server.worker_pids() {
        if !old.contains(&new) {
            os::kill(new, os::CONT);
        }
    }
    server.wait_for_line("b.runs");
    wait_for_held(1);
    for (query, mut client) in ["a", "b", "c"].into_iter().zip(clients) {
        server.file(&format!("{query}.go"), "", 0o644);
        assert_eq!(client.response().ok(), "hello");
    }
    server.stop();
}
