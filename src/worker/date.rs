//! The Date of responses.

use crate::http::imf_fixdate;
use crate::sys::time;

/// Date of responses, made anew once a second.
#[derive(Default)]
pub(crate) struct DateCache {
    second: u64,
    text: Option<[u8; 29]>,
}

impl DateCache {
    pub(super) fn now(&mut self) -> [u8; 29] {
        let second = u64::try_from(time::unix_ms() / 1000).unwrap_or(0);
        match self.text {
            Some(text) if second == self.second => text,
            _ => {
                let text = imf_fixdate(second);
                (self.second, self.text) = (second, Some(text));
                text
            }
        }
    }
}
