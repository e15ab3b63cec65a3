//! What handlers leave behind: processes of every kind, a changed pipe, jobs that may live on.

use super::harness::Server;

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
