//! The upgrade of the running server (SIGUSR2): what is handed over, and what happens if it fails.

use super::harness::{Client, PATIENCE, Server, Setup, eventually, noise, os};
use std::fs;
use std::os::unix::net::UnixDatagram;

const HELLO: &str = "printf 'Content-Type: text/plain\\n\\nhello'";

/// Answers with the process id of the server, by way of its worker's parent.
const SERVER: &str = "printf 'Content-Type: text/plain\\n\\n'; \
    while read -r name value; do [ \"$name\" = PPid: ] && echo $value; done < /proc/$PPID/status";

fn server_of(client: &mut Client) -> u32 {
    client.get("/server").ok().trim().parse().unwrap()
}

/// A client in each state that a connection can be parked in, and one that is being served.
struct Visitors {
    body: Vec<u8>,
    large: Vec<u8>,
    idle: Client,
    silent: Client,
    half_head: Client,
    half_body: Client,
    draining: Client,
    busy: Client,
}

/// The state of each in the status, and how many are in it.
const STATES: [(&str, u32); 4] = [("head", 2), ("body", 1), ("drain", 1), ("idle", 1)];

fn are_parked(server: &Server) -> bool {
    let line = server.status();
    STATES
        .iter()
        .all(|(state, n)| line.contains(&format!(" {state}={n} ")))
}

impl Visitors {
    fn arrive(server: &Server) -> Self {
        let large = noise(24 << 20);
        server.folder.write("large", &large, 0o644);
        let path = server.folder.at("large").display().to_string();
        server.handler(
            "large",
            &format!("printf 'Content-Type: text/plain\\n\\n'; cat {path}"),
        );
        let connect = || server.connect();
        let mut visitors = Self {
            body: noise(900_000),
            large,
            idle: connect(),
            silent: connect(),
            half_head: connect(),
            half_body: connect(),
            draining: connect(),
            busy: connect(),
        };
        assert_eq!(server_of(&mut visitors.idle), server.pid());
        visitors.half_head.send("GET /server HTTP/1.1\r\nHo");
        let head = "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 900000\r\n\r\n";
        visitors.half_body.send(head);
        visitors.half_body.send(&visitors.body[..300_000]);
        visitors
            .draining
            .send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
        visitors
            .busy
            .send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
        server.wait_for_line("slow.runs");
        eventually(PATIENCE, "each is in its state", || are_parked(server));
        visitors
    }

    /// Those that are parked go on as if nothing had been.
    fn go_on(&mut self, new: u32) {
        assert_eq!(server_of(&mut self.idle), new);
        self.half_head.send("st: test\r\n\r\n");
        assert_eq!(self.half_head.response().ok().trim(), new.to_string());
        self.half_body.send(&self.body[300_000..]);
        assert!(self.half_body.response().body == self.body);
        let whole = self.draining.response();
        assert!(
            whole.is_whole && whole.body == self.large,
            "{}",
            whole.body.len()
        );
        for client in [
            &mut self.half_head,
            &mut self.half_body,
            &mut self.draining,
            &mut self.silent,
        ] {
            assert_eq!(server_of(client), new);
        }
    }
}

#[test]
fn clients_in_every_state_notice_nothing() {
    let mut server = Server::with(["--workers=2"]);
    server.handler("server", SERVER);
    server.handler("echo", "printf 'Content-Type: text/plain\\n\\n'; cat");
    server.handler("slow", &slow());
    let old = server.pid();
    let mut visitors = Visitors::arrive(&server);

    let new = server.upgrade();
    eventually(PATIENCE, "all but one are the new server's", || {
        are_parked(&server)
    });
    assert!(os::is_alive(old), "one request is in flight");
    visitors.go_on(new);
    server.file("go", "", 0o644);
    assert_eq!(visitors.busy.response().ok(), "hello");
    server.expect_end_of_old();
    assert_eq!(server_of(&mut visitors.busy), new, "handed over late");
    assert_eq!(server_of(&mut server.connect()), new);
    let log = server.log();
    assert!(
        !log.contains(" ERROR ") && !log.contains("cutting"),
        "{log}"
    );
    server.stop();
}

#[test]
fn who_is_never_silent_is_handed_over_too() {
    let mut server = Server::new();
    server.handler("server", SERVER);
    let mut client = server.connect();
    assert_eq!(server_of(&mut client), server.pid());
    let new = server.upgrade();
    eventually(PATIENCE, "its worker has let it go", || {
        server_of(&mut client) == new
    });
    server.expect_end_of_old();
    server.stop();
}

/// Notes that it runs, and answers when there is a file `go`.
fn slow() -> String {
    format!("echo x > slow.runs; while [ ! -e go ]; do sleep 0.02; done; {HELLO}")
}

#[test]
fn a_new_server_that_fails_changes_nothing() {
    let mut setup = Setup::new();
    setup.copy_program();
    let server = setup.start();
    server.handler("server", SERVER);
    let old = server.pid();
    let mut idle = server.connect();
    assert_eq!(server_of(&mut idle), old);
    let failures = [
        (Some("#!/bin/sh\nexit 3\n"), "ended with status 3"),
        (Some("#!/bin/sh\nkill -KILL $$\n"), "killed by signal 9"),
        (
            Some("#!/bin/sh\nprintf nonsense >&3; exit 0\n"),
            "ended with status 0",
        ),
        (
            Some("#!/bin/sh\nprintf -- '-no luck' >&3; exit 1\n"),
            "no luck",
        ),
        (Some("not a program"), "unable to run"),
        (None, "unable to run"),
    ];
    for (round, (program, why)) in (1..).zip(failures) {
        let place = server.folder.at("caffeine");
        fs::remove_file(&place).unwrap_or_default();
        if let Some(text) = program {
            server.folder.write("caffeine", text, 0o755);
        }
        server.signal(os::USR2);
        eventually(PATIENCE, why, || {
            server
                .log()
                .matches("unable to upgrade, going on as before")
                .count()
                == round
        });
        let log = server.log();
        let line = log.lines().rfind(|line| line.contains(" ERROR ")).unwrap();
        assert!(line.contains(why), "{why}: {line}");
        assert_eq!(server_of(&mut idle), old);
        assert_eq!(server_of(&mut server.connect()), old);
        assert_eq!(server.folder.read("pid"), format!("{old}\n"));
    }
    // Workers can be replaced again too.
    os::kill(server.worker_pids()[0], os::KILL);
    eventually(PATIENCE, "the pool is whole", || {
        server.worker_pids().len() == 4
    });
    assert_eq!(server_of(&mut idle), old);
    server.stop();
}

#[test]
fn a_new_server_that_cannot_have_what_it_needs_leaves_the_files_alone() {
    let mut setup = Setup::new();
    setup.copy_program().config("");
    let http = setup.folder.at("http").display().to_string();
    setup.args([&format!("--bind=unix:{http}")]);
    let server = setup.start();
    server.handler("server", SERVER);
    server.folder.write("caffeine.conf", "nonsense", 0o644);
    server.signal(os::USR2);
    server.wait_for_log("ended with status 2 before");
    server.folder.write("caffeine.conf", "workers = 2", 0o644);
    fs::rename(server.folder.at("pid"), server.folder.at("moved")).unwrap();
    server.signal(os::USR2);
    server.wait_for_log("is not that of the server before");
    fs::rename(server.folder.at("moved"), server.folder.at("pid")).unwrap();
    // After it has taken everything over.
    fs::rename(server.folder.at("root"), server.folder.at("moved")).unwrap();
    fs::write(server.folder.at("root"), "").unwrap();
    server.signal(os::USR2);
    server.wait_for_log("root is not a folder");
    fs::remove_file(server.folder.at("root")).unwrap();
    fs::rename(server.folder.at("moved"), server.folder.at("root")).unwrap();
    for name in ["pid", "socket", "http"] {
        assert!(server.folder.at(name).exists(), "{name}");
    }
    assert_eq!(server_of(&mut server.connect()), server.pid());
    server.stop();
}

#[test]
fn one_upgrade_follows_the_other_and_takes_the_new_configuration_along() {
    let mut setup = Setup::new();
    setup.without("--bind").without("--port");
    setup.config("bind = 127.0.0.1:0\nbind = 127.0.0.2:0\n");
    let mut server = setup.start();
    server.handler("server", SERVER);
    server.handler("slow", &slow());
    let first = server.pid();
    let mut idle = server.connect();
    let mut busy = server.connect();
    busy.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_line("slow.runs");
    let second = server.upgrade();
    assert_eq!(server_of(&mut idle), second);
    server
        .folder
        .write("caffeine.conf", "bind = 127.0.0.1:0\nworkers = 1\n", 0o644);
    let third = server.upgrade();
    assert_eq!(server_of(&mut idle), third);
    server.wait_for_log("no longer listening on http://127.0.0.2:");
    // The client of the first goes through the hands of the second.
    assert!(os::is_alive(first) && os::is_alive(second));
    server.file("go", "", 0o644);
    assert_eq!(busy.response().ok(), "hello");
    assert_eq!(server_of(&mut busy), third);
    server.expect_end_of_old();
    eventually(PATIENCE, "the second leaves too", || !os::is_alive(second));
    assert_eq!(server_of(&mut server.connect()), third);
    assert_eq!(server.worker_pids().len(), 1);
    server.stop();
}

/// The first of three servers with a request that it still serves, and the other two.
struct Three {
    server: Server,
    first: u32,
    busy: Client,
    second: u32,
    third: u32,
}

impl Three {
    fn start() -> Self {
        let server = Server::with(["--workers=2"]);
        server.handler("server", SERVER);
        server.handler("slow", &slow());
        let first = server.pid();
        let mut busy = server.connect();
        busy.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
        server.wait_for_line("slow.runs");
        let second = server.upgrade();
        // It has the pid file a moment before it serves, and may be told to upgrade then.
        assert_eq!(server_of(&mut server.connect()), second);
        let third = server.upgrade();
        assert_eq!(server_of(&mut server.connect()), third);
        // The second may have to be told still that it has nothing to do any more.
        eventually(PATIENCE, "nobody else serves", || {
            os::children(second) == [third]
        });
        Self {
            server,
            first,
            busy,
            second,
            third,
        }
    }

    /// Waits until the second has gone, and sees that the third is the server.
    #[track_caller]
    fn see_third_alone(&self) {
        eventually(PATIENCE, "the second has gone", || {
            !os::is_alive(self.second)
        });
        self.server.wait_for_log("serves on");
        for _ in 0..8 {
            assert_eq!(server_of(&mut self.server.connect()), self.third);
        }
        assert_eq!(self.server.folder.read("pid"), format!("{}\n", self.third));
        assert!(self.server.folder.at("socket").exists());
    }
}

#[test]
fn of_three_servers_the_last_goes_on_when_the_middle_one_has_gone() {
    for is_killed in [true, false] {
        let mut three = Three::start();
        let mut idle = three.server.connect();
        assert_eq!(server_of(&mut idle), three.third);
        if is_killed {
            os::kill(three.second, os::KILL);
        } else {
            os::kill(three.second, os::INT);
            three.server.wait_for_log(" stopping: ");
            // Once more: at once.
            os::kill(three.second, os::INT);
        }
        three.see_third_alone();
        three.server.file("go", "", 0o644);
        assert_eq!(three.busy.response().ok(), "hello");
        assert_eq!(server_of(&mut three.busy), three.third, "handed on");
        assert_eq!(server_of(&mut idle), three.third);
        three.server.expect_end_of_old();
        assert!(!three.server.log().contains("cutting"));
        three.server.stop();
    }
}

#[test]
fn the_first_of_three_servers_goes_on_when_both_others_are_killed() {
    let mut three = Three::start();
    let first = three.first;
    os::kill(three.second, os::KILL);
    three.see_third_alone();
    os::kill(three.third, os::KILL);
    eventually(PATIENCE, "the first has its pid file again", || {
        three.server.folder.read("pid") == format!("{first}\n")
    });
    assert_eq!(server_of(&mut three.server.connect()), first);
    three.server.file("go", "", 0o644);
    assert_eq!(three.busy.response().ok(), "hello");
    assert_eq!(server_of(&mut three.busy), first);
    os::kill(first, os::TERM);
    three.server.expect_end_of_old();
    three.server.expect_nothing_left();
}

#[test]
fn a_middle_server_that_is_killed_before_its_follower_is_ready_takes_it_along() {
    let mut setup = Setup::new();
    setup.args(["--workers=1"]).copy_program();
    let mut server = setup.start();
    server.handler("server", SERVER);
    server.handler("slow", &slow());
    let first = server.pid();
    let mut busy = server.connect();
    busy.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_line("slow.runs");
    let second = server.upgrade();
    assert_eq!(server_of(&mut server.connect()), second);
    // One that never says that it is ready.
    let place = server.folder.at("caffeine");
    fs::rename(&place, server.folder.at("real")).unwrap();
    server.folder.write(
        "caffeine",
        "#!/bin/sh\necho x > started\nexec sleep 100\n",
        0o755,
    );
    os::kill(second, os::USR2);
    eventually(PATIENCE, "a third is started", || {
        server.folder.at("started").exists()
    });
    os::kill(second, os::KILL);
    eventually(PATIENCE, "the first has its pid file again", || {
        server.folder.read("pid") == format!("{first}\n")
    });
    let log = server.log();
    let (_, third) = log.rsplit_once("upgrading: started ").unwrap();
    let third: u32 = third.split(',').next().unwrap().parse().unwrap();
    assert_ne!(third, second);
    eventually(PATIENCE, "the third has gone", || !os::is_alive(third));
    server.file("go", "", 0o644);
    assert_eq!(busy.response().ok(), "hello");
    assert_eq!(server_of(&mut busy), first);
    os::kill(first, os::TERM);
    server.expect_end_of_old();
    server.expect_nothing_left();
}

#[test]
fn what_a_worker_leaves_that_dies_during_an_upgrade_is_ended() {
    let mut server = Server::with(["--workers=1"]);
    server.handler("server", SERVER);
    server.handler(
        "leaves",
        "setsid sh -c 'echo $$ > daemon; exec sleep 100' & echo $PPID > runs; sleep 100",
    );
    let mut client = server.connect();
    client.send("GET /leaves HTTP/1.1\r\nHost: test\r\n\r\n");
    let worker: u32 = server.wait_for_line("runs").parse().unwrap();
    let daemon: u32 = server.wait_for_line("daemon").parse().unwrap();
    let new = server.upgrade();
    os::kill(worker, os::KILL);
    assert_eq!(client.response().status, 502);
    eventually(PATIENCE, "it is ended", || !os::is_alive(daemon));
    server.expect_end_of_old();
    assert_eq!(server_of(&mut server.connect()), new);
    server.stop();
}

#[test]
fn the_old_server_goes_on_when_the_new_one_is_killed_and_stops_when_it_is_stopped() {
    let mut server = Server::new();
    server.handler("server", SERVER);
    server.handler("slow", &slow());
    let old = server.pid();
    let mut busy = server.connect();
    busy.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_line("slow.runs");
    let new = server.upgrade();
    assert_eq!(server_of(&mut server.connect()), new);
    os::kill(new, os::KILL);
    eventually(PATIENCE, "the old one has its pid file again", || {
        server.folder.read("pid") == format!("{old}\n")
    });
    assert_eq!(server_of(&mut server.connect()), old);
    let mut idle = server.connect();
    assert_eq!(server_of(&mut idle), old);
    // A kill is no error of the server's: once more, and now an order to stop.
    fs::write(server.folder.at("log"), "").unwrap();
    os::kill(old, os::USR2);
    eventually(PATIENCE, "a new one again", || {
        server.folder.read("pid").trim() != old.to_string()
    });
    let newer: u32 = server.folder.read("pid").trim().parse().unwrap();
    assert_eq!(server_of(&mut idle), newer);
    os::kill(newer, os::TERM);
    server.file("go", "", 0o644);
    assert_eq!(busy.response().ok(), "hello");
    server.expect_end_of_old();
    eventually(PATIENCE, "the new one ends", || !os::is_alive(newer));
    server.expect_nothing_left();
}

#[test]
fn a_daemon_is_upgraded_too() {
    let mut setup = Setup::new();
    setup.args(["--daemon"]).copy_program();
    let output = setup.run();
    assert!(output.status.success());
    let pid = || setup.folder.read("pid").trim().parse::<u32>().unwrap();
    let old = pid();
    let port = setup.folder.read("log");
    let (_, port) = port.split_once("127.0.0.1:").unwrap();
    let port: u16 = port.split('/').next().unwrap().parse().unwrap();
    let mut client = Client::connect(port);
    assert_eq!(client.get("/").status, 200);
    os::kill(old, os::USR2);
    eventually(PATIENCE, "the old one has left", || !os::is_alive(old));
    let new = pid();
    assert!(new != old && os::is_alive(new));
    assert_eq!(client.get("/").status, 200);
    assert_eq!(Client::connect(port).get("/").status, 200);
    os::kill(new, os::TERM);
    eventually(PATIENCE, "the daemon ends", || !os::is_alive(new));
    for file in ["pid", "socket"] {
        assert!(!setup.folder.at(file).exists(), "{file}");
    }
}

#[test]
fn the_service_manager_is_told_who_serves_after_an_upgrade() {
    let mut setup = Setup::new();
    let path = setup.folder.at("notify");
    let ear = UnixDatagram::bind(&path).unwrap();
    ear.set_read_timeout(Some(PATIENCE)).unwrap();
    setup.env("NOTIFY_SOCKET", path.to_str().unwrap());
    let hear = || {
        let mut heard = [0; 512];
        let n = ear.recv(&mut heard).unwrap();
        String::from_utf8(heard[..n].to_vec()).unwrap()
    };
    let server = setup.start();
    assert!(hear().starts_with("READY=1\n"));
    let new = server.upgrade();
    let main = format!("MAINPID={new}");
    // One says it of its successor, the other of itself: either may be first.
    let mut told = [hear(), hear()];
    told.sort_unstable();
    assert_eq!(told[0], main);
    assert!(
        told[1].starts_with("READY=1\n") && told[1].contains(&main),
        "{}",
        told[1]
    );
    server.handler("env", "printf 'Content-Type: text/plain\\n\\n'; env");
    let env = server.get("/env").ok();
    assert!(!env.contains("UPGRADE") && !env.contains("NOTIFY"), "{env}");
    server.stop();
    assert!(hear().starts_with("STOPPING=1\n"));
}
