//! The configuration file: any bytes are settings or one printable line that says what is wrong.
//!
//! Oracles: blanks, comments and CRs change nothing; the lines before a mistake are good by
//! themselves; what the top of a file says, the command line says too, word for word.

#![no_main]

use caffeine::testing::cli::{self, Invocation, MistakePlace, Surroundings, UsageError};
use caffeine::testing::settings::Settings;
use libfuzzer_sys::fuzz_target;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

const HOME: &str = "/home/a";

fuzz_target!(|bytes: &[u8]| {
    let told = read(&[], Some(bytes));
    check_padded(bytes, &told);
    check_cut(bytes, &told);
    match told {
        Ok(settings) => check_words(bytes, &settings),
        Err(error) => check_error(bytes, &error),
    }
});

fn read(words: &[OsString], file: Option<&[u8]>) -> Result<Settings, UsageError> {
    let home = Some(OsStr::new(HOME));
    let parsed = cli::parse(words, Surroundings { home })?;
    let file = file.map(|bytes| (Path::new("c.conf"), bytes));
    match cli::combine(&parsed, file)? {
        Invocation::Serve(mut settings) => {
            // The padded file has them on other lines.
            settings
                .error_pages
                .iter_mut()
                .for_each(|page| page.line = 0);
            Ok(*settings)
        }
        other => panic!("{other:?}"),
    }
}

fn line_of(error: &UsageError) -> Option<usize> {
    match &error.place {
        MistakePlace::File { line, .. } => Some(*line),
        MistakePlace::CommandLine => None,
    }
}

fn check_error(bytes: &[u8], error: &UsageError) {
    let text = error.to_string();
    assert!(
        !text.is_empty() && !text.contains(char::is_control),
        "{text:?}"
    );
    assert!(text.len() < 1000, "{text:?}");
    match line_of(error) {
        Some(line) => {
            assert!(text.starts_with("c.conf:"), "{text:?}");
            assert!(line <= bytes.split(|&byte| byte == b'\n').count());
        }
        // Only values together can be wrong without a line.
        None => assert_eq!(error.name, "workers"),
    }
}

/// A comment before each line, and blanks around it.
fn check_padded(bytes: &[u8], told: &Result<Settings, UsageError>) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if bytes.len() > cli::MAX_CONFIG_BYTES / 8 {
        return;
    }
    let mut padded = Vec::new();
    for line in bytes.split(|&byte| byte == b'\n') {
        padded.extend_from_slice(b"\t# a = b\n \t");
        padded.extend_from_slice(line);
        padded.extend_from_slice(b"  \r\n");
    }
    match (read(&[], Some(&padded)), told) {
        (Ok(padded), Ok(plain)) => assert_eq!(padded, *plain),
        (Err(padded), Err(plain)) => {
            assert_eq!((padded.name, &padded.reason), (plain.name, &plain.reason));
            assert_eq!(line_of(&padded), line_of(plain).map(|line| 2 * line));
        }
        (padded, plain) => panic!("{padded:?} {plain:?}"),
    }
}

/// The file up to the mistake, without and with its line.
fn check_cut(bytes: &[u8], told: &Result<Settings, UsageError>) {
    let Err(error) = told else { return };
    let Some(line @ 1..) = line_of(error) else {
        return;
    };
    let mut ends = bytes
        .iter()
        .enumerate()
        .filter(|&(_, &byte)| byte == b'\n')
        .map(|(at, _)| at);
    let end = ends.clone().nth(line - 1).unwrap_or(bytes.len());
    assert_eq!(read(&[], Some(&bytes[..end])).as_ref(), Err(error));
    let before = if line > 1 {
        ends.nth(line - 2)
    } else {
        Some(0)
    };
    let before = before.expect("lines before it");
    if let Err(other) = read(&[], Some(&bytes[..before])) {
        assert_eq!(line_of(&other), None, "{other} before {error}");
    }
}

/// The top of an accepted file as words of a command line.
fn check_words(bytes: &[u8], settings: &Settings) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut words = Vec::new();
    for line in bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
        match line {
            [] | [b'#', ..] => {}
            [b'[', ..] => break,
            _ => words.extend(word_of(line)),
        }
    }
    let mut of_words = match read(&words, None) {
        Ok(settings) => settings,
        Err(error) => panic!("{words:?}: {error}"),
    };
    of_words.config = settings.config.clone();
    of_words.handlers.clone_from(&settings.handlers);
    // Of the file only.
    of_words.error_pages.clone_from(&settings.error_pages);
    assert_eq!(of_words, *settings);
}

/// `--key=value` of `key = value`; the shell, not the server, makes a home folder of `~/` there.
fn word_of(line: &[u8]) -> Option<OsString> {
    let equals = line
        .iter()
        .position(|&byte| byte == b'=')
        .expect("accepted");
    let (key, value) = (line[..equals].trim_ascii(), line[equals + 1..].trim_ascii());
    let blank = key.iter().position(u8::is_ascii_whitespace);
    let (name, variable) = key.split_at(blank.unwrap_or(key.len()));
    let row = cli::find_option(name).expect("accepted");
    if !row.standing().on_line {
        return None;
    }
    let mut word = [b"--", name].concat();
    if !row.kind.takes_value() {
        return value
            .eq_ignore_ascii_case(b"yes")
            .then(|| OsString::from_vec(word));
    }
    word.push(b'=');
    if !variable.is_empty() {
        word.extend_from_slice(variable.trim_ascii());
        word.push(b'=');
    }
    match value.strip_prefix(b"~/").filter(|_| row.kind.is_path()) {
        Some(below) => {
            let path = Path::new(HOME).join(OsString::from_vec(below.to_vec()));
            word.extend_from_slice(path.as_os_str().as_encoded_bytes());
        }
        None => word.extend_from_slice(value),
    }
    Some(OsString::from_vec(word))
}
