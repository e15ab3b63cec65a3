//! A system that lacks a call or forbids it: an older kernel (ENOSYS), one that only does as if it were Linux
//! (ENOSYS, EINVAL), a container's seccomp profile (EPERM, ENOSYS). The server has a second way, or says
//! at its start in one sentence that it cannot do without.
//!
//! `CAFFEINE_TEST_DENY=NAME:ERRNO` has every other test run without a call; `tools/denied-calls.sh` does that
//! with each.

use super::harness::seccomp::{CALLS, ERRNOS, call};
use super::harness::{Client, PATIENCE, Server, Setup, eventually, noise, os};
use std::os::unix::fs::symlink;

/// What becomes of a server without the call.
#[derive(Clone, Copy)]
enum Without {
    /// It serves.
    Serves,
    /// It serves, and a WARN with these words tells what is different.
    Warns(&'static str),
    /// It does not start, and says these words.
    Refuses(&'static str),
}
use Without::{Refuses, Serves, Warns};

/// What each of them means, with a test of its name.
macro_rules! calls {
    ($($(#[$there:meta])* $name:ident => $without:expr;)*) => {
        const ROWS: &[(&str, Without)] = &[$($(#[$there])* (stringify!($name), $without),)*];

        $($(#[$there])* #[test]
        fn $name() {
            without(stringify!($name), $without);
        })*
    };
}

calls! {
    accept4 => Serves;
    clone_vfork => Serves;
    close_range => Serves;
    epoll_create1 => Serves;
    epoll_ctl => Serves;
    #[cfg(target_arch = "x86_64")]
    epoll_wait => Serves;
    faccessat2 => Serves;
    flock => Refuses("unable to lock ");
    tcp_info => Serves;
    not_sent_low_water => Serves;
    not_sent => Serves;
    fstatfs => Serves;
    get_pipe_size => Serves;
    get_seals => Serves;
    getrandom => Serves;
    landlock_create_ruleset => Serves;
    limit_locks => Serves;
    madvise => Serves;
    memfd_create => Serves;
    no_new_privs => Refuses("--no-new-privs=no");
    o_tmpfile => Serves;
    openat2 => Serves;
    parent_death_signal => Warns("goes on until the parent ends it");
    peer_credentials => Refuses("getsockopt");
    pass_rights => Serves;
    pipe2 => Refuses("unable to set up signals: pipe2");
    ppoll => Refuses("unable to work: ppoll");
    prlimit64 => Refuses("unable to limit core files: getrlimit");
    pwritev2 => Serves;
    receive_low_water => Serves;
    receive_truncated => Serves;
    sched_getaffinity => Serves;
    sched_setscheduler => Serves;
    sendfile => Serves;
    set_dumpable => Warns("handlers may trace the server");
    set_name => Serves;
    set_pipe_size => Serves;
    statx => Serves;
    subreaper => Warns("in a session of its own is not ended");
    sysinfo => Serves;
    unsent => Serves;
    vmsplice => Serves;
}

/// Says which they are; `tools/denied-calls.sh` reads it.
#[test]
fn the_list_of_calls() {
    let rows = ROWS.iter().map(|(name, _)| *name);
    assert!(rows.eq(CALLS.iter().map(|call| call.name)));
    for (name, without) in ROWS {
        let (is_optional, words) = match without {
            Serves => ("optional", "serves"),
            Warns(words) => ("optional", *words),
            Refuses(words) => ("needed", *words),
        };
        println!("{name} {is_optional}: {words}");
    }
}

fn without(name: &str, without: Without) {
    if std::env::var_os("CAFFEINE_TEST_DENY").is_some() {
        return; // The run is about another call.
    }
    for (errno_name, errno) in ERRNOS {
        println!("{name}:{errno_name}");
        let mut setup = Setup::new();
        setup.args(["--workers=2"]).deny(call(name), errno);
        if let Refuses(words) = without {
            let output = setup.run();
            let said = String::from_utf8_lossy(&output.stderr);
            let is_clear = said.contains(words) && said.contains(errno_name);
            assert!(is_clear && output.status.code() == Some(1), "{output:?}");
            continue;
        }
        let server = setup.start();
        if let Warns(words) = without {
            server.wait_for_log(words);
        }
        let log = server.log();
        let warnings = log.matches("this system lacks").count();
        assert_eq!(warnings, usize::from(matches!(without, Warns(_))), "{log}");
        serve(server, name);
    }
}

/// Also a place that a system may lack.
#[test]
fn without_proc() {
    if std::env::var_os("CAFFEINE_TEST_DENY").is_some() || !os::is_root() {
        return;
    }
    let hide = "mount -t tmpfs none /proc && exec \"$@\"";
    let server = Server::start(|setup| {
        setup.args(["--workers=2"]);
        setup.within(&["unshare", "-m", "sh", "-c", hide, "sh"]);
    });
    server.wait_for_log("what a handler leaves behind is not found");
    serve(server, "proc");
}

const LARGE: usize = 5 << 20;

/// What a server does in its life.
fn serve(mut server: Server, without: &str) {
    let head = "printf 'Content-Type: text/plain\\n\\n'";
    server.handler("hello", &format!("{head}; echo hello; echo oops >&2"));
    server.handler("echo", &format!("{head}; exec cat"));
    server.handler("large", &format!("{head}; exec cat ../large"));
    server.handler("folder/index", &format!("{head}; echo index"));
    let leave = "setsid sh -c 'echo $$ >left; exec sleep 600' >/dev/null 2>&1 & \
        until [ -s left ]; do sleep 0.01; done";
    server.handler("leave", &format!("{leave}; {head}; echo left"));
    let stay = "sleep 600 >/dev/null 2>&1 & echo $! >stayed";
    server.handler("stay", &format!("{stay}; {head}; echo stays"));
    server.handler("hang", "echo $$ >hung; exec sleep 600");
    let large = noise(LARGE);
    server.folder.write("large", &large, 0o644);
    for (to, name) in [("hello", "link"), ("folder", "way"), ("../pid", "outside")] {
        symlink(to, server.folder.at("root").join(name)).unwrap();
    }

    let mut kept = server.connect();
    assert_eq!(kept.get("/hello").ok(), "hello\n");
    assert_eq!(kept.get("/link").ok(), "hello\n");
    assert_eq!(kept.get("/way/").ok(), "index\n");
    assert_eq!(kept.get("/way/index").ok(), "index\n");
    assert_eq!(kept.get("/outside").status, 404);
    bodies(&mut kept, &large);
    slow_clients(&server, &large);
    assert_eq!(server.get("/leave").ok(), "left\n");
    assert_eq!(server.get("/stay").ok(), "stays\n");
    let stayed: u32 = server.wait_for_line("stayed").parse().unwrap();
    eventually(PATIENCE, "what has stayed ends", || !os::is_alive(stayed));
    let left: u32 = server.wait_for_line("left").parse().unwrap();
    if ["subreaper", "proc"].contains(&without) {
        assert!(os::is_alive(left), "as the WARN says");
        os::kill(left, os::KILL);
    }
    eventually(PATIENCE, "what the handler left ends", || {
        !os::is_alive(left)
    });
    lose_worker(&server);
    assert_eq!(kept.get("/hello").ok(), "hello\n");

    server.signal(os::HUP);
    server.wait_for_log("every worker has the new configuration");
    assert_eq!(kept.get("/hello").ok(), "hello\n");
    server.upgrade();
    assert_eq!(kept.get("/hello").ok(), "hello\n");
    server.expect_end_of_old();
    let log = server.log();
    assert!(!log.contains(" ERROR "), "{log}");
    assert!(log.contains("stderr: oops"), "{log}");
    // Else the server gives it a second.
    drop(kept);
    server.stop();
}

/// Bodies of every size and framing.
fn bodies(client: &mut Client, large: &[u8]) {
    for size in [0, 5, 65_536, 65_537, 300_000, 1 << 20] {
        let body = &large[..size];
        assert!(client.post("/echo", body).body == body, "{size} bytes");
    }
    let mut request =
        b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for piece in large[..600_000].chunks(50_000) {
        request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    client.send(request);
    assert!(client.response().body == large[..600_000], "chunked");
}

/// A head and bodies that come in pieces, and a response that is not read for a while.
fn slow_clients(server: &Server, large: &[u8]) {
    let mut half_head = server.connect();
    half_head.send("GET /hello HTTP/1.1\r\nHo");
    let mut half_bodies = [2_000, 700_000].map(|size| {
        let mut client = server.connect();
        client.send(format!(
            "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {size}\r\n\r\n"
        ));
        client.send(&large[..size / 2]);
        (client, size)
    });
    let mut late = server.connect();
    late.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
    eventually(PATIENCE, "each is parked", || {
        let status = server.status();
        [" head=1 ", " body=2 ", " drain=1 "]
            .iter()
            .all(|word| status.contains(word))
    });
    half_head.send("st: test\r\n\r\n");
    assert_eq!(half_head.response().ok(), "hello\n");
    for (client, size) in &mut half_bodies {
        client.send(&large[*size / 2..*size]);
        assert!(
            client.response().body == large[..*size],
            "{size} bytes in pieces"
        );
    }
    let whole = late.response();
    assert!(
        whole.is_whole && whole.body == large,
        "{}",
        whole.body.len()
    );
}

/// A worker is killed: its handler ends too, and its client is told.
fn lose_worker(server: &Server) {
    let mut client = server.connect();
    client.send("GET /hang HTTP/1.1\r\nHost: test\r\n\r\n");
    let handler: u32 = server.wait_for_line("hung").parse().unwrap();
    let workers = server.worker_pids();
    let is_its = |worker: &&u32| os::children(**worker).contains(&handler);
    os::kill(*workers.iter().find(is_its).unwrap(), os::KILL);
    assert_eq!(client.response().status, 502);
    eventually(PATIENCE, "the handler ends", || !os::is_alive(handler));
}
