//! Reading files that somebody named: one that never ends is refused.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// Far above what a configuration file, or a kubeconfig with its certificates, takes.
const MOST: u64 = 1 << 20;

/// The text of a file of at most 1 MiB.
pub fn read(path: &Path) -> io::Result<String> {
    text(File::open(path)?)
}

/// The text that this gives, at most 1 MiB.
pub fn text(from: impl io::Read) -> io::Result<String> {
    let mut text = String::new();
    let mut bytes = Vec::new();
    from.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is longer than 1 MiB",
        ));
    }
    bytes.as_slice().read_to_string(&mut text)?;
    Ok(text)
}

/// Whether a file that others read to its end has one, and not too late.
pub fn check(path: &Path) -> io::Result<()> {
    let file = std::fs::metadata(path)?;
    if !file.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file",
        ));
    }
    if file.len() > MOST {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is longer than 1 MiB",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_file_that_never_ends_then_it_is_refused_and_a_short_one_is_read() {
        assert_eq!(
            read(Path::new("/dev/zero")).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
        assert!(check(Path::new("/dev/zero")).is_err());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a = 1\n").unwrap();
        assert_eq!(read(file.path()).unwrap(), "a = 1\n");
        std::fs::write(file.path(), [0xff]).unwrap();
        assert_eq!(read(file.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
