//! A secret: create, add, access, disable, destroy, delete.
use google_cloud_gax::{error::rpc::Code, paginator::Paginator as _};
use google_cloud_iam_v1::model::{Binding, Policy};
use google_cloud_secretmanager_v1::{
    client::SecretManagerService,
    model::{Replication, Secret, SecretPayload, replication::Automatic, secret_version::State},
};
use google_cloud_wkt::FieldMask;

use crate::{Checked, Cloud, PROJECT, last, refused, same};

pub(crate) async fn walk(cloud: &mut Cloud) -> Checked {
    let client = SecretManagerService::builder()
        .with_endpoint(cloud.endpoint())
        .with_credentials(cloud.credentials()?)
        .build()
        .await?;
    let name = format!("{PROJECT}/secrets/judged");
    let version = |number: &str| format!("{name}/versions/{number}");
    let access = |number: &str| client.access_secret_version().set_name(version(number)).send();
    let secret = || Secret::new().set_replication(Replication::new().set_automatic(Automatic::new()));

    cloud
        .check("a secret is created, and values are added", async |_| {
            let create = client.create_secret().set_parent(PROJECT).set_secret_id("judged");
            let made = create.set_secret(secret().set_labels([("by", "rust")])).send().await?;
            same((last(&made.name), made.create_time.is_some()), ("judged", true))?;
            // "one" and "two", with their checksums of Castagnoli's polynomial.
            for (number, value, checksum) in [("1", "one", crc32c(b"one")), ("2", "two", crc32c(b"two"))] {
                let payload = SecretPayload::new().set_data(value).set_data_crc32c(checksum);
                let added = client.add_secret_version().set_parent(&name).set_payload(payload).send().await?;
                same((last(&added.name), added.state), (number, State::Enabled))?;
            }
            let wrong = SecretPayload::new().set_data("x").set_data_crc32c(1_i64);
            let refusal = client.add_secret_version().set_parent(&name).set_payload(wrong).send().await;
            refused(refusal, Code::InvalidArgument, "")
        })
        .await;
    cloud
        .check("they are read with their checksums", async |_| {
            for (number, value) in [("1", "one"), ("2", "two"), ("latest", "two")] {
                let payload = access(number).await?.payload.ok_or("no payload")?;
                same((&payload.data[..], payload.data_crc32c), (value.as_bytes(), Some(crc32c(value.as_bytes()))))?;
            }
            Ok(())
        })
        .await;
    cloud
        .check("versions are listed page by page, the latest first", async |_| {
            let mut pages = client.list_secret_versions().set_parent(&name).set_page_size(1).by_page();
            let mut numbers = Vec::new();
            while let Some(page) = pages.next().await {
                numbers.push(page?.versions.iter().map(|one| last(&one.name).to_owned()).collect::<Vec<_>>());
            }
            same(numbers, vec![vec!["2".to_owned()], vec!["1".to_owned()]])
        })
        .await;
    cloud
        .check("labels are changed by a mask, and a policy is set", async |_| {
            let change = Secret::new().set_name(&name).set_labels([("c", "d")]);
            let mask = FieldMask::default().set_paths(["labels"]);
            let changed = client.update_secret().set_secret(change).set_update_mask(mask).send().await?;
            same((changed.labels.len(), changed.labels.get("c").map(String::as_str)), (1, Some("d")))?;
            let reader =
                Binding::new().set_role("roles/secretmanager.secretAccessor").set_members(["user:a@example.com"]);
            let policy = client.get_iam_policy().set_resource(&name).send().await?;
            let policy = Policy::new().set_etag(policy.etag).set_bindings([reader]);
            same(client.set_iam_policy().set_resource(&name).set_policy(policy).send().await?.bindings.len(), 1)
        })
        .await;
    cloud
        .check("a disabled version is not read, and read again when it is enabled", async |_| {
            let disabled = client.disable_secret_version().set_name(version("2")).send().await?;
            same(disabled.state, State::Disabled)?;
            refused(access("latest").await, Code::FailedPrecondition, "is in DISABLED state")?;
            same(client.enable_secret_version().set_name(version("2")).send().await?.state, State::Enabled)?;
            same(access("2").await?.payload.is_some(), true)
        })
        .await;
    cloud
        .check("a destroyed version is gone for good", async |_| {
            let gone = client.destroy_secret_version().set_name(version("2")).send().await?;
            same((gone.state, gone.destroy_time.is_some()), (State::Destroyed, true))?;
            refused(access("2").await, Code::FailedPrecondition, "is in DESTROYED state")
        })
        .await;
    cloud
        .check("what is not there, is there already, or may not be done", async |cloud| {
            refused(access("9").await, Code::NotFound, "not found")?;
            let again = client.create_secret().set_parent(PROJECT).set_secret_id("judged").set_secret(secret());
            refused(again.send().await, Code::AlreadyExists, "already exists")?;
            let reader = SecretManagerService::builder()
                .with_endpoint(cloud.endpoint())
                .with_credentials(cloud.principal("secretmanager.secrets.get").await?)
                .build()
                .await?;
            same(last(&reader.get_secret().set_name(&name).send().await?.name), "judged")?;
            let denied = reader.access_secret_version().set_name(version("1")).send().await;
            refused(denied, Code::PermissionDenied, "Permission 'secretmanager.versions.access' denied")
        })
        .await;
    cloud
        .check("it is deleted", async |_| {
            client.delete_secret().set_name(&name).send().await?;
            refused(client.get_secret().set_name(&name).send().await, Code::NotFound, "not found")
        })
        .await;
    Ok(())
}

/// <https://cloud.google.com/secret-manager/docs/data-integrity>
fn crc32c(data: &[u8]) -> i64 {
    let mut rest = u32::MAX;
    for byte in data {
        rest ^= u32::from(*byte);
        for _ in 0..8 {
            rest = (rest >> 1) ^ if rest & 1 == 1 { 0x82F6_3B78 } else { 0 };
        }
    }
    i64::from(!rest)
}
