//! Unix domain sockets: who is at the other end, and the name of one that is in no folder.

use super::{Result, once, socket};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::PathBuf;

/// Who is at the other end of a Unix domain socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its process id; 0 where the system does not say.
    pub pid: i32,
    /// Its effective user id when it connected.
    pub uid: u32,
}

/// SO_PEERCRED (getpeereid(3) elsewhere, which knows no pid).
pub fn peer(socket: BorrowedFd<'_>) -> Result<Peer> {
    #[cfg(target_os = "linux")]
    {
        let mut raw = libc::ucred {
            pid: 0,
            uid: 0,
            gid: 0,
        };
        let mut len = libc::socklen_t::try_from(size_of::<libc::ucred>()).unwrap_or(0);
        // SAFETY: value and length are live and agree.
        once(&"getsockopt", || unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut raw).cast(),
                &raw mut len,
            )
        })?;
        Ok(Peer {
            pid: raw.pid,
            uid: raw.uid,
        })
    }
    #[cfg(not(target_os = "linux"))]
    {
        let (mut uid, mut gid) = (0, 0);
        // SAFETY: both pointers are to live locals.
        once(&"getpeereid", || unsafe {
            libc::getpeereid(socket.as_raw_fd(), &raw mut uid, &raw mut gid)
        })?;
        Ok(Peer { pid: 0, uid })
    }
}

/// The `@NAME` of a Unix socket that is in no folder.
pub fn abstract_name(socket: BorrowedFd<'_>) -> Option<PathBuf> {
    socket::name(socket).ok()?.to_abstract()
}
