//! The handlers' folder, name by name, in order. `--check` only.
//!
//! Judges links as requests meet them: resolved below the root. Hidden names are never found by a
//! request and so never looked at. Refuses to enter a folder twice, or what no request can enter.

use super::{Findings, Suspect, Who, places};
use crate::route::{self, Stranger, Writers};
use crate::settings::Settings;
use crate::sys::beneath::{self, Beneath};
use crate::sys::fd::AsFd;
use crate::sys::file::{self, Open, Stat};
use crate::sys::{self, Errno, privilege, process};
use std::ffi::{CString, OsStr};
use std::fs;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Folders in each other: a path of 4096 bytes has no more that can be named.
const DEEPEST: usize = 100;

/// Looks at everything that the settings name, and at every handler, in order: as the user whom the
/// server becomes, and in its root. This process stays that user.
pub(crate) fn check(settings: &Settings, search_path: &[u8]) -> Findings {
    let mut findings = Findings::default();
    places::check_addresses(settings, &mut findings);
    if let Err(why) = become_server(settings) {
        let words = "the server cannot become this user, or change its root (%); start it as root, or correct --user and --chroot";
        let user = settings.user.as_deref().unwrap_or_default().as_bytes();
        findings.note(user, words, why.to_string().as_bytes());
    }
    let mut walk = Walk {
        settings,
        who: &Who::this_process(),
        writers: (!settings.allow_writable).then(Writers::of_this_process),
        search_path,
        root: None,
        seen: Vec::new(),
        findings,
    };
    places::check(settings, &mut walk.findings);
    places::check_limits(settings, &mut walk.findings);
    walk.start(&settings.path);
    places::check_sections(settings, walk.root.as_ref(), &mut walk.findings);
    walk.findings
}

/// What a start does, once the listeners are bound.
fn become_server(settings: &Settings) -> sys::Result<()> {
    let names = settings.account();
    let account = names.map(|(user, group)| privilege::find_account(user, group));
    let account = account.transpose()?;
    if let Some(folder) = &settings.chroot {
        let name = CString::new(folder.as_os_str().as_bytes()).unwrap_or_default();
        privilege::change_root(&name)?;
    }
    match account.filter(|account| account.uid != process::effective_uid()) {
        // For good: access(2) asks about the real user, and only faccessat2(2) about the effective one.
        Some(account) => privilege::assume(&account)
            .and_then(|()| privilege::resume_root())
            .and_then(|()| privilege::become_account(&account)),
        None => Ok(()),
    }
}

struct Walk<'a> {
    settings: &'a Settings,
    who: &'a Who,
    /// Who may write a handler; `None` with `allow-writable`, where everybody may.
    writers: Option<Writers>,
    search_path: &'a [u8],
    root: Option<OwnedFd>,
    /// Folders that were entered.
    seen: Vec<(u64, u64)>,
    findings: Findings,
}

/// A name in a folder that is being looked through.
struct FolderEntry<'e> {
    folder: BorrowedFd<'e>,
    name: CString,
    path: &'e Path,
    /// The path from the root, without the slash in front.
    below: &'e Path,
}

impl Walk<'_> {
    fn find(&mut self, path: &Path, words: &'static str) {
        let file = path.as_os_str().as_bytes();
        self.findings.note(file, words, b"");
    }

    fn cannot(&mut self, path: &Path, why: sys::Error) {
        let file = path.as_os_str().as_bytes();
        self.findings.note_unreadable(file, why);
    }

    fn start(&mut self, path: &Path) {
        let path = match fs::canonicalize(path) {
            Ok(path) => path,
            Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw()) => {
                return self.find(path, MISSING);
            }
            Err(e) => return self.cannot(path, sys::Error::from_io(&"stat", &e)),
        };
        let mut above = path.as_path();
        while let Some(next) = above.parent() {
            above = next;
            let Ok(folder) = open_folder(above) else {
                continue;
            };
            let Ok(stat) = file::stat(folder.as_fd()) else {
                continue;
            };
            self.note_stranger(above, |writers| writers.stranger_above(&stat));
            if !self.who.may_execute(folder.as_fd(), c".", &stat) {
                self.find(above, UNSEARCHABLE);
            }
        }
        match open_folder(&path) {
            Ok(root) => {
                self.root = root.try_clone().ok();
                self.folder(&root, &path, Path::new(""), 0);
            }
            Err(why) => self.cannot(&path, why),
        }
    }

    fn folder(&mut self, folder: &OwnedFd, path: &Path, below: &Path, depth: usize) {
        let Ok(stat) = file::stat(folder.as_fd()) else {
            return;
        };
        if depth > DEEPEST || self.seen.contains(&stat.identity) {
            return;
        }
        self.seen.push(stat.identity);
        self.note_stranger(path, |writers| writers.stranger(&stat));
        if !self.who.may_execute(folder.as_fd(), c".", &stat) {
            return self.find(path, UNSEARCHABLE);
        }
        let names = match file::names_in(path, |name| !route::is_hidden(name)) {
            Ok(names) => names,
            Err(why) => return self.cannot(path, why),
        };
        for name in names {
            let entry = FolderEntry {
                folder: folder.as_fd(),
                path: &path.join(OsStr::from_bytes(&name)),
                below: &below.join(OsStr::from_bytes(&name)),
                name: CString::new(name).unwrap_or_default(),
            };
            self.entry(&entry, depth);
        }
    }

    fn entry(&mut self, entry: &FolderEntry<'_>, depth: usize) {
        let follow = self.settings.follow_symlinks;
        let found = file::stat_at(entry.folder, &entry.name, follow);
        let found = match found {
            Ok(stat) if stat.is_link() => self.behind(entry.below),
            found => found,
        };
        match found {
            Ok(stat) if stat.is_directory() => {
                match file::open_at(Some(entry.folder), &entry.name, Open::Folder) {
                    Ok(next) => self.folder(&next, entry.path, entry.below, depth + 1),
                    Err(why) => self.cannot(entry.path, why),
                }
            }
            Ok(stat) if stat.is_file() && !self.is_configuration(entry) => {
                self.file(entry, &stat);
            }
            Ok(_) => {}
            Err(why) => match why.errno {
                Errno::NOENT | Errno::NOTDIR | Errno::LOOP => self.find(entry.path, NOWHERE),
                Errno::XDEV => self.find(entry.path, OUTSIDE),
                _ => self.cannot(entry.path, why),
            },
        }
    }

    /// What a link leads to, resolved as for a request.
    fn behind(&self, below: &Path) -> sys::Result<Stat> {
        let name = CString::new(below.as_os_str().as_bytes()).unwrap_or_default();
        let Some(root) = &self.root else {
            return Err(sys::Error {
                call: &"openat2",
                errno: Errno::NOENT,
            });
        };
        let target = beneath::open_beneath(root.as_fd(), &name, Beneath::Handle)?;
        file::stat(target.as_fd())
    }

    /// The configuration file, whatever it is called.
    fn is_configuration(&self, entry: &FolderEntry<'_>) -> bool {
        let config = self.settings.config.as_deref().map(fs::canonicalize);
        config.is_some_and(|config| config.is_ok_and(|config| config == entry.path))
    }

    fn file(&mut self, entry: &FolderEntry<'_>, stat: &Stat) {
        self.findings.handlers += 1;
        self.note_stranger(entry.path, |writers| writers.stranger(stat));
        let mut suspect = Suspect {
            at: entry.folder,
            name: &entry.name,
            who: self.who,
            search_path: self.search_path,
            file: entry.path.as_os_str().as_bytes(),
            findings: &mut self.findings,
        };
        suspect.look();
    }

    /// Notes somebody else who can write to a handler or to a folder with handlers: he could run anything as
    /// the server's user.
    fn note_stranger(&mut self, path: &Path, who: impl Fn(Writers) -> Option<Stranger>) {
        if let Some(stranger) = self.writers.and_then(who) {
            let file = path.as_os_str().as_bytes();
            self.findings
                .note(file, "%", stranger.to_string().as_bytes());
        }
    }
}

fn open_folder(path: &Path) -> sys::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
    file::open_at(None, &name, Open::Folder)
}

const UNSEARCHABLE: &str =
    "is a folder that the server's user may not search, so what is in it is 404; chmod +x it";

const MISSING: &str =
    "is not there, and the server would make an empty one; put a handler there, or correct --path";

const NOWHERE: &str = "is a symbolic link that leads nowhere; correct or remove it";

const OUTSIDE: &str = "is a symbolic link that leads out of --path or begins at /, so it is 404; make it relative and inside, or use --follow-symlinks";
