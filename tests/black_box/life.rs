//! The life cycle: other settings, another binary, the end, and what the service manager is told.

use super::harness::{Client, PATIENCE, Server, eventually, os};
use std::fs;
use std::net::TcpStream;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HELLO: &str = "printf 'Content-Type: text/plain\\n\\nhello'";

/// Writes the configuration anew and waits until it holds.
#[track_caller]
fn reload(server: &Server, text: &str) {
    let before = reloads(server);
    server.folder.write("caffeine.conf", text, 0o644);
    server.signal(os::HUP);
    eventually(PATIENCE, "the reload is over", || reloads(server) > before);
}

fn reloads(server: &Server) -> usize {
    let done = "every worker has the new configuration";
    server.log().matches(done).count()
}

/// The port behind the last such words in the log.
#[track_caller]
fn port_after(server: &Server, words: &str) -> u16 {
    let log = server.log();
    let (_, rest) = log.rsplit_once(words).unwrap();
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap();
    digits.parse().unwrap()
}

#[test]
fn a_reload_adds_and_removes_listeners_and_keeps_those_that_stay() {
    let server = Server::start(|setup| {
        setup
            .without("--bind")
            .without("--port")
            .config("bind = 127.0.0.1:0\n");
    });
    server.handler(
        "port",
        "printf 'Content-Type: text/plain\\n\\n%s' $SERVER_PORT",
    );
    let mut old = server.connect();
    assert_eq!(old.get("/port").ok(), server.port.to_string());

    reload(&server, "bind = 127.0.0.1:0\nbind = 127.0.0.2:0\n");
    let second = port_after(&server, "listening on http://127.0.0.2:");
    let at_second = || Client::of(TcpStream::connect(("127.0.0.2", second)).unwrap());
    let mut parked = at_second();
    assert_eq!(parked.get("/port").ok(), second.to_string());
    assert_eq!(old.get("/port").ok(), server.port.to_string());
    // Connected before the reload, spoken to after it.
    let mut silent = at_second();

    reload(&server, "bind = 127.0.0.1:0\n");
    assert!(TcpStream::connect(("127.0.0.2", second)).is_err());
    for client in [&mut parked, &mut silent] {
        assert_eq!(client.get("/port").ok(), second.to_string());
    }
    assert_eq!(old.get("/port").ok(), server.port.to_string());
    assert_eq!(server.get("/port").ok(), server.port.to_string());
    server.stop();
}

#[test]
fn a_listener_for_all_addresses_makes_way_for_one_at_its_port() {
    let server = Server::start(|setup| {
        setup
            .without("--bind")
            .without("--port")
            .config("bind = 127.0.0.1:0\n");
    });
    server.handler("hello", HELLO);
    reload(&server, "port = 0\n");
    let port = port_after(&server, "listening on http://localhost:");
    assert_eq!(Client::connect(port).get("/hello").ok(), "hello");
    reload(&server, &format!("bind = 127.0.0.1:{port}\n"));
    assert_eq!(Client::connect(port).get("/hello").ok(), "hello");
    assert!(TcpStream::connect(("127.0.0.9", port)).is_err());
    // And back.
    reload(&server, &format!("port = {port}\n"));
    for address in ["127.0.0.1", "127.0.0.9"] {
        let stream = TcpStream::connect((address, port)).unwrap();
        assert_eq!(Client::of(stream).get("/hello").ok(), "hello");
    }
    server.stop();
}

#[test]
fn a_bad_configuration_changes_nothing_and_is_told_in_one_line() {
    let server = Server::start(|setup| {
        setup.config("env COLOUR = red\n");
    });
    server.handler(
        "colour",
        "printf 'Content-Type: text/plain\\n\\n%s' $COLOUR",
    );
    let workers = server.worker_pids();
    let taken = std::net::TcpListener::bind("127.0.0.3:0").unwrap();
    let taken = format!("bind = {}\n", taken.local_addr().unwrap());
    for (text, part) in [
        (
            "env COLOUR = blue\nmax-body = huge\n",
            "caffeine.conf:2: max-body",
        ),
        ("env COLOUR = blue\nerror-page 404 = /nowhere\n", "/nowhere"),
    ] {
        server.folder.write("caffeine.conf", text, 0o644);
        server.signal(os::HUP);
        server.wait_for_log(part);
    }
    let log = server.log();
    let errors: Vec<&str> = log.lines().filter(|l| l.contains(" ERROR ")).collect();
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(
        errors
            .iter()
            .all(|line| line.contains("the old configuration stays in force")),
        "{errors:#?}"
    );
    assert_eq!(server.get("/colour").ok(), "red");
    assert_eq!(server.worker_pids(), workers);
    drop(taken);
    reload(&server, "env COLOUR = blue\n");
    assert_eq!(server.get("/colour").ok(), "blue");
    server.stop();
}

#[test]
fn an_address_that_cannot_be_had_changes_nothing() {
    let server = Server::start(|setup| {
        setup
            .without("--bind")
            .without("--port")
            .config("bind = 127.0.0.1:0\n");
    });
    server.handler("hello", HELLO);
    let taken = std::net::TcpListener::bind("127.0.0.3:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = format!("bind = 127.0.0.4:0\nbind = {address}\n");
    server.folder.write("caffeine.conf", text, 0o644);
    server.signal(os::HUP);
    server.wait_for_log(&format!("unable to listen on {address}"));
    assert_eq!(server.get("/hello").ok(), "hello");
    assert!(!server.log().contains("127.0.0.4"));
    server.stop();
}

#[test]
fn workers_are_replaced_and_a_busy_one_finishes_its_request_first() {
    let server = Server::start(|setup| {
        setup.args(["--max-workers=2"]).config("workers = 2\n");
    });
    server.handler("hello", HELLO);
    server.handler(
        "slow",
        &format!("echo $PPID > slow.runs; while [ ! -e go ]; do sleep 0.02; done; {HELLO}"),
    );
    let mut busy = server.connect();
    busy.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    let worker: u32 = server.wait_for_line("slow.runs").parse().unwrap();
    let before = server.worker_pids();
    assert_eq!(before.len(), 2);

    reload(&server, "workers = 2\nmax-queue = 7\n");
    let of_before = |pids: &[u32]| pids.iter().filter(|pid| before.contains(pid)).count();
    eventually(SECOND, "two new ones and the busy one", || {
        let now = server.worker_pids();
        now.len() == 3 && of_before(&now) == 1 && now.contains(&worker)
    });
    assert_eq!(server.get("/hello").ok(), "hello");
    // Once more, with the only spare place taken.
    server.signal(os::HUP);
    assert_eq!(server.get("/hello").ok(), "hello");
    server.file("go", "", 0o644);
    assert_eq!(busy.response().ok(), "hello");
    eventually(PATIENCE, "two workers again", || {
        let now = server.worker_pids();
        now.len() == 2 && of_before(&now) == 0
    });
    assert_eq!(busy.get("/hello").ok(), "hello");
    server.stop();
}

#[test]
fn the_pool_grows_and_shrinks_with_its_settings() {
    let server = Server::start(|setup| {
        setup
            .without("--workers")
            .config("workers = 1\nmax-workers = 1\n");
    });
    server.handler("hello", HELLO);
    for (text, workers) in [
        ("workers = 6\nmax-workers = 6\n", 6),
        ("workers = 40\nmax-workers = 40\n", 40),
    ] {
        reload(&server, text);
        eventually(PATIENCE, "the pool is as large as wanted", || {
            server.worker_pids().len() == workers
        });
        assert_eq!(server.get("/hello").ok(), "hello");
    }
    reload(&server, "workers = 2\nmax-workers = 2\n");
    assert_eq!(server.get("/hello").ok(), "hello");
    server.stop();
}

#[test]
fn what_takes_a_restart_is_named() {
    let server = Server::start(|setup| {
        setup.without("--pid-file").without("--socket");
        let at = |name: &str| setup.folder.at(name).display().to_string();
        let text = format!("pid-file = {}\nsocket = {}\n", at("pid"), at("socket"));
        setup.config(&text);
    });
    let at = |name: &str| server.folder.at(name).display().to_string();
    let log_line = format!(
        "pid-file = {}\nsocket = {}\ndaemon = yes\n",
        at("pid2"),
        at("socket2")
    );
    reload(&server, &log_line);
    for key in ["pid-file", "socket", "daemon"] {
        let words = format!("{key} has changed: that takes a restart");
        assert_eq!(server.log().matches(&words).count(), 1, "{key}");
    }
    assert!(server.folder.at("pid").exists() && !server.folder.at("pid2").exists());
    assert_eq!(server.get("/").status, 200);
    server.stop();
}

#[test]
fn the_log_moves_and_changes_its_level() {
    let server = Server::start(|setup| {
        setup.without("--log-file");
        let at = setup.folder.at("log").display().to_string();
        setup.config(&format!("log-file = {at}\n"));
    });
    server.handler("hello", HELLO);
    let text = format!(
        "log-file = {}\nlog-level = DEBUG\n",
        server.folder.at("log2").display()
    );
    server.folder.write("caffeine.conf", text, 0o644);
    server.signal(os::HUP);
    eventually(PATIENCE, "the new log has the end of the reload", || {
        let log = server.folder.read("log2");
        log.contains("every worker has the new configuration")
    });
    assert_eq!(server.get("/hello?moved").ok(), "hello");
    eventually(PATIENCE, "the request is in the new log", || {
        server.folder.read("log2").contains("?moved")
    });
    assert!(!server.log().contains("?moved"));
    server.stop();
}

#[test]
fn a_busy_worker_and_its_successor_write_to_the_log_that_was_opened_again() {
    let server = Server::start(|setup| {
        setup.args(["--workers=1", "--max-workers=1"]).config("");
    });
    server.handler("hello", HELLO);
    server.handler(
        "slow",
        &format!("echo x > slow.runs; while [ ! -e go ]; do sleep 0.02; done; {HELLO}"),
    );
    let mut busy = server.connect();
    busy.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_line("slow.runs");
    fs::rename(server.folder.at("log"), server.folder.at("log.1")).unwrap();
    server.signal(os::USR1);
    server.wait_for_log("log opened again");
    server.file("go", "", 0o644);
    assert_eq!(busy.response().ok(), "hello");
    assert_eq!(busy.get("/hello?same").ok(), "hello");
    server.wait_for_log("?same");
    reload(&server, "");
    assert_eq!(busy.get("/hello?next").ok(), "hello");
    server.wait_for_log("?next");
    assert!(!server.folder.read("log.1").contains("/hello"));
    server.stop();
}
