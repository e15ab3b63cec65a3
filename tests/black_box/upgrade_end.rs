//! The end of a server after an upgrade, while the one before still has clients: whoever of the two goes
//! first, each client is served to the end, and nothing is left.

use super::harness::{Client, PATIENCE, Server, Setup, eventually, noise, os, watch_for};
use std::fs;
use std::time::{Duration, Instant};

/// A client whose request the old server's only worker has. It does not read its response, which is
/// larger than what fits between the two: so after its handler it has to be served once more.
struct Slow {
    client: Client,
    expected: Vec<u8>,
}

impl Slow {
    fn arrive(server: &Server) -> Self {
        let expected = noise(24 << 20);
        server.folder.write("large", &expected, 0o644);
        server.handler(
            "slow",
            "echo x > slow.runs; while [ ! -e go ]; do sleep 0.02; done; \
             printf 'Content-Type: text/plain\\n\\n'; cat ../large",
        );
        let mut client = server.connect();
        client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
        server.wait_for_line("slow.runs");
        Self { client, expected }
    }

    /// Its handler goes on, and then it is parked with the server that has the control socket.
    fn see_served(mut self, server: &Server) {
        server.file("go", "", 0o644);
        eventually(PATIENCE, "it is parked there", || {
            server.status().contains(" drain=1 ")
        });
        let response = self.client.response();
        let len = response.body.len();
        assert!(response.is_whole && response.body == self.expected, "{len}");
    }
}

/// Tells the new server to stop, and waits until the old one has heard of it.
fn stop_both(server: &Server, new: u32, signal: i32) {
    os::kill(new, signal);
    eventually(PATIENCE, "both are about to stop", || {
        server.log().matches(" stopping: ").count() == 2
    });
}

fn expect_end_of_both(mut server: Server, new: u32) {
    server.expect_end_of_old();
    expect_end(&server, new);
}

fn expect_end(server: &Server, new: u32) {
    eventually(PATIENCE, "the new one ends", || !os::is_alive(new));
    server.expect_nothing_left();
    let log = server.log();
    assert!(
        !log.contains(" ERROR ") && !log.contains("cutting"),
        "{log}"
    );
}

#[test]
fn a_new_server_that_is_stopped_stays_until_the_old_one_has_no_client() {
    let server = Server::with(["--workers=1"]);
    let slow = Slow::arrive(&server);
    let new = server.upgrade();
    stop_both(&server, new, os::TERM);
    slow.see_served(&server);
    server.wait_for_log("left to its successor");
    expect_end_of_both(server, new);
}

#[test]
fn who_is_left_when_the_new_server_has_stopped_is_served_by_the_old_one() {
    let server = Server::with(["--workers=1"]);
    let slow = Slow::arrive(&server);
    let new = server.upgrade();
    stop_both(&server, new, os::INT);
    // Once more: at once.
    os::kill(new, os::INT);
    eventually(PATIENCE, "the new one ends", || !os::is_alive(new));
    eventually(PATIENCE, "the old one has a socket", || {
        server.folder.at("socket").exists()
    });
    slow.see_served(&server);
    expect_end_of_both(server, new);
}

/// The new one has less time to stop, and a worker that does not leave at once.
#[test]
fn nobody_is_handed_on_to_a_new_server_that_cuts_who_is_left() {
    let mut setup = Setup::new();
    setup.args(["--workers=1", "--kill-grace=3s"]).config("");
    let server = setup.start();
    let slow = Slow::arrive(&server);
    let old = server.pid();
    let config = "shutdown-grace = 1s\n";
    server.folder.write("caffeine.conf", config, 0o644);
    let new = server.upgrade();
    os::stop(os::children(new)[0]);
    stop_both(&server, new, os::TERM);
    eventually(PATIENCE, "its time is over", || {
        server.status_of("state") == "stopping"
    });
    let before = os::cpu_ticks(old);
    server.file("go", "", 0o644);
    eventually(PATIENCE, "the new one ends", || !os::is_alive(new));
    let used = os::cpu_ticks(old) - before;
    assert!(used < 30, "the old one has not slept: {used} ticks");
    eventually(PATIENCE, "the old one has a socket", || {
        server.folder.at("socket").exists()
    });
    slow.see_served(&server);
    expect_end_of_both(server, new);
}

/// The new one's time is over before it has read of a client.
#[test]
fn who_was_handed_on_and_not_read_of_goes_back_when_the_new_server_leaves() {
    let mut setup = Setup::new();
    setup.args(["--workers=1"]).config("");
    let server = setup.start();
    let slow = Slow::arrive(&server);
    let old = server.pid();
    let config = "shutdown-grace = 1s\n";
    server.folder.write("caffeine.conf", config, 0o644);
    let new = server.upgrade();
    stop_both(&server, new, os::TERM);
    os::stop(new);
    let told = Instant::now();
    server.file("go", "", 0o644);
    eventually(PATIENCE, "the old one has handed the client on", || {
        os::children(old) == [new] && os::is_asleep(old)
    });
    watch_for(Duration::from_millis(1100).saturating_sub(told.elapsed()));
    os::kill(new, os::CONT);
    eventually(PATIENCE, "the new one ends", || !os::is_alive(new));
    eventually(PATIENCE, "the old one has a socket", || {
        server.folder.at("socket").exists()
    });
    slow.see_served(&server);
    expect_end_of_both(server, new);
}

#[test]
fn a_server_that_was_told_to_stop_stops_when_the_new_one_is_killed_too() {
    let server = Server::with(["--workers=1"]);
    let old = server.pid();
    let slow = Slow::arrive(&server);
    let new = server.upgrade();
    stop_both(&server, new, os::TERM);
    os::kill(new, os::KILL);
    eventually(PATIENCE, "the old one has its pid file again", || {
        server.folder.read("pid") == format!("{old}\n")
    });
    slow.see_served(&server);
    expect_end_of_both(server, new);
}

#[test]
fn a_server_whose_workers_are_leaving_does_not_serve_again() {
    let server = Server::with(["--workers=1"]);
    let old = server.pid();
    let worker = server.worker_pids()[0];
    os::stop(worker);
    // Without a client the old server stops in the turn in which it gives way, and waits for its worker.
    let new = server.upgrade();
    os::kill(new, os::KILL);
    eventually(PATIENCE, "the old one has its pid file again", || {
        server.folder.read("pid") == format!("{old}\n")
    });
    os::kill(worker, os::CONT);
    expect_end_of_both(server, new);
}

/// Starts an upgrade to a program that waits for a file `start`; its process id.
fn upgrade_later(server: &Server) -> u32 {
    let place = server.folder.at("caffeine");
    fs::rename(&place, server.folder.at("real")).unwrap();
    let folder = server.folder.path().display();
    let script = format!(
        "#!/bin/sh\nwhile [ ! -e {folder}/start ]; do sleep 0.02; done\nexec {folder}/real \"$@\"\n"
    );
    server.folder.write("caffeine", script, 0o755);
    server.signal(os::USR2);
    server.wait_for_log("upgrading: started ");
    let log = server.log();
    let (_, pid) = log.split_once("upgrading: started ").unwrap();
    pid.split(',').next().unwrap().parse().unwrap()
}

#[test]
fn a_new_server_that_is_stopped_before_it_knows_that_it_serves_loses_nobody() {
    let mut setup = Setup::new();
    setup.args(["--workers=1"]).copy_program();
    let server = setup.start();
    server.handler("hello", "printf 'Content-Type: text/plain\\n\\nhello'");
    let mut client = server.connect();
    client.send("GET /hello HTTP/1.1\r\nHo");
    eventually(PATIENCE, "it is parked", || {
        server.status().contains(" head=1 ")
    });
    let (old, new) = (server.pid(), upgrade_later(&server));
    os::stop(old);
    server.folder.write("start", "", 0o644);
    eventually(PATIENCE, "it has a worker", || {
        !os::children(new).is_empty()
    });
    // Whoever is not stopped answers.
    eventually(PATIENCE, "it is ready", || server.status_of("ready") == "1");
    eventually(PATIENCE, "it has said so", || os::is_asleep(new));
    os::stop(new);
    os::kill(old, os::CONT);
    server.wait_for_log("upgraded: ");
    eventually(PATIENCE, "the client is handed on", || os::is_asleep(old));
    client.send("st: test\r\n\r\n");
    os::kill(new, os::TERM);
    os::kill(new, os::CONT);
    assert_eq!(client.response().ok(), "hello");
    expect_end_of_both(server, new);
}
