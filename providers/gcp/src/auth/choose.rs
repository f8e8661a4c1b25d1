//! The order of the ways. The first that is there is taken, and what is wrong with it is told: another identity than
//! the one that was asked for would be worse.
use std::sync::Arc;

use carrack_core::{Error, ErrorKind, Result};

use super::{
    asker::Asker,
    document,
    explicit::Explicit,
    federated,
    gcloud::Gcloud,
    impersonated::Impersonated,
    metadata::Metadata,
    surroundings::{Surroundings, path_in},
    way::Way,
};

/// The way that these surroundings have, with another's identity on top where that is asked for.
pub(super) async fn choose(surroundings: &Surroundings, asker: Asker) -> Result<Arc<dyn Way>> {
    let way = own(surroundings, &asker).await?;
    match &surroundings.impersonate {
        Some(chain) => Ok(Arc::new(Impersonated::named(way, chain, asker)?)),
        None => Ok(way),
    }
}

async fn own(surroundings: &Surroundings, asker: &Asker) -> Result<Arc<dyn Way>> {
    if let Some(explicit) = Explicit::find(surroundings, &asker.cx) {
        return Ok(Arc::new(explicit));
    }
    const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
    if let Some(path) = surroundings.get(FILE) {
        return document::open(path_in(FILE, path)?, FILE, asker).await;
    }
    const KEY: &str = "GOOGLE_CLOUD_SERVICE_ACCOUNT_KEY_JSON";
    if let Some(key) = surroundings.get(KEY) {
        return match key.trim_start().starts_with('{') {
            true => document::read(key, &format!("the variable {KEY}"), asker),
            false => document::open(path_in(KEY, key)?, KEY, asker).await,
        };
    }
    if let Some(federated) = federated::of_a_ci(surroundings, asker)? {
        return Ok(federated);
    }
    let default = surroundings.application_default();
    if let Some(path) = default.as_ref().filter(|path| path.exists()) {
        return document::open(path, "application default credentials", asker).await;
    }
    let metadata = match Metadata::find(surroundings, asker).await? {
        Ok(metadata) => return Ok(Arc::new(metadata)),
        Err(why) => why,
    };
    let gcloud = match Gcloud::find().await {
        Ok(gcloud) => return Ok(Arc::new(gcloud)),
        Err(why) => why,
    };
    let default = default.map_or_else(
        || "no home folder is known to hold application default credentials".to_owned(),
        |path| format!("`{}` does not exist", path.display()),
    );
    let federation = match &surroundings.federation {
        Some(_) => "a federation is set up, and this is no CI that gives a token for it",
        None => "no federation is set up",
    };
    let given = "no access token and no key file is named by a variable";
    let why = [given, federation, &default, &metadata, &gcloud].join("; ");
    Err(Error::new(ErrorKind::Unauthenticated, "no Google credentials were found")
        .with_source(why)
        .hint("run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS")
        .hint("to try it without a cloud account: `carrack deploy --local`"))
}
