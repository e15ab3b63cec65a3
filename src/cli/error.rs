//! What was wrong with a command line or configuration file, told in one line.
//!
//! Names the option, the value and the way out. Never prints, never exits, and never lets a
//! control byte of a value through to a terminal.

use std::fmt;
use std::path::PathBuf;

/// Characters of a value that a message shows; the rest is `...`.
const SHOWN_CHARS: usize = 80;

/// Where the mistake stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MistakePlace {
    /// On the command line.
    CommandLine,
    /// In a configuration file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// Its line, from 1; 0 for the file as a whole.
        line: usize,
    },
}

/// The mistake itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No option or key of this name.
    Unknown {
        /// What was written, without dashes for a key.
        word: Vec<u8>,
        /// The nearest name there is.
        near: Option<&'static str>,
    },
    /// A word that belongs to no option.
    Operand(Vec<u8>),
    /// The option was given before, with this value; empty for a flag.
    Repeated(Vec<u8>),
    /// The option needs a value: its placeholder.
    MissingValue(&'static str),
    /// The flag was given this value.
    UnwantedValue(Vec<u8>),
    /// The value is not what the option takes.
    NotA {
        /// The value.
        value: Vec<u8>,
        /// What it should have been, with its article.
        wanted: String,
    },
    /// The value is what the option takes, but too small or too large.
    OutOfRange {
        /// The value.
        value: Vec<u8>,
        /// What it should have been, with its article.
        wanted: String,
    },
    /// The name exists, but cannot stand here; where it can.
    NotHere(&'static str),
    /// Two commands: the other one.
    SecondCommand(&'static str),
    /// The default or a `~/` needs a home folder, and none is known; the value's placeholder.
    NoHome(&'static str),
    /// `workers` is more than `max-workers`.
    TooManyWorkers {
        /// `workers`.
        workers: usize,
        /// `max-workers`.
        max_workers: usize,
    },
    /// A line that is none of comment, section, `name = value`; what it lacks.
    Line(&'static str),
    /// The file that the value names cannot be read; why.
    Unreadable(PathBuf, String),
    /// A section with this header stands above.
    RepeatedSection(Vec<u8>),
}

/// A mistake with its place and option. `Display` gives one line without the program's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError {
    /// Where it stands.
    pub place: MistakePlace,
    /// The option or key, without dashes; empty if the mistake has none.
    pub name: &'static str,
    /// The mistake.
    pub reason: Reason,
}

impl UsageError {
    /// A mistake with the option `name` on the command line.
    pub fn on_line(name: &'static str, reason: Reason) -> Self {
        Self {
            place: MistakePlace::CommandLine,
            name,
            reason,
        }
    }

    fn dashes(&self) -> &'static str {
        match self.place {
            MistakePlace::CommandLine => "--",
            MistakePlace::File { .. } => "",
        }
    }
}

impl std::error::Error for UsageError {}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use std::os::unix::ffi::OsStrExt;
        if let MistakePlace::File { path, line } = &self.place {
            escaped(f, path.as_os_str().as_bytes(), usize::MAX)?;
            f.write_str(":")?;
            if *line > 0 {
                fmt::Display::fmt(line, f)?;
                f.write_str(":")?;
            }
            f.write_str(" ")?;
        }
        if !self.name.is_empty() {
            pieces(f, &[self.dashes(), self.name, ": "])?;
        }
        self.explain(f)
    }
}

impl UsageError {
    fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dashes = self.dashes();
        match &self.reason {
            Reason::Unknown { word, near } => self.unknown(f, word, *near),
            Reason::Operand(word) => {
                f.write_str("unexpected operand ")?;
                quoted(f, word)?;
                f.write_str("; every setting is an option, see --help")
            }
            Reason::Repeated(value) if value.is_empty() => f.write_str("given twice; give it once"),
            Reason::Repeated(value) => {
                f.write_str("given twice, before as ")?;
                quoted(f, value)?;
                f.write_str("; give it once")
            }
            Reason::MissingValue(placeholder) => self.missing(f, placeholder),
            Reason::UnwantedValue(value) => {
                f.write_str("takes no value, but was given ")?;
                quoted(f, value)?;
                pieces(f, &["; write ", dashes, self.name, " alone"])
            }
            Reason::NotA { value, wanted } => {
                quoted(f, value)?;
                pieces(f, &[" is not ", wanted])
            }
            Reason::OutOfRange { value, wanted } => {
                quoted(f, value)?;
                pieces(f, &[" is out of range; give ", wanted])
            }
            Reason::NotHere(where_it_can) => pieces(f, &["cannot stand here, only ", where_it_can]),
            Reason::SecondCommand(other) => pieces(
                f,
                &["cannot be combined with --", other, "; give one of them"],
            ),
            Reason::NoHome(placeholder) => self.homeless(f, placeholder),
            Reason::TooManyWorkers {
                workers,
                max_workers,
            } => write!(
                f,
                "{workers} is more than max-workers, which is {max_workers}; raise --max-workers or lower --workers"
            ),
            Reason::Line(lack) => f.write_str(lack),
            Reason::Unreadable(path, why) => {
                use std::os::unix::ffi::OsStrExt;
                f.write_str("unable to read ")?;
                quoted(f, path.as_os_str().as_bytes())?;
                pieces(f, &[": ", why])
            }
            Reason::RepeatedSection(name) => {
                f.write_str("a second section [handler ")?;
                escaped(f, name, SHOWN_CHARS)?;
                f.write_str("]; put all its keys into one")
            }
        }
    }

    fn unknown(&self, f: &mut fmt::Formatter<'_>, word: &[u8], near: Option<&str>) -> fmt::Result {
        let dashes = self.dashes();
        f.write_str(if dashes.is_empty() {
            "unknown key "
        } else {
            "unknown option "
        })?;
        quoted(f, word)?;
        match near {
            Some(name) => pieces(f, &["; did you mean '", dashes, name, "'?"]),
            None => f.write_str("; see --help"),
        }
    }

    fn missing(&self, f: &mut fmt::Formatter<'_>, placeholder: &str) -> fmt::Result {
        let between = if self.dashes().is_empty() { " = " } else { "=" };
        let name = self.name;
        pieces(
            f,
            &[
                "needs a value; write ",
                self.dashes(),
                name,
                between,
                placeholder,
            ],
        )
    }

    fn homeless(&self, f: &mut fmt::Formatter<'_>, placeholder: &str) -> fmt::Result {
        f.write_str("no home folder is known (HOME is not set); ")?;
        if self.dashes().is_empty() {
            return f.write_str("write the full path instead of '~/'");
        }
        pieces(f, &["give --", self.name, "=", placeholder])
    }
}

fn pieces(f: &mut fmt::Formatter<'_>, texts: &[&str]) -> fmt::Result {
    texts.iter().try_for_each(|text| f.write_str(text))
}

fn quoted(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    f.write_str("'")?;
    escaped(f, bytes, SHOWN_CHARS)?;
    f.write_str("'")
}

fn escaped(f: &mut fmt::Formatter<'_>, bytes: &[u8], most: usize) -> fmt::Result {
    use std::fmt::Write;
    let mut left = most;
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if left == 0 {
                return f.write_str("...");
            }
            left -= 1;
            if char.is_control() {
                write!(f, "\\x{:02x}", u32::from(char))?;
            } else {
                f.write_char(char)?;
            }
        }
        for byte in chunk.invalid() {
            if left == 0 {
                return f.write_str("...");
            }
            left -= 1;
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(place: MistakePlace, name: &'static str, reason: Reason) -> String {
        let error = UsageError {
            place,
            name,
            reason,
        };
        error.to_string()
    }

    fn line(name: &'static str, reason: Reason) -> String {
        told(MistakePlace::CommandLine, name, reason)
    }

    fn file(name: &'static str, reason: Reason) -> String {
        let path = PathBuf::from("a.conf");
        told(MistakePlace::File { path, line: 12 }, name, reason)
    }

    fn x() -> Vec<u8> {
        b"x".to_vec()
    }

    fn not_a() -> Reason {
        let wanted = "a number".to_string();
        Reason::NotA { value: x(), wanted }
    }

    fn out_of_range() -> Reason {
        let wanted = "a number".to_string();
        Reason::OutOfRange { value: x(), wanted }
    }

    fn unknown(word: &str, near: Option<&'static str>) -> Reason {
        let word = word.as_bytes().to_vec();
        Reason::Unknown { word, near }
    }

    #[test]
    fn a_mistake_on_the_command_line_names_option_value_and_way_out() {
        let too_many = Reason::TooManyWorkers {
            workers: 9,
            max_workers: 8,
        };
        let operand = Reason::Operand(x());
        let rows = [
            (line("port", not_a()), "--port: 'x' is not a number"),
            (
                line("port", out_of_range()),
                "--port: 'x' is out of range; give a number",
            ),
            (
                line("", unknown("--p", Some("port"))),
                "unknown option '--p'; did you mean '--port'?",
            ),
            (
                line("", unknown("-q", None)),
                "unknown option '-q'; see --help",
            ),
            (
                line("", operand),
                "unexpected operand 'x'; every setting is an option, see --help",
            ),
            (
                line("daemon", Reason::Repeated(vec![])),
                "--daemon: given twice; give it once",
            ),
            (
                line("port", Reason::Repeated(x())),
                "--port: given twice, before as 'x'; give it once",
            ),
            (
                line("port", Reason::MissingValue("N")),
                "--port: needs a value; write --port=N",
            ),
            (
                line("d", Reason::UnwantedValue(x())),
                "--d: takes no value, but was given 'x'; write --d alone",
            ),
            (
                line("log", Reason::SecondCommand("man")),
                "--log: cannot be combined with --man; give one of them",
            ),
            (
                line("path", Reason::NoHome("DIR")),
                "--path: no home folder is known (HOME is not set); give --path=DIR",
            ),
            (
                line("workers", too_many),
                "--workers: 9 is more than max-workers, which is 8; raise --max-workers or lower --workers",
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_mistake_in_a_file_names_file_line_and_key() {
        let home = "a.conf:12: path: no home folder is known (HOME is not set); write the full path instead of '~/'";
        let rows = [
            (
                file("port", not_a()),
                "a.conf:12: port: 'x' is not a number",
            ),
            (
                file("", unknown("p", Some("port"))),
                "a.conf:12: unknown key 'p'; did you mean 'port'?",
            ),
            (
                file("port", Reason::MissingValue("N")),
                "a.conf:12: port: needs a value; write port = N",
            ),
            (file("path", Reason::NoHome("DIR")), home),
            (
                file("help", Reason::NotHere("there")),
                "a.conf:12: help: cannot stand here, only there",
            ),
            (file("", Reason::Line("no '='")), "a.conf:12: no '='"),
            (
                file("", Reason::RepeatedSection(x())),
                "a.conf:12: a second section [handler x]; put all its keys into one",
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn no_control_byte_or_flood_reaches_the_terminal() {
        let rows: [(&[u8], &str); 4] = [
            (b"a\x1b[2J\n", "'a\\x1b[2J\\x0a'"),
            (b"\xff\xfe", "'\\xff\\xfe'"),
            ("\u{9b}\u{e4}".as_bytes(), "'\\x9b\u{e4}'"),
            (&[b'a'; 100], &("'".to_string() + &"a".repeat(80) + "...'")),
        ];
        for (value, shown) in rows {
            let text = told(
                MistakePlace::CommandLine,
                "",
                Reason::Operand(value.to_vec()),
            );
            assert!(text.contains(shown), "{text}");
        }
    }

    /// Found by fuzzing: only characters were counted, so that such a line had no end.
    #[test]
    fn a_flood_of_bytes_that_are_no_utf_8_is_cut_as_well() {
        for flood in [&[0xff; 100][..], &[b"\xe2\x82".as_slice(); 100].concat()] {
            let text = told(
                MistakePlace::CommandLine,
                "",
                Reason::Operand(flood.to_vec()),
            );
            assert!(text.contains("...'") && text.len() < 500, "{text}");
        }
    }
}
