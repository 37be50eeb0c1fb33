//! The guest's first file system: busybox, the modules that reach the host's files, `init.sh` and the command.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::kernel::Image;
use crate::shell;

/// What the guest needs before it sees the host's files; whatever is not a module is built into the kernel.
const MODULES: &[&str] = &["virtio_pci", "9pnet_virtio", "9p", "overlay"];

/// Builds it in `directory` and gives its path.
pub fn build(image: &Image, kernel: &str, script: &str, directory: &Path) -> Result<PathBuf> {
    let root = directory.join("initramfs");
    for name in ["bin", "modules"] {
        let path = root.join(name);
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
    }
    let busybox = shell::find_program("busybox").context("busybox is gone")?;
    fs::copy(&busybox, root.join("bin/busybox")).with_context(|| format!("copying {}", busybox.display()))?;
    let table = image.modules.join("modules.dep");
    let table = fs::read_to_string(&table).with_context(|| format!("reading {}", table.display()))?;
    let mut order = Vec::new();
    for path in load_order(&table, MODULES) {
        let name = Path::new(path)
            .file_name()
            .context("a module has a name")?
            .to_string_lossy();
        let source = image.modules.join(path);
        fs::copy(&source, root.join("modules").join(name.as_ref()))
            .with_context(|| format!("copying {}", source.display()))?;
        order.push(name.into_owned());
    }
    let init = root.join("init");
    let files = [
        (root.join("modules/order"), order.join("\n")),
        (root.join("settings.sh"), settings(image, kernel)),
        (root.join("command.sh"), command(script)),
        (init.clone(), include_str!("init.sh").to_owned()),
    ];
    for (path, text) in files {
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).context("making init executable")?;
    let archive = directory.join("initramfs.cpio");
    shell::run(
        Command::new("sh")
            .args(["-c", "find . | cpio --quiet -o -H newc > \"$1\"", "sh"])
            .arg(&archive)
            .current_dir(&root),
    )?;
    Ok(archive)
}

fn settings(image: &Image, kernel: &str) -> String {
    let plain_tmp = if shell::target().starts_with("/tmp") || shell::root().starts_with("/tmp") {
        "1"
    } else {
        ""
    };
    format!(
        "MODULES={}\nGUEST_NAME=drainwatch-{kernel}\nPLAIN_TMP={plain_tmp}\n",
        shell::quote(&image.modules.to_string_lossy())
    )
}

/// The command as the guest's shell runs it: in the workspace, with our own search path.
fn command(script: &str) -> String {
    let exports = ["PATH", "HOME", "LANG"].into_iter().filter_map(|name| {
        Some(format!(
            "export {name}={}",
            shell::quote(&std::env::var(name).ok()?)
        ))
    });
    let lines = exports.chain([
        format!("cd {}", shell::quote(&shell::root().to_string_lossy())),
        script.to_owned(),
    ]);
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// Modules and all that they need, in an order in which they can be loaded, by `modules.dep`.
fn load_order<'a>(table: &'a str, wanted: &[&str]) -> Vec<&'a str> {
    let entries: Vec<(&str, Vec<&str>)> = table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(path, needs)| (path, needs.split_whitespace().collect()))
        .collect();
    let needs: HashMap<&str, &Vec<&str>> = entries.iter().map(|(path, needs)| (*path, needs)).collect();
    let mut order = Vec::new();
    for name in wanted {
        let file = format!("/{name}.ko");
        if let Some((path, _)) = entries.iter().find(|(path, _)| path.ends_with(&file)) {
            add(path, &needs, &mut order);
        }
    }
    order
}

fn add<'a>(path: &'a str, needs: &HashMap<&'a str, &Vec<&'a str>>, order: &mut Vec<&'a str>) {
    if order.contains(&path) {
        return;
    }
    for need in needs.get(path).into_iter().flat_map(|needs| needs.iter()) {
        add(need, needs, order);
    }
    order.push(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_modules_that_need_others_when_ordered_then_each_comes_after_what_it_needs_and_built_in_ones_not_at_all()
     {
        let table = "\
kernel/net/9p/9pnet_virtio.ko: kernel/net/9p/9pnet.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/net/9p/9pnet.ko:
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/fs/overlayfs/overlay.ko:
";
        let order = load_order(table, &["virtio_pci", "9pnet_virtio", "overlay"]);
        let names: Vec<&str> = order.iter().filter_map(|path| path.rsplit('/').next()).collect();
        assert_eq!(
            names,
            [
                "9pnet.ko",
                "virtio_ring.ko",
                "virtio.ko",
                "9pnet_virtio.ko",
                "overlay.ko"
            ]
        );
    }
}
