//! The ledger.
fn main() {}
