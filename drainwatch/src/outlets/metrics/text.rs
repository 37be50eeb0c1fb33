//! The text format, written line by line: a node has tens of thousands of series, and nobody reads a tree of them.

use std::fmt::{Display, Write as _};

/// A family that is being written; one without a series leaves no trace.
pub struct Family<'a> {
    out: &'a mut String,
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    begun: bool,
}

impl<'a> Family<'a> {
    /// To be appended to `out`.
    pub fn new(out: &'a mut String, name: &'static str, help: &'static str, kind: &'static str) -> Self {
        Self {
            out,
            name,
            help,
            kind,
            begun: false,
        }
    }

    /// One series; `suffix` is a histogram's.
    pub fn line<'l>(
        &mut self,
        suffix: &str,
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
        value: impl Display,
    ) {
        let Self { name, help, kind, .. } = *self;
        if !self.begun {
            self.begun = true;
            // Writing to a string cannot fail.
            let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
        self.out.push_str(name);
        self.out.push_str(suffix);
        let mut before = '{';
        for (label, value) in labels {
            self.out.push(before);
            before = ',';
            self.out.push_str(label);
            self.out.push_str("=\"");
            escape(value, self.out);
            self.out.push('"');
        }
        if before == ',' {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }
}

fn escape(value: &str, out: &mut String) {
    if !value.contains(['\\', '"', '\n']) {
        out.push_str(value);
        return;
    }
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_series_when_written_then_the_family_is_told_of_once_and_values_are_escaped() {
        let mut out = String::new();
        let mut family = Family::new(&mut out, "x_total", "Of x.", "counter");
        family.line("", [("a", "1\"\\\n"), ("b", "")], 3);
        family.line("_sum", [], 0.5);
        assert_eq!(
            out,
            "# HELP x_total Of x.\n# TYPE x_total counter\nx_total{a=\"1\\\"\\\\\\n\",b=\"\"} 3\nx_total_sum 0.5\n"
        );
    }

    #[test]
    fn given_no_series_when_written_then_there_is_no_family() {
        let mut out = String::new();
        let _unwritten = Family::new(&mut out, "x_total", "Of x.", "counter");
        assert_eq!(out, "");
    }
}
