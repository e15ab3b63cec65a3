//! Socket addresses as the kernel wants them.

use super::{Errno, Error, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

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

/// ENAMETOOLONG when the path does not fit (108 bytes on Linux with its NUL).
pub(super) fn unix_address(path: &Path) -> Result<RawAddress> {
    use std::os::unix::ffi::OsStrExt;
    // SAFETY: a zeroed sockaddr_un is valid.
    let mut raw: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    raw.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() >= raw.sun_path.len() {
        return Err(Error {
            call: &"bind",
            errno: Errno::NAMETOOLONG,
        });
    }
    for (place, byte) in raw.sun_path.iter_mut().zip(bytes) {
        *place = byte.cast_signed() as libc::c_char;
    }
    Ok(RawAddress::from(raw))
}

/// The service manager's address: a path, or an abstract name, whose `@` stands for a NUL and whose
/// length counts. `None` for what is neither.
pub(super) fn notify_address(name: &[u8]) -> Option<RawAddress> {
    use std::os::unix::ffi::OsStrExt;
    let is_abstract = match name.first()? {
        b'/' => false,
        b'@' => true,
        _ => return None,
    };
    let path = Path::new(std::ffi::OsStr::from_bytes(name));
    let mut address = unix_address(path).ok()?;
    if is_abstract {
        let start = std::mem::offset_of!(libc::sockaddr_un, sun_path);
        address.len = libc::socklen_t::try_from(start + name.len()).ok()?;
        // SAFETY: the storage holds a sockaddr_un, whose path begins there.
        let first = unsafe { (&raw mut address.storage).cast::<u8>().add(start) };
        // SAFETY: as above.
        unsafe { first.write(0) };
    }
    Some(address)
}
