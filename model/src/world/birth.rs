//! What the protocol knows of `birth`.

use crate::scoreboard::{Entry, Scoreboard, Slot};
use crate::settings::Settings;

pub struct Birth<'a> {
    pub slot: Slot,
    pub settings: &'a Settings,
    pub scoreboard: &'a Scoreboard,
}

impl<'a> Birth<'a> {
    pub fn entry(&self) -> Entry<'a> {
        self.scoreboard.entry(self.slot)
    }
}
