//! The handlers: this same program under other names. The tiny one of the normal load is a C
//! program, since starting a Rust one takes longer than all that a server does for it.

use crate::{brood, pattern};
use sha2::{Digest, Sha256};
use std::fs::OpenOptions;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

/// Names under which a copy of this program is put into the handlers' folder.
pub const NAMES: [&str; 6] = ["download", "upload", "events", "once", "sleep", "brood"];

/// Variable with the folder where `once` notes that it ran.
pub const RUNS: &str = "RUNS";

/// A word of the query, `name=value&...`.
fn word(name: &str) -> String {
    let query = std::env::var("QUERY_STRING").unwrap_or_default();
    let words = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut found = words.filter(|(n, _)| *n == name).map(|(_, v)| v.to_owned());
    found.next().unwrap_or_default()
}

fn number(name: &str) -> u64 {
    word(name).parse().unwrap_or(0)
}

/// Answers one request.
pub fn run() -> ExitCode {
    let name = std::env::var("SCRIPT_NAME").unwrap_or_default();
    if note().is_err() {
        return ExitCode::FAILURE;
    }
    let done = match name.as_str() {
        "/download" => download(),
        "/upload" => upload(),
        "/events" => events(),
        "/once" => once(),
        "/brood" => brood::run(number("way"), number("seconds")),
        _ => {
            sleep(Duration::from_millis(number("ms")));
            say("Content-Type: text/plain\r\n\r\nawake\n")
        }
    };
    // A client that leaves ends most of these by SIGPIPE's error: that is what is tested.
    done.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// Notes under `note` who runs, and for which worker.
fn note() -> io::Result<()> {
    let id = word("note");
    if id.is_empty() {
        return Ok(());
    }
    let runs = std::env::var(RUNS).unwrap_or_default();
    let path = format!("{runs}/note-{id}");
    let mut note = OpenOptions::new().create(true).append(true).open(path)?;
    let (own, worker) = (std::process::id(), std::os::unix::process::parent_id());
    note.write_all(format!("{own} {worker}\n").as_bytes())
}

pub fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// `size` bytes of the contents `id`.
fn download() -> io::Result<()> {
    let (id, size) = (number("id"), number("size"));
    say(&format!(
        "Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
    ))?;
    let mut out = io::stdout().lock();
    let mut buffer = vec![0; 1 << 16];
    let mut at = 0;
    while at < size {
        let part = usize::try_from(size - at)
            .unwrap_or(usize::MAX)
            .min(1 << 16);
        pattern::fill(&mut buffer[..part], id, at);
        out.write_all(&buffer[..part])?;
        at += part as u64;
    }
    out.flush()
}

/// The hash of the body.
fn upload() -> io::Result<()> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut input = io::stdin().lock();
    loop {
        match input.read(&mut buffer)? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    say(&format!(
        "Content-Type: text/plain\r\nContent-Length: 64\r\n\r\n{}",
        pattern::hex(hash)
    ))
}

/// A line a second, for `seconds`.
fn events() -> io::Result<()> {
    say("Content-Type: text/event-stream\r\n\r\n")?;
    for n in 0..number("seconds") {
        say(&format!("data: {n}\n\n"))?;
        sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// Notes that it ran, then does as `then` says.
fn once() -> io::Result<()> {
    let runs = std::env::var(RUNS).unwrap_or_default();
    let mut note = OpenOptions::new()
        .create(true)
        .append(true)
        .open(format!("{runs}/{}", word("id")))?;
    note.write_all(b"x")?;
    match word("then").as_str() {
        "hang" => {
            sleep(Duration::from_secs(30));
            say("Content-Type: text/plain\r\n\r\nlate\n")
        }
        "nap" => {
            sleep(Duration::from_millis(100));
            say("Content-Type: text/plain\r\n\r\nawake\n")
        }
        "stream" => {
            say("Content-Type: text/plain\r\n\r\n")?;
            for _ in 0..number("ticks") {
                say("tick\n")?;
                sleep(Duration::from_millis(50));
            }
            Ok(())
        }
        _ => say("Content-Type: text/plain\r\n\r\nok\n"),
    }
}
