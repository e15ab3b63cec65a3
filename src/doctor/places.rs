//! What the settings name besides handlers: sections, addresses, and where files are to be written.
//! `--check` only.
//!
//! It must not disturb a server that runs with the same settings: nothing is created, locked or
//! listened on, and what such a server holds is no fault.

use super::Findings;
use crate::route;
use crate::settings::{Bind, Settings, contradictions};
use crate::sys::fd::AsFd;
use crate::sys::file::{self, Open};
use crate::sys::{self, Errno, socket};
use crate::{instance, limits};
use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Where files are to be written.
pub(super) fn check(settings: &Settings, findings: &mut Findings) {
    let spools = std::env::temp_dir().join("spool");
    let pid_file = settings.pid_file.as_ref();
    let socket = Some(&settings.socket).filter(|path| !socket::is_abstract(path));
    let others = [pid_file, socket, Some(&spools)];
    let others = others.into_iter().flatten().map(|path| (path, false));
    for (path, is_made) in [(&settings.log_file, true)].into_iter().chain(others) {
        if let Err((place, why)) = would_be_written(path, is_made) {
            findings.note(
                place.as_os_str().as_bytes(),
                "cannot be written (%); let the server's user write there, or name another place",
                why.errno.to_string().as_bytes(),
            );
        }
    }
}

/// What all spools together may hold: as it was set, or by what is free where they are kept.
pub(crate) fn spool_total(settings: &Settings) -> u64 {
    let free = || instance::free_for_spools().unwrap_or(u64::MAX);
    let total = settings.limits.max_spool_total;
    total.unwrap_or_else(|| limits::spool_total(settings.largest_body(), free()))
}

/// Values that have no effect together.
pub(super) fn check_limits(settings: &Settings, findings: &mut Findings) {
    for line in contradictions(settings, spool_total(settings)) {
        findings.text.push_str(&line);
        findings.text.push_str("; change one of them\n");
    }
}

/// Where it is to listen.
pub(super) fn check_addresses(settings: &Settings, findings: &mut Findings) {
    if settings.bind.is_empty() {
        let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        try_address(SocketAddr::new(everywhere, settings.port), findings);
    }
    for bind in &settings.bind {
        if let Bind::Tcp { addr, port } = bind {
            let address = SocketAddr::new(*addr, port.unwrap_or(settings.port));
            try_address(address, findings);
        }
    }
}

/// Whether a file could be opened for writing: it, or else the folder where it would be made.
/// `is_made`: with the folders above it. `Err` names what is in the way.
fn would_be_written(path: &Path, is_made: bool) -> Result<(), (&Path, sys::Error)> {
    let mut place = path;
    let mut result = write_access(place, false);
    while let Err(e) = result
        && e.errno == Errno::NOENT
        && let Some(above) = place.parent()
        && (is_made || place == path)
    {
        place = if above.as_os_str().is_empty() {
            Path::new(".")
        } else {
            above
        };
        result = write_access(place, true);
    }
    result.map_err(|why| (place, why))
}

fn write_access(path: &Path, is_folder: bool) -> sys::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
    file::access_to_write(&name, is_folder)
}

/// Notes an address that the system would refuse even if no other process listened on it.
fn try_address(address: SocketAddr, findings: &mut Findings) {
    let words = match socket::try_bind(address).map_err(|why| why.errno) {
        Err(Errno::ACCES) => "is a port for root only; choose one of 1024 or more",
        Err(Errno::ADDRNOTAVAIL) => "is no address of this machine; choose another --bind",
        _ => return,
    };
    findings.note(address.to_string().as_bytes(), words, b"");
}

/// Sections of handlers that are not there, and sandboxes that cannot be made.
pub(super) fn check_sections(settings: &Settings, root: Option<&OwnedFd>, findings: &mut Findings) {
    let config = settings.config.as_deref().unwrap_or(Path::new(""));
    let config = config.as_os_str().as_bytes();
    for section in &settings.handlers {
        if root.is_some_and(|root| !route::names_file(root.as_fd(), &section.name)) {
            findings.note(
                config,
                "has a section [handler %] that names no file in --path; correct the name or remove it",
                &section.name,
            );
        }
        let Some(sandbox) = &section.sandbox else {
            continue;
        };
        for path in sandbox.read.iter().chain(&sandbox.write) {
            let path = path.as_os_str().as_bytes();
            let name = CString::new(path).unwrap_or_default();
            if file::open_at(None, &name, Open::Handle).is_err() {
                findings.note(
                    config,
                    "has a sandbox with %, which cannot be opened, so its handler is not run; make it, or correct read and write",
                    path,
                );
            }
        }
    }
}
