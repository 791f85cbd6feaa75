//! By which rules history was classified, as one name.

use super::bounce;
use super::machine::MachineRules;

/// The version of the code beside the rules: to be raised with any change that gives events another class
/// under the same rules, or recipients another provider, so that history is classified again.
const CODE: u32 = 1;

/// Names all rules: equal for those that give all events the same classes.
pub(crate) fn of_rules(machines: &MachineRules) -> String {
    format!("{CODE}.{}-{}", bounce::VERSION, machines.version())
}

/// Whether what was classified by other rules is to be classified again by these: not by an older program,
/// which knows less than the newer one beside it.
pub(crate) fn supersedes(these: &str, others: &str) -> bool {
    these != others && of_program(others) <= of_program(these)
}

/// The part of a version that a newer program raises; `None` for what no program has written.
fn of_program(version: &str) -> Option<(u32, u32)> {
    let (code, bounces) = version.split_once('-')?.0.split_once('.')?;
    Some((code.parse().ok()?, bounces.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_rules_replace_those_of_the_same_or_an_older_program() {
        let present = of_rules(&MachineRules::default());
        assert!(!supersedes(&present, &present));
        assert!(supersedes("2.3-a", "2.3-b") && supersedes("2.3-b", "2.3-a"), "a rule was changed");
        assert!(supersedes("2.3-a", "1.9-b") && !supersedes("1.9-b", "2.3-a"));
        assert!(supersedes("2.10-a", "2.9-b") && !supersedes("2.9-b", "2.10-a"));
        assert!(supersedes(&present, "by hand"));
    }
}
