//! People and machines.

use std::collections::BTreeSet;

use ses_reports::classify::machine::DEFAULTS;

#[test]
fn each_rule_of_ours_has_a_name_a_source_and_a_place_between_those_of_operators() {
    let names: BTreeSet<&str> = DEFAULTS.iter().map(|rule| rule.name).collect();
    assert_eq!(names.len(), DEFAULTS.len());
    for rule in DEFAULTS {
        assert!(rule.source.len() > 20 && rule.as_of.len() == 10, "{rule:?}");
        assert!((100..1_000).contains(&rule.priority), "{rule:?}");
    }
}
