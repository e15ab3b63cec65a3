//! Random numbers.

use super::time;

/// A number that nobody outside can foresee, to key a hash table with.
///
/// Soon after the machine's start the kernel may have no random numbers yet, and this call does not wait for
/// them: then the number comes from the clock and the place of the stack, which is hard to guess.
pub(crate) fn number() -> u64 {
    let mut number = 0_u64;
    if fill(&mut number) {
        return number;
    }
    let place = (&raw const number).addr() as u64;
    place.rotate_left(32) ^ time::now().as_micros()
}

/// getrandom(2).
#[cfg(target_os = "linux")]
fn fill(number: &mut u64) -> bool {
    let (to, bytes) = (std::ptr::from_mut(number).cast(), size_of::<u64>());
    // SAFETY: the number has so many bytes, and any are a number.
    let filled = unsafe { libc::getrandom(to, bytes, libc::GRND_NONBLOCK) };
    usize::try_from(filled) == Ok(bytes)
}

/// getentropy(2).
#[cfg(not(target_os = "linux"))]
fn fill(number: &mut u64) -> bool {
    let (to, bytes) = (std::ptr::from_mut(number).cast(), size_of::<u64>());
    // SAFETY: the number has so many bytes, and any are a number.
    unsafe { libc::getentropy(to, bytes) == 0 }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn no_two_are_the_same() {
        assert_ne!(number(), number());
    }
}
