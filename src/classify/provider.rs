//! The mailbox provider of a recipient, for figures by provider, because reputation is per provider.
//!
//! A report keeps the least name that any of its events gives, so that the order of events changes
//! nothing; an event without a name loses. A domain of this table is known from the first event
//! on. A company's domain with a mailbox at Google is known once a server has answered: its mail moves
//! from no provider to `gmail` with the Delivery or the Bounce.

use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder};

/// The names of all providers, at most 32 characters each. Google Workspace is `gmail`, Microsoft 365
/// and Outlook.com are `microsoft`, AOL is `yahoo`, GMX, WEB.DE and mail.com are `gmx`.
pub const ALL: [&str; 15] = [
    "apple",
    "comcast",
    "gmail",
    "gmx",
    "libero",
    "mail.ru",
    "microsoft",
    "netease",
    "orange",
    "proton",
    "qq",
    "t-online",
    "yahoo",
    "yandex",
    "zoho",
];

/// How much of an answer is searched, in bytes. Only Google's sign is at its end.
const MOST_READ: usize = 1024;

/// The provider of a recipient, or `None` for any other.
///
/// - `isp_tag`: the tag `ses:recipient-isp`, if the mail has this one recipient.
/// - `domain`: the recipient's, in lower case.
/// - `answer`: what the server said: `smtpResponse` of a Delivery, `diagnosticCode` of a Bounce. It is
///   the weakest, because it may be the answer of another server that the mail was forwarded to; and
///   unlike the others it is not in every event.
#[must_use]
pub fn provider(domain: &str, isp_tag: Option<&str>, answer: Option<&str>) -> Option<&'static str> {
    isp_tag.and_then(of_tag).or_else(|| of_domain(domain)).or_else(|| answer.and_then(of_answer))
}

/// The same for a whole address, normalised.
#[must_use]
pub(crate) fn of_address(
    address: &str,
    isp_tag: Option<&str>,
    answer: Option<&str>,
) -> Option<&'static str> {
    let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
    provider(domain, isp_tag, answer)
}

/// SES uses common names, such as `Gmail` and `Hotmail`; `UNKNOWN_ISP` is not one.
fn of_tag(tag: &str) -> Option<&'static str> {
    let is_short = tag.len() <= 32;
    let letters = tag.chars().filter(char::is_ascii_alphanumeric);
    let name = is_short.then(|| letters.collect::<String>().to_ascii_lowercase())?;
    Some(match &*name {
        "apple" | "icloud" | "mac" | "me" => "apple",
        "comcast" | "xfinity" => "comcast",
        "gmail" | "google" | "googleworkspace" | "gsuite" => "gmail",
        "gmx" | "webde" | "mailcom" | "unitedinternet" | "1und1" => "gmx",
        "libero" | "italiaonline" => "libero",
        "mailru" => "mail.ru",
        "hotmail" | "live" | "microsoft" | "microsoft365" | "msn" | "office365" | "outlook"
        | "outlookcom" => "microsoft",
        "netease" | "126" | "163" => "netease",
        "orange" | "wanadoo" => "orange",
        "proton" | "protonmail" => "proton",
        "qq" | "tencent" => "qq",
        "tonline" => "t-online",
        "aol" | "yahoo" | "verizon" | "verizonmedia" => "yahoo",
        "yandex" => "yandex",
        "zoho" => "zoho",
        _ => return None,
    })
}

/// Domains of providers, and domains that they host for others; sorted.
const DOMAINS: &[(&str, &str)] = &[
    ("126.com", "netease"),
    ("163.com", "netease"),
    ("188.com", "netease"),
    ("aim.com", "yahoo"),
    ("alice.it", "libero"),
    ("aol.com", "yahoo"),
    ("bk.ru", "mail.ru"),
    ("blu.it", "libero"),
    ("comcast.net", "comcast"),
    ("email.com", "gmx"),
    ("foxmail.com", "qq"),
    ("frontier.com", "yahoo"),
    ("gmail.com", "gmail"),
    ("gmx.at", "gmx"),
    ("gmx.ch", "gmx"),
    ("gmx.com", "gmx"),
    ("gmx.de", "gmx"),
    ("gmx.fr", "gmx"),
    ("gmx.net", "gmx"),
    ("googlemail.com", "gmail"),
    ("icloud.com", "apple"),
    ("inbox.ru", "mail.ru"),
    ("internet.ru", "mail.ru"),
    ("libero.it", "libero"),
    ("list.ru", "mail.ru"),
    ("live.at", "microsoft"),
    ("live.be", "microsoft"),
    ("live.ca", "microsoft"),
    ("live.cl", "microsoft"),
    ("live.cn", "microsoft"),
    ("live.co.uk", "microsoft"),
    ("live.co.za", "microsoft"),
    ("live.com", "microsoft"),
    ("live.com.ar", "microsoft"),
    ("live.com.au", "microsoft"),
    ("live.com.mx", "microsoft"),
    ("live.com.pt", "microsoft"),
    ("live.de", "microsoft"),
    ("live.dk", "microsoft"),
    ("live.fi", "microsoft"),
    ("live.fr", "microsoft"),
    ("live.ie", "microsoft"),
    ("live.in", "microsoft"),
    ("live.it", "microsoft"),
    ("live.jp", "microsoft"),
    ("live.nl", "microsoft"),
    ("live.no", "microsoft"),
    ("live.ru", "microsoft"),
    ("live.se", "microsoft"),
    ("love.com", "yahoo"),
    ("mac.com", "apple"),
    ("mail.com", "gmx"),
    ("mail.ru", "mail.ru"),
    ("me.com", "apple"),
    ("msn.com", "microsoft"),
    ("myyahoo.com", "yahoo"),
    ("narod.ru", "yandex"),
    ("orange.fr", "orange"),
    ("passport.com", "microsoft"),
    ("pm.me", "proton"),
    ("proton.me", "proton"),
    ("protonmail.ch", "proton"),
    ("protonmail.com", "proton"),
    ("qq.com", "qq"),
    ("rocketmail.com", "yahoo"),
    ("t-online.de", "t-online"),
    ("verizon.net", "yahoo"),
    ("vip.163.com", "netease"),
    ("vip.qq.com", "qq"),
    ("virgilio.it", "libero"),
    ("wanadoo.fr", "orange"),
    ("web.de", "gmx"),
    ("windowslive.com", "microsoft"),
    ("xfinity.com", "comcast"),
    ("xtra.co.nz", "yahoo"),
    ("ya.ru", "yandex"),
    ("yeah.net", "netease"),
    ("ymail.com", "yahoo"),
    ("zoho.com", "zoho"),
    ("zoho.eu", "zoho"),
    ("zoho.in", "zoho"),
    ("zohomail.com", "zoho"),
    ("zohomail.eu", "zoho"),
    ("zohomail.in", "zoho"),
];

/// Names that a provider uses in many countries: `hotmail.fr`, `yahoo.co.uk`.
const BRANDS: &[(&str, &str)] = &[
    ("aol", "yahoo"),
    ("hotmail", "microsoft"),
    ("outlook", "microsoft"),
    ("yahoo", "yahoo"),
    ("yandex", "yandex"),
];

fn of_domain(domain: &str) -> Option<&'static str> {
    if let Ok(found) = DOMAINS.binary_search_by(|(name, _)| (*name).cmp(domain)) {
        return DOMAINS.get(found).map(|(_, provider)| *provider);
    }
    let (brand, suffix) = domain.split_once('.')?;
    // Yahoo Japan is another company with its own servers.
    let is_brand = is_of_a_country(suffix) && domain != "yahoo.co.jp";
    BRANDS.iter().find(|(name, _)| is_brand && *name == brand).map(|(_, provider)| *provider)
}

/// `com`, `fr`, `co.uk`, `com.br`.
fn is_of_a_country(suffix: &str) -> bool {
    let rest = suffix.strip_prefix("com.").or_else(|| suffix.strip_prefix("co."));
    suffix == "com" || rest.unwrap_or(suffix).len() == 2
}

/// Texts that only the servers of a provider write, in lower case. Google's answers end with ` - gsmtp`.
const SIGNS: &[(&str, &str)] = &[
    (".prod.outlook.com", "microsoft"),
    (".protection.outlook.com", "microsoft"),
    (".outlook.office365.com", "microsoft"),
    ("mail.live.com/", "microsoft"),
    ("postmaster.yahooinc.com", "yahoo"),
    ("postmaster.yahoo.com", "yahoo"),
    ("ok dirdel", "yahoo"),
    ("delivery error: dd ", "yahoo"),
    (".mail.yahoo.com", "yahoo"),
    (".icloud.com", "apple"),
    ("support.apple.com/", "apple"),
    ("support.google.com/mail", "gmail"),
    ("postmaster.gmx.", "gmx"),
    ("postmaster.web.de", "gmx"),
    ("postmaster.mail.com", "gmx"),
    ("help.mail.ru", "mail.ru"),
    (".mail.yandex.net", "yandex"),
    ("yandex.ru/support", "yandex"),
    ("mail.qq.com", "qq"),
    ("mail.163.com", "netease"),
    (" ofr_", "orange"),
    ("postmaster.comcast.net", "comcast"),
    ("postmaster.t-online.de", "t-online"),
    (".zohomail.com", "zoho"),
    (".protonmail.ch", "proton"),
];

/// All signs as one expression, because every Delivery to a domain outside the table is searched.
static SIGN: LazyLock<Regex> = LazyLock::new(|| {
    let signs: Vec<String> = SIGNS.iter().map(|(sign, _)| regex::escape(sign)).collect();
    let built = RegexBuilder::new(&signs.join("|")).unicode(false).case_insensitive(true).build();
    #[expect(
        clippy::expect_used,
        reason = "the signs are part of the program, and tests read them"
    )]
    built.expect("escaped text is a regular expression")
});

fn of_answer(answer: &str) -> Option<&'static str> {
    if answer.trim_ascii_end().trim_end_matches('>').ends_with(" - gsmtp") {
        return Some("gmail");
    }
    let answer = &answer[..answer.floor_char_boundary(MOST_READ)];
    let found = SIGN.find(answer.as_bytes())?.as_bytes();
    let mut signs = SIGNS.iter();
    let sign = signs.find(|(sign, _)| sign.as_bytes().eq_ignore_ascii_case(found));
    sign.map(|(_, provider)| *provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_provider_has_one_name_and_the_table_is_sorted() {
        assert!(ALL.is_sorted() && DOMAINS.is_sorted_by(|a, b| a.0 < b.0));
        let named = [DOMAINS, BRANDS, SIGNS].concat();
        assert!(named.iter().all(|(_, provider)| ALL.contains(provider)));
        for provider in ALL {
            assert!(DOMAINS.iter().any(|(_, name)| *name == provider), "{provider}");
        }
        for (sign, _) in SIGNS {
            assert_eq!(*sign, sign.to_ascii_lowercase());
        }
    }

    #[test]
    fn a_domain_says_it() {
        for (domain, expected) in [
            ("gmail.com", Some("gmail")),
            ("googlemail.com", Some("gmail")),
            ("hotmail.fr", Some("microsoft")),
            ("hotmail.co.uk", Some("microsoft")),
            ("outlook.com.br", Some("microsoft")),
            ("yahoo.com", Some("yahoo")),
            ("yahoo.co.in", Some("yahoo")),
            ("yahoo.co.jp", None),
            ("yandex.kz", Some("yandex")),
            ("web.de", Some("gmx")),
            ("t-online.de", Some("t-online")),
            ("me.com", Some("apple")),
            ("163.com", Some("netease")),
            ("yahoo.example", None),
            ("outlook.office.com", None),
            ("notgmail.com", None),
            ("mail.gmail.com", None),
            ("example.com", None),
            ("localhost", None),
            ("", None),
        ] {
            assert_eq!(provider(domain, None, None), expected, "{domain}");
        }
    }

    #[test]
    fn an_answer_says_it_where_the_domain_does_not() {
        for (answer, expected) in [
            (
                "250 2.0.0 OK  1720473220 6a1803df08f44-6b61bafb227si7227106d6.570 - gsmtp",
                Some("gmail"),
            ),
            (
                "smtp; 554 4.4.7 Message expired.<452 4.2.2 https://support.google.com/mail/?p=OverQuotaTemp a1si2.3 - gsmtp>",
                Some("gmail"),
            ),
            (
                "250 2.6.0 <0100@example> [InternalId=1, Hostname=AB1PR01MB1234.eurprd01.prod.outlook.com] 9 bytes in 0.1, 1 KB/sec Queued mail for delivery",
                Some("microsoft"),
            ),
            (
                "smtp; 550 5.5.0 Requested action not taken: mailbox unavailable [DB1EUR01FT001.EOP-EUR01.prod.protection.outlook.com]",
                Some("microsoft"),
            ),
            (
                "smtp; 421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred; see https://postmaster.yahooinc.com/error-codes",
                Some("yahoo"),
            ),
            ("250 ok dirdel", Some("yahoo")),
            (
                "smtp; 554 5.7.1 [CS01] Message rejected due to local policy. https://support.apple.com/en-us/HT204137",
                Some("apple"),
            ),
            ("250 2.0.0 Ok: queued on mxfront1.mail.yandex.net 1-2", Some("yandex")),
            ("smtp; 550 5.1.1 Invalid recipient. OFR_416 [416]", Some("orange")),
            ("250 2.0.0 Ok: queued as 4A1B2C", None),
            ("- gsmtp was not the end of it", None),
            ("", None),
        ] {
            assert_eq!(provider("example.com", None, Some(answer)), expected, "{answer}");
        }
        let hostile = "\u{1f600}".repeat(100_000);
        assert_eq!(provider("example.com", None, Some(&hostile)), None);
    }

    #[test]
    fn the_tag_comes_first_and_the_answer_last() {
        let outlook = Some("250 2.6.0 Hostname=AB1.eurprd01.prod.outlook.com");
        for (domain, tag, answer, expected) in [
            ("example.com", Some("Gmail"), None, Some("gmail")),
            ("example.com", Some("Hotmail"), None, Some("microsoft")),
            ("gmail.com", Some("UNKNOWN_ISP"), None, Some("gmail")),
            ("example.com", Some("UNKNOWN_ISP"), None, None),
            ("example.com", Some("UNKNOWN_ISP"), outlook, Some("microsoft")),
            ("yahoo.com", Some("Hotmail"), None, Some("microsoft")),
            // Forwarded.
            ("gmail.com", None, outlook, Some("gmail")),
        ] {
            assert_eq!(provider(domain, tag, answer), expected, "{domain} {tag:?} {answer:?}");
        }
    }
}
