//! Who the client is and what it has asked for, where proxies stand between it and the server.

use super::harness::{Server, Setup};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// Answers with what it knows of its client.
const WHO: &str =
    "printf 'Content-Type: text/plain\\n\\n%s %s' \"$REMOTE_ADDR\" \"${REMOTE_PORT:+port}\"";

/// Trusts this host, two networks, and who reaches the Unix socket `http`.
fn behind_many() -> Server {
    let mut setup = Setup::new();
    let trusted = ["127.0.0.1", "10.0.0.0/8", "2001:db8::/32", "unix"];
    let lines = trusted.map(|who| format!("trusted-proxy = {who}\n"));
    setup.config(&lines.concat());
    let bind = format!("--bind=unix:{}", setup.folder.at("http").display());
    setup.args([&bind]);
    let server = setup.start();
    server.handler("who", WHO);
    server
}

/// Chains of proxies, the nearest one last, and who stands behind them.
const CHAINS: [(&str, &str); 14] = [
    ("X-Forwarded-For: 192.0.2.7\r\n", "192.0.2.7 "),
    ("X-Forwarded-For: 192.0.2.7, 10.0.0.1\r\n", "192.0.2.7 "),
    (
        "X-Forwarded-For: 192.0.2.7, 10.0.0.1, 10.9.9.9, 2001:db8::1\r\n",
        "192.0.2.7 ",
    ),
    // One field or several, and addresses in every form.
    (
        "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-For: 10.0.0.1\r\nx-forwarded-for: 10.0.0.2\r\n",
        "192.0.2.7 ",
    ),
    (
        "X-Forwarded-For: 192.0.2.7:4711,[2001:db8::5]:80, ::ffff:10.0.0.1\r\n",
        "192.0.2.7 ",
    ),
    (
        "X-Forwarded-For: [2001:db9::7]:4711, 10.0.0.1\r\n",
        "2001:db9::7 ",
    ),
    // What the client has written itself stands to the left of its address.
    (
        "X-Forwarded-For: 203.0.113.9, 192.0.2.7, 10.0.0.1\r\n",
        "192.0.2.7 ",
    ),
    (
        "X-Forwarded-For: 10.0.0.7\r\nX-Forwarded-For: 192.0.2.7, 10.0.0.1\r\n",
        "192.0.2.7 ",
    ),
    (
        "X-Forwarded-For: nonsense, 192.0.2.7, 10.0.0.1\r\n",
        "192.0.2.7 ",
    ),
    // A proxy that is not on the list is the client.
    ("X-Forwarded-For: 192.0.2.7, 11.0.0.1\r\n", "11.0.0.1 "),
    (
        "X-Forwarded-For: 192.0.2.7, 11.0.0.1, 10.0.0.1\r\n",
        "11.0.0.1 ",
    ),
    // Nobody but proxies: the one farthest away.
    ("X-Forwarded-For: 10.0.0.2, 10.0.0.1\r\n", "10.0.0.2 "),
    // Behind what is no address nothing is known.
    (
        "X-Forwarded-For: 192.0.2.7, unknown, 10.0.0.1\r\n",
        "10.0.0.1 ",
    ),
    ("X-Forwarded-For: 192.0.2.7, unknown\r\n", "127.0.0.1 PORT"),
];

#[test]
fn the_client_is_the_first_from_the_right_who_is_no_trusted_proxy() {
    let server = behind_many();
    let mut client = server.connect();
    for (fields, expected) in CHAINS {
        let request = format!("GET /who HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let expected = expected.replace("PORT", "port");
        client.send(&request);
        assert_eq!(client.response().ok(), expected, "{fields}");
        let mut client = UnixStream::connect(server.folder.at("http")).unwrap();
        // Of HTTP/1.0: never in chunks, however slow the handler is.
        let request = request.replace("HTTP/1.1", "HTTP/1.0");
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        // A Unix socket has no port.
        let expected = expected.replace("port", "");
        assert!(
            answer.ends_with(&format!("\r\n\r\n{expected}")),
            "{fields}: {answer}"
        );
    }
    server.stop();
}

#[test]
fn of_several_schemes_the_nearest_proxys_counts() {
    let server = Server::with(["--trusted-proxy=127.0.0.1"]);
    server.handler(
        "scheme",
        "printf 'Content-Type: text/plain\\n\\n%s %s %s' \"${HTTPS-unset}\" \"$REQUEST_SCHEME\" \"$SERVER_PORT\"",
    );
    let (secure, plain) = ("on https 443", "unset http 80");
    let mut client = server.connect();
    for (fields, expected) in [
        ("X-Forwarded-Proto: https\r\n", secure),
        ("X-Forwarded-Proto: HTTPS\r\n", secure),
        ("X-Forwarded-Proto: wss\r\n", secure),
        ("X-Forwarded-Proto: http, https\r\n", secure),
        ("X-Forwarded-Proto: https, http\r\n", plain),
        (
            "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n",
            plain,
        ),
        ("X-Forwarded-Proto: https, unknown\r\n", plain),
        // Empty entries are none.
        ("X-Forwarded-Proto: https,\r\n", secure),
        ("X-Forwarded-Proto: https\r\nX-Forwarded-Proto:\r\n", secure),
    ] {
        client.send(format!("GET /scheme HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!(client.response().ok(), expected, "{fields}");
    }
    server.stop();
}

#[test]
fn only_a_trusted_proxy_says_who_and_where_the_client_is() {
    let show = "printf 'Content-Type: text/plain\\n\\n%s %s %s %s %s %s %s' \"$REMOTE_ADDR\" \
        \"${REMOTE_PORT:+port}\" \"${HTTPS-unset}\" \"$REQUEST_SCHEME\" \"$SERVER_NAME\" \
        \"$SERVER_PORT\" \"$HTTP_HOST\"";
    let chain =
        "X-Forwarded-For: 192.0.2.1, 192.0.2.7\r\nX-Forwarded-For: 127.0.0.2, 127.0.0.3\r\n";
    let proto = "X-Forwarded-Proto: https\r\n";
    let outer = "X-Forwarded-Host: b:1\r\nX-Forwarded-Port: 2\r\n";
    for (option, fields, expected) in [
        (
            "127.0.0.0/8",
            format!("{chain}{proto}"),
            "192.0.2.7  on https a 443 a",
        ),
        (
            "127.0.0.0/8",
            format!("{proto}{outer}"),
            "127.0.0.1 port on https b 2 b:1",
        ),
        (
            "127.0.0.0/8",
            "X-Forwarded-Host: b:1\r\n".into(),
            "127.0.0.1 port unset http b 1 b:1",
        ),
        (
            "127.0.0.0/8",
            chain.into(),
            "192.0.2.7  unset http a PORT a",
        ),
        (
            "10.0.0.1",
            format!("{chain}{proto}{outer}"),
            "127.0.0.1 port unset http a PORT a",
        ),
        (
            "unix",
            format!("{chain}{proto}{outer}"),
            "127.0.0.1 port unset http a PORT a",
        ),
    ] {
        let server = Server::with([&format!("--trusted-proxy={option}")]);
        server.handler("show", show);
        let request = format!("GET /show HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let expected = expected.replace("PORT", &server.port.to_string());
        assert_eq!(server.ask(&request).ok(), expected, "{option} {fields}");
    }
}
