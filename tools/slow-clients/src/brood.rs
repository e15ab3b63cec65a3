//! The handler `brood`: it leaves behind what is hard to find and to end. All of it ends by itself when the
//! run is over, and there are never more than `MOST` of one request.

use crate::handler::say;
use crate::sys;
use std::io;
use std::thread::sleep;
use std::time::Duration;

/// What it does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A daemon, by two forks and a session of its own.
    Daemon,
    /// A child in a group of its own, which ignores SIGTERM and keeps stdout.
    Group,
    /// It moves into the group of such a child, and goes on for ever.
    Hop,
    /// It ignores SIGTERM and goes on for ever.
    Stubborn,
    /// A tree of processes in sessions of their own.
    Tree,
    /// It closes stdout behind its response, and only then starts a daemon.
    Late,
}

/// Words for the table, in order of their numbers; and whether it ends before its time limit.
pub const WAYS: [(&str, bool); 6] = [
    ("a daemon by setsid", true),
    ("a child that left its group and ignores TERM", true),
    ("moves into another group and hangs", false),
    ("ignores TERM and hangs", false),
    ("a tree of sessions", true),
    ("a daemon after its response", true),
];

const ALL: [Way; WAYS.len()] = [
    Way::Daemon,
    Way::Group,
    Way::Hop,
    Way::Stubborn,
    Way::Tree,
    Way::Late,
];

/// Processes of one request.
const MOST: u64 = 16;

/// Does as `way` says; whoever is left ends after so many seconds.
pub fn run(way: u64, seconds: u64) -> io::Result<()> {
    let way = usize::try_from(way).ok().and_then(|way| ALL.get(way));
    match way.copied().unwrap_or(Way::Daemon) {
        Way::Daemon => daemon(seconds)?,
        Way::Group => {
            in_own_group(seconds)?;
        }
        Way::Hop => {
            let child = in_own_group(seconds)?;
            sys::ignore_term();
            // The child may not be there yet.
            while sys::join_group(child).is_err() {
                sleep(Duration::from_millis(1));
            }
            linger(seconds);
        }
        Way::Stubborn => {
            sys::ignore_term();
            linger(seconds);
        }
        Way::Tree => tree(MOST, seconds)?,
        Way::Late => {
            say("Content-Type: text/plain\r\nContent-Length: 4\r\n\r\nwell")?;
            sys::close_standard();
            sleep(Duration::from_millis(50));
            return daemon(seconds);
        }
    }
    say("Content-Type: text/plain\r\n\r\nwell")
}

/// Until the run is over.
fn linger(seconds: u64) -> ! {
    sleep(Duration::from_secs(seconds));
    std::process::exit(0)
}

fn daemon(seconds: u64) -> io::Result<()> {
    if sys::fork()? > 0 {
        return Ok(());
    }
    let _ = sys::begin_session();
    if sys::fork().is_ok_and(|pid| pid > 0) {
        std::process::exit(0);
    }
    sys::close_standard();
    linger(seconds)
}

fn in_own_group(seconds: u64) -> io::Result<i32> {
    let child = sys::fork()?;
    if child > 0 {
        return Ok(child);
    }
    let _ = sys::join_group(0);
    sys::ignore_term();
    linger(seconds)
}

/// Two children, of which each has two.
fn tree(size: u64, seconds: u64) -> io::Result<()> {
    let half = (size - 1) / 2;
    for _ in 0..2 {
        if half == 0 || sys::fork()? > 0 {
            continue;
        }
        let _ = sys::begin_session();
        sys::ignore_term();
        let _ = tree(half, seconds);
        sys::close_standard();
        linger(seconds);
    }
    Ok(())
}
