//! Real answers of servers, and their classes.

use proptest::prelude::*;

use super::*;

/// The class of a bounce whose subtype says nothing.
fn of_text(diagnostic: &str) -> &'static str {
    name(&Evidence { diagnostic: Some(diagnostic), ..general() })
}

fn general() -> Evidence<'static> {
    Evidence { bounce_type: Some("Permanent"), sub_type: Some("General"), ..Evidence::default() }
}

fn name(evidence: &Evidence<'_>) -> &'static str {
    class(evidence).map_or("unknown", BounceClass::name)
}

#[test]
fn ses_itself_says_the_class_of_some() {
    let user_unknown = Some("smtp; 550 5.1.1 user unknown");
    for (bounce_type, sub_type, diagnostic, expected) in [
        ("Permanent", "Suppressed", user_unknown, "suppressed"),
        ("Permanent", "OnAccountSuppressionList", None, "suppressed"),
        ("Permanent", "OnTenantSuppressionList", None, "suppressed"),
        ("Permanent", "UnsubscribedRecipient", None, "suppressed"),
        ("Permanent", "EmailValidationSuppressed", None, "suppressed"),
        ("Permanent", "NoEmail", None, "invalid-recipient"),
        ("Permanent", "General", user_unknown, "invalid-recipient"),
        ("Transient", "MailboxFull", None, "mailbox-full"),
        ("Transient", "MessageTooLarge", None, "too-large"),
        ("Transient", "CustomTimeoutExceeded", None, "expired"),
        ("Transient", "AttachmentRejected", None, "content"),
        ("Transient", "ContentRejected", None, "content"),
        // Gmail's code says more than the subtype.
        ("Transient", "ContentRejected", Some("smtp; 550 5.7.26 rejected"), "authentication"),
        ("AutoReply", "General", None, "auto-reply"),
        ("Transient", "General", None, "unknown"),
        ("Undetermined", "Undetermined", None, "unknown"),
        ("Brand", "New", None, "unknown"),
    ] {
        let evidence = Evidence {
            bounce_type: Some(bounce_type),
            sub_type: Some(sub_type),
            diagnostic,
            ..Evidence::default()
        };
        assert_eq!(name(&evidence), expected, "{evidence:?}");
    }
}

#[test]
fn each_documented_delay_type_has_a_class_but_those_that_say_nothing() {
    for (delay_type, expected) in [
        ("InternalFailure", "ses-internal"),
        ("General", "unknown"),
        ("MailboxFull", "mailbox-full"),
        ("SpamDetected", "content"),
        ("RecipientServerError", "server-failure"),
        ("IPFailure", "blocklist"),
        ("TransientCommunicationFailure", "connection"),
        ("BYOIPHostNameLookupUnavailable", "authentication"),
        ("Undetermined", "unknown"),
        ("SendingDeferral", "ses-internal"),
    ] {
        let evidence = Evidence { delay_type: Some(delay_type), ..Evidence::default() };
        assert_eq!(name(&evidence), expected, "{delay_type}");
    }
    let evidence = Evidence {
        delay_type: Some("TransientCommunicationFailure"),
        status: Some("4.4.1"),
        diagnostic: Some("smtp; 421 4.4.1 Unable to connect to remote host"),
        ..Evidence::default()
    };
    assert_eq!(name(&evidence), "connection");
}

#[test]
fn the_status_alone_has_the_class_of_the_registry() {
    for (status, expected) in [
        ("5.1.1", "invalid-recipient"),
        ("5.1.2", "bad-domain"),
        ("5.1.3", "invalid-recipient"),
        ("5.1.6", "invalid-recipient"),
        ("5.1.8", "authentication"),
        ("5.1.10", "bad-domain"),
        ("5.2.1", "inactive-mailbox"),
        ("4.2.2", "mailbox-full"),
        ("5.2.3", "too-large"),
        ("4.3.1", "server-failure"),
        ("5.3.4", "too-large"),
        ("4.4.1", "connection"),
        ("4.4.2", "connection"),
        ("5.4.4", "bad-domain"),
        ("5.4.6", "server-failure"),
        ("4.4.7", "expired"),
        ("4.5.3", "rate-limit"),
        ("5.6.1", "malformed"),
        ("5.7.1", "policy"),
        ("5.7.17", "invalid-recipient"),
        ("5.7.18", "bad-domain"),
        ("5.7.23", "authentication"),
        ("4.7.28", "rate-limit"),
        ("5.0.0", "unknown"),
        ("5.5.0", "unknown"),
    ] {
        let evidence = Evidence { status: Some(status), ..general() };
        assert_eq!(name(&evidence), expected, "{status}");
    }
}

#[test]
fn gmail_codes_for_authentication_are_told_from_those_for_too_much_mail() {
    for code in ["25", "26", "27", "29", "30", "31", "32", "40"] {
        for (reply, kind) in [("421", "4"), ("550", "5")] {
            let text = format!(
                "smtp; {reply}-{kind}.7.{code} Your email\n{reply} {kind}.7.{code} x1si2.3 - gsmtp"
            );
            assert_eq!(of_text(&text), "authentication", "{text}");
        }
    }
    assert_eq!(
        of_text("smtp; 421-4.7.28 Gmail has detected an unusual rate of mail"),
        "rate-limit"
    );
}

/// Answers of providers, gateways and mail servers.
const TEXTS: &[(&str, &[&str])] = &[
    (
        "invalid-recipient",
        &[
            "smtp; 550-5.1.1 The email account that you tried to reach does not exist. Please try\n550-5.1.1 double-checking the recipient's email address. Learn more at\n550 5.1.1  https://support.google.com/mail/?p=NoSuchUser a1si2.3 - gsmtp",
            "smtp; 550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient jane@example.com not found by SMTP address lookup",
            "smtp; 550 5.4.1 Recipient address rejected: Access denied. [AB1EUR01FT001.eop-EUR01.prod.protection.outlook.com]",
            "smtp; 550 5.5.0 Requested action not taken: mailbox unavailable [AB1.eop-eur01.prod.protection.outlook.com]",
            "smtp; 552 1 Requested mail action aborted, mailbox not found",
            "smtp; 554 delivery error: dd This user doesn't have a yahoo.com account (jane@example.com) [0] - mta1.mail.example",
            "smtp; 550 5.1.1 <jane@example.com>: Recipient address rejected: User unknown in virtual alias table",
            "smtp; 550 5.1.1 <jane@example.com>: user does not exist",
            "smtp; 550 Unrouteable address",
            "smtp; 550 No Such User Here",
            "smtp; 550 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550 [abc]",
            "smtp; 550 #5.1.0 Address rejected.",
            "smtp; 550 The recipient may contain a non-existent account, please check the recipient address.",
            "smtp; 550 Message was not accepted -- invalid mailbox. Local mailbox jane@example.com is unavailable: user not found",
            "smtp; 550 user unknown",
            "smtp; 550 Mailbox unknown or not accepting mail.",
            "smtp; 553 sorry, this recipient is not in my validrcptto list",
            "smtp; 511 sorry, no mailbox here by that name (#5.1.1 - chkuser)",
            "X-Postfix; unknown user: \"jane\"",
        ],
    ),
    (
        "inactive-mailbox",
        &[
            "smtp; 550-5.2.1 The email account that you tried to reach is inactive. Learn more at\n550 5.2.1 https://support.google.com/mail/?p=DisabledUser a1si2.3 - gsmtp",
            "smtp; 554 30 Sorry, your message to jane@example.com cannot be delivered. This mailbox is disabled (554.30).",
            "smtp; 550 5.7.1 Account suspended",
            "smtp; 550 Account is locked",
            "smtp; 550 5.2.1 jane@example.com",
            "smtp; 550 This address no longer accepts mail.",
        ],
    ),
    (
        "mailbox-full",
        &[
            "smtp; 452-4.2.2 The recipient's inbox is out of storage space. Please direct the\n452 4.2.2 recipient to https://support.google.com/mail/?p=OverQuotaTemp a1si2.3 - gsmtp",
            "smtp; 554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException",
            "smtp; 552 Requested mail action aborted: exceeded storage allocation",
            "smtp; 452 Requested action not taken: mailbox full",
            "smtp; 552 5.7.0 user is over quota",
            "smtp; 550 Mailfolder is full",
            "smtp; 554 4.4.7 Message expired: unable to deliver in 840 minutes.<452-4.2.2 The recipient's inbox is out of storage space.>",
        ],
    ),
    (
        "bad-domain",
        &[
            "smtp; 550 5.4.4 Host or domain name not found. Name service error for name=example.invalid type=MX: Host not found",
            "smtp; 554 4.4.7 Message expired: unable to deliver in 840 minutes.<421 4.4.0 Unable to lookup DNS for exmaple.example>",
            "smtp; 550 5.4.310 DNS domain example.invalid does not exist [Message=InfoDomainNonexistent]",
            "smtp; 550 5.1.2 Host unknown",
            "smtp; 556 5.1.10 Recipient address has null MX",
            "smtp; 554 5.0.0 Domain example.invalid not found",
            "smtp; 550 No MX record for this domain",
        ],
    ),
    (
        "expired",
        &[
            "smtp; 450 TEMPERROR: retry timeout exceeded",
            "smtp; 550 4.4.7 Message expired: unable to deliver in 840 minutes.<421 4.4.2 Connection timed out>",
            "smtp; 554 4.4.7 Message expired: unable to deliver in 840 minutes.<421 4.4.1 Failed to establish connection>",
        ],
    ),
    (
        "authentication",
        &[
            "smtp; 553 This route requires encryption (TLS)",
            "smtp; 550 Rejected by header-based Anti-Spoofing policy",
            "smtp; 451 Message temporarily deferred due to unresolvable RFC.5321 from domain.",
            "smtp; 553 5.1.7 Invalid sender address",
            "smtp; 550 Sender address is invalid",
            "smtp; 550 5.7.1 Unauthenticated email is not accepted from this domain. u1si2.3",
            "smtp; 550 SPF check failed [abc IP: 192.0.2.1]. https://service.mail.qq.com/detail/122/72.",
            "smtp; 550-5.7.26 Your email has been blocked because the sender is unauthenticated. Gmail requires all senders to authenticate with either SPF or DKIM.",
            "smtp; 421-4.7.0 This message does not pass authentication checks (SPF and DKIM both do not pass).",
            "smtp; 550 5.7.515 Access denied, sending domain example.com does not meet the required authentication level.",
            "smtp; 550 5.7.509 Access denied, sending domain example.com does not pass DMARC verification and has a DMARC policy of reject.",
            "smtp; 554 5.7.9 Message not accepted for policy reasons: DMARC policy of example.com",
            "smtp; 554 5.7.1 Your message was rejected due to example.com's DMARC policy.",
            "smtp; 550 DMARC Sender Invalid - envelope rejected - https://community.mimecast.com/docs/DOC-1369#550",
            "smtp; 550 SPF Sender Invalid - envelope rejected",
            "smtp; 450 4.1.8 <jane@example.com>: Sender address rejected: Domain not found",
            "smtp; 450 4.7.1 Client host rejected: cannot find your hostname, [192.0.2.1]",
            "smtp; 550-Sender verify failed",
            "smtp; 554-No SMTP service 554-Bad DNS PTR resource record.",
            "smtp; 530 5.7.0 Must issue a STARTTLS command first",
        ],
    ),
    (
        "blocklist",
        &[
            "smtp; 553 5.7.2 [TSS09] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed.",
            "smtp; 451 IP temporarily blacklisted",
            "smtp; 550 Local CT IP Reputation - (reject)",
            "smtp; 554-gmx.net (mxgmx008) Nemesis ESMTP Service not available 554-No SMTP service 554-IP address is block listed. 554 For explanation visit https://postmaster.gmx.net/",
            "smtp; 554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.1",
            "smtp; 550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3140).",
            "smtp; 550 5.7.606 Access denied, banned sending IP [192.0.2.1].",
            "smtp; 451 4.7.651 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation.",
            "smtp; 550-5.7.1 [192.0.2.1 19] Our system has detected that this message is likely suspicious due to the very low reputation of the sending IP address.",
            "smtp; 553 5.7.1 [BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list",
            "smtp; 554 Service unavailable; Client host [mx.example.com] blocked using Barracuda Reputation; http://www.barracudanetworks.com/reputation/?r=1&ip=192.0.2.1",
            "smtp; 554-mx.example.com\n554 Your access to this mail system has been rejected due to the sending MTA's poor reputation.",
            "smtp; 554 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1",
            "smtp; 550 csi.mimecast.org Poor Reputation Sender. - https://community.mimecast.com/docs/DOC-1369#550",
        ],
    ),
    (
        "reputation",
        &[
            "smtp; 554 Rejected by URIBL.",
            "smtp; 550 Access denied (sender blacklisted)",
            "smtp; 550-5.7.1 [192.0.2.1 19] Our system has detected that this message is likely suspicious due to the very low reputation of the sending domain.",
            "smtp; 554 5.7.1 Blocked by dbl.spamhaus.org: example.com",
            "smtp; 550 5.7.1 URL is blacklisted by multi.uribl.com",
        ],
    ),
    (
        "content",
        &[
            "smtp; 552-5.7.0 Our system detected an illegal attachment on your message.",
            "smtp; 550 Message bounced due to Content Examination Policy",
            "smtp; 550 5.7.1 Message content rejected, UBE, id=00000-00-000",
            "smtp; 550 5.7.1 Blocked by SpamAssassin",
            "smtp; 550 5.7.1 Email 4hrQ0J rejected per SPAM policy",
            "smtp; 550-5.7.1 [192.0.2.1 12] Our system has detected that this message is likely unsolicited mail. To reduce the amount of spam sent to Gmail, this message has been blocked.",
            "smtp; 552-5.7.0 This message was blocked because its content presents a potential security issue.",
            "smtp; 554 rejected due to spam content",
            "smtp; 554 5.7.1 Spam message rejected; If this is not spam contact abuse",
            "smtp; 550 Mail content denied. http://service.mail.qq.com/cgi-bin/help?id=20022",
            "smtp; 554 5.6.0 Message contains a virus",
            "smtp; 5.3.0 - Other mail system problem 571-'5.7.1 Message contains spam or virus or sender is blocked : 1:2|3'",
            "smtp; 554 DT:SPM mx1,please see http://mail.163.com/help/help_spam_16.htm?ip=192.0.2.1",
        ],
    ),
    (
        "rate-limit",
        &[
            "smtp; 550-5.7.1 Our system has detected an unusual rate of unsolicited mail originating from your IP address. To protect our users from spam, mail sent from your IP address has been blocked.",
            "smtp; 421 Max message per connection reached, closing transmission channel",
            "smtp; 450-4.2.1 The user you are trying to contact is receiving mail too quickly.\n450 4.2.1 https://support.google.com/mail/?p=ReceivingRate a1si2.3 - gsmtp",
            "smtp; 421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1; see https://postmaster.yahooinc.com/error-codes",
            "smtp; 550 5.2.121 Recipient's per hour message receive limit from specific sender exceeded.",
            "smtp; 432 4.3.2 STOREDRV.Deliver; recipient thread limit exceeded",
            "smtp; 421 Too many concurrent SMTP connections",
            "smtp; 452 4.5.3 Too many recipients",
            "smtp; 450 4.7.1 Message rate exceeded",
            "smtp; 550 Connection frequency limited",
        ],
    ),
    (
        "policy",
        &[
            "smtp; 550-5.7.1 The user or domain that you are sending to (or from) has a policy that\n550 5.7.1 prohibited the mail that you sent. a1si2.3 - gsmtp",
            "smtp; 550 5.7.1 User not authorized to send to this list",
            "smtp; 554 5.7.1 <jane@example.com>: Recipient address rejected: Access denied",
            "smtp; 530 Relaying not allowed",
            "smtp; 550 DY-001 Mail rejected for policy reasons.",
            "smtp; 550-5.7.1 PERM_FAIL_POLICY Your email has been rejected because it violates\n550 5.7.1 school policy. a1si2.3 - gsmtp",
            "smtp; 550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required",
            "smtp;550 5.7.1 RESOLVER.RST.AuthRequired; authentication required",
            "smtp; 554 5.7.1 <jane@example.com>: Relay access denied",
            "smtp; 550 relay not permitted",
            "smtp; 550 Administrative prohibition - envelope blocked - https://community.mimecast.com/docs/DOC-1369#550",
            "smtp; 550 permanent failure for one or more recipients (jane@example.com:blocked)",
            "smtp; 554 5.7.1 [CS01] Message rejected due to local policy. Please visit https://support.apple.com/en-us/HT204137",
            "smtp; 554 5.7.9 Message not accepted for policy reasons. See https://postmaster.yahooinc.com/error-codes",
            "smtp; 550 5.7.0 Local Policy Violation",
        ],
    ),
    (
        "too-large",
        &[
            "smtp; 552 5.3.4 Message size exceeds fixed limit",
            "smtp; 552-5.2.3 Your message exceeded Google's message size limits.",
            "smtp; 554 message too large",
        ],
    ),
    (
        "malformed",
        &[
            "smtp; 554 (Reject, id=10432-16 - BAD_HEADER: Duplicate header field: From)",
            "smtp; 550-5.7.1 [192.0.2.1] Messages missing a valid address in From: header, or having no From: header, are not accepted.",
            "smtp; 550 5.6.0 Message violates RFC 5322: duplicate header",
            "smtp; 500 Line too long",
            "smtp; 553 5.6.7 Address requires SMTPUTF8",
        ],
    ),
    (
        "connection",
        &[
            "smtp; 421 4.7.0 Connection expired, try reconnecting.",
            "smtp; 421 4.4.1 Unable to connect to remote host",
            "smtp; 421 4.4.2 Connection dropped",
            "smtp; 450 4.4.316 Connection refused [Message=Socket error code 10061]",
            "smtp; 441 4.4.1 Unable to connect",
            "smtp; 421 Connection timed out",
        ],
    ),
    (
        "server-failure",
        &[
            "smtp; 451 Recipient temporarily unavailable",
            "smtp; 451 Unable to process connection at this time",
            "4.2.1 mailbox temporarily unavailable",
            "smtp; 450\n mailbox busy",
            "smtp; 451 4.7.1 Please try again later",
            "smtp; 450 4.2.0 <jane@example.com>: Recipient address rejected: Greylisted, see http://postgrey.example/help",
            "smtp; 451 4.3.0 <jane@example.com>: Temporary lookup failure",
            "smtp; 421-4.3.0 Temporary System Problem. Try again later.",
            "smtp; 450 Requested mail action not taken: mailbox unavailable",
            "smtp; 451 Internal resource temporarily unavailable - https://community.mimecast.com/docs/DOC-1369#451",
            "smtp; 452 4.3.1 Insufficient system storage",
            "smtp; 550 5.4.14 Hop count exceeded - possible mail loop",
            "smtp; 554 5.4.6 Too many hops",
        ],
    ),
    (
        "unknown",
        &["", "smtp; 550", "smtp; 550 5.0.0", "smtp; 554 Nein", "\u{1f600}", "-", "/ - 5.1"],
    ),
];

#[test]
fn what_servers_say_has_its_class() {
    let wrong: Vec<_> = TEXTS
        .iter()
        .flat_map(|(expected, texts)| {
            texts.iter().map(move |text| (*expected, of_text(text), *text))
        })
        .filter(|(expected, found, _)| expected != found)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn words_of_addresses_say_nothing() {
    assert_eq!(of_text("smtp; 550 5.5.0 <spam.virus@dmarc.example>: no"), "unknown");
}

proptest! {
    #[test]
    fn any_evidence_is_taken(words in proptest::array::uniform5(proptest::option::of(".{0,80}"))) {
        let [bounce_type, sub_type, delay_type, status, diagnostic] = &words;
        let evidence = Evidence {
            bounce_type: bounce_type.as_deref(),
            sub_type: sub_type.as_deref(),
            delay_type: delay_type.as_deref(),
            status: status.as_deref(),
            diagnostic: diagnostic.as_deref(),
        };
        let found = class(&evidence);
        prop_assert!(found.is_none_or(|class| BounceClass::ALL.contains(&class)));
    }

    #[test]
    fn how_an_answer_is_broken_into_lines_changes_nothing(
        words in proptest::collection::vec("[a-z]{1,8}", 1..12),
        breaks in proptest::collection::vec(any::<bool>(), 12),
    ) {
        let mut lines = "smtp; 550-5.1.1 ".to_owned();
        for (word, is_broken) in words.iter().zip(breaks) {
            lines.push_str(word);
            lines.push_str(if is_broken { "\n550-5.1.1 " } else { " " });
        }
        let text = |diagnostic| Evidence { diagnostic: Some(diagnostic), ..general() }.normal();
        prop_assert_eq!(text(&lines), text(&format!("550 5.1.1 {}", words.join(" "))));
    }
}
