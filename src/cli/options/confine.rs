//! Rows of the table: what handlers may use and touch, and what the server gives up.

use super::super::kind::{Kind, MAX_PATH, both, handler, server};
use super::{BASE, Default, Row};
use crate::settings::{HandlerSettings, Sandbox};

const TIB: u64 = 1 << 40;
/// A day of CPU time is no limit to reckon with.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Into a limit of all handlers, or of the one that has its own.
macro_rules! allowance {
    ($limit:ident) => {
        both(
            |to, value| to.allowance.$limit = Some(value),
            |to, value| to.allowance.$limit = Some(value),
        )
    };
}

/// What a handler may use.
pub(super) const USE: &[Row] = &[
    Row {
        name: "max-cpu",
        value: "TIME",
        kind: Kind::Time(1000, DAY_MS, allowance!(cpu)),
        help: "most CPU time of a process of a handler",
        long: "In whole seconds. Then it gets SIGXCPU, a second later SIGKILL.",
        ..BASE
    },
    Row {
        name: "max-memory",
        value: "SIZE",
        kind: Kind::Size(64 << 10, TIB, allowance!(memory)),
        help: "most address space of a process of a handler",
        long: "What it asks for beyond that fails.",
        ..BASE
    },
    Row {
        name: "max-open-files",
        value: "NUMBER",
        kind: Kind::Count(3, 1 << 20, allowance!(open_files)),
        default: Default::Computed("what the server was started with"),
        help: "most descriptors of a process of a handler",
        ..BASE
    },
    Row {
        name: "max-processes",
        value: "NUMBER",
        kind: Kind::Count(1, 1 << 20, allowance!(processes)),
        help: "most processes of all handlers",
        long: "The kernel counts by user, so those that this user had when the server started \
               and the workers are added. It does not hold for root.",
        ..BASE
    },
    Row {
        name: "max-file-size",
        value: "SIZE",
        kind: Kind::Size(0, TIB, allowance!(file_size)),
        help: "largest file that a handler writes",
        long: "Beyond it a handler gets SIGXFSZ.",
        ..BASE
    },
    Row {
        name: "max-core",
        value: "SIZE",
        kind: Kind::Size(0, TIB, allowance!(core)),
        default: Default::Is("0"),
        help: "largest core file of a handler",
        ..BASE
    },
    Row {
        name: "nice",
        value: "NUMBER",
        kind: Kind::Count(0, 19, allowance!(nice)),
        help: "how much nicer than the server handlers are",
        ..BASE
    },
    Row {
        name: "oom-score-adj",
        value: "NUMBER",
        kind: Kind::Count(0, 1000, allowance!(oom_score)),
        default: Default::Is("100"),
        help: "who dies first when memory runs out",
        long: "At the top of the file it holds for workers and handlers, so that the parent \
               outlives them.",
        ..BASE
    },
    Row {
        name: "max-output",
        value: "SIZE",
        kind: Kind::Size(1, TIB, allowance!(output)),
        help: "most output of a handler",
        long: "Beyond it the handler is ended, and the client can tell that its response is cut. \
               An nph handler is its own master.",
        ..BASE
    },
    Row {
        name: "max-stderr",
        value: "SIZE",
        kind: Kind::Size(0, TIB, allowance!(stderr)),
        default: Default::Is("64K"),
        help: "most stderr of a handler that is logged",
        ..BASE
    },
];

/// What the server gives up.
pub(super) const PRIVILEGES: &[Row] = &[
    Row {
        name: "user",
        value: "USER",
        kind: Kind::Account(server(|to, name| to.user = Some(name))),
        help: "user to become once the server listens",
        long: "A name or number, with :GROUP if not its own group. \
               Pid file, socket, log and handlers are opened as this user.",
        ..BASE
    },
    Row {
        name: "group",
        value: "GROUP",
        kind: Kind::Account(server(|to, name| to.group = Some(name))),
        help: "group to become, with --user",
        ..BASE
    },
    Row {
        name: "chroot",
        value: "DIR",
        kind: Kind::Path(MAX_PATH, server(|to, path| to.chroot = Some(path))),
        help: "folder that becomes the root of everything",
        long: "Needs --user. All other paths are seen from inside it.",
        ..BASE
    },
    Row {
        name: "no-new-privs",
        value: "yes|no",
        kind: Kind::Choice(
            &["yes", "no"],
            server(|to, word| to.no_new_privs = word == 0),
        ),
        default: Default::Is("yes"),
        help: "keep set-user-id programs from raising handlers",
        ..BASE
    },
    Row {
        name: "allow-writable",
        kind: Kind::Flag(server(|to, yes| to.allow_writable = yes)),
        default: Default::Is("no"),
        help: "run handlers that others can write",
        long: "Without it a handler is refused that others than its owner and the group of the \
               server can write, and for root one that is not owned by root.",
        ..BASE
    },
    Row {
        name: "traceable",
        kind: Kind::Flag(server(|to, yes| to.traceable = yes)),
        default: Default::Is("no"),
        help: "let debuggers of the same user attach",
        long: "So can handlers then.",
        ..BASE
    },
];

fn sandbox(to: &mut HandlerSettings) -> &mut Sandbox {
    to.sandbox.get_or_insert_default()
}

/// What a sandboxed handler may touch.
pub(super) const SANDBOX: &[Row] = &[
    Row {
        name: "read",
        value: "PATHS",
        kind: Kind::Paths(handler(|to, paths| sandbox(to).read = paths)),
        help: "what the handler may read and execute",
        long: "With this key or one of the next three the handler runs in a sandbox: \
               what none of them names is denied.",
        ..BASE
    },
    Row {
        name: "write",
        value: "PATHS",
        kind: Kind::Paths(handler(|to, paths| sandbox(to).write = paths)),
        help: "what it may read, write, make and remove",
        ..BASE
    },
    Row {
        name: "connect",
        value: "PORTS",
        kind: Kind::Ports(handler(|to, ports| sandbox(to).connect = ports)),
        help: "TCP ports it may connect to",
        ..BASE
    },
    Row {
        name: "bind",
        value: "PORTS",
        kind: Kind::Ports(handler(|to, ports| sandbox(to).bind = ports)),
        help: "TCP ports it may listen on",
        ..BASE
    },
    Row {
        name: "sandbox",
        value: "HOW",
        kind: Kind::Choice(
            &["best-effort", "required"],
            handler(|to, word| sandbox(to).is_best_effort = word == 0),
        ),
        default: Default::Is("required"),
        help: "what to do where the kernel cannot deny all of it",
        long: "With required the handler is not run, \
               with best-effort it runs with as much of a sandbox as there is.",
        ..BASE
    },
];
