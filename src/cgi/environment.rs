//! The arena that holds a handler's environment strings.
//!
//! One buffer of `NAME=value\0` strings, reused for every request. It refuses to build the
//! pointer vector that execve wants: `sys` does that last, from [`Environment::bytes`] and
//! [`Environment::offsets`], once the buffer can no longer move. Runs in the worker, before
//! the launch.

use crate::text::AddressText;
use memchr::memchr;
use std::fmt::{self, Display};
use std::net::IpAddr;

/// Why an environment string was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The name is empty, or contains `=` or NUL (POSIX.1-2024, XBD 8.1).
    Name,
    /// The value contains NUL: the handler would see it cut short.
    Nul,
}

impl Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "the variable's name is empty or contains '=' or NUL",
            Self::Nul => "the variable's value contains NUL",
        })
    }
}

impl std::error::Error for Refused {}

/// Environment strings of one handler, in the order in which they were written.
#[derive(Debug, Default)]
pub struct Environment {
    bytes: Vec<u8>,
    /// Each is the start, in `bytes`, of a complete string that ends in NUL.
    offsets: Vec<usize>,
}

impl Environment {
    /// An empty arena; the first request warms it.
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            offsets: Vec::new(),
        }
    }

    /// Forgets all strings, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.offsets.clear();
    }

    /// Adds `name=value`. The name is a caller's own, and not checked.
    ///
    /// # Errors
    /// [`Refused::Nul`]; the arena is then as it was before.
    pub fn push(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        let mut entry = self.begin(name);
        entry.append(value);
        entry.end()
    }

    /// Adds `name=value` in place of every earlier string of that name. The name may come from anywhere,
    /// and is checked.
    ///
    /// Two strings of one name mean different things to different programs: getenv(3) takes
    /// the first, shells take the last.
    ///
    /// # Errors
    /// [`Refused`]; the arena is then as it was before.
    pub fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        if name.is_empty() || name.iter().any(|&byte| byte == b'=' || byte == 0) {
            return Err(Refused::Name);
        }
        self.push(name, value)?;
        let Some(newest) = self.offsets.pop() else {
            return Ok(());
        };
        let bytes = &self.bytes;
        self.offsets.retain(|&at| !is_named(bytes, at, name));
        self.offsets.push(newest);
        Ok(())
    }

    /// Begins the string `name=`, with a name of the caller's own; its value follows in pieces.
    pub fn begin(&mut self, name: &[u8]) -> Entry<'_> {
        self.begin_with(name, &[], |byte| byte)
    }

    /// Begins `HTTP_NAME=` for the field `name`, a token: upper-cased, `-` becomes `_`
    /// (RFC 3875 4.1.18).
    pub fn begin_field(&mut self, name: &[u8]) -> Entry<'_> {
        self.begin_with(b"HTTP_", name, |byte| match byte {
            b'-' => b'_',
            other => other.to_ascii_uppercase(),
        })
    }

    fn begin_with(&mut self, prefix: &[u8], name: &[u8], map: impl Fn(u8) -> u8) -> Entry<'_> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(prefix);
        self.bytes.extend(name.iter().map(|&byte| map(byte)));
        self.bytes.push(b'=');
        Entry {
            value: self.bytes.len(),
            environment: self,
            start,
        }
    }

    /// The strings, each `NAME=value` without its NUL.
    pub fn entries(&self) -> impl Iterator<Item = &[u8]> {
        self.offsets.iter().filter_map(|&at| {
            let rest = self.bytes.get(at..)?;
            rest.get(..memchr(0, rest)?)
        })
    }

    /// The value of `name`, if it is set.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.entries()
            .find_map(|entry| entry.strip_prefix(name)?.strip_prefix(b"="))
    }

    /// All strings with their NULs; also those that [`set`](Self::set) replaced.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where each string starts in [`bytes`](Self::bytes). Every one is followed by a NUL.
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }
}

fn is_named(bytes: &[u8], at: usize, name: &[u8]) -> bool {
    bytes
        .get(at..)
        .and_then(|entry| entry.strip_prefix(name))
        .is_some_and(|rest| rest.first() == Some(&b'='))
}

/// A string being written. Dropped without [`end`](Entry::end), it leaves no trace.
#[derive(Debug)]
pub struct Entry<'a> {
    environment: &'a mut Environment,
    start: usize,
    value: usize,
}

impl Entry<'_> {
    /// Appends bytes to the value.
    pub fn append(&mut self, bytes: &[u8]) {
        self.environment.bytes.extend_from_slice(bytes);
    }

    /// Appends a number in decimal.
    pub fn append_number(&mut self, number: u64) {
        self.append(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Appends an address.
    pub fn append_address(&mut self, address: IpAddr) {
        self.append(AddressText::new(address).as_bytes());
    }

    /// Ends the string and makes it part of the environment.
    ///
    /// # Errors
    /// [`Refused::Nul`]; the string is then gone.
    pub fn end(self) -> Result<(), Refused> {
        let value = self.environment.bytes.get(self.value..).unwrap_or_default();
        if memchr(0, value).is_some() {
            return Err(Refused::Nul);
        }
        self.environment.bytes.push(0);
        self.environment.offsets.push(self.start);
        Ok(())
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if self.environment.offsets.last() != Some(&self.start) {
            self.environment.bytes.truncate(self.start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(environment: &Environment) -> Vec<String> {
        let entries = environment.entries();
        entries
            .map(|entry| String::from_utf8_lossy(entry).into_owned())
            .collect()
    }

    #[test]
    fn strings_end_in_nul_and_start_at_their_offsets() {
        let mut environment = Environment::new();
        environment.push(b"A", b"1").unwrap();
        environment.push(b"EMPTY", b"").unwrap();
        environment.push(b"E", b"x=y").unwrap();
        assert_eq!(environment.bytes(), b"A=1\0EMPTY=\0E=x=y\0");
        assert_eq!(environment.offsets(), [0, 4, 11]);
        assert_eq!(listed(&environment), ["A=1", "EMPTY=", "E=x=y"]);
        assert_eq!(environment.get(b"E"), Some(&b"x=y"[..]));
        assert_eq!(environment.get(b"EMPT"), None);
    }

    #[test]
    fn a_refused_string_leaves_no_trace() {
        let rows: [(&[u8], &[u8], Refused); 6] = [
            (b"", b"v", Refused::Name),
            (b"A=B", b"v", Refused::Name),
            (b"A\0B", b"v", Refused::Name),
            (b"A", b"\0", Refused::Nul),
            (b"A", b"v\0w", Refused::Nul),
            (b"=", b"\0", Refused::Name),
        ];
        let mut environment = Environment::new();
        environment.push(b"KEPT", b"1").unwrap();
        for (name, value, why) in rows {
            assert_eq!(environment.set(name, value), Err(why), "{name:?}");
            assert_eq!(environment.bytes(), b"KEPT=1\0");
            assert_eq!(environment.offsets().len(), 1);
        }
    }

    #[test]
    fn pieces_make_one_value() {
        let mut environment = Environment::new();
        let mut entry = environment.begin_field(b"Accept-Language");
        entry.append(b"de");
        entry.append(b", ");
        entry.append_number(42);
        entry.append_address(std::net::Ipv6Addr::LOCALHOST.into());
        entry.end().unwrap();
        assert_eq!(listed(&environment), ["HTTP_ACCEPT_LANGUAGE=de, 42::1"]);
    }

    #[test]
    fn a_string_that_is_not_ended_is_forgotten() {
        let mut environment = Environment::new();
        environment.begin(b"A").append(b"1");
        environment.push(b"B", b"2").unwrap();
        drop(environment.begin(b"C"));
        assert_eq!(environment.bytes(), b"B=2\0");
    }

    #[test]
    fn set_replaces_every_string_of_the_name_and_no_other() {
        let mut environment = Environment::new();
        for name in [&b"A"[..], b"AB", b"A", b"B"] {
            environment.push(name, b"old").unwrap();
        }
        environment.set(b"A", b"new").unwrap();
        assert_eq!(listed(&environment), ["AB=old", "B=old", "A=new"]);
        assert_eq!(environment.set(b"AB", b"\0"), Err(Refused::Nul));
        assert_eq!(listed(&environment), ["AB=old", "B=old", "A=new"]);
    }

    #[test]
    fn a_warm_arena_does_not_allocate_again() {
        let mut environment = Environment::new();
        let fill = |environment: &mut Environment| {
            environment.clear();
            for _ in 0..50 {
                environment.push(b"NAME", b"some value").unwrap();
            }
        };
        fill(&mut environment);
        let (bytes, offsets) = (environment.bytes.as_ptr(), environment.offsets.as_ptr());
        fill(&mut environment);
        assert_eq!(bytes, environment.bytes.as_ptr());
        assert_eq!(offsets, environment.offsets.as_ptr());
    }
}
