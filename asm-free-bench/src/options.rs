//! The command line of the bench. Acts on nothing.

use std::ffi::OsString;
use std::path::PathBuf;

/// Rounds without `--short` and `--rounds`.
const ROUNDS: usize = 20_000;
/// Rounds with `--short`: a few seconds in all.
const SHORT_ROUNDS: usize = 1_000;
/// More would only need memory for the samples.
const MAX_ROUNDS: usize = 10_000_000;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Usage: asm-free-bench [--short] [--rounds N] [--only SECTION] [--caffeine PATH]

Measures Caffeine and prints one table; exits with 1 if any answer is wrong.

  --short           1,000 rounds: a few seconds, for a test of correctness
  --rounds N        rounds of each exchange (20,000); launches and new connections take a quarter
  --only SECTION    parsers, launch or dispatch (all)
  --caffeine PATH   the server's binary (environment: CAFFEINE; else built from the folder above)
  -h, --help        this text
";

/// A part of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    /// The parsers: no process, no server.
    Parsers,
    /// Launches without a server.
    Launch,
    /// The channel and the real server.
    Dispatch,
}

/// What to measure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Nothing else; `None`: everything.
    pub(crate) only: Option<Section>,
    /// Rounds of the cheap exchanges.
    pub(crate) rounds: usize,
    /// The server's binary; `None`: build it.
    pub(crate) caffeine: Option<PathBuf>,
}

impl Options {
    /// Rounds of what starts a process or opens a connection each time.
    pub(crate) fn few_rounds(&self) -> usize {
        (self.rounds / 4).max(1)
    }

    /// Whether a section is asked for.
    pub(crate) fn wants(&self, section: Section) -> bool {
        self.only.is_none_or(|only| only == section)
    }
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// The measurement.
    Run(Options),
    /// The help text.
    Help,
}

/// Reads the words behind the program's name.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut options = Options {
        only: None,
        rounds: ROUNDS,
        caffeine: std::env::var_os("CAFFEINE").map(PathBuf::from),
    };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        let (name, joined) = match text.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (&*text, None),
        };
        let mut value = || {
            let missing = || format!("{name} needs a value");
            joined.clone().or_else(|| words.next()).ok_or_else(missing)
        };
        match name {
            "--rounds" => options.rounds = rounds(&value()?)?,
            "--only" => options.only = Some(section(&value()?)?),
            "--caffeine" => options.caffeine = Some(value()?.into()),
            "--short" if joined.is_none() => options.rounds = SHORT_ROUNDS,
            "--help" | "-h" if joined.is_none() => return Ok(Command::Help),
            _ => return Err(format!("unknown option {word:?}")),
        }
    }
    Ok(Command::Run(options))
}

fn section(value: &OsString) -> Result<Section, String> {
    match value.to_str() {
        Some("parsers") => Ok(Section::Parsers),
        Some("launch") => Ok(Section::Launch),
        Some("dispatch") => Ok(Section::Dispatch),
        _ => Err(format!(
            "--only {value:?} is not parsers, launch or dispatch"
        )),
    }
}

fn rounds(value: &OsString) -> Result<usize, String> {
    let number = value.to_str().and_then(|text| text.parse().ok());
    number
        .filter(|rounds| (1..=MAX_ROUNDS).contains(rounds))
        .ok_or_else(|| format!("--rounds {value:?} is no number from 1 to {MAX_ROUNDS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_ascii_whitespace().map(OsString::from))
    }

    #[test]
    fn options_take_their_value_in_both_ways() {
        for line in ["--rounds 7 --caffeine=/c", "--rounds=7 --caffeine /c"] {
            let Ok(Command::Run(options)) = parsed(line) else {
                panic!("{line} is refused")
            };
            assert_eq!((options.rounds, options.few_rounds()), (7, 1));
            assert_eq!(options.caffeine, Some(PathBuf::from("/c")));
        }
    }

    #[test]
    fn one_section_leaves_out_the_others() {
        let Ok(Command::Run(options)) = parsed("--only launch") else {
            panic!("--only is refused")
        };
        assert!(options.wants(Section::Launch));
        assert!(!options.wants(Section::Parsers));
    }

    #[test]
    fn what_is_unknown_or_out_of_range_is_refused() {
        for line in [
            "--fast",
            "rounds",
            "--rounds",
            "--rounds 0",
            "--rounds x",
            "--short=1",
            "--only",
            "--only relay",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
