//! Giving up what the server does not need: users, groups, the root folder, new privileges, and
//! that other processes may look into this one.

use super::call::{CallName, Error, Result, once};
use super::errno::Errno;
use super::process;
use std::ffi::{CStr, CString, OsString};
use std::os::unix::ffi::OsStringExt;

/// A user to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Its name in the user database, for its other groups; without one it has none.
    name: Option<CString>,
}

/// Room for the strings of one entry of the user database.
type Text = [u8; 4096];

/// A user by name or number, with its group unless another is named. ENOENT: there is none.
pub(crate) fn find_account(user: &[u8], group: Option<&[u8]>) -> Result<Account> {
    let mut text: Text = [0; 4096];
    let number = number(user);
    let entry = passwd_entry(user, number, &mut text)?;
    let own_group = entry.as_ref().map(|entry| entry.pw_gid);
    let gid = match group {
        Some(group) => find_group(group)?,
        None => own_group.ok_or(missing(&"getpwnam"))?,
    };
    let uid = entry.as_ref().map(|entry| entry.pw_uid).or(number);
    let name = entry.map(|entry| {
        // SAFETY: the entry's strings stand NUL-terminated in `text`.
        unsafe { CStr::from_ptr(entry.pw_name) }.to_owned()
    });
    let uid = uid.ok_or(missing(&"getpwnam"))?;
    Ok(Account { uid, gid, name })
}

/// The id of a group by name or number.
pub(crate) fn find_group(group: &[u8]) -> Result<u32> {
    if let Some(number) = number(group) {
        return Ok(number);
    }
    let mut text: Text = [0; 4096];
    let name = CString::new(group).map_err(|_| missing(&"getgrnam"))?;
    // SAFETY: a zeroed group is valid (null pointers).
    let mut entry: libc::group = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are to live values; the buffer's length is its own.
    let code = unsafe {
        libc::getgrnam_r(
            name.as_ptr(),
            &raw mut entry,
            text.as_mut_ptr().cast(),
            text.len(),
            &raw mut found,
        )
    };
    outcome(&"getgrnam", code)?;
    match found.is_null() {
        true => Err(missing(&"getgrnam")),
        false => Ok(entry.gr_gid),
    }
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn missing(call: CallName) -> Error {
    let errno = Errno::NOENT;
    Error::new(call, errno)
}

/// The result of a call that returns an errno. Some C libraries call a missing entry an error.
fn outcome(call: CallName, code: i32) -> Result<()> {
    match Errno::from_raw(code) {
        errno if code != 0 && errno != Errno::NOENT && errno != Errno::SRCH => {
            Err(Error::new(call, errno))
        }
        _ => Ok(()),
    }
}

fn passwd_entry(user: &[u8], number: Option<u32>, text: &mut Text) -> Result<Option<libc::passwd>> {
    let name = CString::new(user).map_err(|_| missing(&"getpwnam"))?;
    // SAFETY: a zeroed passwd is valid (null pointers).
    let mut entry: libc::passwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    let (place, room) = (text.as_mut_ptr().cast(), text.len());
    let code = match number {
        // SAFETY: all pointers are to live values; the buffer's length is its own.
        Some(uid) => unsafe { libc::getpwuid_r(uid, &raw mut entry, place, room, &raw mut found) },
        // SAFETY: the same, and the name is NUL-terminated.
        None => unsafe {
            libc::getpwnam_r(name.as_ptr(), &raw mut entry, place, room, &raw mut found)
        },
    };
    outcome(&"getpwnam", code)?;
    Ok((!found.is_null()).then_some(entry))
}

/// The home folder of this user in the user database, for when HOME is not set.
pub(crate) fn home_folder() -> Result<OsString> {
    let mut text: Text = [0; 4096];
    let uid = process::effective_uid();
    match passwd_entry(b"", Some(uid), &mut text)? {
        Some(entry) if !entry.pw_dir.is_null() => {
            // SAFETY: the entry's strings stand NUL-terminated in `text`.
            let home = unsafe { CStr::from_ptr(entry.pw_dir) };
            Ok(OsString::from_vec(home.to_bytes().to_vec()))
        }
        _ => Err(missing(&"getpwuid")),
    }
}

/// Takes the user's groups and, for now only in effect, its ids: root can be taken back.
pub(crate) fn assume(account: &Account) -> Result<()> {
    let gid = account.gid;
    once(&"setgroups", || match &account.name {
        // SAFETY: the name is NUL-terminated.
        Some(name) => unsafe { libc::initgroups(name.as_ptr(), gid as _) },
        // SAFETY: one live group.
        None => unsafe { libc::setgroups(1, &raw const gid) },
    })?;
    // SAFETY: takes an integer.
    once(&"setegid", || unsafe { libc::setegid(gid) })?;
    // SAFETY: takes an integer.
    once(&"seteuid", || unsafe { libc::seteuid(account.uid) }).map(drop)
}

/// Takes root's user id back after `assume`.
pub(crate) fn resume_root() -> Result<()> {
    // SAFETY: takes an integer.
    once(&"seteuid", || unsafe { libc::seteuid(0) }).map(drop)
}

/// After `assume` and `resume_root`: becomes the user for good, and sees that no way leads back.
pub(crate) fn become_account(account: &Account) -> Result<()> {
    let (uid, gid) = (account.uid, account.gid);
    #[cfg(not(target_os = "macos"))]
    {
        // SAFETY: takes integers.
        once(&"setresgid", || unsafe { libc::setresgid(gid, gid, gid) })?;
        // SAFETY: takes integers.
        once(&"setresuid", || unsafe { libc::setresuid(uid, uid, uid) })?;
    }
    #[cfg(target_os = "macos")]
    {
        // SAFETY: takes an integer. Of root they set all three.
        once(&"setgid", || unsafe { libc::setgid(gid) })?;
        // SAFETY: takes an integer.
        once(&"setuid", || unsafe { libc::setuid(uid) })?;
    }
    // SAFETY: takes an integer.
    let can_be_root = uid != 0 && unsafe { libc::setuid(0) } == 0;
    // SAFETY: takes nothing.
    let is_user = unsafe { libc::getuid() } == uid && process::effective_uid() == uid;
    // SAFETY: takes nothing.
    let is_group = unsafe { libc::getgid() } == gid && effective_gid() == gid;
    if can_be_root || !is_user || !is_group {
        return Err(Error::new(&"setresuid", Errno::PERM));
    }
    Ok(())
}

/// getegid(2).
pub(crate) fn effective_gid() -> u32 {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::getegid() }
}

/// chroot(2), and its root as the working directory.
pub(crate) fn change_root(folder: &CStr) -> Result<()> {
    // SAFETY: the path is NUL-terminated.
    once(&"chroot", || unsafe { libc::chroot(folder.as_ptr()) })?;
    // SAFETY: the path is NUL-terminated.
    once(&"chdir", || unsafe { libc::chdir(c"/".as_ptr()) }).map(drop)
}

/// prctl(PR_SET_NO_NEW_PRIVS): no exec of this process or what it starts gives any, for ever.
#[cfg(target_os = "linux")]
pub(crate) fn renounce_new_privileges() -> Result<()> {
    process::prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Elsewhere a set-user-id program keeps its meaning.
#[cfg(not(target_os = "linux"))]
pub(crate) fn renounce_new_privileges() -> Result<()> {
    Ok(())
}

/// prctl(PR_SET_DUMPABLE): whether processes of the same user may read this one's memory and
/// descriptors, and attach a debugger. exec makes it so again; fork inherits it.
#[cfg(target_os = "linux")]
pub(crate) fn set_traceable(yes: bool) -> Result<()> {
    process::prctl(libc::PR_SET_DUMPABLE, u32::from(yes))
}

/// Elsewhere there is no one way.
#[cfg(not(target_os = "linux"))]
pub(crate) fn set_traceable(_: bool) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_and_by_number() {
        let root = find_account(b"root", None).unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(find_account(b"0", None).unwrap(), root);
        let nobody = find_account(b"4000000000", Some(b"17")).unwrap();
        let expected = Account {
            uid: 4_000_000_000,
            gid: 17,
            name: None,
        };
        assert_eq!(nobody, expected);
        assert_eq!(find_group(b"root").unwrap(), 0);
        for (user, group) in [
            (&b"4000000000"[..], None),
            (b"no such user", None),
            (b"root", Some(&b"no such group"[..])),
            (b"", None),
        ] {
            let told = find_account(user, group).unwrap_err();
            assert_eq!(told.errno, Errno::NOENT, "{user:?} {group:?}");
        }
    }
}
