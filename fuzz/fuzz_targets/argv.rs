//! The command line: any words are a command or one printable line that says what is wrong.
//!
//! Oracles: words before an accepted end are accepted; `--` at the end changes nothing, `-h` makes
//! it help; what the words say, a configuration file says too.

#![no_main]

use caffeine::testing::cli::{self, Invocation, Parsed, Reason, Surroundings, UsageError};
use libfuzzer_sys::fuzz_target;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

// Words end at line ends.
fuzz_target!(|bytes: &[u8]| {
    let words: Vec<OsString> = bytes
        .split(|&byte| byte == b'\n')
        .take(16)
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect();
    for home in [None, Some(OsStr::new("")), Some(OsStr::new("/home/a"))] {
        let surroundings = Surroundings { home };
        match cli::parse(&words, surroundings) {
            Ok(parsed) => check_accepted(&words, &parsed, surroundings),
            Err(error) => check_error(&error),
        }
    }
    check_prefixes(&words);
});

fn check_error(error: &UsageError) {
    let text = error.to_string();
    assert!(
        !text.is_empty() && !text.contains(char::is_control),
        "{text:?}"
    );
    assert!(text.len() < 1000, "{text:?}");
}

fn command(parsed: &Parsed, file: Option<&[u8]>) -> Result<Invocation, UsageError> {
    let file = file.map(|bytes| (Path::new("c.conf"), bytes));
    cli::combine(parsed, file)
}

fn check_accepted(words: &[OsString], parsed: &Parsed, surroundings: Surroundings<'_>) {
    parsed.config_file();
    let meant = command(parsed, None);
    if let Err(error) = &meant {
        check_error(error);
    }
    let is_closed = words.iter().any(|word| word == "--");
    let with = |word: &str| {
        let mut words = words.to_vec();
        words.push(word.into());
        cli::parse(&words, surroundings)
    };
    if !is_closed {
        let closed = with("--").expect("the end of the options");
        assert_eq!(command(&closed, None), meant);
        if let Ok(parsed) = with("-h") {
            assert_eq!(command(&parsed, None), Ok(Invocation::Help));
        }
    }
    if let Ok(Invocation::Serve(settings)) = meant
        && let Some(file) = as_file(words)
    {
        let empty = cli::parse(&[], surroundings).expect("no words");
        let mut of_file = match command(&empty, Some(&file)) {
            Ok(Invocation::Serve(settings)) => settings,
            other => panic!("{}: {other:?}", file.escape_ascii()),
        };
        of_file.config = None;
        assert_eq!(of_file, settings, "{}", file.escape_ascii());
    }
}

/// The words as lines of a file; `None` if one of them has no such line.
fn as_file(words: &[OsString]) -> Option<Vec<u8>> {
    let mut file = Vec::new();
    for word in words {
        let word = word.as_bytes().strip_prefix(b"--")?;
        let equals = word.iter().position(|&byte| byte == b'=');
        let (name, value) = match equals {
            Some(at) => (&word[..at], &word[at + 1..]),
            None => (word, &b"yes"[..]),
        };
        let row = cli::find_option(name)?;
        let differs = value.trim_ascii() != value || value.contains(&0) || value.starts_with(b"~/");
        // A word whose value is the next one is not worth the trouble.
        if !row.standing().on_line
            || !row.standing().in_file
            || differs
            || equals.is_some() != row.kind.takes_value()
        {
            return None;
        }
        if name == b"env" {
            let at = value.iter().position(|&byte| byte == b'=')?;
            let (variable, value) = (&value[..at], &value[at + 1..]);
            if value.trim_ascii() != value {
                return None;
            }
            file.extend_from_slice(&[b"env ", variable, b" = ", value, b"\n"].concat());
        } else {
            file.extend_from_slice(&[name, b" = ", value, b"\n"].concat());
        }
    }
    Some(file)
}

/// What is wrong with a beginning is wrong with the whole, but for a value that is still to come.
fn check_prefixes(words: &[OsString]) {
    let surroundings = Surroundings::default();
    let whole = cli::parse(words, surroundings).err();
    for cut in 0..words.len() {
        match cli::parse(&words[..cut], surroundings) {
            Err(error) if !matches!(error.reason, Reason::MissingValue(_)) => {
                assert_eq!(Some(error), whole);
            }
            _ => {}
        }
    }
}
