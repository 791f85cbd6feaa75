//! What SES says about an account or a tenant, and not about a mail.

use time::OffsetDateTime;
use uuid::Uuid;

/// A row of `aws_report_account_event`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountEvent {
    /// See [`crate::decode::identity::account_event_id`].
    pub id: Uuid,
    /// EventBridge's clock.
    pub occurred_at: OffsetDateTime,
    /// EventBridge's `detail-type`, such as `Sending Status Disabled`.
    pub detail_type: String,
    /// The AWS account.
    pub account: Option<String>,
    /// The AWS region.
    pub region: Option<String>,
    /// The tenant that it is about, by its name.
    pub tenant: Option<String>,
    /// The ARNs that it is about, as a JSON list.
    pub resources: String,
    /// What it says, as JSON.
    pub detail: Option<String>,
}

impl AccountEvent {
    /// About what it takes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let Self { id: _, occurred_at: _, detail_type, account, region, tenant, resources, detail } =
            self;
        let optional = [account, region, tenant, detail].into_iter().flatten();
        let texts = optional.chain([detail_type, resources]);
        size_of::<Self>() + texts.map(String::len).sum::<usize>()
    }
}
