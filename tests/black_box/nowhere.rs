//! No place to write: a server without pid file, with its socket in no folder.

use super::harness::{Folder, PATIENCE, Server, Setup, command, eventually, os, run};
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::Output;

const HELLO: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello'; wc -c\n";

/// A name that no other test and no other run has.
fn unique(name: &str) -> String {
    format!("test-{}.{name}", std::process::id())
}

/// Sees that a command was not done, and says why in one line with this part.
#[track_caller]
fn refused(output: &Output, part: &str) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(part), "{part:?} is missing: {text}");
}

/// What a command printed that was done.
#[track_caller]
fn said(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Has the server replaced, which says only in its log by whom.
#[track_caller]
fn upgrade(server: &Server) -> u32 {
    server.signal(os::USR2);
    let mut new = None;
    eventually(PATIENCE, "the new server serves", || {
        let lines = server.stderr().join("\n");
        assert!(!lines.contains("unable to upgrade"), "{lines}");
        let after = lines
            .split_once("upgraded: ")
            .map(|(_, after)| after.to_owned());
        new = after.and_then(|text| text.split(' ').next()?.parse().ok());
        new.is_some()
    });
    server.follow(new.unwrap());
    new.unwrap()
}

/// What works and what is refused without a pid file, whatever the options that lead to the server.
#[track_caller]
fn is_controlled_by_signals_only(mut server: Server, options: &[&str]) {
    let folder = Folder::new();
    let ask = |word: &str| run(command(&folder).arg(word).args(options));
    let status = said(&ask("--status"));
    let pid = format!("\npid: {}\n", server.pid());
    assert!(
        status.starts_with("state: serving\n") && status.contains(&pid),
        "{status}"
    );
    for word in ["--stop", "--reload"] {
        refused(
            &ask(word),
            "has no pid file, by which it knows its user; send it SIGTERM",
        );
    }
    server.signal(os::HUP);
    eventually(PATIENCE, "a reload", || {
        let stderr = server.stderr().join("\n");
        assert!(!stderr.contains("has changed"), "{stderr}");
        stderr.contains("every worker has the new configuration")
    });
    let body = "x".repeat(100_000);
    let request =
        format!("POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{body}");
    assert_eq!(server.ask(&request).ok(), "hello100000\n");
    let new = upgrade(&server);
    server.expect_end_of_old();
    let status = said(&ask("--status"));
    assert!(status.contains(&format!("\npid: {new}\n")), "{status}");
    assert_eq!(server.ask(&request).ok(), "hello100000\n");
    server.stop();
    refused(&ask("--status"), "no server runs here");
}

#[test]
fn a_server_without_a_writable_folder_says_so_and_serves() {
    if !os::is_root() {
        return;
    }
    let name = unique("read-only");
    let option = format!("--name={name}");
    let mut setup = Setup::new();
    setup.folder.write("root/hello", HELLO, 0o755);
    setup.config("");
    setup.without("--socket").without("--pid-file");
    setup.args([&option, "--log-file=/dev/null"]);
    let read_only = "mount --bind /tmp /tmp && mount -o remount,ro,bind /tmp && exec \"$@\"";
    setup.within(&["unshare", "-m", "sh", "-c", read_only, "sh"]);
    let server = setup.start();
    let stderr = server.stderr().join("\n");
    for part in [
        format!("unable to make /tmp/caffeine-{name}.pid, going on without"),
        String::from("unable to make a spool in /tmp: "),
    ] {
        assert!(stderr.contains(&part), "{part:?} is missing: {stderr}");
    }
    let folder = Folder::new();
    let list = said(&run(command(&folder).arg("--list")));
    let row = format!("{name} {} ", server.pid());
    assert_eq!(list.matches(&row).count(), 1, "{list}");
    is_controlled_by_signals_only(server, &[&option]);
}

#[test]
fn pid_file_and_socket_can_be_in_no_folder_by_configuration() {
    let socket = format!("@{}", unique("abstract"));
    let mut setup = Setup::new();
    setup.folder.write("root/hello", HELLO, 0o755);
    setup.without("--socket").without("--pid-file");
    setup.config(&format!("pid-file = none\nsocket = {socket}\n"));
    let server = setup.start();
    for name in ["pid", "socket", &socket] {
        assert!(!server.folder.at(name).exists(), "{name}");
    }
    let socket = format!("--socket={socket}");
    let mut second = Setup::new();
    second.args([&socket, "--pid-file=none"]);
    let part = format!("belongs to a running server (pid {})", server.pid());
    refused(&second.run(), &part);
    if os::is_root() {
        let other = os::as_nobody(|| {
            // The name has no mode: who connects is told apart by his user.
            let name = socket.trim_start_matches("--socket=@");
            let address = SocketAddr::from_abstract_name(name).unwrap();
            let mut stream = UnixStream::connect_addr(&address).unwrap();
            let _ = stream.write_all(b"status\n");
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            answer
        });
        assert_eq!(other.unwrap(), "");
    }
    is_controlled_by_signals_only(server, &[&socket, "--pid-file=none"]);
}

#[test]
fn a_daemon_needs_no_pid_file() {
    let socket = format!("--socket=@{}", unique("daemon"));
    let mut setup = Setup::new();
    setup.args([&socket, "--pid-file=none", "--daemon"]);
    let line = said(&setup.run());
    assert!(!setup.folder.at("none").exists());
    let pid = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
    let status = said(&run(command(&setup.folder).args(["--status", &socket])));
    assert!(status.contains(&format!("\npid: {pid}\n")), "{status}");
    assert!(os::kill(pid, os::TERM));
    eventually(PATIENCE, "the daemon ends", || !os::is_alive(pid));
}

#[test]
fn a_place_that_was_asked_for_and_cannot_be_had_is_named() {
    for (option, file) in [("--pid-file", "no/pid"), ("--socket", "no/socket")] {
        let mut setup = Setup::new();
        let path = setup.folder.at(file).display().to_string();
        setup.args([&format!("{option}={path}")]);
        refused(&setup.run(), &path);
    }
    if os::is_root() {
        let mut setup = Setup::new();
        let jail = setup.folder.path().display().to_string();
        setup.args([
            &format!("--chroot={jail}"),
            "--user=65534:65534",
            "--path=/root",
        ]);
        for name in ["", "root"] {
            std::os::unix::fs::chown(setup.folder.at(name), Some(65534), Some(65534)).unwrap();
        }
        setup.args(["--socket=/socket", "--pid-file=/pid", "--log-file=/log"]);
        refused(&setup.run(), "unable to open /dev/null: open: ");
    }
}
