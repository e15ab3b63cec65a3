//! `--status`, `--stop`, `--reload`, `--list` and `--name`: what they say, and to whom they talk.

use super::harness::{Folder, PATIENCE, Server, Setup, command, eventually, os, run};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Output;
use std::time::Instant;

/// Runs a command for the server of these files.
fn ask(folder: &Folder, word: &str) -> Output {
    let at = |name: &str| folder.at(name).display().to_string();
    run(command(folder).args([
        word,
        &format!("--socket={}", at("socket")),
        &format!("--pid-file={}", at("pid")),
    ]))
}

/// What a command printed that was done.
#[track_caller]
fn said(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Sees that a command was not done, and says why in one line with this part.
#[track_caller]
fn refused(output: &Output, part: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.starts_with("caffeine: ") && text.contains(part),
        "{part:?} is missing: {text}"
    );
}

/// One line to the socket itself, and the answer.
fn converse(folder: &Folder, line: &str) -> String {
    let mut stream = UnixStream::connect(folder.at("socket")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Who is refused may find it closed already.
    let _ = stream.write_all(line.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn the_status_tells_of_the_server_and_of_each_worker() {
    let server = Server::with(["--workers=2"]);
    server.handler(
        "wait here",
        "echo $$ > wait.pid; read -r _ < go; echo; echo",
    );
    let pipe = server.folder.at("root/go");
    assert!(
        run(std::process::Command::new("mkfifo").arg(&pipe))
            .status
            .success()
    );
    let mut client = server.connect();
    client.send("GET /wait%20here HTTP/1.1\r\nHost: test\r\n\r\n");
    let handler = server.wait_for_line("wait.pid");
    let busy = format!(", /wait here (pid {handler})");
    let mut text = String::new();
    eventually(PATIENCE, "the status names the handler", || {
        text = said(&ask(&server.folder, "--status"));
        text.contains(&busy)
    });
    let pid = server.pid();
    let port = server.port;
    for line in [
        "state: serving",
        &format!("pid: {pid}"),
        "workers: 2",
        "busy: 1",
        "ready: 1",
        "connections: 1",
        "serving: 1",
        "queued: 0",
        "requests: 0",
        "spooled: 0",
        &format!("ports: {port}"),
        &format!("listening: http://127.0.0.1:{port}/"),
    ] {
        assert!(
            text.lines().any(|l| l == line),
            "{line:?} is missing:\n{text}"
        );
    }
    for worker in server.worker_pids() {
        assert!(text.contains(&format!("\nworker {worker}: ")), "{text}");
    }
    fs::write(&pipe, "go\n").unwrap();
    client.response();
    server.stop();
}

#[test]
fn a_stop_returns_when_the_server_is_gone_and_has_answered() {
    let mut server = Server::new();
    server.handler(
        "slow",
        "echo > begun; while [ ! -e stopping ]; do sleep 0.02; done; printf 'Content-Type: text/plain\\n\\nwhole'",
    );
    let mut client = server.connect();
    client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_line("begun");
    let folder = server.folder.path().to_owned();
    let stopping = std::thread::spawn(move || {
        let at = |name: &str| folder.join(name).display().to_string();
        let mut stop = std::process::Command::new(env!("CARGO_BIN_EXE_caffeine"));
        let socket = format!("--socket={}", at("socket"));
        let pid_file = format!("--pid-file={}", at("pid"));
        run(stop.args(["--stop", &socket, &pid_file]))
    });
    server.wait_for_log("stopping: 1 connections are open");
    assert!(!stopping.is_finished() && os::is_alive(server.pid()));
    server.file("stopping", "", 0o644);
    assert_eq!(client.response().ok(), "whole");
    let output = stopping.join().unwrap();
    assert_eq!(said(&output), format!("stopped (pid {})\n", server.pid()));
    // Its lock is gone a moment before it is; a zombie until it is waited for.
    let second = std::time::Duration::from_secs(1);
    eventually(second, "its end", || !os::is_alive(server.pid()));
    server.expect_clean_end();
    refused(&ask(&server.folder, "--stop"), "no server runs here");
}

#[test]
fn a_daemon_is_stopped_too() {
    let mut setup = Setup::new();
    setup.args(["--daemon"]);
    said(&setup.run());
    let pid = setup.folder.read("pid");
    let text = said(&ask(&setup.folder, "--stop"));
    assert_eq!(text, format!("stopped (pid {})\n", pid.trim()));
    assert!(!setup.folder.at("pid").exists() && !setup.folder.at("socket").exists());
}

#[test]
fn what_is_no_server_is_told_in_one_line() {
    let folder = Folder::new();
    for word in ["--status", "--stop", "--reload"] {
        refused(&ask(&folder, word), "no server runs here");
    }
    folder.write("socket", "text", 0o600);
    refused(&ask(&folder, "--stop"), "no server runs here");
    fs::remove_file(folder.at("socket")).unwrap();
    let listener = UnixListener::bind(folder.at("socket")).unwrap();
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        stream.write_all(b"220 welcome\r\n").unwrap();
        line
    });
    refused(&ask(&folder, "--status"), "the socket of another program");
    assert_eq!(other.join().unwrap(), "status\n");
    // Nobody listens any more.
    refused(&ask(&folder, "--status"), "no server runs here");
}

#[test]
fn nobody_is_stopped_whose_pid_file_another_one_holds() {
    let (one, other) = (Server::new(), Server::new());
    let socket = one.folder.at("socket").display().to_string();
    let number = one
        .folder
        .write("number", format!("{}\n", one.pid()), 0o600);
    for pid_file in [&other.folder.at("pid"), &number, &one.folder.at("missing")] {
        let output = run(command(&one.folder).args([
            "--stop",
            &format!("--socket={socket}"),
            &format!("--pid-file={}", pid_file.display()),
        ]));
        refused(&output, "does not hold this pid file");
    }
    assert!(said(&ask(&one.folder, "--status")).starts_with("state: serving\n"));
    assert!(said(&ask(&other.folder, "--status")).starts_with("state: serving\n"));
    one.stop();
    other.stop();
}

#[test]
fn who_holds_every_place_and_says_nothing_starves_nobody() {
    let mut server = Server::new();
    let silent: Vec<UnixStream> = (0..50)
        .map(|_| UnixStream::connect(server.folder.at("socket")).unwrap())
        .collect();
    let start = Instant::now();
    for _ in 0..5 {
        assert!(said(&ask(&server.folder, "--status")).starts_with("state: serving\n"));
    }
    said(&ask(&server.folder, "--stop"));
    assert!(start.elapsed() < PATIENCE / 4, "{:?}", start.elapsed());
    server.expect_clean_end();
    drop(silent);
}

#[test]
fn a_stranger_of_the_same_user_is_no_worker() {
    let server = Server::with(["--workers=1"]);
    server.handler("hello", "printf 'Content-Type: text/plain\\n\\nhello'");
    for line in ["R\n", "K\n", "\n"] {
        assert_eq!(converse(&server.folder, line), "error unknown command\n");
    }
    assert_eq!(server.get("/hello").ok(), "hello");
    server.stop();
}

#[test]
fn another_user_gets_nothing_from_the_socket() {
    let server = Server::new();
    // The file's mode keeps him out; this is what is behind it.
    let socket = server.folder.at("socket");
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let closed = os::as_nobody(|| UnixStream::connect(&socket).is_err());
    assert_ne!(closed, Some(false));
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    for line in ["status\n", "stop\n", "R"] {
        let heard = os::as_nobody(|| converse(&server.folder, line));
        assert_eq!(heard.unwrap_or_default(), "", "{line:?}");
    }
    if os::is_root() {
        server.wait_for_log("refused user 65534 on the control socket");
    }
    assert!(said(&ask(&server.folder, "--status")).starts_with("state: serving\n"));
    server.stop();
}

/// A name that no other test and no other run has.
fn unique(name: &str) -> String {
    format!("test-{}.{name}", std::process::id())
}

/// A server that is known by its name alone.
fn named(name: &str) -> Setup {
    let mut setup = Setup::new();
    setup
        .without("--socket")
        .without("--pid-file")
        .without("--log-file");
    setup.args([&format!("--name={name}")]);
    setup
}

#[test]
fn named_servers_live_side_by_side_and_are_listed() {
    let names = [unique("one"), unique("two")];
    let mut servers: Vec<Server> = names.iter().map(|name| named(name).start()).collect();
    for (name, server) in names.iter().zip(&servers) {
        let pid = fs::read_to_string(format!("/tmp/caffeine-{name}.pid")).unwrap();
        assert_eq!(pid.trim(), server.pid().to_string());
        let log = server
            .folder
            .read(&format!(".local/share/caffeine/caffeine-{name}.log"));
        assert!(log.contains("INFO ["), "{log:?}");
    }
    let stale = format!("/tmp/webserver-{}.sock", unique("stale"));
    drop(UnixListener::bind(&stale).unwrap());
    let folder = Folder::new();
    let list = said(&run(command(&folder).arg("--list")));
    fs::remove_file(&stale).unwrap();
    assert!(
        list.starts_with("NAME PID PORT WORKERS UPTIME REQUESTS\n"),
        "{list}"
    );
    assert!(!list.contains(&unique("stale")), "{list}");
    for (name, server) in names.iter().zip(&servers) {
        let row = list
            .lines()
            .find(|line| line.starts_with(name.as_str()))
            .unwrap();
        let columns: Vec<&str> = row.split(' ').collect();
        let (pid, port) = (server.pid().to_string(), server.port.to_string());
        assert_eq!(columns[1..4], [pid.as_str(), &port, "4"], "{row}");
        assert_eq!((columns.len(), columns[5]), (6, "0"), "{row}");
    }
    for (name, server) in names.iter().zip(&mut servers) {
        let option = format!("--name={name}");
        let text = said(&run(command(&folder).args(["--status", &option])));
        assert!(
            text.contains(&format!("\npid: {}\n", server.pid())),
            "{text}"
        );
        said(&run(command(&folder).args(["--stop", &option])));
        server.expect_clean_end();
        assert!(!fs::exists(format!("/tmp/caffeine-{name}.pid")).unwrap());
        assert!(!fs::exists(format!("/tmp/webserver-{name}.sock")).unwrap());
    }
}

#[test]
fn a_named_server_reads_its_own_configuration_and_options_win() {
    let name = unique("own");
    let mut setup = named(&name);
    let folder = &setup.folder;
    folder.write(".config/caffeine/caffeine.conf", "workers = 9\n", 0o644);
    folder.write(
        &format!(".config/caffeine/caffeine-{name}.conf"),
        "workers = 2\n",
        0o644,
    );
    let socket = folder.at("socket").display().to_string();
    setup.args([&format!("--socket={socket}")]);
    let server = setup.start();
    assert_eq!(server.worker_pids().len(), 2);
    assert!(server.folder.at("socket").exists());
    assert!(!fs::exists(format!("/tmp/webserver-{name}.sock")).unwrap());
    server.stop();
}

#[test]
fn a_name_is_part_of_file_names_and_of_nothing_else() {
    let folder = Folder::new();
    for name in [
        "",
        ".x",
        "a/b",
        "../x",
        "a b",
        "a\nb",
        "\u{e9}",
        &"x".repeat(65),
    ] {
        let output = run(command(&folder).arg(format!("--name={name}")));
        assert_eq!(output.status.code(), Some(2), "{name:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            text.contains("--name") && text.lines().count() == 1,
            "{text}"
        );
    }
}

#[test]
fn a_mistake_in_the_configuration_does_not_keep_a_server_running() {
    let mut server = Server::new();
    let config = server.folder.write("broken.conf", "prot = 80\n", 0o644);
    let at = |name: &str| server.folder.at(name).display().to_string();
    let output = run(command(&server.folder).args([
        "--stop",
        &format!("--config={}", config.display()),
        &format!("--socket={}", at("socket")),
        &format!("--pid-file={}", at("pid")),
    ]));
    said(&output);
    server.expect_clean_end();
}

#[test]
fn a_reload_says_whether_the_new_configuration_was_taken() {
    let server = Server::start(|setup| {
        setup.config("env SHOWN = one\n");
    });
    server.handler(
        "env",
        "printf 'Content-Type: text/plain\\n\\n%s' \"$SHOWN\"",
    );
    assert_eq!(server.get("/env").ok(), "one");
    server.folder.write("caffeine.conf", "prot = 1\n", 0o644);
    refused(
        &ask(&server.folder, "--reload"),
        "caffeine.conf:1: unknown key 'prot'",
    );
    assert_eq!(server.get("/env").ok(), "one");
    server
        .folder
        .write("caffeine.conf", "env SHOWN = two\n", 0o644);
    let text = said(&ask(&server.folder, "--reload"));
    assert_eq!(text, format!("reloaded (pid {})\n", server.pid()));
    eventually(PATIENCE, "workers with the new configuration", || {
        server.get("/env").ok() == "two"
    });
    server.stop();
}

#[test]
fn a_server_that_has_followed_another_is_the_one_to_talk_to() {
    let mut server = Server::new();
    let old = server.pid();
    let new = server.upgrade();
    assert_ne!(new, old);
    server.expect_end_of_old();
    let text = said(&ask(&server.folder, "--reload"));
    assert_eq!(text, format!("reloaded (pid {new})\n"));
    assert_eq!(
        said(&ask(&server.folder, "--stop")),
        format!("stopped (pid {new})\n")
    );
    server.expect_nothing_left();
}

#[test]
fn a_handler_that_asks_is_answered_or_refused_at_once_with_a_sentence() {
    let server = Server::new();
    let at = |name: &str| server.folder.at(name).display().to_string();
    let program = env!("CARGO_BIN_EXE_caffeine");
    let asks = |word: &str, pid_file: &str| {
        format!(
            "printf 'Content-Type: text/plain\\n\\n'; HOME=/ '{program}' {word} '--socket={}' '--pid-file={}' 2>&1",
            at("socket"),
            at(pid_file)
        )
    };
    server.handler("status", &asks("--status", "pid"));
    server.handler("stop", &asks("--stop", "root/status"));
    let start = Instant::now();
    for _ in 0..5 {
        let text = server.get("/status").ok();
        assert!(text.starts_with("state: serving\n"), "{text}");
        let text = server.get("/stop").ok();
        assert!(text.contains("does not hold this pid file"), "{text}");
    }
    assert!(start.elapsed() < PATIENCE / 4, "{:?}", start.elapsed());
    let refusals = server.log().matches("refused process").count();
    assert_eq!(refusals, 1, "{}", server.log());
    server.stop();
}

/// A socket whose last copy's close waits for a peer that reads nothing, and that peer.
fn lingering() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    while socket.write(&[0; 65_536]).is_ok() {}
    os::wait_at_close(&socket, 3600);
    (socket, peer)
}

#[test]
fn nobody_holds_the_server_up_by_what_he_passes_to_it() {
    let server = Server::new();
    // While it stands still, all other copies are closed.
    os::stop(server.pid());
    let mut held = Vec::new();
    for (first, second, times) in [
        ("status\n", "", 1),
        ("stat", "", 1),
        ("", "status\nmore", 1),
        ("status\n", "more", 1),
        ("st", "", 200),
        ("", "more", 253),
    ] {
        let stream = UnixStream::connect(server.folder.at("socket")).unwrap();
        let (socket, peer) = lingering();
        if !first.is_empty() {
            os::send_with(&stream, first.as_bytes(), &socket, times).unwrap();
        }
        if !second.is_empty() {
            os::send_with(&stream, second.as_bytes(), &socket, times).unwrap();
        }
        drop(socket);
        held.push((stream, peer));
    }
    server.signal(os::CONT);
    let start = Instant::now();
    for _ in 0..20 {
        assert!(said(&ask(&server.folder, "--status")).starts_with("state: serving\n"));
    }
    assert!(start.elapsed() < PATIENCE / 4, "{:?}", start.elapsed());
    drop(held);
    server.stop();
}

#[test]
fn a_client_of_a_unix_listener_passes_no_descriptors() {
    let mut setup = Setup::new();
    let own = setup.folder.at("own");
    setup.args([&format!("--bind=unix:{}", own.display())]);
    let server = setup.start();
    let mut given = Setup::new();
    let path = given.folder.at("given");
    given.activate(UnixListener::bind(&path).unwrap());
    given.args(["--daemon"]);
    said(&given.run());
    let (socket, _peer) = lingering();
    os::wait_at_close(&socket, 0);
    for path in [&own, &path] {
        let client = UnixStream::connect(path).unwrap();
        if os::can_refuse_descriptors(&client) {
            let request = b"GET / HTTP/1.0\r\n\r\n";
            let told = os::send_with(&client, request, &socket, 1).unwrap_err();
            assert_eq!(told.kind(), std::io::ErrorKind::PermissionDenied);
        }
    }
    said(&ask(&given.folder, "--stop"));
    server.stop();
}
