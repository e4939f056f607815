//! Running the program as a user does.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

/// The program with arguments, ready to run; no prompt, no environment that could change what it does.
pub fn packmule<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_packmule"));
    command.args(args).stdin(Stdio::null()).env_remove("AWS_ENDPOINT_URL").env("NO_COLOR", "1");
    command
}

/// Runs, and panics with everything it said unless it ends with that code.
pub fn expect<S: AsRef<OsStr>>(code: i32, args: impl IntoIterator<Item = S>) -> Said {
    let output = packmule(args).output().unwrap();
    let said = Said::new(&output);
    assert_eq!(output.status.code(), Some(code), "{}\n{}", said.out, said.err);
    said
}

/// What a run printed.
#[derive(Debug)]
pub struct Said {
    pub out: String,
    pub err: String,
}

impl Said {
    fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { out: text(&output.stdout), err: text(&output.stderr) }
    }
}
