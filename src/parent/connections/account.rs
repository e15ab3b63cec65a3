//! The account of one connection's spool.

use crate::scoreboard::{Origin, Spooled};
use crate::settings::TrustedProxy;
use std::net::SocketAddr;

/// What is known of a connection's spool.
pub(super) struct Account {
    /// What is in it.
    pub(super) spooled: Spooled,
    /// The origin that it is counted by: its client's address.
    pub(super) origin: Origin,
    /// It is on the parent's account, and not on a worker's.
    pub(super) is_own: bool,
}

impl Account {
    /// Of a client that has no spool yet.
    pub(super) fn of(peer: Option<SocketAddr>, proxies: &[TrustedProxy]) -> Self {
        Self {
            spooled: Spooled::default(),
            origin: Origin::of(peer, proxies),
            is_own: true,
        }
    }
}
