//! The server's own files against other users: what somebody else has put in their place is
//! neither written to, waited for, nor believed.

use super::harness::{Folder, PATIENCE, Server, Setup, eventually, os, run, spawn};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;

/// A folder in which every user may put files, as /tmp.
fn shared(folder: &Folder) -> std::path::PathBuf {
    let path = folder.at("shared");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o1777)).unwrap();
    path
}

fn make_fifo(path: &Path) {
    let made = run(std::process::Command::new("mkfifo").arg(path));
    assert!(made.status.success(), "{made:?}");
}

/// Sees that a server with its file there does not start, at once, and says why in one line.
#[track_caller]
fn refused(mut setup: Setup, option: &str, path: &Path, why: &str) -> Setup {
    setup.args([&format!("{option}={}", path.display())]);
    let output = setup.run();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    let file = path.display().to_string();
    for part in [why, option, &file] {
        assert!(text.contains(part), "{part:?} is missing: {text}");
    }
    setup
}

const PRECIOUS: &str = "precious\n";

#[test]
fn what_stands_in_place_of_pid_file_and_socket_is_refused_at_once() {
    for (option, kind, why) in [
        ("--pid-file", "fifo", "is not a pid file"),
        ("--pid-file", "folder", "is a folder"),
        ("--pid-file", "link", "is a symbolic link"),
        ("--pid-file", "hard link", "a hard link"),
        ("--socket", "fifo", "is no socket"),
        ("--socket", "folder", "is no socket"),
        ("--socket", "link", "is no socket"),
        ("--socket", "hard link", "is no socket"),
    ] {
        let setup = Setup::new();
        let path = shared(&setup.folder).join("file");
        let precious = setup.folder.write("precious", "", 0o600);
        match kind {
            "fifo" => make_fifo(&path),
            "folder" => fs::create_dir(&path).unwrap(),
            "link" => symlink(&precious, &path).unwrap(),
            _ => fs::hard_link(&precious, &path).unwrap(),
        }
        let setup = refused(setup, option, &path, why);
        assert_eq!(setup.folder.read("precious"), "", "{option}, {kind}");
        assert!(
            fs::symlink_metadata(&path).is_ok(),
            "{option}, {kind} was removed"
        );
    }
}

#[test]
fn a_log_in_a_shared_folder_is_written_to_under_its_own_only_name() {
    for (kind, why) in [
        ("fifo", "open: "),
        ("link", "(ELOOP)"),
        ("hard link", "(EPERM)"),
    ] {
        let setup = Setup::new();
        let path = shared(&setup.folder).join("log");
        let precious = setup.folder.write("precious", PRECIOUS, 0o600);
        match kind {
            "fifo" => make_fifo(&path),
            "link" => symlink(&precious, &path).unwrap(),
            _ => fs::hard_link(&precious, &path).unwrap(),
        }
        let setup = refused(setup, "--log-file", &path, why);
        assert_eq!(setup.folder.read("precious"), PRECIOUS, "{kind}");
    }
    // In a folder of one's own a link is one's own wish.
    let mut setup = Setup::new();
    symlink("elsewhere", setup.folder.at("linked")).unwrap();
    let path = setup.folder.at("linked").display().to_string();
    setup.args([&format!("--log-file={path}")]);
    let server = setup.start();
    assert!(server.folder.read("elsewhere").contains("INFO ["));
    server.stop();
}

#[test]
fn what_another_user_has_made_is_not_believed() {
    for (option, kind, why) in [
        ("--pid-file", "file", "belongs to another user"),
        ("--pid-file", "number", "belongs to another user"),
        ("--pid-file", "link", "is a symbolic link"),
        ("--socket", "file", "is no socket"),
        ("--socket", "socket", "belongs to another user"),
        ("--socket", "dead socket", "belongs to another user"),
        ("--log-file", "file", "open: "),
        ("--log-file", "link", "open: "),
    ] {
        let setup = Setup::new();
        let path = shared(&setup.folder).join("file");
        let precious = setup.folder.write("precious", PRECIOUS, 0o600);
        let made = os::as_nobody(|| {
            let listener = kind
                .ends_with("socket")
                .then(|| UnixListener::bind(&path).unwrap());
            match kind {
                "file" => fs::write(&path, "").unwrap(),
                "number" => fs::write(&path, "1\n").unwrap(),
                "link" => symlink(&precious, &path).unwrap(),
                _ => {}
            }
            if !kind.ends_with("socket") {
                let open = fs::Permissions::from_mode(0o666);
                let _ = fs::set_permissions(&path, open);
            }
            listener.filter(|_| kind == "socket")
        });
        let Some(listener) = made else { return };
        let setup = refused(setup, option, &path, why);
        assert_eq!(setup.folder.read("precious"), PRECIOUS, "{option}, {kind}");
        assert!(
            fs::symlink_metadata(&path).is_ok(),
            "{option}, {kind} was removed"
        );
        drop(listener);
    }
}

#[test]
fn a_fifo_in_place_of_the_log_stops_nobody() {
    let server = Server::new();
    server.handler("hello", "printf 'Content-Type: text/plain\\n\\nhello'");
    fs::rename(server.folder.at("log"), server.folder.at("old")).unwrap();
    make_fifo(&server.folder.at("log"));
    server.signal(os::USR1);
    eventually(PATIENCE, "the server says so", || {
        server
            .folder
            .read("old")
            .contains("unable to reopen the log")
    });
    assert_eq!(server.get("/hello").ok(), "hello");
    // Whatever reads the log waits for a writer: there shall be none.
    fs::remove_file(server.folder.at("log")).unwrap();
    server.stop();
}

/// In a folder without the sticky bit another user can put his own socket there. He gets neither a
/// worker nor, at the end, his file removed.
#[test]
fn a_worker_takes_no_orders_from_another_user() {
    let mut setup = Setup::new();
    let folder = shared(&setup.folder);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let path = folder.join("socket");
    setup.args([&format!("--socket={}", path.display()), "--workers=1"]);
    let mut server = setup.start();
    let foreign = os::as_nobody(|| {
        fs::remove_file(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        listener
    });
    let Some(foreign) = foreign else { return };
    os::kill(server.worker_pids()[0], os::KILL);
    let (mut stream, _) = foreign.accept().unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"");
    server.wait_for_log("unable to work: connect: Operation not permitted (EPERM)");
    server.signal(os::TERM);
    server.expect_clean_end();
    assert!(path.exists(), "another user's file was removed");
}

#[test]
fn nobody_else_can_write_what_the_server_makes_whatever_its_umask() {
    let mut setup = Setup::new();
    let log = setup.folder.at("made/too/log").display().to_string();
    setup.args([&format!("--log-file={log}")]);
    let command = setup.command();
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "umask 0; exec \"$0\" \"$@\""]);
    shell.arg(command.get_program()).args(command.get_args());
    let mut child = spawn(shell.stderr(Stdio::null()));
    eventually(PATIENCE, "the server serves", || {
        setup.folder.read("made/too/log").contains("serving ")
    });
    for name in ["pid", "socket", "made", "made/too", "made/too/log"] {
        let mode = fs::metadata(setup.folder.at(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o022, 0, "{name}: {mode:o}");
    }
    assert!(os::kill(child.id(), os::TERM));
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_the_starter_keeps_from_others_stays_so() {
    for daemon in ["", "--daemon"] {
        let mut setup = Setup::new();
        let folder = setup.folder.path().display().to_string();
        let log = format!("--log-file={folder}/made/log");
        setup.args([&log, &format!("--bind=unix:{folder}/http")]);
        if !daemon.is_empty() {
            setup.args([daemon]);
        }
        setup.folder.write(
            "root/umask",
            "#!/bin/sh\necho Content-Type: text/plain\necho\numask\n",
            0o755,
        );
        let command = setup.command();
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "umask 077; exec \"$0\" \"$@\""]);
        shell.arg(command.get_program()).args(command.get_args());
        shell.stderr(Stdio::null()).stdout(Stdio::null());
        let mut child = spawn(&mut shell);
        eventually(PATIENCE, "the server serves", || {
            setup.folder.read("made/log").contains("serving ")
        });
        for name in ["pid", "socket", "http", "made", "made/log"] {
            let mode = fs::metadata(setup.folder.at(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o077, 0, "{daemon} {name}: {mode:o}");
        }
        let mut client = UnixStream::connect(setup.folder.at("http")).unwrap();
        client.write_all(b"GET /umask HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("\r\n\r\n0077\n"), "{answer}");
        let pid: u32 = setup.folder.read("pid").trim().parse().unwrap();
        assert!(os::kill(pid, os::TERM));
        assert!(child.wait().unwrap().success());
        eventually(PATIENCE, "its end", || !os::is_alive(pid));
    }
}
