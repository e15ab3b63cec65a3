//! Workers that are stopped at a chosen call, so in a chosen phase: each is replaced, and its client
//! learns what is true.

use super::harness::{Server, Setup, eventually, eventually_none, os};
use super::visitor::{Seen, Visitor};
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
    ("worker:sendmsg:SIGSTOP:2", GET, 0, 1),
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
        let seen = Visitor::tcp(server.port).ask(request);
        assert_eq!(status_of(&seen), *told, "{fault}: {}", server.log());
        let ran = server.read("runs").lines().count();
        assert_eq!(ran, *runs, "{fault}: {}", server.log());
        assert!(begun.elapsed() < Duration::from_secs(6), "{fault}");
        let again = Visitor::tcp(server.port).ask(GET);
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
