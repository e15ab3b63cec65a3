//! The life cycle: other settings, another binary, the end, and what the service manager is told.

use super::harness::{Client, PATIENCE, Server, Setup, eventually, os};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HELLO: &str = "printf 'Content-Type: text/plain\\n\\nhello'";

/// Writes the configuration anew and waits until it holds.
#[track_caller]
fn reload(server: &Server, text: &str) {
    let before = reloads(server);
    server.folder.write("caffeine.conf", text, 0o644);
    server.signal(os::HUP);
    eventually(PATIENCE, "the reload is over", || reloads(server) > before);
}

fn reloads(server: &Server) -> usize {
    let done = "every worker has the new configuration";
    server.log().matches(done).count()
}

/// The port behind the last such words in the log.
#[track_caller]
fn port_after(server: &Server, words: &str) -> u16 {
    let log = server.log();
    let (_, rest) = log.rsplit_once(words).unwrap();
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap();
    digits.parse().unwrap()
}

#[test]
fn a_reload_adds_and_removes_listeners_and_keeps_those_that_stay() {
    let server = Server::start(|setup| {
        setup
            .without("--bind")
            .without("--port")
            .config("bind = 127.0.0.1:0\n");
    });
    server.handler(
        "port",
        "printf 'Content-Type: text/plain\\n\\n%s' $SERVER_PORT",
    );
    let mut old = server.connect();
    assert_eq!(old.get("/port").ok(), server.port.to_string());

    reload(&server, "bind = 127.0.0.1:0\nbind = 127.0.0.2:0\n");
    let second = port_after(&server, "listening on http://127.0.0.2:");
    let at_second = || Client::of(TcpStream::connect(("127.0.0.2", second)).unwrap());
    let mut parked = at_second();
    assert_eq!(parked.get("/port").ok(), second.to_string());
    assert_eq!(old.get("/port").ok(), server.port.to_string());
    // Connected before the reload, spoken to after it.
    let mut silent = at_second();

    reload(&server, "bind = 127.0.0.1:0\n");
    assert!(TcpStream::connect(("127.0.0.2", second)).is_err());
    for client in [&mut parked, &mut silent] {
        assert_eq!(client.get("/port").ok(), second.to_string());
    }
    assert_eq!(old.get("/port").ok(), server.port.to_string());
    assert_eq!(server.get("/port").ok(), server.port.to_string());
    server.stop();
}

#[test]
fn who_has_connected_before_a_listener_goes_is_served() {
    let server = Server::start(|setup| {
        let text = "bind = 127.0.0.1:0\nbind = 127.0.0.2:0\n";
        setup.without("--bind").without("--port").config(text);
    });
    server.handler("hello", HELLO);
    let second = port_after(&server, "http://127.0.0.2:");
    // While it stands still nobody is accepted, and then it hears of the order first.
    os::stop(server.pid());
    let connect = |_| Client::of(TcpStream::connect(("127.0.0.2", second)).unwrap());
    let mut waiting: Vec<Client> = (0..100).map(connect).collect();
    server
        .folder
        .write("caffeine.conf", "bind = 127.0.0.1:0\n", 0o644);
    server.signal(os::HUP);
    server.signal(os::CONT);
    server.wait_for_log("no longer listening on http://127.0.0.2:");
    for client in &mut waiting {
        assert_eq!(client.get("/hello").ok(), "hello");
    }
    server.stop();
}

#[test]
fn who_has_connected_before_the_order_to_stop_is_served() {
    let mut server = Server::new();
    server.handler("hello", HELLO);
    os::stop(server.pid());
    let ask = |_| {
        let mut client = server.connect();
        client.send("GET /hello HTTP/1.1\r\nHost: test\r\n\r\n");
        client
    };
    let mut waiting: Vec<Client> = (0..100).map(ask).collect();
    server.signal(os::TERM);
    server.signal(os::CONT);
    for client in &mut waiting {
        assert_eq!(client.response().ok(), "hello");
    }
    server.expect_clean_end();
}

#[test]
fn a_listener_for_all_addresses_makes_way_for_one_at_its_port() {
    let server = Server::start(|setup| {
        setup
            .without("--bind")
            .without("--port")
            .config("bind = 127.0.0.1:0\n");
    });
    server.handler("hello", HELLO);
    reload(&server, "port = 0\n");
    let port = port_after(&server, "listening on http://localhost:");
    assert_eq!(Client::connect(port).get("/hello").ok(), "hello");
    reload(&server, &format!("bind = 127.0.0.1:{port}\n"));
    assert_eq!(Client::connect(port).get("/hello").ok(), "hello");
    assert!(TcpStream::connect(("127.0.0.9", port)).is_err());
    // And back.
    reload(&server, &format!("port = {port}\n"));
    for address in ["127.0.0.1", "127.0.0.9"] {
        let stream = TcpStream::connect((address, port)).unwrap();
        assert_eq!(Client::of(stream).get("/hello").ok(), "hello");
    }
    server.stop();
}

#[test]
fn a_bad_configuration_changes_nothing_and_is_told_in_one_line() {
    let server = Server::start(|setup| {
        setup.config("env COLOUR = red\n");
    });
    server.handler(
        "colour",
        "printf 'Content-Type: text/plain\\n\\n%s' $COLOUR",
    );
    let workers = server.worker_pids();
    let taken = TcpListener::bind("127.0.0.3:0").unwrap();
    let taken = format!("bind = {}\n", taken.local_addr().unwrap());
    for (text, part) in [
        (
            "env COLOUR = blue\nmax-body = huge\n",
            "caffeine.conf:2: max-body",
        ),
        ("env COLOUR = blue\nerror-page 404 = /nowhere\n", "/nowhere"),
    ] {
        server.folder.write("caffeine.conf", text, 0o644);
        server.signal(os::HUP);
        server.wait_for_log(part);
    }
    let log = server.log();
    let errors: Vec<&str> = log.lines().filter(|l| l.contains(" ERROR ")).collect();
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(
        errors
            .iter()
            .all(|line| line.contains("the old configuration stays in force")),
        "{errors:#?}"
    );
    assert_eq!(server.get("/colour").ok(), "red");
    assert_eq!(server.worker_pids(), workers);
    drop(taken);
    reload(&server, "env COLOUR = blue\n");
    assert_eq!(server.get("/colour").ok(), "blue");
    server.stop();
}

#[test]
fn an_address_that_cannot_be_had_changes_nothing() {
    let server = Server::start(|setup| {
        setup
            .without("--bind")
            .without("--port")
            .config("bind = 127.0.0.1:0\n");
    });
    server.handler("hello", HELLO);
    let taken = TcpListener::bind("127.0.0.3:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = format!("bind = 127.0.0.4:0\nbind = {address}\n");
    server.folder.write("caffeine.conf", text, 0o644);
    server.signal(os::HUP);
    server.wait_for_log(&format!("unable to listen on {address}"));
    assert_eq!(server.get("/hello").ok(), "hello");
    assert!(!server.log().contains("127.0.0.4"));
    server.stop();
}

/// Of a reload that would have let handlers dump cores of 2 MiB in the place of 1.
#[track_caller]
fn expect_no_effect(server: &Server, name: &str) {
    for file in ["new", "http"] {
        assert!(!server.folder.at(file).exists(), "{name}: {file}");
    }
    let log = server.log();
    assert!(
        !log.contains("listening") && !log.contains(" WARN "),
        "{name}: {log}"
    );
    assert!(
        !os::can_share_port(server.port),
        "{name}: others can have the port"
    );
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core"));
    assert!(core.unwrap().contains(" 1048576 "), "{name}: {core:?}");
    os::kill(server.worker_pids()[0], os::KILL);
    server.wait_for_log("was killed by signal 9");
    for _ in 0..8 {
        let core = server.get("/core").ok();
        assert!(core.contains(" 1048576 "), "{name}: {core}");
    }
}

/// Each fails at another step of a reload, after others could have had their effect.
#[test]
fn a_reload_that_fails_has_no_half_effect() {
    let mut setup = Setup::new();
    setup.without("--bind").without("--port");
    setup.without("--path").without("--log-file");
    let at = |name: &str| setup.folder.at(name).display().to_string();
    let own = format!("path = {}\nlog-file = {}\n", at("root"), at("log"));
    let own = format!("{own}max-core = 1M\nbind = 127.0.0.1:0\n");
    setup.config(&own);
    let server = setup.start();
    server.handler(
        "core",
        "printf 'Content-Type: text/plain\n\n'; grep 'Max core' /proc/self/limits",
    );
    server.folder.write("file", "", 0o644);
    let taken = TcpListener::bind("127.0.0.3:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (folder, port) = (server.folder.path().display(), server.port);
    let half = "max-core = 2M\nmax-connections = 1000000\n";
    for (name, text, part) in [
        (
            "a listener",
            format!("bind = 0.0.0.0:{port}\nbind = {address}\n"),
            "unable to listen",
        ),
        (
            "a log",
            format!(
                "path = {folder}/new/root\nlog-file = {folder}/file/log\nbind = unix:{folder}/http\n"
            ),
            "/file",
        ),
        (
            "a root",
            format!("path = {folder}/file\nlog-file = {folder}/new/log\nport = {port}\n"),
            "is not a folder",
        ),
    ] {
        let text = format!("{half}{text}");
        server.folder.write("caffeine.conf", text, 0o644);
        fs::write(server.folder.at("log"), "").unwrap();
        server.signal(os::HUP);
        server.wait_for_log(part);
        expect_no_effect(&server, name);
    }
    reload(&server, &own.replace("1M", "2M"));
    assert!(server.get("/core").ok().contains(" 2097152 "));
    server.stop();
}

#[test]
fn workers_are_replaced_and_a_busy_one_finishes_its_request_first() {
    let server = Server::start(|setup| {
        setup.args(["--max-workers=2"]).config("workers = 2\n");
    });
    server.handler("hello", HELLO);
    server.handler(
        "slow",
        &format!("echo $PPID > slow.runs; while [ ! -e go ]; do sleep 0.02; done; {HELLO}"),
    );
    let mut busy = server.connect();
    busy.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    let worker: u32 = server.wait_for_line("slow.runs").parse().unwrap();
    let before = server.worker_pids();
    assert_eq!(before.len(), 2);

    reload(&server, "workers = 2\nmax-queue = 7\n");
    let of_before = |pids: &[u32]| pids.iter().filter(|pid| before.contains(pid)).count();
    eventually(SECOND, "two new ones and the busy one", || {
        let now = server.worker_pids();
        now.len() == 3 && of_before(&now) == 1 && now.contains(&worker)
    });
    assert_eq!(server.get("/hello").ok(), "hello");
    // Once more, with the only spare place taken.
    server.signal(os::HUP);
    assert_eq!(server.get("/hello").ok(), "hello");
    server.file("go", "", 0o644);
    assert_eq!(busy.response().ok(), "hello");
    eventually(PATIENCE, "two workers again", || {
        let now = server.worker_pids();
        now.len() == 2 && of_before(&now) == 0
    });
    assert_eq!(busy.get("/hello").ok(), "hello");
    server.stop();
}

#[test]
fn the_pool_grows_and_shrinks_with_its_settings() {
    let server = Server::start(|setup| {
        setup
            .without("--workers")
            .config("workers = 1\nmax-workers = 1\n");
    });
    server.handler("hello", HELLO);
    for (text, workers) in [
        ("workers = 6\nmax-workers = 6\n", 6),
        ("workers = 40\nmax-workers = 40\n", 40),
    ] {
        reload(&server, text);
        eventually(PATIENCE, "the pool is as large as wanted", || {
            server.worker_pids().len() == workers
        });
        assert_eq!(server.get("/hello").ok(), "hello");
    }
    reload(&server, "workers = 2\nmax-workers = 2\n");
    assert_eq!(server.get("/hello").ok(), "hello");
    server.stop();
}

#[test]
fn what_takes_a_restart_is_named() {
    let server = Server::start(|setup| {
        setup.without("--pid-file").without("--socket");
        let at = |name: &str| setup.folder.at(name).display().to_string();
        let text = format!("pid-file = {}\nsocket = {}\n", at("pid"), at("socket"));
        setup.config(&text);
    });
    let at = |name: &str| server.folder.at(name).display().to_string();
    let log_line = format!(
        "pid-file = {}\nsocket = {}\ndaemon = yes\n",
        at("pid2"),
        at("socket2")
    );
    reload(&server, &log_line);
    for key in ["pid-file", "socket", "daemon"] {
        let words = format!("{key} has changed: that takes a restart");
        assert_eq!(server.log().matches(&words).count(), 1, "{key}");
    }
    assert!(server.folder.at("pid").exists() && !server.folder.at("pid2").exists());
    assert_eq!(server.get("/").status, 200);
    server.stop();
}

#[test]
fn the_log_moves_and_changes_its_level() {
    let server = Server::start(|setup| {
        setup.without("--log-file");
        let at = setup.folder.at("log").display().to_string();
        setup.config(&format!("log-file = {at}\n"));
    });
    server.handler("hello", HELLO);
    let text = format!(
        "log-file = {}\nlog-level = DEBUG\n",
        server.folder.at("log2").display()
    );
    server.folder.write("caffeine.conf", text, 0o644);
    server.signal(os::HUP);
    eventually(PATIENCE, "the new log has the end of the reload", || {
        let log = server.folder.read("log2");
        log.contains("every worker has the new configuration")
    });
    assert_eq!(server.get("/hello?moved").ok(), "hello");
    eventually(PATIENCE, "the request is in the new log", || {
        server.folder.read("log2").contains("?moved")
    });
    assert!(!server.log().contains("?moved"));
    server.stop();
}

#[test]
fn a_busy_worker_and_its_successor_write_to_the_log_that_was_opened_again() {
    let server = Server::start(|setup| {
        setup.args(["--workers=1", "--max-workers=1"]).config("");
    });
    server.handler("hello", HELLO);
    server.handler(
        "slow",
        &format!("echo x > slow.runs; while [ ! -e go ]; do sleep 0.02; done; {HELLO}"),
    );
    let mut busy = server.connect();
    busy.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_line("slow.runs");
    fs::rename(server.folder.at("log"), server.folder.at("log.1")).unwrap();
    server.signal(os::USR1);
    server.wait_for_log("log opened again");
    server.file("go", "", 0o644);
    assert_eq!(busy.response().ok(), "hello");
    assert_eq!(busy.get("/hello?same").ok(), "hello");
    server.wait_for_log("?same");
    reload(&server, "");
    assert_eq!(busy.get("/hello?next").ok(), "hello");
    server.wait_for_log("?next");
    assert!(!server.folder.read("log.1").contains("/hello"));
    server.stop();
}

/// The next thing that the service manager hears, signs of life left out.
#[track_caller]
fn hear(ear: &UnixDatagram) -> String {
    loop {
        let mut heard = [0; 512];
        let n = ear.recv(&mut heard).unwrap();
        let text = String::from_utf8(heard[..n].to_vec()).unwrap();
        if text != "WATCHDOG=1" {
            return text;
        }
    }
}

#[test]
fn the_service_manager_hears_of_ready_workers_reloads_life_and_the_end() {
    let mut setup = Setup::new();
    let path = setup.folder.at("notify");
    let ear = UnixDatagram::bind(&path).unwrap();
    ear.set_read_timeout(Some(PATIENCE)).unwrap();
    setup.env("NOTIFY_SOCKET", path.to_str().unwrap());
    setup.env("WATCHDOG_USEC", "100000");
    setup.config("");
    let mut server = setup.start();
    let pid = format!("MAINPID={}", server.pid());
    let ready = hear(&ear);
    assert_eq!(
        server.status_of("ready"),
        "4",
        "READY comes after the workers"
    );
    assert!(
        ready.starts_with("READY=1\n") && ready.contains(&pid),
        "{ready}"
    );

    let before = server.worker_pids();
    server.signal(os::HUP);
    let reloading = hear(&ear);
    assert!(
        reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{reloading}"
    );
    assert!(hear(&ear).starts_with("READY=1\n"));
    eventually(PATIENCE, "the old workers have gone", || {
        !server.worker_pids().iter().any(|pid| before.contains(pid))
    });
    server.folder.write("caffeine.conf", "nonsense", 0o644);
    server.signal(os::HUP);
    assert!(hear(&ear).starts_with("RELOADING=1\n"));
    assert!(hear(&ear).starts_with("READY=1\n"));

    let mut heard = [0; 64];
    for _ in 0..3 {
        let n = ear.recv(&mut heard).unwrap();
        assert_eq!(&heard[..n], b"WATCHDOG=1");
    }
    server.handler("env", "printf 'Content-Type: text/plain\\n\\n'; env");
    let env = server.get("/env").ok();
    for name in ["NOTIFY", "WATCHDOG", "LISTEN"] {
        assert!(!env.contains(name), "{env}");
    }
    server.signal(os::TERM);
    assert!(hear(&ear).starts_with("STOPPING=1\n"));
    server.expect_clean_end();
}

#[test]
fn a_socket_of_the_service_manager_takes_the_place_of_bind_and_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // A client that comes before the server.
    let mut early = Client::connect(port);
    let server = Server::start(|setup| {
        setup.without("--bind").args(["--port=1"]).config("");
        setup.activate(listener);
    });
    assert_eq!(server.port, port);
    server.handler("env", "printf 'Content-Type: text/plain\\n\\n'; env");
    for client in [&mut early, &mut server.connect()] {
        let env = client.get("/env").ok();
        assert!(env.contains(&format!("SERVER_PORT={port}")), "{env}");
        assert!(!env.contains("LISTEN"), "{env}");
    }
    reload(&server, "");
    assert_eq!(server.get("/env").status, 200);
    server.stop();
}

#[test]
fn a_unix_socket_of_the_service_manager_serves_too_and_stays_its_own() {
    let mut setup = Setup::new();
    let path = setup.folder.at("http");
    setup.activate(UnixListener::bind(&path).unwrap());
    setup.args(["--daemon"]);
    let output = setup.run();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("unix:inherited"),
        "{said}"
    );
    let pid: u32 = setup.folder.read("pid").trim().parse().unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut line = String::new();
    BufReader::new(client).read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200 "), "{line}");
    os::kill(pid, os::TERM);
    eventually(PATIENCE, "the daemon ends", || !os::is_alive(pid));
    assert!(path.exists());
}

#[test]
fn what_is_no_listener_is_refused_by_name() {
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (stream, _other) = UnixStream::pair().unwrap();
    let file = fs::File::open("/dev/null").unwrap();
    for given in [OwnedFd::from(datagrams), stream.into(), file.into()] {
        let mut setup = Setup::new();
        let output = setup.activate(given).run();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("LISTEN_FDS") && said.lines().count() == 1,
            "{said}"
        );
        assert!(!setup.folder.at("pid").exists());
    }
}

#[test]
fn half_a_head_does_not_hold_up_the_end() {
    let mut server = Server::new();
    server.handler("hello", HELLO);
    let mut half = server.connect();
    half.send("GET /hello HTTP/1.1\r\nHo");
    let mut later = server.connect();
    assert_eq!(later.get("/hello").ok(), "hello");
    server.signal(os::TERM);
    server.wait_for_log("stopping:");
    later.send("GET /hello HTTP/1.1\r\n");
    // Who is in time is answered.
    later.send("Host: test\r\n\r\n");
    assert_eq!(later.response().ok(), "hello");
    let start = std::time::Instant::now();
    assert_eq!(half.response().status, 503);
    half.expect_closed();
    server.expect_clean_end();
    assert!(start.elapsed() < 5 * SECOND, "{:?}", start.elapsed());
}
