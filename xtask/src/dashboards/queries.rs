//! What a `PromQL` query asks for.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow};
use promql_parser::label::MatchOp;
use promql_parser::parser::{self, Expr, LabelModifier, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};

use super::registry::Registry;

/// Grafana's own variables, as durations that `PromQL` can read.
const DURATIONS: [&str; 3] = ["$__rate_interval", "$__range", "$__interval"];

/// A query's selectors and the labels that it groups or joins by.
#[derive(Debug, Default)]
pub struct Query {
    selectors: Vec<VectorSelector>,
    labels: BTreeSet<String>,
}

impl Query {
    /// Reads a query, which may have variables of Grafana's in it.
    pub fn parse(text: &str) -> Result<Self> {
        let text = DURATIONS
            .iter()
            .fold(text.to_owned(), |text, variable| text.replace(variable, "5m"));
        let expression = parser::parse(&text).map_err(|why| anyhow!("not PromQL: {why}"))?;
        let mut query = Self::default();
        walk_expr(&mut query, &expression).map_err(|why| anyhow!("not PromQL: {why:?}"))?;
        Ok(query)
    }

    /// What it asks for and the registry does not have; `shown` are labels that its results are named by.
    pub fn unknown(&self, registry: &Registry, shown: &BTreeSet<String>) -> Vec<String> {
        let mut wrong = Vec::new();
        let names: Vec<&str> = self.metrics().collect();
        if names.len() < self.selectors.len() {
            wrong.push("a selector names no metric".to_owned());
        }
        for name in names.iter().filter(|name| !registry.has(name)) {
            wrong.push(format!("there is no metric {name}"));
        }
        for selector in &self.selectors {
            let Some(name) = selector.name.as_deref().filter(|name| registry.has(name)) else {
                continue;
            };
            for matcher in &selector.matchers.matchers {
                if !registry.has_label(name, &matcher.name) {
                    wrong.push(format!("{name} has no label {}", matcher.name));
                    continue;
                }
                let values: Vec<&str> = match matcher.op {
                    MatchOp::Equal | MatchOp::NotEqual => vec![&matcher.value],
                    MatchOp::Re(_) | MatchOp::NotRe(_) => matcher.value.split('|').collect(),
                };
                // A variable of the dashboard, or a pattern, can be anything.
                let literal = |value: &&&str| !value.contains(['$', '.', '*', '+', '(', '[']);
                for value in values.iter().filter(literal) {
                    if !registry.can_be(name, &matcher.name, value) {
                        wrong.push(format!("{} of {name} is never {value}", matcher.name));
                    }
                }
            }
        }
        for label in self.labels.iter().chain(shown) {
            if !names.iter().any(|name| registry.has_label(name, label)) {
                wrong.push(format!("none of its metrics has the label {label}"));
            }
        }
        wrong
    }

    /// Metrics that it asks for.
    pub fn metrics(&self) -> impl Iterator<Item = &str> {
        self.selectors
            .iter()
            .filter_map(|selector| selector.name.as_deref())
    }

    /// Every one of its selectors has a matcher on this label.
    pub fn always_matches_on(&self, label: &str) -> bool {
        self.selectors.iter().all(|selector| {
            selector
                .matchers
                .matchers
                .iter()
                .any(|matcher| matcher.name == label)
        })
    }

    fn groups_by(&mut self, modifier: Option<&LabelModifier>) {
        if let Some(LabelModifier::Include(labels) | LabelModifier::Exclude(labels)) = modifier {
            self.labels.extend(labels.labels.iter().cloned());
        }
    }
}

impl ExprVisitor for Query {
    type Error = std::convert::Infallible;

    fn pre_visit(&mut self, expression: &Expr) -> Result<bool, Self::Error> {
        match expression {
            Expr::VectorSelector(selector) => self.selectors.push(selector.clone()),
            Expr::MatrixSelector(selector) => self.selectors.push(selector.vs.clone()),
            Expr::Aggregate(aggregate) => self.groups_by(aggregate.modifier.as_ref()),
            Expr::Binary(binary) => {
                let modifier = binary.modifier.as_ref();
                self.groups_by(modifier.and_then(|modifier| modifier.matching.as_ref()));
            }
            _ => {}
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::tests::registry;
    use super::*;

    fn unknown(query: &str) -> Vec<String> {
        let shown = BTreeSet::new();
        Query::parse(query).unwrap().unknown(&registry(), &shown)
    }

    #[test]
    fn given_a_query_of_what_exists_when_checked_then_nothing_is_wrong() {
        for query in [
            "sum by (cause, cluster) (increase(drainwatch_x_total{cause=~\"late|refused\",workload=\"$w\"}[$__rate_interval]))",
            "max_over_time((drainwatch_x_total unless drainwatch_x_total offset 5m)[$__range:1m])",
            "drainwatch_x_total and on (job, instance) process_y",
        ] {
            assert_eq!(unknown(query), [""; 0], "{query}");
        }
    }

    #[test]
    fn given_a_query_of_what_does_not_exist_when_checked_then_each_is_named() {
        for (query, wrong) in [
            ("drainwatch_z_total", "there is no metric drainwatch_z_total"),
            (
                "rate(drainwatch_z_total[5m])",
                "there is no metric drainwatch_z_total",
            ),
            ("process_y{cause=\"late\"}", "process_y has no label cause"),
            (
                "drainwatch_x_total{cause=~\"late|lost\"}",
                "cause of drainwatch_x_total is never lost",
            ),
            (
                "sum by (pod) (process_y)",
                "none of its metrics has the label pod",
            ),
            (
                "process_y / on (pod) process_y",
                "none of its metrics has the label pod",
            ),
            ("{job=\"x\"}", "a selector names no metric"),
        ] {
            assert_eq!(unknown(query), [wrong], "{query}");
        }
        assert!(Query::parse("sum by (").is_err());
    }
}
