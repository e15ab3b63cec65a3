//! What the client gets when something is wrong, and what the log says then.

use super::harness::{Client, Response, Server, eventually, eventually_none, os};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HELLO: &str = "printf 'Content-Type: text/plain\\n\\nhello'";

#[test]
fn a_bad_head_is_refused_with_its_status_and_the_connection_ends() {
    let server = Server::new();
    server.handler("hello", HELLO);
    let long = "x".repeat(9000);
    let huge = format!("X: {}\r\n", "y".repeat(4000)).repeat(5);
    let many = "X: y\r\n".repeat(101);
    let fields = |lines: &str| format!("POST /hello HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    for (request, status) in [
        ("\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("hello\r\n\r\n".to_owned(), 400),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /hello HTTP/1.1\r\n\r\n".to_owned(), 400),
        (
            "GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
            400,
        ),
        ("GET /hello HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), 400),
        ("GET /hello HTTP/1.1\nHost: a\n\n".to_owned(), 400),
        ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /../x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET /hello HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), 505),
        (format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), 414),
        ("TRACE /hello HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 501),
        (fields(&huge), 431),
        (fields(&many), 431),
        (fields("X : y\r\n"), 400),
        (fields("X: y\r\n z\r\n"), 400),
        (fields("X: a\rb\r\n"), 400),
        (fields("Content-Length: x\r\n"), 400),
        (fields("Content-Length: -1\r\n"), 400),
        (fields("Content-Length: 1\r\nContent-Length: 2\r\n"), 400),
        (
            fields("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
            400,
        ),
        (fields("Transfer-Encoding: gzip\r\n"), 501),
        (fields("Transfer-Encoding: chunked\r\n") + "x\r\n", 400),
        (fields("Content-Length: 99999999\r\n"), 413),
        (
            fields("Transfer-Encoding: chunked\r\n") + "1000001\r\nx",
            413,
        ),
        (
            fields("Transfer-Encoding: chunked\r\n") + "ffffffffffffffff\r\nhello",
            413,
        ),
        (fields("Expect: tea\r\n"), 417),
    ] {
        let mut client = server.connect();
        client.send(&request);
        let response = client.response();
        let shown = &request[..request.len().min(60)];
        assert_eq!(response.status, status, "{shown:?}: {}", response.head);
        assert!(response.says_close(), "{shown:?}: {}", response.head);
        assert!(response.body.len() < 100, "{shown:?}: {}", response.text());
        client.expect_closed();
    }
    assert_eq!(server.get("/hello").ok(), "hello");
    server.stop();
}

#[test]
fn what_is_no_handler_is_not_found_or_forbidden_and_the_connection_is_kept() {
    let server = Server::start(|setup| {
        let config = setup
            .folder
            .write("root/sub/site.conf", "workers = 2\n", 0o755);
        setup.args([&format!("--config={}", config.display())]);
    });
    server.handler("hello", HELLO);
    server.file("data.txt", "secret", 0o644);
    server.handler(".hidden", HELLO);
    server.handler("old~", HELLO);
    server.handler("old.bak", HELLO);
    server.handler("sub/run", HELLO);
    // Configuration of this server and of others.
    for name in [
        "caffeine.conf",
        "sub/caffeine.conf",
        "sub/caffeine-two.conf",
    ] {
        server.handler(name, HELLO);
    }
    server.folder.write("outside", "#!/bin/sh\n", 0o755);
    std::os::unix::fs::symlink("../outside", server.folder.at("root/link")).unwrap();
    let mut client = server.connect();
    for (path, status) in [
        ("/nothing", 404),
        ("/hello%2fx", 404),
        ("/data.txt", 403),
        ("/.hidden", 404),
        ("/%2ehidden", 404),
        ("/old~", 404),
        ("/old.bak", 404),
        ("/caffeine.conf", 404),
        ("/sub/caffeine.conf", 404),
        ("/sub/caffeine-two.conf", 404),
        ("/sub/site.conf", 404),
        ("/sub/run", 200),
        ("/sub", 404),
        ("/sub/", 404),
        ("/link", 404),
        ("/hello", 200),
    ] {
        let response = client.get(path);
        assert_eq!(response.status, status, "{path}");
        assert!(!response.text().contains("secret"), "{path}");
        assert!(!response.says_close(), "{path}");
    }
    let response = client.post("/nothing", b"a body that nobody wants");
    assert_eq!(response.status, 404);
    assert_eq!(client.get("/hello").ok(), "hello");
}

#[test]
fn a_handler_without_a_response_is_a_bad_gateway_and_the_log_says_why() {
    let server = Server::with(["--kill-grace=100ms"]);
    let mut client = server.connect();
    for (name, script, reason) in [
        ("silent", "exit 0", "exit status 0"),
        ("failing", "exit 3", "exit status 3"),
        (
            "garbage",
            "echo 'Traceback (most recent call last):'; echo; echo",
            "Traceback",
        ),
        ("crash", "kill -SEGV $$", "killed by signal 11"),
        (
            "half",
            "printf 'Content-Type: text/plain\\n'",
            "/half: not a response",
        ),
        ("bytes", "head -c 70000 /dev/zero", "/bytes: not a response"),
        (
            "status",
            "printf 'Status: fine\\n\\n'",
            "/status: not a response",
        ),
    ] {
        server.handler(name, script);
        let response = client.get(&format!("/{name}"));
        assert_eq!(response.status, 502, "{name}: {}", response.text());
        assert!(!response.says_close(), "{name}");
        server.wait_for_log(reason);
    }
    server.handler("hello", HELLO);
    assert_eq!(client.get("/hello").ok(), "hello");
    server.stop();
}

/// A response that began to leave before its handler failed is cut; before that it is 502. Which
/// of the two it is depends on the machine's speed.
#[track_caller]
fn expect_visible_failure(response: &Response) {
    assert!(response.status == 502 || !response.is_whole, "{response:?}");
}

#[test]
fn a_handler_that_fails_after_a_short_response_is_seen_to_fail() {
    let server = Server::new();
    for (name, script, reason) in [
        (
            "early",
            "printf 'Content-Type: text/plain\\n\\nx'; kill -KILL $$",
            "killed by signal 9",
        ),
        (
            "length",
            "printf 'Content-Type: a/b\\nContent-Length: 9\\n\\nx'",
            "/length: its response is incomplete",
        ),
    ] {
        server.handler(name, script);
        expect_visible_failure(&server.get(&format!("/{name}")));
        server.wait_for_log(reason);
    }
}

#[test]
fn a_non_zero_exit_after_a_response_counts_only_where_it_is_strict() {
    let server = Server::start(|setup| {
        setup.config("[handler /strict]\nexit-status = strict\n");
    });
    for name in ["lenient", "strict"] {
        server.handler(name, "printf 'Content-Type: text/plain\\n\\nhello'; exit 1");
    }
    assert_eq!(server.get("/lenient").ok(), "hello");
    server.wait_for_log("/lenient: exit status 1 after its response");
    expect_visible_failure(&server.get("/strict"));
}

#[test]
fn a_program_that_cannot_be_started_is_a_server_error_with_its_reason_in_the_log() {
    let server = Server::new();
    server.file("lost", "#!/no/such/interpreter\n", 0o755);
    server.file("dos", "#!/bin/sh\r\necho\r\n", 0o755);
    server.file("headless", "echo Content-Type: text/plain\necho\n", 0o755);
    server.file("empty", "", 0o755);
    let mut client = server.connect();
    for (name, reason) in [
        ("lost", "interpreter"),
        ("dos", "CR LF"),
        ("headless", "no #! line"),
        ("empty", "is empty"),
    ] {
        let response = client.get(&format!("/{name}"));
        assert_eq!(response.status, 500, "{name}");
        assert!(!response.says_close(), "{name}");
        server.wait_for_log(&format!("unable to launch /{name}"));
        let log = server.log();
        let line = log.lines().find(|line| line.contains(&format!("/{name}:")));
        assert!(line.is_some_and(|line| line.contains(reason)), "{log}");
    }
}

#[test]
fn a_handler_over_its_time_is_ended_with_everything_that_it_started() {
    let server = Server::with(["--handler-timeout=300ms", "--kill-grace=100ms"]);
    server.handler("slow", "sleep 100 & sleep 100");
    server.handler("deaf", "trap '' TERM; while :; do sleep 100; done");
    server.handler(
        "streaming",
        "printf 'Content-Type: text/plain\\n\\nhello'; sleep 100",
    );
    let workers = server.worker_pids().len() + 1;
    let mut client = server.connect();
    for name in ["slow", "deaf"] {
        let response = client.get(&format!("/{name}"));
        assert_eq!(response.status, 504, "{name}");
        assert!(!response.says_close(), "{name}");
        server.wait_for_log(&format!("/{name}: over its time limit"));
    }
    let response = client.get("/streaming");
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    assert!(!response.is_whole, "a cut response must not look complete");
    client.expect_closed();
    eventually_none(SECOND, "handlers are left", || {
        let all = server.folder.processes();
        if all.len() == workers {
            Vec::new()
        } else {
            all
        }
    });
    server.stop();
}

/// Asks in each way that frames a response differently.
fn cut_in_every_framing(server: &Server, path: &str) {
    for version in ["1.1", "1.0"] {
        let mut client = server.connect();
        client.send(format!("GET {path} HTTP/{version}\r\nHost: test\r\n\r\n"));
        let response = client.response();
        assert_eq!(response.status, 200, "{path}");
        assert!(
            !response.is_whole,
            "{path} by HTTP/{version} looks complete"
        );
        // Many take the end of a connection without an error for the end of any response.
        assert!(client.was_reset, "{path} by HTTP/{version} ends by a FIN");
    }
}

#[test]
fn a_handler_that_dies_in_its_response_leaves_it_visibly_cut() {
    let server = Server::new();
    let begin = "printf 'Content-Type: text/plain\\n\\n'; head -c 200000 /dev/zero; sleep 0.05;";
    server.handler("killed", &format!("{begin} kill -KILL $$"));
    server.handler(
        "short",
        "printf 'Content-Type: text/plain\\nContent-Length: 300000\\n\\n'; head -c 200000 /dev/zero",
    );
    server.handler(
        "broken",
        "printf 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n20000\\r\\n'
         head -c 140000 /dev/zero; sleep 0.05; printf nonsense",
    );
    for path in ["/killed", "/short", "/broken"] {
        cut_in_every_framing(&server, path);
    }
    server.stop();
}

#[test]
fn all_that_there_is_of_a_cut_response_arrives_before_the_reset() {
    const DECLARED: usize = 9_000_000;
    let server = Server::with(["--workers=1"]);
    server.handler("hello", HELLO);
    // Less than the connection holds, and more, so that the rest waits in a spool.
    for printed in [150_000, 6_000_000] {
        let head = format!("printf 'Content-Type: text/plain\\nContent-Length: {DECLARED}\\n\\n'");
        let name = format!("short-{printed}");
        server.handler(&name, &format!("{head}; exec head -c {printed} /dev/zero"));
        let mut client = server.connect();
        os::set_receive_buffer(&client.stream, 64 * 1024);
        client.send(format!("GET /{name} HTTP/1.1\r\nHost: test\r\n\r\n"));
        server.wait_for_log(&format!("GET /{name}"));
        assert_eq!(server.get("/hello").ok(), "hello");
        let response = client.response();
        assert_eq!(response.body.len(), printed);
        assert!(client.was_reset && !response.is_whole, "{printed}");
    }
    server.stop();
}

#[test]
fn an_nph_handler_that_writes_nothing_is_a_bad_gateway() {
    let server = Server::with(["--handler-timeout=500ms", "--kill-grace=100ms"]);
    server.handler("hello", HELLO);
    for (script, status) in [("exit 0", 502), ("kill -KILL $$", 502), ("sleep 9", 504)] {
        server.handler("nph-silent", script);
        let mut client = server.connect();
        // What was written for others before is not its own.
        assert_eq!(client.get("/hello").ok(), "hello");
        let response = client.get("/nph-silent");
        assert_eq!(response.status, status, "{script}");
        assert!(response.says_close(), "{script}");
        client.expect_closed();
    }
    server.handler("nph-short", "printf x");
    let mut client = server.connect();
    assert_eq!(client.get("/hello").ok(), "hello");
    client.send("GET /nph-short HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.rest(), b"x");
    server.wait_for_log("/nph-silent: not a response: ");
    server.stop();
}

#[test]
fn more_than_the_declared_length_is_dropped_and_logged() {
    let server = Server::new();
    server.handler(
        "long",
        "printf 'Content-Type: text/plain\\nContent-Length: 5\\n\\nhello, world'",
    );
    let mut client = server.connect();
    assert_eq!(client.get("/long").ok(), "hello");
    server.wait_for_log("/long: printed more than its Content-Length");
    assert_eq!(client.get("/long").ok(), "hello");
}

#[test]
fn complaints_of_a_handler_go_to_the_log_line_by_line() {
    let server = Server::new();
    server.handler(
        "loud",
        &format!("echo one >&2; printf 'two\\033[2J' >&2; {HELLO}"),
    );
    server.handler(
        "flood",
        &format!("head -c 300000 /dev/zero | tr '\\0' x >&2; {HELLO}"),
    );
    let mut client = server.connect();
    assert_eq!(client.get("/loud").ok(), "hello");
    server.wait_for_log("stderr: one");
    server.wait_for_log("stderr: two\\x1b[2J");
    assert_eq!(client.get("/flood").ok(), "hello");
    server.wait_for_log("the rest is dropped");
    assert!(server.log().len() < 100_000);
}

#[test]
fn a_head_that_is_too_slow_gets_408_and_silence_gets_nothing() {
    let server = Server::with(["--head-timeout=300ms"]);
    let mut slow = server.connect();
    slow.send("GET / HTTP/1.1\r\nHost:");
    let mut silent = server.connect();
    let response = slow.response();
    assert_eq!(response.status, 408);
    assert!(response.says_close());
    slow.expect_closed();
    let rest = String::from_utf8(silent.rest()).unwrap();
    assert!(
        rest.is_empty() || rest.starts_with("HTTP/1.1 408"),
        "{rest}"
    );
}

#[test]
fn a_body_that_stops_gets_408() {
    let server = Server::with(["--progress-timeout=300ms"]);
    server.handler("hello", HELLO);
    let mut client = server.connect();
    client.send("POST /hello HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhalf");
    let response = client.response();
    assert_eq!(response.status, 408);
    client.expect_closed();
}

#[test]
fn a_client_that_leaves_in_its_body_starts_nothing() {
    let server = Server::new();
    server.handler("count", &format!("echo x >> runs; {HELLO}"));
    for part in ["", "half"] {
        let mut client = server.connect();
        client.send(format!(
            "POST /count HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n{part}"
        ));
        drop(client);
    }
    assert_eq!(server.get("/count").ok(), "hello");
    eventually(SECOND, "connections are closed", || {
        let links = os::descriptors(server.pid());
        let sockets = links.iter().filter(|link| link.starts_with("socket:"));
        // The listener, the control socket and the channels.
        sockets.count() <= 2 + server.worker_pids().len()
    });
    assert_eq!(server.read("runs"), "x\n");
}

#[test]
fn errors_have_the_pages_that_the_configuration_names() {
    let large = "x".repeat(64 * 1024);
    let server = Server::start(|setup| {
        let page = setup.folder.write("404.html", "<p>not here", 0o644);
        let plain = setup.folder.write("502.txt", &large, 0o644);
        let (page, plain) = (page.display(), plain.display());
        setup.config(&format!(
            "error-page 404 = {page}\nerror-page 502 = {plain}\n"
        ));
    });
    server.handler("own", "printf 'Status: 404\\n\\nmine'");
    server.handler("bad", "echo nonsense");
    // What happens to the file later changes nothing.
    std::fs::remove_file(server.folder.at("404.html")).unwrap();
    let mut client = server.connect();
    for _ in 0..3 {
        let response = client.get("/nothing");
        assert_eq!(
            (response.status, response.text().as_str()),
            (404, "<p>not here")
        );
        assert_eq!(response.field("Content-Type").unwrap(), "text/html");
        let response = client.get("/bad");
        assert_eq!((response.status, response.text() == large), (502, true));
        assert_eq!(response.field("Content-Type").unwrap(), "text/plain");
        assert_eq!(client.get("/own").text(), "mine");
        client.send("HEAD /nothing HTTP/1.1\r\nHost: test\r\n\r\n");
        let head = client.response_to_head();
        assert_eq!(head.field("Content-Length").unwrap(), "11");
    }
    assert_eq!(server.ask("nonsense\r\n\r\n").text(), "400 Bad Request\n");
}

#[test]
fn errors_never_echo_the_clients_bytes() {
    let server = Server::new();
    let mut client: Client = server.connect();
    let response = client.get("/<script>alert(1)</script>");
    let text = response.text() + &response.head;
    assert!(!text.contains("script"), "{text}");
    assert_eq!(response.field("Content-Type").unwrap(), "text/plain");
    let log = server.log();
    assert!(!log.contains('\x1b'), "{log}");
}

/// The receipt of a request, by a part of it.
#[track_caller]
fn receipt(server: &Server, part: &str) -> String {
    server.wait_for_log(part);
    let log = server.log();
    log.lines().find(|line| line.contains(part)).unwrap().into()
}

#[test]
fn a_refused_request_leaves_what_came_and_why_in_one_line() {
    let server = Server::new();
    let long = "x".repeat(9000);
    for (request, line, status, why) in [
        (
            "GET /a HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(),
            "GET /a HTTP/1.1",
            400,
            "invalid Host",
        ),
        (
            "GET /b HTTP/1.0\n\n".to_owned(),
            "GET /b HTTP/1.0",
            400,
            "LF without CR",
        ),
        (
            "\r\n\r\n\r\nGET /c HTTP/1.1\r\n\r\n".to_owned(),
            "GET /c HTTP/1.1",
            400,
            "empty line",
        ),
        (
            "\x16\x03\x01\"".to_owned(),
            r#"\x16\x03\x01\""#,
            400,
            "start with a method",
        ),
        (
            "POST /d HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n".to_owned(),
            "POST /d HTTP/1.1",
            400,
            "Content-Length values differ",
        ),
        (
            format!("GET /{long} HTTP/1.1\r\n\r\n"),
            &format!("GET /{}", &long[..195]),
            414,
            "max-target",
        ),
        (
            "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "GET /%zz HTTP/1.1",
            400,
            "percent-encoding",
        ),
        (
            "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            "TRACE / HTTP/1.1",
            501,
            "TRACE",
        ),
    ] {
        assert_eq!(server.ask(&request).status, status, "{request:?}");
        let receipt = receipt(&server, &format!("\"{line}\" {status} "));
        let (_, told) = receipt.split_once(" why=\"").unwrap();
        assert!(
            told.contains(why) && receipt.contains(" INFO ["),
            "{receipt}"
        );
    }
}

#[test]
fn what_is_not_run_says_why_in_its_receipt() {
    let server = Server::with(["--max-body=9"]);
    server.handler("run", HELLO);
    server.handler("sub/run", HELLO);
    server.handler("old~", HELLO);
    server.handler("to", "printf 'Location: /sub/\\n\\n'");
    server.file("plain", "text", 0o644);
    server.file("open", "#!/bin/sh\n", 0o777);
    let root = server.folder.at("root");
    std::os::unix::fs::symlink("/bin/true", root.join("out")).unwrap();
    std::os::unix::fs::symlink("circle", root.join("circle")).unwrap();
    for (request, status, why) in [
        ("GET /nothing", 404, "no such name"),
        ("GET /sub/", 404, "no index"),
        ("GET /", 404, "no index"),
        ("GET /old~", 404, "hidden name"),
        ("GET /out", 404, "link that leads out of --path"),
        ("GET /circle", 404, "link in a circle"),
        ("GET /plain", 403, "not executable"),
        ("GET /open", 403, "others can write it"),
        ("GET /to", 404, "no index"),
        ("POST /run", 413, "body longer than max-body"),
    ] {
        let head = format!("{request} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789");
        let head = match request.starts_with("GET") {
            true => head.replace("Content-Length: 10\r\n\r\n0123456789", "\r\n"),
            false => head,
        };
        assert_eq!(server.ask(&head).status, status, "{request}");
        let receipt = receipt(&server, &format!("\"{request} HTTP/1.1\" {status} "));
        assert!(receipt.contains(&format!(" why=\"{why}\"")), "{receipt}");
    }
}
