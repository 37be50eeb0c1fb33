//! The chart's values: their defaults, schema and effect.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::render::Renderer;

/// What the chart is rendered with.
pub struct Set {
    /// Name, for people.
    pub name: &'static str,
    /// JSON, merged over the defaults.
    pub changes: &'static str,
}

/// Nothing changed; everything on; everything off.
pub const SETS: &[Set] = &[
    Set {
        name: "the defaults",
        changes: "{}",
    },
    Set {
        name: "everything on",
        changes: r#"{
            "image": {"digest": "sha256:0000000000000000000000000000000000000000000000000000000000000000"},
            "imagePullSecrets": [{"name": "registry"}],
            "serviceAccount": {"annotations": {"a": "b"}},
            "kubernetes": {"events": {"enabled": true}},
            "config": "capture = \"heads\"\n[shutdown]\nstop-signals = [\"USR1\"]\n[[class]]\nname = \"pay\"\npath = \"/pay/**\"\n",
            "extraArgs": ["--web.max-requests=20"],
            "extraEnv": [{"name": "DRAINWATCH_CAPTURE", "value": "none"}],
            "sockets": {"docker": true, "podman": true, "systemd": true},
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]}]}}},
            "networkPolicy": {"enabled": true, "from": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
            "priorityQuota": {"enabled": true},
            "podAnnotations": {"c": "d"},
            "podLabels": {"e": "f"},
            "serviceMonitor": {"enabled": true, "interval": "30s", "scrapeTimeout": "10s", "labels": {"release": "p"}},
            "podMonitor": {"enabled": true, "interval": "30s", "scrapeTimeout": "10s", "labels": {"release": "p"}},
            "prometheusRule": {"enabled": true, "labels": {"release": "p"}},
            "dashboards": {"enabled": true, "annotations": {"folder": "drainwatch"}}
        }"#,
    },
    Set {
        name: "Events without reasons",
        changes: r#"{"kubernetes": {"reasons": {"enabled": false}, "events": {"enabled": true}}}"#,
    },
    Set {
        name: "the last upgrade before it is removed",
        changes: r#"{"pins": {"remove": true}}"#,
    },
    Set {
        name: "as little as possible",
        changes: r#"{
            "serviceAccount": {"create": false, "name": "there-already"},
            "rbac": {"create": false},
            "kubernetes": {"enabled": false},
            "state": {"enabled": false},
            "pins": {"enabled": false},
            "priorityClassName": "",
            "tolerations": []
        }"#,
    },
];

/// What the schema must refuse.
const BAD: &[&str] = &[
    r#"{"prot": 9669}"#,
    r#"{"port": "9669"}"#,
    r#"{"port": 80}"#,
    r#"{"image": {"repository": ""}}"#,
    r#"{"image": {"digest": "latest"}}"#,
    r#"{"image": {"tag": "a b"}}"#,
    r#"{"image": {"pullPolicy": "Sometimes"}}"#,
    r#"{"log": {"level": "loud"}}"#,
    r#"{"config": {"web": {}}}"#,
    r#"{"state": {"hostPath": "relative"}}"#,
    r#"{"state": {"hostPath": "/"}}"#,
    r#"{"pins": true}"#,
    r#"{"extraArgs": ["run"]}"#,
    r#"{"extraEnv": [{"value": "x"}]}"#,
    r#"{"terminationGracePeriodSeconds": 0}"#,
    r#"{"terminationGracePeriodSeconds": 1000000}"#,
    r#"{"serviceAccount": {"name": "a: b"}}"#,
    r#"{"seccompProfile": {"type": "None"}}"#,
    r#"{"serviceMonitor": {"interval": "often"}}"#,
    r#"{"podLabels": {"a": 1}}"#,
    r#"{"fullnameOverride": "Upper_Case"}"#,
    r#"{"kubernetes": {"events": true}}"#,
    r#"{"networkPolicy": {"from": [{}]}}"#,
    r#"{"networkPolicy": {"from": "monitoring"}}"#,
    r#"{"priorityQuota": {"pods": 0}}"#,
];

/// `values.yaml`.
pub fn defaults() -> Result<Value> {
    let text = super::read(&super::chart().join("values.yaml"))?;
    serde_saphyr::from_str(&text).context("values.yaml")
}

impl Set {
    /// The defaults with the changes.
    pub fn values(&self) -> Result<Value> {
        let mut values = defaults()?;
        merge(
            &mut values,
            serde_json::from_str(self.changes).context(self.name)?,
        );
        ensure!(schema()?.is_valid(&values), "{}: not valid", self.name);
        Ok(values)
    }
}

/// As Helm merges: objects key by key, all else whole.
fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, changes) => *into = changes,
    }
}

fn schema() -> Result<jsonschema::Validator> {
    let text = super::read(&super::chart().join("values.schema.json"))?;
    let schema: Value = serde_json::from_str(&text).context("values.schema.json")?;
    jsonschema::draft7::meta::validate(&schema)
        .map_err(|error| anyhow::anyhow!("values.schema.json: {error}"))?;
    jsonschema::draft7::new(&schema).map_err(|error| anyhow::anyhow!("values.schema.json: {error}"))
}

/// The defaults are valid; each value has its comment and its place in the schema, and the schema has no other.
pub fn described() -> Result<()> {
    let values = defaults()?;
    if let Err(error) = schema()?.validate(&values) {
        anyhow::bail!("values.yaml: {}: {error}", error.instance_path);
    }
    let text = super::read(&super::chart().join("values.yaml"))?;
    let without: Vec<String> = leaves(&values)
        .iter()
        .filter(|path| !has_comment(&text, path))
        .map(|path| path.join("."))
        .collect();
    ensure!(
        without.is_empty(),
        "without `# --` comment: {}",
        without.join(", ")
    );
    let schema: Value =
        serde_json::from_str(&super::read(&super::chart().join("values.schema.json"))?).context("schema")?;
    let properties = schema["properties"]
        .as_object()
        .context("the schema has properties")?;
    let known: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
    let mut there: BTreeSet<&str> = values
        .as_object()
        .context("values are a map")?
        .keys()
        .map(String::as_str)
        .collect();
    // Helm hands it to every chart.
    there.insert("global");
    ensure!(
        known == there,
        "schema and values differ: {:?}",
        known.symmetric_difference(&there)
    );
    Ok(())
}

/// Whether the line of the value, or of a part of it that is described as a whole, comes after a comment.
fn has_comment(text: &str, path: &[String]) -> bool {
    let mut lines = text.lines().enumerate();
    let all: Vec<&str> = text.lines().collect();
    let mut described = false;
    for (depth, key) in path.iter().enumerate() {
        let start = format!("{}{key}:", "  ".repeat(depth));
        let Some((number, _)) = lines.find(|(_, line)| line.starts_with(&start)) else {
            return false;
        };
        described |= number > 0 && all[number - 1].trim_start().starts_with("# -- ");
    }
    described
}

/// Paths of values that are no maps, or are empty ones.
fn leaves(value: &Value) -> Vec<Vec<String>> {
    let Value::Object(map) = value else {
        return vec![vec![]];
    };
    if map.is_empty() {
        return vec![vec![]];
    }
    map.iter()
        .flat_map(|(key, value)| {
            leaves(value).into_iter().map(move |mut path| {
                path.insert(0, key.clone());
                path
            })
        })
        .collect()
}

/// The schema refuses each of them.
pub fn bad_ones_refused() -> Result<()> {
    let schema = schema()?;
    for changes in BAD {
        let mut values = defaults()?;
        merge(&mut values, serde_json::from_str(changes).context(*changes)?);
        ensure!(!schema.is_valid(&values), "taken: {changes}");
    }
    Ok(())
}

/// Another value gives other manifests, whatever it is of.
pub fn used(renderer: &Renderer) -> Result<()> {
    let everything = SETS[1].values()?;
    let mut without_digest = everything.clone();
    without_digest["image"]["digest"] = json!("");
    let mut idle = Vec::new();
    for path in leaves(&defaults()?) {
        // A digest hides the tag.
        let base = if path.last().is_some_and(|key| key == "tag") {
            &without_digest
        } else {
            &everything
        };
        let mut values = base.clone();
        let mut at = &mut values;
        for key in &path {
            at = at
                .get_mut(key)
                .with_context(|| format!("no value {}", path.join(".")))?;
        }
        *at = other(at);
        let [before, after] =
            [base, &values].map(|values| renderer.render(values, "drainwatch", "drainwatch", "Helm"));
        if before? == after? {
            idle.push(path.join("."));
        }
    }
    ensure!(idle.is_empty(), "without effect: {}", idle.join(", "));
    Ok(())
}

fn other(value: &Value) -> Value {
    match value {
        Value::Bool(value) => json!(!value),
        Value::Number(number) => json!(number.as_i64().unwrap_or_default() + 1),
        Value::String(text) => json!(format!("{text}x")),
        Value::Array(items) if items.is_empty() => json!(["other"]),
        Value::Array(_) => json!([]),
        Value::Object(map) if map.is_empty() => json!({"other": "value"}),
        Value::Object(_) => json!({}),
        Value::Null => json!("other"),
    }
}

/// Pods are replaced when their configuration changes.
pub fn checksum(renderer: &Renderer) -> Result<()> {
    let render = |config: &str| -> Result<String> {
        let mut values = defaults()?;
        values["config"] = json!(config);
        let mut all = renderer.render(&values, "drainwatch", "drainwatch", "Helm")?;
        all.remove("templates/daemonset.yaml").context("no daemonset")
    };
    ensure!(
        render("capture = \"none\"")? != render("capture = \"heads\"")?,
        "the daemonset is the same"
    );
    Ok(())
}
