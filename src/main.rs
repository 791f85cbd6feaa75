//! The `ses-reports` binary; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ses_reports::cli::main()
}
