//! The library exists for its binary, tests and benchmarks: what none of them calls is not `pub`, so
//! that the compiler sees what is dead. The types in a public signature are the compiler's business.

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr as _;

use proc_macro2::{TokenStream, TokenTree};

use crate::layers::{files, idents, sources};

fn tokens(path: &Path) -> Vec<TokenTree> {
    let text = std::fs::read_to_string(path).expect("text");
    TokenStream::from_str(&text).expect("Rust").into_iter().collect()
}

/// The names of public functions, constants and modules.
fn public(tokens: &[TokenTree], found: &mut BTreeSet<String>) {
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => {
                public(&group.stream().into_iter().collect::<Vec<_>>(), found);
            }
            TokenTree::Ident(ident) if ident == "pub" => {
                // `pub(crate)` is followed by a group, which is not a word.
                let words: Vec<String> = tokens[at + 1..]
                    .iter()
                    .map_while(|token| match token {
                        TokenTree::Ident(ident) => Some(ident.to_string()),
                        _ => None,
                    })
                    .collect();
                let is_item =
                    words.iter().any(|word| ["fn", "const", "mod"].contains(&word.as_str()));
                found.extend(words.last().filter(|_| is_item).cloned());
            }
            _ => {}
        }
    }
}

#[test]
fn only_what_is_used_from_outside_is_public() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut outside = BTreeSet::new();
    let folders = ["tests/it", "tests/fuzz", "benches"];
    let users = folders.iter().flat_map(|folder| files(&root.join(folder)));
    for path in users.chain([root.join("src/main.rs")]) {
        if path.extension().is_some_and(|extension| extension == "rs") {
            idents(&tokens(&path), &mut outside);
        }
    }
    let mut found = BTreeSet::new();
    public(&tokens(&root.join("src/lib.rs")), &mut found);
    for source in sources() {
        public(&source.tokens, &mut found);
    }
    assert!(found.contains("decode"), "{found:?}");
    let unused: Vec<_> = found.difference(&outside).collect();
    assert!(unused.is_empty(), "make these `pub(crate)`: {unused:?}");
}

#[test]
fn public_items_are_told_from_others() {
    let text = "pub async fn a() { pub(crate) fn no() {} } pub const B: u8 = 1; pub mod c;
        pub struct No { pub no: u8 } impl S { pub const fn d() {} } const NO: u8 = 1;";
    let mut found = BTreeSet::new();
    let tokens: Vec<TokenTree> = TokenStream::from_str(text).expect("Rust").into_iter().collect();
    public(&tokens, &mut found);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["B", "a", "c", "d"]);
}
