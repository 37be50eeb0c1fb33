//! The chart, rendered.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;

/// The built renderer.
pub struct Renderer(PathBuf);

impl Renderer {
    /// Builds it, with Debian's packages as its dependencies.
    pub fn build() -> Result<Self> {
        let program = shell::target().join("helm-render");
        let mut go = Command::new("go");
        go.args(["build", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(super::directory().join("helm/render"))
            .env("GO111MODULE", "off")
            .env("GOPATH", "/usr/share/gocode");
        shell::output(&mut go)?;
        Ok(Self(program))
    }

    /// Template to text.
    pub fn render(
        &self,
        values: &Value,
        release: &str,
        namespace: &str,
        service: &str,
    ) -> Result<BTreeMap<String, String>> {
        let mut child = Command::new(&self.0)
            .arg(super::chart())
            .args([release, namespace, service])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.0.display()))?;
        let mut stdin = child.stdin.take().context("the child's stdin is piped")?;
        stdin
            .write_all(values.to_string().as_bytes())
            .context("handing over the values")?;
        drop(stdin);
        let output = child.wait_with_output().context("waiting for the renderer")?;
        if !output.status.success() {
            bail!("rendering: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).context("the renderer's answer is no JSON")
    }
}
