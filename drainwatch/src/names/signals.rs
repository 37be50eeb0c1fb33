//! Signals by the names that images, pods, units and people give them.

use std::str::FromStr as _;

/// A signal by name (`SIGUSR1`, `USR1`, `SIGRTMIN+3`) or number.
pub fn signal(text: &str) -> Result<u32, String> {
    let bad = || {
        format!("`{text}` is not a signal; write for example SIGUSR1, SIGRTMIN+3 or a number from 1 to 64")
    };
    if let Ok(number) = text.parse::<u32>() {
        return if (1..=64).contains(&number) {
            Ok(number)
        } else {
            Err(bad())
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = name.strip_prefix("RTMIN+") {
        // glibc keeps 32 and 33 to itself; images and units count from 34.
        return offset
            .parse::<u32>()
            .ok()
            .filter(|n| *n <= 30)
            .map(|n| n + 34)
            .ok_or_else(bad);
    }
    if let Some(below) = name.strip_prefix("RTMAX-") {
        return below
            .parse::<u32>()
            .ok()
            .filter(|n| *n <= 30)
            .map(|n| 64 - n)
            .ok_or_else(bad);
    }
    match name {
        "RTMIN" => return Ok(34),
        "RTMAX" => return Ok(64),
        _ => {}
    }
    nix::sys::signal::Signal::from_str(&format!("SIG{name}"))
        .map(|signal| (signal as i32).cast_unsigned())
        .map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_a_signal_when_parsed_then_its_name_or_its_number_is_taken() {
        for (text, number) in [
            ("sigterm", 15),
            ("SIGRTMIN", 34),
            ("RTMAX", 64),
            ("SIGRTMAX-14", 50),
        ] {
            assert_eq!(signal(text), Ok(number));
        }
        for bad in ["0", "65", "SIGFOO", "RTMIN+31", "RTMAX-31", ""] {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }
}
