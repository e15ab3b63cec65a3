//! 4: slowhttptest, a program of other people's, in its four modes.

use super::{Bounds, end, judge_load, load_time, warm_up};
use crate::Result;
use crate::args::Options;
use crate::load::{self, Compared};
use crate::server::Server;
use crate::table::Table;
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = "slowhttptest";

/// Modes with the options that they need; the last word of each is the target.
const MODES: [(&str, &[&str]); 4] = [
    (
        "slowloris",
        &["-H", "-i", "5", "-x", "24", "-t", "GET", "/tiny"],
    ),
    (
        "slow body",
        &[
            "-B", "-i", "5", "-s", "8192", "-x", "10", "-t", "POST", "/upload",
        ],
    ),
    (
        "range",
        &["-R", "-a", "10", "-b", "3000", "-t", "HEAD", "/tiny"],
    ),
    (
        "slow read",
        &[
            "-X",
            "-w",
            "512",
            "-y",
            "1024",
            "-n",
            "5",
            "-z",
            "32",
            "/download?size=131072",
        ],
    ),
];

struct Attack(Child);

impl Drop for Attack {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn attack(server: &Server, options: &Options, words: &[&str]) -> Result<Attack> {
    let (target, words) = words.split_last().ok_or("no target")?;
    let mut command = Command::new(PROGRAM);
    command.args(words);
    command.args(["-c", options.pick("1000", "200"), "-r", "200", "-p", "3"]);
    command.args(["-l", options.pick("20", "3")]);
    command.args(["-u", &format!("http://{}{target}", server.address)]);
    let out = File::create(server.folder().join("attack"))?;
    command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(Stdio::null());
    crate::sys::end_with_parent(&mut command);
    Ok(Attack(command.spawn()?))
}

/// How often it found the service available, and how often not.
fn verdicts(server: &Server) -> Result<(usize, usize)> {
    let text = std::fs::read(server.folder().join("attack"))?;
    let text = String::from_utf8_lossy(&text);
    let lines = || {
        text.lines()
            .filter(|line| line.contains("service available"))
    };
    let count = |word: &str| lines().filter(|line| line.contains(word)).count();
    Ok((count("YES"), count("NO")))
}

pub fn run(options: &Options, table: &mut Table) -> Result<()> {
    let version = Command::new(PROGRAM).arg("-h").output();
    if version.is_err() {
        table.not_run("slowhttptest", "it is not installed");
        return Ok(());
    }
    let server = Server::start(options, &[])?;
    warm_up(&server, options)?;
    for (mode, words) in MODES {
        let mut compared = Compared::default();
        compared
            .without
            .add(load::run(server.address, load_time(options))?);
        let mut running = attack(&server, options, words)?;
        let deadline = Instant::now() + Duration::from_secs(45);
        while running.0.try_wait()?.is_none() && Instant::now() < deadline {
            compared
                .with
                .add(load::run(server.address, Duration::from_millis(500))?);
        }
        drop(running);
        let (yes, no) = verdicts(&server)?;
        let what = format!("{mode}: found available, not");
        table.check(&what, format!("{yes}, {no}"), "> 0, 0", yes > 0 && no == 0);
        let worst = compared.with.worst_ms();
        let what = format!("{mode}: longest normal request");
        table.time(&what, format!("{worst:.0} ms"), "< 1000 ms", worst < 1000.0);
        judge_load(table, &compared, Bounds::default());
        server.wait_for(Duration::from_secs(45), |s| s.get("connections") == 0)?;
    }
    end(table, server)
}
