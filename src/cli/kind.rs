//! What values an option takes, and into which setting they go.
//!
//! A row of the table says both at once, so a number can never land in a field of another type.
//! Knows nothing of names, words or lines.

mod to;

pub(crate) use to::To;
pub(super) use to::{both, handler, server};

use super::error::Reason;
use super::value::{self, Fault};
use crate::settings::{
    Bind, HandlerSettings, MAX_INSTANCE, Ports, Settings, TrustedProxy, is_instance,
};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

/// Bytes of a Unix socket's path, without the final NUL (`sun_path`, unix(7)).
pub(crate) const MAX_SOCKET_PATH: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Bytes of any other path (`PATH_MAX` less its NUL).
pub(crate) const MAX_PATH: usize = 4095;

/// Bytes of a file name (`NAME_MAX`).
const MAX_NAME: usize = 255;

/// A command: an option that does something other than serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `--help`.
    Help,
    /// `--version`.
    Version,
    /// `--log`.
    Log,
    /// `--print-man`.
    Man,
    /// `--check`.
    Check,
    /// `--list`.
    List,
    /// `--status`.
    Status,
    /// `--reload`.
    Reload,
    /// `--stop`.
    Stop,
}

/// What an option takes. Ranges include both ends.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Nothing; a command.
    Invocation(Verb),
    /// A shell's name; the command that prints its completions.
    Shell,
    /// The configuration file.
    Config,
    /// The instance's name.
    Instance,
    /// Nothing on the command line, yes or no in the file.
    Flag(To<bool>),
    /// A whole number.
    Count(u64, u64, To<u64>),
    /// Bytes.
    Size(u64, u64, To<u64>),
    /// A time; the range is in milliseconds.
    Time(u64, u64, To<Duration>),
    /// One of some words, of either case; by its index.
    Choice(&'static [&'static str], To<usize>),
    /// A path of at most so many bytes.
    Path(usize, To<PathBuf>),
    /// A file name.
    Name(To<OsString>),
    /// An address to listen on.
    Address(To<Bind>),
    /// Trusted proxies.
    Proxy(To<TrustedProxy>),
    /// A variable of the handlers' environment.
    Env(To<(OsString, OsString)>),
    /// A user or group.
    Account(To<OsString>),
    /// Absolute paths, separated by commas.
    Paths(To<Vec<PathBuf>>),
    /// TCP ports, separated by commas.
    Ports(To<Ports>),
    /// A status with the file that holds its page; in the file only.
    Page(To<(u16, PathBuf)>),
}

/// The shells of `Kind::Shell`, in the order of `Shell`.
pub(crate) const SHELLS: &[&str] = &["bash", "zsh", "fish"];

const ADDRESSES: &str =
    "an address: 192.0.2.1, 192.0.2.1:80, ::1, [::1]:80 or unix:PATH of at most ";

const YES_NO: &[&str] = &["yes", "no"];

/// What a value is stored into.
#[derive(Debug)]
pub enum Destination<'a> {
    /// Nothing: as a server's value it is only checked.
    Check,
    /// The server.
    Server(&'a mut Settings),
    /// One handler.
    Handler(&'a mut HandlerSettings),
}

/// Where an option may stand, from which setters it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// On the command line.
    pub on_line: bool,
    /// At the top of the configuration file.
    pub in_file: bool,
    /// In a `[handler]` section.
    pub in_handler: bool,
}

impl Standing {
    const LINE_ONLY: Self = Self {
        on_line: true,
        in_file: false,
        in_handler: false,
    };

    /// Where the option may stand, in words.
    pub const fn words(self) -> &'static str {
        match (self.in_file, self.in_handler) {
            (true, false) if !self.on_line => "at the top of the configuration file",
            (true, true) => "at the top of the file, in a [handler] section or on the command line",
            (true, false) => "at the top of the file or on the command line",
            (false, true) => "in a [handler] section of the configuration file",
            (false, false) => "on the command line",
        }
    }
}

impl Kind {
    /// Where an option of this kind may stand.
    pub const fn standing(&self) -> Standing {
        match self {
            Self::Invocation(_) | Self::Shell | Self::Config | Self::Instance => {
                Standing::LINE_ONLY
            }
            Self::Flag(to) => to.standing(),
            Self::Count(_, _, to) | Self::Size(_, _, to) => to.standing(),
            Self::Time(_, _, to) => to.standing(),
            Self::Choice(_, to) => to.standing(),
            Self::Path(_, to) => to.standing(),
            Self::Name(to) | Self::Account(to) => to.standing(),
            Self::Paths(to) => to.standing(),
            Self::Ports(to) => to.standing(),
            Self::Address(to) => to.standing(),
            Self::Proxy(to) => to.standing(),
            Self::Env(to) => to.standing(),
            Self::Page(to) => Standing {
                on_line: false,
                ..to.standing()
            },
        }
    }

    /// Whether a value follows the option on the command line.
    pub const fn takes_value(&self) -> bool {
        !matches!(self, Self::Invocation(_) | Self::Flag(_))
    }

    /// The value that an option without one has on the command line.
    pub(super) const fn alone(&self) -> &'static [u8] {
        if matches!(self, Self::Flag(_)) {
            b"yes"
        } else {
            b""
        }
    }

    /// Whether the value is a path, in which the file may write `~/`.
    pub const fn is_path(&self) -> bool {
        matches!(self, Self::Path(..) | Self::Config | Self::Page(_))
    }

    /// The words that it takes, if they can be counted.
    pub const fn words(&self) -> &'static [&'static str] {
        match self {
            Self::Choice(words, _) => words,
            Self::Shell => SHELLS,
            Self::Flag(_) => YES_NO,
            _ => &[],
        }
    }

    /// What the value has to be, with its article, range and units.
    pub fn wanted(&self) -> String {
        let units = match self {
            Self::Size(..) => " (bytes, or a number with K, M or G)",
            Self::Time(..) => " (seconds, or a number with ms, s, m or h)",
            _ => "",
        };
        self.range() + units
    }

    /// What the value has to be, with its article and range.
    pub fn range(&self) -> String {
        let most_bytes = |what: &str, most: usize| [what, &most.to_string(), " bytes"].concat();
        let (what, text, min, max): (_, fn(u64) -> String, _, _) = match self {
            Self::Count(min, max, _) => ("a whole number from ", |n| n.to_string(), min, max),
            Self::Size(min, max, _) => ("a size from ", crate::text::size, min, max),
            Self::Time(min, max, _) => ("a time from ", value::time_text, min, max),
            Self::Invocation(_) => return "nothing".into(),
            Self::Path(most, _) => return most_bytes("a path of at most ", *most),
            Self::Config => return most_bytes("a path of at most ", MAX_PATH),
            Self::Instance => {
                return most_bytes(
                    "a name of letters, digits, '_', '-' and '.', not first, of at most ",
                    MAX_INSTANCE,
                );
            }
            Self::Name(_) => return "a file name without '/' or a leading '.'".into(),
            Self::Address(_) => return most_bytes(ADDRESSES, MAX_SOCKET_PATH),
            Self::Proxy(_) => return "an address, one with /BITS, or unix".into(),
            Self::Account(_) => return "a name or number".into(),
            Self::Paths(_) => return "none or absolute paths, separated by commas".into(),
            Self::Ports(_) => return "none, any or ports, separated by commas".into(),
            Self::Env(_) => return "NAME=VALUE with a NAME of letters, digits and '_'".into(),
            Self::Page(_) => return "a status from 400 to 599 and the path of a file".into(),
            Self::Flag(_) | Self::Choice(..) | Self::Shell => {
                return ["one of ", &self.words().join(", ")].concat();
            }
        };
        [what, &text(*min), " to ", &text(*max)].concat()
    }

    /// Checks `value` and stores it. Commands have nothing to store: their value is only checked.
    ///
    /// # Errors
    /// The value is not one of this kind, or the option cannot stand in this target.
    pub fn store(&self, value: &OsStr, target: &mut Destination<'_>) -> Result<(), Reason> {
        let text = value.as_bytes();
        match self {
            Self::Invocation(_) => Ok(()),
            Self::Shell => self.word(text).map(drop),
            Self::Config => self.path(text, MAX_PATH).map(drop),
            Self::Instance => is_instance(text)
                .then_some(())
                .ok_or_else(|| self.not_a(text)),
            Self::Flag(to) => to.put(target, self.word(text)? == 0),
            Self::Count(min, max, to) => to.put(
                target,
                self.ranged(text, value::number(text), (*min, *max))?,
            ),
            Self::Size(min, max, to) => {
                to.put(target, self.ranged(text, value::size(text), (*min, *max))?)
            }
            Self::Time(min, max, to) => {
                let ms = self.ranged(text, value::time_ms(text), (*min, *max))?;
                to.put(target, Duration::from_millis(ms))
            }
            Self::Choice(_, to) => to.put(target, self.word(text)?),
            Self::Path(most, to) => to.put(target, self.path(text, *most)?),
            Self::Name(to) => to.put(target, self.name(text)?),
            Self::Address(to) => {
                let bind = value::address(text, MAX_SOCKET_PATH);
                to.put(target, bind.ok_or_else(|| self.not_a(text))?)
            }
            Self::Proxy(to) => {
                let proxy = value::proxy(text);
                to.put(target, proxy.ok_or_else(|| self.not_a(text))?)
            }
            Self::Env(to) => to.put(target, self.variable(text)?),
            Self::Page(to) => to.put(target, self.page(text)?),
            Self::Account(to) => to.put(target, OsString::from_vec(text.to_vec())),
            Self::Paths(to) => {
                let paths = value::paths(text, MAX_PATH);
                to.put(target, paths.ok_or_else(|| self.not_a(text))?)
            }
            Self::Ports(to) => {
                let ports = value::ports(text);
                to.put(target, ports.ok_or_else(|| self.not_a(text))?)
            }
        }
    }

    fn not_a(&self, value: &[u8]) -> Reason {
        Reason::NotA {
            value: value.to_vec(),
            wanted: self.wanted(),
        }
    }

    fn ranged(
        &self,
        text: &[u8],
        number: Result<u64, Fault>,
        range: (u64, u64),
    ) -> Result<u64, Reason> {
        match number {
            Ok(number) if (range.0..=range.1).contains(&number) => Ok(number),
            Err(Fault::Malformed) => Err(self.not_a(text)),
            Ok(_) | Err(Fault::Overflow) => Err(Reason::OutOfRange {
                value: text.to_vec(),
                wanted: self.wanted(),
            }),
        }
    }

    fn word(&self, text: &[u8]) -> Result<usize, Reason> {
        let same = |word: &&str| word.as_bytes().eq_ignore_ascii_case(text);
        self.words()
            .iter()
            .position(same)
            .ok_or_else(|| self.not_a(text))
    }

    fn path(&self, text: &[u8], most: usize) -> Result<PathBuf, Reason> {
        if text.is_empty() || text.len() > most || text.contains(&0) {
            return Err(self.not_a(text));
        }
        Ok(PathBuf::from(OsStr::from_bytes(text)))
    }

    fn name(&self, text: &[u8]) -> Result<OsString, Reason> {
        let bad = text.is_empty() || text.len() > MAX_NAME || text.starts_with(b".");
        if bad || text.contains(&b'/') || text.contains(&0) {
            return Err(self.not_a(text));
        }
        Ok(OsString::from_vec(text.to_vec()))
    }

    fn page(&self, text: &[u8]) -> Result<(u16, PathBuf), Reason> {
        let (status, path) = split_variable(text);
        let status = value::number(status).ok().filter(|_| status.len() == 3);
        match status.and_then(|status| u16::try_from(status).ok()) {
            Some(status @ 400..=599) => {
                Ok((status, self.path(path.unwrap_or_default(), MAX_PATH)?))
            }
            _ => Err(self.not_a(text)),
        }
    }

    fn variable(&self, text: &[u8]) -> Result<(OsString, OsString), Reason> {
        let (name, value) = split_variable(text);
        let letters = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let digit_first = name.first().is_none_or(u8::is_ascii_digit);
        match value {
            Some(value) if !digit_first && name.iter().all(letters) && !value.contains(&0) => Ok((
                OsString::from_vec(name.to_vec()),
                OsString::from_vec(value.to_vec()),
            )),
            _ => Err(self.not_a(text)),
        }
    }
}

/// `NAME=VALUE` at its first `=`.
pub(super) fn split_variable(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = text.splitn(2, |byte| *byte == b'=');
    (parts.next().unwrap_or_default(), parts.next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: Kind, value: &str) -> Result<(), Reason> {
        kind.store(OsStr::new(value), &mut Destination::Check)
    }

    fn put<V>(_: &mut Settings, _: V) {}

    #[test]
    fn both_ends_of_a_range_are_inside_it() {
        let kinds = [
            (Kind::Count(1, 9, server(put)), ["1", "9"], ["0", "10"]),
            (
                Kind::Size(256, 1024, server(put)),
                ["256", "1k"],
                ["255", "1025"],
            ),
            (
                Kind::Time(1, 60_000, server(put)),
                ["1ms", "1m"],
                ["0", "61"],
            ),
        ];
        for (kind, inside, outside) in kinds {
            for value in inside {
                assert_eq!(check(kind, value), Ok(()), "{value}");
            }
            for value in outside {
                let told = check(kind, value);
                assert!(
                    matches!(told, Err(Reason::OutOfRange { .. })),
                    "{value}: {told:?}"
                );
            }
            for value in ["", "x", "-1", "1.0"] {
                let told = check(kind, value);
                assert!(
                    matches!(told, Err(Reason::NotA { .. })),
                    "{value}: {told:?}"
                );
            }
        }
    }

    #[test]
    fn an_overflow_is_out_of_range_and_not_malformed() {
        let told = check(
            Kind::Count(0, u64::MAX, server(put)),
            "18446744073709551616",
        );
        assert!(matches!(told, Err(Reason::OutOfRange { .. })), "{told:?}");
    }

    #[test]
    fn a_file_name_is_one_visible_component() {
        let kind = Kind::Name(server(put));
        for value in ["index", "index.cgi", "a b", "~", "\u{e4}"] {
            assert_eq!(check(kind, value), Ok(()), "{value}");
        }
        for value in ["", ".", "..", ".index", "a/b", "/", "a\0"] {
            assert!(check(kind, value).is_err(), "{value}");
        }
        assert!(check(kind, &"a".repeat(256)).is_err());
    }

    #[test]
    fn a_variable_has_a_portable_name_and_any_value() {
        let kind = Kind::Env(server(put));
        for value in ["A=", "A=b", "_=1", "a1=x=y z"] {
            assert_eq!(check(kind, value), Ok(()), "{value}");
        }
        for value in [
            "", "A", "=", "=b", "1=b", "A=\0", "A-B=c", "A B=c", "\u{e4}=1",
        ] {
            assert!(check(kind, value).is_err(), "{value}");
        }
    }

    #[test]
    fn a_path_is_neither_empty_nor_longer_than_the_kernel_takes() {
        let kind = Kind::Path(5, server(put));
        assert_eq!(check(kind, "/abcd"), Ok(()));
        for value in ["", "/abcde", "a\0b"] {
            assert!(check(kind, value).is_err(), "{value}");
        }
    }

    #[test]
    fn an_option_cannot_stand_where_it_has_no_setter() {
        let own = Kind::Flag(handler(|_, _| {}));
        assert_eq!(
            check(own, "yes"),
            Err(Reason::NotHere(
                "in a [handler] section of the configuration file"
            ))
        );
        let mut settings = HandlerSettings::new(b"/a");
        let told = Kind::Flag(server(put))
            .store(OsStr::new("yes"), &mut Destination::Handler(&mut settings));
        assert!(matches!(told, Err(Reason::NotHere(_))), "{told:?}");
    }

    #[test]
    fn words_are_taken_in_either_case() {
        let kind = Kind::Choice(&["probe", "serve"], server(put));
        for value in ["probe", "PROBE", "Serve"] {
            assert_eq!(check(kind, value), Ok(()), "{value}");
        }
        for value in ["", "prob", "probes", "0"] {
            assert!(check(kind, value).is_err(), "{value}");
        }
    }
}
