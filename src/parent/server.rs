//! The parent itself: what all owners share, the owners, and what only the server as a whole needs.

use super::connections::Connections;
use super::context::Context;
use super::control::Control;
use super::daemon::Starter;
use super::error::Error;
use super::listeners::Listeners;
use super::upgrade::Upgrade;
use super::workers::Workers;
use crate::settings::Settings;
use crate::sys::readiness::Event;
use crate::sys::time::Moment;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// Reads the settings of this process again, or says in one line what is wrong with them.
pub(crate) type Reread = fn() -> Result<Settings, String>;

/// The parent: what all owners share, the owners, and what only the server as a whole needs.
pub(super) struct Parent {
    pub(super) ctx: Context,
    pub(super) connections: Connections,
    pub(super) workers: Workers,
    pub(super) upgrade: Upgrade,
    pub(super) control: Control,
    pub(super) listeners: Listeners,
    pub(super) signals: OwnedFd,
    pub(super) events: Vec<Event>,
    pub(super) started: Moment,
    /// How the settings are read again, and the folder in which relative names in them begin.
    pub(super) reread: Reread,
    pub(super) folder: PathBuf,
    /// The descriptor limit that the server has.
    pub(super) descriptor_limit: u64,
    /// SIGHUP came before the server was ready.
    pub(super) is_reload_due: bool,
    /// Who waits for the server to be ready, and is told so once.
    pub(super) starter: Starter,
    /// Why the server could not start.
    pub(super) failure: Option<Error>,
}
