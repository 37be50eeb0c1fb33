//! Kernels out of distributions' archives, by a private apt configuration that leaves the system's own alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::shell;

/// A kernel series and where to get it.
pub struct Kernel {
    /// Series, as the command line names it.
    pub name: &'static str,
    /// Whether the agent runs there; if not, it must refuse.
    pub supported: bool,
    archive: &'static str,
    suite: &'static str,
    /// Packages are named prefix + version + suffix; the highest version is taken.
    prefix: &'static str,
    suffix: &'static str,
}

const DEBIAN: &str = "http://deb.debian.org/debian";
const SECURITY: &str = "http://deb.debian.org/debian-security";
const UBUNTU: &str = "http://archive.ubuntu.com/ubuntu";

/// Oldest supported to newest, and one that is too old. The generic flavours, for the cloud ones lack 9p.
pub const KERNELS: &[Kernel] = &[
    Kernel {
        name: "5.10",
        supported: false,
        archive: SECURITY,
        suite: "bullseye-security",
        prefix: "linux-image-5.10.0-",
        suffix: "-amd64",
    },
    Kernel {
        name: "5.15",
        supported: true,
        archive: UBUNTU,
        suite: "jammy-updates",
        prefix: "linux-image-5.15.0-",
        suffix: "-generic",
    },
    Kernel {
        name: "6.1",
        supported: true,
        archive: SECURITY,
        suite: "bookworm-security",
        prefix: "linux-image-6.1.0-",
        suffix: "-amd64",
    },
    Kernel {
        name: "6.12",
        supported: true,
        archive: DEBIAN,
        suite: "bookworm-backports",
        prefix: "linux-image-6.12.",
        suffix: "-amd64",
    },
    Kernel {
        name: "7",
        supported: true,
        archive: DEBIAN,
        suite: "sid",
        prefix: "linux-image-7.",
        suffix: "-amd64",
    },
];

/// Debian's package of Ubuntu's archive keys, so that Ubuntu's kernels are verified as well.
const UBUNTU_KEYRING: &str = "ubuntu-keyring";

/// An unpacked kernel.
pub struct Image {
    /// The kernel proper.
    pub vmlinuz: PathBuf,
    /// Its modules, uncompressed, with `modules.dep`.
    pub modules: PathBuf,
}

impl Kernel {
    fn directory(&self) -> PathBuf {
        shell::target().join("vm").join(self.name)
    }

    /// Drops the unpacked kernel, so that the next use fetches the newest.
    pub fn forget(&self) -> Result<()> {
        let directory = self.directory();
        if directory.exists() {
            fs::remove_dir_all(&directory).with_context(|| format!("removing {}", directory.display()))?;
        }
        Ok(())
    }

    /// The kernel, from target/vm or from the archive.
    pub fn fetch(&self) -> Result<Image> {
        let directory = self.directory();
        if !directory.exists() {
            println!(
                "fetching Linux {} from {} {}",
                self.name, self.archive, self.suite
            );
            self.download(&directory)
                .with_context(|| format!("fetching Linux {}", self.name))?;
        }
        let modules = only_entry(&directory.join("lib/modules"))?;
        Ok(Image {
            vmlinuz: directory.join("vmlinuz"),
            modules,
        })
    }

    fn download(&self, directory: &Path) -> Result<()> {
        let cache = shell::target().join("vm");
        fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
        let work = tempfile::Builder::new().prefix("fetch-").tempdir_in(&cache)?;
        let keyring = if self.archive == UBUNTU {
            let apt = Apt::new(&work.path().join("keyring"), DEBIAN, "sid", None)?;
            apt.unpack(&[UBUNTU_KEYRING.to_owned()], &work.path().join("keyring/root"))?;
            Some(
                work.path()
                    .join("keyring/root/usr/share/keyrings/ubuntu-archive-keyring.gpg"),
            )
        } else {
            None
        };
        let apt = Apt::new(
            &work.path().join("apt"),
            self.archive,
            self.suite,
            keyring.as_deref(),
        )?;
        let names = apt.run("apt-cache", &["pkgnames", self.prefix])?;
        let package = newest(names.lines(), self.prefix, self.suffix).with_context(|| {
            format!(
                "{} {} has no package {}*{}: the table in xtask/src/vm/kernel.rs needs another suite",
                self.archive, self.suite, self.prefix, self.suffix
            )
        })?;
        println!("  {package}");
        let mut packages = vec![package.to_owned()];
        // Some distributions put the kernel and its modules into packages of their own.
        let depends = apt.run("apt-cache", &["depends", package])?;
        packages.extend(
            depends
                .lines()
                .filter_map(|line| line.trim().strip_prefix("Depends: "))
                .filter(|name| {
                    ["linux-binary-", "linux-modules-"]
                        .iter()
                        .any(|start| name.starts_with(start))
                })
                .map(str::to_owned),
        );
        let root = work.path().join("root");
        apt.unpack(&packages, &root)?;
        let ready = work.path().join("ready");
        arrange(&root, &ready)?;
        fs::rename(&ready, directory).with_context(|| format!("creating {}", directory.display()))
    }
}

/// Moves the kernel and its modules out of an unpacked package to where [`Kernel::fetch`] looks for them.
fn arrange(root: &Path, ready: &Path) -> Result<()> {
    let modules = [root.join("lib/modules"), root.join("usr/lib/modules")]
        .into_iter()
        .find(|path| path.is_dir())
        .context("the package has no lib/modules")?;
    let source = only_entry(&modules)?;
    let release = source
        .file_name()
        .context("a modules folder has a name")?
        .to_string_lossy()
        .into_owned();
    let target = ready.join("lib/modules").join(&release);
    fs::create_dir_all(ready.join("lib/modules"))?;
    fs::rename(&source, &target)?;
    let vmlinuz = [
        root.join(format!("boot/vmlinuz-{release}")),
        target.join("vmlinuz"),
    ];
    let vmlinuz = vmlinuz
        .iter()
        .find(|path| path.is_file())
        .context("the package has no vmlinuz")?;
    fs::rename(vmlinuz, ready.join("vmlinuz"))?;
    // Guests have no hardware: most of a generic kernel's modules would only take room.
    for useless in [
        "kernel/sound",
        "kernel/drivers/gpu",
        "kernel/drivers/media",
        "kernel/drivers/scsi",
    ] {
        if target.join(useless).exists() {
            fs::remove_dir_all(target.join(useless))?;
        }
    }
    let drivers = target.join("kernel/drivers/net");
    for entry in fs::read_dir(&drivers)
        .with_context(|| format!("reading {}", drivers.display()))?
        .flatten()
    {
        if entry.path().is_dir() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    // Plain modules, so that every insmod and modprobe can load them.
    shell::run(
        Command::new("find")
            .arg(&target)
            .args(["-name", "*.ko.xz", "-exec", "xz", "-d", "{}", "+"]),
    )?;
    shell::run(
        Command::new("busybox")
            .arg("depmod")
            .arg("-b")
            .arg(ready)
            .arg(&release),
    )
}

/// The one entry of a directory.
fn only_entry(directory: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    ensure!(
        paths.len() == 1,
        "{} has {} entries instead of one",
        directory.display(),
        paths.len()
    );
    Ok(paths.remove(0))
}

/// The package with the highest version between prefix and suffix; other flavours have a dash there.
fn newest<'a>(names: impl Iterator<Item = &'a str>, prefix: &str, suffix: &str) -> Option<&'a str> {
    names
        .filter_map(|name| {
            let version = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
            let plain = !version.contains('-') && version.starts_with(|c: char| c.is_ascii_digit());
            plain.then(|| (numbers(version), name))
        })
        .max()
        .map(|(_, name)| name)
}

/// The numbers in a version, for comparison: 6.12.9 is older than 6.12.10.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// apt with one source, its own lists and cache, and no view of what is installed.
struct Apt {
    directory: PathBuf,
}

impl Apt {
    fn new(directory: &Path, archive: &str, suite: &str, keyring: Option<&Path>) -> Result<Self> {
        for name in ["lists/partial", "cache/archives/partial", "download"] {
            let path = directory.join(name);
            fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        }
        let keyring = keyring.unwrap_or(Path::new("/usr/share/keyrings/debian-archive-keyring.gpg"));
        let here = directory.display();
        let source = format!(
            "deb [arch=amd64 signed-by={}] {archive} {suite} main\n",
            keyring.display()
        );
        let configuration = format!(
            "Dir::Etc::SourceList \"{here}/sources.list\";\n\
             Dir::Etc::SourceParts \"/dev/null\";\n\
             Dir::State::Lists \"{here}/lists\";\n\
             Dir::State::status \"{here}/status\";\n\
             Dir::Cache \"{here}/cache\";\n\
             APT::Sandbox::User \"\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::Retries \"3\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
        );
        for (name, text) in [
            ("sources.list", source),
            ("apt.conf", configuration),
            ("status", String::new()),
        ] {
            fs::write(directory.join(name), text).with_context(|| format!("writing {here}/{name}"))?;
        }
        let apt = Self {
            directory: directory.to_owned(),
        };
        apt.run("apt-get", &["update", "--quiet", "--error-on=any"])?;
        Ok(apt)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        shell::output(
            Command::new(program)
                .args(arguments)
                .env("APT_CONFIG", self.directory.join("apt.conf"))
                .current_dir(self.directory.join("download")),
        )
    }

    /// Downloads packages and unpacks them, without installing anything.
    fn unpack(&self, packages: &[String], root: &Path) -> Result<()> {
        let arguments: Vec<&str> = ["download", "--quiet"]
            .into_iter()
            .chain(packages.iter().map(String::as_str))
            .collect();
        self.run("apt-get", &arguments)?;
        fs::create_dir_all(root).with_context(|| format!("creating {}", root.display()))?;
        let download = self.directory.join("download");
        for entry in fs::read_dir(&download).with_context(|| format!("reading {}", download.display()))? {
            shell::run(Command::new("dpkg").arg("-x").arg(entry?.path()).arg(root))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_an_archives_packages_when_choosing_then_the_highest_plain_version_wins() {
        let names = [
            "linux-image-6.1.0-9-amd64",
            "linux-image-6.1.0-56-amd64",
            "linux-image-6.1.0-57-cloud-amd64",
            "linux-image-6.1.0-58-rt-amd64",
            "linux-image-6.1.0-58-amd64-unsigned",
            "linux-image-6.1.0-amd64-signed-template",
        ];
        let chosen = newest(names.into_iter(), "linux-image-6.1.0-", "-amd64");
        assert_eq!(chosen, Some("linux-image-6.1.0-56-amd64"));
        let names = [
            "linux-image-6.12.100+deb12-amd64",
            "linux-image-6.12.99+deb12-amd64",
        ];
        let chosen = newest(names.into_iter(), "linux-image-6.12.", "-amd64");
        assert_eq!(chosen, Some("linux-image-6.12.100+deb12-amd64"));
        assert_eq!(newest(names.into_iter(), "linux-image-7.", "-amd64"), None);
    }
}
