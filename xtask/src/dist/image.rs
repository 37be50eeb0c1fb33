//! The image, as an OCI archive, made without a registry: the agent, the libraries that it is linked with, the
//! certificates that this machine trusts, and nothing else.
//!
//! `deploy/Dockerfile` makes the same of a base image; the release workflow publishes that one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{REPOSITORY, VERSION, commit_time, debian_architecture, hash};
use crate::shell;

/// Copied from this machine, where the agent looks for them.
const COPIES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/usr/share/doc/libc6/copyright",
    "/usr/share/doc/libgcc-s1/copyright",
    "/usr/share/doc/ca-certificates/copyright",
];
/// Written: whose processes it has, and that names are asked of DNS.
const WRITTEN: &[(&str, &str)] = &[
    ("etc/passwd", "root:x:0:0:root:/:/sbin/nologin\n"),
    ("etc/group", "root:x:0:\n"),
    ("etc/nsswitch.conf", "hosts: files dns\n"),
];

/// What the image is called in `target/packages`.
pub fn name() -> String {
    format!("drainwatch-{VERSION}-{}.oci.tar", debian_architecture())
}

/// Writes it.
pub fn write(program: &Path, to: &Path) -> Result<()> {
    let work = tempfile::tempdir().context("a directory for the image")?;
    let root = work.path().join("root");
    fill(program, &root)?;
    let layout = Layout::create(work.path().join("oci"))?;
    let layer = work.path().join("layer.tar");
    super::tar(&root, &layer)?;
    let uncompressed = hash(&layer)?;
    shell::run(Command::new("gzip").args(["--best", "--no-name"]).arg(&layer))?;
    let layer = layout.add("layer.v1.tar+gzip", &fs::read(work.path().join("layer.tar.gz"))?)?;
    let config = layout.add("config.v1+json", config(&uncompressed)?.to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
        "annotations": labels()?,
    });
    let mut manifest = layout.add("manifest.v1+json", manifest.to_string().as_bytes())?;
    manifest["platform"] = json!({"architecture": debian_architecture(), "os": "linux"});
    // By the first containerd knows the whole name; by the second everybody the tag.
    manifest["annotations"] = json!({
        "io.containerd.image.name": format!("{REPOSITORY}:{VERSION}"),
        "org.opencontainers.image.ref.name": VERSION,
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    fs::write(layout.directory.join("index.json"), index.to_string())?;
    fs::write(
        layout.directory.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    super::tar(&layout.directory, &to.join(name()))
}

/// Lays out the image's root.
fn fill(program: &Path, root: &Path) -> Result<()> {
    let put = |from: &Path, to: &Path| -> Result<()> {
        let to = root.join(to);
        fs::create_dir_all(to.parent().context("a file is in a directory")?)?;
        fs::copy(from, &to).with_context(|| format!("copying {}", from.display()))?;
        Ok(())
    };
    put(program, Path::new("usr/local/bin/drainwatch"))?;
    // As distributions with a merged /usr have them.
    fs::create_dir_all(root.join("usr/lib64"))?;
    fs::create_dir_all(root.join("usr/lib"))?;
    for (name, target) in [("lib", "usr/lib"), ("lib64", "usr/lib64")] {
        symlink(target, root.join(name)).with_context(|| format!("linking {name}"))?;
    }
    for library in libraries(program)? {
        let below = library.strip_prefix("/").unwrap_or(&library);
        put(
            &library,
            &Path::new("usr").join(below.strip_prefix("usr").unwrap_or(below)),
        )?;
    }
    for copied in COPIES {
        put(Path::new(copied), Path::new(copied.trim_start_matches('/')))?;
    }
    for (name, text) in WRITTEN {
        fs::write(root.join(name), text).with_context(|| format!("writing {name}"))?;
    }
    Ok(())
}

/// Paths of the libraries that it is linked with.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let told = shell::output(Command::new("ldd").arg(program))?;
    let found: Vec<PathBuf> = told
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect();
    ensure!(!found.is_empty(), "{} is linked with nothing", program.display());
    Ok(found)
}

/// What the runtime is to know; the same as in `deploy/Dockerfile`.
fn config(layer: &str) -> Result<Value> {
    Ok(json!({
        "architecture": debian_architecture(),
        "os": "linux",
        "created": created()?,
        "config": {
            "User": "0:0",
            "Entrypoint": ["/usr/local/bin/drainwatch"],
            "Cmd": ["run", "--web.listen-address", ":9669"],
            "Env": ["PATH=/usr/local/bin"],
            "ExposedPorts": {"9669/tcp": {}},
            "Labels": labels()?,
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
        "history": [{"created": created()?, "created_by": "cargo xtask dist"}],
    }))
}

fn labels() -> Result<BTreeMap<&'static str, String>> {
    Ok(BTreeMap::from([
        ("org.opencontainers.image.created", created()?),
        ("org.opencontainers.image.licenses", "Apache-2.0".to_owned()),
        (
            "org.opencontainers.image.source",
            env!("CARGO_PKG_REPOSITORY").to_owned(),
        ),
        ("org.opencontainers.image.title", "drainwatch".to_owned()),
        ("org.opencontainers.image.version", VERSION.to_owned()),
    ]))
}

/// The commit's time, as RFC 3339 has it.
fn created() -> Result<String> {
    let mut date = Command::new("date");
    date.args(["--utc", "+%Y-%m-%dT%H:%M:%SZ", "--date"])
        .arg(format!("@{}", commit_time()));
    Ok(shell::output(&mut date)?.trim().to_owned())
}

/// The archive's directory: everything by its hash.
struct Layout {
    directory: PathBuf,
}

impl Layout {
    fn create(directory: PathBuf) -> Result<Self> {
        fs::create_dir_all(directory.join("blobs/sha256")).context("creating the image's layout")?;
        Ok(Self { directory })
    }

    /// Adds a blob, and describes it.
    fn add(&self, kind: &str, bytes: &[u8]) -> Result<Value> {
        let blobs = self.directory.join("blobs/sha256");
        let nameless = blobs.join("new");
        fs::write(&nameless, bytes).context("writing a blob")?;
        let hash = hash(&nameless)?;
        fs::rename(&nameless, blobs.join(&hash)).context("naming a blob")?;
        Ok(json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{hash}"),
            "size": bytes.len(),
        }))
    }
}
