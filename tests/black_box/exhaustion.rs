//! The machine has run out of something: room on disk, processes, descriptors, memory. What can be
//! served is served, the rest is told so, and all is well again once there is some.

use super::harness::seccomp::call;
use super::harness::{Client, PATIENCE, Server, Setup, eventually, noise, os, run, spawn};
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const HELLO: &str = "printf 'Content-Type: text/plain\\n\\nhello'";
const MOUNT: &str = "mount -t tmpfs -o size=512k none \"$1\" && shift && exec \"$@\"";

/// Changes a limit of a running process.
fn limit(pid: u32, what: &str) {
    let output = run(Command::new("prlimit").args([format!("--pid={pid}"), what.to_owned()]));
    assert!(output.status.success(), "{output:?}");
}

fn needs_root(test: &str) -> bool {
    if !os::is_root() {
        eprintln!("{test}: left out, only root can do that");
    }
    os::is_root()
}

/// A disk of 512 KiB that the server alone sees, with a file that fills it.
struct SmallDisk {
    seen_from_here: PathBuf,
}

impl SmallDisk {
    /// Before the start: the server sees it at `small` in its folder.
    fn prepare(setup: &mut Setup) -> String {
        let folder = setup.folder.at("small").display().to_string();
        fs::create_dir(&folder).unwrap();
        setup.within(&["unshare", "-m", "sh", "-c", MOUNT, "sh", &folder]);
        folder
    }

    fn of(server: &Server) -> Self {
        let inside = server.folder.at("small");
        let inside = inside.strip_prefix("/").unwrap();
        let root = PathBuf::from(format!("/proc/{}/root", server.pid()));
        Self {
            seen_from_here: root.join(inside),
        }
    }

    fn fill(&self) {
        // As much as there is room for.
        let _ = fs::write(self.seen_from_here.join("filler"), vec![0; 1 << 20]);
    }

    fn free(&self) {
        fs::remove_file(self.seen_from_here.join("filler")).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.seen_from_here.join(name)).unwrap()
    }
}

#[test]
fn a_full_disk_under_the_log_stops_no_request_and_the_losses_are_told() {
    if !needs_root("a full disk under the log") {
        return;
    }
    let server = Server::start(|setup| {
        let folder = SmallDisk::prepare(setup);
        setup.args([
            &format!("--log-file={folder}/log"),
            "--workers=1",
            "--max-workers=1",
        ]);
    });
    server.handler("hello", HELLO);
    let disk = SmallDisk::of(&server);
    assert_eq!(server.get("/hello?before").ok(), "hello");
    disk.fill();
    for _ in 0..50 {
        assert_eq!(server.get("/hello?during").ok(), "hello");
    }
    let kept = disk.read("log").matches("?during").count();
    assert!(kept < 50, "the disk was not full");
    disk.free();
    assert_eq!(server.get("/hello?after").ok(), "hello");
    eventually(PATIENCE, "the log goes on", || {
        disk.read("log").contains("?after")
    });
    let log = disk.read("log");
    let told = log
        .lines()
        .find(|line| line.contains("log lines were lost"))
        .unwrap();
    assert!(told.contains(" WARN ["), "{told}");
    let (before, _) = told.split_once(" log lines").unwrap();
    let lost: usize = before.rsplit(' ').next().unwrap().parse().unwrap();
    let whole = log
        .lines()
        .filter(|line| line.contains("?during") && line.ends_with('K'));
    assert_eq!(whole.count() + lost, 50, "{log}");
    server.stop();
}

#[test]
fn a_full_disk_under_the_spools_refuses_large_bodies_and_makes_large_responses_wait() {
    if needs_root("a full disk under the spools") {
        fill_disk_under_spools(&[]);
        // Nor is there memory to begin a spool in.
        fill_disk_under_spools(&["memfd_create"]);
    }
}

fn fill_disk_under_spools(denied: &[&str]) {
    let server = Server::start(|setup| {
        for name in denied {
            setup.deny(call(name), libc::ENOSYS);
        }
        let folder = SmallDisk::prepare(setup);
        setup
            .env("TMPDIR", &folder)
            .args(["--max-spool-total=64M", "--max-spool-memory=0"]);
    });
    server.handler("hello", HELLO);
    server.handler("echo", "printf 'Content-Type: text/plain\\n\\n'; cat");
    server.handler(
        "large",
        "printf 'Content-Type: text/plain\\n\\n'; head -c 20000000 /dev/zero; echo x > done",
    );
    let disk = SmallDisk::of(&server);
    let (small, large) = (noise(50_000), noise(400_000));
    assert_eq!(server.connect().post("/echo", &large).body, large);
    disk.fill();
    // 507, and the connection ends: what was read of the body is gone.
    let refused = server.connect().post("/echo", &large);
    assert_eq!((refused.status, refused.says_close()), (507, true));
    // More than kernel and memory hold, for a client that does not read.
    let mut slow = server.connect();
    slow.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually(PATIENCE, "its handler waits for it", || {
        server.status_of("client_waits") != "0"
    });
    let response = slow.response();
    assert!(response.is_whole, "cut: {}", server.log());
    assert_eq!(response.body.len(), 20_000_000);
    // What needs no disk goes on.
    assert_eq!(server.connect().post("/echo", &small).body, small);
    assert_eq!(server.get("/hello").ok(), "hello");
    disk.free();
    assert_eq!(server.connect().post("/echo", &large).body, large);
    server.stop();
}

#[test]
fn a_response_that_fills_the_disk_comes_whole_and_in_order() {
    if !needs_root("a disk that a response fills") {
        return;
    }
    let server = Server::start(|setup| {
        let folder = SmallDisk::prepare(setup);
        setup.env("TMPDIR", &folder).args(["--max-spool-total=64M"]);
    });
    let bytes = noise(12 << 20);
    server.folder.write("root/.large", &bytes, 0o644);
    server.handler(
        "large",
        "printf 'Content-Type: text/plain\\n\\n'; exec cat .large",
    );
    let disk = SmallDisk::of(&server);
    for is_full_before in [false, true] {
        if is_full_before {
            disk.fill();
        }
        let waits = server.status_of("client_waits");
        let mut slow = server.connect();
        os::set_receive_buffer(&slow.stream, 64 * 1024);
        slow.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
        eventually(PATIENCE, "its handler waits for it", || {
            server.status_of("client_waits") != waits
        });
        let response = slow.response();
        assert!(
            response.is_whole && response.body == bytes,
            "{is_full_before}"
        );
    }
    assert_eq!(server.status_of("spooled"), "0");
    server.stop();
}

#[test]
fn a_file_size_limit_ends_no_process_of_the_server() {
    let server = Server::start(|setup| {
        setup.within(&["prlimit", "--fsize=20000:unlimited", "--core=0"]);
        setup.args(["--workers=1", "--max-workers=1", "--max-spool-memory=0"]);
    });
    server.handler("hello", HELLO);
    server.handler("echo", "printf 'Content-Type: text/plain\\n\\n'; cat");
    let workers = server.worker_pids();
    let large = noise(400_000);
    // The log reaches its limit on the way.
    for _ in 0..150 {
        assert_eq!(server.get("/hello").ok(), "hello");
    }
    assert_eq!(server.folder.at("log").metadata().unwrap().len(), 20_000);
    assert_eq!(server.connect().post("/echo", &large).status, 507);
    assert_eq!(server.worker_pids(), workers, "SIGXFSZ has ended a worker");
    for pid in workers.iter().chain([&server.pid()]) {
        limit(*pid, "--fsize=unlimited");
    }
    assert_eq!(server.connect().post("/echo", &large).body, large);
    server.wait_for_log("log lines were lost");
    server.stop();
}

#[test]
fn a_full_process_table_is_503_until_there_is_room() {
    if !needs_root("a full process table") {
        return;
    }
    // Nobody else has this user's processes.
    let uid = (100_000 + std::process::id()).to_string();
    let server = Server::start(|setup| {
        let folder = setup.folder.path().to_owned();
        let owned = run(Command::new("chown").arg("-R").arg(&uid).arg(folder));
        assert!(owned.status.success());
        let (reuid, regid) = (format!("--reuid={uid}"), format!("--regid={uid}"));
        // A parent, two workers, and one handler.
        setup.within(&[
            "setpriv",
            &reuid,
            &regid,
            "--clear-groups",
            "prlimit",
            "--nproc=4",
        ]);
        setup.args(["--workers=2", "--max-workers=2"]);
    });
    server.file("hello", &format!("#!/bin/sh\n{HELLO}\n"), 0o755);
    server.file(
        "slow",
        "#!/bin/sh\necho x > \"$TAKEN\"; exec sleep 100\n",
        0o755,
    );
    assert_eq!(server.get("/hello").ok(), "hello");
    let mut slow = server.connect();
    slow.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually(PATIENCE, "the table is full", || {
        os::children(server.pid())
            .iter()
            .any(|worker| !os::children(*worker).is_empty())
    });
    let mut client = server.connect();
    for _ in 0..3 {
        // The connection is kept: it may pass.
        assert_eq!(client.get("/hello").status, 503);
    }
    server.wait_for_log("unable to launch /hello: clone");
    os::reset_on_close(&slow.stream);
    drop(slow);
    eventually(PATIENCE, "there is room again", || {
        client.get("/hello").status == 200
    });
    server.stop();
}

/// The soft limit of open files.
fn open_files(pid: u32) -> u64 {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let mut words = line.unwrap().split_whitespace();
    words.nth(3).unwrap().parse().unwrap()
}

#[test]
fn a_full_descriptor_table_turns_new_clients_away_and_loses_nobody_for_ever() {
    let server = Server::with(["--workers=1", "--max-workers=1"]);
    server.handler("hello", HELLO);
    assert_eq!(server.get("/hello").ok(), "hello");
    let parent = server.pid();
    let worker = server.worker_pids()[0];
    // The parent: the longest idle make room for who comes.
    let mut idle: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for client in &mut idle {
        assert_eq!(client.get("/hello").ok(), "hello");
    }
    let (usual, used) = (open_files(parent), os::descriptors(parent).len());
    limit(parent, &format!("--nofile={used}:"));
    for _ in 0..20 {
        assert_eq!(server.get("/hello").ok(), "hello");
    }
    server.wait_for_log("every place is taken");
    limit(parent, &format!("--nofile={usual}:"));
    // The worker: no pipe for a handler.
    let used = os::descriptors(worker).len();
    limit(worker, &format!("--nofile={used}:"));
    let mut client = server.connect();
    let status = client.get("/hello").status;
    assert_eq!(status, 503);
    limit(worker, &format!("--nofile={usual}:"));
    eventually(PATIENCE, "it launches again", || {
        server.get("/hello").status == 200
    });
    assert_eq!(server.worker_pids(), [worker], "no worker was lost");
    server.stop();
}

#[test]
fn a_spool_that_finds_no_descriptor_gives_its_handlers_place_to_who_waits() {
    let server = Server::with([
        "--workers=2",
        "--max-workers=2",
        "--max-concurrent=1",
        "--queue-timeout=10s",
    ]);
    server.folder.write("root/.large", noise(8 << 20), 0o644);
    let waits = "while [ ! -e go ]; do sleep 0.01; done";
    server.handler(
        "large",
        &format!("echo x >> runs; {waits}; printf 'Content-Type: text/plain\\n\\n'; cat .large"),
    );
    let ask = || {
        let mut client = server.connect();
        os::set_receive_buffer(&client.stream, 64 * 1024);
        client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
        client
    };
    let mut first = ask();
    server.wait_for_line("runs");
    let mut held = ask();
    eventually(PATIENCE, "it is held", || server.status_of("held") == "1");
    let parent = server.pid();
    let (usual, used) = (open_files(parent), os::descriptors(parent).len());
    limit(parent, &format!("--nofile={used}:"));
    server.file("go", "", 0o644);
    server.wait_for_log("unable to take a spool");
    limit(parent, &format!("--nofile={usual}:"));
    assert_eq!(held.response().status, 200);
    assert!(first.rest().len() < 8 << 20);
    server.stop();
}

/// KiB of a process's address space (`VmSize`), or the most that it ever was (`VmPeak`).
fn address_space(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_parent_without_memory_lets_the_longest_idle_go_for_who_comes() {
    let server = Server::with(["--workers=1", "--max-workers=1"]);
    server.handler("hello", HELLO);
    let parent = server.pid();
    let most = address_space(parent, "VmSize") * 1024 + 64 * 1024;
    limit(parent, &format!("--as={most}:unlimited"));
    // Their books alone are larger than what is left.
    let mut crowd: Vec<Client> = Vec::new();
    for _ in 0..900 {
        crowd.push(server.connect());
    }
    server.wait_for_log("every place is taken");
    assert_eq!(
        server.get("/hello").ok(),
        "hello",
        "for who comes, others go"
    );
    assert_eq!(crowd.last_mut().unwrap().get("/hello").ok(), "hello");
    limit(parent, "--as=unlimited");
    drop(crowd);
    for _ in 0..50 {
        assert_eq!(server.get("/hello").ok(), "hello");
    }
    server.stop();
}

#[test]
fn handlers_without_memory_are_errors_and_nothing_else() {
    let server = Server::with(["--workers=1", "--max-workers=1"]);
    server.handler("hello", HELLO);
    assert_eq!(server.get("/hello").ok(), "hello");
    let worker = server.worker_pids()[0];
    // Enough for the worker, which has all that it needs; too little for any program.
    limit(worker, "--as=100000:unlimited");
    for _ in 0..5 {
        let status = server.get("/hello").status;
        assert!((500..=503).contains(&status), "{status}");
    }
    for worker in server.worker_pids() {
        limit(worker, "--as=unlimited");
    }
    eventually(PATIENCE, "handlers run again", || {
        server.get("/hello").status == 200
    });
    server.stop();
}

#[test]
fn an_upload_that_is_left_in_the_middle_leaves_no_memory_with_its_worker() {
    const BODY_KIB: u64 = 64 << 10;
    let server = Server::start(|setup| {
        let http = setup.folder.at("http").display().to_string();
        setup.args([
            &format!("--bind=unix:{http}"),
            "--workers=1",
            "--max-workers=1",
            "--max-body=100M",
            "--max-spool-memory=100M",
        ]);
    });
    server.handler("hello", HELLO);
    assert_eq!(server.get("/hello").ok(), "hello");
    let worker = server.worker_pids()[0];
    let before = address_space(worker, "VmSize");
    // What comes is there when the worker looks, on a Unix socket all of it: it never waits for
    // more, and puts nothing away.
    os::stop(worker);
    let mut client = UnixStream::connect(server.folder.at("http")).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = BODY_KIB * 1024;
    let head = format!("POST /hello HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n");
    let sent = [head.as_bytes(), &noise(100_000)].concat();
    client.write_all(&sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    os::kill(worker, os::CONT);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    let (most, after) = (
        address_space(worker, "VmPeak"),
        address_space(worker, "VmSize"),
    );
    assert!(most >= before + BODY_KIB, "it was never there: {most} KiB");
    assert!(
        after < before + BODY_KIB / 2,
        "{before} KiB before, {after} KiB after"
    );
    assert_eq!(server.worker_pids(), [worker]);
    server.stop();
}

/// Starts a server whose stderr is this; its port is in the log.
fn start_with_stderr(setup: &Setup, stderr: OwnedFd) -> (std::process::Child, u16) {
    let mut command = setup.command();
    command.stdout(Stdio::null()).stderr(Stdio::from(stderr));
    let child = spawn(&mut command);
    let mut port = None;
    eventually(PATIENCE, "the server says its address", || {
        let log = setup.folder.read("log");
        let (_, rest) = log.split_once("127.0.0.1:").unwrap_or_default();
        port = rest.split_once('/').and_then(|(port, _)| port.parse().ok());
        port.is_some()
    });
    (child, port.unwrap())
}

#[test]
fn who_does_not_read_stderr_holds_nobody_up_and_is_told_what_was_lost() {
    for kind in ["terminal", "pipe", "pipe of another user", "socket"] {
        let mut setup = Setup::new();
        setup.args(["--log-level=DEBUG", "--workers=1", "--max-workers=1"]);
        if kind == "pipe of another user" {
            if !needs_root(kind) {
                continue;
            }
            for name in ["", "root"] {
                chown(setup.folder.at(name), Some(65534), Some(65534)).unwrap();
            }
            let become_nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
            setup.within(&[&["setpriv"], &become_nobody[..]].concat());
        }
        setup
            .folder
            .write("root/hello", format!("#!/bin/sh\n{HELLO}\n"), 0o755);
        let (reader, stderr) = match kind {
            "terminal" => os::terminal(),
            "socket" => {
                let (reader, stderr) = UnixStream::pair().unwrap();
                (reader.into(), stderr.into())
            }
            _ => {
                let (reader, stderr) = std::io::pipe().unwrap();
                (reader.into(), stderr.into())
            }
        };
        let (mut child, port) = start_with_stderr(&setup, stderr);
        // Nobody reads, and what is said is more than any of them holds.
        let mut client = Client::connect(port);
        let long = format!("/hello?{}", "x".repeat(1000));
        for _ in 0..300 {
            assert_eq!(client.get(&long).ok(), "hello", "{kind}");
        }
        assert!(setup.folder.read("log").len() > 300_000);
        let mut reader = fs::File::from(reader);
        let reading = std::thread::spawn(move || {
            let (mut text, mut piece) = (Vec::new(), [0; 4096]);
            // A terminal ends with an error.
            while let Ok(n @ 1..) = reader.read(&mut piece) {
                text.extend_from_slice(&piece[..n]);
            }
            String::from_utf8(text).unwrap()
        });
        for _ in 0..50 {
            assert_eq!(Client::connect(port).get("/hello").ok(), "hello", "{kind}");
        }
        assert!(os::kill(child.id(), os::TERM));
        assert!(child.wait().unwrap().success(), "{kind}");
        let seen = reading.join().unwrap();
        let lost = "log lines were lost: the log could not be written";
        assert!(seen.contains(lost), "{kind}: {seen}");
        assert!(seen.contains("stopped (pid "), "{kind}: {seen}");
        assert!(!setup.folder.read("log").contains(lost), "{kind}");
    }
}
