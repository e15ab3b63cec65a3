//! What the protocol knows of `settings`.

use crate::limits::Limits;
use std::net::IpAddr;

#[derive(Default)]
pub struct Settings {
    pub limits: Limits,
    pub workers: usize,
    pub handlers: Vec<HandlerSettings>,
    pub trusted_proxies: Vec<TrustedProxy>,
}

impl Settings {
    pub fn largest_body(&self) -> u64 {
        0
    }
}

#[derive(Default)]
pub struct HandlerSettings {
    pub name: Vec<u8>,
    pub max_concurrent: Option<usize>,
}

pub struct TrustedProxy;

impl TrustedProxy {
    pub fn is(&self, _peer: Option<IpAddr>) -> bool {
        false
    }
}
