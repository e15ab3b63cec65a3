//! The arena that holds a handler's environment strings.
//!
//! One buffer of `NAME=value\0` strings, reused for every request. It refuses to build the
//! pointer vector that execve wants: `sys` does that last, from [`Environment::bytes`] and
//! [`Environment::offsets`], once the buffer can no longer move. Runs in the worker, before
//! the launch.

use super::names;
use std::fmt::{self, Display};

/// Why an environment string was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
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
pub(crate) struct Environment {
    bytes: Vec<u8>,
    /// Each is the start, in `bytes`, of a string that ends in NUL.
    offsets: Vec<usize>,
    /// Strings that [`set`](Self::set) has replaced: they are still in `bytes`.
    replaced: usize,
}

impl Environment {
    /// An empty arena; the first request warms it.
    pub(crate) const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            offsets: Vec::new(),
            replaced: 0,
        }
    }

    /// Forgets all strings, keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.offsets.clear();
        self.replaced = 0;
    }

    /// Adds `name=value`. The name is a caller's own; [`check`](Self::check) judges the value.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        self.begin(name).append(value);
    }

    /// Adds `name=value` in place of every earlier string of that name. The name may come from anywhere,
    /// and is checked.
    ///
    /// Two strings of one name mean different things to different programs: getenv(3) takes
    /// the first, shells take the last.
    ///
    /// # Errors
    /// [`Refused::Name`]; the arena is then as it was before.
    pub(crate) fn set(&mut self, name: &[u8], value: &[u8]) -> Result<(), Refused> {
        if name.is_empty() || name.iter().any(|&byte| byte == b'=' || byte == 0) {
            return Err(Refused::Name);
        }
        let bytes = &self.bytes;
        let before = self.offsets.len();
        self.offsets.retain(|&at| !is_named(bytes, at, name));
        self.replaced += before - self.offsets.len();
        self.push(name, value);
        Ok(())
    }

    /// Begins the string `name=`, with a name of the caller's own; its value follows in pieces.
    pub(crate) fn begin(&mut self, name: &[u8]) -> OpenVariable<'_> {
        self.offsets.push(self.bytes.len());
        self.bytes.extend_from_slice(name);
        self.bytes.push(b'=');
        OpenVariable(&mut self.bytes)
    }

    /// Begins `HTTP_NAME=` for the field `name`, of letters, digits and `-` (RFC 3875 4.1.18).
    pub(crate) fn begin_field(&mut self, name: &[u8]) -> OpenVariable<'_> {
        self.offsets.push(self.bytes.len());
        self.bytes.extend_from_slice(b"HTTP_");
        self.bytes
            .extend(name.iter().map(|&byte| names::in_variable(byte)));
        self.bytes.push(b'=');
        OpenVariable(&mut self.bytes)
    }

    /// Checks that no value contains NUL: then there are as many NULs as strings. Called once, after the
    /// last string, which costs less than to look at each value.
    ///
    /// # Errors
    /// [`Refused::Nul`].
    pub(crate) fn check(&self) -> Result<(), Refused> {
        if count_nuls(&self.bytes) == self.offsets.len() + self.replaced {
            Ok(())
        } else {
            Err(Refused::Nul)
        }
    }

    /// The strings, each `NAME=value` without its NUL.
    #[cfg(test)]
    pub(super) fn entries(&self) -> Vec<String> {
        let entry_at = |&at: &usize| {
            let rest = self.bytes.get(at..)?;
            let entry = rest.get(..memchr::memchr(0, rest)?)?;
            Some(String::from_utf8_lossy(entry).into_owned())
        };
        self.offsets.iter().filter_map(entry_at).collect()
    }

    /// All strings with their NULs; also those that [`set`](Self::set) replaced.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where each string starts in [`bytes`](Self::bytes). Every one is followed by a NUL.
    pub(crate) fn offsets(&self) -> &[usize] {
        &self.offsets
    }
}

fn is_named(bytes: &[u8], at: usize, name: &[u8]) -> bool {
    bytes
        .get(at..)
        .and_then(|entry| entry.strip_prefix(name))
        .is_some_and(|rest| rest.first() == Some(&b'='))
}

/// In pieces whose count fits into a byte: then the compiler tests sixteen bytes at once.
fn count_nuls(bytes: &[u8]) -> usize {
    let in_piece = |piece: &[u8]| piece.iter().map(|&byte| u8::from(byte == 0)).sum::<u8>();
    bytes
        .chunks(128)
        .map(|piece| usize::from(in_piece(piece)))
        .sum()
}

/// A string being written. It ends, and is part of the environment, when this is dropped.
#[derive(Debug)]
pub(crate) struct OpenVariable<'a>(&'a mut Vec<u8>);

impl OpenVariable<'_> {
    /// Appends bytes to the value.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

impl Drop for OpenVariable<'_> {
    fn drop(&mut self) {
        self.0.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_in_nul_and_start_at_their_offsets() {
        let mut environment = Environment::new();
        environment.push(b"A", b"1");
        environment.push(b"EMPTY", b"");
        environment.push(b"E", b"x=y");
        assert_eq!(environment.bytes(), b"A=1\0EMPTY=\0E=x=y\0");
        assert_eq!(environment.offsets(), [0, 4, 11]);
        assert_eq!(environment.entries(), ["A=1", "EMPTY=", "E=x=y"]);
    }

    #[test]
    fn a_refused_name_leaves_no_trace() {
        let mut environment = Environment::new();
        environment.push(b"KEPT", b"1");
        for name in [&b""[..], b"A=B", b"A\0B", b"="] {
            let refused = environment.set(name, b"v");
            assert_eq!(refused, Err(Refused::Name), "{name:?}");
            assert_eq!(environment.bytes(), b"KEPT=1\0");
            assert_eq!(environment.offsets().len(), 1);
        }
    }

    #[test]
    fn a_nul_in_any_value_is_found() {
        for strings in [1, 2, 100, 1000] {
            for bad in [0, strings / 2, strings - 1] {
                let mut environment = Environment::new();
                for at in 0..strings {
                    assert_eq!(environment.check(), Ok(()));
                    let value: &[u8] = if at == bad { b"v\0" } else { b"v" };
                    environment.push(b"NAME", value);
                    if at == bad {
                        break;
                    }
                }
                for _ in bad..strings {
                    assert_eq!(environment.check(), Err(Refused::Nul));
                    environment.set(b"OTHER", b"").unwrap();
                }
                environment.clear();
                assert_eq!(environment.check(), Ok(()));
            }
        }
    }

    #[test]
    fn pieces_make_one_value() {
        let mut environment = Environment::new();
        let mut entry = environment.begin_field(b"Accept-Language");
        entry.append(b"de");
        entry.append(b", ");
        entry.append(b"en");
        drop(entry);
        assert_eq!(environment.entries(), ["HTTP_ACCEPT_LANGUAGE=de, en"]);
    }

    #[test]
    fn set_replaces_every_string_of_the_name_and_no_other() {
        let mut environment = Environment::new();
        for name in [&b"A"[..], b"AB", b"A", b"B"] {
            environment.push(name, b"old");
        }
        environment.set(b"A", b"new").unwrap();
        assert_eq!(environment.entries(), ["AB=old", "B=old", "A=new"]);
        assert_eq!(environment.check(), Ok(()));
    }

    #[test]
    fn a_warm_arena_does_not_allocate_again() {
        let mut environment = Environment::new();
        let fill = |environment: &mut Environment| {
            environment.clear();
            for _ in 0..50 {
                environment.push(b"NAME", b"some value");
            }
        };
        fill(&mut environment);
        let (bytes, offsets) = (environment.bytes.as_ptr(), environment.offsets.as_ptr());
        fill(&mut environment);
        assert_eq!(bytes, environment.bytes.as_ptr());
        assert_eq!(offsets, environment.offsets.as_ptr());
    }
}
