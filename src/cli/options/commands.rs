//! Rows of the table: commands, which do something other than serve.

use super::super::kind::{Kind, Verb};
use super::{BASE, Row};

/// Commands. They stand on the command line only.
pub(super) const COMMANDS: &[Row] = &[
    Row {
        name: "help",
        short: Some(b'h'),
        kind: Kind::Invocation(Verb::Help),
        help: "print this help",
        ..BASE
    },
    Row {
        name: "version",
        short: Some(b'V'),
        kind: Kind::Invocation(Verb::Version),
        help: "print name and version",
        ..BASE
    },
    Row {
        name: "check",
        kind: Kind::Invocation(Verb::Check),
        help: "look for faults in configuration and handlers, without serving",
        long: "Each is one line with the file, what is wrong and what to do. \
               The exit status is 1 if there are any.",
        ..BASE
    },
    Row {
        name: "status",
        kind: Kind::Invocation(Verb::Status),
        help: "ask the running server how it is",
        long: "It is the one whose --pid-file and --socket the other options, \
               --name and the configuration file say. This holds for --reload and --stop too.",
        ..BASE
    },
    Row {
        name: "list",
        kind: Kind::Invocation(Verb::List),
        help: "list the running servers of this user",
        long: "It finds those whose socket is where it is by default.",
        ..BASE
    },
    Row {
        name: "reload",
        kind: Kind::Invocation(Verb::Reload),
        help: "let the running server read its configuration again",
        long: "It says whether the new configuration was taken.",
        ..BASE
    },
    Row {
        name: "stop",
        kind: Kind::Invocation(Verb::Stop),
        help: "stop the running server and wait for its end",
        ..BASE
    },
    Row {
        name: "log",
        kind: Kind::Invocation(Verb::Log),
        help: "print the log file",
        long: "It is the one that the other options and the configuration file name.",
        ..BASE
    },
    Row {
        name: "print-man",
        kind: Kind::Invocation(Verb::Man),
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
