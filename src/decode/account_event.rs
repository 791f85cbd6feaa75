//! Events that SES sends to EventBridge by itself, about an account or a tenant and about no mail: sending was
//! paused or resumed, the advisor has found something or sees it mended.

use time::OffsetDateTime;

use super::event::{EARLIEST, MOST_AHEAD};
use super::identity::{self, AccountFact};
use super::json::{Json, Object};
use super::text::{self, shorten};
use super::timestamp;
use crate::row::AccountEvent;
use crate::row::columns::ACCOUNT;

/// How the types begin that SES documents. Others that name a tenant are read alike.
const KNOWN: [&str; 2] = ["Sending Status ", "Advisor Recommendation Status "];
/// What `CloudTrail` says about calls of the API has the same source, and is about no state.
const CALLS: &str = "AWS API Call";

/// Reads an EventBridge event of SES that is about no mail; `None` if it is none of these, or says no time that
/// can be believed.
pub(super) fn read(event: &Object<'_>, now: OffsetDateTime) -> Option<AccountEvent> {
    let detail_type = event.non_empty_str("detail-type")?;
    let list = event.get("resources").filter(|list| list.is_array());
    let tenant = list.and_then(Json::as_array).unwrap_or_default().into_iter().find_map(tenant);
    let is_known = KNOWN.iter().any(|known| detail_type.starts_with(known));
    if !is_known && (tenant.is_none() || detail_type.starts_with(CALLS)) {
        return None;
    }
    let occurred_at = timestamp::parse(&event.non_empty_str("time")?)?;
    if !(EARLIEST..=now.saturating_add(MOST_AHEAD)).contains(&occurred_at) {
        return None;
    }
    let (account, region) = (event.non_empty_str("account"), event.non_empty_str("region"));
    let resources = list.map_or("[]", Json::as_written);
    let detail = event.get("detail").filter(|detail| !detail.is_null()).map(Json::as_written);
    let id = event.non_empty_str("id");
    let fact = match &id {
        Some(id) => AccountFact::Event(id),
        None => AccountFact::Content {
            detail_type: &detail_type,
            account: account.as_deref().unwrap_or_default(),
            region: region.as_deref().unwrap_or_default(),
            resources,
            detail: detail.unwrap_or_default(),
        },
    };
    Some(AccountEvent {
        id: identity::account_event_id(occurred_at, &fact),
        occurred_at,
        detail_type: shorten(&detail_type, text::LABEL).into_owned(),
        account: account.map(|account| shorten(&account, ACCOUNT).into_owned()),
        region: region.map(|region| shorten(&region, ACCOUNT).into_owned()),
        tenant,
        resources: resources.to_owned(),
        detail: detail.map(str::to_owned),
    })
}

/// The name in the ARN of a tenant, `arn:aws:ses:REGION:ACCOUNT:tenant/NAME/ID`.
fn tenant(resource: Json<'_>) -> Option<String> {
    let arn = resource.non_empty_str()?;
    let (_, path) = arn.split_once(":tenant/")?;
    let name = path.split('/').next().filter(|name| !name.is_empty())?;
    Some(shorten(name, text::LABEL).into_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-21 12:00:00 UTC);

    fn paused() -> Value {
        json!({
            "version": "0", "id": "eb-1", "detail-type": "Sending Status Disabled", "source": "aws.ses",
            "account": "123456789012", "time": "2026-11-20T10:00:00Z", "region": "eu-west-1",
            "resources": ["arn:aws:ses:eu-west-1:123456789012:tenant/shop/tn-1"],
            "detail": {"version": "1.0.0", "data": {"origin": "AWS_MANAGED", "record": {"status": "DISABLED", "cause": "bounce rate"}}},
        })
    }

    fn read_changed(changes: Value) -> Option<AccountEvent> {
        let (Value::Object(mut event), Value::Object(changes)) = (paused(), changes) else {
            panic!("objects only")
        };
        event.extend(changes);
        let text = Value::Object(event).to_string();
        let object = Json::parse(&text).expect("JSON").as_object().expect("an object");
        read(&object, NOW)
    }

    #[test]
    fn it_says_what_when_and_about_whom() {
        let event = read_changed(json!({})).expect("an account event");
        assert_eq!(event.detail_type, "Sending Status Disabled");
        assert_eq!(event.occurred_at, datetime!(2026-11-20 10:00:00 UTC));
        assert_eq!(event.tenant.as_deref(), Some("shop"));
        assert_eq!(event.account.as_deref(), Some("123456789012"));
        assert_eq!(event.region.as_deref(), Some("eu-west-1"));
        let same = |text: &str, key: &str| {
            assert_eq!(serde_json::from_str::<Value>(text).expect("JSON"), paused()[key]);
        };
        same(&event.resources, "resources");
        same(event.detail.as_deref().expect("a detail"), "detail");
        assert_eq!(event.id.get_version_num(), 8);
    }

    #[test]
    fn the_documented_types_and_whatever_names_a_tenant_are_recognised() {
        let none = json!([]);
        let tenants = paused()["resources"].clone();
        for (detail_type, resources, is_read) in [
            ("Sending Status Enabled", &none, true),
            ("Advisor Recommendation Status Open", &none, true),
            ("Advisor Recommendation Status Resolved", &none, true),
            ("Advisor Recommendation Status Closed", &none, true),
            ("Tenant Reputation Policy Changed", &tenants, true),
            ("Tenant Reputation Policy Changed", &none, false),
            ("AWS API Call via CloudTrail", &tenants, false),
            ("Scheduled Event", &json!(["arn:aws:ses:eu-west-1:1:tenant/", 1]), false),
            (" ", &tenants, false),
        ] {
            let read = read_changed(json!({"detail-type": detail_type, "resources": resources}));
            assert_eq!(read.is_some(), is_read, "{detail_type} {resources}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_believed_is_no_event() {
        for time in ["", "yesterday", "2010-12-31T00:00:00Z", "2026-11-24T12:00:00Z"] {
            assert_eq!(read_changed(json!({"time": time})), None, "{time}");
        }
    }

    #[test]
    fn ids_are_those_of_the_event_or_of_its_content() {
        let id = |changes| read_changed(changes).expect("an account event").id;
        // A copy that a rule has written in another form is the same event.
        assert_eq!(id(json!({})), id(json!({"detail": null, "resources": null})));
        assert_ne!(id(json!({})), id(json!({"id": "eb-2"})));
        let without = |changes: Value| {
            let mut all = json!({"id": null});
            all.as_object_mut()
                .expect("an object")
                .extend(changes.as_object().cloned().expect("too"));
            id(all)
        };
        assert_eq!(without(json!({})), without(json!({})));
        assert_ne!(without(json!({})), id(json!({})));
        for change in [
            json!({"time": "2026-11-20T10:00:01Z"}),
            json!({"detail-type": "Sending Status Enabled"}),
            json!({"account": "2"}),
            json!({"region": "us-east-1"}),
            json!({"resources": []}),
            json!({"detail": {"data": "x"}}),
        ] {
            assert_ne!(without(json!({})), without(change.clone()), "{change}");
        }
    }

    #[test]
    fn what_is_missing_or_long_is_no_trouble() {
        let changes = json!({"account": null, "region": 1, "resources": "x", "detail": "text", "detail-type": format!("Sending Status {}", "x".repeat(300))});
        let event = read_changed(changes).expect("an account event");
        assert_eq!((event.account, event.region, event.tenant), (None, None, None));
        assert_eq!((&*event.resources, event.detail.as_deref()), ("[]", Some("\"text\"")));
        assert_eq!(event.detail_type.chars().count(), text::LABEL);
    }
}
