//! What a handler may use and touch: its limits, the server's privileges, the sandbox, and how far
//! a hostile handler (`hostile.c`) gets.

use super::harness::seccomp::call;
use super::harness::{Folder, PATIENCE, Server, Setup, eventually, eventually_none, os, run};
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

const HELLO: &str = "printf 'Content-Type: text/plain\\n\\nhello'";

/// The hostile handler, compiled once. Static: its sandbox need not name a loader.
pub(crate) fn hostile() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/black_box/hostile.c");
        let program = std::env::temp_dir().join(format!("caffeine-hostile-{}", std::process::id()));
        let mut cc = Command::new("cc");
        cc.args(["-O", "-static", "-w", "-o"])
            .arg(&program)
            .arg(source);
        let output = run(&mut cc);
        assert!(output.status.success(), "{output:?}");
        let bytes = fs::read(&program).unwrap();
        fs::remove_file(&program).unwrap();
        bytes
    })
}

/// A user that no other test has, so that its processes can be counted.
pub(crate) fn new_user() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    100_000 + std::process::id() * 100 + NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// The user of a server: its folder is his.
fn user_of(folder: &Folder) -> u32 {
    fs::metadata(folder.path()).unwrap().uid()
}

/// Adds the hostile handler; as root the server becomes somebody else.
fn prepare(setup: &mut Setup) {
    setup.folder.write("root/hostile", hostile(), 0o755);
    if os::is_root() {
        let id = new_user();
        for name in ["", "root"] {
            chown(setup.folder.at(name), Some(id), Some(id)).unwrap();
        }
        setup.args([&format!("--user={id}:{id}")]);
    }
}

fn server(config: &str) -> Server {
    Server::start(|setup| {
        prepare(setup);
        setup.config(config);
    })
}

/// The lines of what the hostile handler has to say.
#[track_caller]
fn ask(server: &Server, what: &str) -> Vec<String> {
    let text = server.get(&format!("/hostile/{what}")).ok();
    text.lines().map(str::to_owned).collect()
}

#[track_caller]
fn still_serves(server: Server) {
    server.handler("hello", HELLO);
    assert_eq!(server.get("/hello").ok(), "hello");
    server.stop();
}

#[test]
fn each_limit_reaches_the_handlers_that_it_is_set_for() {
    let server = server(
        "nice = 3\nmax-memory = 512M\n\
         [handler /hostile]\nmax-cpu = 1500ms\nmax-memory = 256M\nmax-open-files = 20\n\
         max-file-size = 1M\nmax-core = 4K\noom-score-adj = 700",
    );
    let lines = ask(&server, "limits");
    // proc(5): field 19 is the niceness, here of the tests and so of the server.
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let own = stat.rsplit(')').next().unwrap().split(' ').nth(17).unwrap();
    let niceness = (own.parse::<i32>().unwrap() + 3).min(19);
    let nice = format!("nice {niceness}");
    for expected in [
        "cpu 2",
        "memory 268435456",
        "files 20",
        "size 1048576",
        "core 4096",
        &nice,
        "NoNewPrivs:\t1",
    ] {
        assert!(
            lines.iter().any(|line| line == expected),
            "{expected}: {lines:?}"
        );
    }
    server.handler(
        "plain",
        &format!("{HELLO}; ulimit -t; ulimit -v; ulimit -c; nice"),
    );
    let plain = server.get("/plain").ok();
    assert_eq!(plain, format!("hellounlimited\n524288\n0\n{niceness}\n"));
    server.stop();
}

#[test]
fn the_parent_outlives_workers_and_handlers_when_memory_runs_out() {
    let server = server("[handler /hostile]\noom-score-adj = 700");
    let score = |pid: u32| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
    let worker = server.worker_pids()[0];
    assert_eq!(
        (score(server.pid()).trim(), score(worker).trim()),
        ("0", "100")
    );
    // The worker says it while the handler already runs.
    eventually(PATIENCE, "the handler's own score", || {
        ask(&server, "limits").contains(&"oom 700".to_owned())
    });
    server.handler("plain", &format!("{HELLO}; cat /proc/self/oom_score_adj"));
    assert_eq!(server.get("/plain").ok(), "hello100\n");
    server.stop();
}

#[test]
fn a_handler_over_its_cpu_time_is_ended_and_the_log_says_why() {
    let server = server("[handler /hostile]\nmax-cpu = 1s");
    assert_eq!(server.get("/hostile/spin").status, 502);
    server.wait_for_log("/hostile: not a response: ");
    server.wait_for_log("killed by signal 24 (over max-cpu)");
    assert_eq!(server.get("/hostile/stubborn-spin").status, 502);
    server.wait_for_log("killed by signal 9 (over max-cpu)");
    still_serves(server);
}

#[test]
fn a_file_that_grows_too_large_ends_its_handler() {
    let server = server("[handler /hostile]\nmax-file-size = 1M");
    assert_eq!(server.get("/hostile/big-file").status, 502);
    server.wait_for_log("killed by signal 25 (over max-file-size)");
    assert_eq!(
        fs::metadata(server.folder.at("root/big")).unwrap().len(),
        1 << 20
    );
    still_serves(server);
}

#[test]
fn a_fork_bomb_stays_within_its_limit() {
    if !os::is_root() {
        return; // The limit counts all processes of a user: it needs one of its own.
    }
    let server = server("workers = 2\nmax-workers = 2\n[handler /hostile]\nmax-processes = 20");
    let lines = ask(&server, "fork-bomb");
    assert_eq!(lines[1], "fork: EAGAIN");
    let forked: u32 = lines[0].parse().unwrap();
    assert!(forked <= 20, "{forked}");
    server.wait_for_log("outlived the handler and had to be ended");
    eventually_none(PATIENCE, "processes of the bomb", || {
        let mut left = os::processes_of(user_of(&server.folder));
        left.retain(|pid| *pid != server.pid() && !server.worker_pids().contains(pid));
        left
    });
    still_serves(server);
}

#[test]
fn a_memory_bomb_is_refused_memory() {
    let server = server("[handler /hostile]\nmax-memory = 64M");
    let lines = ask(&server, "memory-bomb");
    assert_eq!(lines[1], "malloc: ENOMEM");
    let taken: u32 = lines[0].parse().unwrap();
    assert!((40..64).contains(&taken), "{taken}");
    still_serves(server);
}

#[test]
fn a_daemon_that_leaves_its_session_is_ended_with_its_request() {
    let server = server("");
    assert_eq!(ask(&server, "daemon"), ["started"]);
    server.wait_for_log("/hostile: 1 process outlived the handler and had to be ended");
    let all = server.folder.processes();
    assert_eq!(all.len(), 1 + server.worker_pids().len(), "{all:?}");
    still_serves(server);
}

#[test]
fn an_nph_handler_makes_nobody_wait_for_its_client() {
    let server = Server::start(|setup| {
        prepare(setup);
        setup.folder.write("root/nph-hostile", hostile(), 0o755);
        let user = user_of(&setup.folder);
        chown(setup.folder.at("root/nph-hostile"), Some(user), None).unwrap();
    });
    let mut client = server.connect();
    os::set_receive_buffer(&client.stream, 4096);
    client.send("GET /nph-hostile/linger HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_log("GET /nph-hostile/linger");
    let start = Instant::now();
    still_serves(server);
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[test]
fn a_handler_that_stops_itself_or_closes_everything_costs_its_time_only() {
    let server = server("kill-grace = 100ms\n[handler /hostile]\nhandler-timeout = 500ms");
    for what in ["stop", "close-all"] {
        assert_eq!(
            server.get(&format!("/hostile/{what}")).status,
            504,
            "{what}"
        );
    }
    server.wait_for_log("/hostile: over its time limit, ended");
    still_serves(server);
}

#[test]
fn ten_gigabytes_for_a_client_that_does_not_read_end_at_the_limit() {
    let server = server("[handler /hostile]\nmax-output = 8M\nhandler-timeout = 20s");
    let mut client = server.connect();
    client.send("GET /hostile/flood?10737418240 HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_log("/hostile: printed more than max-output, ended");
    let response = client.response();
    assert_eq!((response.status, response.is_whole), (200, false));
    assert!(
        (7 << 20..=8 << 20).contains(&response.body.len()),
        "{}",
        response.body.len()
    );
    let response = server.get("/hostile/flood?4194304");
    assert_eq!((response.body.len(), response.is_whole), (4 << 20, true));
    still_serves(server);
}

#[test]
fn a_flood_of_stderr_is_dropped_after_its_share() {
    let server = server("max-stderr = 10K\n[handler /hostile]\nmax-stderr = 100K");
    assert_eq!(ask(&server, "flood-stderr?104857600"), ["flooded"]);
    let length = server.log().len();
    assert!((100 << 10..120 << 10).contains(&length), "{length}");
    assert!(
        server
            .log()
            .contains("stderr: (max-stderr: the rest is dropped)")
    );
    server.handler("loud", &format!("head -c 100000 /dev/zero >&2; {HELLO}"));
    assert_eq!(server.get("/loud").ok(), "hello");
    let more = server.log().len() - length;
    assert!((10 << 10..60 << 10).contains(&more), "{more}");
    still_serves(server);
}

#[test]
fn nobody_looks_into_the_server() {
    if !os::is_root() {
        return; // The harness itself has to look.
    }
    let server = server("workers = 1");
    for pid in [server.pid(), server.worker_pids()[0]] {
        let told = ask(&server, &format!("spy?{pid}"));
        assert_eq!(
            told,
            [
                "mem: EACCES",
                "fd: EACCES",
                "environ: EACCES",
                "ptrace: EPERM"
            ]
        );
    }
    server.stop();
    let open = Server::start(|setup| {
        prepare(setup);
        setup.args(["--traceable", "--workers=1"]);
    });
    let told = ask(&open, &format!("spy?{}", open.pid()));
    assert_eq!(told[..3], ["mem: done", "fd: done", "environ: done"]);
    open.stop();
}

#[test]
fn a_sandbox_keeps_a_handler_from_killing_the_server_and_nothing_else_does() {
    if os::landlock_version() < 6 {
        return;
    }
    let server = server("workers = 1\nmax-workers = 1\n[handler /hostile]\nread = none\n");
    let worker = server.worker_pids()[0];
    for pid in [server.pid(), worker] {
        assert_eq!(ask(&server, &format!("kill?{pid}")), ["kill: EPERM"]);
    }
    assert_eq!(server.worker_pids(), [worker]);
    server.file("free", "", 0o644);
    server.folder.write("root/free", hostile(), 0o755);
    assert_eq!(server.get(&format!("/free/kill?{worker}")).status, 502);
    eventually(PATIENCE, "another worker", || {
        !server.worker_pids().is_empty() && !server.worker_pids().contains(&worker)
    });
    still_serves(server);
}

#[test]
fn a_handler_cannot_stop_the_server_by_its_socket() {
    for config in ["", "[handler /hostile]\nread = /\n"] {
        if !config.is_empty() && os::landlock_version() == 0 {
            continue;
        }
        let server = server(config);
        for _ in 0..50 {
            assert_eq!(ask(&server, "say-and-die"), ["said"]);
        }
        server.wait_for_log("on the control socket: it has not shown the pid file");
        let refusal = refusal(&server);
        let mut told = ask(&server, "say?reload");
        if config.is_empty() {
            // Without a sandbox nothing tells it from its user, and it could as well send a signal.
            assert_eq!(told.pop().unwrap(), "write: ok reloaded");
        }
        for (line, with) in told.iter().zip(["none", "path", "read", "write"]) {
            assert_eq!(*line, format!("{with}: {refusal}"), "{config}");
        }
        // What changes nothing takes no proof.
        for line in ask(&server, "say?status") {
            assert!(line.ends_with(": state"), "{line}");
        }
        // A burst is said once.
        let refusals = server.log().matches("refused process").count();
        assert_eq!(refusals, 1, "{}", server.log());
        still_serves(server);
    }
}

#[test]
fn a_handler_of_the_server_before_cannot_stop_its_successor() {
    if os::landlock_version() == 0 {
        return;
    }
    let mut server = server("[handler /hostile]\nread = /\n");
    let mut client = server.connect();
    client.send("GET /hostile/say-later?stop HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually(PATIENCE, "its handler runs", || {
        server.status_of("busy") == "1"
    });
    server.upgrade();
    server.folder.write("say", "", 0o644);
    let refusal = refusal(&server);
    for (line, with) in client
        .response()
        .ok()
        .lines()
        .zip(["none", "path", "read", "write"])
    {
        assert_eq!(line, format!("{with}: {refusal}"));
    }
    drop(client);
    server.expect_end_of_old();
    still_serves(server);
}

/// What is answered to a word that takes a proof.
fn refusal(server: &Server) -> String {
    let pid = server.pid();
    format!(
        "error the server at the socket (pid {pid}) does not hold this pid file, \
         or it cannot be opened for writing; correct --pid-file or --socket"
    )
}

/// What the hostile handler finds that it can do in its folder.
fn touches(server: &Server, port: u16) -> Vec<String> {
    server.file("plain", "text", 0o666);
    if os::is_root() {
        chown(
            server.folder.at("root/plain"),
            Some(user_of(&server.folder)),
            None,
        )
        .unwrap();
    }
    ask(server, &format!("touch?{port}"))
}

const FREE: [&str; 10] = [
    "read: done",
    "list: done",
    "write: done",
    "truncate: done",
    "mkdir: done",
    "unlink: done",
    "connect: done",
    "bind: done",
    "kill worker: done",
    "null: done",
];

const CONFINED: [&str; 10] = [
    "read: EACCES",
    "list: EACCES",
    "write: EACCES",
    "truncate: EACCES",
    "mkdir: EACCES",
    "unlink: EACCES",
    "connect: EACCES",
    "bind: EACCES",
    "kill worker: EPERM",
    "null: done",
];

#[test]
fn a_sandboxed_handler_touches_what_its_section_names_and_nothing_else() {
    if os::landlock_version() < 6 {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(touches(&server(""), port), FREE);
    assert_eq!(
        touches(&server("[handler /hostile]\nread = /usr"), port),
        CONFINED
    );
    for (section, line) in [
        ("read = /etc/passwd".to_owned(), "read: done"),
        ("read = /etc".to_owned(), "list: done"),
        (format!("connect = 1, {port}"), "connect: done"),
        ("connect = any".to_owned(), "connect: done"),
        ("bind = any".to_owned(), "bind: done"),
        ("bind = 0".to_owned(), "bind: done"),
    ] {
        let told = touches(&server(&format!("[handler /hostile]\n{section}")), port);
        assert!(told.contains(&line.to_owned()), "{section}: {told:?}");
        let denied = told
            .iter()
            .zip(CONFINED)
            .filter(|(told, denied)| *told == denied);
        assert!(denied.count() >= 8, "{section}: {told:?}");
    }
    let server = Server::start(|setup| {
        prepare(setup);
        let root = setup.folder.at("root");
        setup.config(&format!("[handler /hostile]\nwrite = {}", root.display()));
    });
    assert_eq!(touches(&server, port)[2..6], FREE[2..6]);
    server.stop();
}

#[test]
fn a_script_in_a_sandbox_needs_its_interpreter_and_a_new_version_runs_at_once() {
    if os::landlock_version() < 4 {
        return;
    }
    let script = "printf 'Content-Type: text/plain\\n\\n'; cat /etc/passwd 2>/dev/null || echo no";
    let server = server(
        "[handler /script]\nread = /usr, /lib, /bin\n[handler /bare]\nread = none\n\
         [handler /wrong]\nread = /no/such/folder",
    );
    for name in ["script", "bare", "wrong"] {
        server.handler(name, script);
    }
    assert_eq!(server.get("/script").ok(), "no\n");
    fs::remove_file(server.folder.at("root/script")).unwrap();
    server.handler("script", &format!("{script}; echo new"));
    assert_eq!(server.get("/script").ok(), "no\nnew\n");
    assert_eq!(server.get("/bare").status, 403);
    server.wait_for_log("unable to launch /bare: execve: Permission denied (EACCES); its sandbox");
    assert_eq!(server.get("/wrong").status, 500);
    server.wait_for_log(
        "unable to launch /wrong: /no/such/folder of its sandbox: open: No such file",
    );
    server.stop();
}

#[test]
fn a_kernel_without_landlock_runs_no_handler_that_asks_for_it_unless_it_may() {
    if cfg!(not(any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64"
    ))) {
        return; // The number of the call is another.
    }
    let landlock = call("landlock_create_ruleset");
    for (errno, name) in [(libc::ENOSYS, "ENOSYS"), (libc::EOPNOTSUPP, "EOPNOTSUPP")] {
        let server = Server::start(|setup| {
            prepare(setup);
            setup.deny(landlock, errno);
            setup.config(
                "[handler /hostile]\nread = /usr\n\
                 [handler /relaxed]\nread = /usr\nsandbox = best-effort",
            );
        });
        assert_eq!(server.get("/hostile/touch?1").status, 500, "{name}");
        let log = server.log();
        let line = log
            .lines()
            .find(|line| line.contains("unable to launch"))
            .unwrap();
        assert!(
            line.contains(&format!("({name})")) && line.contains("best-effort"),
            "{line}"
        );
        server.folder.write("root/relaxed", hostile(), 0o755);
        assert_eq!(ask(&server, "../relaxed/touch?1")[0], "read: done");
        server.wait_for_log("/relaxed: runs without all of its sandbox");
        still_serves(server);
    }
}

#[test]
fn a_handler_that_others_can_write_is_refused_unless_allowed() {
    let server = Server::start(prepare);
    server.handler("hello", HELLO);
    for (mode, group, status) in [
        (0o755, 0, 200),
        (0o757, 0, 403),
        (0o775, 0, 200),
        (0o755, 54_321, 200),
        (0o775, 54_321, 403),
    ] {
        let path = server.folder.at("root/hello");
        if os::is_root() {
            chown(&path, None, Some(group)).unwrap();
        } else if group != 0 {
            continue; // Nobody else gives files away.
        }
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(server.get("/hello").status, status, "{mode:o} {group}");
    }
    server.wait_for_log("ERROR [");
    for why in [
        "it can be changed by every user of this host; chmod o-w it",
        "it can be changed by group 54321; chmod g-w it",
    ] {
        server.wait_for_log(&format!("refused to run /hello: {why}"));
        if !os::is_root() {
            break;
        }
    }
    server.stop();
    let server = Server::with(["--allow-writable"]);
    server.file("hello", &format!("#!/bin/sh\n{HELLO}\n"), 0o777);
    assert_eq!(server.get("/hello").ok(), "hello");
    server.stop();
}

#[test]
fn root_becomes_the_user_for_good_and_everything_goes_on_working() {
    if !os::is_root() {
        return;
    }
    let (mut id, mut group) = (0, 0);
    let server = Server::start(|setup| {
        prepare(setup);
        id = user_of(&setup.folder);
        group = id + 50;
        setup.args([
            &format!("--user={id}"),
            &format!("--group={group}"),
            "--max-body=8M",
        ]);
    });
    let (uids, gids) = (
        format!("Uid:\t{id}\t{id}\t{id}\t{id}"),
        format!("Gid:\t{group}\t{group}\t{group}\t{group}"),
    );
    for pid in [server.pid(), server.worker_pids()[0]] {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        for line in [&uids, &gids, &format!("Groups:\t{group} ")] {
            assert!(status.contains(line.as_str()), "{line}: {status}");
        }
        assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    }
    let lines = ask(&server, "limits");
    assert!(lines.contains(&uids) && lines.contains(&gids), "{lines:?}");
    // A body in a spool is opened again through /proc, which belongs to root now.
    server.handler(
        "count",
        "printf 'Content-Type: text/plain\\n\\n'; wc -c; readlink /proc/self/fd/0",
    );
    let counted = server.connect().post("/count", &vec![b'x'; 3 << 20]).ok();
    assert!(counted.starts_with("3145728\n"), "{counted}");
    assert_eq!(ask(&server, "daemon"), ["started"]);
    server.wait_for_log("1 process outlived the handler");
    fs::rename(server.folder.at("log"), server.folder.at("old")).unwrap();
    server.signal(os::USR1);
    eventually(PATIENCE, "a new log", || {
        server.get("/hostile/limits");
        server.log().contains("GET /hostile/limits")
    });
    server.stop();
}

#[test]
fn what_cannot_be_given_up_is_a_start_that_fails() {
    let mut setup = Setup::new();
    setup.args(["--user=no such user"]);
    let output = setup.run();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("unable to find user no such user: getpwnam: "),
        "{said}"
    );
    setup.args(["--user=4294967295:1"]);
    assert_eq!(setup.run().status.code(), Some(1));
    setup.args(["--user=4000000000"]);
    assert_eq!(setup.run().status.code(), Some(1));
}

#[test]
fn a_group_that_cannot_be_had_is_a_start_that_fails() {
    let mut setup = Setup::new();
    let output = setup.args(["--group=1"]).run();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    if !os::is_root() {
        return;
    }
    // Of somebody who is that user already, but has another group.
    let mut setup = Setup::new();
    for name in ["", "root"] {
        chown(setup.folder.at(name), Some(65534), Some(65534)).unwrap();
    }
    let become_nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    setup.within(&[&["setpriv"], &become_nobody[..]].concat());
    setup.args(["--user=65534", "--group=1"]);
    let output = setup.run();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("unable to become the user: "), "{said}");
    // His own is no change.
    setup.args(["--group=65534"]);
    setup.start().stop();
}

/// A server whose root is its folder; root only.
pub(super) fn jailed() -> Server {
    let mut inside = Setup::new();
    prepare(&mut inside);
    let jail = inside.folder.path().display().to_string();
    for name in ["tmp", "dev"] {
        fs::create_dir(inside.folder.at(name)).unwrap();
        let id = user_of(&inside.folder);
        chown(inside.folder.at(name), Some(id), Some(id)).unwrap();
    }
    let mknod = run(Command::new("mknod").args([&format!("{jail}/dev/null"), "c", "1", "3"]));
    assert!(mknod.status.success(), "{mknod:?}");
    fs::set_permissions(inside.folder.at("dev/null"), Permissions::from_mode(0o666)).unwrap();
    inside.args([
        &format!("--chroot={jail}"),
        "--path=/root",
        "--socket=/socket",
        "--pid-file=/pid",
        "--log-file=/log",
    ]);
    inside.start()
}

#[test]
fn a_chroot_holds_everything_but_the_listeners() {
    if !os::is_root() {
        return;
    }
    let server = jailed();
    let told = ask(&server, "touch?1");
    assert_eq!(
        told[..3],
        [
            "read: No such file or directory",
            "list: No such file or directory",
            "write: done"
        ]
    );
    assert_eq!(ask(&server, "daemon"), ["started"]);
    server.wait_for_log("1 process outlived the handler");
    let body = vec![b'x'; 2 << 20];
    assert_eq!(server.connect().post("/hostile/limits", &body).status, 200);
    server.stop();
}

#[test]
fn there_is_no_upgrade_inside_a_chroot_and_the_server_goes_on() {
    if !os::is_root() {
        return;
    }
    let server = jailed();
    let (pid, workers) = (server.pid(), server.worker_pids());
    let mut idle = server.connect();
    assert_eq!(idle.get("/hostile/limits").status, 200);
    // Who runs a handler may write there too: what stands in the program's place is not run.
    let impostor = &env!("CARGO_BIN_EXE_caffeine")[1..];
    server.folder.write(impostor, hostile(), 0o755);
    server.signal(os::USR2);
    server
        .wait_for_log("unable to upgrade, going on as before: the program is outside of --chroot");
    assert!(!server.log().contains("upgrading: started"));
    assert_eq!(server.folder.read("pid"), format!("{pid}\n"));
    assert_eq!(idle.get("/hostile/limits").status, 200);
    assert_eq!(server.get("/hostile/limits").status, 200);
    assert_eq!(server.worker_pids(), workers);
    server.stop();
}
