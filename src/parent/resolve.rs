//! What of the settings depends on the machine: limits depend on its descriptors and free space, sections on
//! the handlers that are there. Done at the start and at a reload.
//!
//! The arithmetic is pure and tested. What the user has set is kept, but for more connections than the descriptor limit
//! holds: that number is lowered, with a WARN.

use super::error::Error;
use crate::doctor;
use crate::limits::Limits;
use crate::log::{Escaped, Log};
use crate::route;
use crate::settings::{Settings, contradictions};
use crate::sys::process::{self, DescriptorLimit};
use crate::sys::{self, machine};
use std::os::fd::BorrowedFd;

/// Descriptors that the parent needs for itself: standard ones, log, root, readiness set, pid file, control
/// socket and conversations there, one in reserve, and some that are only open for a moment.
const OWN_DESCRIPTORS: u64 = 32;

/// More connections than this are more than one parent is meant for.
const MOST_CONNECTIONS: u64 = 100_000;

/// The descriptor limit as it is and, if it was raised, as it was.
pub(super) struct Raised {
    pub(super) now: u64,
    pub(super) original: Option<DescriptorLimit>,
}

/// Raises the soft descriptor limit to the hard one.
pub(super) fn raise_descriptor_limit() -> sys::Result<Raised> {
    let original = process::descriptor_limit()?;
    let raised = DescriptorLimit {
        soft: original.hard,
        hard: original.hard,
    };
    if original.soft == original.hard || process::set_descriptor_limit(raised).is_err() {
        return Ok(Raised {
            now: original.soft,
            original: None,
        });
    }
    Ok(Raised {
        now: raised.soft,
        original: Some(original),
    })
}

/// How many connections a descriptor limit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    /// If each needs a second descriptor, for its spool: the default.
    with_spools: usize,
    /// If none needs one, as idle ones do not: the most that may be asked for. A connection whose spool then
    /// finds no descriptor is lost.
    without: usize,
}

fn connections_within(limit: u64, workers: usize, listeners: usize) -> Room {
    let channels = u64::try_from(workers + listeners).unwrap_or(u64::MAX);
    let reserve = OWN_DESCRIPTORS.saturating_add(channels);
    let room = limit.saturating_sub(reserve);
    let fits = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    Room {
        with_spools: fits((room / 2).min(MOST_CONNECTIONS)),
        without: fits(room),
    }
}

/// Gives every limit that was not set its value.
pub(super) fn limits(
    settings: &mut Settings,
    descriptors: u64,
    listeners: usize,
    log: &Log,
) -> Result<(), Error> {
    let most = settings
        .limits
        .max_workers
        .unwrap_or(settings.workers.saturating_mul(8))
        .max(settings.workers);
    let room = connections_within(descriptors, most, listeners);
    if room.with_spools == 0 {
        return Err(Error::FewDescriptors(descriptors));
    }
    if let Some(wanted) = settings.limits.max_connections
        && wanted > room.without
    {
        log.warn(format_args!(
            "max-connections is {}, not {wanted}: the descriptor limit is {descriptors}",
            room.without
        ));
    }
    let total = doctor::spool_total(settings);
    for contradiction in contradictions(settings, total) {
        log.warn(format_args!("{contradiction}"));
    }
    fill(&mut settings.limits, most, room);
    settings.limits.max_spool_total = Some(total);
    settings
        .limits
        .max_spool_memory
        .get_or_insert_with(|| machine::memory().unwrap_or(0) / 16);
    Ok(())
}

/// Warns of sections that name no handler: of a name that was misspelt no limit would be in force.
pub(super) fn sections(settings: &Settings, root: BorrowedFd<'_>, log: &Log) {
    for section in &settings.handlers {
        if !route::names_file(root, &section.name) {
            let name = Escaped(&section.name);
            log.warn(format_args!(
                "there is a section [handler {name}] and no such file in --path"
            ));
        }
    }
}

fn fill(limits: &mut Limits, most_workers: usize, room: Room) {
    limits.max_workers = Some(most_workers);
    limits
        .max_concurrent
        .get_or_insert((most_workers * 3 / 4).max(1));
    let wanted = limits.max_connections.unwrap_or(room.with_spools);
    let connections = wanted.min(room.without);
    limits.max_connections = Some(connections);
    limits
        .max_connections_per_address
        .get_or_insert((connections / 4).max(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_half_of_what_the_descriptor_limit_leaves() {
        for (limit, workers, listeners, with_spools, without) in [
            (20_000, 32, 1, 9_967, 19_935),
            (1_024, 32, 2, 479, 958),
            (64, 4, 1, 13, 27),
            (32, 4, 1, 0, 0),
        ] {
            let expected = Room {
                with_spools,
                without,
            };
            assert_eq!(connections_within(limit, workers, listeners), expected);
        }
        let endless = connections_within(u64::MAX, 32, 1);
        assert_eq!(endless.with_spools, 100_000);
    }

    fn room(with_spools: usize) -> Room {
        Room {
            with_spools,
            without: with_spools * 2,
        }
    }

    #[test]
    fn what_was_set_is_kept_and_what_cannot_be_held_is_lowered() {
        let mut limits = Limits::default();
        fill(&mut limits, 32, room(1000));
        assert_eq!(limits.max_concurrent, Some(24));
        assert_eq!(limits.max_connections, Some(1000));
        assert_eq!(limits.max_connections_per_address, Some(250));
        let mut limits = Limits {
            max_connections: Some(5000),
            max_concurrent: Some(1),
            max_connections_per_address: Some(3),
            ..Limits::default()
        };
        fill(&mut limits, 1, room(2));
        assert_eq!(limits.max_connections, Some(4));
        assert_eq!(limits.max_concurrent, Some(1));
        assert_eq!(limits.max_connections_per_address, Some(3));
    }
}
