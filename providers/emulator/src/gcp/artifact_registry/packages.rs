//! `projects.locations.repositories.packages`, and their versions and tags: an image's name, its digests and its tags.
use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    images::{self, escaped},
    repositories::{Repositories, begin, empty, missing, name, refuse_unsupported},
};
use crate::{
    gcp::{
        call::{Call, page, unimplemented},
        status::{Code, Status},
        time::stamp,
    },
    registry::StoredImage,
    state::Images,
};

pub(super) fn package(
    repositories: &Arc<Repositories>,
    images: &dyn Images,
    call: &Call<'_>,
    verb: &str,
) -> Result<Value, Status> {
    let found = images::seen(repositories, images, call)?;
    match verb {
        "list" => {
            refuse_unsupported(call, &["filter", "orderBy"])?;
            let mut packages: BTreeMap<String, Vec<StoredImage>> = BTreeMap::new();
            for image in found {
                packages.entry(images::package(call, &image)).or_default().push(image);
            }
            page(call, "packages", packages.values().map(|images| show_package(call, images)).collect())
        }
        "get" => Ok(show_package(call, &of_package(call, found)?)),
        "delete" => {
            for image in of_package(call, found)? {
                images.remove(&image.name, &image.digest);
            }
            Ok(begin(repositories, &call.parent(), empty()))
        }
        _ => Err(unimplemented()),
    }
}

pub(super) async fn version(
    repositories: &Arc<Repositories>,
    images: &dyn Images,
    call: &Call<'_>,
    verb: &str,
) -> Result<Value, Status> {
    let found = images::seen(repositories, images, call)?;
    let found = of_package(call, found)?;
    match verb {
        "list" => {
            refuse_unsupported(call, &["filter", "orderBy"])?;
            let full = call.query.get("view").is_some_and(|view| view == "FULL");
            let mut shown = Vec::new();
            for image in &found {
                shown.push(show_version(images, call, image, full).await);
            }
            page(call, "versions", shown)
        }
        "get" => {
            let full = call.query.get("view").is_some_and(|view| view == "FULL");
            Ok(show_version(images, call, of_version(call, &found)?, full).await)
        }
        "delete" => {
            let image = of_version(call, &found)?;
            if !image.tags.is_empty() && !call.flag("force") {
                let text = format!("{} is tagged: delete its tags, or set force.", version_name(call, image));
                return Err(Status::new(Code::FailedPrecondition, text));
            }
            images.remove(&image.name, &image.digest);
            Ok(begin(repositories, &call.parent(), empty()))
        }
        _ => Err(unimplemented()),
    }
}

pub(super) fn tag(
    repositories: &Arc<Repositories>,
    images: &dyn Images,
    call: &Call<'_>,
    verb: &str,
) -> Result<Value, Status> {
    let found = images::seen(repositories, images, call)?;
    let found = of_package(call, found)?;
    let all = found.iter().flat_map(|image| image.tags.iter().map(move |tag| (tag, image)));
    let asked = call.parameter(4);
    let one = || {
        let found = all.clone().find(|(tag, _)| **tag == asked);
        found.ok_or_else(|| missing(&format!("{}/tags/{asked}", package_name(call, &call.parameter(3)))))
    };
    match verb {
        "list" => {
            let version = version_filter(call)?;
            let mut shown: Vec<_> = all
                .filter(|(_, image)| version.as_ref().is_none_or(|version| *version == version_name(call, image)))
                .map(|(tag, image)| show_tag(call, tag, image))
                .collect();
            shown.sort_by_key(|tag| tag["name"].as_str().unwrap_or_default().to_owned());
            page(call, "tags", shown)
        }
        "get" => one().map(|(tag, image)| show_tag(call, tag, image)),
        "delete" => {
            let (tag, image) = one()?;
            images.remove(&image.name, tag);
            Ok(json!({}))
        }
        _ => Err(unimplemented()),
    }
}

/// `version="NAME"`, the one filter that clients ask for.
/// <https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations.repositories.packages.tags/list>
fn version_filter(call: &Call<'_>) -> Result<Option<String>, Status> {
    let Some(filter) = call.query.get("filter").filter(|filter| !filter.is_empty()) else {
        return Ok(None);
    };
    let version = filter.trim().strip_prefix("version").map(str::trim_start).and_then(|rest| rest.strip_prefix('='));
    let version = version.and_then(|text| text.trim().strip_prefix('"')?.strip_suffix('"'));
    let Some(version) = version.filter(|version| !version.contains('"')) else {
        let text = format!("The local cloud does not support the filter {filter}: it supports version=\"NAME\".");
        return Err(Status::new(Code::Unimplemented, text));
    };
    Ok(Some(version.to_owned()))
}

/// The images of the package that the call names; there is no package without one.
fn of_package(call: &Call<'_>, found: Vec<StoredImage>) -> Result<Vec<StoredImage>, Status> {
    let package = call.parameter(3);
    let found: Vec<_> = found.into_iter().filter(|image| images::package(call, image) == package).collect();
    if found.is_empty() { Err(missing(&package_name(call, &package))) } else { Ok(found) }
}

fn of_version<'a>(call: &Call<'_>, found: &'a [StoredImage]) -> Result<&'a StoredImage, Status> {
    let digest = call.parameter(4);
    let image = found.iter().find(|image| image.digest == digest);
    image.ok_or_else(|| missing(&format!("{}/versions/{digest}", package_name(call, &call.parameter(3)))))
}

fn package_name(call: &Call<'_>, package: &str) -> String {
    format!("{}/packages/{}", name(call), escaped(package))
}

fn version_name(call: &Call<'_>, image: &StoredImage) -> String {
    format!("{}/versions/{}", package_name(call, &images::package(call, image)), image.digest)
}

fn show_package(call: &Call<'_>, images: &[StoredImage]) -> Value {
    let package = images.first().map(|image| images::package(call, image)).unwrap_or_default();
    json!({
        "name": package_name(call, &package),
        "createTime": images.iter().map(|image| image.uploaded).min().map(stamp),
        "updateTime": images.iter().map(|image| image.updated).max().map(stamp),
    })
}

async fn show_version(images: &dyn Images, call: &Call<'_>, image: &StoredImage, full: bool) -> Value {
    let mut shown = json!({
        "name": version_name(call, image),
        "createTime": stamp(image.uploaded),
        "updateTime": stamp(image.updated),
        "metadata": images::metadata(images, call, image).await,
    });
    if full && !image.tags.is_empty() {
        shown["relatedTags"] = image.tags.iter().map(|tag| show_tag(call, tag, image)).collect();
    }
    shown
}

fn show_tag(call: &Call<'_>, tag: &str, image: &StoredImage) -> Value {
    let package = package_name(call, &images::package(call, image));
    json!({ "name": format!("{package}/tags/{tag}"), "version": version_name(call, image) })
}
