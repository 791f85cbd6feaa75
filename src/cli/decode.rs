//! `ses-reports decode`.

use std::io::ErrorKind;

use super::exit::{Failure, USAGE, failed};
use crate::archive;
use crate::config::DecodeArgs;

pub(super) fn run(args: &DecodeArgs) -> Result<(), Failure> {
    let rules = args.rules.rules();
    let unreadable = match archive::decode_files(&args.files, &rules, &mut std::io::stdout().lock())
    {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
        done => done.map_err(|error| failed(format!("could not write: {error}")))?,
    };
    if unreadable.is_empty() {
        return Ok(());
    }
    Err(Failure { code: USAGE, line: unreadable.join("; ") })
}
