//! Rows of the table: keys that stand in `[handler]` sections only.

use super::super::kind::{Kind, handler};
use super::{BASE, Default, Row};
use crate::settings::Stdin;

/// Keys of `[handler]` sections that are no options.
pub(super) const HANDLER: &[Row] = &[
    Row {
        name: "stdin",
        value: "HOW",
        kind: Kind::Choice(
            &["auto", "pipe"],
            handler(|to, word| to.stdin = if word == 0 { Stdin::Auto } else { Stdin::Pipe }),
        ),
        default: Default::Is("auto"),
        help: "what the handler reads the body from",
        long: "With auto it is a pipe or a plain file, as the size asks; with pipe always a pipe.",
        ..BASE
    },
    Row {
        name: "exit-status",
        value: "HOW",
        kind: Kind::Choice(
            &["strict", "lenient"],
            handler(|to, word| to.strict_exit = word == 0),
        ),
        default: Default::Is("lenient"),
        help: "whether a non-zero exit spoils the response",
        long: "With lenient it is only logged; \
               with strict the client can tell that the response is not complete.",
        ..BASE
    },
    Row {
        name: "detach",
        value: "yes|no",
        kind: Kind::Flag(handler(|to, yes| to.detach = yes)),
        default: Default::Is("no"),
        help: "leave alone what the handler started",
        long: "Without it every process that the handler left behind is ended with its request.",
        ..BASE
    },
    Row {
        name: "authorization",
        value: "yes|no",
        kind: Kind::Flag(handler(|to, yes| to.authorization = yes)),
        default: Default::Is("no"),
        help: "hand the Authorization field to the handler",
        long: "It is then in HTTP_AUTHORIZATION.",
        ..BASE
    },
];
