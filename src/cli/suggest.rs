//! The name that was probably meant.

/// Longest word worth comparing; names are shorter.
const LONGEST: usize = 32;

/// The name nearest to `word`, if one is near: the only one that begins with it, else the first
/// one with the least edits: at most a third of its letters, or two (a swap).
pub(super) fn near(
    word: &[u8],
    names: impl Iterator<Item = &'static str> + Clone,
) -> Option<&'static str> {
    if word.len() >= 3 {
        let mut begun = names
            .clone()
            .filter(|name| name.as_bytes().starts_with(word));
        if let (Some(name), None) = (begun.next(), begun.next()) {
            return Some(name);
        }
    }
    let (edits, name) = names
        .map(|name| (edits(word, name.as_bytes()), name))
        .min_by_key(|(edits, _)| *edits)?;
    let most = (name.len() / 3).max(2).min(word.len() / 2);
    (edits <= most).then_some(name)
}

/// Letters to insert, remove or replace (Levenshtein), one row of the matrix at a time.
fn edits(from: &[u8], to: &[u8]) -> usize {
    if from.len() > LONGEST || to.len() > LONGEST {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, from) in from.iter().enumerate() {
        let mut corner = above;
        let mut left = above + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, to) in row.iter_mut().skip(1).zip(to) {
            let replaced = corner + usize::from(from != to);
            corner = *cell;
            left = replaced.min(corner + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted_as_levenshtein_did() {
        let rows = [
            ("", "", 0),
            ("a", "", 1),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("port", "prot", 2),
            ("port", "port", 0),
        ];
        for (from, to, count) in rows {
            assert_eq!(edits(from.as_bytes(), to.as_bytes()), count, "{from} {to}");
            assert_eq!(edits(to.as_bytes(), from.as_bytes()), count, "{to} {from}");
        }
        assert_eq!(edits(&[b'a'; 33], b"a"), usize::MAX);
    }

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let names = [
            "path",
            "port",
            "workers",
            "max-workers",
            "max-head",
            "max-body",
            "daemon",
        ];
        let rows = [
            ("work", Some("workers")),
            ("worker", Some("workers")),
            ("wrokers", Some("workers")),
            ("pport", Some("port")),
            ("prot", Some("port")),
            ("deamon", Some("daemon")),
            ("max_head", Some("max-head")),
            ("max-", None),
            ("verbose", None),
            ("", None),
            ("x", None),
        ];
        for (word, name) in rows {
            assert_eq!(near(word.as_bytes(), names.iter().copied()), name, "{word}");
        }
    }
}
