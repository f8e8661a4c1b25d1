//! `iamcredentials.googleapis.com`: tokens of a service account for somebody who may act as it.
//!
//! <https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts>
use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Credentials, keys::internal, oauth::are_scopes};
use crate::{
    gcp::{
        call::{Call, unimplemented},
        status::{Code, Status},
        validate::duration_seconds,
    },
    iam::{Member, Principal},
};

/// Without a policy of the organisation: <https://cloud.google.com/iam/docs/create-short-lived-credentials-direct#sa-credentials-oauth>
const LONGEST: f64 = 3600.0;

impl Credentials {
    /// `method` is its id below `iamcredentials.projects.serviceAccounts.`.
    pub(crate) async fn impersonate(&self, call: &Call<'_>, method: &str) -> Result<Value, Status> {
        let permission = match method {
            "generateAccessToken" => "iam.serviceAccounts.getAccessToken",
            "generateIdToken" => "iam.serviceAccounts.getOpenIdToken",
            _ => return Err(unimplemented()),
        };
        let email = call.parameter(1);
        // `-` is any project, and the only one: https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken
        if call.parameter(0) != "-" || !email.contains('@') {
            return Err(invalid());
        }
        self.check_chain(call, permission, &email)?;
        if method == "generateIdToken" {
            self.generate_id_token(call, &email).await
        } else {
            self.generate_access_token(call, email)
        }
    }

    /// From the caller over the delegates to the account, each may act as the next.
    /// <https://cloud.google.com/iam/docs/create-short-lived-credentials-delegated>
    fn check_chain(&self, call: &Call<'_>, permission: &str, email: &str) -> Result<(), Status> {
        let mut caller = call.principal.clone();
        for delegate in call.body["delegates"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let delegate = delegate.strip_prefix("projects/-/serviceAccounts/").ok_or_else(invalid)?;
            let delegation = "iam.serviceAccounts.implicitDelegation";
            if !self.accounts.may(&caller, delegation, delegate) {
                return Err(denied(delegation));
            }
            self.check_enabled(delegate)?;
            caller = Arc::new(Principal::of(Member::ServiceAccount(delegate.to_owned())));
        }
        if !self.accounts.may(&caller, permission, email) {
            return Err(denied(permission));
        }
        self.check_enabled(email)
    }

    /// Asked last: only whoever may act as the account learns how it stands.
    fn check_enabled(&self, email: &str) -> Result<(), Status> {
        if self.accounts.is_disabled(email) {
            return Err(Status::new(Code::FailedPrecondition, format!("Service account {email} is disabled.")));
        }
        Ok(())
    }

    fn generate_access_token(&self, call: &Call<'_>, email: String) -> Result<Value, Status> {
        let scopes: Vec<_> = call.body["scope"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if scopes.is_empty() || !scopes.iter().all(|scope| are_scopes(scope)) {
            return Err(invalid());
        }
        let life = call.body["lifetime"].as_str().map_or(Some(LONGEST), duration_seconds);
        let life = life.filter(|life| *life > 0.0 && *life <= LONGEST).ok_or_else(invalid)?;
        let life = Duration::from_secs_f64(life);
        let end = Timestamp::now().checked_add(life).map_err(|_| invalid())?;
        Ok(json!({
            "accessToken": self.iam.issue(Member::ServiceAccount(email), life),
            "expireTime": format!("{end:.0}"),
        }))
    }

    async fn generate_id_token(&self, call: &Call<'_>, email: &str) -> Result<Value, Status> {
        let audience = call.body["audience"].as_str().filter(|audience| !audience.is_empty()).ok_or_else(invalid)?;
        if call.body["organizationNumberIncluded"] == true {
            return Err(unimplemented());
        }
        let token = self.id_token(email, audience, call.body["includeEmail"] == true).await.map_err(internal)?;
        Ok(json!({ "token": token }))
    }
}

fn invalid() -> Status {
    Status::invalid("Request contains an invalid argument.")
}

/// A missing account looks the same.
fn denied(permission: &str) -> Status {
    let text = format!("Permission '{permission}' denied on resource (or it may not exist).");
    Status::new(Code::PermissionDenied, text).with_detail(json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "IAM_PERMISSION_DENIED",
        "domain": "iam.googleapis.com",
        "metadata": { "permission": permission },
    }))
}
