//! What `/metrics` says.

use std::collections::BTreeMap;

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Metric name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

/// Every series of an exposition.
pub fn series(exposition: &str) -> Vec<Series> {
    exposition.lines().filter_map(line).collect()
}

/// Sum of all series of a metric; 0 for one that is not there.
pub fn sum(exposition: &str, name: &str) -> f64 {
    let of_it = series(exposition)
        .into_iter()
        .filter(|series| series.name == name);
    of_it.map(|series| series.value).sum()
}

/// Probes that do not work.
pub fn degraded(exposition: &str) -> Vec<String> {
    let broken = series(exposition)
        .into_iter()
        .filter(|series| series.name == "drainwatch_probe_status" && series.value < 1.0);
    broken
        .filter_map(|mut series| series.labels.remove("probe"))
        .collect()
}

/// `name{a="b"} 1` → a series. Comments and empty lines give none.
fn line(line: &str) -> Option<Series> {
    if line.starts_with('#') {
        return None;
    }
    let (identity, value) = line.rsplit_once(' ')?;
    let (name, labels) = identity.split_once('{').unwrap_or((identity, "}"));
    let labels = labels
        .trim_end_matches('}')
        .split("\",")
        .filter_map(|pair| pair.split_once("=\""))
        .map(|(key, value)| (key.to_owned(), value.trim_end_matches('"').to_owned()))
        .collect();
    Some(Series {
        name: name.to_owned(),
        labels,
        value: value.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_line_of_the_text_format_then_its_labels_are_taken_apart() {
        let seen = line(r#"drainwatch_shutdowns_total{trigger="stop",workload="/a,b"} 2"#).unwrap();
        assert_eq!(seen.name, "drainwatch_shutdowns_total");
        assert_eq!(seen.labels["workload"], "/a,b");
        assert_eq!(seen.labels["trigger"], "stop");
        assert!((seen.value - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn given_a_comment_then_there_is_no_series() {
        assert_eq!(line("# HELP drainwatch_shutdowns_total Shutdowns 1"), None);
    }

    #[test]
    fn given_an_exposition_when_summed_then_all_series_of_the_metric_count_and_no_others() {
        let text = "# TYPE a_total counter\na_total{x=\"1\"} 2\na_total{x=\"b c\"} 3\na_total_more 9\nb 7\n";
        assert!((sum(text, "a_total") - 5.0).abs() < f64::EPSILON);
        assert!((sum(text, "b") - 7.0).abs() < f64::EPSILON);
        assert!(sum(text, "c").abs() < f64::EPSILON);
    }

    #[test]
    fn given_probes_that_work_and_one_that_does_not_then_that_one_is_degraded() {
        let text = "drainwatch_probe_status{probe=\"oom\"} 0\ndrainwatch_probe_status{probe=\"seed\"} 1\n";
        assert_eq!(degraded(text), ["oom"]);
    }
}
