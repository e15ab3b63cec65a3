//! What all spools together may hold: responses leave bodies their room, and a body that finds none waits
//! for it in its socket.

use super::harness::{Client, PATIENCE, Server, eventually, noise, os};
use std::thread;

const MIB: usize = 1 << 20;
const HEAD: &str = "printf 'Content-Type: text/plain\\n\\n'";

fn status_of(server: &Server, key: &str) -> usize {
    server.status_of(key).parse().unwrap()
}

/// A server whose handler `echo` gives back what it gets.
fn server<const N: usize>(options: [&str; N]) -> Server {
    let server = Server::with(options);
    server.handler("echo", &format!("{HEAD}; exec cat"));
    server
}

/// A client that sends so much of its body, and owes the rest.
fn begin_upload(server: &Server, length: usize, sent: &[u8]) -> Client {
    let mut client = server.connect();
    client.send(format!(
        "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n"
    ));
    client.send(sent);
    client
}

#[test]
fn slow_readers_leave_uploads_their_room() {
    let server = server([
        "--workers=4",
        "--max-workers=12",
        "--max-concurrent=8",
        "--max-spool-total=16M",
    ]);
    let response = noise(8 * MIB);
    server.folder.write("root/.large", &response, 0o644);
    server.handler("large", &format!("{HEAD}; exec cat .large"));
    let mut readers: Vec<Client> = (0..8)
        .map(|_| {
            let mut client = server.connect();
            os::set_receive_buffer(&client.stream, 64 * 1024);
            client.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
            client
        })
        .collect();
    eventually(PATIENCE, "responses wait in their handlers", || {
        status_of(&server, "client_waits") > 0
    });
    let body = noise(2 * MIB);
    for _ in 0..10 {
        let response = server.connect().post("/echo", &body);
        assert_eq!(response.status, 200);
        assert!(response.body == body);
    }
    for reader in &mut readers {
        let response = reader.response();
        assert!(response.is_whole && response.body.len() == 8 * MIB);
    }
    server.stop();
}

/// Each handler alone is held to `max-concurrent`; together they could have every worker.
#[test]
fn slow_readers_of_several_handlers_leave_uploads_their_workers() {
    let server = server([
        "--workers=4",
        "--max-workers=8",
        "--max-spool-total=16M",
        "--queue-timeout=60s",
    ]);
    server.folder.write("root/.large", noise(8 * MIB), 0o644);
    server.handler("takes", &format!("{HEAD}; wc -c"));
    let mut readers = Vec::new();
    let mut read_slowly = |target: &str| {
        let mut client = server.connect();
        os::set_receive_buffer(&client.stream, 64 * 1024);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        readers.push(client);
    };
    for name in ["large", "huge"] {
        server.handler(name, &format!("{HEAD}; exec cat .large"));
        read_slowly(&format!("/{name}"));
    }
    // Each spool has its share of the room, or all that there was to put into it.
    eventually(PATIENCE, "both handlers are heavy", || {
        let (parked, waits) = (
            status_of(&server, "drain"),
            status_of(&server, "client_waits"),
        );
        parked == 2 || parked + waits >= 2 && status_of(&server, "spooled") >= 8 * MIB
    });
    for _ in 0..4 {
        read_slowly("/large");
        read_slowly("/huge");
    }
    eventually(PATIENCE, "some have a worker, the others are held", || {
        status_of(&server, "serving") + status_of(&server, "drain") + status_of(&server, "held")
            == 10
    });
    let body = noise(2 * MIB);
    for _ in 0..5 {
        let response = server.connect().post("/takes", &body);
        assert_eq!(response.ok().trim(), body.len().to_string());
    }
    // All at once: who has a place waits for its reader, and the others for a place.
    thread::scope(|scope| {
        for reader in &mut readers {
            scope.spawn(|| {
                let response = reader.response();
                assert!(response.is_whole && response.body.len() == 8 * MIB);
            });
        }
    });
    server.stop();
}

/// With `?waits` a handler of [`heavy_server`] prints nothing before the file `go` is there.
const LARGE: &str = "[ -n \"$QUERY_STRING\" ] && while [ ! -e go ]; do sleep 0.01; done";

/// A server with four workers, three of which heavy handlers may have, and two handlers that print 8 MiB.
fn heavy_server<const N: usize>(options: [&str; N]) -> Server {
    let server = server(options);
    server.folder.write("root/.large", noise(8 * MIB), 0o644);
    for name in ["large", "huge"] {
        server.handler(name, &format!("{LARGE}; {HEAD}; exec cat .large"));
    }
    server
}

fn ask(server: &Server, target: &str) -> Client {
    let mut client = server.connect();
    os::set_receive_buffer(&client.stream, 64 * 1024);
    client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
    client
}

#[test]
fn who_is_held_for_heavy_handlers_goes_on_once_no_response_waits() {
    let server = heavy_server(["--workers=4", "--max-workers=4", "--queue-timeout=10s"]);
    let mut readers = ["/large", "/huge"].map(|target| ask(&server, target));
    eventually(PATIENCE, "both wait for their clients", || {
        status_of(&server, "drain") == 2
    });
    let mut running: Vec<Client> = (0..3).map(|_| ask(&server, "/large?waits")).collect();
    eventually(PATIENCE, "heavy handlers have all that they may", || {
        status_of(&server, "serving") == 3
    });
    let mut held = ask(&server, "/huge");
    eventually(PATIENCE, "it is held", || status_of(&server, "held") == 1);
    for reader in &mut readers {
        assert_eq!(reader.response().body.len(), 8 * MIB);
    }
    assert_eq!(held.response().status, 200);
    server.file("go", "", 0o644);
    for client in &mut running {
        assert_eq!(client.response().status, 200);
    }
    server.stop();
}

#[test]
fn places_of_heavy_handlers_go_to_who_has_waited_longest() {
    let server = heavy_server(["--workers=4", "--max-workers=4", "--queue-timeout=60s"]);
    let readers = ["/large", "/huge"].map(|target| ask(&server, target));
    eventually(PATIENCE, "both wait for their clients", || {
        status_of(&server, "drain") == 2
    });
    for name in ["large", "huge"] {
        let waits = "while [ ! -e go$QUERY_STRING ]; do sleep 0.01; done";
        let script = format!("echo {name} >> runs; {waits}; {HEAD}; echo {name}");
        server.handler(name, &script);
    }
    let mut running: Vec<Client> = (0..3)
        .map(|n| ask(&server, &format!("/large?{n}")))
        .collect();
    let wait_for_runs = |expected: usize| {
        eventually(PATIENCE, "so many have begun", || {
            server.read("runs").lines().count() == expected
        });
    };
    wait_for_runs(3);
    let asked = ["huge", "large", "huge", "huge", "large", "huge"];
    for (n, name) in asked.into_iter().enumerate() {
        running.push(ask(&server, &format!("/{name}?{}", n + 3)));
        eventually(PATIENCE, "it is held", || {
            status_of(&server, "held") == n + 1
        });
    }
    for ended in 0..asked.len() {
        server.file(&format!("go{ended}"), "", 0o644);
        wait_for_runs(4 + ended);
    }
    let runs = server.read("runs");
    let begun: Vec<&str> = runs.lines().skip(3).collect();
    assert_eq!(begun, asked);
    for rest in asked.len()..asked.len() + 3 {
        server.file(&format!("go{rest}"), "", 0o644);
    }
    for client in &mut running {
        assert_eq!(client.response().status, 200);
    }
    drop(readers);
    server.stop();
}

/// Its response has filled the room and was taken before the handler's end, so it was never parked.
#[test]
fn a_handler_whose_client_has_caught_up_is_heavy_no_longer() {
    let server = Server::with(["--workers=4", "--max-workers=4", "--max-spool=1M"]);
    server.folder.write("root/.large", noise(8 * MIB), 0o644);
    server
        .folder
        .write("root/.end", "that was all of it", 0o644);
    let script = format!("{HEAD}; cat .large .end; while [ ! -e go ]; do sleep 0.01; done");
    let mut readers = Vec::new();
    for name in ["large", "huge"] {
        server.handler(name, &script);
        let waits = status_of(&server, "client_waits");
        let mut reader = ask(&server, &format!("/{name}"));
        eventually(PATIENCE, "the handler waits for its client", || {
            status_of(&server, "client_waits") > waits
        });
        assert!(reader.receive_until(b"that was all of it").is_some());
        readers.push(reader);
    }
    for name in ["large", "huge"] {
        readers.push(ask(&server, &format!("/{name}")));
    }
    eventually(PATIENCE, "every worker has one", || {
        status_of(&server, "serving") == 4
    });
    server.file("go", "", 0o644);
    drop(readers);
    server.stop();
}

#[test]
fn a_body_without_room_waits_for_it() {
    let server = server(["--max-spool-total=2M", "--queue-timeout=1m"]);
    let (long, short) = (noise(2 * MIB - 100_000), noise(MIB));
    let (sent, owed) = long.split_at(long.len() - 10);
    let mut first = begin_upload(&server, long.len(), sent);
    eventually(PATIENCE, "it is put away", || {
        status_of(&server, "spooled") >= sent.len() && status_of(&server, "body") == 1
    });
    // One that has not begun, and one that is on its way.
    let mut others =
        [short.len(), 0].map(|sent| begin_upload(&server, short.len(), &short[..sent]));
    others[1].send(&short[..90_000]);
    eventually(PATIENCE, "they wait", || status_of(&server, "stalled") == 2);
    assert!(others[0].is_silent());
    first.send(owed);
    assert!(first.response().body == long);
    others[1].send(&short[90_000..]);
    for other in &mut others {
        let response = other.response();
        assert_eq!(response.status, 200);
        assert!(response.body == short);
    }
    assert_eq!(status_of(&server, "spooled"), 0);
    assert!(!server.log().contains("is reached"), "{}", server.log());
    server.stop();
}

#[test]
fn a_body_that_finds_no_room_in_time_is_503_and_the_log_names_the_limit() {
    let server = server([
        "--max-spool-total=2M",
        "--queue-timeout=300ms",
        "--max-body=2M",
    ]);
    let long = noise(2 * MIB - 100_000);
    let (sent, owed) = long.split_at(long.len() - 10);
    let mut first = begin_upload(&server, long.len(), sent);
    eventually(PATIENCE, "it is put away", || {
        status_of(&server, "spooled") >= sent.len() && status_of(&server, "body") == 1
    });
    let refused = server.connect().post("/echo", &noise(MIB));
    assert_eq!((refused.status, refused.says_close()), (503, true));
    assert!(refused.field("Retry-After").is_some());
    server.wait_for_log("max-spool-total (2M) is reached");
    first.send(owed);
    assert!(first.response().body == long);
    server.stop();
}

#[test]
fn a_body_that_can_never_fit_is_507_and_the_log_names_the_limit() {
    let server = server(["--max-spool-total=64K"]);
    server.wait_for_log("max-body (16M) has no effect beyond max-spool-total (64K)");
    let refused = server.connect().post("/echo", &noise(400_000));
    assert_eq!((refused.status, refused.says_close()), (507, true));
    let chunk = noise(100_000);
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n");
    client.send(&chunk);
    assert_eq!(client.response().status, 507);
    assert_eq!(server.connect().post("/echo", &chunk[..60_000]).status, 200);
    let log = server.log();
    let told = log.matches("unable to keep a request's body: max-spool-total (64K) is reached");
    assert_eq!(told.count(), 2, "{log}");
    assert!(!log.contains("ENOSPC"), "{log}");
    server.stop();
}

#[test]
fn spools_have_room_for_the_largest_body_that_a_section_allows() {
    // More than all spools hold without it.
    const LENGTH: usize = 260 * MIB;
    let server = Server::start(|setup| {
        setup.config("max-spool-memory = 0\n[handler /count]\nmax-body = 300M\n");
    });
    server.handler("count", &format!("{HEAD}; wc -c"));
    let mut client = server.connect();
    client.send(format!(
        "POST /count HTTP/1.1\r\nHost: test\r\nContent-Length: {LENGTH}\r\n\r\n"
    ));
    let piece = noise(MIB);
    for _ in 0..LENGTH / MIB {
        client.send(&piece);
    }
    assert_eq!(client.response().ok().trim(), LENGTH.to_string());
    server.stop();
}
