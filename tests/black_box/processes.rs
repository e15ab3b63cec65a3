//! Parent, workers and handlers: who dies, who lives on, what is left behind.

use super::harness::{
    Client, PATIENCE, Server, Setup, command, eventually, eventually_none, os, run, watch_for,
};
use std::fs;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
const HELLO: &str = "printf 'Content-Type: text/plain\\n\\nhello'";

fn serves_a_hundred(server: &Server) {
    let mut client = server.connect();
    for _ in 0..100 {
        assert_eq!(client.get("/hello").ok(), "hello");
    }
}

/// Waits until the pool is whole, without these.
#[track_caller]
fn expect_whole_pool(server: &Server, workers: usize, dead: &[u32]) {
    eventually(SECOND, "the pool is whole again", || {
        let now = server.worker_pids();
        now.len() == workers && !now.iter().any(|pid| dead.contains(pid))
    });
}

/// Waits until so many clients are idle. A worker may still be busy with a request whose response is here; killed then,
/// it would cut its client.
#[track_caller]
fn expect_idle(server: &Server, clients: usize) {
    eventually(PATIENCE, "clients are idle", || {
        server.status_of("idle") == clients.to_string()
    });
}

#[test]
fn idle_workers_that_are_killed_are_replaced_and_nobody_notices() {
    let server = Server::new();
    server.handler("hello", HELLO);
    let mut client = server.connect();
    assert_eq!(client.get("/hello").ok(), "hello");
    expect_idle(&server, 1);
    let workers = server.worker_pids();
    assert_eq!(workers.len(), 4);
    os::kill(workers[0], os::KILL);
    serves_a_hundred(&server);
    expect_whole_pool(&server, 4, &workers[..1]);
    let workers = server.worker_pids();
    for pid in &workers {
        os::kill(*pid, os::KILL);
    }
    serves_a_hundred(&server);
    expect_whole_pool(&server, 4, &workers);
    assert_eq!(
        client.get("/hello").ok(),
        "hello",
        "a parked connection lives on"
    );
    server.stop();
}

#[test]
fn a_worker_killed_after_the_launch_costs_one_request_and_no_handler_runs_twice() {
    let server = Server::with(["--workers=2"]);
    server.handler("hello", HELLO);
    server.handler("slow", "echo $PPID >> runs; sleep 100");
    server.handler(
        "begun",
        "printf 'Content-Type: text/plain\\n\\nhello\\n'; sleep 0.2; echo $PPID >> begun.runs; sleep 100",
    );
    let mut client = server.connect();
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    let worker: u32 = server.wait_for_line("runs").parse().unwrap();
    os::kill(worker, os::KILL);
    assert_eq!(client.response().status, 502);
    serves_a_hundred(&server);
    expect_whole_pool(&server, 2, &[worker]);

    let mut client = server.connect();
    client.send("GET /begun HTTP/1.1\r\nHost: test\r\n\r\n");
    let worker: u32 = server.wait_for_line("begun.runs").parse().unwrap();
    os::kill(worker, os::KILL);
    let response = client.response();
    assert_eq!(
        (response.text().as_str(), response.is_whole),
        ("hello\n", false)
    );
    expect_whole_pool(&server, 2, &[worker]);
    for runs in ["runs", "begun.runs"] {
        assert_eq!(server.read(runs).lines().count(), 1, "{runs}");
    }
    eventually_none(SECOND, "handlers of a dead worker", || {
        let all = server.folder.processes();
        if all.len() == 3 { Vec::new() } else { all }
    });
    server.stop();
}

#[test]
fn a_client_outlives_a_worker_that_has_taken_nothing_of_it() {
    let server = Server::with(["--workers=1", "--max-workers=1"]);
    server.handler("hello", &format!("echo x >> runs; {HELLO}"));
    let mut client = server.connect();
    assert_eq!(client.get("/hello").ok(), "hello");
    for (round, is_killed) in [(2, true), (3, false)] {
        expect_idle(&server, 1);
        let workers = server.worker_pids();
        // A worker that is stopped has a client as soon as there is one, and does nothing with it.
        os::stop(workers[0]);
        client.send("GET /hello HTTP/1.1\r\nHost: test\r\n\r\n");
        if is_killed {
            watch_for(SECOND / 10);
            os::kill(workers[0], os::KILL);
        }
        // Otherwise the server notices by itself.
        assert_eq!(client.response().ok(), "hello");
        expect_whole_pool(&server, 1, &workers);
        assert_eq!(server.read("runs").lines().count(), round);
    }
    server.stop();
}

#[test]
fn nothing_is_left_a_second_after_the_parent_was_killed() {
    let mut server = Server::new();
    server.handler(
        "slow",
        "setsid sh -c 'trap \"\" TERM; sleep 100' & echo x > runs; sleep 100",
    );
    let mut client = server.connect();
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_line("runs");
    server.signal(os::KILL);
    server.wait();
    eventually_none(SECOND, "processes", || server.folder.processes());
    client.expect_closed();
}

#[test]
fn a_worker_that_is_forked_later_holds_none_of_the_parked_connections() {
    let server = Server::with(["--workers=2"]);
    server.handler("hello", HELLO);
    let mut parked: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    for client in &mut parked {
        assert_eq!(client.get("/hello").ok(), "hello");
    }
    expect_idle(&server, 200);
    let workers = server.worker_pids();
    let usual = os::descriptors(workers[0]).len();
    for pid in &workers {
        os::kill(*pid, os::KILL);
    }
    expect_whole_pool(&server, 2, &workers);
    for pid in server.worker_pids() {
        eventually(
            PATIENCE,
            "a new worker has its own descriptors only",
            || {
                let links = os::descriptors(pid);
                let sockets = links.iter().filter(|link| link.starts_with("socket:"));
                // One channel.
                sockets.count() == 1 && links.len() <= usual
            },
        );
    }
    // A client that the parent closes sees it: nobody else has a copy.
    for client in &mut parked {
        assert_eq!(client.get("/hello").ok(), "hello");
    }
    let mut last = parked.pop().unwrap();
    last.send("GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    assert_eq!(last.response().ok(), "hello");
    last.expect_closed();
    server.stop();
}

#[test]
fn many_requests_leave_no_descriptor_and_no_process() {
    let server = Server::with(["--workers=2", "--max-workers=2"]);
    server.handler("hello", HELLO);
    serves_a_hundred(&server);
    let count = || {
        let mut pids = server.worker_pids();
        pids.push(server.pid());
        let descriptors = pids.iter().map(|pid| os::descriptors(*pid).len());
        (pids.len(), descriptors.sum::<usize>())
    };
    let mut before = (0, 0);
    eventually(SECOND, "the client of before is gone", || {
        std::mem::replace(&mut before, count()) == count()
    });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| serves_a_hundred(&server));
        }
    });
    eventually(
        SECOND,
        "as many descriptors and processes as before",
        || count() <= before,
    );
    server.stop();
}

#[test]
fn a_request_in_flight_is_finished_when_the_server_stops() {
    for signal in [os::TERM, os::QUIT, os::INT] {
        let mut server = Server::new();
        server.handler("slow", &format!("echo x > runs; sleep 0.4; {HELLO}"));
        let mut busy = server.connect();
        let mut idle = server.connect();
        busy.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
        server.wait_for_line("runs");
        server.signal(signal);
        let response = busy.response();
        assert_eq!(response.ok(), "hello");
        busy.expect_closed();
        idle.expect_closed();
        server.expect_clean_end();
    }
}

#[test]
fn a_handler_that_outlasts_the_shutdown_is_ended() {
    let mut server = Server::with(["--shutdown-grace=200ms", "--kill-grace=100ms"]);
    server.handler(
        "stuck",
        "trap '' TERM; echo x > runs; while :; do sleep 100; done",
    );
    let mut client = server.connect();
    client.send("GET /stuck HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_line("runs");
    let start = Instant::now();
    server.signal(os::TERM);
    server.expect_clean_end();
    assert!(start.elapsed() < 4 * SECOND, "{:?}", start.elapsed());
    client.rest();
}

#[test]
fn a_moved_log_is_opened_again_on_sigusr1() {
    let server = Server::with(["--workers=2"]);
    server.handler("hello", HELLO);
    assert_eq!(server.get("/hello?before").ok(), "hello");
    server.wait_for_log("?before");
    fs::rename(server.folder.at("log"), server.folder.at("log.1")).unwrap();
    server.signal(os::USR1);
    eventually(PATIENCE, "the log is there again", || {
        server.folder.at("log").exists()
    });
    let mut round = 0;
    eventually(PATIENCE, "every worker writes to the new log", || {
        round += 1;
        let mark = format!("round-{round}-");
        let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
        for client in &mut clients {
            assert_eq!(client.get(&format!("/hello?{mark}")).ok(), "hello");
        }
        server.wait_for_log(&mark);
        server.log().matches(&mark).count() == 4
    });
    let pids = server.worker_pids();
    for pid in pids.into_iter().chain([server.pid()]) {
        let old = server.folder.at("log.1").display().to_string();
        eventually(PATIENCE, "the old log is closed", || {
            !os::descriptors(pid).contains(&old)
        });
    }
    server.stop();
}

#[test]
fn two_servers_run_side_by_side() {
    let (one, two) = (Server::new(), Server::new());
    for (server, text) in [(&one, "one"), (&two, "two")] {
        server.handler(
            "who",
            &format!("printf 'Content-Type: text/plain\\n\\n{text}'"),
        );
    }
    assert_eq!(one.get("/who").ok(), "one");
    one.stop();
    assert_eq!(two.get("/who").ok(), "two");
    two.stop();
}

#[test]
fn a_second_server_is_told_whose_place_it_wants_to_take_and_how_not_to() {
    let server = Server::new();
    let same = |name: &str| server.folder.at(name).display().to_string();
    for (option, names_owner) in [
        (format!("--pid-file={}", same("pid")), true),
        (format!("--socket={}", same("socket")), true),
        (format!("--port={}", server.port), false),
    ] {
        let mut second = Setup::new();
        second.args([&option]);
        let output = second.run();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{option}: {said}");
        let name = option.split('=').next().unwrap();
        assert!(said.contains(name), "{option}: {said}");
        let pid = server.pid().to_string();
        assert!(!names_owner || said.contains(&pid), "{option}: {said}");
        assert_eq!(said.lines().count(), 1, "{option}: {said}");
        assert!(second.folder.processes().is_empty());
        for file in ["pid", "socket"] {
            assert!(!second.folder.at(file).exists(), "{option}: {file}");
        }
    }
    server.handler("hello", HELLO);
    assert_eq!(
        server.get("/hello").ok(),
        "hello",
        "the first one is unharmed"
    );
    assert!(server.folder.at("pid").exists() && server.folder.at("socket").exists());
    server.stop();
}

#[test]
fn what_a_killed_server_left_behind_is_taken_over() {
    let mut first = Server::new();
    first.signal(os::KILL);
    first.wait();
    eventually_none(SECOND, "processes", || first.folder.processes());
    assert!(first.folder.at("pid").exists() && first.folder.at("socket").exists());
    let second = Server::start(|setup| {
        let at = |name: &str| first.folder.at(name).display().to_string();
        setup.args([
            &format!("--pid-file={}", at("pid")),
            &format!("--socket={}", at("socket")),
        ]);
    });
    assert_eq!(first.folder.read("pid"), format!("{}\n", second.pid()));
    second.stop();
    assert!(!first.folder.at("pid").exists() && !first.folder.at("socket").exists());
}

#[test]
fn the_pid_file_and_the_start_line_say_who_serves() {
    let server = Server::with(["--workers=3"]);
    assert_eq!(server.folder.read("pid"), format!("{}\n", server.pid()));
    let lines = server.stderr();
    let line = lines
        .iter()
        .find(|line| line.contains("127.0.0.1:"))
        .unwrap();
    let root = server.folder.at("root").display().to_string();
    let pid = server.pid().to_string();
    for part in [root.as_str(), "3 workers", &pid] {
        assert!(line.contains(part), "{part} is missing in {line}");
    }
    server.stop();
}

#[test]
fn a_daemon_accepts_when_its_starter_returns_and_stops_by_its_pid_file() {
    let mut setup = Setup::new();
    let path = setup.folder.at("http").display().to_string();
    setup.args(["--daemon", &format!("--bind=unix:{path}")]);
    let output = setup.run();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let pid: u32 = setup.folder.read("pid").trim().parse().unwrap();
    assert!(os::is_alive(pid));
    // No polling here: it accepts already.
    let said = String::from_utf8(output.stdout).unwrap();
    let (_, rest) = said.split_once("127.0.0.1:").unwrap();
    let port = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap();
    let mut client = Client::connect(port.parse().unwrap());
    assert_eq!(client.get("/").status, 200);
    drop(client);
    let log = setup.folder.read("log");
    assert!(log.contains("INFO ["), "{log}");
    for line in log.lines() {
        let mut words = line.split(' ');
        assert_eq!(words.next().unwrap().len(), 29, "{line}");
        let level = words.next().unwrap();
        assert!(
            ["DEBUG", "INFO", "WARN", "ERROR"].contains(&level),
            "{line}"
        );
        let pid = words.next().unwrap();
        assert!(pid.starts_with('[') && pid.ends_with(']'), "{line}");
    }
    let group = os::children(pid);
    assert_eq!(group.len(), 4);
    // A second one is refused, by the starting command too.
    let second = setup.run();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(
        said.contains(&pid.to_string()) && said.contains("--pid-file"),
        "{said}"
    );
    os::kill(pid, os::TERM);
    eventually(PATIENCE, "the daemon ends", || !os::is_alive(pid));
    eventually_none(SECOND, "workers", || {
        group.iter().filter(|pid| os::is_alive(**pid)).collect()
    });
    assert!(!setup.folder.at("pid").exists() && !setup.folder.at("socket").exists());
    let print = run(command(&setup.folder)
        .arg("--log")
        .arg(format!("--log-file={}", setup.folder.at("log").display())));
    assert!(print.status.success());
    let printed = String::from_utf8(print.stdout).unwrap();
    assert!(
        printed.starts_with(&log) && printed.contains(&format!("[{pid}]")),
        "{printed}"
    );
}

#[test]
fn a_handler_that_kills_its_worker_harms_its_own_request_only() {
    let server = Server::with(["--workers=2", "--max-workers=2"]);
    server.handler("kills", "kill -KILL $PPID; sleep 100");
    for _ in 0..4 {
        assert_eq!(server.get("/kills").status, 502);
    }
    server.handler("hello", HELLO);
    serves_a_hundred(&server);
    expect_whole_pool(&server, 2, &[]);
    server.stop();
}
