//! The Date field's value (RFC 9110 section 5.6.7) of a point in time.
//!
//! Pure arithmetic; refuses to read a clock or to parse a date.

use crate::calendar;

const DAY_NAMES: &[u8; 21] = b"ThuFriSatSunMonTueWed";
const MONTH_NAMES: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
/// 9999-12-31 23:59:59, the last second that four digits of a year can say.
const LAST_SECOND: u64 = 253_402_300_799;

/// `seconds` since 1970-01-01 00:00:00 UTC as IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`.
///
/// Times after the year 9999 are given as its last second.
#[must_use]
pub fn imf_fixdate(seconds: u64) -> [u8; 29] {
    let seconds = seconds.min(LAST_SECOND);
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = calendar::civil(days.cast_signed());
    let [year, month, day] = [year, month, day].map(i64::unsigned_abs);
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    // 1970-01-01 was a Thursday.
    put_name(&mut text, 0, DAY_NAMES, days % 7);
    put_digits(&mut text, 5, day);
    put_name(&mut text, 8, MONTH_NAMES, month - 1);
    put_digits(&mut text, 12, year / 100);
    put_digits(&mut text, 14, year % 100);
    put_digits(&mut text, 17, second_of_day / 3600);
    put_digits(&mut text, 20, second_of_day / 60 % 60);
    put_digits(&mut text, 23, second_of_day % 60);
    text
}

fn put_name(text: &mut [u8; 29], at: usize, names: &[u8], index: u64) {
    let name = names.iter().skip(3 * usize::try_from(index).unwrap_or(0));
    for (place, letter) in text.iter_mut().skip(at).take(3).zip(name) {
        *place = *letter;
    }
}

fn put_digits(text: &mut [u8; 29], at: usize, value: u64) {
    for (place, digit) in text.iter_mut().skip(at).zip([value / 10, value % 10]) {
        *place = b'0' + u8::try_from(digit % 10).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants_have_their_known_dates() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), // RFC 9110 5.6.7
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_000_000_000, "Sun, 09 Sep 2001 01:46:40 GMT"),
            (2_147_483_647, "Tue, 19 Jan 2038 03:14:07 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST_SECOND, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(String::from_utf8_lossy(&imf_fixdate(seconds)), expected);
        }
    }
}
