//! The classes of bounces and delays. The table `aws_report_bounce_class` holds the same.

use serde::Deserialize;

/// Why a mail bounced or was delayed. An unknown reason has no class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "`meaning` describes each")]
pub enum BounceClass {
    Authentication,
    AutoReply,
    BadDomain,
    Blocklist,
    Connection,
    Content,
    Expired,
    InactiveMailbox,
    InvalidRecipient,
    MailboxFull,
    Malformed,
    Policy,
    RateLimit,
    Reputation,
    ServerFailure,
    SesInternal,
    Suppressed,
    TooLarge,
}

/// Who can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The recipient, or the owner of the recipient's domain.
    Recipient,
    /// The sender of the mail, who is the user of this service.
    Sender,
    /// Amazon SES.
    Ses,
    /// The mailbox provider or its server.
    Provider,
}

impl BounceClass {
    /// All of them, by name.
    pub const ALL: [Self; 18] = [
        Self::Authentication,
        Self::AutoReply,
        Self::BadDomain,
        Self::Blocklist,
        Self::Connection,
        Self::Content,
        Self::Expired,
        Self::InactiveMailbox,
        Self::InvalidRecipient,
        Self::MailboxFull,
        Self::Malformed,
        Self::Policy,
        Self::RateLimit,
        Self::Reputation,
        Self::ServerFailure,
        Self::SesInternal,
        Self::Suppressed,
        Self::TooLarge,
    ];

    /// The name as the database and the rules hold it; at most 32 characters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().0
    }

    /// Who can do something about it.
    #[must_use]
    pub const fn fault(self) -> Fault {
        self.facts().1
    }

    /// What it means, in a sentence.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        self.facts().2
    }

    const fn facts(self) -> (&'static str, Fault, &'static str) {
        use Fault::{Provider, Recipient, Sender, Ses};
        match self {
            Self::Authentication => (
                "authentication",
                Sender,
                "The sender could not be verified: SPF, DKIM, DMARC, reverse DNS, TLS, or a sender's domain that does not resolve.",
            ),
            Self::AutoReply => (
                "auto-reply",
                Recipient,
                "The recipient answered, or a program such as an out-of-office reply did; the mail was delivered.",
            ),
            Self::BadDomain => (
                "bad-domain",
                Recipient,
                "The domain of the address does not exist or takes no mail; often a typo.",
            ),
            Self::Blocklist => (
                "blocklist",
                Ses,
                "The IP address that SES sent from is on a blocklist or has a bad reputation; a dedicated IP address is the sender's own responsibility.",
            ),
            Self::Connection => (
                "connection",
                Provider,
                "The recipient's server could not be reached, or the connection to it broke.",
            ),
            Self::Content => (
                "content",
                Sender,
                "The recipient's server considers the message spam, or refuses its content or an attachment.",
            ),
            Self::Expired => {
                ("expired", Provider, "SES retried until the time for delivery had passed.")
            }
            Self::InactiveMailbox => (
                "inactive-mailbox",
                Recipient,
                "The mailbox exists and is disabled, suspended or no longer used.",
            ),
            Self::InvalidRecipient => {
                ("invalid-recipient", Recipient, "The address does not exist.")
            }
            Self::MailboxFull => ("mailbox-full", Recipient, "The mailbox is over its quota."),
            Self::Malformed => (
                "malformed",
                Sender,
                "The message breaks a rule of its format or of the protocol: a header, a line end, a character set.",
            ),
            Self::Policy => (
                "policy",
                Provider,
                "A rule of the recipient's organisation or provider refuses the message, for a reason that no other class names.",
            ),
            Self::RateLimit => (
                "rate-limit",
                Sender,
                "Too much mail in too short a time, for the recipient, for the provider, or from this sender.",
            ),
            Self::Reputation => (
                "reputation",
                Sender,
                "The sender's domain, or a domain that the message links to, is on a blocklist or has a bad reputation.",
            ),
            Self::ServerFailure => (
                "server-failure",
                Provider,
                "The recipient's server had a fault of its own, or asked to try again later, as greylisting does.",
            ),
            Self::SesInternal => (
                "ses-internal",
                Ses,
                "Amazon SES delayed the message on purpose, or had a failure of its own.",
            ),
            Self::Suppressed => (
                "suppressed",
                Sender,
                "SES did not try, because of a suppression list, an unsubscription or address validation: stop writing to the address.",
            ),
            Self::TooLarge => {
                ("too-large", Sender, "The message is larger than the recipient's server accepts.")
            }
        }
    }
}

impl Fault {
    /// The name as the database holds it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recipient => "recipient",
            Self::Sender => "sender",
            Self::Ses => "ses",
            Self::Provider => "provider",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_rules_in_order_and_fit_the_column() {
        let names = BounceClass::ALL.map(BounceClass::name);
        assert!(names.is_sorted());
        for (class, name) in BounceClass::ALL.into_iter().zip(names) {
            let in_rules: BounceClass =
                serde_json::from_value(name.into()).expect("a class of this name");
            assert_eq!(in_rules, class);
            assert!(name.len() <= 32, "{name}");
            assert!(class.meaning().ends_with('.') && class.meaning().len() < 150, "{name}");
        }
    }
}
