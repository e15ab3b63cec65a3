//! A process full of abusive clients, as the scenarios see it. Its own, since client and server
//! need a table of descriptors each.

use crate::{Result, sys};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// First word of such a process' command line.
pub const ROLE: &str = "--abuse";

/// One such process.
pub struct Abuser {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

/// What it found.
pub struct Found(HashMap<String, String>);

impl Found {
    pub fn get(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

impl Abuser {
    /// Starts one; it knows its words.
    pub fn start(role: &str, server: SocketAddr, words: &[usize]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(ROLE).arg(role).arg(server.to_string());
        command.args(words.iter().map(usize::to_string));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        sys::end_with_parent(&mut command);
        let mut child = command.spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(|line| line.ok()) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            stdin,
            lines,
        })
    }

    /// Its next line, which begins with this word.
    pub fn expect(&self, word: &str, time: Duration) -> Result<Found> {
        let line = self.lines.recv_timeout(time);
        let line = line.map_err(|e| format!("no \"{word}\" from the abusive clients: {e}"))?;
        let rest = line.strip_prefix(word);
        let rest = rest.ok_or(format!("\"{line}\" where \"{word}\" was expected"))?;
        let pairs = rest.split_whitespace().filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        });
        Ok(Found(pairs.collect()))
    }

    /// Stops its process, or lets it go on: what it has open stays, and nothing moves.
    pub fn pause(&self, is_paused: bool) -> Result<()> {
        let signal = if is_paused {
            sys::SIGSTOP
        } else {
            sys::SIGCONT
        };
        Ok(sys::kill(i32::try_from(self.child.id())?, signal)?)
    }

    /// Tells it something.
    pub fn say(&mut self, word: &str) -> Result<()> {
        writeln!(self.stdin, "{word}")?;
        Ok(())
    }
}

impl Drop for Abuser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
