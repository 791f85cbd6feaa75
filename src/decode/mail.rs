//! What an event's `mail` object says, as the columns hold it.

use std::borrow::Cow;

use super::json::{Json, Object};
use super::text::{self, shorten};
use super::{Rules, address, identity};
use crate::row::{ReportType, Tags};

/// What the mail object says, as the columns hold it.
pub(super) struct Mail<'a> {
    pub(super) from: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) user_id: Option<String>,
    pub(super) report_type: Option<ReportType>,
    /// Those that the operator has chosen.
    pub(super) tags: Option<Tags>,
    /// Where SES sent the mail, as it names providers.
    pub(super) isp: Option<Cow<'a, str>>,
    /// The values of which the columns hold another form: shortened or normalised.
    pub(super) as_sent: Vec<(&'static str, Cow<'a, str>)>,
}

impl<'a> Mail<'a> {
    pub(super) fn read(mail: &Object<'a>, rules: &Rules) -> Self {
        let headers = mail.object("commonHeaders");
        let headers = headers.as_ref();
        let source = mail
            .non_empty_str("source")
            .or_else(|| headers.and_then(|headers| headers.get("from")?.first_non_empty_str()));
        let subject = headers
            .and_then(|headers| headers.non_empty_str("subject"))
            .or_else(|| header(mail, "Subject"));
        let tags = mail.object("tags");
        let tag = |name: &str| tags.as_ref().and_then(|tags| tags.get(name)?.first_non_empty_str());
        let user_id = tag(&rules.user_id_tag);
        let report_type = tag(&rules.report_type_tag).or_else(|| tag("ses:configuration-set"));

        let mut as_sent = Vec::new();
        let from = source.and_then(|source| {
            let address = address::normalise(&source)?;
            let from = shorten(&address, text::ADDRESS).into_owned();
            if from != source {
                as_sent.push(("from", source));
            }
            Some(from)
        });
        let mut fitted = |column, value: Option<Cow<'a, str>>, most| {
            value.map(|value| {
                let short = shorten(&value, most).into_owned();
                if short != value {
                    as_sent.push((column, value));
                }
                short
            })
        };
        let subject = fitted("subject", subject, text::SUBJECT);
        let user_id = fitted("user_id", user_id, text::LABEL);
        let report_type = fitted("report_type", report_type, text::LABEL);
        Self {
            from,
            subject,
            user_id,
            report_type: report_type
                .filter(|name| name != "default")
                .map(|name| ReportType { id: identity::report_type_id(&name), name }),
            isp: tag("ses:recipient-isp"),
            tags: rules.report_tags.among(tags.as_ref()),
            as_sent,
        }
    }
}

/// A header of `mail.headers` by name.
fn header<'a>(mail: &Object<'a>, name: &str) -> Option<Cow<'a, str>> {
    mail.get("headers")?.as_array()?.into_iter().filter_map(Json::as_object).find_map(|header| {
        header
            .non_empty_str("name")?
            .eq_ignore_ascii_case(name)
            .then(|| header.non_empty_str("value"))?
    })
}
