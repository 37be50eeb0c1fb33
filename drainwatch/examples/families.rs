//! Prints [`drainwatch::metrics::sample`]; `cargo xtask dashboards` compares rules and panels with it.
#![forbid(unsafe_code)]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    print!("{}", drainwatch::metrics::sample()?);
    Ok(())
}
