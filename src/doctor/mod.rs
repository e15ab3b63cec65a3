//! What is wrong with a handler, and what to do about it: for `--check`, which looks at all of
//! them, and for the log when a launch has failed. One set of words for both.
//!
//! It decides from mode bits, the file's first bytes (`program`) and what these name. It executes
//! nothing and changes nothing. `walk` goes through the folder, `places` looks at everything else.

mod places;
mod walk;

pub(crate) use places::spool_total;
pub(crate) use walk::check;

use crate::log::Escaped;
use crate::program::{self, Elf, Loader, Program, Script};
use crate::sys::fd::{self, AsFd};
use crate::sys::file::{self, Open, Stat};
use crate::sys::{self, process};
use std::ffi::{CStr, CString};
use std::fmt::Write;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Whose rights handlers have.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    /// User.
    pub uid: u32,
    /// All groups.
    pub groups: Vec<u32>,
    /// True for the user of this process: then the kernel can be asked what he may do.
    pub is_self: bool,
}

/// Permission bits, as they stand for others.
const READ: u32 = 0o4;
const EXECUTE: u32 = 0o1;

impl Who {
    /// The user of this process.
    pub(crate) fn this_process() -> Self {
        Self {
            uid: process::effective_uid(),
            groups: process::groups(),
            is_self: true,
        }
    }

    /// Whether the mode bits allow it. Root reads everything, and executes what anybody may.
    fn has(&self, stat: &Stat, bit: u32) -> bool {
        let mode = stat.permissions();
        if self.uid == 0 {
            return bit == READ || mode & 0o111 != 0;
        }
        let shift = if stat.uid == self.uid {
            6
        } else if self.groups.contains(&stat.gid) {
            3
        } else {
            0
        };
        mode >> shift & bit != 0
    }

    /// Whether it may execute or search something. Access lists say more than mode bits do, and
    /// the kernel knows both.
    fn may_execute(&self, at: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> bool {
        let asks = self.is_self && self.uid != 0;
        self.has(stat, EXECUTE) || asks && file::is_executable_at(at, name)
    }
}

/// A file that may be a handler, opened to be looked at.
struct Suspect<'a> {
    at: BorrowedFd<'a>,
    name: &'a CStr,
    who: &'a Who,
    /// `PATH` of the handlers.
    search_path: &'a [u8],
    /// Where the file is, for the findings.
    file: &'a [u8],
    findings: &'a mut Findings,
}

/// What is wrong, one line each: `FILE: WHAT; WHAT TO DO`.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The lines.
    pub text: String,
    /// Files that were looked at.
    pub handlers: usize,
}

impl Findings {
    /// Adds a line; `%` in its words is the thing.
    fn note(&mut self, file: &[u8], words: &str, thing: &[u8]) {
        let (before, after) = words.split_once('%').unwrap_or((words, ""));
        let (file, thing) = (Escaped(file), Escaped(thing));
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{file}: {before}{thing}{after}");
    }

    /// Adds what cannot be opened or asked for.
    fn note_unreadable(&mut self, file: &[u8], why: sys::Error) {
        let words = "cannot be looked at (%); chmod it, or check as a user who may";
        self.note(file, words, why.to_string().as_bytes());
    }
}

/// Why execve(2) of `./NAME` in a folder fails, as far as that can be seen: the first reason, in the
/// words of a finding.
pub(crate) fn why_not(folder: BorrowedFd<'_>, name: &CStr, who: &Who) -> Option<String> {
    let mut findings = Findings::default();
    let mut suspect = Suspect {
        at: folder,
        name,
        who,
        search_path: b"",
        file: b"",
        findings: &mut findings,
    };
    suspect.look();
    let first = findings.text.lines().next()?;
    first.strip_prefix(": ").map(str::to_owned)
}

impl Suspect<'_> {
    fn say(&mut self, words: &'static str, thing: &[u8]) {
        self.findings.note(self.file, words, thing);
    }

    /// Everything that keeps the file from being executed.
    fn look(&mut self) {
        let opened = file::open_at(Some(self.at), self.name, Open::Look);
        let stat = match &opened {
            Ok(file) => file::stat(file.as_fd()),
            Err(_) => file::stat_at(self.at, self.name, true),
        };
        let stat = match stat {
            Ok(stat) if stat.is_file() => stat,
            Ok(_) => return,
            Err(why) => return self.findings.note_unreadable(self.file, why),
        };
        if !stat.has_execute_bit() {
            self.say(
                "is not executable, so it is answered with 403; chmod +x it, or move it elsewhere",
                b"",
            );
        } else if !self.who.may_execute(self.at, self.name, &stat) {
            self.say(
                "may not be executed by the server's user; chmod or chown it",
                b"",
            );
        }
        match opened {
            Ok(file) => self.look_inside(&file, &stat),
            Err(why) if stat.has_execute_bit() => {
                self.findings.note_unreadable(self.file, why);
            }
            Err(_) => {}
        }
    }

    fn look_inside(&mut self, file: &OwnedFd, stat: &Stat) {
        if file::is_on_noexec(file.as_fd()) {
            self.say("lies on a file system mounted noexec; move it", b"");
        }
        let words = match inspect(file.as_fd()) {
            Program::Script(script) => return self.judge_line(&script, stat),
            Program::Elf(elf) => return self.judge_elf(&elf),
            Program::BadLine => {
                "has a #! line without an interpreter; write its full path there, as in #!/bin/sh"
            }
            Program::Marked => "has a byte order mark before its #!; save it without",
            // Only a file with an execute bit claims to be a program.
            Program::Empty | Program::Other if !stat.has_execute_bit() => return,
            Program::Empty => "is empty; write a program into it, or remove it",
            Program::Other => {
                "has no #! line and is no compiled program; begin it with one, as in #!/bin/sh"
            }
        };
        self.say(words, b"");
    }

    fn judge_line(&mut self, script: &Script, stat: &Stat) {
        if !self.who.has(stat, READ) {
            self.say(
                "is a script that the server's user may not read; chmod +r it",
                b"",
            );
        }
        if script.has_cr {
            let words =
                "has a #! line that ends in CR LF; remove the CRs, as with sed -i 's/\\r$//'";
            return self.say(words, b"");
        }
        match self.need(&script.interpreter) {
            NeedCheck::Met => {}
            NeedCheck::Missing => {
                let words =
                    "needs the interpreter %, which is missing; install it or correct the #! line";
                return self.say(words, &script.interpreter);
            }
            NeedCheck::Refused => {
                let words = "needs the interpreter %, which may not be executed; chmod it or choose another";
                return self.say(words, &script.interpreter);
            }
        }
        if let Some(word) = looked_up_word(script)
            && !self.search_path.is_empty()
            && !self.is_in_search_path(word)
        {
            self.say(
                "needs %, which is not in the PATH of handlers; install it or set PATH with env",
                word,
            );
        }
    }

    fn is_in_search_path(&self, word: &[u8]) -> bool {
        let mut folders = self.search_path.split(|b| *b == b':');
        folders.any(|folder| self.need(&[folder, b"/", word].concat()) == NeedCheck::Met)
    }

    fn judge_elf(&mut self, elf: &Elf) {
        if !elf.fits() {
            let words = "was built for %, which this machine is not; build it for this one";
            return self.say(words, elf.machine_name().as_bytes());
        }
        match &elf.loader {
            Loader::Kernel => {}
            Loader::Program(path) => match self.need(path) {
                NeedCheck::Met => {}
                NeedCheck::Missing => self.say(
                    "needs the dynamic loader %, which is missing; install its C library or link it statically",
                    path,
                ),
                NeedCheck::Refused => self.say(
                    "needs the dynamic loader %, which may not be executed; chmod it",
                    path,
                ),
            },
            Loader::Nobody => self.say(
                "begins like a compiled program but is cut short or no executable; build or copy it again",
                b"",
            ),
        }
    }

    /// A program that another one needs; it may be named from the folder on.
    fn need(&self, path: &[u8]) -> NeedCheck {
        let name = CString::new(path).unwrap_or_default();
        match file::stat_at(self.at, &name, true) {
            Ok(stat) if stat.is_file() && self.who.may_execute(self.at, &name, &stat) => {
                NeedCheck::Met
            }
            Ok(_) => NeedCheck::Refused,
            Err(_) => NeedCheck::Missing,
        }
    }
}

/// Whether a program that a handler needs can be run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NeedCheck {
    Met,
    Missing,
    Refused,
}

/// The program that `#!/usr/bin/env NAME` looks up; nothing for options and variables.
fn looked_up_word(script: &Script) -> Option<&[u8]> {
    if !script.interpreter.ends_with(b"/env") {
        return None;
    }
    let word = script.argument.as_slice();
    let is_plain = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'=' | b'/');
    let is_word = !word.is_empty() && !word.starts_with(b"-") && word.iter().all(is_plain);
    is_word.then_some(word)
}

fn inspect(file: BorrowedFd<'_>) -> Program {
    program::inspect(&mut |at, buffer| fd::pread(file, buffer, at).unwrap_or(0))
}
