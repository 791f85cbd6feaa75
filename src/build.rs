//! Embeds the migrations, and refuses to build what refinery would silently pass over: a badly
//! named, duplicate or missing file.

#[path = "schema/files.rs"]
pub mod files;

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=migrations");
    println!("cargo::rerun-if-changed=src/schema/files.rs");
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("migrations");
    let (up, down) = (names(&folder)?, names(&folder.join(files::DOWN))?);
    let files = files::in_order(up).and_then(|up| files::in_pairs(&up, down).map(|()| up));
    let files = match files {
        Ok(files) => files,
        Err(line) => {
            println!("cargo::error={line}");
            return Ok(());
        }
    };
    let mut list = String::from("&[\n");
    for file in files {
        // No absolute path: clones may share one target folder.
        writeln!(
            list,
            r#"    Migration {{
        version: {version},
        stem: Cow::Borrowed("{stem}"),
        up: Cow::Borrowed(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/{stem}.sql"))),
        down: Cow::Borrowed(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/{down}/{stem}.sql"))),
    }},"#,
            version = file.version,
            stem = file.stem,
            down = files::DOWN,
        )?;
    }
    list.push_str("]\n");
    fs::write(Path::new(&env::var("OUT_DIR")?).join("migrations.rs"), list)?;
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>, std::io::Error> {
    fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}
