//! `secrets.versions`: addVersion, get, list, access, enable, disable, destroy.
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{
    access::{check_etag, etag_of, secret},
    bytes::SecretBytes,
    checks, filter,
    names::is_number,
    secrets::listed,
    store::{Content, Secrets, Version, now},
};
use crate::gcp::{
    call::Call,
    status::{Code, Status},
};

/// <https://cloud.google.com/secret-manager/quotas>
const LARGEST_VALUE: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Enable,
    Disable,
    Destroy,
}

pub(super) fn add(secrets: &Secrets, call: &Call<'_>) -> Result<Value, Status> {
    let name = secret(call)?;
    let (value, checked) = value(&call.body)?;
    let mut store = secrets.lock();
    let etag = store.new_etag();
    let secret = store.find(&name)?;
    secret.versions.push(Version { created: now(), etag, content: Content::Enabled(value), checked, scheduled: None });
    Ok(secret.render_version(secret.versions.len()))
}

/// The value, and whether a checksum came with it. No text repeats the value.
fn value(body: &Value) -> Result<(SecretBytes, bool), Status> {
    let payload = body.get("payload").ok_or_else(|| Status::invalid("Field [payload] is required."))?;
    let text = payload["data"].as_str().unwrap_or_default();
    let bytes = STANDARD.decode(text).map_err(|_| Status::invalid("Invalid value at 'payload.data' (TYPE_BYTES)"))?;
    let value = SecretBytes::new(bytes);
    match value.expose().len() {
        0 => return Err(Status::invalid("Secret Payload cannot be empty.")),
        size if size > LARGEST_VALUE => {
            return Err(Status::invalid(format!(
                "SecretPayload.data must not be larger than 64KiB, this one has {size} bytes."
            )));
        }
        _ => {}
    }
    let Some(given) = payload["dataCrc32c"].as_str() else {
        return Ok((value, false));
    };
    if given != value.checksum().to_string() {
        let text = "Provided SecretPayload.data crc32c does not match calculated crc32c.";
        return Err(Status::invalid(text));
    }
    Ok((value, true))
}

pub(super) fn get(secrets: &Secrets, call: &Call<'_>) -> Result<Value, Status> {
    let name = secret(call)?;
    let mut store = secrets.lock();
    let secret = store.find_for_version(&name)?;
    Ok(secret.render_version(secret.number(&call.parameter(2))?))
}

pub(super) fn list(secrets: &Secrets, call: &Call<'_>) -> Result<Value, Status> {
    let name = secret(call)?;
    let filter = filter::of(call, &filter::VERSION)?;
    let mut store = secrets.lock();
    let secret = store.find(&name)?;
    let all = (1..=secret.versions.len()).rev().map(|number| secret.render_version(number)).collect();
    listed(call, "versions", all, filter.as_ref())
}

pub(super) fn access(secrets: &Secrets, call: &Call<'_>) -> Result<Value, Status> {
    let name = secret(call)?;
    let mut store = secrets.lock();
    let secret = store.find_for_version(&name)?;
    let number = secret.number(&call.parameter(2))?;
    let value = secret.value(number)?;
    Ok(json!({
        "name": format!("{}/versions/{number}", secret.name),
        "payload": { "data": STANDARD.encode(value.expose()), "dataCrc32c": value.checksum().to_string() },
    }))
}

/// By its number alone: neither `latest` nor an alias may change under such a call.
pub(super) fn change(secrets: &Secrets, call: &Call<'_>, change: Change) -> Result<Value, Status> {
    let (name, id) = (secret(call)?, call.parameter(2));
    let mut store = secrets.lock();
    let etag = store.new_etag();
    let secret = store.find_for_version(&name)?;
    if !is_number(&id) {
        return Err(Status::invalid(format!(
            "The provided Secret Version ID [{}/versions/{id}] does not match the expected format [projects/*/secrets/*/versions*]",
            secret.name
        )));
    }
    let number = secret.own_number(&id)?;
    let delay = checks::destroy_delay(&secret.fields)?;
    let version = &mut secret.versions[number - 1];
    check_etag(etag_of(&call.body), &version.etag)?;
    version.turn(change, delay, now())?;
    version.etag = etag;
    Ok(secret.render_version(number))
}

impl Version {
    /// `delay` puts a destruction off: <https://cloud.google.com/secret-manager/docs/delay-destroy-secret-version>
    fn turn(&mut self, change: Change, delay: Option<SignedDuration>, now: Timestamp) -> Result<(), Status> {
        let refuse = |text: &str| Err(Status::new(Code::FailedPrecondition, text));
        if matches!(self.content, Content::Destroyed(_)) {
            return refuse("SecretVersion.state is already DESTROYED");
        }
        if change == Change::Destroy && self.scheduled.is_some() {
            return refuse("SecretVersion is already scheduled for DESTRUCTION.");
        }
        let old = std::mem::replace(&mut self.content, Content::Destroyed(now));
        let (Content::Enabled(value) | Content::Disabled(value)) = old else {
            return Ok(());
        };
        self.scheduled = delay.filter(|_| change == Change::Destroy).map(|delay| now + delay);
        self.content = match (change, self.scheduled) {
            (Change::Enable, _) => Content::Enabled(value),
            (Change::Disable, _) | (Change::Destroy, Some(_)) => Content::Disabled(value),
            (Change::Destroy, None) => Content::Destroyed(now),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked() {
        let read = |payload: Value| {
            value(&json!({ "payload": payload }))
                .map(|(value, checked)| (value.expose().to_vec(), checked))
                .map_err(|status| status.message)
        };
        assert_eq!(
            read(json!({ "data": "MTIzNDU2Nzg5", "dataCrc32c": "3808858755" })),
            Ok((b"123456789".to_vec(), true))
        );
        for (payload, text) in [
            (
                json!({ "data": "MTIzNDU2Nzg5", "dataCrc32c": "1" }),
                "Provided SecretPayload.data crc32c does not match calculated crc32c.",
            ),
            (json!({ "data": "hunter2!" }), "Invalid value at 'payload.data' (TYPE_BYTES)"),
            (json!({}), "Secret Payload cannot be empty."),
            (
                json!({ "data": STANDARD.encode(vec![b'a'; LARGEST_VALUE + 1]) }),
                "SecretPayload.data must not be larger than 64KiB, this one has 65537 bytes.",
            ),
        ] {
            assert_eq!(read(payload), Err(text.to_owned()));
        }
        assert!(read(json!({ "data": STANDARD.encode(vec![b'a'; LARGEST_VALUE]) })).is_ok());
    }

    #[test]
    fn a_version_goes_from_state_to_state() {
        let now = now();
        let day = SignedDuration::from_hours(24);
        let mut version = Version {
            created: now,
            etag: String::new(),
            content: Content::Enabled(SecretBytes::new(vec![1])),
            checked: false,
            scheduled: None,
        };
        for (change, delay, state) in [
            (Change::Disable, None, "DISABLED"),
            (Change::Disable, None, "DISABLED"),
            (Change::Enable, Some(day), "ENABLED"),
            (Change::Destroy, Some(day), "DISABLED"),
        ] {
            version.turn(change, delay, now).expect("it may");
            assert_eq!(version.content.state(), state, "{change:?}");
        }
        assert_eq!(version.scheduled, Some(now + day));
        let again = version.turn(Change::Destroy, Some(day), now).expect_err("scheduled");
        assert_eq!(again.message, "SecretVersion is already scheduled for DESTRUCTION.");
        version.turn(Change::Enable, Some(day), now).expect("it may");
        assert_eq!((version.content.state(), version.scheduled), ("ENABLED", None));
        version.turn(Change::Destroy, None, now).expect("it may");
        assert!(matches!(version.content, Content::Destroyed(at) if at == now), "no value is left");
        for change in [Change::Enable, Change::Disable, Change::Destroy] {
            let refused = version.turn(change, None, now).expect_err("destroyed");
            assert_eq!(refused.message, "SecretVersion.state is already DESTROYED");
        }
    }
}
