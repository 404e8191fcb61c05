//! The `microagent` command.
fn main() {}
