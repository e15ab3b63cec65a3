//! Socket addresses as the kernel wants them.

use super::call::{Error, Result};
use super::errno::Errno;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// An address as the kernel knows it.
pub(super) struct RawAddress {
    pub(super) storage: libc::sockaddr_storage,
    pub(super) len: libc::socklen_t,
}

impl RawAddress {
    pub(super) fn empty() -> Self {
        // SAFETY: a zeroed sockaddr_storage is valid (AF_UNSPEC).
        let storage = unsafe { std::mem::zeroed() };
        Self {
            storage,
            len: libc::socklen_t::try_from(size_of::<libc::sockaddr_storage>()).unwrap_or(0),
        }
    }

    /// Puts one of the sockaddr family into the storage.
    fn from<T>(family: T) -> Self {
        const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>()) };
        let mut address = Self::empty();
        // SAFETY: the storage is large enough (checked above) and aligned for every sockaddr.
        unsafe { (&raw mut address.storage).cast::<T>().write(family) };
        address.len = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
        address
    }

    pub(super) fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    /// The internet address, an IPv4-mapped one as IPv4; `None` for a Unix socket.
    pub(super) fn to_internet(&self) -> Option<SocketAddr> {
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says which sockaddr the kernel wrote.
                let raw = unsafe { (&raw const self.storage).cast::<libc::sockaddr_in>().read() };
                let ip = Ipv4Addr::from(u32::from_be(raw.sin_addr.s_addr));
                Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(raw.sin_port)))
            }
            libc::AF_INET6 => {
                // SAFETY: the family says which sockaddr the kernel wrote.
                let raw = unsafe {
                    (&raw const self.storage)
                        .cast::<libc::sockaddr_in6>()
                        .read()
                };
                let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
                Some(SocketAddr::new(
                    IpAddr::V6(ip).to_canonical(),
                    u16::from_be(raw.sin6_port),
                ))
            }
            _ => None,
        }
    }

    /// The abstract name of a Unix socket, with `@` for its NUL.
    pub(super) fn to_abstract(&self) -> Option<PathBuf> {
        if i32::from(self.storage.ss_family) != libc::AF_UNIX {
            return None;
        }
        // SAFETY: the family says which sockaddr the kernel wrote.
        let raw = unsafe { (&raw const self.storage).cast::<libc::sockaddr_un>().read() };
        let length = (self.len as usize).checked_sub(NAME_START)?;
        let [0, name @ ..] = raw.sun_path.get(..length)? else {
            return None;
        };
        let name = [b'@']
            .into_iter()
            .chain(name.iter().flat_map(|byte| byte.to_ne_bytes()));
        Some(OsString::from_vec(name.collect()).into())
    }
}

pub(super) fn internet_address(address: SocketAddr) -> RawAddress {
    match address {
        SocketAddr::V4(v4) => {
            // SAFETY: a zeroed sockaddr_in is valid.
            let mut raw: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            raw.sin_family = libc::AF_INET as libc::sa_family_t;
            raw.sin_port = v4.port().to_be();
            raw.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
            RawAddress::from(raw)
        }
        SocketAddr::V6(v6) => {
            // SAFETY: a zeroed sockaddr_in6 is valid.
            let mut raw: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
            raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            raw.sin6_port = v6.port().to_be();
            raw.sin6_addr.s6_addr = v6.ip().octets();
            raw.sin6_scope_id = v6.scope_id();
            RawAddress::from(raw)
        }
    }
}

/// Whether a path is the name of a socket in no folder (unix(7), abstract; Linux only), as its users write
/// it: `@` stands for a NUL.
pub(crate) fn is_abstract(path: &Path) -> bool {
    cfg!(target_os = "linux") && path.as_os_str().as_bytes().starts_with(b"@")
}

/// A path, or an abstract name, whose length counts. ENAMETOOLONG when it does not fit (108 bytes on Linux
/// with its NUL).
pub(super) fn unix_address(path: &Path) -> Result<RawAddress> {
    // SAFETY: a zeroed sockaddr_un is valid.
    let mut raw: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() >= raw.sun_path.len() {
        return Err(Error::new(&"bind", Errno::NAMETOOLONG));
    }
    for (place, byte) in raw.sun_path.iter_mut().zip(bytes) {
        *place = byte.cast_signed() as libc::c_char;
    }
    let is_abstract = is_abstract(path);
    if let [first, ..] = &mut raw.sun_path
        && is_abstract
    {
        *first = 0;
    }
    let mut address = RawAddress::from(raw);
    if is_abstract {
        address.len = libc::socklen_t::try_from(NAME_START + bytes.len()).unwrap_or(0);
    }
    Ok(address)
}

/// Where the name begins in an address.
const NAME_START: usize = std::mem::offset_of!(libc::sockaddr_un, sun_path);

/// The service manager's address. `None` for what is neither a path nor an abstract name.
pub(super) fn notify_address(name: &[u8]) -> Option<RawAddress> {
    let path = Path::new(OsStr::from_bytes(name));
    let is_one = name.starts_with(b"/") || is_abstract(path);
    unix_address(path).ok().filter(|_| is_one)
}
