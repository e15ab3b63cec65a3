//! The one table of every option.
//!
//! The argv parser, the configuration file, `--help`, the manual page and the completions are
//! all made from it; nothing about an option is said anywhere else. It acts on nothing.

mod commands;
mod confine;
mod handler;
mod limits;
mod server;

use super::kind::{Kind, Standing, Verb};

/// The value of an option that was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// There is none.
    Nothing,
    /// This text, as if it stood in the file (`~/` is the home folder).
    Is(&'static str),
    /// Decided later, from other values or the machine; how, in words.
    Computed(&'static str),
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Long name without dashes; also the key in the file.
    pub name: &'static str,
    /// Letter of the short form. Only flags and commands have one, so letters can be clustered.
    pub short: Option<u8>,
    /// Placeholder of the value; empty if it takes none on the command line.
    pub value: &'static str,
    /// What it takes, and where that goes.
    pub kind: Kind,
    /// Its value when it is not given.
    pub default: Default,
    /// One line for `--help` and completions: no quotes, brackets, colons or backslashes.
    pub help: &'static str,
    /// Sentences for the manual page, where they follow `help`; may be empty.
    pub long: &'static str,
    /// May be given more than once.
    pub repeats: bool,
}

/// Options about one thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    /// What they are about.
    pub title: &'static str,
    /// The options.
    pub rows: &'static [Row],
}

/// Every option, in the order of `--help` and the manual page.
pub(crate) static GROUPS: [Group; 9] = [
    Group {
        title: "Server",
        rows: server::SERVER,
    },
    Group {
        title: "Log and instance",
        rows: server::INSTANCE,
    },
    Group {
        title: "Limits",
        rows: limits::LIMITS,
    },
    Group {
        title: "Limits of handlers",
        rows: confine::USE,
    },
    Group {
        title: "Privileges",
        rows: confine::PRIVILEGES,
    },
    Group {
        title: "Commands",
        rows: commands::COMMANDS,
    },
    Group {
        title: "Configuration file",
        rows: server::FILE,
    },
    Group {
        title: "Handler sections",
        rows: handler::HANDLER,
    },
    Group {
        title: "Sandbox of a handler",
        rows: confine::SANDBOX,
    },
];

/// What rows have in common.
const BASE: Row = Row {
    name: "",
    short: None,
    value: "",
    kind: Kind::Invocation(Verb::Help),
    default: Default::Nothing,
    help: "",
    long: "",
    repeats: false,
};

impl Row {
    /// Where it may stand.
    pub const fn standing(&self) -> Standing {
        self.kind.standing()
    }
}

/// Every row of every group.
pub(crate) fn all() -> impl Iterator<Item = &'static Row> + Clone {
    (0..).map_while(row)
}

/// The row of this number. Not inlined, as a flattening iterator is unrolled wherever it is used.
#[inline(never)]
fn row(mut index: usize) -> Option<&'static Row> {
    for group in &GROUPS {
        match index.checked_sub(group.rows.len()) {
            Some(rest) => index = rest,
            None => return group.rows.get(index),
        }
    }
    None
}

/// The row of a name on the command line or at the top of the file, else the one of a section.
pub fn find(name: &[u8]) -> Option<&'static Row> {
    all().find(|row| row.name.as_bytes() == name)
}

/// The row of a name in a section, where `bind` is another key than at the top.
pub(crate) fn find_in_section(name: &[u8]) -> Option<&'static Row> {
    let own = |row: &&Row| row.name.as_bytes() == name && row.standing().in_handler;
    all().find(own).or_else(|| find(name))
}

/// The row of a short form.
pub(crate) fn find_short(letter: u8) -> Option<&'static Row> {
    all().find(|row| row.short == Some(letter))
}

#[cfg(test)]
mod tests {
    use super::super::kind::Destination;
    use super::*;
    use std::collections::HashSet;
    use std::ffi::OsStr;

    #[test]
    fn names_and_letters_are_unique_and_plain() {
        let mut names = HashSet::new();
        let mut letters = HashSet::new();
        for row in all() {
            let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
            assert!(
                !row.name.is_empty() && row.name.bytes().all(plain),
                "{}",
                row.name
            );
            let is_of_handlers = !row.standing().on_line;
            assert!(
                names.insert((row.name, is_of_handlers)),
                "{} twice",
                row.name
            );
            assert!(
                row.short.is_none_or(|letter| letters.insert(letter)),
                "{}",
                row.name
            );
        }
        assert!(names.len() > 35, "{}", names.len());
    }

    #[test]
    fn only_options_without_a_value_have_a_letter() {
        for row in all() {
            assert!(
                row.short.is_none() || !row.kind.takes_value(),
                "{}",
                row.name
            );
            let says_value = !row.value.is_empty();
            let wants_one = row.kind.takes_value() || !row.standing().on_line;
            assert_eq!(says_value, wants_one, "{}", row.name);
        }
    }

    #[test]
    fn texts_need_no_quoting_in_any_shell() {
        for row in all() {
            assert!(
                !row.help.is_empty()
                    && !row
                        .help
                        .contains(['\'', '"', '[', ']', ':', '\\', '`', '$']),
                "{}",
                row.name
            );
            assert!(!row.help.ends_with('.'), "{}", row.name);
            assert!(
                row.long.is_empty() || row.long.ends_with('.'),
                "{}",
                row.name
            );
            assert!(
                !row.long.contains("  ") && !row.long.contains('\n'),
                "{}",
                row.name
            );
        }
    }

    #[test]
    fn every_default_is_a_value_that_the_option_takes() {
        for row in all().filter(|row| row.standing().in_file) {
            if let Default::Is(text) = row.default {
                let told = row.kind.store(OsStr::new(text), &mut Destination::Check);
                assert_eq!(told, Ok(()), "{}", row.name);
            }
        }
    }

    #[test]
    fn handler_rows_stand_in_handler_sections_only() {
        for group in GROUPS {
            for row in group.rows {
                let standing = row.standing();
                let own = !standing.in_file && standing.in_handler;
                let of_handlers = ["Handler sections", "Sandbox of a handler"];
                assert_eq!(own, of_handlers.contains(&group.title), "{}", row.name);
                let of_file = standing.in_file && !standing.on_line;
                assert_eq!(of_file, group.title == "Configuration file", "{}", row.name);
            }
        }
    }
}
