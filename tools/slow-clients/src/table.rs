//! What was measured, in rows, and whether it is within its bound.

/// What a row says of its figure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    Ok,
    Miss,
    /// Shown for the reader; nothing is demanded of it, or not on this run.
    Shown,
    /// Not run: nothing was shown.
    NotRun,
}

struct Row {
    scenario: &'static str,
    what: String,
    figure: String,
    bound: String,
    judgement: Judgement,
}

/// All rows.
pub struct Table {
    rows: Vec<Row>,
    scenario: &'static str,
    judges_time: bool,
}

impl Table {
    /// `judges_time`: times and ratios of times are judged, not only shown.
    pub fn new(judges_time: bool) -> Self {
        Self {
            rows: Vec::new(),
            scenario: "",
            judges_time,
        }
    }

    /// The rows that follow belong to this scenario.
    pub fn begin(&mut self, scenario: &'static str) {
        self.scenario = scenario;
        eprintln!("{scenario} ...");
    }

    fn add(&mut self, what: &str, figure: String, bound: &str, judgement: Judgement) {
        eprintln!("  {what}: {figure}");
        self.rows.push(Row {
            scenario: self.scenario,
            what: what.to_owned(),
            figure,
            bound: bound.to_owned(),
            judgement,
        });
    }

    /// A figure that does not depend on how fast the machine is.
    pub fn check(&mut self, what: &str, figure: impl ToString, bound: &str, is_good: bool) {
        let judgement = if is_good {
            Judgement::Ok
        } else {
            Judgement::Miss
        };
        self.add(what, figure.to_string(), bound, judgement);
    }

    /// A time, or a ratio of times.
    pub fn time(&mut self, what: &str, figure: impl ToString, bound: &str, is_good: bool) {
        if self.judges_time {
            self.check(what, figure, bound, is_good);
        } else {
            self.add(what, figure.to_string(), bound, Judgement::Shown);
        }
    }

    /// For the reader only.
    pub fn show(&mut self, what: &str, figure: impl ToString) {
        self.add(what, figure.to_string(), "", Judgement::Shown);
    }

    /// Could not be run here.
    pub fn not_run(&mut self, what: &str, why: &str) {
        self.add(what, why.to_owned(), "", Judgement::NotRun);
    }

    /// Everything that was judged is as it should be.
    pub fn is_good(&self) -> bool {
        self.rows.iter().all(|row| row.judgement != Judgement::Miss)
    }

    /// Prints the table.
    pub fn print(&self) {
        let widest = |of: fn(&Row) -> &str, least: usize| {
            let widths = self.rows.iter().map(|row| of(row).chars().count());
            widths.max().unwrap_or(0).max(least)
        };
        let scenario = widest(|row| row.scenario, 8);
        let what = widest(|row| &row.what, 12);
        let figure = widest(|row| &row.figure, 6);
        let bound = widest(|row| &row.bound, 5);
        println!(
            "{:scenario$}  {:what$}  {:>figure$}  {:bound$}  verdict",
            "scenario", "what", "figure", "bound"
        );
        for row in &self.rows {
            let verdict = match row.judgement {
                Judgement::Ok => "ok",
                Judgement::Miss => "MISS",
                Judgement::Shown => "-",
                Judgement::NotRun => "not run",
            };
            println!(
                "{:scenario$}  {:what$}  {:>figure$}  {:bound$}  {verdict}",
                row.scenario, row.what, row.figure, row.bound
            );
        }
    }
}
