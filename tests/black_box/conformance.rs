//! Single requirements of RFC 9110, 9112 and 3875, as docs/conformance.md lists them, where no
//! other test shows them to a client.

use super::harness::{Client, Server, os};

/// Answers with some of its variables.
const SHOW: &str = "printf 'Content-Type: text/plain\\n\\n%s %s %s %s' \"$REQUEST_METHOD\" \
    \"$SERVER_PROTOCOL\" \"${HTTP_HOST-unset}\" \"$REQUEST_URI\"";
const HELLO: &str = "printf 'Content-Type: text/plain\\n\\nhello'";

fn server() -> Server {
    let server = Server::new();
    server.handler("show", SHOW);
    server.handler("hello", HELLO);
    server
}

/// One request after which the connection has to be good for another one.
#[track_caller]
fn expect_kept(client: &mut Client) {
    assert_eq!(client.get("/hello").ok(), "hello");
}

#[test]
fn methods_versions_and_targets_reach_the_handler_as_sent() {
    let server = server();
    let mut client = server.connect();
    for (request, expected) in [
        // 9110 9.1: case-sensitive. 9112 2.3, 9110 2.5: a later 1.x is 1.1.
        (
            "get /show HTTP/1.1\r\nHost: a\r\n\r\n",
            "get HTTP/1.1 a /show",
        ),
        (
            "GET /show HTTP/1.7\r\nHost: a\r\n\r\n",
            "GET HTTP/1.1 a /show",
        ),
        // 9112 2.2: one empty line before it, as old clients send it behind a body.
        (
            "\r\nGET /show HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET HTTP/1.1 a /show",
        ),
        // 9112 3.2.2: the authority of the target wins.
        (
            "GET HTTPS://b:1/show?x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET HTTP/1.1 b:1 /show?x",
        ),
        (
            "GET http://b/%73how HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET HTTP/1.1 b /%73how",
        ),
        // 9110 7.2: an empty Host is one.
        ("GET /show HTTP/1.1\r\nHost:\r\n\r\n", "GET HTTP/1.1  /show"),
        // 9112 3.2: HTTP/1.0 needs none.
        (
            "GET /show HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            "GET HTTP/1.0 unset /show",
        ),
    ] {
        client.send(request);
        assert_eq!(client.response().ok(), expected, "{request:?}");
    }
}

#[test]
fn options_asterisk_is_answered_and_trace_and_connect_are_refused() {
    let server = server();
    let mut client = server.connect();
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    let response = client.response();
    assert_eq!(response.status, 204);
    assert!(response.field("Allow").unwrap().contains("HEAD"));
    assert_eq!(response.field("Content-Length"), None);
    expect_kept(&mut client);
    for request in [
        "TRACE /hello HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
    ] {
        let mut client = server.connect();
        client.send(request);
        let response = client.response();
        assert_eq!((response.status, response.says_close()), (501, true));
        client.expect_closed();
    }
    assert_eq!(server.ask("GET * HTTP/1.1\r\nHost: a\r\n\r\n").status, 400);
}

#[test]
fn a_status_without_content_has_none_and_the_connection_goes_on() {
    let server = server();
    for (status, length) in [(204, None), (205, Some("0")), (304, None)] {
        let name = format!("{status}");
        let script =
            format!("printf 'Status: {status}\\nContent-Type: a/b\\nContent-Length: 5\\n\\nhello'");
        server.handler(&name, &script);
        let mut client = server.connect();
        for method in ["GET", "HEAD"] {
            client.send(format!("{method} /{name} HTTP/1.1\r\nHost: a\r\n\r\n"));
            let response = client.response_to_head();
            assert_eq!(response.status, status);
            assert_eq!(response.field("Content-Length").as_deref(), length);
            assert_eq!(response.field("Transfer-Encoding"), None);
            expect_kept(&mut client);
        }
    }
}

#[test]
fn an_answer_to_head_has_no_content_whoever_gives_it() {
    let server = server();
    server.handler("away", "printf 'Location: /hello\\n\\n'");
    for (path, status) in [("/nothing", 404), ("/hello", 200), ("/away", 200)] {
        let mut client = server.connect();
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.response_to_head().status, status, "{path}");
        expect_kept(&mut client);
    }
    for request in [
        "HEAD /hello HTTP/1.1\r\n\r\n",
        "\r\nHEAD /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut client = server.connect();
        client.send(request);
        assert_eq!(client.response_to_head().status, 400, "{request:?}");
        client.expect_closed();
    }
}

/// What a worker cannot answer any more, the parent does, which never reads of a client.
#[test]
fn an_answer_of_the_parent_to_head_has_no_content_either() {
    let server = Server::with([
        "--workers=1",
        "--max-workers=1",
        "--head-timeout=200ms",
        "--queue-timeout=100ms",
    ]);
    server.handler("slow", "echo $PPID > runs; exec sleep 100");
    let head = "HEAD /slow HTTP/1.1\r\nHost: a\r\n\r\n";
    let expect = |mut client: Client, status: u16| {
        let response = client.response_to_head();
        assert_eq!(response.status, status, "{}", response.head);
        assert_eq!(response.field("Content-Length").as_deref(), Some("0"));
        client.expect_closed();
    };
    let mut late = server.connect();
    late.send(&head[..30]);
    expect(late, 408);
    let mut served = server.connect();
    served.send(head);
    let worker = server.wait_for_line("runs").parse().unwrap();
    let mut queued = server.connect();
    queued.send(head);
    expect(queued, 503);
    assert!(os::kill(worker, os::KILL));
    expect(served, 502);
    server.stop();
}

#[test]
fn who_is_told_that_the_connection_ends_sees_it_end() {
    let server = server();
    // HTTP/1.0 and no length: a body would end with the connection.
    let mut client = server.connect();
    client.send("HEAD /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response_to_head();
    assert!(response.says_close(), "{}", response.head);
    client.expect_closed();
    // Nothing behind the last request is answered (9112 9.6), and no reset destroys its answer.
    for path in ["/hello", "/nothing", "/nph-hello"] {
        server.handler("nph-hello", "printf 'HTTP/1.1 200 OK\\r\\n\\r\\nhello'");
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let mut client = server.connect();
        client.send(request.repeat(50));
        let all = String::from_utf8(client.rest()).unwrap();
        assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{path}: {all}");
        client.finish_sending();
    }
}

#[test]
fn nothing_behind_a_framing_error_is_read_as_a_request() {
    let server = server();
    server.handler("runs", &format!("echo x >> count; {HELLO}"));
    let smuggled = "GET /runs HTTP/1.1\r\nHost: a\r\n\r\n";
    for request in [
        "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n",
        "POST /hello HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX : y\r\n\r\n",
        "POST /hello HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\nxx",
        "GET /hello HTTP/1.1\r\nHost: a\r\nX: \rY: z\r\n\r\n",
    ] {
        let mut client = server.connect();
        client.send(format!("{request}{smuggled}"));
        let response = client.response();
        assert_eq!((response.status, response.says_close()), (400, true));
        client.expect_closed();
    }
    assert_eq!(server.read("count"), "");
}

#[test]
fn a_body_that_nobody_reads_is_never_taken_for_a_request() {
    let server = server();
    let body = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = server.connect();
    // All of it is here: dropped, and the connection goes on.
    assert_eq!(client.post("/nothing", body.as_bytes()).status, 404);
    expect_kept(&mut client);
    // The rest would be still to come, or its end is not known: closed.
    for framing in ["Content-Length: 99999", "Transfer-Encoding: chunked"] {
        let mut client = server.connect();
        client.send(format!(
            "POST /nothing HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{body}"
        ));
        let response = client.response();
        assert_eq!((response.status, response.says_close()), (404, true));
        client.finish_sending();
        client.expect_closed();
    }
}

#[test]
fn only_100_continue_can_be_expected_and_only_in_http_1_1() {
    let server = server();
    server.handler("echo", "printf 'Content-Type: text/plain\\n\\n'; exec cat");
    let response = server.ask("GET /hello HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n");
    assert_eq!((response.status, response.says_close()), (417, true));
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    client.send("ab");
    let response = client.response();
    assert_eq!((response.ok(), response.interim), ("ab".into(), vec![]));
}

#[test]
fn upgrade_reaches_nph_handlers_of_http_1_1_only() {
    let server = server();
    let show = "printf 'HTTP/1.1 200 OK\\r\\nContent-Type: text/plain\\r\\n\\r\\n%s|%s' \
        \"${HTTP_UPGRADE-unset}\" \"${HTTP_CONNECTION-unset}\"";
    server.handler("plain", show);
    server.handler("nph-own", show);
    let fields = "Upgrade: x/1\r\nConnection: Upgrade\r\n";
    let host = "Host: a\r\n";
    for (request, expected) in [
        (
            format!("GET /plain HTTP/1.1\r\n{host}{fields}\r\n"),
            "unset|unset",
        ),
        (
            format!("GET /nph-own HTTP/1.1\r\n{host}{fields}\r\n"),
            "x/1|Upgrade",
        ),
        // 9110 7.8: not without the connection option, and HTTP/1.0's is ignored.
        (
            format!("GET /nph-own HTTP/1.1\r\n{host}Upgrade: x/1\r\n\r\n"),
            "unset|unset",
        ),
        (
            format!("GET /nph-own HTTP/1.0\r\n{fields}\r\n"),
            "unset|unset",
        ),
    ] {
        assert_eq!(server.ask(&request).ok(), expected, "{request:?}");
    }
}

#[test]
fn fields_about_the_connection_stay_on_their_side() {
    let server = server();
    server.handler("env", "printf 'Content-Type: text/plain\\n\\n'; exec env");
    let mut client = server.connect();
    client.send(
        "POST /env HTTP/1.1\r\nHost: a\r\nConnection: X-Hop\r\nX-Hop: 1\r\nTE: trailers\r\n\
         Keep-Alive: 5\r\nProxy-Connection: x\r\nTrailer: X-Late\r\nTransfer-Encoding: chunked\r\n\
         Expect: 100-continue\r\nX-Stay: 1\r\n\r\n1\r\nx\r\n0\r\nX-Late: 1\r\nX-Stay: 2\r\n\r\n",
    );
    let text = client.response().ok();
    let mut own: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("HTTP_"))
        .collect();
    own.sort_unstable();
    assert_eq!(own, ["HTTP_HOST=a", "HTTP_X_STAY=1"]);
    expect_kept(&mut client);
    server.handler(
        "fields",
        "printf 'Content-Type: text/plain\\nConnection: close, X-Hop\\nX-Hop: 1\\nKeep-Alive: 5\\n\
         Transfer-Encoding: identity\\nTE: a\\nTrailer: b\\nUpgrade: c\\nProxy-Connection: d\\n\
         Date: e\\nServer: f\\nX-Stay: 1\\n\\nhello'",
    );
    let response = client.get("/fields");
    let names = response
        .head
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'));
    let names: Vec<&str> = names.map(|(name, _)| name).collect();
    // The third is the framing, which depends on how fast the handler is.
    let framing = ["Content-Length", "Transfer-Encoding"];
    assert!(framing.contains(&names[2]), "{names:?}");
    assert_eq!(names[..2], ["Date", "Server"]);
    assert_eq!(names[3..], ["Content-Type", "X-Stay"]);
    assert_ne!(
        response.field("Transfer-Encoding").as_deref(),
        Some("identity")
    );
    assert_ne!(response.field("Date").unwrap(), "e");
    expect_kept(&mut client);
}

/// Heads and bodies that handlers print, and what their clients are to get.
const FRAMED: [(&str, &str, &str); 12] = [
    // What curl -i prints: interim responses, another version, chunks of which only the field is left.
    (
        "HTTP/1.1 100 Continue\\r\\n\\r\\nHTTP/1.1 200 OK\\r\\nX: y\\r\\n",
        "body",
        "body",
    ),
    (
        "HTTP/2 103 \\r\\nlink: x\\r\\n\\r\\nHTTP/2 200 \\r\\nx: y\\r\\n",
        "body",
        "body",
    ),
    ("HTTP/3 200\\n", "body", "body"),
    ("HTTP/1.1 200 OK\\r\\nCHUNKED\\r\\n", "body", "body"),
    ("HTTP/1.1 200 OK\\r\\nCHUNKED\\r\\n", "ab", "ab"),
    ("HTTP/1.1 200 OK\\r\\nCHUNKED\\r\\n", "", ""),
    // Chunks that are there are taken off, also behind a CGI head.
    (
        "HTTP/1.1 200 OK\\r\\nCHUNKED\\r\\n",
        "4\\r\\nbody\\r\\n0\\r\\n\\r\\n",
        "body",
    ),
    (
        "Status: 200\\nCHUNKED\\n",
        "4\\r\\nbody\\r\\n0\\r\\n\\r\\n",
        "body",
    ),
    (
        "Status: 200\\nCHUNKED\\n",
        "4;x=y\\r'; sleep .05; printf '\\nbody\\r\\n0\\r\\n\\r\\n",
        "body",
    ),
    (
        "Status: 200\\nCHUNKED\\nContent-Length: 14\\n",
        "4\\r\\nbody\\r\\n0\\r\\n\\r\\n",
        "body",
    ),
    ("Status: 200\\nCHUNKED\\nContent-Length: 2\\n", "ab", "ab"),
    (
        "Status: 200\\nTransfer-Encoding: identity\\n",
        "body",
        "body",
    ),
];

#[test]
fn no_framing_of_a_handlers_own_is_passed_on_as_its_page() {
    let server = server();
    let mut client = server.connect();
    for (number, (head, body, expected)) in FRAMED.into_iter().enumerate() {
        let name = format!("own-{number}");
        let head = head.replace("CHUNKED", "Transfer-Encoding: chunked");
        server.handler(&name, &format!("printf '{head}\\n'; printf '{body}'"));
        let response = client.get(&format!("/{name}"));
        assert_eq!(response.ok(), expected, "{head} {body}");
        assert_eq!(response.interim, Vec::<u16>::new());
    }
}

#[test]
fn framing_that_cannot_be_taken_off_is_an_error_that_the_log_explains() {
    let server = server();
    server.handler(
        "gzip",
        "printf 'Status: 200\\nTransfer-Encoding: gzip\\n\\nx'",
    );
    assert_eq!(server.get("/gzip").status, 502);
    server.wait_for_log("/gzip: not a response: Transfer-Encoding");
    server.handler(
        "broken",
        "printf 'Status: 200\\nTransfer-Encoding: chunked\\n\\n4\\r\\nbodyX'; sleep 0.1",
    );
    assert_eq!(server.get("/broken").status, 502);
    server.wait_for_log("/broken: its response is incomplete");
}

#[test]
fn a_head_of_any_field_is_a_response() {
    let server = server();
    for (name, field, is_passed) in [
        ("cookie", "Set-Cookie: a=b", true),
        ("cache", "Cache-Control: no-cache", true),
        ("x", "X-A: b", true),
        ("length", "Content-Length: 5", true),
        ("hop", "Connection: close", false),
    ] {
        server.handler(name, &format!("printf '{field}\\n\\nhello'"));
        let response = server.get(&format!("/{name}"));
        assert_eq!(response.ok(), "hello", "{field}");
        let name = field.split(':').next().unwrap();
        assert_eq!(response.field(name).is_some(), is_passed, "{field}");
        assert_eq!(response.field("Content-Type"), None);
    }
    server.handler("empty", "printf '\\nhello'");
    assert_eq!(server.get("/empty").status, 502);
    server.wait_for_log("/empty: not a response: there is no field");
}

#[test]
fn a_handler_cannot_inject_a_line_into_its_response() {
    let server = server();
    for (name, line) in [
        ("cr", "X: a\\rSet-Cookie: b"),
        ("nul", "X: a\\0b"),
        ("fold", "X: a\\n b: c"),
        ("name", "X Y: a"),
        ("space", "X : a"),
    ] {
        server.handler(name, &format!("printf 'Status: 200\\n{line}\\n\\nbody'"));
        let response = server.get(&format!("/{name}"));
        assert_eq!(response.status, 502, "{name}");
    }
}

#[test]
fn every_response_has_a_date_in_imf_fixdate() {
    let server = server();
    for request in [
        "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let date = server.ask(request).field("Date").unwrap();
        assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    }
}

#[test]
fn a_host_may_be_an_address_with_a_zone() {
    let server = server();
    server.handler(
        "name",
        "printf 'Content-Type: text/plain\\n\\n%s' \"$SERVER_NAME\"",
    );
    for host in ["[fe80::1%25eth0]", "[fe80::1%eth0]"] {
        let request = format!("GET /name HTTP/1.1\r\nHost: {host}:80\r\n\r\n");
        assert_eq!(server.ask(&request).ok(), host);
    }
}

#[test]
fn bytes_above_127_reach_the_handler_as_sent() {
    let server = server();
    server.handler(
        "bytes",
        "printf 'Content-Type: text/plain\\n\\n%s|%s|%s' \"$REQUEST_URI\" \"$PATH_INFO\" \"$QUERY_STRING\"",
    );
    server.handler("\u{fc}", HELLO);
    let mut client = server.connect();
    client.send(b"GET /bytes/\xc3\xbc%C3%BC?q=J\xfcrgen HTTP/1.1\r\nHost: a\r\n\r\n");
    let response = client.response();
    assert_eq!(
        response.body,
        b"/bytes/\xc3\xbc%C3%BC?q=J\xfcrgen|/\xc3\xbc\xc3\xbc|q=J\xfcrgen"
    );
    client.send("GET /\u{fc} HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().ok(), "hello");
    // Of a host they are still no part.
    let refused = server.ask("GET http://\u{fc}/hello HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(refused.status, 400);
}

#[test]
fn a_folder_without_its_slash_is_asked_for_again_with_it() {
    let server = server();
    for folder in ["a", "b c", "a/d%", "."] {
        server.handler(&format!("{folder}/index"), SHOW);
    }
    let mut client = server.connect();
    for (path, expected) in [
        ("/a", "/a/"),
        ("/a?x=1&y=/?", "/a/?x=1&y=/?"),
        ("/a?", "/a/?"),
        ("/b%20c", "/b%20c/"),
        ("/a/d%25?\u{fc}", "/a/d%25/?%C3%BC"),
        // Never another host, which two slashes would name.
        ("//a", "/a/"),
        ("/a/.//d%25", "/a/d%25/"),
        ("http://b/a", "/a/"),
    ] {
        for method in ["GET", "HEAD"] {
            client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
            let response = match method {
                "HEAD" => client.response_to_head(),
                _ => client.response(),
            };
            assert_eq!(response.status, 301, "{method} {path}");
            assert_eq!(response.field("Location").as_deref(), Some(expected));
        }
    }
    for path in ["/a/", "/a/.", "/a//", "/", "//"] {
        assert!(client.get(path).ok().starts_with("GET "), "{path}");
    }
    // Who sends something is not sent away with it.
    assert!(client.post("/a", b"x").ok().starts_with("POST "));
}

#[test]
fn a_location_is_followed_or_passed_on_as_its_form_says() {
    let server = server();
    server.handler("a b", SHOW);
    server.handler("folder/index", SHOW);
    let mut client = server.connect();
    for (number, (printed, status, expected)) in [
        // Followed: what stands for itself only in the eyes of a human is escaped.
        (
            "Location: /a b?x y=\u{fc}",
            200,
            "GET HTTP/1.1 test /a%20b?x%20y=%C3%BC",
        ),
        ("Location: //a%20b", 302, "//a%20b"),
        ("Location: /folder?x", 301, "/folder/?x"),
        ("Location: /nothing", 404, ""),
        ("Location: /a%", 502, ""),
        ("Location: /../a", 502, ""),
        // Passed on.
        ("Location: /show#there", 302, "/show#there"),
        ("Location: //host/a b", 302, "//host/a%20b"),
        (
            "Location: http://h/\u{fc} x?a=<b>#c d",
            302,
            "http://h/%C3%BC%20x?a=<b>#c%20d",
        ),
        ("Location: a b", 302, "a%20b"),
        ("Status: 303 Look\nLocation: /a b", 303, "/a%20b"),
        ("Location: /a b\nContent-Type: text/plain", 302, "/a%20b"),
        ("HTTP/1.1 307 There\nLocation: /a b", 307, "/a%20b"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("to-{number}");
        server.handler(&name, &format!("cat <<'EOF'\n{printed}\n\nEOF"));
        let response = client.get(&format!("/{name}"));
        assert_eq!(response.status, status, "{printed}");
        match status {
            200 => assert_eq!(response.text(), expected),
            301..=307 => assert_eq!(response.field("Location").as_deref(), Some(expected)),
            502 => server.wait_for_log(&format!("/{name}: unable to redirect to")),
            _ => {}
        }
    }
}

#[test]
fn nothing_of_a_body_is_told_to_who_answers_in_anothers_place() {
    let server = server();
    server.handler("from", "printf 'Location: /env?x\\n\\n'");
    server.handler(
        "env",
        "printf 'Content-Type: text/plain\\n\\n'; env | grep CONTENT; cat; echo \"$REQUEST_METHOD\"",
    );
    let mut client = server.connect();
    client.send(
        "POST /from HTTP/1.1\r\nHost: a\r\nContent-Type: a/b\r\nContent-Language: de\r\n\
         Content-Length: 4\r\n\r\nbody",
    );
    assert_eq!(client.response().ok(), "GET\n");
    expect_kept(&mut client);
}

#[test]
fn empty_segments_are_passed_over_and_case_is_kept() {
    let server = Server::new();
    server.handler(
        "a/run",
        "printf 'Content-Type: text/plain\\n\\n%s|%s' \"$SCRIPT_NAME\" \"${PATH_INFO-unset}\"",
    );
    let mut client = server.connect();
    for (path, expected) in [
        ("/a/run", Some("/a/run|unset")),
        ("/a/run/", Some("/a/run|/")),
        ("/a/run//x/", Some("/a/run|//x/")),
        ("/a/run/x%2Fy%3F", Some("/a/run|/x/y?")),
        ("/a/./b/../run/%2e/X", Some("/a/run|/X")),
        ("/%61/r%75n", Some("/a/run|unset")),
        ("//a/run", Some("/a/run|unset")),
        ("///a//run///x", Some("/a/run|///x")),
        // A URL in PATH_INFO stays one.
        ("/a/run/http://b/c", Some("/a/run|/http://b/c")),
        ("/a%2Frun", None),
        ("/A/run", None),
        ("/a/Run", None),
    ] {
        let response = client.get(path);
        match expected {
            Some(expected) => assert_eq!(response.ok(), expected, "{path}"),
            None => assert_eq!(response.status, 404, "{path}"),
        }
    }
}

#[test]
fn a_field_that_is_dropped_for_its_name_is_told_at_debug() {
    let server = Server::with(["--log-level=DEBUG"]);
    server.handler("hello", HELLO);
    let request = "GET /hello HTTP/1.1\r\nHost: a\r\nX_Api_Key: secret\r\nX-Good: 1\r\n\r\n";
    assert_eq!(server.ask(request).ok(), "hello");
    server.wait_for_log("DEBUG [");
    server.wait_for_log("field X_Api_Key is not passed on");
    let log = server.log();
    assert!(!log.contains("secret") && !log.contains("X-Good"), "{log}");
}
