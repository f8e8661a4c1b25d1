//! People who once agreed to a client: what `gcloud auth application-default login` leaves behind.
use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use uuid::Uuid;

/// What a client has of a user's agreement.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) client_id: String,
    pub(super) client_secret: String,
    pub(super) email: String,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Grant").field("email", &self.email).finish_non_exhaustive()
    }
}

/// By refresh token.
#[derive(Default)]
pub(super) struct Users(RwLock<BTreeMap<String, Grant>>);

impl std::fmt::Debug for Users {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let grants = self.0.read().unwrap_or_else(PoisonError::into_inner);
        formatter.debug_list().entries(grants.values()).finish()
    }
}

impl Users {
    pub(super) fn clear(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The refresh token, and what goes with it.
    pub(super) fn agree(&self, email: String) -> (String, Grant) {
        let grant = Grant {
            client_id: format!("{}.apps.googleusercontent.com", Uuid::new_v4().simple()),
            client_secret: format!("local-secret-{}", Uuid::new_v4().simple()),
            email,
        };
        let token = format!("1//local-{}", Uuid::new_v4().simple());
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(token.clone(), grant.clone());
        (token, grant)
    }

    pub(super) fn of(&self, refresh_token: &str) -> Option<Grant> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(refresh_token).cloned()
    }

    pub(super) fn has_client(&self, client_id: &str) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().any(|grant| grant.client_id == client_id)
    }
}
