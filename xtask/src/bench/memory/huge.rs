//! Transparent huge pages for the time of a measurement.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

const SETTING: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// Wherever a process has room for one, as Debian's kernels are set. The setting before comes back when this is dropped,
/// or this process ends, however it does: a shell waits for that.
pub struct HugePages {
    shell: Child,
}

impl HugePages {
    /// Sets it for the whole machine.
    pub fn always() -> Result<Self> {
        let before = mode()?;
        let script = "trap '' HUP INT TERM; read -r _; echo \"$2\" > \"$1\"";
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh", SETTING, &before]);
        let shell = shell.stdin(Stdio::piped()).spawn().context("starting a shell")?;
        let set = Self { shell };
        fs::write(SETTING, "always").with_context(|| format!("writing {SETTING}"))?;
        Ok(set)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        // The end of its input.
        drop(self.shell.stdin.take());
        let set_back = self.shell.wait().map_err(anyhow::Error::from).and_then(|status| {
            ensure!(status.success(), "{status}");
            Ok(())
        });
        if let Err(error) = set_back {
            eprintln!("{SETTING} is not what it was before: {error:#}");
        }
    }
}

/// What is set now; none where the kernel has no such pages.
pub fn mode() -> Result<String> {
    if !Path::new(SETTING).exists() {
        return Ok("none".to_owned());
    }
    let text = fs::read_to_string(SETTING).with_context(|| format!("reading {SETTING}"))?;
    Ok(chosen(&text)
        .with_context(|| format!("{SETTING} says {text:?}"))?
        .to_owned())
}

/// The word in brackets.
fn chosen(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_the_kernels_choices_when_read_then_the_one_in_brackets_is_set() {
        assert_eq!(chosen("always [madvise] never\n"), Some("madvise"));
        assert_eq!(chosen("[always] madvise never\n"), Some("always"));
        assert_eq!(chosen("always\n"), None);
    }
}
