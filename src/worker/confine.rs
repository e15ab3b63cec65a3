//! What each handler may use and touch, made ready before the first launch: limits at the worker's
//! start, a sandbox's ruleset when its handler is first called. Refuses to run a handler with less
//! of a sandbox than its section asks for.

use super::launch_failure::NotLaunched;
use crate::birth::Birth;
use crate::log::Escaped;
use crate::route::Handler;
use crate::settings::{Allowance, HandlerSettings, Sandbox};
use crate::sys::confine::{self, Access, Bounds, Denied, Port, Resource, Ruleset};
use crate::sys::fd::AsFd;
use crate::sys::file::{self, Open};
use crate::sys::{self, Errno, Error};
use std::ffi::CString;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Every handler's bounds.
pub(super) struct Confines<'a> {
    plain: Confine,
    /// One for each section.
    own: Vec<(&'a HandlerSettings, Confine)>,
}

/// One handler's.
pub(super) struct Confine {
    pub(super) bounds: Bounds,
    /// The score, if it differs from the worker's.
    pub(super) oom_score: Option<u64>,
    /// The ruleset, and the identity of the file it was made for. `None` inside: the kernel knows
    /// no Landlock, and the section does not insist on it.
    ruleset: Option<((u64, u64), Option<Ruleset>)>,
}

impl Confine {
    pub(super) fn ruleset(&self) -> Option<&Ruleset> {
        self.ruleset.as_ref()?.1.as_ref()
    }
}

impl<'a> Confines<'a> {
    pub(super) fn new(birth: &Birth<'a>) -> sys::Result<Self> {
        let settings = birth.settings;
        let own = settings.handlers.iter();
        let own = own.map(|own| Ok((own, confine(birth, &own.allowance)?)));
        Ok(Self {
            plain: confine(birth, &settings.allowance)?,
            own: own.collect::<sys::Result<_>>()?,
        })
    }

    /// What holds for this handler.
    pub(super) fn of(
        &mut self,
        birth: &Birth<'_>,
        handler: &Handler,
        settings: &HandlerSettings,
    ) -> Result<&Confine, NotLaunched> {
        let own = self.own.iter_mut();
        let mut own = own.filter(|(own, _)| std::ptr::eq(*own, settings));
        let Some((settings, confine)) = own.next() else {
            return Ok(&self.plain);
        };
        let identity = handler.identity;
        if let Some(sandbox) = &settings.sandbox
            && confine
                .ruleset
                .as_ref()
                .is_none_or(|made| made.0 != identity)
        {
            let folder = handler.folder.as_ref();
            let folder = folder.map_or(birth.root, |folder| folder.as_fd());
            let file = file::open_at(Some(folder), handler.program(), Open::Handle)?;
            let (least, version) = version_for(sandbox).map_err(NotLaunched::Unconfined)?;
            if version < least {
                let name = Escaped(&handler.script_name);
                birth.log.warn(format_args!(
                    "{name}: runs without all of its sandbox, which this kernel's Landlock cannot make"
                ));
            }
            let ruleset = match version {
                0 => None,
                _ => Some(ruleset(sandbox, version, file.as_fd())?),
            };
            confine.ruleset = Some((identity, ruleset));
        }
        Ok(confine)
    }
}

/// The limits of one handler, as far as they differ from the worker's.
fn confine(birth: &Birth<'_>, allowance: &Allowance) -> sys::Result<Confine> {
    let usual = &birth.settings.allowance;
    let mut bounds = Bounds::default();
    if let Some(limit) = birth.handler_descriptor_limit {
        bounds.restore(Resource::OpenFiles, limit.soft, limit.hard);
    }
    let seconds = |time: std::time::Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
    for (resource, most) in [
        (Resource::Cpu, allowance.cpu.map(seconds)),
        (Resource::Memory, allowance.memory),
        (Resource::OpenFiles, allowance.open_files),
        (Resource::Processes, allowance.processes),
        (Resource::FileSize, allowance.file_size),
        (
            Resource::Core,
            allowance.core.filter(|_| allowance.core != usual.core),
        ),
    ] {
        if let Some(most) = most {
            bounds.limit(resource, most)?;
        }
    }
    if let Some(by) = allowance.nice {
        bounds.nicer(by);
    }
    Ok(Confine {
        bounds,
        oom_score: allowance
            .oom_score
            .filter(|_| allowance.oom_score != usual.oom_score),
        ruleset: None,
    })
}

/// The least version of Landlock that makes a sandbox, and the one to use.
fn version_for(sandbox: &Sandbox) -> sys::Result<(i32, i32)> {
    let least = Denied::least_version(sandbox.connect.is_limited(), sandbox.bind.is_limited());
    let found = confine::landlock_version();
    Ok((least, usable(found, least, sandbox.is_best_effort)?))
}

/// The version to use. 0: no sandbox at all, which only a section with `sandbox = best-effort` accepts.
fn usable(found: sys::Result<i32>, least: i32, is_best_effort: bool) -> sys::Result<i32> {
    match found {
        Ok(version) if version >= least => Ok(version),
        _ if is_best_effort => Ok(found.unwrap_or(0)),
        Ok(_) => Err(Error::new(&"landlock_create_ruleset", Errno::OPNOTSUPP)),
        Err(e) => Err(e),
    }
}

/// The rules of a sandbox.
fn ruleset(
    sandbox: &Sandbox,
    version: i32,
    handler: BorrowedFd<'_>,
) -> Result<Ruleset, NotLaunched> {
    let (connect, bind) = (sandbox.connect.is_limited(), sandbox.bind.is_limited());
    let ruleset = Ruleset::new(Denied::of(version, connect, bind))?;
    ruleset.allow(handler, Access::Read)?;
    // Shell scripts need /dev/null, and nobody can get anything out through it.
    ruleset.allow(open(Path::new("/dev/null"))?.as_fd(), Access::Write)?;
    for path in &sandbox.read {
        ruleset.allow(open(path)?.as_fd(), Access::Read)?;
    }
    for path in &sandbox.write {
        ruleset.allow(open(path)?.as_fd(), Access::Write)?;
    }
    for port in sandbox.connect.named() {
        ruleset.allow_port(Port::Connect(*port))?;
    }
    for port in sandbox.bind.named() {
        ruleset.allow_port(Port::Bind(*port))?;
    }
    Ok(ruleset)
}

/// What is missing is an error, not less of a sandbox: nobody would notice a misspelt path.
fn open(path: &Path) -> Result<OwnedFd, NotLaunched> {
    let name = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
    file::open_at(None, &name, Open::Handle)
        .map_err(|why| NotLaunched::Unreachable(path.to_path_buf(), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_lacks_something_is_fatal_unless_best_effort_will_do() {
        let lacks = |errno| {
            let call = &"landlock_create_ruleset";
            Err(Error::new(call, errno))
        };
        for (found, least, expected, best_effort) in [
            (Ok(7), 4, Ok(7), 7),
            (Ok(4), 4, Ok(4), 4),
            (Ok(3), 3, Ok(3), 3),
            (Ok(3), 4, lacks(Errno::OPNOTSUPP), 3),
            (Ok(1), 3, lacks(Errno::OPNOTSUPP), 1),
            (lacks(Errno::NOSYS), 3, lacks(Errno::NOSYS), 0),
            (lacks(Errno::OPNOTSUPP), 4, lacks(Errno::OPNOTSUPP), 0),
        ] {
            assert_eq!(usable(found, least, false), expected, "{found:?}");
            assert_eq!(usable(found, least, true), Ok(best_effort), "{found:?}");
        }
    }
}
