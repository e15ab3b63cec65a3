//! What the machine has, as far as this process may use it.

#[cfg(not(target_os = "linux"))]
use super::call::Error;
use super::call::{Result, count, once};
#[cfg(not(target_os = "linux"))]
use super::errno::Errno;
use std::num::NonZero;

/// CPUs that this process may run on; where the system does not say, those that are online.
pub fn cpus() -> NonZero<usize> {
    let found = allowed_cpus().or_else(|_| configured(libc::_SC_NPROCESSORS_ONLN));
    found
        .ok()
        .and_then(NonZero::new)
        .unwrap_or(NonZero::<usize>::MIN)
}

/// sched_getaffinity(2); EINVAL on a machine with more than 1024 CPUs.
#[cfg(target_os = "linux")]
fn allowed_cpus() -> Result<usize> {
    // SAFETY: a set of bits, all of which may be zero.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most the size of the set.
    once(&"sched_getaffinity", || unsafe {
        libc::sched_getaffinity(0, size_of_val(&set), &raw mut set)
    })?;
    // SAFETY: reads the set.
    Ok(count(unsafe { libc::CPU_COUNT(&set) }))
}

#[cfg(not(target_os = "linux"))]
fn allowed_cpus() -> Result<usize> {
    Err(Error::new(&"sched_getaffinity", Errno::NOSYS))
}

/// sysconf(3): bytes of the machine's memory.
pub(crate) fn memory() -> Result<u64> {
    let pages = configured(libc::_SC_PHYS_PAGES)? as u64;
    let size = configured(libc::_SC_PAGESIZE)? as u64;
    Ok(pages.saturating_mul(size))
}

fn configured(what: i32) -> Result<usize> {
    // SAFETY: takes an integer.
    once(&"sysconf", || unsafe { libc::sysconf(what) }).map(count)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn only_the_cpus_that_may_be_used_count() {
        // SAFETY: a set of bits, all of which may be zero.
        let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: takes nothing.
        let here = usize::try_from(unsafe { libc::sched_getcpu() }).unwrap();
        // SAFETY: writes into the set, and panics for a CPU that it has no room for.
        unsafe { libc::CPU_SET(here, &mut one) };
        // SAFETY: reads the set. It is this thread that is bound, and it ends with the test.
        let bound = unsafe { libc::sched_setaffinity(0, size_of_val(&one), &raw const one) };
        assert_eq!(bound, 0);
        assert_eq!(cpus().get(), 1);
    }
}
