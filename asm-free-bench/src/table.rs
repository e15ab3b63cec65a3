//! The table on stdout, printed row by row: a run that fails shows what it has measured.

use crate::samples::Samples;

const NAME: usize = 50;

/// The columns.
pub(crate) fn print_heading() {
    println!(
        "{:NAME$}{:>10}{:>10}{:>11}  rate",
        "", "p50 µs", "p99 µs", "max µs"
    );
}

/// A line above the rows of one kind.
pub(crate) fn print_section(title: &str) {
    println!("\n{title}");
}

/// A row of samples; `rate` may be empty.
pub(crate) fn print_row(name: &str, samples: &Samples, rate: &str) {
    let [p50, p99, max] = [
        samples.percentile(50),
        samples.percentile(99),
        samples.max(),
    ]
    .map(micros);
    print_cells(name, [&p50, &p99, &max], rate);
}

/// The difference of two p50. Those of p99 and max are of different rounds and mean nothing. What
/// is below `floor` cannot be true: the two were not measured under the same conditions.
pub(crate) fn print_difference(name: &str, whole: &Samples, part: &Samples, floor: &Samples) {
    let [whole, part, floor] = [whole, part, floor].map(|samples| samples.percentile(50));
    let sign = if whole < part { "-" } else { "" };
    let text = format!("{sign}{}", micros(whole.abs_diff(part)));
    let remark = if whole < part.saturating_add(floor) {
        "INVALID: below the bare one way, see README"
    } else {
        ""
    };
    print_cells(name, [&text, "-", "-"], remark);
}

/// A row that is only a rate.
pub(crate) fn print_rate(name: &str, rate: &str) {
    print_cells(name, ["-"; 3], rate);
}

fn print_cells(name: &str, [p50, p99, max]: [&str; 3], rate: &str) {
    let line = format!(
        "  {name:width$}{p50:>10}{p99:>10}{max:>11}  {rate}",
        width = NAME - 2
    );
    println!("{}", line.trim_end());
}

/// Below 10 µs with three places: the parsers take less than one.
fn micros(nanos: u64) -> String {
    let (whole, rest) = (nanos / 1_000, nanos % 1_000);
    if whole < 10 {
        format!("{whole}.{rest:03}")
    } else {
        format!("{whole}.{}", rest / 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn micros_have_places_where_they_matter() {
        assert_eq!(micros(86), "0.086");
        assert_eq!(micros(9_999), "9.999");
        assert_eq!(micros(12_345), "12.3");
    }
}
