//! Rows of the table: commands, which do something other than serve.

use super::super::kind::{Kind, Verb};
use super::{BASE, Row};

/// Commands. They stand on the command line only.
pub(super) const COMMANDS: &[Row] = &[
    Row {
        name: "help",
        short: Some(b'h'),
        kind: Kind::Command(Verb::Help),
        help: "print this help",
        ..BASE
    },
    Row {
        name: "version",
        short: Some(b'V'),
        kind: Kind::Command(Verb::Version),
        help: "print name and version",
        ..BASE
    },
    Row {
        name: "log",
        kind: Kind::Command(Verb::Log),
        help: "print the log file",
        long: "It is the one that the other options and the configuration file name.",
        ..BASE
    },
    Row {
        name: "print-man",
        kind: Kind::Command(Verb::Man),
        help: "print the manual page, for packagers",
        long: "It is in mdoc, to be installed as caffeine.1.",
        ..BASE
    },
    Row {
        name: "print-completions",
        value: "SHELL",
        kind: Kind::Shell,
        help: "print completions for bash, zsh or fish",
        ..BASE
    },
];
