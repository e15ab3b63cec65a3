//! Values that are good alone and have no effect together. Pure.

use super::Settings;
use crate::limits::Limits;
use crate::text;

/// A limit's name and value.
type Named<'n> = (&'n str, u64);

/// Adds a line if a value lies beyond what another one lets come.
fn compare(found: &mut Vec<String>, show: fn(u64) -> String, value: Named<'_>, most: Named<'_>) {
    if value.1 > most.1 {
        let (what, value, limit, most) = (value.0, show(value.1), most.0, show(most.1));
        found.push(format!(
            "{what} ({value}) has no effect beyond {limit} ({most})"
        ));
    }
}

/// A line for each that was set and has no effect. `spool_total`: as it is, if it was not set; a default
/// that is more than this holds is told too.
pub(crate) fn contradictions(settings: &Settings, spool_total: u64) -> Vec<String> {
    let (limits, usual) = (&settings.limits, Limits::default());
    let mut found = Vec::new();
    let if_set = |value: u64, default: u64| if value == default { 0 } else { value };
    let count = |given: Option<usize>| given.unwrap_or(0) as u64;
    let total = ("max-spool-total", spool_total);
    let head = ("max-head", limits.max_head as u64);
    let target = limits.max_target as u64;
    let quarter = ("a quarter of max-spool-total", spool_total / 4);
    let spool = if_set(limits.max_spool, usual.max_spool);
    let in_memory = limits.max_spool_memory.unwrap_or(0);
    for (value, most) in [
        (("max-body", limits.max_body), total),
        (("max-spool", spool), quarter),
        (("max-spool-memory", in_memory), total),
        (("max-target", target), head),
    ] {
        compare(&mut found, text::size, value, most);
    }
    let workers = limits.max_workers.unwrap_or(settings.workers * 8);
    let workers = ("max-workers", workers.max(settings.workers) as u64);
    let at_a_time = ("max-concurrent", count(limits.max_concurrent));
    let own = count(limits.max_connections_per_address);
    let own = ("max-connections-per-address", own);
    let all = limits.max_connections.unwrap_or(usize::MAX) as u64;
    let number = |n: u64| n.to_string();
    compare(&mut found, number, at_a_time, workers);
    compare(&mut found, number, own, ("max-connections", all));
    for handler in &settings.handlers {
        let name = String::from_utf8_lossy(&handler.name);
        let body = format!("[handler {name}] max-body");
        let body = (body.as_str(), handler.max_body.unwrap_or(0));
        compare(&mut found, text::size, body, total);
        let at_a_time = format!("[handler {name}] max-concurrent");
        let at_a_time = (at_a_time.as_str(), count(handler.max_concurrent));
        compare(&mut found, number, at_a_time, workers);
    }
    found
}
