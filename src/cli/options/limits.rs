//! Rows of the table: limits and timeouts, under the names of `limits.rs`.

use super::super::kind::{Kind, To, both, server};
use super::{BASE, Default, Row};
use crate::limits::MAX_WORKERS;
use std::time::Duration;

const K: u64 = 1 << 10;
const M: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// A week: streams may last for days, and in milliseconds it still fits the i32 of poll(2).
const WEEK_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// A number that its range keeps far below `usize::MAX`.
pub(super) fn fits(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// How long something of the client's or the handler's may take: at least a millisecond.
const fn timeout(to: To<Duration>) -> Kind {
    Kind::Time(1, WEEK_MS, to)
}

/// How long the server is patient at an end: 0 is not at all.
const fn grace(to: To<Duration>) -> Kind {
    Kind::Time(0, WEEK_MS, to)
}

/// Limits and timeouts.
pub(super) const LIMITS: &[Row] = &[
    Row {
        name: "max-head",
        value: "SIZE",
        kind: Kind::Size(256, M, server(|to, n| to.limits.max_head = fits(n))),
        default: Default::Is("16K"),
        help: "largest request line and fields together",
        long: "More is answered with 431.",
        ..BASE
    },
    Row {
        name: "max-fields",
        value: "NUMBER",
        kind: Kind::Count(1, 1000, server(|to, n| to.limits.max_fields = fits(n))),
        default: Default::Is("100"),
        help: "most fields of one request",
        long: "More are answered with 431.",
        ..BASE
    },
    Row {
        name: "max-target",
        value: "SIZE",
        kind: Kind::Size(64, M, server(|to, n| to.limits.max_target = fits(n))),
        default: Default::Is("8K"),
        help: "longest request target",
        long: "A longer one is answered with 414.",
        ..BASE
    },
    Row {
        name: "max-body",
        value: "SIZE",
        kind: Kind::Size(
            0,
            TIB,
            both(
                |to, n| to.limits.max_body = n,
                |to, n| to.max_body = Some(n),
            ),
        ),
        default: Default::Is("16M"),
        help: "largest request body",
        long: "A larger one is answered with 413.",
        ..BASE
    },
    Row {
        name: "max-spool",
        value: "SIZE",
        kind: Kind::Size(64 * K, TIB, server(|to, n| to.limits.max_spool = n)),
        default: Default::Is("64M"),
        help: "most that is kept for one slow client",
        long: "When so much of a response waits for its client, the handler waits too.",
        ..BASE
    },
    Row {
        name: "max-spool-total",
        value: "SIZE",
        kind: Kind::Size(
            64 * K,
            TIB,
            server(|to, n| to.limits.max_spool_total = Some(n)),
        ),
        default: Default::Computed("256M, or 4 x the largest max-body; less if less is free"),
        help: "most that is kept for all clients",
        long: "Responses have at most half of it: their handlers wait then. A body that does not fit now waits for --queue-timeout, then 503; one that never fits is 507.",
        ..BASE
    },
    Row {
        name: "max-spool-memory",
        value: "SIZE",
        kind: Kind::Size(0, TIB, server(|to, n| to.limits.max_spool_memory = Some(n))),
        default: Default::Computed("1/16 of the memory"),
        help: "most of it that is kept in memory",
        long: "It holds request bodies; smaller spools than 256K are in memory in any case.",
        ..BASE
    },
    Row {
        name: "max-queue",
        value: "NUMBER",
        kind: Kind::Count(0, 1_000_000, server(|to, n| to.limits.max_queue = fits(n))),
        default: Default::Is("1024"),
        help: "most clients that wait for a worker",
        long: "One more is answered with 503. Those who wait for a handler at max-concurrent are counted apart.",
        ..BASE
    },
    Row {
        name: "max-workers",
        value: "NUMBER",
        kind: Kind::Count(
            1,
            MAX_WORKERS as u64,
            server(|to, n| to.limits.max_workers = Some(fits(n))),
        ),
        default: Default::Computed("8 x --workers, at most 4096"),
        help: "most workers, started while clients wait",
        long: "It may not be less than --workers.",
        ..BASE
    },
    Row {
        name: "max-concurrent",
        value: "NUMBER",
        kind: Kind::Count(
            1,
            MAX_WORKERS as u64,
            both(
                |to, n| to.limits.max_concurrent = Some(fits(n)),
                |to, n| to.max_concurrent = Some(fits(n)),
            ),
        ),
        default: Default::Computed("3/4 of --max-workers"),
        help: "most requests of one handler at a time",
        long: "It keeps one slow handler from taking every worker.",
        ..BASE
    },
    Row {
        name: "max-connections",
        value: "NUMBER",
        kind: Kind::Count(
            1,
            1_000_000,
            server(|to, n| to.limits.max_connections = Some(fits(n))),
        ),
        default: Default::Computed("half the descriptors, at most 100000"),
        help: "most open connections",
        long: "When all are taken, the longest idle one makes room.",
        ..BASE
    },
    Row {
        name: "max-connections-per-address",
        value: "NUMBER",
        kind: Kind::Count(
            1,
            1_000_000,
            server(|to, n| to.limits.max_connections_per_address = Some(fits(n))),
        ),
        default: Default::Computed("1/4 of --max-connections"),
        help: "most open connections of one address",
        long: "Loopback addresses and those of --trusted-proxy are exempt.",
        ..BASE
    },
    Row {
        name: "head-timeout",
        value: "TIME",
        kind: timeout(server(|to, time| to.limits.head_timeout = time)),
        default: Default::Is("10s"),
        help: "longest time to receive a request head",
        long: "After it comes 408. Only the slowness of the client counts.",
        ..BASE
    },
    Row {
        name: "progress-timeout",
        value: "TIME",
        kind: timeout(server(|to, time| to.limits.progress_timeout = time)),
        default: Default::Is("30s"),
        help: "longest time without progress of body or response",
        ..BASE
    },
    Row {
        name: "handler-timeout",
        value: "TIME",
        kind: timeout(both(
            |to, time| to.limits.handler_timeout = time,
            |to, time| to.handler_timeout = Some(time),
        )),
        default: Default::Is("60s"),
        help: "longest run of a handler",
        long: "After it the handler and all that it started are ended, \
               and the client gets 504 if nothing was sent yet.",
        ..BASE
    },
    Row {
        name: "keep-alive-timeout",
        value: "TIME",
        kind: timeout(server(|to, time| to.limits.keep_alive_timeout = time)),
        default: Default::Is("15s"),
        help: "longest idle time between two requests",
        ..BASE
    },
    Row {
        name: "queue-timeout",
        value: "TIME",
        kind: timeout(server(|to, time| to.limits.queue_timeout = time)),
        default: Default::Is("10s"),
        help: "longest wait for a worker",
        long: "After it comes 503 with Retry-After.",
        ..BASE
    },
    Row {
        name: "kill-grace",
        value: "TIME",
        kind: grace(server(|to, time| to.limits.kill_grace = time)),
        default: Default::Is("2s"),
        help: "time between SIGTERM and SIGKILL to a handler",
        ..BASE
    },
    Row {
        name: "shutdown-grace",
        value: "TIME",
        kind: grace(server(|to, time| to.limits.shutdown_grace = time)),
        default: Default::Is("30s"),
        help: "time for requests in flight when the server stops",
        ..BASE
    },
    Row {
        name: "after-exit",
        value: "TIME",
        kind: grace(server(|to, time| to.limits.after_exit = time)),
        default: Default::Is("200ms"),
        help: "silence after the exit that ends a response",
        long: "It matters only if something that the handler started still holds its output.",
        ..BASE
    },
    Row {
        name: "linger",
        value: "TIME",
        kind: grace(server(|to, time| to.limits.linger = time)),
        default: Default::Is("5s"),
        help: "time for a refused client to stop sending",
        long: "What it sends meanwhile is thrown away, so that it sees the answer.",
        ..BASE
    },
];
