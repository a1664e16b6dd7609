//! What was measured, as a table of medians and of how many times faster larder is than each.

use super::load::Work;

/// What is compared in one line.
#[derive(Clone, Copy, PartialEq)]
pub struct Cell<'a> {
    pub transport: &'a str,
    pub work: Work,
    pub tasks: usize,
}

impl Cell<'_> {
    /// Whether its name contains every one of these texts.
    pub fn is_among(&self, wanted: &[String]) -> bool {
        let name = format!("{} {} {} tasks", self.transport, self.work.name(), self.tasks);
        wanted.iter().all(|text| name.contains(text))
    }

    fn name(&self) -> String {
        format!("{:<12} {:<16} {:>4} tasks", self.transport, self.work.name(), self.tasks)
    }
}

struct Row {
    cell: String,
    client: &'static str,
    rates: Vec<f64>,
}

#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
    /// For each cell, how many times faster larder is than the best of the others.
    ratios: Vec<(String, f64)>,
}

impl Table {
    /// Notes the operations per second of one round.
    pub fn note(&mut self, cell: &Cell<'_>, client: &'static str, rate: f64) {
        let cell = cell.name();
        match self.rows.iter_mut().find(|row| row.cell == cell && row.client == client) {
            Some(row) => row.rates.push(rate),
            None => self.rows.push(Row { cell, client, rates: vec![rate] }),
        }
    }

    /// Prints a line: thousands of operations per second, and larder's times in brackets.
    pub fn print(&mut self, cell: &Cell<'_>) {
        let cell = cell.name();
        let rates: Vec<(&str, f64)> =
            self.rows.iter().filter(|row| row.cell == cell).map(|row| (row.client, median(&row.rates))).collect();
        let of_larder = rates.iter().find(|(client, _)| *client == "larder").map_or(0.0, |(_, rate)| *rate);
        let mut line = format!("{cell}  larder {:>8.2}", of_larder / 1000.0);
        let mut best = 0.0_f64;
        for (client, rate) in rates.iter().filter(|(client, _)| *client != "larder") {
            line += &format!("  {client} {:>8.2} ({:.2}x)", rate / 1000.0, of_larder / rate);
            // Goals are against the clients of Rust.
            if *client != "pylibmc" {
                best = best.max(*rate);
            }
        }
        println!("{line}");
        self.ratios.push((cell, of_larder / best));
    }

    pub fn print_verdict(&self) {
        println!("\nThousands of operations per second, medians; in brackets how many times as many larder does.");
        println!("Beside the best other client of Rust:");
        for (cell, ratio) in self.ratios.iter().filter(|(cell, _)| cell.contains("256") && cell.contains("et 1 KiB")) {
            println!("  {cell}  {ratio:.2}x (goal: 1.60x)");
        }
        if let Some((cell, ratio)) = self.ratios.iter().min_by(|(_, one), (_, other)| one.total_cmp(other)) {
            println!("  the least: {cell}  {ratio:.2}x (goal: 0.90x)");
        }
    }
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
