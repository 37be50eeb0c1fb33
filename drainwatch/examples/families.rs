//! Prints [`drainwatch::outlets::metrics::sample`]; `cargo xtask dashboards` compares rules and panels with it.
#![forbid(unsafe_code)]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    print!("{}", drainwatch::outlets::metrics::sample()?);
    Ok(())
}
