//! A client is free when its response is complete, whatever its handler does then; the worker stays with
//! the handler, which keeps its limits.

use super::harness::{Client, PATIENCE, Server, eventually, noise, os, seccomp};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// Handlers end when the file `go` is there, or after longer than any test waits.
const WORKS_ON: &str = "echo $$ >> begun; i=0; while [ ! -e go ] && [ $i -lt 3000 ]; do sleep 0.01; i=$((i+1)); done; echo x >> done";

fn works_on(head: &str, then: &str) -> String {
    format!("printf '{head}'\n{then}\n{WORKS_ON}\n")
}

fn ask(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: test\r\n\r\n")
}

#[test]
fn the_next_request_does_not_wait_for_a_handler_whose_response_is_complete() {
    let server = Server::with(["--workers=2", "--max-workers=20"]);
    server.handler("hello", "printf 'Content-Type: text/plain\\n\\nhello'");
    let text = "Content-Type: text/plain\\n";
    let stream =
        "exec 3>&1; (while [ ! -e go ]; do printf 'data: x\\n\\n' >&3; sleep 0.01; done) &";
    let cases = [
        ("GET", "length", format!("{text}Content-Length: 2\\n\\nok"), "", 200, "ok"),
        ("GET", "closed", format!("{text}\\nok"), "exec >&- 2>&-", 200, "ok"),
        ("GET", "s304", "Status: 304\\nETag: \"a\"\\n\\n".into(), "", 304, ""),
        ("GET", "s204", "Status: 204\\n\\n".into(), "", 204, ""),
        ("GET", "elsewhere", "Location: http://localhost/\\n\\n".into(), "", 302, ""),
        ("GET", "moved", "Status: 301 Moved\\nLocation: http://localhost/\\n\\n".into(), "", 301, ""),
        (
            "GET",
            "chunks",
            "HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n2\\r\\nok\\r\\n0\\r\\n\\r\\n".into(),
            "",
            200,
            "ok",
        ),
        ("HEAD", "stream", "Content-Type: text/event-stream\\n\\n".into(), stream, 200, ""),
    ];
    for (method, name, head, then, status, body) in cases {
        server.handler(name, &works_on(&head, then));
        let mut client = server.connect();
        client.send(ask(method, &format!("/{name}")));
        let response = match method {
            "HEAD" => client.response_to_head(),
            _ => client.response(),
        };
        assert!(response.is_whole && !response.says_close(), "{name}");
        assert_eq!(
            (response.status, response.text().as_str()),
            (status, body),
            "{name}"
        );
        assert_eq!(client.get("/hello").ok(), "hello", "{name}");
        assert!(!server.folder.at("root/done").exists(), "{name} has waited");
    }
    eventually(PATIENCE, "each worker stays with its handler", || {
        server.status_of("busy") == "8"
    });
    server.file("go", "", 0o644);
    eventually(PATIENCE, "all have ended by themselves", || {
        server.read("done").lines().count() == 8
    });
    eventually(PATIENCE, "their workers are free", || {
        server.status_of("busy") == "0"
    });
    let receipts = server
        .log()
        .lines()
        .filter(|l| l.contains(" answered="))
        .count();
    assert_eq!(receipts, 8, "{}", server.log());
    server.stop();
}

#[test]
fn a_handler_keeps_its_limits_after_its_response() {
    let server = Server::with(["--workers=2", "--handler-timeout=1s", "--kill-grace=200ms"]);
    let head = "Content-Type: text/plain\\nContent-Length: 2\\n\\nok";
    server.handler(
        "long",
        &works_on(
            head,
            "(setsid sleep 600 & echo $! > left); trap '' TERM; echo said >&2",
        ),
    );
    server.handler("endless", &works_on(head, "exec cat /dev/zero"));
    let mut client = server.connect();
    for (path, words) in [
        (
            "/long",
            "/long: over its time limit after its client was let go, ended",
        ),
        (
            "/endless",
            "/endless: printed too much after its client was let go, ended",
        ),
    ] {
        assert_eq!(client.get(path).ok(), "ok");
        server.wait_for_log(words);
    }
    server.handler("dies", &format!("printf '{head}'; sleep 0.1; kill -9 $$"));
    assert_eq!(client.get("/dies").ok(), "ok");
    server.wait_for_log("/dies: killed by signal 9 after its response");
    server.wait_for_log("stderr: said");
    let left = server.wait_for_line("left").parse().unwrap();
    eventually(PATIENCE, "nothing of it is left", || !os::is_alive(left));
    eventually(PATIENCE, "the workers are free", || {
        server.status_of("busy") == "0"
    });
    server.stop();
}

/// The end of a pipe would tell it that this was all.
#[test]
fn a_handler_whose_body_cannot_be_read_on_is_ended_and_sees_no_end_of_it() {
    let server = Server::start(|setup| {
        let config = "max-spool-memory = 64K\nkill-grace = 200ms\n[handler /job]\nstdin = pipe\n";
        setup.config(config);
        setup.deny(seccomp::READ_BEYOND_2_MIB, libc::EIO);
    });
    let head = "Content-Type: text/plain\\nContent-Length: 2\\n\\nok";
    let reads_on = "trap '' TERM; while [ ! -e go ]; do sleep 0.01; done; cat > body; echo x > all";
    server.handler("job", &format!("printf '{head}'\n{reads_on}"));
    let body = noise(3 << 20);
    assert_eq!(server.connect().post("/job", &body).ok(), "ok");
    server.file("go", "", 0o644);
    eventually(PATIENCE, "it is over", || {
        server.log().contains(" answered=")
    });
    assert!(!server.folder.at("root/all").exists(), "it has seen an end");
    server.wait_for_log("/job: unable to feed the rest of its body after its client was let go: ");
    server.stop();
}

#[test]
fn a_handler_that_runs_on_keeps_its_place_under_max_concurrent() {
    let server = Server::with(["--workers=3", "--max-workers=3", "--max-concurrent=1"]);
    let head = "Content-Type: text/plain\\nContent-Length: 2\\n\\nok";
    server.handler("one", &works_on(head, ""));
    let mut first = server.connect();
    assert_eq!(first.get("/one").ok(), "ok");
    let mut second = server.connect();
    second.send(ask("GET", "/one"));
    eventually(PATIENCE, "it is held", || server.status_of("held") == "1");
    server.file("go", "", 0o644);
    assert_eq!(second.response().ok(), "ok");
    server.stop();
}

#[test]
fn a_strict_exit_status_is_waited_for() {
    let server = Server::start(|setup| {
        setup.config("[handler /strict]\nexit-status = strict\n");
    });
    let head = "Content-Type: text/plain\\nContent-Length: 2\\n\\nok";
    server.handler("strict", &format!("{}exit 3", works_on(head, "")));
    let mut client = server.connect();
    client.send(ask("GET", "/strict"));
    server.wait_for_line("begun");
    server.file("go", "", 0o644);
    assert_eq!(client.response().status, 502);
    server.stop();
}

#[test]
fn a_server_that_stops_waits_for_a_handler_that_runs_on() {
    let server = Server::new();
    let head = "Content-Type: text/plain\\nContent-Length: 2\\n\\nok";
    server.handler("job", &works_on(head, ""));
    assert_eq!(server.get("/job").ok(), "ok");
    server.signal(os::TERM);
    server.wait_for_log("stopping: ");
    eventually(PATIENCE, "nobody is connected", || {
        server.status_of("connections") == "0"
    });
    server.file("go", "", 0o644);
    server.wait_for_line("done");
    server.stop();
}

#[test]
fn a_worker_that_dies_with_a_handler_that_runs_on_takes_it_along_and_nothing_else() {
    let server = Server::with(["--workers=1", "--max-workers=1"]);
    let head = "Content-Type: text/plain\\nContent-Length: 2\\n\\nok";
    server.handler("job", &works_on(head, ""));
    server.handler("hello", "printf 'Content-Type: text/plain\\n\\nhello'");
    let mut client = server.connect();
    assert_eq!(client.get("/job").ok(), "ok");
    let job = server.wait_for_line("begun").parse().unwrap();
    eventually(PATIENCE, "its client is idle", || {
        server.status_of("idle") == "1"
    });
    assert!(os::kill(server.worker_pids()[0], os::KILL));
    server.wait_for_log("while its handler ran on after its response");
    eventually(PATIENCE, "it is gone", || !os::is_alive(job));
    assert_eq!(client.get("/hello").ok(), "hello", "on the same connection");
    server.stop();
}

/// Over a Unix domain socket a close is seen at once, and hides nothing that was sent before it.
#[test]
fn what_a_unix_client_asks_for_before_it_closes_is_run() {
    let mut server = Server::start(|setup| {
        let bind = format!("--bind=unix:{}", setup.folder.at("http").display());
        setup.args([&bind, "--half-close=serve"]);
    });
    server.handler("hook", "cat > body; echo done >> runs");
    let connect = || UnixStream::connect(server.folder.at("http")).unwrap();
    let post = "POST /hook HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let runs = |expected: usize| {
        eventually(PATIENCE, "it has run", || {
            server.read("runs").lines().count() == expected
        });
        assert_eq!(server.read("body"), "hello");
    };
    connect().write_all(post.as_bytes()).unwrap();
    runs(1);
    let mut client = connect();
    let (start, rest) = post.split_at(50);
    client.write_all(start.as_bytes()).unwrap();
    client.write_all(rest.as_bytes()).unwrap();
    drop(client);
    runs(2);
    // On a connection that was kept, too.
    server.handler(
        "hello",
        "printf 'Content-Type: text/plain\\nContent-Length: 5\\n\\nhello'",
    );
    let mut client = connect();
    client
        .write_all(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        let mut byte = [0];
        assert_eq!(client.read(&mut byte).unwrap(), 1);
        answer.extend(byte);
    }
    // The worker may still wait for the end of the handler, and a close is a good-bye to that request then.
    server.wait_for_log("\"GET /hello ");
    client.write_all(post.as_bytes()).unwrap();
    drop(client);
    runs(3);
    // Half of one is none.
    connect().write_all(start.as_bytes()).unwrap();
    connect().write_all(post.as_bytes()).unwrap();
    runs(4);
    // Whoever is run is waited for.
    server.signal(os::TERM);
    assert_eq!(server.wait().code(), Some(0));
    assert_eq!(server.read("runs").lines().count(), 4);
}

/// The parent sees the last bytes of the request and the reset at once.
#[test]
fn what_a_client_has_sent_before_its_reset_is_run_where_that_may_not_end_it() {
    let server = Server::start(|setup| {
        setup.config("[handler /hook]\nhalf-close = serve\n");
    });
    server.handler("hook", "cat > body; echo done >> runs");
    server.handler("other", "echo other >> runs");
    server.handler("hello", "printf 'Content-Type: text/plain\\n\\nhello'");
    let post =
        |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    let reset_after = |mut client: Client, last: &str| {
        os::stop(server.pid());
        client.send(last);
        os::reset_on_close(&client.stream);
        drop(client);
        assert!(os::kill(server.pid(), os::CONT));
    };
    let mut kept = server.connect();
    assert_eq!(kept.get("/hello").ok(), "hello");
    reset_after(kept, &post("/hook"));
    server.wait_for_line("runs");
    let begun = |path: &str| {
        let post = post(path);
        let (start, rest) = post.split_at(post.len() - 2);
        let mut client = server.connect();
        client.send(start);
        eventually(PATIENCE, "its body is waited for", || {
            server.status_of("spooled") != "0"
        });
        (client, rest.to_string())
    };
    for path in ["/other", "/hook"] {
        let (client, rest) = begun(path);
        reset_after(client, &rest);
        eventually(PATIENCE, "it is over", || {
            server.status_of("spooled") == "0"
        });
    }
    eventually(PATIENCE, "it has run", || {
        server
            .read("runs")
            .lines()
            .filter(|line| *line == "done")
            .count()
            == 2
    });
    assert_eq!(server.read("body"), "hello");
    server.stop();
}
