//! Topics by their ARNs, and where SNS keeps the certificates of a topic's region. Pure.
//!
//! The URL of a certificate is part of the message, so a forger chooses both. The URL is compared, letter by
//! letter, with the only one that is allowed, and never parsed: two parsers could read it differently.

use std::fmt;
use std::str::FromStr;

/// AWS partitions: what ARNs call them, the names of their hosts, and how their regions begin.
///
/// Source: `partitions.json` of the AWS SDKs. The last part of a region is a number and the others
/// are letters, so no `s3-us-west-2`: a bucket named `sns` would answer at that host.
const PARTITIONS: [(&str, &str, &[&str]); 8] = [
    ("aws", "amazonaws.com", &["us-", "eu-", "ap-", "sa-", "ca-", "me-", "af-", "il-", "mx-"]),
    ("aws-cn", "amazonaws.com.cn", &["cn-"]),
    ("aws-us-gov", "amazonaws.com", &["us-gov-"]),
    ("aws-eusc", "amazonaws.eu", &["eusc-"]),
    ("aws-iso", "c2s.ic.gov", &["us-iso-"]),
    ("aws-iso-b", "sc2s.sgov.gov", &["us-isob-"]),
    ("aws-iso-e", "cloud.adc-e.uk", &["eu-isoe-"]),
    ("aws-iso-f", "csp.hci.ic.gov", &["us-isof-"]),
];

/// The ARN of an SNS topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TopicArn {
    arn: String,
    region: String,
    suffix: &'static str,
}

/// A text that is not the ARN of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the ARN of an SNS topic")]
pub(crate) struct NoTopic;

impl FromStr for TopicArn {
    type Err = NoTopic;

    fn from_str(arn: &str) -> Result<Self, NoTopic> {
        let parts: Vec<&str> = arn.split(':').collect();
        let ["arn", partition, "sns", region, account, name] = parts[..] else {
            return Err(NoTopic);
        };
        let (_, suffix, begins) =
            PARTITIONS.iter().find(|(id, ..)| *id == partition).ok_or(NoTopic)?;
        let is_region =
            is_region(region) && begins.iter().any(|beginning| region.starts_with(beginning));
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        let name = name.strip_suffix(".fifo").unwrap_or(name);
        if !is_region || !is_account || !is_word(name, 256) {
            return Err(NoTopic);
        }
        Ok(Self { arn: arn.to_owned(), region: region.to_owned(), suffix })
    }
}

impl TopicArn {
    /// Where SNS keeps the certificates of the topic's region, as `https://HOST/`.
    pub(super) fn certificate_host(&self) -> String {
        format!("https://sns.{}.{}/", self.region, self.suffix)
    }
}

impl fmt::Display for TopicArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn)
    }
}

/// Two or more words of letters and a number, such as `eu-west-1`.
fn is_region(region: &str) -> bool {
    let parts: Vec<&str> = region.split('-').collect();
    let [words @ .., number] = &parts[..] else { return false };
    let is_some_of = |part: &str, is: fn(&u8) -> bool| {
        (1..=16).contains(&part.len()) && part.as_bytes().iter().all(is)
    };
    (2..=4).contains(&words.len())
        && words.iter().all(|word| is_some_of(word, u8::is_ascii_lowercase))
        && is_some_of(number, u8::is_ascii_digit)
}

/// Letters, digits, `-` and `_`.
fn is_word(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// A place beside AWS whose certificates are accepted without verification: an emulator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Emulator {
    prefix: String,
}

/// A text that no certificate's URL can begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is http:// or https://, a host and a path that ends in /")]
pub(crate) struct NoPrefix;

impl FromStr for Emulator {
    type Err = NoPrefix;

    fn from_str(prefix: &str) -> Result<Self, NoPrefix> {
        let rest = prefix
            .strip_prefix("http://")
            .or_else(|| prefix.strip_prefix("https://"))
            .ok_or(NoPrefix)?;
        let (host, _) = rest.split_once('/').ok_or(NoPrefix)?;
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"@?#\\".contains(&byte);
        if host.is_empty() || !rest.ends_with('/') || !rest.bytes().all(is_plain) {
            return Err(NoPrefix);
        }
        Ok(Self { prefix: prefix.to_owned() })
    }
}

impl fmt::Display for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.prefix)
    }
}

/// The URL of a certificate, at a place where SNS, or a configured emulator, keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CertificateUrl {
    url: String,
    /// How long the part is that does not come from the message.
    host: usize,
    names: Vec<String>,
}

impl CertificateUrl {
    /// Takes the URL that a message of that topic names.
    pub(super) fn pinned(url: &str, topic: &TopicArn, emulator: Option<&Emulator>) -> Option<Self> {
        if let Some(Emulator { prefix }) = emulator
            && let Some(file) = url.strip_prefix(prefix.as_str())
        {
            is_word(file.strip_suffix(".pem")?, 128).then_some(())?;
            return Some(Self { url: url.to_owned(), host: prefix.len(), names: Vec::new() });
        }
        let TopicArn { region, suffix, .. } = topic;
        let host = topic.certificate_host();
        let file = url.strip_prefix(&host)?.strip_prefix("SimpleNotificationService-")?;
        is_word(file.strip_suffix(".pem")?, 64).then_some(())?;
        Some(Self { url: url.to_owned(), host: host.len(), names: signers(region, suffix) })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.url
    }

    /// The part that is safe to log: it holds nothing of a message.
    #[must_use]
    pub(crate) fn host(&self) -> &str {
        &self.url[..self.host]
    }

    /// The names of which the certificate must have one; none for an emulator, whose certificate
    /// is believed as it is.
    pub(super) fn names(&self) -> Option<&[String]> {
        (!self.names.is_empty()).then_some(&self.names)
    }
}

/// The names that SNS's signing certificates have. Which region has which is a list that grows
/// with each region (AWS SDK for Java 2.x, `SnsHostProvider`); all of them are AWS's.
fn signers(region: &str, suffix: &str) -> Vec<String> {
    let mut names = vec![
        format!("sns.{suffix}"),
        format!("sns.{region}.{suffix}"),
        format!("sns-signing.{region}.{suffix}"),
        format!("sns-{region}.{suffix}"),
    ];
    if region.starts_with("us-gov-") {
        names.push("sns-us-gov-west-1.amazonaws.com".to_owned());
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(partition: &str, region: &str) -> TopicArn {
        format!("arn:{partition}:sns:{region}:123456789012:events").parse().expect("a topic")
    }

    fn is_pinned(url: &str, topic: &TopicArn) -> bool {
        CertificateUrl::pinned(url, topic, None).is_some()
    }

    #[test]
    fn every_partition_has_its_hosts() {
        for (partition, region, host) in [
            ("aws", "eu-west-1", "sns.eu-west-1.amazonaws.com"),
            ("aws", "ap-southeast-7", "sns.ap-southeast-7.amazonaws.com"),
            ("aws", "us-east-1", "sns.us-east-1.amazonaws.com"),
            ("aws-cn", "cn-northwest-1", "sns.cn-northwest-1.amazonaws.com.cn"),
            ("aws-us-gov", "us-gov-east-1", "sns.us-gov-east-1.amazonaws.com"),
            ("aws-eusc", "eusc-de-east-1", "sns.eusc-de-east-1.amazonaws.eu"),
            ("aws-iso", "us-iso-east-1", "sns.us-iso-east-1.c2s.ic.gov"),
            ("aws-iso-b", "us-isob-east-1", "sns.us-isob-east-1.sc2s.sgov.gov"),
            ("aws-iso-e", "eu-isoe-west-1", "sns.eu-isoe-west-1.cloud.adc-e.uk"),
            ("aws-iso-f", "us-isof-south-1", "sns.us-isof-south-1.csp.hci.ic.gov"),
        ] {
            let url = format!("https://{host}/SimpleNotificationService-0123abcd.pem");
            let pinned = CertificateUrl::pinned(&url, &topic(partition, region), None);
            let pinned = pinned.expect("SNS's own");
            assert_eq!(pinned.host(), format!("https://{host}/"));
            assert!(pinned.names().is_some_and(|names| names.iter().any(|name| name == host)));
        }
    }

    #[test]
    fn no_other_place_is_believed() {
        let here = topic("aws", "eu-west-1");
        let good = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem";
        assert!(is_pinned(good, &here));
        for url in [
            "",
            "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
            "HTTPS://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
            " https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
            "https:///sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
            // Another region, partition or service.
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
            "https://sns.eu-west-1.amazonaws.com.cn/SimpleNotificationService-0123abcd.pem",
            "https://sns.amazonaws.com/SimpleNotificationService-0123abcd.pem",
            "https://sqs.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
            // Buckets.
            "https://s3.amazonaws.com/sns/SimpleNotificationService-0123abcd.pem",
            "https://sns.s3.amazonaws.com/SimpleNotificationService-0123abcd.pem",
            "https://sns.s3-eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
            "https://sns.eu-west-1.s3.amazonaws.com/SimpleNotificationService-0123abcd.pem",
            // Look-alikes.
            "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-0123abcd.pem",
            "https://evil.example/sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
            "https://sns-eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
            "https://xsns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
            "https://sns.eu-west-1.amaz\u{43e}naws.com/SimpleNotificationService-0123abcd.pem",
            "https://sns.eu-west-1.xn--amaznaws-8ng.com/SimpleNotificationService-0123abcd.pem",
            "https://sns.eu-west-1.amazonaws.com./SimpleNotificationService-0123abcd.pem",
            "https://SNS.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
            // What URLs may also have.
            "https://sns.eu-west-1.amazonaws.com:443/SimpleNotificationService-0123abcd.pem",
            "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-0123abcd.pem",
            "https://evil.example@sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem",
            "https://sns.eu-west-1.amazonaws.com\\@evil.example/SimpleNotificationService-0123abcd.pem",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem?Action=Publish",
            "https://sns.eu-west-1.amazonaws.com/?Action=GetTopicAttributes&x=SimpleNotificationService-a.pem",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem#x.pem",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-../x.pem",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-%2e.pem",
            "https://sns.eu-west-1.amazonaws.com//SimpleNotificationService-0123abcd.pem",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-.pem",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd",
            "https://sns.eu-west-1.amazonaws.com/other.pem",
            "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123abcd.pem\n",
        ] {
            assert!(!is_pinned(url, &here), "{url}");
        }
    }

    #[test]
    fn an_arn_is_one_of_a_topic_in_a_region() {
        for arn in [
            "",
            "arn:aws:sns:eu-west-1:123456789012",
            "arn:aws:sqs:eu-west-1:123456789012:events",
            "arn:aws:sns:eu-west-1:123456789012:events:subscription",
            "arn:aws:sns:eu-west-1:1234:events",
            "arn:aws:sns:eu-west-1:123456789012:",
            "arn:aws:sns:eu-west-1:123456789012:*",
            "arn:aws:sns::123456789012:events",
            "arn:aws:sns:s3:123456789012:events",
            "arn:aws:sns:s3-us-west-2:123456789012:events",
            "arn:aws:sns:us-west-2.evil:123456789012:events",
            "arn:aws:sns:cn-north-1:123456789012:events",
            "arn:aws-cn:sns:eu-west-1:123456789012:events",
            "arn:other:sns:eu-west-1:123456789012:events",
            " arn:aws:sns:eu-west-1:123456789012:events",
        ] {
            assert_eq!(arn.parse::<TopicArn>(), Err(NoTopic), "{arn}");
        }
        let fifo = "arn:aws:sns:eu-west-1:123456789012:events.fifo";
        assert_eq!(fifo.parse::<TopicArn>().expect("a topic").to_string(), fifo);
    }

    #[test]
    fn an_emulator_is_believed_below_its_prefix() {
        let emulator: Emulator = "http://127.0.0.1:4566/_aws/sns/".parse().expect("a prefix");
        let here = topic("aws", "eu-west-1");
        let pinned = |url: &str| CertificateUrl::pinned(url, &here, Some(&emulator));
        let url = pinned("http://127.0.0.1:4566/_aws/sns/Simple-1.pem").expect("the emulator's");
        assert_eq!((url.host(), url.names()), ("http://127.0.0.1:4566/_aws/sns/", None));
        assert!(
            pinned("https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-a.pem").is_some()
        );
        for url in [
            "http://127.0.0.1:4566/_aws/sns/../x.pem",
            "http://127.0.0.1:4566/_aws/sns/a/b.pem",
            "http://127.0.0.1:4566/_aws/sns/a.pem?x",
            "http://127.0.0.1:45661/_aws/sns/a.pem",
            "http://127.0.0.1:4566/other/a.pem",
        ] {
            assert_eq!(pinned(url), None, "{url}");
        }
        for wrong in [
            "",
            "127.0.0.1/",
            "http://host",
            "http:///x/",
            "ftp://host/",
            "http://u@host/",
            "http://host/?x/",
            "http://ho st/",
        ] {
            assert_eq!(wrong.parse::<Emulator>(), Err(NoPrefix), "{wrong}");
        }
    }
}
