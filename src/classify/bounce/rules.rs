//! The rules, read from `rules.toml` once.

use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use serde::Deserialize;

use super::BounceClass;
use super::evidence::Normal;

/// The version of the rules. It grows with each change of a rule; a test compares the rules with the
/// checksum of this version.
pub const VERSION: i32 = 3;

/// The rules as text, in the order in which they are tried.
const TEXT: &str = include_str!("rules.toml");

/// The rules, ready to be tried.
pub(super) static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::read(TEXT));

/// The heads of all rules are matched as one set. Their texts are matched one by one: as one set, which
/// has to look for all of them at every position, they took a hundred times longer on unfamiliar text.
pub(super) struct Rules {
    heads: RegexSet,
    rules: Vec<(BounceClass, Option<Regex>)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rule: Vec<Rule>,
}

/// A rule matches if each of its expressions does, those for types and codes as a whole.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    class: BounceClass,
    /// `bouncetype/bouncesubtype` or `delay/delaytype`.
    ses: Option<String>,
    /// The reply code, such as `552`.
    reply: Option<String>,
    /// The enhanced status code, such as `5\.1\.1`.
    code: Option<String>,
    /// Expressions for the text, one of which has to match.
    #[serde(default)]
    text: Vec<String>,
}

impl Rules {
    #[expect(clippy::expect_used, reason = "the text is part of the program, and tests read it")]
    fn read(text: &str) -> Self {
        let file: File = toml::from_str(text).expect("rules.toml has rules");
        // Bytes, because ASCII is all that the rules know.
        let heads = RegexSetBuilder::new(file.rule.iter().map(Rule::head)).unicode(false).build();
        let text = |rule: &Rule| {
            let built = rule.text().map(|text| RegexBuilder::new(&text).unicode(false).build());
            built.transpose().expect("the texts of a rule are regular expressions")
        };
        Self {
            heads: heads.expect("the heads of the rules are regular expressions"),
            rules: file.rule.iter().map(|rule| (rule.class, text(rule))).collect(),
        }
    }

    /// The class of the first rule that matches.
    pub(super) fn class(&self, evidence: &Normal) -> Option<BounceClass> {
        let text = evidence.text.as_bytes();
        let heads = self.heads.matches(evidence.head.as_bytes());
        let mut rules = heads.iter().filter_map(|at| self.rules.get(at));
        let found = rules.find(|(_, of_text)| of_text.as_ref().is_none_or(|it| it.is_match(text)));
        found.map(|(class, _)| *class)
    }
}

impl Rule {
    /// The expression for `TYPE/SUBTYPE REPLY CODE`.
    fn head(&self) -> String {
        let words = [&self.ses, &self.reply, &self.code];
        let words = words.map(|word| format!("(?:{})", word.as_deref().unwrap_or(r"\S+")));
        format!("^{}$", words.join(" "))
    }

    /// The expression for the text, if it matters.
    fn text(&self) -> Option<String> {
        (!self.text.is_empty()).then(|| self.text.join("|").replace('~', r"(?:[^.;]|\.\S)*"))
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn a_change_of_the_rules_is_a_new_version() {
        let file: File = toml::from_str(TEXT).expect("TOML");
        // Comments may change.
        let checksum = Sha256::digest(format!("{:?}", file.rule))
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        assert_eq!(
            (VERSION, &*checksum),
            (3, "c2c29a294788107d86085493b3a311f6343817d0d4a8a4e5621b3d20965e4dcd"),
            "raise VERSION and note the new checksum here"
        );
    }

    #[test]
    fn each_rule_says_when_it_applies() {
        let file: File = toml::from_str(TEXT).expect("TOML");
        for rule in &file.rule {
            let is_empty = rule.ses.is_none() && rule.reply.is_none() && rule.code.is_none();
            assert!(!is_empty || !rule.text.is_empty(), "{rule:?}");
            // What they are compared with is in lower case.
            let pattern = rule.head() + &rule.text().unwrap_or_default();
            let is_lower = !pattern.replace(r"\S", "").contains(|c: char| c.is_ascii_uppercase());
            assert!(is_lower, "{pattern}");
        }
    }

    #[test]
    fn each_class_has_a_rule() {
        for class in BounceClass::ALL {
            assert!(RULES.rules.iter().any(|(of_rule, _)| *of_rule == class), "{class:?}");
        }
    }
}
