//! `--check`: each planted fault is named in one line, what is right is not, and the log says the
//! same when a launch fails.

use super::harness::{Server, Setup, can_run, os, run};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::process::Command;

/// Runs `--check`: its exit status and lines.
#[track_caller]
fn check(setup: &Setup) -> (Option<i32>, Vec<String>) {
    let output = run(setup.command().arg("--check"));
    assert!(output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    (
        output.status.code(),
        text.lines().map(str::to_owned).collect(),
    )
}

/// A little ELF program: for this machine or another one, with this loader.
fn elf(machine: u16, loader: &[u8]) -> Vec<u8> {
    let own = fs::read(env!("CARGO_BIN_EXE_caffeine")).unwrap();
    let mut file = own[..64].to_vec();
    let is_64 = own[4] == 2;
    assert!(
        is_64 && own[5] == 1,
        "a test for 64-bit little-endian machines"
    );
    if machine != 0 {
        file[18..20].copy_from_slice(&machine.to_le_bytes());
    }
    file[32..40].copy_from_slice(&64_u64.to_le_bytes());
    file[56..58].copy_from_slice(&1_u16.to_le_bytes());
    file.resize(64 + 56, 0);
    file[64] = 3;
    file[72..80].copy_from_slice(&120_u64.to_le_bytes());
    let length = u64::try_from(loader.len()).unwrap();
    file[96..104].copy_from_slice(&length.to_le_bytes());
    file.extend_from_slice(loader);
    file
}

const HELLO: &str = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello'\n";

/// The machine that a program for another one is built for.
const FOREIGN: (u16, &str) = if cfg!(target_arch = "aarch64") {
    (62, "x86_64")
} else {
    (183, "aarch64")
};

#[test]
fn limits_that_have_no_effect_together_are_told() {
    let mut setup = Setup::new();
    setup.config("max-head = 4K\nmax-spool-total = 1M\n[handler /a]\nmax-body = 2G\n");
    setup.folder.write("root/a", HELLO, 0o755);
    let (status, lines) = check(&setup);
    let expected = [
        "max-body (16M) has no effect beyond max-spool-total (1M); change one of them",
        "max-target (8K) has no effect beyond max-head (4K); change one of them",
        "[handler /a] max-body (2G) has no effect beyond max-spool-total (1M); change one of them",
    ];
    assert_eq!(
        (status, lines),
        (Some(1), expected.map(str::to_owned).into())
    );
}

#[test]
fn each_of_ten_planted_faults_is_named_in_one_line_with_what_to_do() {
    let mut setup = Setup::new();
    setup.config("workers = 2\nprot = 80\n");
    let folder = &setup.folder;
    folder.write("root/good", HELLO, 0o755);
    folder.write("root/1-not-executable", HELLO, 0o644);
    folder.write("root/2-no-line", "echo hello\n", 0o755);
    folder.write("root/3-no-interpreter", "#!/no/such/sh\n", 0o755);
    folder.write("root/4-crlf", "#!/bin/sh\r\necho\r\n", 0o755);
    folder.write("root/5-foreign", elf(FOREIGN.0, b"/lib/ld.so\0"), 0o755);
    folder.write("root/6-no-loader", elf(0, b"/no/such/ld.so\0"), 0o755);
    folder.write("root/7-writable", HELLO, 0o757);
    folder.write("root/8-closed/inside", HELLO, 0o755);
    symlink("nowhere", folder.at("root/9-dangling")).unwrap();
    let closed = folder.at("root/8-closed");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o644)).unwrap();
    let (status, lines) = check(&setup);
    // Else the folder cannot be removed.
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();

    let root = setup.folder.at("root").display().to_string();
    let config = setup.folder.at("caffeine.conf").display().to_string();
    let foreign = format!("was built for {}, which", FOREIGN.1);
    let expected = [
        (
            format!("{config}:2"),
            "unknown key 'prot'; did you mean 'port'?",
        ),
        (format!("{root}/1-not-executable"), "is not executable"),
        (format!("{root}/2-no-line"), "has no #! line"),
        (
            format!("{root}/3-no-interpreter"),
            "needs the interpreter /no/such/sh, which is missing",
        ),
        (format!("{root}/4-crlf"), "has a #! line that ends in CR LF"),
        (format!("{root}/5-foreign"), foreign.as_str()),
        (
            format!("{root}/6-no-loader"),
            "needs the dynamic loader /no/such/ld.so, which is missing",
        ),
        (format!("{root}/7-writable"), "can be changed by every user"),
        (
            format!("{root}/8-closed"),
            "is a folder that the server's user may not search",
        ),
        (
            format!("{root}/9-dangling"),
            "is a symbolic link that leads nowhere",
        ),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (file, what)) in lines.iter().zip(&expected) {
        let start = format!("{file}: {what}");
        assert!(line.starts_with(&start), "{line}\nis not\n{start}");
        assert!(line.contains("; "), "nothing to do: {line}");
    }
    assert_eq!(status, Some(1));
}

#[test]
fn what_is_right_is_no_fault_and_nothing_is_made() {
    let mut setup = Setup::new();
    setup.config("max-body = 1M\n[handler /sub/env]\nmax-body = 2M\n");
    let folder = &setup.folder;
    folder.write("root/hello", HELLO, 0o755);
    folder.write("root/sub/env", "#! /usr/bin/env sh\n", 0o750);
    folder.write("root/sub/nph-x", "#!/bin/sh -e\n", 0o711);
    folder.write("root/.hidden", "data", 0o666);
    folder.write("root/old~", "data", 0o666);
    folder.write("root/caffeine-two.conf", "port = 1\n", 0o644);
    fs::copy(env!("CARGO_BIN_EXE_caffeine"), folder.at("root/compiled")).unwrap();
    symlink("hello", folder.at("root/link")).unwrap();
    symlink("sub", folder.at("root/linked")).unwrap();
    symlink("..", folder.at("root/sub/around")).unwrap();
    let (status, lines) = check(&setup);
    let root = folder.at("root").display().to_string();
    assert_eq!(lines, [format!("no faults in 5 handlers below {root}")]);
    assert_eq!(status, Some(0));
    for name in ["pid", "socket", "log"] {
        assert!(!folder.at(name).exists(), "{name} was made");
    }
}

#[test]
fn check_and_server_agree_on_who_may_write_a_handler() {
    if !os::is_root() {
        eprintln!("skipped: only root can give files away");
        return;
    }
    let server = Server::new();
    let folder = &server.folder;
    let root = folder.at("root").display().to_string();
    let mut setup = Setup::new();
    setup.without("--path").args([&format!("--path={root}")]);
    for (owner, group, mode, reason) in [
        (0, 0, 0o755, None),
        (0, 0, 0o775, None),
        (0, 54_321, 0o755, None),
        (
            0,
            54_321,
            0o775,
            Some("can be changed by group 54321; chmod g-w it"),
        ),
        (
            0,
            0,
            0o757,
            Some("can be changed by every user of this host; chmod o-w it"),
        ),
        (
            1000,
            1000,
            0o555,
            Some("belongs to user 1000, who is not root as the server is; chown it"),
        ),
    ] {
        let file = folder.write("root/hello", HELLO, mode);
        chown(&file, Some(owner), Some(group)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let status = server.get("/hello").status;
        assert_eq!(status, if reason.is_some() { 403 } else { 200 });
        let (found, lines) = check(&setup);
        assert_eq!(found, Some(i32::from(reason.is_some())), "{lines:?}");
        if let Some(reason) = reason {
            let text = &lines[0];
            assert!(
                text.starts_with(&format!("{root}/hello: {reason}")),
                "{text}"
            );
            server.wait_for_log(&format!("refused to run /hello: it {reason}"));
        }
    }
    setup.args(["--allow-writable"]);
    assert_eq!(check(&setup).0, Some(0));
    server.stop();
}

#[test]
fn folders_in_which_others_can_replace_handlers_are_told() {
    if !os::is_root() {
        eprintln!("skipped: only root can give folders away");
        return;
    }
    let setup = Setup::new();
    setup.folder.write("root/sub/hello", HELLO, 0o755);
    let (above, root) = (setup.folder.at(""), setup.folder.at("root"));
    let modes = |mode| fs::set_permissions(&above, fs::Permissions::from_mode(mode)).unwrap();
    // As /tmp is.
    modes(0o1777);
    assert_eq!(check(&setup).0, Some(0));
    modes(0o777);
    chown(root.join("sub"), Some(1000), None).unwrap();
    let (status, lines) = check(&setup);
    modes(0o755);
    assert_eq!((status, lines.len()), (Some(1), 2), "{lines:#?}");
    for (line, (file, what)) in lines.iter().zip([
        (above.components().as_path(), "can be changed by every user"),
        (&root.join("sub"), "belongs to user 1000"),
    ]) {
        assert!(
            line.starts_with(&format!("{}: {what}", file.display())),
            "{line}"
        );
    }
}

#[test]
fn a_path_that_is_not_there_and_a_sandbox_without_its_files_are_told() {
    let mut setup = Setup::new();
    setup.folder.write("root/hello", HELLO, 0o755);
    setup.config("[handler /hello]\nread = /usr, /no/such/library\nwrite = /no/such/data\n");
    let (status, lines) = check(&setup);
    assert_eq!((status, lines.len()), (Some(1), 2), "{lines:#?}");
    for (line, path) in lines.iter().zip(["/no/such/library", "/no/such/data"]) {
        let what = format!("caffeine.conf: has a sandbox with {path}, which cannot be opened");
        assert!(line.contains(&what), "{line}");
    }
    let away = setup.folder.at("root/away");
    setup
        .without("--path")
        .args([&format!("--path={}", away.display())]);
    let (status, lines) = check(&setup);
    assert_eq!(status, Some(1));
    assert!(lines[0].contains("/root/away: is not there"), "{lines:#?}");
    assert!(!away.exists());
}

#[test]
fn a_section_that_names_no_handler_is_told_at_start_and_at_each_reload() {
    let server = Server::start(|setup| {
        setup.folder.write("root/hello", HELLO, 0o755);
        setup.folder.write("root/old~", HELLO, 0o755);
        setup.config("[handler /hello]\n[handler /helo]\n[handler /old~]\n");
    });
    for name in ["/helo", "/old~"] {
        let words = format!(
            "WARN [{}] there is a section [handler {name}] and no",
            server.pid()
        );
        server.wait_for_log(&words);
    }
    assert!(!server.log().contains("[handler /hello]"));
    server
        .folder
        .write("caffeine.conf", "[handler /helas]\n", 0o644);
    server.signal(os::HUP);
    server.wait_for_log("there is a section [handler /helas] and no");
    server.stop();
}

/// One file, its mode, and what is said of it.
const OTHERS: [(&str, &[u8], u32, &str); 9] = [
    ("empty", b"", 0o755, "is empty"),
    (
        "mark",
        b"\xef\xbb\xbf#!/bin/sh\n",
        0o755,
        "has a byte order mark",
    ),
    (
        "bare",
        b"#!\n",
        0o755,
        "has a #! line without an interpreter",
    ),
    (
        "env",
        b"#!/usr/bin/env no-such-program\n",
        0o755,
        "needs no-such-program, which is not in the PATH",
    ),
    (
        "folder",
        b"#!/usr/bin\n",
        0o755,
        "needs the interpreter /usr/bin, which may not be executed",
    ),
    ("data", b"some text\n", 0o644, "is not executable"),
    (
        "short",
        b"\x7fELF\x02\x01",
        0o755,
        "has no #! line and is no compiled program",
    ),
    ("two\nlines", b"", 0o755, "is empty"),
    ("fine", b"#!/bin/sh\n", 0o755, ""),
];

#[test]
fn other_faults_have_words_of_their_own() {
    for (name, bytes, mode, words) in OTHERS {
        let setup = Setup::new();
        setup.folder.write(&format!("root/{name}"), bytes, mode);
        let (status, lines) = check(&setup);
        assert_eq!(lines.len(), 1, "{name}: {lines:?}");
        assert_eq!(status, Some(i32::from(!words.is_empty())), "{name}");
        assert!(lines[0].contains(words), "{name}: {lines:?}");
    }
}

#[test]
fn links_that_lead_out_and_sections_without_a_handler_are_told() {
    let mut setup = Setup::new();
    setup.folder.write("outside", HELLO, 0o755);
    symlink("../outside", setup.folder.at("root/out")).unwrap();
    setup.config("[handler /gone]\nmax-body = 1\nworkers = 1\n");
    let (status, lines) = check(&setup);
    assert_eq!((status, lines.len()), (Some(1), 3), "{lines:#?}");
    assert!(
        lines[0].contains("caffeine.conf:3: workers: cannot stand here"),
        "{lines:#?}"
    );
    assert!(
        lines[1].contains("/out: is a symbolic link that leads out of --path"),
        "{lines:#?}"
    );
    assert!(
        lines[2].contains("has a section [handler /gone]"),
        "{lines:#?}"
    );
    setup.config("follow-symlinks = yes\n");
    assert_eq!(check(&setup).0, Some(0));
}

#[test]
fn places_that_cannot_be_written_and_addresses_that_cannot_be_had_are_told() {
    let mut setup = Setup::new();
    let log = setup.folder.write("file", "", 0o644).join("log");
    setup.args([
        &format!("--log-file={}", log.display()),
        "--pid-file=/no/such/folder/pid",
        "--bind=192.0.2.1",
    ]);
    let (status, lines) = check(&setup);
    assert_eq!((status, lines.len()), (Some(1), 3), "{lines:#?}");
    for (line, part) in lines.iter().zip([
        "192.0.2.1:0: is no address of this machine",
        "/file/log: cannot be written (Not a directory",
        "/no/such/folder: cannot be written (No such file",
    ]) {
        assert!(line.contains(part), "{lines:#?}");
    }
}

#[test]
fn a_running_server_is_no_fault_of_its_own_settings() {
    let server = Server::new();
    server.handler("hello", ":");
    let folder = &server.folder;
    let at = |name: &str| folder.at(name).display().to_string();
    let port = server.port.to_string();
    let mut command = super::harness::command(folder);
    command.args(["--check", "--bind=127.0.0.1", "--port", &port]);
    for (option, name) in [
        ("path", "root"),
        ("socket", "socket"),
        ("pid-file", "pid"),
        ("log-file", "log"),
    ] {
        command.arg(format!("--{option}={}", at(name)));
    }
    let output = run(&mut command);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    server.stop();
}

#[test]
fn the_log_says_the_same_when_a_launch_fails() {
    let server = Server::new();
    let folder = &server.folder;
    for (name, bytes, status) in [
        ("none", b"#!/no/such/sh\n".to_vec(), 500),
        ("crlf", b"#!/bin/sh\r\n".to_vec(), 500),
        ("text", b"echo\n".to_vec(), 500),
        ("foreign", elf(FOREIGN.0, b"/lib/ld.so\0"), 500),
        ("loader", elf(0, b"/no/such/ld.so\0"), 500),
        ("sub/folder", b"#!/usr/bin\n".to_vec(), 403),
    ] {
        folder.write(&format!("root/{name}"), bytes, 0o755);
        assert_eq!(server.get(&format!("/{name}")).status, status, "{name}");
    }
    let mut setup = super::harness::command(folder);
    let output = run(setup.args([
        "--check",
        &format!("--path={}", folder.at("root").display()),
    ]));
    let text = String::from_utf8(output.stdout).unwrap();
    let root = folder.at("root").display().to_string();
    let mut told = 0;
    for line in text.lines().filter(|line| line.starts_with(&root)) {
        let (file, words) = line[root.len()..].split_once(": ").unwrap();
        let log = server.log();
        let of_file = format!("unable to launch {file}: ");
        let said = log.lines().find(|line| line.contains(&of_file)).unwrap();
        assert!(said.contains(words), "{said}\nlacks\n{words}");
        told += 1;
    }
    assert_eq!(told, 6, "{text}");
    server.stop();
}

#[test]
fn handlers_are_looked_at_as_the_user_whom_the_server_becomes() {
    if !os::is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let mut setup = Setup::new();
    setup.folder.write("root/private", HELLO, 0o700);
    setup.folder.write("root/public", HELLO, 0o755);
    setup.folder.write("root/closed/inside", HELLO, 0o755);
    let closed = fs::Permissions::from_mode(0o700);
    fs::set_permissions(setup.folder.at("root/closed"), closed).unwrap();
    assert_eq!(check(&setup).0, Some(0));
    for place in ["socket", "pid-file", "log-file"] {
        setup.args([&format!(
            "--{place}=/tmp/caffeine-check-{}",
            std::process::id()
        )]);
    }
    setup.args(["--user=65534:65534", "--port=81"]);
    let (status, lines) = check(&setup);
    assert_eq!((status, lines.len()), (Some(1), 3), "{lines:#?}");
    for (line, part) in lines.iter().zip([
        "/closed: is a folder that the server's user may not search",
        "/private: may not be executed by the server's user",
        "/private: cannot be looked at (",
    ]) {
        assert!(line.contains(part), "{lines:#?}");
    }
}

/// Runs `--check` as the user nobody, who can be only had by root.
#[test]
fn another_user_is_told_what_only_root_may_do() {
    let mut setpriv = Command::new("setpriv");
    if !os::is_root() || !can_run(setpriv.arg("--version")) {
        eprintln!("skipped: needs root and setpriv(1)");
        return;
    }
    let mut setup = Setup::new();
    setup.copy_program();
    let folder = &setup.folder;
    folder.write("root/private", HELLO, 0o700);
    folder.write("root/unreadable", HELLO, 0o711);
    folder.write("root/closed/inside", HELLO, 0o755);
    fs::set_permissions(folder.at("root/closed"), fs::Permissions::from_mode(0o700)).unwrap();
    // Where pid file, socket and log would be.
    chown(folder.path(), Some(65534), Some(65534)).unwrap();
    let check = setup.command();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.arg(check.get_program()).args(check.get_args());
    command.arg("--check").env("HOME", folder.path());
    let output = run(&mut command);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for (line, part) in lines.iter().zip([
        "/closed: is a folder that the server's user may not search",
        "/private: may not be executed by the server's user",
        "/private: cannot be looked at (",
        "/unreadable: cannot be looked at (",
    ]) {
        assert!(line.contains(part), "{text}");
    }
    assert_eq!(lines.len(), 4, "{text}");
    assert_eq!(output.status.code(), Some(1));
}
