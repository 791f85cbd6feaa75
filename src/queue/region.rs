//! Regions of AWS, and which one a queue's URL names.

/// The region of a queue by its URL: `sqs.REGION.amazonaws.com`, a VPC endpoint, or the older
/// `REGION.queue.amazonaws.com`. `None` where the URL names none, as those of emulators.
pub(super) fn of_url(url: &str) -> Option<&str> {
    let (_scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', ':']).next()?;
    let labels: Vec<&str> = host.split('.').collect();
    let at = |index: usize| labels.get(index).copied().filter(|label| is_region(label));
    labels.iter().enumerate().find_map(|(index, label)| match *label {
        "sqs" | "sqs-fips" => at(index + 1),
        "queue" => index.checked_sub(1).and_then(at),
        _ => None,
    })
}

/// Whether it can be a region's name: `eu-west-1`, `us-gov-east-1`.
fn is_region(name: &str) -> bool {
    let mut parts = name.split('-');
    let is_word =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let number = parts.next_back().is_some_and(|last| last.parse::<u8>().is_ok());
    number && parts.clone().count() >= 2 && parts.all(is_word)
}

/// What can be a region in a setting: the names of emulators too, but nothing that no host name holds.
pub(super) fn is_usable(name: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !name.is_empty() && name.bytes().all(is_fit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_url_names_its_region() {
        for (url, region) in [
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/q", Some("eu-west-1")),
            ("https://sqs-fips.us-gov-east-1.amazonaws.com/123456789012/q", Some("us-gov-east-1")),
            ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/q", Some("cn-north-1")),
            ("https://ap-southeast-2.queue.amazonaws.com/123456789012/q", Some("ap-southeast-2")),
            ("https://vpce-0a-b.sqs.eu-west-1.vpce.amazonaws.com/1/q", Some("eu-west-1")),
            ("https://sqs.eu-central-1.api.aws/123456789012/q", Some("eu-central-1")),
            ("http://sqs.us-east-1.localhost.localstack.cloud:4566/0/q", Some("us-east-1")),
            ("http://localhost:4566/000000000000/sqs.eu-west-1", None),
            ("http://127.0.0.1:4100/000000000000/q", None),
            ("https://sqs.example.com/q", None),
            ("https://queue.amazonaws.com/123456789012/q", None),
            ("", None),
        ] {
            assert_eq!(of_url(url), region, "{url}");
        }
    }

    #[test]
    fn a_setting_holds_what_a_host_name_can_hold() {
        assert!(["eu-west-1", "local", "us-east-1"].iter().all(|name| is_usable(name)));
        assert!(
            !["", " ", "eu west 1", "eu-west-1 ", "eu.west"].iter().any(|name| is_usable(name))
        );
    }
}
