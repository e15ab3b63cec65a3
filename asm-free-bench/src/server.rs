//! The real server, started for this run: on a port of the kernel's choice, everything it writes
//! in the scratch folder, its log at the default level.

use crate::child::Child;
use crate::failure::Failure;
use crate::options::Options;
use crate::scratch::Scratch;
use caffeine::testing::sys::fd::{self, AsFd};
use caffeine::testing::sys::process::Ended;
use caffeine::testing::sys::readiness::Readiness;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The server's workers, its default.
pub(crate) const WORKERS: &str = "4";

/// For the start line, and for the end after SIGTERM.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of the server's last lines that a failure shows.
const SHOWN: usize = 4 * 1024;

/// The running server; stopped when dropped.
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    child: Option<Child>,
    stderr: OwnedFd,
    readiness: Readiness,
    said: Vec<u8>,
}

impl Server {
    /// Starts it and waits for the line that says that it serves.
    pub(crate) fn start(binary: &Path, scratch: &Scratch) -> Result<Self, Failure> {
        let unable = |e| Failure::unable(&format!("start {}", binary.display()), e);
        let (stderr, theirs) = fd::pipe().map_err(unable)?;
        let readiness = Readiness::new(false).map_err(unable)?;
        readiness.watch(stderr.as_fd(), 0).map_err(unable)?;
        fd::set_nonblocking(stderr.as_fd(), true).map_err(unable)?;
        let child = Child::fork(theirs.as_fd(), || {
            if fd::duplicate_onto(theirs.as_fd(), 2).is_ok() {
                let why = command(binary, scratch).exec();
                eprintln!("unable to run {}: {why}", binary.display());
            }
        })?;
        drop(theirs);
        let mut server = Self {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            child: Some(child),
            stderr,
            readiness,
            said: Vec::new(),
        };
        let deadline = Instant::now() + TIMEOUT;
        while server.address.port() == 0 {
            if !server.listen_until(deadline)? {
                return Err(server.explain(Failure::unable("start the server", "it has ended")));
            }
            server.address.set_port(port(&server.said).unwrap_or(0));
        }
        Ok(server)
    }

    /// Waits for more lines. `false`: every process of the server is gone.
    fn listen_until(&mut self, deadline: Instant) -> Result<bool, Failure> {
        let unable = |e| Failure::unable("listen to the server", e);
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let silent = Failure::unable("wait for the server", "it is silent");
            return Err(self.explain(silent));
        }
        self.readiness
            .wait(&mut Vec::new(), Some(left))
            .map_err(unable)?;
        self.take_lines()
    }

    /// Takes what the server has said by now: an unread pipe would make it wait. `false`: the end.
    pub(crate) fn take_lines(&mut self) -> Result<bool, Failure> {
        let mut piece = [0; 16 * 1024];
        loop {
            match fd::read(self.stderr.as_fd(), &mut piece) {
                Ok(0) => return Ok(false),
                Ok(n) => self
                    .said
                    .extend_from_slice(piece.get(..n).unwrap_or_default()),
                Err(e) if e.is_would_block() => return Ok(true),
                Err(e) => return Err(Failure::unable("listen to the server", e)),
            }
            let surplus = self.said.len().saturating_sub(SHOWN);
            self.said.drain(..surplus);
        }
    }

    /// What its log says since the last time of how long clients waited for a worker, by the server's own
    /// clock: from the end of the parent's sleep until the worker has the descriptor.
    pub(crate) fn take_waits(&mut self) -> Result<Vec<Duration>, Failure> {
        self.take_lines()?;
        let end = self.said.iter().rposition(|byte| *byte == b'\n');
        let lines: Vec<u8> = self.said.drain(..end.map_or(0, |end| end + 1)).collect();
        let lines = String::from_utf8_lossy(&lines);
        Ok(lines.lines().filter_map(wait).collect())
    }

    /// A failure with the server's last lines.
    pub(crate) fn explain(&mut self, failure: Failure) -> Failure {
        // What cannot be read is not shown.
        let _ = self.take_lines();
        failure.with(String::from_utf8_lossy(&self.said).trim_end())
    }

    /// SIGTERM, after which all its processes must end, and the first with exit code 0.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        let Some(child) = self.child.take() else {
            return Ok(());
        };
        child.signal(libc::SIGTERM)?;
        let deadline = Instant::now() + TIMEOUT;
        while self.listen_until(deadline)? {}
        match child.wait()? {
            Some(Ended::Exited(0)) => Ok(()),
            other => Err(self.explain(Failure::wrong(format_args!("the server's end: {other:?}")))),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After a failure: first the chance to end its own children, then the child's own drop.
        if let Some(child) = self.child.take() {
            let _ = child.signal(libc::SIGTERM);
            let deadline = Instant::now() + Duration::from_secs(5);
            while self.listen_until(deadline).unwrap_or(false) {}
        }
    }
}

fn command(binary: &Path, scratch: &Scratch) -> Command {
    let mut command = Command::new(binary);
    for (option, name) in [
        ("--path", "root"),
        ("--socket", "socket"),
        ("--pid-file", "pid"),
        ("--log-file", "log"),
    ] {
        command.arg(option).arg(scratch.path(name));
    }
    command
        .args(["--bind", "127.0.0.1", "--port", "0", "--workers", WORKERS])
        .env("HOME", scratch.folder())
        .stdin(Stdio::null());
    command
}

/// The port in the start line, once that line is whole.
fn port(said: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(said);
    let whole = text.rsplit_once('\n')?.0;
    let line = whole.lines().find(|line| line.contains("serving "))?;
    let (_, rest) = line.split_once("127.0.0.1:")?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

/// The wait in a request's line.
fn wait(line: &str) -> Option<Duration> {
    let (_, rest) = line.split_once(" queue=")?;
    let (ms, _) = rest.split_once("ms")?;
    Duration::try_from_secs_f64(ms.parse::<f64>().ok()? / 1_000.0).ok()
}

/// The binary to measure: the one that was named, else the one of the folder above, built now (a
/// stale one would be measured without a word).
pub(crate) fn binary(options: &Options) -> Result<PathBuf, Failure> {
    if let Some(named) = &options.caffeine {
        return std::path::absolute(named)
            .map_err(|e| Failure::unable(&format!("find {}", named.display()), e));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let unable = |why: &dyn std::fmt::Display| {
        Failure::unable("build the server (--caffeine PATH takes another one)", why)
    };
    let target = std::path::absolute(target).map_err(|e| unable(&e))?;
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--quiet", "--bin", "caffeine"])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(&root)
        .status()
        .map_err(|e| unable(&e))?;
    if status.success() {
        Ok(target.join("release/caffeine"))
    } else {
        Err(unable(&status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_a_whole_line_only() {
        let line = b"warned\nserving /x on http://127.0.0.1:41234/ with 4 workers\n";
        assert_eq!(port(line), Some(41234));
        assert_eq!(port(&line[..line.len() - 1]), None);
        assert_eq!(port(b"127.0.0.1:80 is taken\n"), None);
    }
    #[test]
    fn the_wait_is_read_from_a_line_of_the_log() {
        let line =
            r#"INFO [7] 127.0.0.1:4 "GET /a HTTP/1.1" 404 in=0 out=9 queue=0.031ms total=1.200ms"#;
        assert_eq!(wait(line), Some(Duration::from_micros(31)));
        assert_eq!(wait("INFO [7] started"), None);
    }
}
