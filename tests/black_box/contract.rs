//! What a handler may rely on, and what it cannot do to others.

use super::harness::{Server, eventually, eventually_none, os};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// Prints a head, then runs the rest.
fn shows(script: &str) -> String {
    format!("printf 'Content-Type: text/plain\\n\\n'\n{script}")
}

/// The lines `NAME=value`.
fn variables(text: &str) -> BTreeMap<&str, &str> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.collect()
}

#[test]
fn a_handler_has_three_descriptors_and_no_others() {
    let server = Server::new();
    let look = "n=0; while [ $n -lt 1024 ]; do
        [ ! -e /proc/$$/fd/$n ] || printf '%s ' $n; n=$((n + 1)); done";
    server.handler("shell", &shows(look));
    server.handler("list", &shows("exec ls -m /proc/self/fd"));
    let mut client = server.connect();
    let _parked: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for body in [&b""[..], b"body"] {
        // dash keeps its script open as 10, bash as 255.
        let own = client.post("/shell", body).ok();
        assert!(
            ["0 1 2 ", "0 1 2 10 ", "0 1 2 255 "].contains(&own.as_str()),
            "{own}"
        );
        // ls has the folder open that it lists.
        assert_eq!(client.post("/list", body).ok(), "0, 1, 2, 3\n");
    }
}

/// The variables that do not change from run to run.
fn documented(root: &str, port: &str) -> BTreeMap<&'static str, String> {
    let script = format!("{root}/env");
    let translated = format!("{root}/info");
    let fixed = [
        ("CAFFEINE_DEADLINE_MS", "60000"),
        ("CONTENT_LENGTH", "3"),
        ("CONTENT_TYPE", "text/x"),
        ("DOCUMENT_ROOT", root),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("HTTP_COOKIE", "a=1; b=2"),
        ("HTTP_HOST", "example.org:99"),
        ("HTTP_X_OWN", "1, 2"),
        ("OWN", "all"),
        ("PATH_INFO", "/info"),
        ("PATH_TRANSLATED", &translated),
        ("QUERY_STRING", "a=b"),
        ("REDIRECT_STATUS", "200"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REMOTE_HOST", "127.0.0.1"),
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_SCHEME", "http"),
        ("REQUEST_URI", "/env/info?a=b"),
        ("SCRIPT_FILENAME", &script),
        ("SCRIPT_NAME", "/env"),
        ("SERVER_ADDR", "127.0.0.1"),
        ("SERVER_NAME", "example.org"),
        ("SERVER_PORT", port),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SINGLE", "one"),
    ];
    let owned = fixed.map(|(name, value)| (name, value.to_owned()));
    owned.into_iter().collect()
}

#[test]
fn the_environment_is_what_is_documented_and_nothing_else() {
    let server = Server::start(|setup| {
        setup.env("SECRET", "1").env("LD_DEBUG_X", "1");
        setup.args(["--env=OWN=all", "--workers=1"]);
        setup.config("[handler /env]\nenv SINGLE = one\n");
    });
    server.handler("env", &shows("exec env"));
    let response = server.ask(
        "POST /env/info?a=b HTTP/1.1\r\nHost: example.org:99\r\nContent-Length: 3\r\n\
         Content-Type: text/x\r\nCookie: a=1\r\nCookie: b=2\r\nX-Own: 1\r\nX-Own: 2\r\n\
         Proxy: http://evil\r\nX_Under: 1\r\nAuthorization: secret\r\nConnection: X-Hop\r\n\
         X-Hop: 1\r\nTE: trailers\r\n\r\nxyz",
    );
    let text = response.ok();
    let mut found = variables(&text);
    // The shell sets these two itself.
    found.remove("PWD");
    found.remove("_");
    found.remove("OLDPWD");
    found.remove("SHLVL");
    let root = server.folder.at("root").display().to_string();
    for (name, value) in documented(&root, &server.port.to_string()) {
        assert_eq!(found.remove(name), Some(&*value), "{name}");
    }
    for name in [
        "CAFFEINE_QUEUE_MS",
        "PATH",
        "REMOTE_PORT",
        "SERVER_SOFTWARE",
    ] {
        assert!(found.remove(name).is_some(), "{name}");
    }
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_request_without_a_body_has_no_length_and_an_empty_stdin() {
    let server = Server::new();
    server.handler(
        "in",
        &shows("printf '%s %s' \"${CONTENT_LENGTH-unset}\" \"$(wc -c)\""),
    );
    assert_eq!(server.get("/in").ok(), "unset 0");
}

#[test]
fn authorization_reaches_a_handler_only_where_that_is_wanted() {
    let server = Server::start(|setup| {
        setup.config("[handler /wants]\nauthorization = yes\n");
    });
    let show = shows("printf %s \"${HTTP_AUTHORIZATION-unset}\"");
    server.handler("wants", &show);
    server.handler("not", &show);
    for (path, expected) in [("/wants", "Basic eA=="), ("/not", "unset")] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Basic eA==\r\n\r\n");
        assert_eq!(server.ask(request).ok(), expected);
    }
}

#[test]
fn the_whole_file_system_can_be_the_folder() {
    // The temporary folder is everybody's.
    let server = Server::with(["--path=/", "--allow-writable"]);
    let show = "printf '%s\\n' \"$DOCUMENT_ROOT\" \"$SCRIPT_FILENAME\" \"$PATH_TRANSLATED\"";
    server.handler("show", &shows(show));
    let script = server.folder.at("root/show").display().to_string();
    let shown = server.get(&format!("{script}/a/b")).ok();
    assert_eq!(shown, format!("/\n{script}\n/a/b\n"));
    server.stop();
}

#[test]
fn a_handler_runs_in_its_own_folder_and_group_with_a_plain_umask() {
    let server = Server::new();
    server.handler(
        "sub/where",
        &shows("pwd; umask; read -r _ _ _ _ group _ < /proc/$$/stat; echo $(($$ - group))"),
    );
    let folder = server.folder.at("root/sub").display().to_string();
    assert_eq!(
        server.get("/sub/where").ok(),
        format!("{folder}\n0022\n0\n")
    );
}

#[test]
fn a_handler_has_default_signals_and_an_empty_mask() {
    let server = Server::new();
    // The shell may catch signals of its own; what it becomes does not.
    server.handler("signals", &shows("exec cat /proc/self/status"));
    let text = server.get("/signals").ok();
    // glibc's posix_spawn, by which this test starts the server, leaves 32 and 33 ignored.
    let of_libc = 0x1_8000_0000_u64;
    for name in ["SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt"] {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        let mask = u64::from_str_radix(line.split_whitespace().last().unwrap(), 16);
        assert_eq!(mask.unwrap() & !of_libc, 0, "{line}");
    }
}

#[test]
fn a_handler_gets_the_descriptor_limit_that_the_server_was_started_with() {
    let server = Server::new();
    server.handler("limit", &shows("ulimit -Sn; ulimit -Hn"));
    let own = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = own.lines().find(|line| line.starts_with("Max open files"));
    let mut words = line.unwrap().split_whitespace().skip(3);
    let (soft, hard) = (words.next().unwrap(), words.next().unwrap());
    assert_eq!(server.get("/limit").ok(), format!("{soft}\n{hard}\n"));
}

#[test]
fn a_background_process_that_keeps_stdout_does_not_hold_the_response() {
    let server = Server::new();
    server.handler("stays", &shows("echo hello; sleep 100 &"));
    let start = Instant::now();
    assert_eq!(server.get("/stays").ok(), "hello\n");
    // Two seconds are its own group's due, in case it still has something to say.
    assert!(
        start.elapsed() < Duration::from_millis(3500),
        "{:?}",
        start.elapsed()
    );
    server.wait_for_log("/stays: 1 process outlived the handler");
    server.stop();
}

#[test]
fn a_declared_length_ends_the_response_at_the_handlers_exit() {
    let server = Server::new();
    server.handler(
        "sized",
        "printf 'Content-Type: text/plain\\nContent-Length: 5\\n\\nhello'; sleep 100 &",
    );
    let start = Instant::now();
    assert_eq!(server.get("/sized").ok(), "hello");
    assert!(
        start.elapsed() < Duration::from_millis(1500),
        "{:?}",
        start.elapsed()
    );
    server.stop();
}

#[test]
fn output_through_a_filter_is_complete_though_the_handler_exits_first() {
    let server = Server::new();
    server.handler(
        "filtered",
        "(printf 'Content-Type: text/plain\\n\\n'; sleep 0.4; echo late) &",
    );
    assert_eq!(server.get("/filtered").ok(), "late\n");
}

#[test]
fn nothing_that_a_handler_started_outlives_its_request() {
    let server = Server::with(["--workers=1"]);
    server.handler(
        "leaves",
        &shows(
            "setsid sleep 100 > /dev/null 2>&1 &
             (setsid sh -c 'echo $$ > grandchild; exec sleep 100' > /dev/null 2>&1 &)
             while [ ! -s grandchild ]; do sleep 0.01; done; echo done",
        ),
    );
    let mut client = server.connect();
    assert_eq!(client.get("/leaves").ok(), "done\n");
    let grandchild = server.wait_for_line("grandchild").parse().unwrap();
    // The same worker: by its next request the sweep is over.
    server.handler("next", &shows("echo next"));
    assert_eq!(client.get("/next").ok(), "next\n");
    assert!(!os::is_alive(grandchild));
    server.wait_for_log("/leaves: 2 processes outlived the handler");
    let mut expected = server.worker_pids();
    expected.push(server.pid());
    let mut all = server.folder.processes();
    expected.sort_unstable();
    all.sort_unstable();
    assert_eq!(all, expected);
}

#[test]
fn a_handler_that_may_detach_leaves_its_processes_alone() {
    let server = Server::start(|setup| {
        setup.config("[handler /leaves]\ndetach = yes\n");
        setup.args(["--workers=1"]);
    });
    server.handler(
        "leaves",
        &shows(
            "setsid sh -c 'echo $$ > left; exec sleep 100' > /dev/null 2>&1 & \
                while [ ! -s left ]; do sleep 0.01; done; echo done",
        ),
    );
    let worker = server.worker_pids();
    assert_eq!(server.get("/leaves").ok(), "done\n");
    let left = server.wait_for_line("left").parse().unwrap();
    eventually(5 * SECOND, "the worker is replaced", || {
        let now: Vec<u32> = server.worker_pids();
        now.iter().any(|pid| !worker.contains(pid) && *pid != left)
    });
    assert_eq!(server.get("/leaves").ok(), "done\n");
    assert!(os::is_alive(left));
}

/// A handler that says that it runs, and who its children are.
fn long_running(server: &Server, begin: &str) {
    server.handler(
        "long",
        &format!(
            "{begin}\nsleep 100 &\nsetsid sh -c 'echo $$ > stray; exec sleep 100' &\n\
             while [ ! -s stray ]; do sleep 0.01; done; echo $$ > pid; wait"
        ),
    );
}

fn expect_handler_to_end(server: &Server) {
    let handler: u32 = server.wait_for_line("pid").parse().unwrap();
    let stray: u32 = server.wait_for_line("stray").parse().unwrap();
    eventually_none(3 * SECOND, "processes of a client that is gone", || {
        let all = [handler, stray];
        all.into_iter().filter(|pid| os::is_alive(*pid)).collect()
    });
}

#[test]
fn a_client_that_leaves_before_the_response_ends_the_handler_and_its_children() {
    let server = Server::with(["--kill-grace=100ms"]);
    long_running(&server, "");
    let mut client = server.connect();
    client.send("GET /long HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_line("pid");
    drop(client);
    expect_handler_to_end(&server);
    server.wait_for_log("client-gone");
    server.stop();
}

#[test]
fn a_client_that_leaves_in_the_response_ends_the_handler_and_its_children() {
    let server = Server::with(["--kill-grace=100ms"]);
    long_running(&server, "printf 'Content-Type: text/plain\\n\\nhello\\n'");
    let mut client = server.connect();
    client.send("GET /long HTTP/1.1\r\nHost: test\r\n\r\n");
    client.receive_until(b"hello\n").unwrap();
    server.wait_for_line("pid");
    // Unread bytes or not: with a linger of nothing the close is a reset.
    os::reset_on_close(&client.stream);
    drop(client);
    expect_handler_to_end(&server);
    server.stop();
}

#[test]
fn a_client_that_has_only_finished_sending_is_served() {
    let server = Server::new();
    server.handler("slow", &shows("sleep 0.3; exec cat"));
    let mut client = server.connect();
    client.send("POST /slow HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody");
    client.finish_sending();
    assert_eq!(client.response().ok(), "body");
    let mut client = server.connect();
    client.send("POST /slow HTTP/1.0\r\nContent-Length: 4\r\n\r\nbody");
    client.finish_sending();
    let response = client.response();
    assert_eq!((response.ok().as_str(), response.interim), ("body", vec![]));
}

#[test]
fn one_slow_handler_does_not_take_every_worker() {
    let server = Server::with(["--workers=2", "--max-workers=2", "--max-concurrent=1"]);
    server.handler("slow", &shows("echo x >> runs; sleep 1; echo slow"));
    server.handler("fast", &shows("echo fast"));
    let mut slow: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for client in &mut slow {
        client.send("GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    server.wait_for_line("runs");
    let start = Instant::now();
    for _ in 0..5 {
        assert_eq!(server.get("/fast").ok(), "fast\n");
    }
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    for client in &mut slow {
        assert_eq!(client.response().ok(), "slow\n");
    }
}

#[test]
fn a_handler_is_scheduled_as_batch_work_at_the_niceness_of_the_server() {
    let server = Server::new();
    // proc(5): field 41 is the policy (SCHED_BATCH is 3), 18 and 19 are priority and niceness.
    server.handler("policy", &shows("cut -d ' ' -f 18,19,41 /proc/self/stat"));
    let niceness = std::fs::read_to_string("/proc/self/stat").unwrap();
    let own: Vec<&str> = niceness.rsplit(')').next().unwrap().split(' ').collect();
    let expected = format!("{} {} 3\n", own[16], own[17]);
    assert_eq!(server.get("/policy").ok(), expected);
}

#[test]
fn what_a_handler_does_to_its_stderr_is_gone_with_it() {
    let server = Server::with(["--workers=1", "--max-workers=1"]);
    // dd sets the flags of the output that it was given.
    let marks = "dd if=/dev/null oflag=nonblock >&2 2>/dev/null
        (sleep 0.1; echo late >&2) >/dev/null & grep flags /proc/self/fdinfo/2";
    server.handler("marks", &shows(marks));
    server.handler(
        "looks",
        &shows("grep flags /proc/self/fdinfo/2; echo early >&2"),
    );
    let mut client = server.connect();
    assert_eq!(client.get("/marks").ok(), "flags:\t04001\n");
    for _ in 0..2 {
        assert_eq!(client.get("/looks").ok(), "flags:\t01\n");
    }
    server.wait_for_log("stderr: early");
    let log = server.log();
    assert!(
        !log.lines()
            .any(|line| line.contains("/looks") && line.contains("late")),
        "{log}"
    );
}
