//! What a well-behaved client gets from a well-behaved handler.

use super::harness::{Client, Folder, Response, Server, can_run, noise, os, run, watch_for};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const MIB: usize = 1024 * 1024;

/// Prints a head, then what it was sent.
const ECHO: &str = "printf 'Content-Type: text/plain\\n\\n'; exec cat";
/// Answers with the hash of what it was sent, and its announced length.
const HASH: &str = "printf 'Content-Type: text/plain\\n\\n%s ' \"$CONTENT_LENGTH\"; exec sha256sum";
/// Answers with the method.
const METHOD: &str = "printf 'Content-Type: text/plain\\n\\n%s' \"$REQUEST_METHOD\"";

/// What HASH answers.
fn hash_answer(bytes: &[u8]) -> String {
    let folder = Folder::new();
    let path = folder.write("bytes", bytes, 0o644);
    let stdin = std::fs::File::open(path).unwrap();
    let output = run(Command::new("sha256sum").stdin(stdin));
    format!(
        "{} {}",
        bytes.len(),
        String::from_utf8(output.stdout).unwrap()
    )
}

/// The chunked coding of a body, in chunks of many sizes.
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut coded = Vec::with_capacity(body.len() + body.len() / 8);
    let mut rest = body;
    for size in [1, 7, 4096, 100_000, 3].into_iter().cycle() {
        let (chunk, tail) = rest.split_at(size.min(rest.len()));
        if chunk.is_empty() {
            break;
        }
        coded.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        coded.extend_from_slice(chunk);
        coded.extend_from_slice(b"\r\n");
        rest = tail;
    }
    coded.extend_from_slice(b"0\r\n\r\n");
    coded
}

#[test]
fn an_empty_folder_shows_a_welcome_page_until_a_handler_is_dropped_in() {
    let server = Server::new();
    let mut client = server.connect();
    let page = client.get("/");
    assert!(page.ok().contains("<html"), "{}", page.text());
    assert!(page.field("Content-Type").unwrap().starts_with("text/html"));
    client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = client.response_to_head();
    assert_eq!(head.field("Content-Length"), page.field("Content-Length"));
    assert_eq!(client.get("/hello").status, 404);
    server.handler("hello", METHOD);
    assert_eq!(client.get("/hello").ok(), "GET");
    assert_eq!(
        client.get("/").status,
        404,
        "the folder is not empty any more"
    );
    server.handler("index", "printf 'Content-Type: text/plain\\n\\nindex'");
    assert_eq!(client.get("/").ok(), "index");
    server.stop();
}

#[test]
fn every_method_reaches_the_handler() {
    let server = Server::new();
    server.handler("method", METHOD);
    let mut client = server.connect();
    for method in [
        "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY", "M-SEARCH",
    ] {
        client.send(format!(
            "{method} /method HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nxx"
        ));
        assert_eq!(client.response().ok(), method);
    }
}

#[test]
fn head_gets_the_fields_of_get_without_the_body() {
    let server = Server::new();
    server.handler(
        "short",
        "printf 'Content-Type: text/plain\\nContent-Length: 5\\n\\nhello'",
    );
    server.handler(
        "open",
        "printf 'Content-Type: text/plain\\n\\n'; exec head -c 300000 /dev/zero",
    );
    let mut client = server.connect();
    for (path, length) in [("/short", Some("5")), ("/open", None)] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let response = client.response_to_head();
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(
            response.field("Content-Length").as_deref(),
            length,
            "{path}"
        );
        // What came of a body would be taken for the next response.
        assert_eq!(client.get("/short").ok(), "hello");
    }
}

#[test]
fn the_query_and_what_follows_the_name_reach_the_handler() {
    let server = Server::new();
    let show = "printf 'Content-Type: text/plain\\n\\n%s|%s|%s|%s' \
        \"$SCRIPT_NAME\" \"${PATH_INFO-unset}\" \"$QUERY_STRING\" \"$#\"";
    server.handler("show", show);
    server.handler("sub/deep", show);
    let mut client = server.connect();
    for (path, expected) in [
        ("/show", "/show|unset||0"),
        ("/show?", "/show|unset||0"),
        ("/show/a/b%20c?x=1&y=%20", "/show|/a/b c|x=1&y=%20|0"),
        ("/show?-d+/etc/passwd", "/show|unset|-d+/etc/passwd|0"),
        ("/sub/deep/rest", "/sub/deep|/rest||0"),
        ("/sub/../show", "/show|unset||0"),
        ("http://test/show?absolute", "/show|unset|absolute|0"),
    ] {
        assert_eq!(client.get(path).ok(), expected, "{path}");
    }
}

#[test]
fn a_connection_carries_many_requests() {
    let server = Server::new();
    server.handler("echo", ECHO);
    let mut client = server.connect();
    for round in 0..30 {
        let body = format!("body {round}");
        let response = client.post("/echo", body.as_bytes());
        assert_eq!(response.ok(), body);
        assert!(!response.says_close());
    }
    server.stop();
}

#[test]
fn ten_pipelined_requests_are_answered_in_order() {
    let server = Server::new();
    let slower_first = "[ \"$QUERY_STRING\" = 0 ] && sleep 0.2
        printf 'Content-Type: text/plain\\n\\n%s:' \"$QUERY_STRING\"; exec cat";
    server.handler("n", slower_first);
    let mut requests = String::new();
    for n in 0..10 {
        let body = "b".repeat(n);
        requests +=
            &format!("POST /n?{n} HTTP/1.1\r\nHost: test\r\nContent-Length: {n}\r\n\r\n{body}");
    }
    let mut client = server.connect();
    client.send(&requests);
    for n in 0..10 {
        assert_eq!(client.response().ok(), format!("{n}:{}", "b".repeat(n)));
    }
}

#[test]
fn http_1_0_closes_unless_it_asks_to_keep_the_connection() {
    let server = Server::new();
    // Without a length only the end of the connection could end the response.
    server.handler(
        "method",
        "printf 'Content-Type: text/plain\\nContent-Length: 3\\n\\n%s' \"$REQUEST_METHOD\"",
    );
    let mut client = server.connect();
    client.send("GET /method HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response();
    assert_eq!(response.ok(), "GET");
    assert_eq!(
        response.field("Connection").unwrap().to_lowercase(),
        "keep-alive"
    );
    assert!(response.field("Content-Length").is_some());
    client.send("GET /method HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().ok(), "GET");
    client.expect_closed();
}

#[test]
fn a_long_response_to_http_1_0_ends_with_the_connection_and_has_no_chunks() {
    let server = Server::new();
    server.handler(
        "long",
        "printf 'Content-Type: text/plain\\n\\n'; exec head -c 300000 /dev/zero",
    );
    let response = server.ask("GET /long HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(response.field("Transfer-Encoding"), None);
    assert_eq!(response.body, vec![0; 300_000]);
    assert!(response.is_whole);
}

#[test]
fn connection_close_is_honoured() {
    let server = Server::new();
    server.handler("method", METHOD);
    let mut client = server.connect();
    client.send("GET /method HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    let response = client.response();
    assert_eq!(response.ok(), "GET");
    assert!(response.says_close());
    client.expect_closed();
}

#[test]
fn a_handler_sets_status_and_fields() {
    let server = Server::new();
    server.handler(
        "teapot",
        "printf 'Status: 418 Short and stout\\r\\nContent-Type: text/plain\\r\\nX-Own: 1\\r\\n\
         Set-Cookie: a=1\\r\\nSet-Cookie: b=2\\r\\n\\r\\ntea'",
    );
    server.handler("away", "printf 'Location: http://example.org/x\\n\\n'");
    server.handler("nothing", "printf 'Status: 204\\n\\n'");
    let mut client = server.connect();
    let tea = client.get("/teapot");
    assert_eq!((tea.status, tea.text().as_str()), (418, "tea"));
    assert!(
        tea.head.starts_with("HTTP/1.1 418 Short and stout\r\n"),
        "{}",
        tea.head
    );
    assert_eq!(tea.field("X-Own").unwrap(), "1");
    assert_eq!(tea.field("Set-Cookie").unwrap(), "a=1, b=2");
    assert_eq!(tea.field("Status"), None);
    assert!(tea.field("Date").unwrap().ends_with(" GMT"));
    let away = client.get("/away");
    assert_eq!(away.status, 302);
    assert_eq!(away.field("Location").unwrap(), "http://example.org/x");
    let nothing = client.get("/nothing");
    assert_eq!(
        (nothing.status, nothing.field("Content-Length")),
        (204, None)
    );
    assert_eq!(client.get("/teapot").status, 418);
}

#[test]
fn a_local_redirect_is_answered_by_the_handler_that_it_names() {
    let server = Server::new();
    server.handler(
        "from",
        "cat > /dev/null; printf 'Location: /to/x?y=1\\n\\n'",
    );
    server.handler(
        "to",
        "printf 'Content-Type: text/plain\\n\\n%s %s %s %s' \
         \"$REQUEST_METHOD\" \"$PATH_INFO\" \"$QUERY_STRING\" \"${CONTENT_LENGTH-none}\"",
    );
    server.handler("loop", "echo x >> loops; printf 'Location: /loop\\n\\n'");
    let mut client = server.connect();
    assert_eq!(client.post("/from", b"body").ok(), "GET /x y=1 none");
    let response = client.get("/loop");
    assert_eq!(response.status, 502);
    assert_eq!(server.read("loops").lines().count(), 11);
    server.wait_for_log("/loop: more than 10 internal redirects");
    assert_eq!(client.get("/to/z?").ok(), "GET /z  none");
}

#[test]
fn a_handler_may_print_a_full_response() {
    let server = Server::new();
    server.handler(
        "full",
        "printf 'HTTP/1.0 203 Fine\\r\\nContent-Type: text/plain\\r\\n\
         Connection: close\\r\\nX-Own: 1\\r\\n\\r\\nfull'",
    );
    server.handler(
        "chunks",
        "printf 'HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n\
         3\\r\\nabc\\r\\n2\\r\\nde\\r\\n0\\r\\n\\r\\n'",
    );
    let mut client = server.connect();
    let full = client.get("/full");
    assert_eq!((full.status, full.text().as_str()), (203, "full"));
    assert!(
        full.head.starts_with("HTTP/1.1 203 Fine\r\n"),
        "{}",
        full.head
    );
    assert_eq!(full.field("X-Own").unwrap(), "1");
    assert!(!full.says_close(), "the connection is the server's");
    assert_eq!(client.get("/chunks").ok(), "abcde");
}

#[test]
fn an_nph_handler_owns_the_connection() {
    let server = Server::new();
    server.handler(
        "nph-own",
        "printf 'HTTP/1.1 200 Mine\\r\\nX-Own: 1\\r\\n\\r\\n'; cat; printf done",
    );
    let mut client = server.connect();
    client.send("POST /nph-own HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody");
    let all = String::from_utf8(client.rest()).unwrap();
    assert_eq!(all, "HTTP/1.1 200 Mine\r\nX-Own: 1\r\n\r\nbodydone");
}

#[test]
fn a_response_of_64_mib_arrives_intact() {
    let server = Server::new();
    let bytes = noise(64 * MIB);
    server.folder.write("root/.large", &bytes, 0o644);
    server.handler(
        "large",
        "printf 'Content-Type: text/plain\\n\\n'; exec cat .large",
    );
    server.handler(
        "sized",
        "printf 'Content-Type: text/plain\\nContent-Length: 67108864\\n\\n'; exec cat .large",
    );
    let mut client = server.connect();
    for path in ["/large", "/sized"] {
        let response = client.get(path);
        assert!(response.is_whole, "{path}");
        assert!(
            response.body == bytes,
            "{path}: {} bytes",
            response.body.len()
        );
    }
    server.stop();
}

#[test]
fn a_body_of_16_mib_arrives_intact_with_length_and_in_chunks() {
    let server = Server::new();
    server.handler("hash", HASH);
    let bytes = noise(16 * MIB);
    let expected = hash_answer(&bytes);
    let mut client = server.connect();
    assert_eq!(client.post("/hash", &bytes).ok(), expected);
    client.send("POST /hash HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(chunked(&bytes));
    assert_eq!(client.response().ok(), expected);
    assert_eq!(client.post("/hash", b"small").ok(), hash_answer(b"small"));
    server.stop();
}

#[test]
fn a_chunked_body_has_its_true_length() {
    let server = Server::new();
    server.handler("hash", HASH);
    let mut client = server.connect();
    for size in [0, 1, 10, 5000, 65_536, 65_537] {
        let bytes = noise(size);
        let head = "POST /hash HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send([head.as_bytes(), &chunked(&bytes)].concat());
        assert_eq!(client.response().ok(), hash_answer(&bytes), "{size}");
    }
}

#[test]
fn a_body_may_come_in_pieces() {
    let server = Server::new();
    server.handler("echo", ECHO);
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n");
    for byte in b"0123456789" {
        watch_for(Duration::from_millis(5));
        client.send([*byte]);
    }
    assert_eq!(client.response().ok(), "0123456789");
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for byte in b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: x\r\n\r\n" {
        watch_for(Duration::from_millis(2));
        client.send([*byte]);
    }
    assert_eq!(client.response().ok(), "hello world");
}

#[test]
fn continue_is_sent_when_the_body_is_wanted_and_only_then() {
    let server = Server::with(["--max-body=1K"]);
    server.handler("echo", ECHO);
    let ask = |path: &str, length: usize| {
        let mut client = server.connect();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        ));
        client
    };
    let mut client = ask("/echo", 5);
    let interim = client.receive_until(b"\r\n\r\n").unwrap();
    assert_eq!(interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello");
    assert_eq!(client.response().ok(), "hello");

    for (path, length, status) in [("/nobody", 5, 404), ("/echo", 2000, 413)] {
        let response = ask(path, length).response();
        assert_eq!(
            (response.status, response.interim),
            (status, vec![]),
            "{path}"
        );
    }
    // A body that is here already needs no invitation.
    let response = server.ask(
        "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    );
    assert_eq!(
        (response.ok().as_str(), response.interim),
        ("hello", vec![])
    );
}

#[test]
fn a_client_that_is_still_sending_sees_that_its_body_is_too_large() {
    let server = Server::with(["--max-body=64K"]);
    server.handler("echo", ECHO);
    let body = noise(8 * MIB);
    let mut client = server.connect();
    let response = client.post("/echo", &body);
    assert_eq!(response.status, 413);
    assert!(response.says_close());
    client.expect_closed();
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(chunked(&body));
    assert_eq!(client.response().status, 413);
    server.stop();
}

#[test]
fn a_handler_may_ignore_a_large_body() {
    let server = Server::new();
    server.handler("ignore", METHOD);
    let body = noise(2 * MIB);
    let mut client = server.connect();
    assert_eq!(client.post("/ignore", &body).ok(), "POST");
    assert_eq!(client.get("/ignore").ok(), "GET");
}

#[test]
fn a_handler_may_write_much_before_it_reads_much() {
    let server = Server::new();
    server.handler(
        "both",
        "printf 'Content-Type: text/plain\\n\\n'; head -c 2097152 /dev/zero; exec cat",
    );
    let body = noise(2 * MIB);
    let response = server.connect().post("/both", &body);
    assert!(response.is_whole);
    assert!(response.body[..2 * MIB].iter().all(|byte| *byte == 0));
    assert!(response.body[2 * MIB..] == body[..]);
}

#[test]
fn a_handler_that_insists_gets_its_body_through_a_pipe() {
    let server = Server::start(|setup| {
        setup.config("[handler /pipe]\nstdin = pipe\n");
    });
    let kind = "if [ -p /dev/stdin ]; then kind=pipe; else kind=file; fi
        printf 'Content-Type: text/plain\\n\\n%s ' $kind; exec sha256sum";
    server.handler("pipe", kind);
    server.handler("any", kind);
    let body = noise(MIB);
    let hash = hash_answer(&body).split_once(' ').unwrap().1.to_owned();
    let mut client = server.connect();
    assert_eq!(client.post("/pipe", &body).ok(), format!("pipe {hash}"));
    let any = client.post("/any", &body).ok();
    assert!(any.ends_with(&format!(" {hash}")), "{any}");
}

#[test]
fn a_unix_socket_serves_like_an_address() {
    use std::io::{Read, Write};
    let server = Server::start(|setup| {
        let path = setup.folder.at("http").display().to_string();
        setup.args([&format!("--bind=unix:{path}")]);
    });
    server.handler(
        "echo",
        "printf 'Content-Type: text/plain\\nContent-Length: 2\\n\\n'; exec cat",
    );
    let mut stream = std::os::unix::net::UnixStream::connect(server.folder.at("http")).unwrap();
    let request = "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n";
    stream
        .write_all(format!("{request}\r\nab").as_bytes())
        .unwrap();
    stream
        .write_all(format!("{request}Connection: close\r\n\r\ncd").as_bytes())
        .unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert_eq!(all.matches("HTTP/1.1 200 OK").count(), 2, "{all}");
    assert!(
        all.contains("\r\n\r\nab") && all.ends_with("\r\n\r\ncd"),
        "{all}"
    );
    let socket = server.folder.at("http");
    server.stop();
    assert!(!socket.exists());
}

/// A listener for `::` is one for IPv6 alone.
#[test]
fn the_start_line_says_which_addresses_are_all_served() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // This machine has no IPv6.
    }
    for (binds, expected) in [
        (&["::"][..], "; all IPv6 addresses, "),
        (&["0.0.0.0"], "; all IPv4 addresses, "),
        (&["::", "0.0.0.0"], "; all addresses, "),
        (&["::1"], " workers; stop with "),
    ] {
        let server = Server::start(|setup| {
            for bind in binds {
                setup.args([&format!("--bind={bind}")]);
            }
        });
        let lines = server.stderr().join("\n");
        assert!(lines.contains(expected), "{binds:?}: {lines}");
        server.stop();
    }
}

#[test]
fn ipv6_serves_beside_ipv4() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return; // This machine has no IPv6.
    }
    let server = Server::with(["--bind=::1"]);
    server.handler(
        "ends",
        "printf 'Content-Type: text/plain\\n\\n%s %s %s' \"$REMOTE_ADDR\" \"$SERVER_ADDR\" \"$SERVER_NAME\"",
    );
    let lines = server.stderr().join("\n");
    let (_, rest) = lines.split_once("[::1]:").unwrap();
    let port = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap();
    let stream = std::net::TcpStream::connect(format!("[::1]:{port}")).unwrap();
    let mut client = Client::of(stream);
    client.send("GET /ends HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().ok(), "::1 ::1 [::1]");
    assert_eq!(server.get("/ends").ok(), "127.0.0.1 127.0.0.1 test");
}

/// Builds or copies an example into the server's folder; false if the machine lacks what it needs.
fn install_example(server: &Server, example: &Path) -> bool {
    let name = example.file_name().unwrap().to_str().unwrap();
    let target = server.folder.at("root").join(name);
    let mut compiler = match name.rsplit('.').next() {
        Some("c") => Command::new("cc"),
        Some("rs") => Command::new("rustc"),
        _ => {
            server.file(name, &std::fs::read_to_string(example).unwrap(), 0o755);
            return !name.ends_with(".py") || Path::new("/usr/bin/python3").exists();
        }
    };
    if !can_run(compiler.arg("--version")) {
        return false;
    }
    let program = compiler.get_program().to_owned();
    let output = run(Command::new(program).arg("-o").arg(&target).arg(example));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    true
}

#[test]
fn the_examples_greet_and_give_a_large_body_back() {
    let server = Server::new();
    let body = noise(MIB);
    for name in ["hello.sh", "hello.py", "hello.c", "hello.rs"] {
        let example = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("examples")
            .join(name);
        if !install_example(&server, &example) {
            continue;
        }
        let mut client = server.connect();
        let greeting = client.get(&format!("/{name}/x?y"));
        let text = greeting.ok();
        assert!(text.contains("path info: /x\nquery: y"), "{name}: {text}");
        assert!(
            client.post(&format!("/{name}"), &body).body == body,
            "{name}"
        );
    }
}

#[test]
fn every_request_leaves_a_line_in_the_log() {
    let server = Server::new();
    server.handler("echo", ECHO);
    let response: Response = server.connect().post("/echo", b"12345");
    assert_eq!(response.ok(), "12345");
    server.wait_for_log("\"POST /echo HTTP/1.1\" 200 in=5");
    let log = server.log();
    let line = log
        .lines()
        .find(|line| line.contains("POST /echo"))
        .unwrap();
    for part in [
        "INFO [",
        "127.0.0.1:",
        "queue=",
        "total=",
        "handler=/echo",
        "exit=0",
        "rss=",
    ] {
        assert!(line.contains(part), "{part} is missing in {line}");
    }
    let (_, rest) = line.split_once("queue=").unwrap();
    let (whole, rest) = rest.split_once('.').unwrap();
    let (micros, _) = rest.split_once("ms").unwrap();
    assert!(
        whole.parse::<u64>().is_ok() && micros.len() == 3 && micros.parse::<u32>().is_ok(),
        "{line}"
    );
    let (time, _) = line.split_once(' ').unwrap();
    assert_eq!(time.len(), "2026-11-23T12:00:00.000+01:00".len(), "{line}");
    let worker: u32 = line.split(['[', ']']).nth(1).unwrap().parse().unwrap();
    assert!(server.worker_pids().contains(&worker), "{line}");
    assert!(os::is_alive(worker));
}
