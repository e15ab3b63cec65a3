//! What handlers leave behind: processes of every kind, a changed pipe, jobs that may live on.

use super::harness::{Server, os};

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
