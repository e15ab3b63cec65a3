//! Options, configuration, and starts that fail: one line that names the thing, the value and the
//! way out, and nothing left behind.

use super::harness::{Folder, Server, Setup, command, os, run};
use std::fs;
use std::process::Output;

/// Sees that a start failed with this exit status and one line that holds these parts, and that
/// nothing is left.
#[track_caller]
fn expect_failure(setup: &Setup, output: &Output, code: i32, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("caffeine: "), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    assert!(output.stdout.is_empty());
    assert!(setup.folder.processes().is_empty());
    for file in ["pid", "socket", "http"] {
        assert!(
            !setup.folder.at(file).exists(),
            "{file} is left after: {said}"
        );
    }
}

/// A start with one more option that fails.
#[track_caller]
fn fails_with(args: &[&str], code: i32, parts: &[&str]) {
    let setup = Setup::new();
    let output = run(setup.command().args(args));
    expect_failure(&setup, &output, code, parts);
}

#[test]
fn a_mistake_on_the_command_line_is_named_with_its_value() {
    fails_with(&["--prot=1"], 2, &["--prot", "--port"]);
    fails_with(&["-x"], 2, &["-x"]);
    fails_with(&["here"], 2, &["here"]);
    fails_with(&["--port=80"], 2, &["--port", "twice"]);
    fails_with(&["--workers"], 2, &["--workers", "value"]);
    fails_with(&["--workers="], 2, &["--workers"]);
    fails_with(&["--workers=many"], 2, &["--workers", "many"]);
    fails_with(&["--workers", "0"], 2, &["--workers", "0"]);
    fails_with(&["--workers=99999"], 2, &["--workers", "99999"]);
    fails_with(&["--max-body=1X"], 2, &["--max-body", "1X"]);
    fails_with(&["--head-timeout=soon"], 2, &["--head-timeout", "soon"]);
    fails_with(&["--log-level=LOUD"], 2, &["--log-level", "LOUD"]);
    fails_with(&["--bind=nowhere"], 2, &["--bind", "nowhere"]);
    fails_with(&["--daemon=yes"], 2, &["--daemon", "yes"]);
    fails_with(
        &["--workers=9", "--max-workers=8"],
        2,
        &["workers", "9", "8"],
    );
    fails_with(
        &["--config=/no/such/file"],
        2,
        &["--config", "/no/such/file"],
    );
    fails_with(&["--log", "--version"], 2, &["--log", "--version"]);
}

#[test]
fn values_are_taken_after_a_space_or_an_equals_sign() {
    let setup = {
        let mut setup = Setup::new();
        setup.without("--port").without("--bind");
        setup
    };
    for args in [["--port", "99999"].as_slice(), &["--port=99999"]] {
        let output = run(setup.command().args(args));
        expect_failure(&setup, &output, 2, &["--port", "99999"]);
    }
}

/// A start that the system refuses, with the option that is at fault.
#[track_caller]
fn refused(prepare: impl FnOnce(&mut Setup) -> String, option: &str) {
    let mut setup = Setup::new();
    let value = prepare(&mut setup);
    setup.args([&format!("{option}={value}")]);
    let output = setup.run();
    expect_failure(&setup, &output, 1, &[option, &value]);
    // The starting command of a daemon says the same.
    setup.args(["--daemon"]);
    let output = setup.run();
    expect_failure(&setup, &output, 1, &[option, &value]);
}

#[test]
fn what_the_system_refuses_is_named_with_the_option_to_change() {
    refused(
        |s| s.folder.write("file", "", 0o644).display().to_string(),
        "--path",
    );
    refused(
        |s| {
            fs::create_dir(s.folder.at("folder")).unwrap();
            s.folder.at("folder").display().to_string()
        },
        "--log-file",
    );
    refused(
        |s| s.folder.write("file", "text", 0o644).display().to_string(),
        "--socket",
    );
    refused(
        |s| s.folder.at("no/folder/socket").display().to_string(),
        "--socket",
    );
    refused(
        |s| s.folder.at("no/folder/pid").display().to_string(),
        "--pid-file",
    );
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let mut setup = Setup::new();
    let path = setup.folder.write("precious", "text", 0o644);
    setup.args([&format!("--socket={}", path.display())]);
    assert_eq!(setup.run().status.code(), Some(1));
    assert_eq!(setup.folder.read("precious"), "text");
}

#[test]
fn a_link_in_place_of_the_pid_file_is_not_followed() {
    let mut setup = Setup::new();
    setup.folder.write("precious", "text", 0o644);
    std::os::unix::fs::symlink("precious", setup.folder.at("link")).unwrap();
    let path = setup.folder.at("link").display().to_string();
    setup.args([&format!("--pid-file={path}")]);
    let output = setup.run();
    expect_failure(&setup, &output, 1, &["--pid-file", &path]);
    assert_eq!(setup.folder.read("precious"), "text");
}

#[test]
fn a_socket_path_that_is_too_long_says_how_long_it_may_be() {
    let long = "x".repeat(120);
    let mut setup = Setup::new();
    let path = setup.folder.at(&long).display().to_string();
    setup.args([&format!("--socket={path}")]);
    let output = setup.run();
    expect_failure(&setup, &output, 2, &["--socket", "107"]);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    let mut setup = Setup::new();
    setup.args([&format!("--port={port}")]);
    let output = setup.run();
    expect_failure(&setup, &output, 1, &[&port, "--port"]);
}

#[test]
fn a_privileged_port_is_refused_with_a_way_out() {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if os::is_root() || first.is_ok_and(|port| port.trim().parse().unwrap_or(1024) <= 81) {
        return;
    }
    let mut setup = Setup::new();
    setup.args(["--port=81"]);
    let output = setup.run();
    expect_failure(&setup, &output, 1, &["81", "--port"]);
}

#[test]
fn a_mistake_in_the_configuration_is_named_with_file_line_and_key() {
    for (text, line, part) in [
        ("workers = 2\nprot = 80\n", 2, "prot"),
        ("# comment\n\nworkers = many\n", 3, "many"),
        ("workers\n", 1, "="),
        ("workers = 1\nworkers = 2\n", 2, "workers"),
        ("[handler x]\n", 1, "handler"),
        ("[handler /x]\nport = 80\n", 2, "port"),
        ("[handler /x]\n[handler /x]\n", 2, "/x"),
        ("\nerror-page 404 = /missing\n", 2, "error-page"),
        ("\nerror-page 404 = /missing\n", 2, "/missing"),
        ("error-page 404 = /dev/zero\n", 1, "64K"),
    ] {
        let mut setup = Setup::new();
        setup.config(text);
        let output = setup.run();
        let place = format!("caffeine.conf:{line}:");
        expect_failure(&setup, &output, 2, &[&place, part]);
    }
}

#[test]
fn the_command_line_overrides_the_configuration() {
    let server = Server::start(|setup| {
        setup.config("workers = 3\nmax-body = 10\nenv SHOWN = yes\n");
        setup.args(["--workers=2"]);
    });
    assert_eq!(server.worker_pids().len(), 2);
    server.handler(
        "env",
        "printf 'Content-Type: text/plain\\n\\n%s' \"$SHOWN\"",
    );
    let mut client = server.connect();
    assert_eq!(client.get("/env").ok(), "yes");
    assert_eq!(client.post("/env", b"more than ten").status, 413);
    server.stop();
}

#[test]
fn the_configuration_and_the_handlers_are_found_in_the_home_folder() {
    let mut setup = Setup::new();
    setup.without("--path").without("--log-file");
    setup
        .folder
        .write(".config/caffeine/caffeine.conf", "workers = 1\n", 0o644);
    let server = setup.start();
    server.folder.write(
        ".config/caffeine/hello",
        "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\nhello'\n",
        0o755,
    );
    assert_eq!(server.worker_pids().len(), 1);
    let mut client = server.connect();
    assert_eq!(client.get("/hello").ok(), "hello");
    assert_eq!(client.get("/caffeine.conf").status, 404);
    assert!(
        server
            .folder
            .read(".local/share/caffeine/caffeine.log")
            .contains("INFO [")
    );
    server.stop();
}

#[test]
fn help_and_version_print_and_end() {
    let folder = Folder::new();
    for (args, part) in [
        ("--help", "--max-connections-per-address"),
        ("-h", "--daemon"),
        ("--version", env!("CARGO_PKG_VERSION")),
        ("-V", "caffeine "),
    ] {
        let output = run(command(&folder).arg(args));
        assert_eq!(output.status.code(), Some(0), "{args}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(part), "{args}: {text}");
        assert!(output.stderr.is_empty(), "{args}");
    }
}

#[test]
fn a_log_that_is_not_there_is_a_clear_message() {
    let folder = Folder::new();
    let output = run(command(&folder).arg("--log"));
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let path = folder.at(".local/share/caffeine/caffeine.log");
    assert!(said.contains(&path.display().to_string()), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn the_log_level_decides_what_is_logged() {
    let server = Server::with(["--log-level=warn"]);
    server.handler(
        "hello",
        "echo oops >&2; printf 'Content-Type: text/plain\\n\\nhello'",
    );
    assert_eq!(server.get("/hello").ok(), "hello");
    server.wait_for_log("oops");
    assert!(!server.log().contains("INFO ["), "{}", server.log());
    server.stop();
}
