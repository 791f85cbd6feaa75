//! Internationalised domains: one spelling for the many in which a domain can be written.

use unicode_normalization::UnicodeNormalization as _;

/// The longest domain and the longest label that DNS knows.
const MOST_CHARACTERS: usize = 255;
const MOST_OF_A_LABEL: usize = 63;

/// A domain in lower case, its labels as DNS holds them (RFC 5890, A-labels): `bücher.example` is
/// `xn--bcher-kva.example`. What is too long to be a domain stays as it is written, but for the case.
///
/// The mapping is lower case and NFKC, which is that of UTS 46 for what people call domains. The SQL
/// function `aws_report_domain_to_ascii` does the same.
pub(super) fn to_ascii(domain: &str) -> String {
    if domain.is_ascii() {
        return domain.to_ascii_lowercase();
    }
    let lower = domain.to_lowercase();
    if lower.chars().count() > MOST_CHARACTERS {
        return lower;
    }
    let mapped = lower.nfkc().collect::<String>().to_lowercase();
    let labels = mapped.split(['.', '\u{3002}']).map(label_to_ascii);
    labels.collect::<Vec<_>>().join(".")
}

fn label_to_ascii(label: &str) -> String {
    let encoded = Some(label)
        .filter(|label| !label.is_ascii() && label.chars().count() <= MOST_OF_A_LABEL)
        .and_then(idna::punycode::encode_str);
    encoded.map_or_else(|| label.to_owned(), |encoded| format!("xn--{encoded}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_domain_is_one() {
        for (spelling, ascii) in [
            ("Example.COM", "example.com"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BU\u{308}CHER.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("straße.example", "xn--strae-oqa.example"),
            ("почта.рф", "xn--80a1acny.xn--p1ai"),
            ("ｅｘａｍｐｌｅ．ｃｏｍ", "example.com"),
            ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ] {
            assert_eq!(to_ascii(spelling), ascii, "{spelling}");
        }
    }

    #[test]
    fn what_is_too_long_for_dns_stays() {
        let label = format!("{}.example", "ü".repeat(64));
        assert_eq!(to_ascii(&label), label);
        let domain = "ü.".repeat(200);
        assert_eq!(to_ascii(&domain), domain);
    }
}
