//! What handlers leave behind: processes of every kind, a changed pipe, jobs that may live on.

use super::confinement::{hostile, new_user};
use super::harness::{PATIENCE, Server, Setup, eventually, eventually_none, os, run};
use std::os::unix::fs::chown;
use std::process::Command;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// Prints a head, then runs the rest.
fn shows(script: &str) -> String {
    format!("printf 'Content-Type: text/plain\\n\\n'\n{script}")
}

#[test]
fn each_word_on_a_stderr_that_keeps_writes_apart_is_logged_for_who_said_it() {
    let server = Server::with(["--workers=1", "--max-workers=1"]);
    // dd sets O_DIRECT on the output that it was given: then one read brings one write.
    let marks = "dd if=/dev/null oflag=direct >&2 2>/dev/null
        for n in 1 2 3 4 5 6 7 8; do echo word-$n >&2; done";
    server.handler("marks", &shows(marks));
    server.handler("looks", &shows("grep flags /proc/self/fdinfo/2"));
    let mut client = server.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/marks").ok(), "");
        assert_eq!(client.get("/looks").ok(), "flags:\t01\n");
    }
    let log = server.log();
    for n in 1..=8 {
        let word = format!("stderr: word-{n}");
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(&word)).collect();
        assert_eq!(lines.len(), 3, "{log}");
        assert!(lines.iter().all(|line| line.contains("/marks (")), "{log}");
    }
    server.stop();
}

/// A handler of a section with `half-close = serve` that prints, does its work and notes it.
fn stubborn(args: &[&str], begin: &str) -> Server {
    let server = Server::start(|setup| {
        setup.config("[handler /job]\nhalf-close = serve\n");
        for arg in args {
            setup.args([arg]);
        }
    });
    // What nobody takes is more than any buffer holds; the file `go` lets it end.
    server.handler(
        "job",
        &format!(
            "{begin}\necho x > begun; while [ ! -e go ]; do sleep 0.01; done\n\
             head -c 8M /dev/zero; echo x > done"
        ),
    );
    server
}

#[track_caller]
fn expect_done(server: &Server) {
    server.wait_for_line("done");
    server.wait_for_log("client-gone");
    server.handler("hello", &shows("printf hello"));
    assert_eq!(server.get("/hello").ok(), "hello");
}

#[test]
fn a_job_runs_to_its_end_though_its_client_resets() {
    let head = shows("");
    for begin in [
        "",
        &head,
        &format!("{head}sleep 0.1; echo first; sleep 0.1"),
    ] {
        let server = stubborn(&["--workers=1", "--max-workers=1"], begin);
        let mut client = server.connect();
        client.send("POST /job HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody");
        server.wait_for_line("begun");
        os::reset_on_close(&client.stream);
        drop(client);
        server.folder.write("root/go", "", 0o644);
        expect_done(&server);
        server.stop();
    }
}

#[test]
fn a_job_runs_to_its_end_though_its_client_takes_nothing() {
    let bounds = ["--max-spool=64K", "--progress-timeout=200ms"];
    let server = stubborn(&bounds, &shows(""));
    server.folder.write("root/go", "", 0o644);
    let mut client = server.connect();
    os::set_receive_buffer(&client.stream, 4096);
    client.send("GET /job HTTP/1.1\r\nHost: test\r\n\r\n");
    server.wait_for_line("done");
    assert!(!client.response().is_whole);
    expect_done(&server);
    server.stop();
}

/// Waits until nothing is left but the server.
#[track_caller]
fn expect_server_alone(server: &Server) {
    eventually_none(PATIENCE, "what handlers have left", || {
        let mut all = server.folder.processes();
        let workers = server.worker_pids();
        all.retain(|pid| *pid != server.pid() && !workers.contains(pid));
        all
    });
}

/// Waits until it is done; the deadline begins again whenever something has changed.
#[track_caller]
fn as_long_as_it_goes_on(what: &str, look: impl Fn() -> usize, is_done: impl Fn(usize) -> bool) {
    let mut last = look();
    while !is_done(last) {
        eventually(PATIENCE, what, || last != look());
        last = look();
    }
}

/// A handler in Perl that has printed its answer before it runs the rest.
fn perl(script: &str) -> String {
    format!(
        "#!/usr/bin/perl\nuse POSIX;\n$| = 1; print \"Content-Type: text/plain\\n\\nhello\";\n\
         open STDOUT, '>', '/dev/null'; open STDERR, '>&', STDOUT;\n{script}\n"
    )
}

#[test]
fn nothing_is_left_of_a_tree_of_two_thousand_processes() {
    let server = Server::with(["--workers=1", "--max-workers=1", "--handler-timeout=10m"]);
    // 1,023 shells that wait for two children each, 1,024 leaves.
    server.handler(
        "tree",
        &shows(
            "t() { if [ $1 -gt 0 ]; then t $(($1 - 1)) & t $(($1 - 1)) & wait
             else echo x >> leaves; exec sleep 1000; fi; }
             : > leaves; t 10 > /dev/null 2>&1 &
             until [ \"$(wc -l < leaves)\" -eq 1024 ]; do sleep 0.05; done
             printf hello",
        ),
    );
    let worker = server.worker_pids();
    let mut client = server.connect();
    client.send("GET /tree HTTP/1.1\r\nHost: test\r\n\r\n");
    let leaves = || server.read("leaves").lines().count();
    as_long_as_it_goes_on("the tree grows", leaves, |leaves| leaves == 1024);
    let left = || server.folder.processes().len();
    as_long_as_it_goes_on("the tree goes", left, |left| left == 2);
    assert_eq!(client.response().ok(), "hello");
    expect_server_alone(&server);
    server.wait_for_log("outlived the handler");
    assert_eq!(server.worker_pids(), worker, "{}", server.log());
    server.stop();
}

#[test]
fn a_daemon_is_found_behind_any_number_of_zombies() {
    let server = Server::with(["--workers=1", "--max-workers=1"]);
    let script = "for (1 .. 1500) { defined(my $pid = fork) or die; POSIX::_exit(0) unless $pid }
        unless (fork) { setsid(); open my $f, '>', 'left'; print $f \"$$\\n\"; close $f; sleep 100 }
        select undef, undef, undef, 0.01 until -s 'left';";
    server.file("zombies", &perl(script), 0o755);
    let worker = server.worker_pids();
    assert_eq!(server.get("/zombies").ok(), "hello");
    let left = server.wait_for_line("left").parse().unwrap();
    expect_server_alone(&server);
    assert!(!os::is_alive(left));
    server.wait_for_log("/zombies: 1 process outlived the handler");
    assert_eq!(os::zombies(worker[0]), 0);
    assert_eq!(server.worker_pids(), worker, "{}", server.log());
    server.stop();
}

/// Makes the folder somebody else's, with the hostile handler in it, which is root's.
fn of_new_user(setup: &Setup, mode: u32) -> u32 {
    setup.folder.write("root/hostile", hostile(), mode);
    let id = new_user();
    for name in ["", "root"] {
        chown(setup.folder.at(name), Some(id), Some(id)).unwrap();
    }
    id
}

#[test]
fn processes_that_start_others_without_end_are_ended() {
    if !os::is_root() {
        eprintln!("left out: the limit would count all processes of this user");
        return;
    }
    let server = Server::start(|setup| {
        let id = of_new_user(setup, 0o755);
        setup.config("[handler /hostile]\nmax-processes = 300\n");
        setup.args([&format!("--user={id}:{id}"), "--workers=1"]);
    });
    let worker = server.worker_pids();
    assert_eq!(server.get("/hostile/scatter").ok(), "scattered\n");
    expect_server_alone(&server);
    assert_eq!(server.worker_pids(), worker, "{}", server.log());
    // What is left of a worker that was killed is the parent's to end.
    let status = server.get("/hostile/scatter?and-kill").status;
    assert!([200, 502].contains(&status), "{status}");
    eventually(PATIENCE, "the worker is replaced", || {
        !server.worker_pids().contains(&worker[0])
    });
    expect_server_alone(&server);
    server.stop();
}

#[test]
fn what_cannot_be_ended_makes_its_worker_leave_with_a_warning() {
    if !os::is_root() {
        eprintln!("left out: only root can make set-user-ID programs of root");
        return;
    }
    let server = Server::start(|setup| {
        let id = of_new_user(setup, 0o4755);
        setup.config("no-new-privs = no\n");
        setup.args([&format!("--user={id}:{id}"), "--workers=1"]);
    });
    let worker = server.worker_pids();
    let answer = server.get("/hostile/leave-root").ok();
    if answer == "refused\n" {
        eprintln!("left out: set-user-ID programs do not work here");
        return;
    }
    let left: u32 = server.wait_for_line("left").parse().unwrap();
    server.wait_for_log("/hostile: 1 of its processes cannot be ended: this worker leaves");
    eventually(PATIENCE, "the worker is replaced", || {
        let now = server.worker_pids();
        now.iter().any(|pid| !worker.contains(pid) && *pid != left) && !now.contains(&worker[0])
    });
    server.handler("hello", &shows("printf hello"));
    assert_eq!(server.get("/hello").ok(), "hello");
    assert!(os::is_alive(left));
    os::kill(left, os::KILL);
    server.stop();
}

#[test]
fn a_job_that_may_stay_does_so_while_others_cannot_be_ended() {
    if !os::is_root() {
        eprintln!("left out: only root can make set-user-ID programs of root");
        return;
    }
    let server = Server::start(|setup| {
        let id = of_new_user(setup, 0o4755);
        setup.config("no-new-privs = no\n[handler /leaves]\ndetach = yes\n");
        setup.args([&format!("--user={id}:{id}"), "--workers=1"]);
    });
    let worker = server.worker_pids()[0];
    if server.get("/hostile/leave-root").ok() == "refused\n" {
        eprintln!("left out: set-user-ID programs do not work here");
        return;
    }
    let stuck: u32 = server.wait_for_line("left").parse().unwrap();
    // The parent has it now, and cannot end it either.
    os::kill(worker, os::KILL);
    let job = "setsid sh -c 'echo $$ > job; exec sleep 100' > /dev/null 2>&1 &
        while [ ! -s job ]; do sleep 0.01; done";
    server.handler("leaves", &shows(job));
    assert_eq!(server.get("/leaves").ok(), "");
    let job: u32 = server.wait_for_line("job").parse().unwrap();
    eventually(
        PATIENCE,
        "the worker has left its job to the parent",
        || server.worker_pids().contains(&job),
    );
    // The parent goes on with its sweep with each end of a worker.
    let others = |pid: &u32| *pid != job && *pid != stuck;
    for worker in server.worker_pids().into_iter().filter(others) {
        os::kill(worker, os::KILL);
        eventually(PATIENCE, "it is replaced", || {
            !server.worker_pids().contains(&worker) && server.worker_pids().len() == 3
        });
    }
    assert!(os::is_alive(job), "{}", server.log());
    os::kill(stuck, os::KILL);
    os::kill(job, os::KILL);
    server.stop();
}

/// Handlers that leave their process group, and what they do about SIGTERM.
fn leavers(server: &Server) -> [&'static str; 4] {
    let joins = "my $child = fork; unless ($child) { setpgid(0, 0); sleep 100; exit }
        while (getpgrp($child) != $child) { select undef, undef, undef, 0.001 }
        setpgid(0, $child) or die;";
    let begins = "open my $f, '>', 'begun'; print $f \"$$\\n\"; close $f; sleep 100 while 1;";
    let names = ["joins", "joins-deaf", "session", "session-deaf"];
    for (name, leave, trap) in [
        (names[0], "", ""),
        (names[1], "", "$SIG{TERM} = 'IGNORE';"),
        (names[2], "setsid() > 0 or die;", ""),
        (names[3], "setsid() > 0 or die;", "$SIG{TERM} = 'IGNORE';"),
    ] {
        let script = format!("#!/usr/bin/perl\nuse POSIX;\n{trap}\n{joins}\n{leave}\n{begins}\n");
        server.file(name, &script, 0o755);
    }
    names
}

#[test]
fn a_handler_that_has_left_its_group_is_ended_by_its_time_limit() {
    let server = Server::with(["--handler-timeout=1s", "--kill-grace=500ms"]);
    for name in leavers(&server) {
        // The watchdog would take its worker 3.5 s after its beginning: 502.
        assert_eq!(server.get(&format!("/{name}")).status, 504, "{name}");
        expect_server_alone(&server);
    }
    assert!(!server.log().contains("killing worker"), "{}", server.log());
    server.stop();
}

#[test]
fn a_handler_that_has_left_its_group_is_ended_by_its_clients_end() {
    let server = Server::with(["--kill-grace=200ms"]);
    for name in leavers(&server) {
        let _ = std::fs::remove_file(server.folder.at("root/begun"));
        let mut client = server.connect();
        client.send(format!("GET /{name} HTTP/1.1\r\nHost: test\r\n\r\n"));
        server.wait_for_line("begun");
        drop(client);
        expect_server_alone(&server);
    }
    let log = server.log();
    assert_eq!(log.matches("client-gone").count(), 4, "{log}");
    server.stop();
}

#[test]
fn what_a_handler_has_started_in_other_groups_is_asked_before_it_is_ended() {
    let server = Server::with(["--handler-timeout=500ms"]);
    server.handler(
        "asked",
        "trap : TERM
         setsid sh -c 'trap \"echo x > told; exit\" TERM; echo x > begun; while :; do sleep 0.02; done' &
         wait; while [ ! -s told ]; do sleep 0.01; done",
    );
    assert_eq!(server.get("/asked").status, 504);
    server.wait_for_line("told");
    server.stop();
}

/// Its living children that run this command line.
fn children_that_run(parent: u32, command: &str) -> Vec<u32> {
    let mut children = os::children(parent);
    children.retain(|pid| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words
            .split(|byte| *byte == 0)
            .collect::<Vec<_>>()
            .join(&b' ')
            == [command.as_bytes(), b" "].concat()
    });
    children
}

#[test]
fn the_first_process_of_a_container_ends_what_is_its_own_and_no_stranger() {
    let unshare = ["unshare", "--pid", "--fork", "--mount-proc"];
    if !os::is_root()
        || !run(Command::new(unshare[0]).args(&unshare[1..]).arg("true"))
            .status
            .success()
    {
        eprintln!("left out: pid namespaces cannot be made here");
        return;
    }
    let server = Server::start(|setup| {
        setup.within(&unshare).args(["--workers=1"]);
    });
    // What unshare(1) has started: pid 1 inside.
    let first = os::children(server.pid())[0];
    server.follow(first);
    assert_eq!(server.folder.read("pid"), "1\n");
    let mut enter = Command::new("nsenter");
    enter.args(["--target", &first.to_string(), "--pid", "--mount"]);
    let stranger = "sleep 100 > /dev/null 2>&1 &";
    assert!(run(enter.args(["sh", "-c", stranger])).status.success());
    let strangers = || children_that_run(first, "sleep 100");
    eventually(PATIENCE, "it is adopted", || strangers().len() == 1);
    let mut worker = server.worker_pids();
    worker.retain(|pid| !strangers().contains(pid));
    // A session of its own, no environment, limits that are as high as they may be.
    let hides = "ulimit -S -c unlimited
        env -i setsid sh -c 'echo x > up; exec sleep 99' > /dev/null 2>&1 &
        while [ ! -s up ]; do sleep 0.01; done; kill -KILL $PPID; sleep 100";
    server.handler("hides", hides);
    assert_eq!(server.get("/hides").status, 502);
    eventually(PATIENCE, "the worker is replaced", || {
        !os::children(first).contains(&worker[0]) && os::children(first).len() == 2
    });
    assert!(children_that_run(first, "sleep 99").is_empty());
    assert_eq!(strangers().len(), 1, "{}", server.log());
    server.stop();
}

/// A handler that may leave a job, which says much once the file `go` is there; the job's pid.
fn leave_talkative_job(server: &Server) -> u32 {
    server.handler(
        "job",
        &shows(
            "printf started
             (sh -c 'echo $PPID' > job; while [ ! -e go ]; do sleep 0.01; done
              echo note >&2; head -c 1M /dev/zero; yes | head -c 1M >&2; echo x > done) &",
        ),
    );
    let worker = server.worker_pids()[0];
    let start = Instant::now();
    assert_eq!(server.get("/job").ok(), "started");
    assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());
    eventually(PATIENCE, "the worker has left", || !os::is_alive(worker));
    server.wait_for_line("job").parse().unwrap()
}

const MAY_LEAVE: &str = "[handler /job]\ndetach = yes\nmax-stderr = 1K\n";

#[test]
fn a_job_that_may_stay_is_heard_after_the_answer_and_neither_killed_nor_stopped() {
    let server = Server::start(|setup| {
        setup.config(MAY_LEAVE).args(["--workers=1"]);
    });
    leave_talkative_job(&server);
    server.folder.write("root/go", "", 0o644);
    server.wait_for_line("done");
    for part in [
        "/job (",
        "stderr: note",
        "(max-stderr: the rest is dropped)",
    ] {
        server.wait_for_log(part);
    }
    expect_server_alone(&server);
    server.stop();
}

#[test]
fn a_job_that_may_stay_survives_the_handler_that_its_own_redirects_to() {
    let server = Server::start(|setup| {
        setup.config(MAY_LEAVE).args(["--workers=1"]);
    });
    server.handler("shown", &shows("echo mine >&2; printf shown"));
    let job = "(sh -c 'echo $PPID' > job; while [ ! -e go ]; do sleep 0.01; done; echo note >&2; echo x > done) &
         while [ ! -s job ]; do sleep 0.01; done
         printf 'Location: /shown\\n\\n'";
    server.handler("job", job);
    let worker = server.worker_pids()[0];
    assert_eq!(server.get("/job").ok(), "shown");
    eventually(PATIENCE, "the worker has left", || !os::is_alive(worker));
    let job = server.wait_for_line("job").parse().unwrap();
    assert!(os::is_alive(job), "{}", server.log());
    server.folder.write("root/go", "", 0o644);
    server.wait_for_line("done");
    server.wait_for_log("stderr: note");
    let log = server.log();
    let said = |name: &str, what: &str| {
        log.lines()
            .any(|line| line.contains(name) && line.ends_with(what))
    };
    assert!(said(" /job (", "stderr: note"), "{log}");
    assert!(said(" /shown (", "stderr: mine"), "{log}");
    expect_server_alone(&server);
    server.stop();
}

#[test]
fn a_job_that_may_stay_is_heard_also_when_the_server_is_gone() {
    let mut server = Server::start(|setup| {
        setup.config(MAY_LEAVE).args(["--workers=1"]);
    });
    let job = leave_talkative_job(&server);
    server.signal(os::TERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(os::is_alive(job));
    let listens = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/comm")).is_ok_and(|name| name == b"caffeine-detach\n")
    };
    // Nobody is to wait for the end of the server's stderr in vain.
    eventually(
        PATIENCE,
        "the listener has let go of the server's own",
        || {
            let mut all = server.folder.processes();
            all.retain(listens);
            let links: Vec<_> = all.iter().map(|pid| os::descriptors(*pid)).collect();
            let own = |link: &&String| *link == "/dev/null";
            links.len() == 1 && links[0].len() == 6 && links[0].iter().filter(own).count() == 3
        },
    );
    server.folder.write("root/go", "", 0o644);
    server.wait_for_line("done");
    server.wait_for_log("stderr: note");
    server.expect_nothing_left();
}
