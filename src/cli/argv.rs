//! The command line: words to options, each checked alone.
//!
//! Words are bytes. `--x v` and `--x=v`, `-d`, clusters of letters, `--` at the end. A value that
//! begins with `-` has to be attached, so that a forgotten one never swallows the next option;
//! only `-` with a digit is taken as a value, to be told that it is none. Refuses operands.
//! Reads no file and prints nothing; `combine` makes a command of the result.

use super::error::{Reason, UsageError};
use super::kind::{Destination, Kind, SHELLS, Verb, split_variable};
use super::options::{self, Row};
use super::suggest;
use super::{Shell, Surroundings};
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// What an option was given, on the command line or in the file.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) row: &'static Row,
    /// As written; `yes` for a flag on the command line, empty for a command.
    pub(super) value: OsString,
}

impl Given {
    /// Whether `other` says the same thing again: for a repeatable option, the same variable or
    /// the same address.
    pub(super) fn repeats(&self, other: &Self) -> bool {
        if self.row.name != other.row.name || !self.row.repeats {
            return self.row.name == other.row.name;
        }
        match self.row.kind {
            Kind::Env(_) | Kind::Page(_) => self.variable() == other.variable(),
            _ => self.value == other.value,
        }
    }

    /// The name of a variable; of other values the part before a `=`.
    pub(super) fn variable(&self) -> &[u8] {
        split_variable(self.value.as_bytes()).0
    }

    /// The value to show when it is given again: nothing for flags and commands.
    pub(super) fn shown(&self) -> Vec<u8> {
        let shown = self.row.kind.takes_value();
        if shown {
            self.value.as_bytes().to_vec()
        } else {
            Vec::new()
        }
    }
}

/// A checked command line. It can be combined again when the file has changed.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub(super) given: Vec<Given>,
    pub(super) home: Option<OsString>,
}

/// The configuration file to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// Its path.
    pub path: PathBuf,
    /// Named by `--config`: it must exist. The default one may be missing.
    pub explicit: bool,
}

/// Checks each word of the command line (without the program's name) alone.
///
/// # Errors
/// The first word, in their order, that is wrong.
pub fn parse(words: &[OsString], surroundings: Surroundings<'_>) -> Result<Parsed, UsageError> {
    let home = surroundings.home.filter(|home| !home.is_empty());
    let mut parsed = Parsed {
        given: Vec::new(),
        home: home.map(OsStr::to_os_string),
    };
    let mut words = words.iter().map(|word| word.as_bytes());
    while let Some(word) = words.next() {
        match word {
            b"--" => return no_operands(words).map(|()| parsed),
            [b'-', b'-', long @ ..] => parsed.long(long, &mut words)?,
            [b'-', first, ..] if *first != b'-' => parsed.letters(word)?,
            _ => return Err(plain(Reason::Operand(word.to_vec()))),
        }
    }
    Ok(parsed)
}

fn plain(reason: Reason) -> UsageError {
    UsageError::on_line("", reason)
}

fn no_operands<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> Result<(), UsageError> {
    match words.next() {
        Some(word) => Err(plain(Reason::Operand(word.to_vec()))),
        None => Ok(()),
    }
}

impl Parsed {
    /// Which configuration file to read; `None` if the command needs none, or if there is no
    /// home folder to look in.
    pub fn config_file(&self) -> Option<ConfigFile> {
        let needs_none = match self.verb() {
            None => false,
            Some(Asked::Completions(_)) => true,
            Some(Asked::Verb(verb)) => {
                matches!(verb, Verb::Help | Verb::Version | Verb::Man | Verb::List)
            }
        };
        if needs_none {
            return None;
        }
        let config = self
            .given
            .iter()
            .find(|given| matches!(given.row.kind, Kind::Config));
        if let Some(given) = config {
            return Some(ConfigFile {
                path: PathBuf::from(&given.value),
                explicit: true,
            });
        }
        let below = self.named(OsStr::new(".config/caffeine/caffeine.conf"));
        Some(ConfigFile {
            path: Path::new(self.home.as_ref()?).join(below),
            explicit: false,
        })
    }

    /// A default path of this instance: its name stands before the ending.
    pub(super) fn named<'p>(&self, path: &'p OsStr) -> Cow<'p, OsStr> {
        let is_name = |given: &&Given| matches!(given.row.kind, Kind::Instance);
        let bytes = path.as_bytes();
        let dot = bytes.iter().rposition(|byte| matches!(byte, b'.' | b'/'));
        let dot = dot.filter(|at| bytes.get(*at) == Some(&b'.'));
        let (Some(given), Some(dot)) = (self.given.iter().find(is_name), dot) else {
            return Cow::Borrowed(path);
        };
        let (stem, ending) = bytes.split_at(dot);
        let path = [stem, b"-", given.value.as_bytes(), ending].concat();
        Cow::Owned(OsString::from_vec(path))
    }

    /// The command that was asked for; help before all others.
    pub(super) fn verb(&self) -> Option<Asked> {
        let mut asked = self.given.iter().filter_map(asked);
        let first = asked.next();
        if asked.any(|other| other == Asked::Verb(Verb::Help)) {
            return Some(Asked::Verb(Verb::Help));
        }
        first
    }

    fn long<'a>(
        &mut self,
        word: &[u8],
        rest: &mut (impl Iterator<Item = &'a [u8]> + Clone),
    ) -> Result<(), UsageError> {
        let (name, attached) = split_variable(word);
        let row = options::find(name).ok_or_else(|| unknown(name))?;
        let wrong = |reason| Err(UsageError::on_line(row.name, reason));
        if !row.standing().on_line {
            return wrong(Reason::NotHere(row.standing().words()));
        }
        let value = match (row.kind.takes_value(), attached) {
            (false, Some(value)) => return wrong(Reason::UnwantedValue(value.to_vec())),
            (false, None) => return self.add(row, row.kind.alone()),
            (true, Some(value)) => value,
            (true, None) => detached(rest).unwrap_or_default(),
        };
        if value.is_empty() {
            return wrong(Reason::MissingValue(row.value));
        }
        self.add(row, value)
    }

    fn letters(&mut self, word: &[u8]) -> Result<(), UsageError> {
        let mut letters = word.iter().skip(1).copied();
        let mut last: Option<&Row> = None;
        while let Some(letter) = letters.next() {
            if let (b'=', Some(row)) = (letter, last) {
                return Err(UsageError::on_line(
                    row.name,
                    Reason::UnwantedValue(letters.collect()),
                ));
            }
            let Some(row) = options::find_short(letter) else {
                let near = long_meant(word);
                return Err(plain(Reason::Unknown {
                    word: word.to_vec(),
                    near,
                }));
            };
            self.add(row, row.kind.alone())?;
            last = Some(row);
        }
        Ok(())
    }

    fn add(&mut self, row: &'static Row, value: &[u8]) -> Result<(), UsageError> {
        let wrong = |reason| Err(UsageError::on_line(row.name, reason));
        let given = Given {
            row,
            value: OsString::from_vec(value.to_vec()),
        };
        if let Some(before) = self.given.iter().find(|before| given.repeats(before)) {
            return wrong(Reason::Repeated(before.shown()));
        }
        if let (Some(now), Some(before)) = (asked(&given), self.verb()) {
            let help = Asked::Verb(Verb::Help);
            if now != help && before != help {
                return wrong(Reason::SecondCommand(self.command_name()));
            }
        }
        row.kind
            .store(&given.value, &mut Destination::Check)
            .or_else(wrong)?;
        self.given.push(given);
        Ok(())
    }

    fn command_name(&self) -> &'static str {
        let command = self.given.iter().find(|given| asked(given).is_some());
        command.map_or("", |given| given.row.name)
    }
}

/// A command with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// One without a value.
    Verb(Verb),
    /// `--print-completions`.
    Completions(Shell),
}

fn asked(given: &Given) -> Option<Asked> {
    match given.row.kind {
        Kind::Invocation(verb) => Some(Asked::Verb(verb)),
        Kind::Shell => {
            let same = |name: &&str| given.value.eq_ignore_ascii_case(name);
            Some(Asked::Completions(match SHELLS.iter().position(same) {
                Some(0) => Shell::Bash,
                Some(1) => Shell::Zsh,
                _ => Shell::Fish,
            }))
        }
        _ => None,
    }
}

/// The next word, if it can be a value; else it stays where it is.
fn detached<'a>(rest: &mut (impl Iterator<Item = &'a [u8]> + Clone)) -> Option<&'a [u8]> {
    let word = rest.clone().next()?;
    let option = word.starts_with(b"-") && !word.get(1).is_none_or(u8::is_ascii_digit);
    if option { None } else { rest.next() }
}

fn names_on_line() -> impl Iterator<Item = &'static str> + Clone {
    options::all()
        .filter(|row| row.standing().on_line)
        .map(|row| row.name)
}

fn unknown(name: &[u8]) -> UsageError {
    let near = suggest::near(name, names_on_line());
    plain(Reason::Unknown {
        word: [b"--", name].concat(),
        near,
    })
}

/// `-port`, `-port=80`: one dash too few. A single letter means nothing.
fn long_meant(word: &[u8]) -> Option<&'static str> {
    let name = split_variable(word.get(1..)?).0;
    if name.len() > 1 {
        suggest::near(name, names_on_line())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Parsed, String> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let home = Some(OsStr::new("/home/a"));
        parse(&words, Surroundings { home }).map_err(|error| error.to_string())
    }

    /// What was understood, as `name=value` words.
    fn understood(words: &[&str]) -> Vec<String> {
        let given = parsed(words).expect("a good command line").given;
        let show = |given: &Given| format!("{}={}", given.row.name, given.value.to_string_lossy());
        given.iter().map(show).collect()
    }

    #[test]
    fn values_are_attached_or_follow() {
        let rows: [(&[&str], &[&str]); 9] = [
            (&[], &[]),
            (&["--port", "80"], &["port=80"]),
            (&["--port=80"], &["port=80"]),
            (
                &["--log-level=debug", "--path", "/srv"],
                &["log-level=debug", "path=/srv"],
            ),
            (&["--path=--odd"], &["path=--odd"]),
            (&["--path", "-"], &["path=-"]),
            (&["--env=A=b=c", "--env", "B="], &["env=A=b=c", "env=B="]),
            (&["-d", "--"], &["daemon=yes"]),
            (&["-dh"], &["daemon=yes", "help="]),
        ];
        for (words, expected) in rows {
            assert_eq!(understood(words), expected, "{words:?}");
        }
    }

    const WRONG: [(&[&str], &str); 28] = [
        (&["--port"], "--port: needs a value; write --port=PORT"),
        (&["--port", ""], "--port: needs a value; write --port=PORT"),
        (&["--port="], "--port: needs a value; write --port=PORT"),
        (
            &["--path", "--daemon"],
            "--path: needs a value; write --path=DIR",
        ),
        (&["--path", "-d"], "--path: needs a value; write --path=DIR"),
        (&["--path", "--"], "--path: needs a value; write --path=DIR"),
        (
            &["--port", "-1"],
            "--port: '-1' is not a whole number from 0 to 65535",
        ),
        (
            &["--port", "65536"],
            "--port: '65536' is out of range; give a whole number from 0 to 65535",
        ),
        (
            &["--workers=0"],
            "--workers: '0' is out of range; give a whole number from 1 to 1024",
        ),
        (
            &["--workers=99999999999999999999"],
            "--workers: '99999999999999999999' is out of range; give a whole number from 1 to 1024",
        ),
        (
            &["--max-head=1"],
            "--max-head: '1' is out of range; give a size from 256 to 1M (bytes, or a number with K, M or G)",
        ),
        (
            &["--linger=1d"],
            "--linger: '1d' is not a time from 0 to 168h (seconds, or a number with ms, s, m or h)",
        ),
        (
            &["--log-level", "loud"],
            "--log-level: 'loud' is not one of DEBUG, INFO, WARN, ERROR",
        ),
        (
            &["--daemon=1"],
            "--daemon: takes no value, but was given '1'; write --daemon alone",
        ),
        (
            &["--daemon="],
            "--daemon: takes no value, but was given ''; write --daemon alone",
        ),
        (
            &["-d=1"],
            "--daemon: takes no value, but was given '1'; write --daemon alone",
        ),
        (&["-d", "--daemon"], "--daemon: given twice; give it once"),
        (
            &["--port=1", "--port=2"],
            "--port: given twice, before as '1'; give it once",
        ),
        (
            &["--env=A=1", "--env=A=2"],
            "--env: given twice, before as 'A=1'; give it once",
        ),
        (
            &["--bind=::1", "--bind=::1"],
            "--bind: given twice, before as '::1'; give it once",
        ),
        (
            &["--prot=80"],
            "unknown option '--prot'; did you mean '--port'?",
        ),
        (&["--quux"], "unknown option '--quux'; see --help"),
        (
            &["-port=80"],
            "unknown option '-port=80'; did you mean '--port'?",
        ),
        (&["-x"], "unknown option '-x'; see --help"),
        (
            &["--detach"],
            "--detach: cannot stand here, only in a [handler] section of the configuration file",
        ),
        (
            &["x"],
            "unexpected operand 'x'; every setting is an option, see --help",
        ),
        (
            &["--", "--port=80"],
            "unexpected operand '--port=80'; every setting is an option, see --help",
        ),
        (
            &["--log", "-V"],
            "--version: cannot be combined with --log; give one of them",
        ),
    ];

    #[test]
    fn a_wrong_word_is_named_with_its_value_and_the_way_out() {
        for (words, expected) in WRONG {
            assert_eq!(parsed(words).err().as_deref(), Some(expected), "{words:?}");
        }
    }

    #[test]
    fn repeatable_options_repeat_with_other_values() {
        let words = ["--bind=::1", "--bind=127.0.0.1", "--env=A=1", "--env=B=1"];
        assert_eq!(understood(&words).len(), 4);
    }

    #[test]
    fn words_need_not_be_utf_8() {
        let words = [OsString::from_vec(b"--path=/\xff".to_vec())];
        let parsed = parse(&words, Surroundings::default()).expect("a path of bytes");
        assert_eq!(parsed.given[0].value.as_bytes(), b"/\xff");
        let words = [OsString::from_vec(b"--\xff".to_vec())];
        let told = parse(&words, Surroundings::default()).map_err(|error| error.to_string());
        assert_eq!(
            told.err().as_deref(),
            Some("unknown option '--\\xff'; see --help")
        );
    }

    #[test]
    fn the_file_to_read_is_the_named_one_or_the_one_at_home() {
        let home = "/home/a/.config/caffeine/caffeine.conf";
        let file = |path: &str, explicit| {
            Some(ConfigFile {
                path: path.into(),
                explicit,
            })
        };
        let rows: [(&[&str], _); 7] = [
            (&[], file(home, false)),
            (&["--log"], file(home, false)),
            (&["--config", "/etc/c"], file("/etc/c", true)),
            (&["--config=/etc/c", "--log"], file("/etc/c", true)),
            (&["--config=/etc/c", "--help"], None),
            (&["--version"], None),
            (&["--print-completions=zsh"], None),
        ];
        for (words, expected) in rows {
            let file = parsed(words).expect("a good command line").config_file();
            assert_eq!(file, expected, "{words:?}");
        }
    }

    #[test]
    fn without_a_home_there_is_no_default_file() {
        for home in [None, Some(OsStr::new(""))] {
            let parsed = parse(&[], Surroundings { home }).expect("no words");
            assert_eq!(parsed.config_file(), None);
        }
    }

    #[test]
    fn help_comes_before_every_other_command() {
        for words in [["--help", "--log"], ["--log", "-h"], ["-V", "-h"]] {
            let verb = parsed(&words).expect("help among commands").verb();
            assert_eq!(verb, Some(Asked::Verb(Verb::Help)), "{words:?}");
        }
    }

    /// Words that have hurt parsers: empty, dashes, half options, bytes, floods of digits.
    const NASTY: [&[u8]; 36] = [
        b"",
        b"-",
        b"--",
        b"---",
        b"=",
        b"-=",
        b"--=",
        b"--=x",
        b"-d",
        b"-dd",
        b"-dh",
        b"-d=1",
        b"-hV",
        b"-\xff",
        b"--port",
        b"--port=",
        b"--port=0",
        b"--port==",
        b"--port=65536",
        b"-1",
        b"0",
        b"18446744073709551616",
        b"--bind",
        b"--bind=[",
        b"--bind=unix:",
        b"[::1]:1",
        b"--env",
        b"--env==",
        b"A=b",
        b"--path=\xff",
        b"--config",
        b"--print-completions=ZSH",
        b"--log",
        b"--follow-symlinks=",
        b"\x1b[2J\n",
        b"--\0",
    ];

    #[test]
    fn no_three_nasty_words_make_a_panic_or_a_second_line() {
        let words: Vec<OsString> = NASTY
            .iter()
            .map(|word| OsString::from_vec(word.to_vec()))
            .collect();
        let mut good = 0_u32;
        let mut look = |words: &[OsString]| match parse(words, Surroundings::default()) {
            Ok(parsed) => {
                good += 1;
                assert!(parsed.given.len() <= 2 * words.len(), "{words:?}");
                parsed.config_file();
            }
            Err(error) => {
                let text = error.to_string();
                assert!(
                    !text.is_empty() && !text.contains(char::is_control),
                    "{text:?}"
                );
            }
        };
        for first in &words {
            look(std::slice::from_ref(first));
            for second in &words {
                look(&[first.clone(), second.clone()]);
                for third in &words {
                    look(&[first.clone(), second.clone(), third.clone()]);
                }
            }
        }
        assert!(good > 100, "{good}");
    }
}
