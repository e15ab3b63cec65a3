//! The readiness set: which descriptors have something to say. epoll(7) on Linux; poll(2) is the
//! portable way, and on Linux it can be forced for tests.
//!
//! A descriptor is either *watched* (reported as long as it is ready: listeners, channels, the
//! self-pipe) or *parked* (reported once, then silent until it is armed again: clients). The
//! token comes back with each event; the caller puts a generation in it, because an event may
//! be older than the descriptor's present owner.

use super::call::{Result, count, once, or_else};
use super::errno::Errno;
#[cfg(target_os = "linux")]
use super::fd;
use super::poll::PEER_CLOSED;
use std::cell::RefCell;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or the peer's FIN.
    Read,
    /// Room to write.
    Write,
}

/// A descriptor that is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What the owner gave.
    pub token: u64,
    /// The connection is over in both directions (RST, or a peer that is gone).
    pub is_hung_up: bool,
    /// The peer has sent its FIN (Linux; elsewhere never said). There may be bytes before it.
    pub is_peer_closed: bool,
}

/// Events taken from the kernel at a time.
#[cfg(target_os = "linux")]
const BATCH: usize = 128;

/// The set.
pub enum Readiness {
    /// epoll(7).
    #[cfg(target_os = "linux")]
    Epoll(OwnedFd),
    /// poll(2). Like the kernel's set it is changed by whoever has it, since no call hands out a part of it.
    Poll(RefCell<PollSet>),
}

impl Readiness {
    /// The best that the system has; `portable` forces poll(2).
    pub fn new(portable: bool) -> Result<Self> {
        #[cfg(target_os = "linux")]
        if !portable {
            // SAFETY: takes an integer.
            let set = once(&"epoll_create1", || unsafe {
                libc::epoll_create1(libc::EPOLL_CLOEXEC)
            })?;
            return Ok(Self::Epoll(fd::own(set)));
        }
        let _ = portable;
        Ok(Self::Poll(RefCell::default()))
    }

    /// The best that the system has, and allows, with these watched from the first moment on.
    pub fn of(first: &[(BorrowedFd<'_>, u64)]) -> Result<Self> {
        let best = Self::new(false).and_then(|set| set.fill(first));
        or_else(best, || Self::new(true)?.fill(first))
    }

    /// Makes each call that the set will need, once.
    fn fill(self, first: &[(BorrowedFd<'_>, u64)]) -> Result<Self> {
        for (fd, token) in first {
            self.watch(*fd, *token)?;
        }
        // What is ready is reported again, as long as it is.
        self.wait(&mut Vec::new(), Some(Duration::ZERO))?;
        Ok(self)
    }

    /// Adds a descriptor that is reported as long as there is something to read.
    pub fn watch(&self, fd: BorrowedFd<'_>, token: u64) -> Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(set) => control(set, libc::EPOLL_CTL_ADD, fd, EPOLLIN, token),
            Self::Poll(set) => {
                set.borrow_mut()
                    .add(fd.as_raw_fd(), token, Interest::Read, false);
                Ok(())
            }
        }
    }

    /// Adds a client; it is reported once.
    pub fn park(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(set) => control(set, libc::EPOLL_CTL_ADD, fd, one_shot(interest), token),
            Self::Poll(set) => {
                set.borrow_mut().add(fd.as_raw_fd(), token, interest, true);
                Ok(())
            }
        }
    }

    /// Arms a parked client again.
    pub fn rearm(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(set) => control(set, libc::EPOLL_CTL_MOD, fd, one_shot(interest), token),
            Self::Poll(set) => {
                set.borrow_mut().arm(fd.as_raw_fd(), token, interest);
                Ok(())
            }
        }
    }

    /// Removes a descriptor. The caller does this before the close: as long as a copy is open in another
    /// process (a worker's), the kernel keeps the entry and would report it for the next owner of the number.
    pub fn forget(&self, fd: BorrowedFd<'_>) -> Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(set) => control(set, libc::EPOLL_CTL_DEL, fd, 0, 0),
            Self::Poll(set) => {
                set.borrow_mut().remove(fd.as_raw_fd());
                Ok(())
            }
        }
    }

    /// Waits until something is ready or the time is over, and fills `events`. A signal may end
    /// the wait early, with nothing.
    pub fn wait(&self, events: &mut Vec<Event>, timeout: Option<Duration>) -> Result<()> {
        events.clear();
        // Rounded up: a deadline must have passed when its wait ends.
        let ms = timeout.map_or(-1, |t| {
            let micros = u64::try_from(t.as_micros()).unwrap_or(u64::MAX);
            i32::try_from(micros.div_ceil(1000)).unwrap_or(i32::MAX)
        });
        match self {
            #[cfg(target_os = "linux")]
            Self::Epoll(set) => wait_epoll(set, events, ms),
            Self::Poll(set) => set.borrow_mut().wait(events, ms),
        }
    }
}

#[cfg(target_os = "linux")]
const EPOLLIN: u32 = libc::EPOLLIN.cast_unsigned();

#[cfg(target_os = "linux")]
fn one_shot(interest: Interest) -> u32 {
    let wanted = match interest {
        Interest::Read => libc::EPOLLIN | libc::EPOLLRDHUP,
        Interest::Write => libc::EPOLLOUT,
    };
    (wanted | libc::EPOLLONESHOT).cast_unsigned()
}

#[cfg(target_os = "linux")]
fn control(
    set: &OwnedFd,
    operation: i32,
    fd: BorrowedFd<'_>,
    events: u32,
    token: u64,
) -> Result<()> {
    let mut event = libc::epoll_event { events, u64: token };
    // SAFETY: the event is live; EPOLL_CTL_DEL ignores it.
    once(&"epoll_ctl", || unsafe {
        libc::epoll_ctl(set.as_raw_fd(), operation, fd.as_raw_fd(), &raw mut event)
    })
    .map(drop)
}

#[cfg(target_os = "linux")]
fn wait_epoll(set: &OwnedFd, events: &mut Vec<Event>, ms: i32) -> Result<()> {
    let mut raw = [libc::epoll_event { events: 0, u64: 0 }; BATCH];
    let room = i32::try_from(BATCH).unwrap_or(1);
    // SAFETY: the array is writable for its length.
    let ready = once(&"epoll_wait", || unsafe {
        libc::epoll_wait(set.as_raw_fd(), raw.as_mut_ptr(), room, ms)
    });
    let ready = match ready {
        Ok(n) => count(n),
        Err(e) if e.errno == Errno::INTR => 0,
        Err(e) => return Err(e),
    };
    let over = (libc::EPOLLHUP | libc::EPOLLERR).cast_unsigned();
    events.extend(raw.iter().take(ready).map(|event| {
        let (bits, token) = (event.events, event.u64);
        Event {
            token,
            is_hung_up: bits & over != 0,
            is_peer_closed: bits & libc::EPOLLRDHUP.cast_unsigned() != 0,
        }
    }));
    Ok(())
}

/// The portable set: one pollfd per descriptor, found again by its number.
#[derive(Default)]
pub struct PollSet {
    fds: Vec<libc::pollfd>,
    tokens: Vec<u64>,
    once: Vec<bool>,
    /// Place in the three above, by descriptor number.
    places: Vec<Option<usize>>,
}

impl PollSet {
    fn add(&mut self, fd: RawFd, token: u64, interest: Interest, once: bool) {
        if self.place(fd).is_some() {
            return self.arm(fd, token, interest);
        }
        let index = count(fd);
        if self.places.len() <= index {
            self.places.resize(index + 1, None);
        }
        if let Some(place) = self.places.get_mut(index) {
            *place = Some(self.fds.len());
        }
        self.fds.push(libc::pollfd {
            fd,
            events: poll_events(interest),
            revents: 0,
        });
        self.tokens.push(token);
        self.once.push(once);
    }

    fn place(&self, fd: RawFd) -> Option<usize> {
        self.places.get(count(fd)).copied().flatten()
    }

    fn arm(&mut self, fd: RawFd, token: u64, interest: Interest) {
        let Some(place) = self.place(fd) else { return };
        if let (Some(entry), Some(known)) = (self.fds.get_mut(place), self.tokens.get_mut(place)) {
            *entry = libc::pollfd {
                fd,
                events: poll_events(interest),
                revents: 0,
            };
            *known = token;
        }
    }

    fn remove(&mut self, fd: RawFd) {
        let Some(place) = self.place(fd) else { return };
        self.fds.swap_remove(place);
        self.tokens.swap_remove(place);
        self.once.swap_remove(place);
        if let Some(entry) = self.places.get_mut(count(fd)) {
            *entry = None;
        }
        // The last entry has moved here; a silent one is stored as its complement.
        if let Some(moved) = self.fds.get(place) {
            let number = if moved.fd < 0 { !moved.fd } else { moved.fd };
            if let Some(entry) = self.places.get_mut(count(number)) {
                *entry = Some(place);
            }
        }
    }

    fn wait(&mut self, events: &mut Vec<Event>, ms: i32) -> Result<()> {
        let len = self.fds.len() as libc::nfds_t;
        // SAFETY: the array is writable for its length. poll(2) ignores negative descriptors.
        match once(&"poll", || unsafe {
            libc::poll(self.fds.as_mut_ptr(), len, ms)
        }) {
            Ok(_) => {}
            Err(e) if e.errno == Errno::INTR => return Ok(()),
            Err(e) => return Err(e),
        }
        for ((entry, token), once) in self.fds.iter_mut().zip(&self.tokens).zip(&self.once) {
            if entry.revents != 0 {
                let is_hung_up = entry.revents & (libc::POLLHUP | libc::POLLERR) != 0;
                events.push(Event {
                    token: *token,
                    is_hung_up,
                    is_peer_closed: entry.revents & PEER_CLOSED != 0,
                });
                if *once {
                    entry.fd = !entry.fd;
                }
                entry.revents = 0;
            }
        }
        Ok(())
    }
}

fn poll_events(interest: Interest) -> i16 {
    match interest {
        Interest::Read => libc::POLLIN | PEER_CLOSED,
        Interest::Write => libc::POLLOUT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{fd as descriptor, socket};
    use descriptor::AsFd;

    /// Both ways must behave the same.
    fn with_both(test: impl Fn(Readiness)) {
        test(Readiness::new(false).unwrap());
        test(Readiness::new(true).unwrap());
    }

    fn ready(set: &mut Readiness) -> Vec<u64> {
        let mut events = Vec::new();
        set.wait(&mut events, Some(Duration::from_millis(0)))
            .unwrap();
        events.iter().map(|e| e.token).collect()
    }

    #[test]
    fn a_parked_descriptor_is_reported_once_until_it_is_armed_again() {
        with_both(|mut set| {
            let (a, b) = socket::pair().unwrap();
            set.park(a.as_fd(), 7, Interest::Read).unwrap();
            assert!(ready(&mut set).is_empty());
            descriptor::write(b.as_fd(), b"x").unwrap();
            assert_eq!(ready(&mut set), [7]);
            assert!(ready(&mut set).is_empty());
            set.rearm(a.as_fd(), 8, Interest::Read).unwrap();
            assert_eq!(ready(&mut set), [8]);
        });
    }

    #[test]
    fn a_watched_descriptor_is_reported_as_long_as_it_is_ready() {
        with_both(|mut set| {
            let (a, b) = socket::pair().unwrap();
            set.watch(a.as_fd(), 1).unwrap();
            descriptor::write(b.as_fd(), b"x").unwrap();
            assert_eq!(ready(&mut set), [1]);
            assert_eq!(ready(&mut set), [1]);
            set.forget(a.as_fd()).unwrap();
            assert!(ready(&mut set).is_empty());
        });
    }

    #[test]
    fn forgetting_one_leaves_the_others() {
        with_both(|mut set| {
            let pairs: Vec<_> = (0..8).map(|_| socket::pair().unwrap()).collect();
            for (token, (a, b)) in (0..).zip(&pairs) {
                set.park(a.as_fd(), token, Interest::Read).unwrap();
                descriptor::write(b.as_fd(), b"x").unwrap();
            }
            set.forget(pairs[2].0.as_fd()).unwrap();
            set.forget(pairs[0].0.as_fd()).unwrap();
            let mut tokens = ready(&mut set);
            tokens.sort_unstable();
            assert_eq!(tokens, [1, 3, 4, 5, 6, 7]);
            set.rearm(pairs[7].0.as_fd(), 70, Interest::Read).unwrap();
            assert_eq!(ready(&mut set), [70]);
        });
    }
}
