//! Workers that die at a chosen call: how far they had come by then shows what they had done before it.

use super::harness::{Client, PATIENCE, Server, Setup, eventually, noise, os};
use super::matrix::KILL;
use super::scenes::ask_status;
use super::table::Table;
use super::visitor::{Seen, Visitor};

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

/// Kills whichever worker makes this call for the `n`th time from now on.
fn kill_at(table: &Table, name: &str, n: u64) -> super::table::Call {
    let calls = table.calls();
    let mut calls = calls
        .into_iter()
        .filter(|call| call.kind == "worker" && call.name == name);
    let call = calls.next().unwrap();
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
    let seen = Visitor::tcp(server.port).ask(get_of("/gush"));
    assert!(table.disarm(&call));
    assert_eq!(seen, Seen::Cut);
    // Its successor knows nothing of it.
    let call = kill_at(&table, "ppoll", 3);
    let seen = Visitor::tcp(server.port).ask(get_of("/gush"));
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
